"""The page on reason codes, which is a part of the package, so that ``explain`` and reports need no network.

``slsa_verifier_plugin/cli/reasons.txt`` is the source; ``python -m tools.reasons`` writes ``docs/reasons.md`` from it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, metadata

from slsa_verifier_plugin.policy.carried import carried

_CODE = re.compile(r"[A-Z][A-Z_]+")
# An escaped bar belongs to the cell (GitHub Flavored Markdown, "Tables").
_CELL = re.compile(r"(?<!\\)\|")
_LINK = re.compile(r"\[([^]]+)\]\([^)]+\)")
CONTRACT = "contract error"
SPECIFICATION = "https://slsa.dev/spec/v1.2/verifying-source"
"""What is verified, and why: what every code is about."""


@dataclass(frozen=True, slots=True)
class ReasonEntry:
    """What the page says of a code.

    ``steps`` are those at which it may come, ``meaning`` and ``in_short`` (what helps) a sentence each, for reports that explain
    themselves; ``example`` is one of its messages, ``remedy`` all that there is to do.
    """

    code: str
    steps: str
    meaning: str
    example: str
    remedy: str
    in_short: str = ""


def page() -> str:
    """Return the whole page, in Markdown."""
    return carried("slsa_verifier_plugin.cli", "reasons.txt").decode("utf-8")


@cache
def entries() -> dict[str, ReasonEntry]:
    """Return what the page says, by code: reasons by name, errors of Ratify's contract by number."""
    # A row begins and ends with a bar, so the first and the last part are empty; whatever is no row is prose.
    rows = [[_bare(cell) for cell in _CELL.split(line)[1:-1]] for line in page().splitlines()]
    sentences = {row[0]: row[1:] for row in rows if len(row) == 3}
    found: dict[str, ReasonEntry] = {}
    for row in rows:
        if len(row) == 4 and _CODE.fullmatch(row[0]):
            code, steps, example, remedy = row
            meaning, in_short = sentences[code]
            found[code] = ReasonEntry(code, steps, meaning, example, remedy, in_short)
        # The last table: errors of Ratify's contract, by number.
        elif len(row) == 3 and row[0].isdecimal():
            code, meaning, cause = row
            found[code] = ReasonEntry(code, CONTRACT, meaning, meaning, cause)
    return found


def _bare(text: str) -> str:
    """Return a cell without its Markdown: links as their text, no backquotes."""
    return _LINK.sub(r"\1", text.strip()).replace("`", "").replace("\\|", "|")


def reasons_page() -> str:
    """Return the page on all codes: of the repository that the package names (``Project-URL``), else the specification.

    A page that is nowhere would be worse than none; ``explain`` needs no network.
    """
    try:
        urls = metadata("slsa-verifier-plugin").get_all("Project-URL") or []
    # The one-file plugin carries no metadata of its own.
    except PackageNotFoundError:
        urls = []
    # A Project-URL is a label, a comma and the address (core metadata specification).
    named = dict(url.split(", ", 1) for url in urls if ", " in url)
    repository = named.get("Repository", "").rstrip("/")
    # Reports open it in a browser, so nothing but https counts.
    return f"{repository}/blob/main/docs/reasons.md" if repository.startswith("https://") else SPECIFICATION
