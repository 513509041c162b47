"""Accepts what people type from the habit of other programs: ``version``, ``help``, ``-o json``, global options anywhere."""

from __future__ import annotations

from collections.abc import Sequence

_FLAGS = frozenset({"--debug"})
_VALUED = frozenset({"--color"})
_JSON = "json"
_FORMATS = frozenset({"text", "table", "sarif", "markdown", "html", "csv", "junit"})
_WITH_FORMATS = frozenset({"verify", "audit"})
_WRITERS = frozenset({"fetch", "policy init", "trust export"})
"""Commands whose ``-o`` is a file or folder and that have no ``--json``: there a file may be named ``json``."""


def usual(arguments: Sequence[str]) -> list[str]:
    """Return ``arguments`` as the program's own options and commands have them.

    Args:
        arguments: as typed, without the program's name. What follows ``--`` stays as it is.
    """
    end = list(arguments).index("--") if "--" in arguments else len(arguments)
    ahead, rest = _global_first(list(arguments[:end]))
    if rest[:1] == ["version"]:
        return [*ahead, "--version"]
    if rest[:1] == ["help"]:
        return [*ahead, *rest[1:], "--help"]
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
            # Without a value the option stays alone, and click says that it needs one.
            ahead += [argument, *[value for value in [next(left, None)] if value is not None]]
        else:
            rest.append(argument)
    return ahead, rest


def _formats(arguments: list[str]) -> list[str]:
    """Return ``arguments`` with ``-o json`` as ``--json``, and so for other formats, where the command has them."""
    words = [item for item in arguments if not item.startswith("-")]
    command = words[0] if words else ""
    if command in _WRITERS or " ".join(words[:2]) in _WRITERS:
        return arguments
    made: list[str] = []
    index = 0
    while index < len(arguments):
        taken, value = _output_at(arguments, index)
        if value == _JSON:
            made.append("--json")
        elif value in _FORMATS and command in _WITH_FORMATS:
            made += ["--format", value]
        else:
            taken = 1
            made.append(arguments[index])
        index += taken
    return made


def _output_at(arguments: list[str], index: int) -> tuple[int, str]:
    """Return how many arguments from ``index`` on are an option for the output, and its value; 0 where there is none."""
    argument = arguments[index]
    if argument in ("-o", "--output"):
        return (2, arguments[index + 1]) if index + 1 < len(arguments) else (0, "")
    for prefix in ("--output=", "-o=", "-o"):
        if argument.startswith(prefix):
            return 1, argument.removeprefix(prefix)
    return 0, ""
