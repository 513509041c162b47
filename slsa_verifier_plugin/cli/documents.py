"""YAML and JSON documents with the line and column of everything in them.

Read as Kubernetes reads them: a key that occurs twice is an error, times stay text, anchors are allowed but may not blow up.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from slsa_verifier_plugin.errors import UsageError
from slsa_verifier_plugin.text import plain, quoted

MAX_FILE = 64 << 20
"""Bytes of a file of Kubernetes resources."""
MAX_NODES = 4_000_000
"""Values in one document, aliases followed."""
MAX_DEPTH = 100

_PAIR = re.compile(rb"(?<!\\)((?:\\\\)*)\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")
"""How JSON may write a character beyond the basic plane, which YAML does not know."""

Key = str | int


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a file; line and column count from 1."""

    source: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Document:
    """One document: its value, and where each part of it stands."""

    source: str
    value: Any
    node: yaml.Node

    def position(self, path: Sequence[Key] = ()) -> Position:
        """Return where the entry at ``path`` stands; where there is none, its nearest parent that exists."""
        node, mark = self.node, self.node.start_mark
        for part in path:
            found = _child(node, part)
            if found is None:
                break
            mark, node = found
        return Position(self.source, mark.line + 1, mark.column + 1)


def read_file(path: str, limit: int | None = None) -> tuple[bytes, str, Path]:
    """Return a file's bytes, its name for people, and the folder that relative paths in it are of.

    Args:
        path: the file; ``-`` is standard input.
        limit: bytes that it may have; ``MAX_FILE`` by default.

    Raises:
        UsageError: it cannot be read, or is too large.
    """
    most = MAX_FILE if limit is None else limit
    if path == "-":
        return _bounded(sys.stdin.buffer.read(most + 1), "standard input", most), "<stdin>", Path.cwd()
    try:
        with Path(path).open("rb") as file:
            content = file.read(most + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a path"
        raise UsageError(f"{quoted(path)} cannot be read: {reason}") from error
    return _bounded(content, path, most), path, Path(path).absolute().parent


def parse_documents(content: bytes, source: str) -> list[Document]:
    """Return the documents in ``content``; empty ones are left out.

    Raises:
        UsageError: not YAML, a key that occurs twice, or too large a structure. Begins with file, line and column.
    """
    documents = []
    if content.lstrip()[:1] in (b"{", b"["):
        content = _PAIR.sub(_character, content)
    try:
        loader = _Loader(content)
        try:
            while loader.check_node():
                node = loader.get_node()
                value = _Reader(loader, source).value(node, 0)
                if value is not None:
                    documents.append(Document(source, value, node))
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{source}:{mark.line + 1}:{mark.column + 1}" if mark else source
        raise UsageError(f"{where}: not YAML: {plain(error.problem or 'malformed')}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{source}: not YAML: {plain(str(error).splitlines()[0])}") from error
    return documents


def _character(pair: re.Match[bytes]) -> bytes:
    units = bytes.fromhex((pair[2] + pair[3]).decode())
    return pair[1] + units.decode("utf-16-be").encode()


def _bounded(content: bytes, name: str, most: int) -> bytes:
    if len(content) > most:
        raise UsageError(f"{quoted(name)} is larger than {most >> 20} MiB")
    return content


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # chosen at run time
    """The safe loader without times, which Kubernetes leaves as text."""

    yaml_implicit_resolvers = {  # noqa: RUF012 (the base class has it so)
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


class _Reader:
    """Builds one document's value from its nodes."""

    def __init__(self, loader: Any, source: str) -> None:
        self._loader = loader
        self._source = source
        self._count = 0

    def value(self, node: yaml.Node, depth: int) -> Any:
        self._count += 1
        if self._count > MAX_NODES or depth > MAX_DEPTH:
            raise self._error(node, "too large or too deeply nested a structure")
        if isinstance(node, yaml.MappingNode):
            self._loader.flatten_mapping(node)
            return dict(self._pairs(node, depth))
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, depth + 1) for item in node.value]
        try:
            return self._loader.construct_object(node)
        except (yaml.constructor.ConstructorError, ValueError) as error:
            raise self._error(node, f"{quoted(node.value)} is no value that Kubernetes knows") from error

    def _pairs(self, node: yaml.MappingNode, depth: int) -> Iterator[tuple[str, Any]]:
        seen: set[str] = set()
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise self._error(key_node, "a key that is not text")
            key = str(key_node.value)
            if key in seen:
                raise self._error(key_node, f"the key {quoted(key)} occurs twice")
            seen.add(key)
            yield key, self.value(value_node, depth + 1)

    def _error(self, node: yaml.Node, problem: str) -> UsageError:
        mark = node.start_mark
        return UsageError(f"{self._source}:{mark.line + 1}:{mark.column + 1}: {problem}")


def _child(node: yaml.Node, part: Key) -> tuple[yaml.Mark, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        for key_node, value_node in node.value:
            if key_node.value == part:
                return key_node.start_mark, value_node
    elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        item = node.value[part]
        return item.start_mark, item
    return None
