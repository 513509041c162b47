"""Splits a file into its JSON documents, and finds the bundles inside wrappers that people's tools put around them.

Three layouts are read: a document a line, documents over several lines one after another, and wrappers: a JSON array, or
the answer of GitHub's attestation API (``{"attestations": [{"bundle": ...}]}``). What is returned are parts of the file's own
bytes, never a rewritten form: a signature, a cache and a report are about the same bytes.

The cost is linear. A line costs one parse at most; a document over several lines that does not parse is looked at from
``MAX_BROKEN`` places at most.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from slsa_verifier_plugin.errors import ArtifactError, Reason
from slsa_verifier_plugin.strict_json import MAX_VALUES, JsonError, is_dense, loads

MAX_LINES = 65536
"""Lines of one blob, of whatever kind: 200,000 short junk lines kept another plugin busy for 20 s. A document is one."""
MAX_BROKEN = 4
"""Places where a document over several lines begins and never ends. Each costs a parse of what follows it."""
MAX_WRAPPING = 6
"""Arrays and wrapping objects around a bundle. Each costs a parse of what is inside; GitHub's tools use four."""

_WRAPPERS = ("attestations", "attestation", "bundle")
"""Names under which GitHub's API and ``gh attestation verify --format json`` keep bundles."""
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
"""What editors and shells may put before the first line of a file."""
_MARK = b'"payload"'
"""What every bundle and envelope has; text without it is passed over unparsed. Who escapes the name is passed over too."""
_SPACE = re.compile(r"[ \t\r\n]*")
_NEXT = re.compile(r"[ \t\r\n]*[,:]?[ \t\r\n]*")
_SPANS = json.JSONDecoder(parse_int=str, parse_float=str)
"""Tells where a value ends. It reads Latin-1, so that a character is a byte; UTF-8 has no ASCII inside other characters."""


@dataclass(frozen=True, slots=True)
class Part:
    """One JSON value of a file: its own bytes, the line where it begins, and its value; None for what is no strict JSON."""

    content: bytes
    line: int
    value: Any = None


def parts_of(content: bytes) -> Iterator[Part]:
    """Yield the JSON values of a file that may be bundles or envelopes, and one ``Part`` for each line of another kind.

    Args:
        content: the file.

    Raises:
        ArtifactError: reason ``LIMIT_EXCEEDED`` for more lines than ``MAX_LINES``.
    """
    content = content.removeprefix(_BYTE_ORDER_MARK)
    splitter = _Splitter(content)
    start, line, looked = 0, 1, 0
    while start < len(content):
        looked += 1
        if looked > MAX_LINES:
            raise ArtifactError(
                f"the artifact has more than {MAX_LINES} lines; attach only attestations, one a line",
                reason=Reason.LIMIT_EXCEEDED,
            )
        document = splitter.document(start)
        if document is not None:
            first, stop, value = document
            yield from splitter.unwrapped(first, stop, line, value)
        else:
            end = content.find(b"\n", start)
            stop = len(content) if end < 0 else end + 1
            if text := content[start:stop].strip():
                yield Part(text, line)
        line += content.count(b"\n", start, stop)
        start = stop


class _Splitter:
    """Finds documents in one file."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._text: str | None = None
        self._broken = 0
        self._is_first = True
        self._behind = -1

    def document(self, start: int) -> tuple[int, int, Any] | None:
        """Return begin, end and value of the document that begins in the line at ``start``; None where none does.

        White space may stand before the end. ``start`` may be in the middle of a line, right behind another document.
        """
        is_first, self._is_first = self._is_first, False
        if start == self._behind:
            # Another look at the whole line for each of its documents would make the cost of a long line quadratic.
            return self._over_lines(start)
        end = self._content.find(b"\n", start)
        end = len(self._content) if end < 0 else end
        text = self._content[start:end].strip()
        if text[:1] not in (b"{", b"["):
            return None
        first = self._content.index(text[:1], start)
        if _MARK in text:
            if is_dense(text):
                return None
            try:
                return first, end + 1, loads(text)
            except JsonError:
                return self._over_lines(first)
        # Almost any other line is a whole value without a bundle, which is not worth a parse. The first line tells more: it is
        # how a document over several lines begins, whatever it ends with.
        if text[-1:] in (b"}", b"]") and not is_first:
            return None
        return self._over_lines(first)

    def unwrapped(self, start: int, stop: int, line: int, value: Any) -> Iterator[Part]:
        """Yield the values inside the wrappers of one document, itself where it is no wrapper."""
        seen = start
        for first, last, inner in self._inside(start, stop, value, 0):
            line += self._content.count(b"\n", seen, first)
            seen = first
            yield Part(self._content[first:last].strip(), line, inner)

    def _over_lines(self, first: int) -> tuple[int, int, Any] | None:
        """Return begin, end and value of the document that begins at ``first``; None where it has no end or no one meaning."""
        if self._broken >= MAX_BROKEN:
            return None
        if self._text is None:
            # Memory is as for one line: with too many values in all, only lines are read, each with its own limit.
            if sum(map(self._content.count, (b",", b"[", b"{"))) > MAX_VALUES:
                self._broken = MAX_BROKEN
                return None
            self._text = self._content.decode("latin-1")
        try:
            stop = _SPANS.raw_decode(self._text, first)[1]
        except (ValueError, RecursionError):
            self._broken += 1
            return None
        # What follows must be another document or the line's end: a value with other text behind it is no JSON.
        follows = _SPACE.match(self._text, stop)
        assert follows is not None
        behind = self._text[follows.end() : follows.end() + 1]
        if behind not in ("", "{", "[") and "\n" not in follows[0]:
            self._broken += 1
            return None
        document = self._content[first:stop]
        value = None
        if _MARK in document and not is_dense(document):
            with suppress(JsonError):
                value = loads(document)
        self._behind = follows.end() if "\n" not in follows[0] else -1
        return first, follows.end(), value

    def _inside(self, start: int, stop: int, value: Any, depth: int) -> Iterator[tuple[int, int, Any]]:
        """Yield begin, end and value of what stands in wrappers in ``value``; ``loads`` has read all of it by now."""
        children = _children(value) if depth < MAX_WRAPPING else ()
        if not children:
            yield start, stop, value
            return
        if self._text is None:
            self._text = self._content.decode("latin-1")
        position = self._after(_SPACE, start + 1)
        for name, child in children:
            if name is not None:  # a member: its name comes first
                position = self._after(_NEXT, _SPANS.raw_decode(self._text, position)[1])
            end = _SPANS.raw_decode(self._text, position)[1]
            if name is None or (name in _WRAPPERS and isinstance(child, dict | list)):
                yield from self._inside(position, end, child, depth + 1)
            position = self._after(_NEXT, end)

    def _after(self, pattern: re.Pattern[str], position: int) -> int:
        assert self._text is not None
        found = pattern.match(self._text, position)
        assert found is not None
        return found.end()


def _children(value: Any) -> tuple[tuple[str | None, Any], ...]:
    """Return the members of a wrapper in the order of the text, with their names in an object; nothing for another value."""
    if isinstance(value, list):
        return tuple((None, item) for item in value)
    if not isinstance(value, Mapping) or "dsseEnvelope" in value or "payload" in value:
        return ()
    if not any(isinstance(value.get(name), dict | list) for name in _WRAPPERS):
        return ()
    return tuple(value.items())
