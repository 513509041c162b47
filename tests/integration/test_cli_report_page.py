"""The audit's page in Debian's Chromium: drawn, sorted, filtered, printed, accessible, and silent on the network."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest

from slsa_verifier_plugin.audit.audit_state import Row
from slsa_verifier_plugin.audit.audit_summary import summary_of
from slsa_verifier_plugin.audit.image_sources import Use
from slsa_verifier_plugin.checking.status import Decision
from slsa_verifier_plugin.cli.render.render_html import page_of
from tests.support.browser import AXE_CORE, Browser, browser, chromium, npm_file
from tests.support.command_line import ROOT

LEVELS = tuple(f"SLSA_SOURCE_LEVEL_{number}" for number in range(1, 5))
NAMESPACES = ("payments", "search", "checkout", "agents", "internal-tools")
CREATED = datetime(2026, 1, 15, 9, 30, tzinfo=UTC)
SCREENSHOT = ROOT / "docs" / "images" / "audit-report.png"
EVIL = "<script>document.title='owned'</script><img src=https://evil.example/x onerror=alert(1)>\"'{}"

needs_chromium = pytest.mark.skipif(chromium() is None, reason="needs Debian's package chromium")


def row(number: int) -> Row:
    """Return one of a made-up cluster's images; level 0 for none, -1 for undecided."""
    level = (3, 1, 3, 2, 0, 3, 4, 1, 3, -1)[number % 10]
    decisions = [Decision.ADMITTED if n <= level else Decision.DENIED for n in range(1, 5)]
    decision, reason, message = (
        Decision.ADMITTED,
        "VERIFIED",
        "SLSA_SOURCE_LEVEL_3 for git+https://github.com/example/app",
    )
    if level < 0:
        decisions = [Decision.UNDECIDED] * 4
        decision, reason = Decision.UNDECIDED, "REGISTRY_UNAUTHORIZED"
        message = "fetching the manifest failed: 401, the registry wants credentials."
    elif level == 0:
        decision, reason, message = (
            Decision.DENIED,
            "NO_ATTESTATION",
            "found nothing attached, expected slsla/attestation.",
        )
    elif level < 2:
        decision, reason = Decision.DENIED, "LEVEL_TOO_LOW"
        message = (
            "found SLSA_SOURCE_LEVEL_1, expected SLSA_SOURCE_LEVEL_2; raise the protection of the repository."
        )
    image = f"registry.example/{NAMESPACES[number % 5]}/app{number}:v{number}"
    uses = tuple(
        Use(image, NAMESPACES[(number + extra) % 5], f"Deployment/app{number}")
        for extra in range(1 + number % 2)
    )
    return Row(
        image=image,
        resolved=f"{image}@sha256:{number:064x}",
        decision=decision,
        reason=reason,
        message=message,
        levels=dict(zip(LEVELS, decisions, strict=True)),
        repository=f"git+https://github.com/example/app{number}" if level > 0 else "",
        revision=f"{number:040x}" if level > 0 else "",
        uses=uses,
    )


ROWS = [row(number) for number in range(40)]


def page(rows: list[Row], path: Path) -> Path:
    summary = summary_of(rows, "verifier-slsa", LEVELS, CREATED)
    path.write_text("".join(page_of(summary, rows)))
    return path


@pytest.fixture(scope="module")
def opened() -> Iterator[Browser]:
    with browser() as running:
        yield running


@pytest.fixture
def report(tmp_path: Path) -> Path:
    return page(ROWS, tmp_path / "report.html")


def first_cells(opened: Browser, column: int) -> list[str]:
    cells: list[str] = opened.evaluate(
        f"Array.from(document.querySelectorAll('#images tbody tr:not([hidden])'), row => row.cells[{column}].innerText.trim())"
    )
    return cells


@needs_chromium
def test_the_chart_is_drawn(opened: Browser, report: Path) -> None:
    opened.open(report)
    bars = opened.evaluate(
        "Array.from(document.querySelectorAll('#chart rect'), bar => bar.getBoundingClientRect().width)"
    )
    assert len(bars) >= 2 * len(NAMESPACES)
    assert all(width > 2 for width in bars)
    colours = opened.evaluate(
        "Array.from(new Set(Array.from(document.querySelectorAll('#chart rect'), bar => getComputedStyle(bar).fill)))"
    )
    assert len(colours) == 6
    names = opened.evaluate(
        "Array.from(document.querySelectorAll('#chart text[text-anchor]'), t => t.textContent)"
    )
    assert names == sorted(NAMESPACES)
    assert opened.console == []


@needs_chromium
def test_a_click_sorts_the_table(opened: Browser, report: Path) -> None:
    opened.open(report)
    head = "#images thead th:nth-child({}) button"
    before = first_cells(opened, 0)
    opened.click(head.format(1))
    ascending = first_cells(opened, 0)
    assert sorted(ascending) == sorted(before)
    assert ascending != before
    number = re.compile(r"app(\d+)")
    within = [int(number.findall(name)[0]) for name in ascending if "/agents/" in name]
    assert within == sorted(within), "numbers in names sort as numbers"
    opened.click(head.format(1))
    assert first_cells(opened, 0) == ascending[::-1]
    opened.click(head.format(3))
    decisions = first_cells(opened, 2)
    assert decisions == sorted(decisions, key=["denied", "undecided", "admitted"].index)
    sorted_by = opened.evaluate(
        "Array.from(document.querySelectorAll('#images th'), th => th.getAttribute('aria-sort'))"
    )
    assert sorted_by == [None, None, "ascending", None, None, None]
    opened.click(head.format(4))
    levels = first_cells(opened, 3)
    assert levels == sorted(levels, key=lambda name: name if name != "no level" else "")


@needs_chromium
def test_the_filter_narrows_the_table(opened: Browser, report: Path) -> None:
    opened.open(report)
    opened.click("#filter")
    opened.type("agents denied")
    shown = first_cells(opened, 2)
    expected = [
        item
        for item in ROWS
        if item.decision is Decision.DENIED and "agents" in {use.namespace for use in item.uses}
    ]
    assert 0 < len(shown) == len(expected) < len(ROWS)
    assert opened.evaluate("document.getElementById('shown').textContent") == f"{len(expected)} of 40 shown"


@needs_chromium
def test_nothing_is_asked_of_the_network_and_the_console_is_silent(opened: Browser, report: Path) -> None:
    opened.open(report)
    opened.click("#images thead th:nth-child(2) button")
    assert opened.requests == [report.as_uri()]
    assert opened.console == []


@needs_chromium
def test_what_an_attestation_says_cannot_run(opened: Browser, tmp_path: Path) -> None:
    evil = replace(
        ROWS[1],
        image=EVIL,
        resolved=EVIL,
        message=EVIL,
        repository=EVIL,
        revision=EVIL,
        uses=(Use(EVIL, EVIL, EVIL),),
    )
    path = page([evil], tmp_path / "evil.html")
    opened.open(path)
    assert opened.evaluate("document.title") == "SLSA audit of 1 images"
    assert opened.evaluate("document.images.length + document.scripts.length") == 1
    assert opened.requests == [path.as_uri()]
    assert "<script>document.title" in first_cells(opened, 0)[0]


@needs_chromium
def test_the_policy_of_the_page_itself_forbids_what_the_escaping_might_miss(
    opened: Browser, report: Path
) -> None:
    smuggled = report.with_name("smuggled.html")
    text = report.read_text().replace(
        "<h2>Images</h2>", "<script>document.title='owned'</script><img src='https://evil.example/x'>"
    )
    smuggled.write_text(text)
    opened.open(smuggled)
    assert opened.evaluate("document.title") == "SLSA audit of 40 images"
    assert any("Content Security Policy" in line for line in opened.console)


@needs_chromium
def test_it_reads_without_scripts_and_in_print(opened: Browser, report: Path) -> None:
    opened.open(report, script=False)
    printed = opened.pdf()
    assert printed.startswith(b"%PDF-")
    opened.open(report)
    assert len(first_cells(opened, 0)) == len(ROWS)


@needs_chromium
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_no_serious_issue(opened: Browser, report: Path, dark: bool) -> None:
    axe = npm_file(AXE_CORE)
    if axe is None:
        pytest.skip("needs npm, for axe-core")
    opened.open(report, dark=dark)
    opened.evaluate("document.querySelectorAll('details').forEach(item => { item.open = true; }) || true")
    opened.evaluate(axe.decode() + ";true")
    found = opened.evaluate("axe.run().then(result => JSON.stringify(result.violations))")
    violations = json.loads(found)
    serious = [
        f"{item['id']} ({item['impact']}): {item['nodes'][0]['html']}"
        for item in violations
        if item["impact"] in ("serious", "critical")
    ]
    assert serious == []


@needs_chromium
@pytest.mark.parametrize("width", [360, 1280])
def test_no_width_needs_sideways_scrolling_of_the_whole(opened: Browser, report: Path, width: int) -> None:
    opened.open(report, width=width)
    assert opened.evaluate("document.documentElement.scrollWidth") <= width


@needs_chromium
def test_the_screenshot_in_the_docs(opened: Browser, report: Path, tmp_path: Path) -> None:
    """Taken anew where ``SLSA_UPDATE_IMAGES`` is set; else only that one can be taken, for fonts differ."""
    opened.open(report, width=1180, height=1250)
    png = opened.screenshot()
    assert png.startswith(b"\x89PNG")
    assert len(png) > 20_000
    if os.environ.get("SLSA_UPDATE_IMAGES"):
        SCREENSHOT.parent.mkdir(exist_ok=True)
        SCREENSHOT.write_bytes(png)
    assert SCREENSHOT.exists()


class Tags(HTMLParser):
    """Checks that every element is closed, and keeps attributes that load something."""

    VOID = frozenset({"meta", "br", "input", "rect"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loading: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        self.loading += [
            f"{tag} {name}" for name, _ in attrs if name in ("src", "href", "style", "onclick", "srcset")
        ]

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


def test_the_page_is_well_formed_and_refers_to_nothing() -> None:
    summary = summary_of(ROWS, "p", LEVELS, CREATED)
    text = "".join(page_of(summary, ROWS))
    tags = Tags()
    tags.feed(re.sub(r"<rect[^>]*><title>[^<]*</title></rect>", "", text))
    assert tags.open == []
    assert tags.loading == []
    assert "http://" not in re.sub(r"git\+https://\S+", "", text)


def test_a_page_of_nothing_and_one_of_very_many_namespaces() -> None:
    empty = "".join(page_of(summary_of([], "p", LEVELS, CREATED), []))
    assert "0 images in 0 places" in empty
    assert "<svg id=" not in empty
    many = [replace(ROWS[0], image=f"a{n}", uses=(Use(f"a{n}", f"ns{n}"),)) for n in range(300)]
    text = "".join(page_of(summary_of(many, "p", LEVELS, CREATED), many))
    assert text.count('text-anchor="end"') == 200
    assert text.count('<th scope="row">ns') == 300
