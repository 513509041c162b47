"""The documentation: prose can be read in a terminal, each page is found, requests lead to files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "deploy").rglob("*.md")])
WIDTH = 120
PIECE = r"(?:`[^`]*`|\[[^\]]*\]\([^)]*\)|\S)+"


def prose(text: str) -> Iterator[str]:
    """Yield the lines of a page that wrap: no code, no table, no heading, no line that is one link."""
    code = False
    for line in text.splitlines():
        if re.match(r"\s*(```|~~~)", line):
            code = not code
        elif not code and not re.match(r"\s*[|#<!]|    ", line) and " " in line.strip():
            yield line


def links(text: str) -> Iterator[str]:
    """Yield the targets of a page's links to other files."""
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"[a-z]+:|#", target):
            yield target.partition("#")[0]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_prose_wraps(page: Path) -> None:
    # A command or a link in the middle of a sentence stays in one piece.
    long = [
        line
        for line in prose(page.read_text("utf-8"))
        if len(line) > WIDTH and max(map(len, re.findall(PIECE, line))) < 60
    ]
    assert long == []


def test_the_readers_are_not_blind() -> None:
    assert list(prose("a b\n```\nc d\n```\n| e f |\n")) == ["a b"]
    assert list(links("[a](b.md#c) [d](https://e.example) [f](#g)")) == ["b.md"]
    assert len(PAGES) > 25


def test_each_page_is_in_an_index() -> None:
    for folder in ("docs", "docs/operations", "docs/decisions"):
        listed = set(links((ROOT / folder / "README.md").read_text("utf-8")))
        pages = {page.name for page in (ROOT / folder).glob("*.md")} - {"README.md"}
        assert pages - listed == set(), folder


def test_a_request_leads_to_a_file_that_is_there() -> None:
    """``docs/decisions/finding-your-way.md``: ten requests, each with its room of ``docs/design.md`` and its file."""
    text = (ROOT / "docs/decisions/finding-your-way.md").read_text("utf-8")
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| ")][2:]
    assert len(rows) == 10
    for request, _, answer in rows:
        named = re.findall(r"`([a-z_/.-]+/[a-z_/.-]*)`", answer)
        assert named, request
        for name in named:
            assert (ROOT / name).exists() or (ROOT / "slsa_verifier_plugin" / name).exists(), name


def test_the_glossary_has_twenty_terms() -> None:
    rows = re.findall(r"^\| (\w[^|]+) \|", (ROOT / "docs/glossary.md").read_text("utf-8"), re.MULTILINE)
    assert len(set(rows) - {"word"}) >= 20
    assert rows[1:] == sorted(rows[1:], key=str.lower)
