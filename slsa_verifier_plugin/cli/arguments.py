"""Accepts what people type from the habit of other programs: ``version``, ``help``, ``-o json``, global options anywhere."""

from __future__ import annotations

from collections.abc import Sequence

_FLAGS = frozenset({"--debug"})
_VALUED = frozenset({"--color"})
_NO_COMMANDS = frozenset({"help", "version"})
_JSON = "json"
_FORMATS = frozenset({"text", "table", "sarif", "markdown", "html", "csv", "junit"})
# Only these have --format; the others know text and --json.
_WITH_FORMATS = frozenset({"verify", "audit"})
_WRITERS = frozenset({"fetch", "policy init", "trust export"})
"""Commands whose ``-o`` is a file or folder and that have no ``--json``: there a file may be named ``json``."""


def usual(arguments: Sequence[str]) -> list[str]:
    """Return ``arguments`` as the program's own options and commands have them.

    Args:
        arguments: as typed, without the program's name. What follows ``--`` stays as it is.
    """
    # Behind "--" everything is a name, also one that looks like an option.
    end = list(arguments).index("--") if "--" in arguments else len(arguments)
    ahead, rest = _global_first(list(arguments[:end]))
    # As docker, kubectl and go have it.
    if rest[:1] == ["version"]:
        return [*ahead, "--version"]
    # "help verify" is "verify --help".
    if rest[:1] == ["help"]:
        return [*ahead, *(item for item in rest[1:] if item not in _NO_COMMANDS), "--help"]
    # As "kubectl config help" and "git help config" are both understood.
    if rest[1:2] == ["help"] and not rest[0].startswith("-"):
        return [*ahead, rest[0], *rest[2:], "--help"]
    return [*ahead, *_formats(rest), *arguments[end:]]


def _global_first(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Return the program's own options, wherever they stand, and the rest."""
    ahead: list[str] = []
    rest: list[str] = []
    left = iter(arguments)
    for argument in left:
        name, equals, _ = argument.partition("=")
        if argument in _FLAGS or (equals and name in _VALUED):
            ahead.append(argument)
        elif argument in _VALUED:
            value = next(left, None)
            # Alone, so that click says that it needs a value, and does not take the command for it.
            if value is None:
                return [argument], []
            ahead += [argument, value]
        else:
            rest.append(argument)
    return ahead, rest


def _formats(arguments: list[str]) -> list[str]:
    """Return ``arguments`` with ``-o json`` as ``--json``, and so for other formats, where the command has them."""
    words = [item for item in arguments if not item.startswith("-")]
    command = words[0] if words else ""
    # There -o is a file's name, which may well be "json".
    if command in _WRITERS or " ".join(words[:2]) in _WRITERS:
        return arguments
    made: list[str] = []
    index = 0
    while index < len(arguments):
        taken, value = _output_at(arguments, index, command in _WITH_FORMATS)
        if value == _JSON:
            made.append("--json")
        # Elsewhere -o is left alone: click then says what the command takes.
        elif value in _FORMATS and command in _WITH_FORMATS:
            made += ["--format", value]
        # An option of another meaning, or a word: passed on as it is.
        else:
            taken = 1
            made.append(arguments[index])
        index += taken
    return made


def _output_at(arguments: list[str], index: int, has_format: bool) -> tuple[int, str]:
    """Return how many arguments from ``index`` on are an option for the output, and its value; 0 where there is none."""
    argument = arguments[index]
    # Where there is an option --format, it is left to click.
    names = ("-o", "--output", *(() if has_format else ("--format",)))
    # At the end of the line no value follows: left alone, so that click says that it is missing.
    if argument in names:
        return (2, arguments[index + 1]) if index + 1 < len(arguments) else (0, "")
    for prefix in (*(f"{name}=" for name in names), "-o"):
        if argument.startswith(prefix):
            return 1, argument.removeprefix(prefix)
    return 0, ""
