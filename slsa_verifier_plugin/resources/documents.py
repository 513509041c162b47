"""YAML and JSON documents with the line and column of everything in them.

Read as Kubernetes reads them: a key that occurs twice is an error, times and numbers to the base of sixty stay text, and
there are no values but those of JSON. Size, number of documents, depth and number of values have limits, and aliases and
merge keys may multiply a file by no more than a small factor: what a file costs is in proportion to its size.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from slsa_verifier_plugin.errors import UsageError
from slsa_verifier_plugin.members import text_at
from slsa_verifier_plugin.model.forms import RESOURCE, name_of
from slsa_verifier_plugin.problem import Key
from slsa_verifier_plugin.resources.named_files import MAX_FILE
from slsa_verifier_plugin.text import quoted

MAX_NODES = 4_000_000
"""Values and keys in one file, as they are written."""
MAX_DOCUMENTS = 50_000
"""Documents in one file, empty ones too."""
MAX_DEPTH = 100
MAX_REPEATED, FREELY_REPEATED = 4, 10_000
"""With aliases and merge keys followed, a file has at most so many times the values that are written in it, and so many more."""
MAX_NUMBER = 64
"""Characters of a number; Kubernetes has 64 bits."""

_TOO_LARGE = "too large or too deeply nested a structure"
_REPEATED = (
    "aliases (*name) or merge keys (<<) that repeat too much; write out what they stand for, or repeat less"
)
_MERGE = "tag:yaml.org,2002:merge"
"""The tag of the key ``<<``."""

_PAIR = re.compile(rb"(?<!\\)((?:\\\\)*)\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")
"""How JSON may write a character beyond the basic plane, which YAML does not know."""


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
            # A parent is the best place there is for a field that is missing.
            if found is None:
                break
            mark, node = found
        # The parser counts from 0, editors from 1.
        return Position(self.source, mark.line + 1, mark.column + 1)


def objects_in(document: Document) -> Iterator[tuple[tuple[Key, ...], dict[str, Any]]]:
    """Yield the path and value of each Kubernetes object in a document; a List, as ``kubectl get`` prints it, is unwrapped.

    Args:
        document: any; one that is no object has none.
    """
    if not isinstance(document.value, dict):
        return
    items = document.value.get("items")
    # The items count, and not the List around them; a kind of somebody's own may have items that are none of these.
    kind = text_at(document.value, "kind")
    if kind.endswith("List") and isinstance(items, list):
        # An API server leaves out in a VerifierList what all its items have in common; kubectl's List is of any kinds.
        common = {"apiVersion": document.value.get("apiVersion"), "kind": kind.removesuffix("List")}
        for index, item in enumerate(items):
            if isinstance(item, dict):
                yield ("items", index), item if kind == "List" else {**common, **item}
    else:
        yield (), document.value


def parse_documents(content: bytes, source: str) -> list[Document]:
    """Return the documents in ``content``; empty ones are left out.

    Raises:
        UsageError: not YAML, a key that occurs twice, or too large a structure. Begins with file, line and column.
    """
    documents = []
    # Once more: what kubectl prints comes here without having been read from a file.
    if len(content) > MAX_FILE:
        raise UsageError(f"{source} is larger than {MAX_FILE >> 20} MiB")
    is_json = content.lstrip()[:1] in (b"{", b"[")
    # YAML knows no surrogate pairs; JSON writes emoji with them.
    if is_json:
        content = _PAIR.sub(_character, content)
    try:
        # A pass over events alone: nothing is built before the limits are known to hold.
        written = _measure(content, source)
        loader = _Loader(content)
        # In proportion to what is written, so that ten aliases of aliases cannot become a thousand million values.
        reader = _Reader(loader, source, written * MAX_REPEATED + FREELY_REPEATED)
        try:
            while loader.check_node():
                node = loader.get_node()
                value = reader.value(node, 0)
                # An empty document, as a file that ends with "---" has one.
                if value is not None:
                    documents.append(Document(source, value, node))
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        # Lines of JSON, as a bundle's file has them. Of a resource with a slip the slip is what is wrong.
        if is_json and (name := name_of(content, RESOURCE)):
            raise UsageError(f"{source} is {name}") from error
        # Where the parser tripped; where it only knows where the broken part began, that.
        mark = error.problem_mark or error.context_mark
        where = f"{source}:{mark.line + 1}:{mark.column + 1}" if mark else source
        raise UsageError(f"{where}: not YAML: {_problem(error.problem)}") from error
    # The reader of bytes has no mark, and its sentence may quote the bytes.
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        found = name_of(content, RESOURCE) or "it has bytes or characters that YAML does not allow"
        raise UsageError(f"{source}: not YAML: {found}") from error
    return documents


# The first entry whose words stand in the parser's sentence counts.
_PROBLEMS = (
    ("tab", "a tab, or another character, where only blanks or text may stand"),
    ("token", "a tab, or another character, where only blanks or text may stand"),
    ("mapping values", "a colon where no name can stand; put text that has a colon in quotes"),
    ("alias", "an alias (*name) without its anchor (&name)"),
    ("anchor", "an anchor (&name) is missing or stands twice"),
    ("end of stream", "the file ends within a value: a quote or bracket is not closed"),
    ("flow sequence", "a list in brackets is not closed, or lacks a comma"),
    ("flow mapping", "an object in braces is not closed, or lacks a comma"),
    ("',' or", "a list or object is not closed, or lacks a comma"),
    ("expected key", "a line that is indented otherwise than its neighbours, or that has no 'name: value'"),
    ("<block end>", "a line that is indented otherwise than its neighbours, or that has no 'name: value'"),
    ("'-' indicator", "a list's item that is indented otherwise than its neighbours"),
    ("':'", "a name without a colon"),
    ("escape", "an escape that YAML does not know; put Windows paths and patterns in single quotes"),
    ("directive", "a line that begins with %"),
    ("tag", "a tag (!name), which is not read here"),
)


def _problem(said: str | None) -> str:
    """Return what is wrong in this program's words, by the words that the parser's sentence is recognized by."""
    text = (said or "").lower()
    return next((ours for words, ours in _PROBLEMS if words in text), "it cannot be read from here on")


def _measure(content: bytes, source: str) -> int:
    """Return how many values and keys are written in ``content``.

    Comes before libyaml builds nodes of them, for that recurses without limit.

    Raises:
        UsageError: it is nested too deeply, or has too many of them, or too many documents.
        yaml.YAMLError: it is not YAML.
    """
    count = depth = documents = 0
    loader = _Loader(content)
    try:
        while loader.check_event():
            event = loader.get_event()
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                # Each document costs an object even when it is empty: a file of "---" lines would be millions of
                # them.
                if documents > MAX_DOCUMENTS:
                    raise _error(source, event.start_mark, f"more than {MAX_DOCUMENTS} documents")
            # Scalars, aliases and the beginnings of collections: whatever takes room as a value or a key.
            elif isinstance(event, yaml.NodeEvent):
                count += 1
                # libyaml and the reader below recurse: some thousand levels end the process without a word.
                if count > MAX_NODES or depth > MAX_DEPTH:
                    raise _error(source, event.start_mark, _TOO_LARGE)
                depth += isinstance(event, yaml.CollectionStartEvent)
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
    finally:
        loader.dispose()
    return count


def _error(source: str, mark: Any, problem: str) -> UsageError:
    return UsageError(f"{source}:{mark.line + 1}:{mark.column + 1}: {problem}")


def _character(pair: re.Match[bytes]) -> bytes:
    units = bytes.fromhex((pair[2] + pair[3]).decode())
    # The backslashes before it are an even number, so they stay what they are.
    return pair[1] + units.decode("utf-16-be").encode()


_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_TEXT = "tag:yaml.org,2002:str"
_SCALARS = (_TEXT, *_NUMBERS, "tag:yaml.org,2002:bool", "tag:yaml.org,2002:null")
_OBJECT, _LIST = "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"


# libyaml's loader where PyYAML was built with it, else Python's own, which is slower.
class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # chosen at run time
    """The safe loader without times, which Kubernetes leaves as text."""

    yaml_implicit_resolvers = {  # noqa: RUF012 (the base class has it so)
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


class _Reader:
    """Builds the values of one file's documents from their nodes.

    Args:
        loader: made the nodes.
        source: the file's name.
        most: values and keys that all of them may have, aliases and merge keys followed.
    """

    def __init__(self, loader: Any, source: str, most: int) -> None:
        self._loader = loader
        self._source = source
        self._left = most

    def value(self, node: yaml.Node, depth: int) -> Any:
        self._bound(node, depth)
        if isinstance(node, yaml.MappingNode) and node.tag == _OBJECT:
            # Before the values are counted: what << brings in counts as if it were written here.
            self._merge(node, depth)
            self._left -= len(node.value)
            # Names are text in JSON: ``1`` and ``true`` are texts where they stand as keys.
            return {str(key.value): self.value(value, depth + 1) for key, value in node.value}
        if isinstance(node, yaml.SequenceNode) and node.tag == _LIST:
            return [self.value(item, depth + 1) for item in node.value]
        # A tag such as !!python/object or !!binary: the API server's own reader refuses it, too.
        if node.tag not in _SCALARS:
            raise self._error(node, f"a value of type {quoted(node.tag)}, which Kubernetes does not know")
        return self._scalar(node)

    def _scalar(self, node: yaml.Node) -> Any:
        text = str(node.value)
        # YAML 1.1 alone reads 12:30 to the base of sixty; Kubernetes' reader leaves it text.
        if node.tag == _TEXT or (node.tag in _NUMBERS and ":" in text):
            return text
        # int() of a million digits takes its square in time (CVE-2020-10735).
        if len(text) > MAX_NUMBER:
            raise self._error(node, f"a number of {len(text)} characters")
        try:
            value = self._loader.construct_object(node)
        except (yaml.constructor.ConstructorError, ArithmeticError, ValueError, LookupError) as error:
            # PyYAML's constructors raise whatever their text makes them trip over.
            raise self._error(node, f"{quoted(text)} is no value that Kubernetes knows") from error
        # .inf and .nan are YAML's, and no JSON: the API server would refuse the object.
        if isinstance(value, float) and not math.isfinite(value):
            raise self._error(node, f"{quoted(text)} is no number that JSON can hold")
        return value

    def _bound(self, node: yaml.Node, depth: int) -> None:
        self._left -= 1
        # Aliases nest deeper than what is written: `a: &a [*b]` and so on.
        if depth > MAX_DEPTH:
            raise self._error(node, _TOO_LARGE)
        if self._left < 0:
            raise self._error(node, _REPEATED)

    def _merge(self, node: yaml.MappingNode, depth: int) -> None:
        """Put what ``<<`` merges into ``node`` in its place. Keys of the node's own win, then what is named first.

        PyYAML's ``flatten_mapping`` keeps every copy, so that a few aliases fill the memory.
        """
        own: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        sources: list[yaml.Node] = []
        for key_node, value_node in node.value:
            # YAML allows a list as a key; JSON has no such thing.
            if not isinstance(key_node, yaml.ScalarNode):
                raise self._error(key_node, "a key that is not text")
            key = str(key_node.value)
            # YAML 1.2 "3.2.1.1": keys are unique. Which of two counts differs from parser to parser.
            if key in own:
                raise self._error(key_node, f"the key {quoted(key)} occurs twice")
            own[key] = key_node, value_node
            if key_node.tag == _MERGE:
                sources += value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]
        # The usual case: nothing is copied.
        if not any(key_node.tag == _MERGE for key_node, _ in own.values()):
            return
        pairs = {key: pair for key, pair in own.items() if pair[0].tag != _MERGE}
        # YAML 1.1 "Merge Key": of several sources the earlier goes before the later.
        for source in sources:
            self._bound(source, depth)
            # YAML 1.1, "Merge Key": the value is an object, or a list of objects.
            if not isinstance(source, yaml.MappingNode):
                raise self._error(source, "<< takes an object or a list of objects")
            # A source may merge others itself; the depth bounds how far, so that a circle ends.
            self._merge(source, depth + 1)
            for key_node, value_node in source.value:
                self._bound(source, depth)
                # The object's own keys are in already, so they win.
                pairs.setdefault(str(key_node.value), (key_node, value_node))
        node.value = list(pairs.values())

    def _error(self, node: yaml.Node, problem: str) -> UsageError:
        return _error(self._source, node.start_mark, problem)


def _child(node: yaml.Node, part: Key) -> tuple[yaml.Mark, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        for key_node, value_node in node.value:
            # By the text: a path names members as JSON does.
            if key_node.value == part:
                return key_node.start_mark, value_node
    elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        item = node.value[part]
        return item.start_mark, item
    return None
