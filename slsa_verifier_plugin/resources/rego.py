"""Tells whether a template's Rego has the closed form: deny each image that is not among those with a positive answer.

Read by pattern, not by meaning: what is not recognised counts as open, so that a person looks at it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

# Text in quotes is matched first: a # in it begins no comment.
_COMMENT = re.compile(r'("(?:\\.|[^"\\\n])*"|`[^`]*`)|#[^\n]*')
# ``x.isSuccess``, ``x["isSuccess"]`` and ``object.get(x, "isSuccess", false)``, each compared with true.
_POSITIVE = re.compile(r"""\bisSuccess\b(?:"\s*(?:,\s*false\s*\)|\])|)\s*==\s*true\b""")
# ``not image in verified`` and ``not verified[image]``; below, ``not verified(image)``.
_NOT_AMONG = re.compile(r"\bnot\s+[\w.\[\]]+\s+in\s+(\w+)\b|\bnot\s+(\w+)\[")
_NOT_TRUE_OF = re.compile(r"\bnot\s+(\w+)\(")
_HEAD = re.compile(r"(?:default\s+)?(\w+)")


def without_comments(rego: str) -> str:
    """Return Rego without its comments; what stands in quotes is none."""
    return _COMMENT.sub(lambda found: found[1] or "", rego)


def is_closed(rego: str) -> bool:
    """Return True if a rule denies what is ``not`` in a set (or rule) that only ``isSuccess == true`` leads into.

    Args:
        rego: without comments.
    """
    rules = list(_rules(rego))
    # Rules that only a positive answer can make true.
    positive = {name for name, text in rules if _demands(text)}
    for _, text in rules:
        # `not image in verified`, or `not verified[image]`.
        for found in _NOT_AMONG.finditer(text):
            if (found[1] or found[2]) in positive:
                return True
        # Asked of each response instead of each image, an image without a response is never asked about.
        if "responses" not in text and any(name in positive for name in _NOT_TRUE_OF.findall(text)):
            return True
    return False


def _demands(rule: str) -> bool:
    # A line with ``not`` in it demands the opposite.
    return any(_POSITIVE.search(line) and not re.search(r"\bnot\b", line) for line in rule.splitlines())


def _rules(rego: str) -> Iterator[tuple[str, str]]:
    """Yield each rule's name and text: it begins in the column of ``package``, and ends where the next begins."""
    indent = next((line[: -len(line.lstrip())] for line in rego.splitlines() if line.strip()), "")
    lines: list[str] = []
    # One line more, which begins like a rule, so that the last rule ends as well.
    for line in [*rego.splitlines(), f"{indent}end"]:
        begins = line.startswith(indent) and _HEAD.match(line[len(indent) :])
        # A rule ends where the next begins: Rego has no closing word for bodies without braces.
        if begins and lines:
            name = _HEAD.match(lines[0])
            if name is not None:
                yield name[1], "\n".join(lines)
            lines = []
        lines.append(line[len(indent) :])
