"""Splits a file into its JSON documents, and finds the bundles inside wrappers that people's tools put around them.

Three layouts are read: a document a line, documents over several lines one after another, and wrappers: a JSON array, or
the answer of GitHub's attestation API (``{"attestations": [{"bundle": ...}]}``). What is returned are parts of the file's own
bytes, never a rewritten form: a signature, a cache and a report are about the same bytes.

The cost is linear in the bytes, whatever they are: lines without a bundle are passed over by searching alone, short texts
are looked at only once for each ``SHORT_BYTES`` of the file, and a document over several lines that does not parse is looked at
from ``MAX_BROKEN`` places at most.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from slsa_verifier_plugin.errors import ArtifactError, Reason
from slsa_verifier_plugin.strict_json import MAX_VALUES, JsonError, is_dense, loads

MAX_LINES = 65536
"""Lines of one blob, of whatever kind: 200,000 short junk lines kept another plugin busy for 20 s. A document is one."""
MAX_BROKEN = 4
"""Places where a document over several lines begins and never ends. Each costs a parse of what follows it."""
SHORT_BYTES = 512
"""A text with fewer bytes is short, and is looked at only so often. The smallest signed summary or provenance has more."""
MAX_SHORT = 64
"""Short texts that are looked at in any file, and one more for each ``SHORT_BYTES`` of it."""
MAX_WRAPPING = 6
"""Arrays and wrapping objects around a bundle. Each costs a parse of what is inside; GitHub's tools use four."""

_WRAPPERS = ("attestations", "attestation", "bundle")
"""Names under which GitHub's API and ``gh attestation verify --format json`` keep bundles."""
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
"""What editors and shells may put before the first line of a file."""
_MARK, _OTHER_MARK = b'"payloadType"', b'"payload"'
"""What every bundle and envelope has; text without both is passed over unparsed, also where it escapes a name."""
_LONG_LINE = re.compile(rb"\n[^\n]{%d}" % SHORT_BYTES)
_OPEN_LINE = re.compile(rb"\n[ \t\r\f\v]*[{\[](?![^\n]*[}\]][ \t\r\f\v]*(?:\n|\Z))")
"""A line that begins as a document does and does not end as one: it may go on in the next line."""
_BLANKS = b" \t\r\f\v"
# Turns every byte into an x, but for the end of a line: lines with text are then counted by one search.
_TEXT_OR_LINE = bytes(ord("\n") if byte == ord("\n") else ord("x") for byte in range(256))
# The white space of JSON (RFC 8259, section 2), and with a comma or colon what stands between two values.
_SPACE = re.compile(r"[ \t\r\n]*")
_NEXT = re.compile(r"[ \t\r\n]*[,:]?[ \t\r\n]*")
_SPANS = json.JSONDecoder(parse_int=str, parse_float=str)
"""Tells where a value ends. It reads Latin-1, so that a character is a byte; UTF-8 has no ASCII inside other characters."""


@dataclass(frozen=True, slots=True)
class Part:
    """One JSON value of a file: its own bytes, the line where it begins, and its value; None for what is no strict JSON.

    Lines of other kinds come together in one part, as they stand in the file: ``count`` is how many of them are not blank.
    """

    content: bytes
    line: int
    value: Any = None
    count: int = 1

    def lines(self) -> Iterator[Part]:
        """Yield each of the lines that this stands for."""
        # One line, or a document over several, which has its value already.
        if self.count == 1:
            yield Part(self.content.strip(), self.line + self._blank(), self.value)
            return
        for number, text in enumerate(self.content.split(b"\n"), self.line):
            if text := text.strip():
                yield Part(text, number)

    def _blank(self) -> int:
        return self.content.count(b"\n", 0, len(self.content) - len(self.content.lstrip()))


def parts_of(content: bytes) -> Iterator[Part]:
    """Yield the JSON values of a file that may be bundles or envelopes, and ``Part``s for the lines of other kinds.

    Args:
        content: the file.

    Raises:
        ArtifactError: reason ``LIMIT_EXCEEDED`` for more lines than ``MAX_LINES``.
    """
    # RFC 8259, 8.1: a reader may ignore the mark. PowerShell and Windows' editors write it.
    content = content.removeprefix(_BYTE_ORDER_MARK)
    splitter = _Splitter(content)
    start, line, looked = 0, 1, 0
    while start < len(content):
        stop = splitter.next_look(start)
        is_look = stop == start
        document = splitter.document(start) if is_look else None
        if document is not None:
            first, stop, value = document
            looked += 1
        else:
            # Looked at, and no document begins here: the line is passed on by itself.
            if is_look:
                stop = content.find(b"\n", start) + 1 or len(content)
            looked += content.count(b"\n", start, stop - 1) + 1
        # Counted before they are read: blank lines cost as much to find as others.
        if looked > MAX_LINES:
            raise ArtifactError(
                f"the artifact has more than {MAX_LINES} lines",
                "attach only attestations, one a line",
                reason=Reason.LIMIT_EXCEEDED,
            )
        if document is not None:
            yield from splitter.unwrapped(first, stop, line, value)
        elif is_look:
            if text := content[start:stop].strip():
                yield Part(text, line)
        elif count := _not_blank(content, start, stop):
            yield Part(content[start:stop], line, None, count)
        line += content.count(b"\n", start, stop)
        start = stop


def _not_blank(content: bytes, start: int, stop: int) -> int:
    """Return how many of the whole lines from ``start`` to ``stop`` are not blank; ``start`` is not in the first line."""
    lines = content[content.rindex(b"\n", 0, start) : stop]
    return lines.translate(_TEXT_OR_LINE, _BLANKS).count(b"\nx")


class _Splitter:
    """Finds documents in one file."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._is_measured = False
        self._broken = 0
        self._is_first = True
        self._behind = -1
        self._short = 0
        # Where the next line of each kind begins that may be worth a look, as far as it has been looked for.
        self._long = self._open = self._marked = 0

    @cached_property
    def _text(self) -> str:
        # Only where a document over several lines, or a wrapper, is looked into.
        return self._content.decode("latin-1")

    def next_look(self, start: int) -> int:
        """Return where the next line begins that is worth a look, at ``start`` or behind it; the file's end for none."""
        # The first line, and what stands right behind a document, are looked at in any case.
        if start in (0, self._behind):
            return start
        # Each kind is searched from where its last one was found, so that the whole file is searched once for each kind.
        if self._long < start:
            self._long = self._line(_LONG_LINE, start)
        found = self._long
        if self._broken < MAX_BROKEN:
            if self._open < start:
                self._open = self._line(_OPEN_LINE, start)
            found = min(found, self._open)
        # Short texts have their turn again once the file has gone on far enough.
        again = max(start, (self._short - MAX_SHORT) * SHORT_BYTES)
        # Lines with the mark are looked for only where a short text may cost a look again.
        if again < found:
            if self._marked < again:
                place = self._content.find(_MARK, again)
                self._marked = len(self._content) if place < 0 else self._content.rfind(b"\n", 0, place) + 1
            found = min(found, max(start, self._marked))
        return found

    def _line(self, pattern: re.Pattern[bytes], start: int) -> int:
        """Return where the next line of the kind begins, at ``start`` or behind it. A line, or its text, begins at ``start``."""
        match = pattern.search(self._content, self._content.rindex(b"\n", 0, start))
        return len(self._content) if match is None else max(start, match.start() + 1)

    def _is_worth(self, start: int, stop: int) -> bool:
        """Return True where the text from ``start`` to ``stop`` may cost a look: short ones may only so often."""
        # As long as a signed statement is at least, so its parse is paid for by its own bytes.
        if stop - start >= SHORT_BYTES:
            return True
        self._short += 1
        return self._short <= MAX_SHORT + start // SHORT_BYTES

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
        # Asked of whatever has the first mark, by which it was found.
        is_marked = _MARK in text and self._is_worth(start, end) and _OTHER_MARK in text
        # No text, number or literal is a bundle, or has one inside.
        if text[:1] not in (b"{", b"["):
            return None
        first = self._content.index(text[:1], start)
        if is_marked:
            # A megabyte of ``[[[[`` costs a hundred times what a bundle of that size does.
            if is_dense(text):
                return None
            try:
                return first, end + 1, loads(text)
            # No JSON by itself: it may be the first line of a document over several.
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
        # Enough was lost on what begins like a document and is none: from here on only whole lines are read.
        if self._broken >= MAX_BROKEN:
            return None
        if not self._is_measured:
            self._is_measured = True
            # Memory is as for one line: with too many values in all, only lines are read, each with its own limit.
            if sum(map(self._content.count, (b",", b"[", b"{"))) > MAX_VALUES:
                self._broken = MAX_BROKEN
                return None
            if is_dense(self._content):
                self._broken = max(self._broken, MAX_BROKEN - 1)  # values are what a parse costs by
        try:
            stop = _SPANS.raw_decode(self._text, first)[1]
        # No end, or nested deeper than Python's parser goes: counted, for each such try parses what follows once more.
        except (ValueError, RecursionError):
            self._broken += 1
            return None
        # What follows must be another document or the line's end: a value with other text behind it is no JSON.
        end = self._after(_SPACE, stop)
        is_over = "\n" in self._text[stop:end]
        if self._text[end : end + 1] not in ("", "{", "[") and not is_over:
            self._broken += 1
            return None
        document = self._content[first:stop]
        # Too many tiny documents: from here on whole lines alone are read.
        if not self._is_worth(first, stop):
            self._broken = MAX_BROKEN
            return None
        # The place of the document is known in any case; its value only where it has one meaning, and may be a bundle.
        value = None
        if _MARK in document and _OTHER_MARK in document and not is_dense(document):
            with suppress(JsonError):
                value = loads(document)
        self._behind = -1 if is_over else end
        return first, end, value

    def _inside(self, start: int, stop: int, value: Any, depth: int) -> Iterator[tuple[int, int, Any]]:
        """Yield begin, end and value of what stands in wrappers in ``value``; ``loads`` has read all of it by now."""
        children = _children(value) if depth < MAX_WRAPPING else ()
        # No wrapper, or too deep: the value stands for itself, and is counted as of another kind if it is no bundle.
        if not children:
            yield start, stop, value
            return
        position = self._after(_SPACE, start + 1)
        for name, child in children:
            if name is not None:  # a member: its name comes first
                position = self._after(_NEXT, _SPANS.raw_decode(self._text, position)[1])
            end = _SPANS.raw_decode(self._text, position)[1]
            # A wrapper of thousands of tiny values costs a look for each; the rest of it is left out.
            if not self._is_worth(position, end):
                return
            # In a list every item may be a bundle, in an object only what has one of the known names.
            if name is None or (name in _WRAPPERS and isinstance(child, dict | list)):
                yield from self._inside(position, end, child, depth + 1)
            position = self._after(_NEXT, end)

    def _after(self, pattern: re.Pattern[str], position: int) -> int:
        found = pattern.match(self._text, position)
        assert found is not None
        return found.end()


def _children(value: Any) -> tuple[tuple[str | None, Any], ...]:
    """Return the members of a wrapper in the order of the text, with their names in an object; nothing for another value."""
    if isinstance(value, list):
        return tuple((None, item) for item in value)
    # A bundle or an envelope is what is looked for, whatever else it has.
    if not isinstance(value, Mapping) or "dsseEnvelope" in value or "payload" in value:
        return ()
    if not any(isinstance(value.get(name), dict | list) for name in _WRAPPERS):
        return ()
    return tuple(value.items())
