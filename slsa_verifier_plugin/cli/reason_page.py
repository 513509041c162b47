"""The page on reason codes, which is a part of the package, so that ``explain`` needs no network.

``slsa_verifier_plugin/cli/reasons.txt`` is the source; ``python -m tools.reasons`` writes ``docs/reasons.md`` from it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from slsa_verifier_plugin.policy.carried import carried

_CODE = re.compile(r"`([A-Z][A-Z_]+)`")
# An escaped bar belongs to the cell (GitHub Flavored Markdown, "Tables").
_CELL = re.compile(r"(?<!\\)\|")
_LINK = re.compile(r"\[([^]]+)\]\([^)]+\)")
CONTRACT = "contract error"


@dataclass(frozen=True, slots=True)
class ReasonEntry:
    """One row of the page: a code, the steps at which it may come, an example of its message, and what to do."""

    code: str
    steps: str
    example: str
    remedy: str


def page() -> str:
    """Return the whole page, in Markdown."""
    return carried("slsa_verifier_plugin.cli", "reasons.txt").decode("utf-8")


def entries() -> dict[str, ReasonEntry]:
    """Return the rows of the page by code: reasons by name, errors of Ratify's contract by number."""
    found: dict[str, ReasonEntry] = {}
    # The page is ours and has two tables; whatever is no row of theirs is prose.
    for line in page().splitlines():
        # A row begins and ends with a bar, so the first and the last part are empty.
        cells = [cell.strip() for cell in _CELL.split(line)[1:-1]]
        if len(cells) == 4 and (code := _CODE.fullmatch(cells[0])):
            found[code[1]] = ReasonEntry(code[1], cells[1], _bare(cells[2]), _bare(cells[3]))
        # The second table: errors of Ratify's contract, by number.
        elif len(cells) == 3 and cells[0].isdecimal():
            found[cells[0]] = ReasonEntry(cells[0], CONTRACT, _bare(cells[1]), _bare(cells[2]))
    return found


def _bare(text: str) -> str:
    """Return a cell without its Markdown: links as their text, no backquotes."""
    return _LINK.sub(r"\1", text).replace("`", "").replace("\\|", "|")
