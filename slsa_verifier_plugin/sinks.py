"""One encoder for each sink: a terminal or a log, JSON, SARIF, Markdown, HTML, XML, CSV, YAML, a URI.

To a sink every ``str`` is text from outside. What a sink takes is a type of its own (``LogLine``, ``Json``, ``Markdown``,
``Html``, ``Xml``, ``Csv``, ``Yaml``), which only the functions here make; a plain text in its place does not type-check.
Templates of ``markdown`` and ``xml`` are literals in the code, those of ``html_parts`` are files of this package, and what
is put into them is encoded unless it is of the sink's own type already.
``tests/unit/test_sinks.py`` holds both, and feeds every sink what is known to control one; ``test_sinks_commands.py`` does
so through whole commands.
"""

from __future__ import annotations

import html as _html
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any
from urllib.parse import quote

from slsa_verifier_plugin.text import MAX_SHOWN, inert, plain, without_commands


class LogLine(str):
    """A line for a terminal or a log."""

    __slots__ = ()


class Json(str):
    """JSON, or a part of it, in ASCII."""

    __slots__ = ()


class Markdown(str):
    """Markdown (GitHub's dialect)."""

    __slots__ = ()


class Html(str):
    """HTML, fit for content and for attributes in double quotes."""

    __slots__ = ()

    def __html__(self) -> str:
        """Return itself: what Jinja asks before it would encode once more."""
        return str(self)


class Yaml(str):
    """YAML."""

    __slots__ = ()


class Xml(str):
    """XML 1.0, fit for content and for attributes in double quotes."""

    __slots__ = ()


class Csv(str):
    """A line of comma-separated values."""

    __slots__ = ()


class Script(str):
    """A program for a shell that is all our own."""

    __slots__ = ()


Encoded = LogLine | Json | Markdown | Html | Yaml | Xml | Csv | Script
"""What is written as it is, lines and all."""

_COMPACT = json.JSONEncoder(separators=(",", ":")).encode
_COLORS = re.compile(r"(\033\[(?:0|1|2|3[1-6])(?:;(?:0|1|2|3[1-6]))*m)")
"""What ``cli.render.Painter`` writes, and no other control sequence."""
_FOLD = re.compile(r"\A(?:---|\+\+\+|~~~|\^\^\^)(?= )")
"""How a line begins that Buildkite folds its log at."""


def line(text: str, end: str = "") -> LogLine:
    """Return ``text`` as one line that shows what it says, and ``end``; colours of ours stay."""
    parts = _COLORS.split(text)
    # Every second part is a colour of ours, between them is text.
    parts[::2] = [inert(part) for part in parts[::2]]
    return LogLine(_FOLD.sub("?", "".join(parts), count=1) + end)


def json_text(value: Any, indent: int | None = 2) -> Json:
    """Return ``value`` as JSON in ASCII, with the same meaning to whoever reads it, and no command to a log that it is in.

    Half a surrogate pair, which no UTF-8 can hold and which readers of JSON refuse or change, becomes ``?``.

    Args:
        value: values that JSON knows.
        indent: as of ``json.dumps``; None is one line without blanks.
    """
    # json.dumps makes an encoder each time, which takes as long as a log line.
    encode = _COMPACT if indent is None else partial(json.dumps, indent=indent)
    text = encode(value)
    # Rare, so looked for in the finished text: walking through every value would cost each answer.
    if "\\ud" in text:
        text = encode(_whole(value))
    # Each of these characters stands in a string, for JSON's own syntax has none of them.
    return Json(without_commands(text, _escape))


def json_stream(head: Mapping[str, Any], name: str, items: Iterable[Any]) -> Iterator[Json]:
    """Yield the parts of one JSON object, which may be larger than memory.

    Args:
        head: its first members, at least one.
        name: of its last member.
        items: what that member lists, an item a line.
    """
    yield Json(f"{json_text(head)[:-2]},\n  {json_text(name)}: [")
    separator = "\n"
    for item in items:
        yield Json(f"{separator}    {json_text(item, None)}")
        separator = ",\n"
    yield Json("\n  ]\n}")


def _escape(char: str) -> str:
    """Return a character as JSON and YAML may write it; one beyond the basic plane as YAML alone does."""
    return f"\\U{ord(char):08x}" if char > "\uffff" else f"\\u{ord(char):04x}"


def _whole(value: Any) -> Any:
    # Pairs of surrogates become their character, a half becomes the replacement character.
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\ufffd", "?")
    if isinstance(value, Mapping):
        return {_whole(key): _whole(item) for key, item in value.items()}
    return [_whole(item) for item in value] if isinstance(value, list | tuple) else value


_LINKING = re.compile(r"([\\\[\]])")


def sarif_text(value: object, limit: int = 4096) -> str:
    """Return text for a SARIF message: ``[text](target)`` in it is no link, and there are no placeholders.

    SARIF 2.1.0, 3.11.6 (links, escaped with a backslash) and 3.11.5 (placeholders in braces, which ``plain`` takes out).
    """
    return _LINKING.sub(r"\\\1", plain(value, limit))


def uri_text(value: object, scheme: str = "", limit: int = 4096) -> str:
    """Return a file's or an image's name as a URI that leads nowhere else.

    Args:
        value: the name.
        scheme: what the URI begins with; empty for the name of a file, which then can begin with neither a scheme
            (``javascript:``) nor a host (``//host``).
        limit: characters of the name.
    """
    text = plain(value, limit)
    # The image's name cannot be taken for a host: the scheme is ours.
    # An image's name holds a port and a digest, so ``:`` and ``@`` stay as they are.
    if scheme:
        return f"{scheme}://{quote(text, safe='/:@+~.-_')}"
    # A colon is encoded: "javascript:alert(1)" is then the name of a file, in every viewer of SARIF.
    return quote(re.sub(r"\A//+", "/", text), safe="/@+~.-_")


# Signs at which the parts of a level, an image's name, a digest or a URI join.
_JOINTS = re.compile(r"([_/:@.=-])")
_FORMULA = "=+-@\uff1d\uff0b\uff0d\uff20"
"""What a formula begins with, in full width too; the tabs and line ends that some programs skip before it are gone by then."""
_NEXT_CELL = re.compile(rf";(?=[{re.escape(_FORMULA)}])")
"""Where a spreadsheet that parts cells by semicolons would begin one with a formula: quotes keep none together there."""
_MAX_TEXT = 1 << 16
"""Characters of a text that a page shows as a whole: a message, or the list of a row's namespaces."""
_BUFFERED = 256
"""Parts of a page that are written at once."""
# What Markdown may take for markup (CommonMark 0.31, "Backslash escapes": any of these may be escaped).
_SPECIAL = re.compile(r"([\\`*_\[\]()+!|~:.$^-])")
_CALLING = re.compile(r"([@#!~%$]|:(?=//)|(?:GH|www)(?=\\[.-]))", re.IGNORECASE)
"""People, issues, merge requests and addresses are looked for in finished text, too, where escapes are gone: a comment
comes between."""


def markdown_text(value: object, limit: int = 1024) -> Markdown:
    """Return foreign text as Markdown that shows it literally, on one line: no link, markup, mention or reference."""
    literal = _SPECIAL.sub(r"\\\1", _html.escape(plain(value, limit), quote=False))
    return Markdown(_CALLING.sub(r"\1<!-- -->", literal))


def markdown_code(value: object, limit: int = 1024) -> Markdown:
    """Return foreign text as inline code, which nothing in it can end."""
    return Markdown(f"<code>{markdown_text(value, limit)}</code>")


def markdown(template: str, *parts: object) -> Markdown:
    """Return a template (as of ``str.format``) with ``parts`` in it, encoded unless they are Markdown or numbers."""
    # Numbers hold no markup, and escaping would put a backslash before a minus or a point.
    shown = (part if isinstance(part, Markdown | int | float) else markdown_text(part) for part in parts)
    return Markdown(template.format(*shown))


def markdown_table(heads: Iterable[str], rows: Iterable[Iterable[Markdown]]) -> Iterator[Markdown]:
    """Yield the lines of a table."""
    shown = list(heads)
    yield Markdown(f"| {' | '.join(map(markdown_text, shown))} |")
    yield Markdown(f"|{'|'.join(' --- ' for _ in shown)}|")
    for row in rows:
        yield Markdown(f"| {' | '.join(row)} |")


def html_text(value: object, limit: int = MAX_SHOWN) -> Html:
    """Return foreign text as HTML, on one line, with every character that is seen: braces command nothing on a page."""
    # ``str`` of what a template names in vain raises; ``repr`` would show it.
    text = value if isinstance(value, str) else str(value)
    shown = inert(text[:limit])
    return Html(_html.escape(shown + "..." if len(text) > limit else shown))


def html_name(value: object, limit: int = 1024) -> Html:
    """Return a foreign name as HTML that may be broken where its parts join: a level, an image, a digest, a URI.

    What is copied from the page has no blank where a line was broken.
    """
    # Escaping leaves none of these characters in an entity, so no break can come into one.
    return Html(_JOINTS.sub(r"\1<wbr>", html_text(value, limit)))


def html_parts(template: str, values: Mapping[str, object]) -> Iterator[Html]:
    """Yield the parts of a page: a template of this package's own (Jinja's language) with ``values`` in it.

    Every expression in the template is encoded as ``html_text`` does, unless it is a number, HTML by this module, or a
    macro of the template. Of Jinja's filters there is none, so none can mark a text as safe; ``text`` and ``name`` are
    ``html_text`` and ``html_name`` with other limits.

    Raises:
        jinja2.TemplateError: the template is no template, or names a value that there is not.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        # The encoder alone would do; this is the second net, for an expression that a later Jinja does not finalize.
        autoescape=True,
        finalize=_html_part,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    # Jinja's own functions reach Python's attributes; a template of ours needs none of them.
    environment.globals.clear()
    environment.filters = {"text": partial(html_text, limit=_MAX_TEXT), "name": html_name, "length": len}
    parts = environment.from_string(template).stream(dict(values))
    # Jinja yields a part an expression: a page of thousands of images would be a million writes.
    parts.enable_buffering(_BUFFERED)
    yield from map(Html, parts)


def _html_part(value: object) -> object:
    """Return what an expression of a template shows, encoded."""
    # ``__html__`` is what ``Html`` and Jinja's own macros have; no text from outside does.
    return value if isinstance(value, int | float) or hasattr(value, "__html__") else html_text(value)


def html_asset(content: str) -> Html:
    """Return a style sheet or script of this package's own, which shares nothing with the page that it stands in.

    Raises:
        ValueError: it would end its element.
    """
    # HTML (WHATWG, "script data"): an element ends at "</" whatever the script's own quotes say.
    if "</" in content:
        raise ValueError("a style sheet or script that holds the end of an element")
    return Html(content)


def joined(parts: Iterable[Markdown], between: str = "") -> Markdown:
    """Return ``parts`` as one text."""
    return Markdown(between.join(parts))


def xml(template: str, *parts: object) -> Xml:
    """Return a template (as of ``str.format``) with ``parts`` in it, encoded unless they are XML or numbers."""
    shown = (part if isinstance(part, Xml | int | float) else _xml_text(part) for part in parts)
    return Xml(template.format(*shown))


def _xml_text(value: object) -> Xml:
    # ``plain`` leaves none of the characters that XML 1.0 (2.2) forbids. In ASCII it is what its head says it is, whatever
    # encoding the stream has.
    return Xml(_html.escape(plain(value, _MAX_TEXT)).encode("ascii", "xmlcharrefreplace").decode())


def csv_line(values: Iterable[object]) -> Csv:
    """Return one line of values (RFC 4180, with the line end of this system) that a spreadsheet shows and does not compute.

    A cell that begins as a formula does gets an apostrophe before it, which spreadsheets do not show (OWASP, "CSV
    Injection").
    """
    # A line's end within a cell is legal in RFC 4180, and read as another row by most tools.
    cells = (inert(str(value)) for value in values)
    safe = (_NEXT_CELL.sub(";'", f"'{cell}" if cell[:1] in _FORMULA and cell else cell) for cell in cells)
    return Csv(",".join('"' + cell.replace('"', '""') + '"' for cell in safe) + "\n")


def yaml_scalar(value: object) -> Yaml:
    """Return a text as YAML reads it back unchanged, whatever is in it."""
    text = str(value)
    # Unquoted only what no YAML version reads as anything but a text; the rest is quoted.
    safe = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_./+:@~-]*", text) and text[-1] != ":" and inert(text) == text
    # YAML 1.1 reads these as booleans ("no" is false), 1.2 does not; kubectl's parser is of 1.1.
    ambiguous = (
        text.lower() in ("true", "false", "null", "yes", "no", "on", "off", "y", "n") or text[:1].isdigit()
    )
    # Unquoted where that is safe, as people write YAML themselves.
    if safe and not ambiguous:
        return Yaml(text)
    written = "".join(
        char if " " <= char <= "~" and char not in '"\\' else _escape(char) for char in _whole(text)
    )
    return Yaml(f'"{without_commands(written, _escape)}"')


def yaml_lines(lines: Iterable[str]) -> Yaml:
    """Return lines of YAML, comments among them, as a document: each stays one line, and commands a log nothing."""
    return Yaml("".join(f"{inert(text)}\n" for text in lines))
