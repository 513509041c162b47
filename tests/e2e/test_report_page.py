"""The audit's page in Debian's Chromium: drawn, sorted, filtered, opened, printed, accessible, silent on the network."""

from __future__ import annotations

import json
import os
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from slsa_verifier_plugin.audit.image_sources import Use
from slsa_verifier_plugin.checking.status import Decision
from tests.support import pdf
from tests.support.audit_page import FINGERPRINT, NAMESPACES, RUN, page, row
from tests.support.browser import AXE_CORE, Browser, browser, chromium, npm_file
from tests.support.command_line import ROOT

IMAGES = ROOT / "docs" / "images"
EVIL = "<script>document.title='owned'</script><img src=https://evil.example/x onerror=alert(1)>\"'{}"
ROWS = [row(number) for number in range(40)]
WIDTHS = (1920, 1024, 400)
VISIBLE = "#images > details:not([hidden])"

needs_chromium = pytest.mark.skipif(chromium() is None, reason="needs Debian's package chromium")


@pytest.fixture(scope="module")
def opened() -> Iterator[Browser]:
    with browser() as running:
        yield running


@pytest.fixture
def report(tmp_path: Path) -> Path:
    return page(ROWS, tmp_path / "report.html")


def cells(opened: Browser, name: str) -> list[str]:
    """Return what a column's visible cells show."""
    found: list[str] = opened.evaluate(
        f"Array.from(document.querySelectorAll('{VISIBLE} .{name}'), cell => cell.lastElementChild.textContent.trim())"
    )
    return found


def shown(opened: Browser) -> str:
    text: str = opened.evaluate("document.getElementById('shown').textContent")
    return text


MEASURED = """(() => {
  const wrong = [];
  for (const element of document.querySelectorAll("main *")) {
    const style = getComputedStyle(element);
    const box = element.getBoundingClientRect();
    if (box.width === 0 || element.closest("svg")) continue;
    if (box.left < -1 || box.right > innerWidth + 1) wrong.push(`outside: ${element.outerHTML.slice(0, 200)}`);
    if (style.textOverflow !== "clip") wrong.push(`cut: ${element.outerHTML.slice(0, 200)}`);
    if (style.overflowX !== "visible" && element.scrollWidth > element.clientWidth + 1
      && element.tagName !== "INPUT") wrong.push(`hidden: ${element.outerHTML.slice(0, 200)}`);
  }
  for (const row of document.querySelectorAll("#images > details")) {
    const box = row.querySelector(".decision b").getBoundingClientRect();
    if (box.width < 20 || box.height < 8 || box.right > innerWidth) wrong.push(`no decision: ${row.dataset.decision}`);
  }
  return wrong;
})()"""


def draw_all(opened: Browser, more: bool) -> None:
    """Have every row drawn, also those that the browser would leave out until somebody scrolls to them."""
    opened.evaluate(
        "document.querySelectorAll('details').forEach(item => { item.style.contentVisibility = 'visible'; "
        f"item.open = {json.dumps(more)}; }}) || true"
    )


@needs_chromium
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("more", [False, True], ids=["closed", "open"])
@pytest.mark.parametrize("script", [True, False], ids=["scripts", "no scripts"])
def test_at_no_width_is_text_cut_or_a_decision_out_of_sight(
    opened: Browser, tmp_path: Path, width: int, more: bool, script: bool
) -> None:
    long = replace(ROWS[0], uses=(Use("x", "n" * 253, f"Deployment/{'w' * 253}"),), message="m" * 500)
    opened.open(page([*ROWS, long], tmp_path / "report.html"), width=width, script=script)
    draw_all(opened, more)
    assert opened.evaluate(MEASURED) == []
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    assert len(cells(opened, "decision")) == len(ROWS) + 1


@needs_chromium
def test_what_is_measured_can_fail(opened: Browser, report: Path) -> None:
    broken = report.with_name("broken.html")
    broken.write_text(
        report.read_text().replace("</style>", ".cells{width:2500px}.cells .decision{display:none}</style>")
    )
    opened.open(broken, width=1024)
    # The changed style sheet is not the one that the page's own policy names, so nothing lays the page out.
    assert opened.evaluate("getComputedStyle(document.querySelector('.cells')).display") == "inline"
    opened.open(report, width=1024)
    draw_all(opened, False)
    opened.evaluate(
        "document.querySelectorAll('.cells').forEach(item => { item.style.width = '2500px' }) || true"
    )
    assert any(item.startswith("outside") for item in opened.evaluate(MEASURED))


def on_paper(text: str) -> str:
    """Return text as ``pdf.text_of`` finds it: without blanks, and ligatures as the letters that they stand for."""
    return re.sub(r"\s", "", unicodedata.normalize("NFKC", text))


@needs_chromium
@pytest.mark.parametrize("script", [True, False], ids=["scripts", "no scripts"])
def test_print_loses_nothing(opened: Browser, report: Path, script: bool) -> None:
    opened.open(report, script=script)
    if script:
        opened.click("button[data-value='denied']")
        assert len(cells(opened, "decision")) < len(ROWS)
    paper = on_paper(pdf.text_of(opened.pdf()))
    for item in ROWS:
        for text in (item.image, item.resolved, item.message, item.revision, item.signer, item.repository):
            assert on_paper(text) in paper
        assert f"reason{item.reason}" in paper
        for use in item.uses:
            assert f"{use.namespace}/{use.workload}" in paper
        for step in item.seen.steps:
            assert on_paper(f"{step.outcome} {step.number} {step.name}: {step.sentence}") in paper
    # The cards, the chart and each row name it.
    assert paper.count("decisiondenied") == sum(item.decision is Decision.DENIED for item in ROWS)
    assert FINGERPRINT in paper
    assert on_paper(RUN.command) in paper
    if script:
        assert len(cells(opened, "decision")) < len(ROWS), "what was filtered before is so after"


@needs_chromium
def test_the_chart_is_drawn(opened: Browser, report: Path) -> None:
    opened.open(report)
    bars = opened.evaluate(
        "Array.from(document.querySelectorAll('.bar rect'), bar => bar.getBoundingClientRect().width)"
    )
    assert len(bars) >= 2 * len(NAMESPACES)
    assert all(width > 2 for width in bars)
    colours = opened.evaluate(
        "Array.from(new Set(Array.from(document.querySelectorAll('.bar rect'), bar => getComputedStyle(bar).fill)))"
    )
    assert len(colours) == 6
    names = opened.evaluate("Array.from(document.querySelectorAll('.bar .name'), item => item.textContent)")
    assert sorted(names) == sorted(NAMESPACES)
    assert opened.console == []


@needs_chromium
def test_a_click_sorts_the_rows(opened: Browser, report: Path) -> None:
    opened.open(report)
    before = cells(opened, "image")
    opened.click("[data-sort=image]")
    ascending = cells(opened, "image")
    assert sorted(ascending) == sorted(before)
    assert ascending != before
    within = [int(re.findall(r"app(\d+)", name)[0]) for name in ascending if "/agents/" in name]
    assert within == sorted(within), "numbers in names sort as numbers"
    assert (
        opened.evaluate("document.querySelector('[data-sort=image]').ariaDescription")
        == "sorted, lowest first"
    )
    opened.click("[data-sort=image]")
    assert cells(opened, "image") == ascending[::-1]
    opened.click("[data-sort=order]")
    decisions = cells(opened, "decision")
    assert decisions == sorted(decisions, key=["denied", "undecided", "admitted"].index)
    opened.click("[data-sort=rank]")
    levels = cells(opened, "level")
    rank = {name: name if name.startswith("SLSA") else "" for name in levels}
    assert levels == sorted(levels, key=rank.__getitem__)


@needs_chromium
@pytest.mark.parametrize(
    ("selector", "kept"),
    [
        ("[data-value=denied]", lambda item: item.decision is Decision.DENIED),
        ("[data-value=NO_ATTESTATION]", lambda item: item.reason == "NO_ATTESTATION"),
        (".bar[data-value=agents] .name", lambda item: "agents" in {use.namespace for use in item.uses}),
        (
            ".bar[data-value=agents] rect[data-level=SLSA_SOURCE_LEVEL_3]",
            lambda item: (
                item.highest == "SLSA_SOURCE_LEVEL_3" and "agents" in {use.namespace for use in item.uses}
            ),
        ),
        (".legend [data-value='no level']", lambda item: item.reason == "NO_ATTESTATION"),
    ],
    ids=["card", "reason", "namespace", "part of a bar", "level"],
)
def test_a_click_filters_and_another_takes_it_back(
    opened: Browser, report: Path, selector: str, kept: Any
) -> None:
    opened.open(report)
    opened.click(selector)
    expected = sorted(item.image for item in ROWS if kept(item))
    assert 0 < len(expected) < len(ROWS)
    assert sorted(cells(opened, "image")) == expected
    assert shown(opened) == f"{len(expected)} of 40 shown"
    while opened.evaluate("document.querySelectorAll('#active button').length"):
        opened.click("#active button")
    assert shown(opened) == "40 of 40 shown"
    assert opened.evaluate("document.querySelectorAll('[aria-pressed=true]').length") == 0


@needs_chromium
def test_filters_and_words_narrow_together(opened: Browser, report: Path) -> None:
    opened.open(report)
    opened.click("[data-value=denied]")
    opened.click("#search")
    opened.type("agents app")
    expected = [
        item.image
        for item in ROWS
        if item.decision is Decision.DENIED and "agents" in {use.namespace for use in item.uses}
    ]
    assert 0 < len(expected) < len(ROWS)
    assert sorted(cells(opened, "image")) == sorted(expected)


@needs_chromium
def test_a_row_opens_to_its_steps_remedy_and_digests(opened: Browser, report: Path) -> None:
    opened.open(report)
    item = ROWS[1]
    find = f"Array.from(document.querySelectorAll('#images > details')).find(row => row.textContent.includes('{item.resolved}'))"
    assert opened.evaluate(f"{find}.querySelector('.more').checkVisibility()") is False
    opened.evaluate(f"{find}.querySelector('summary').click() || true")
    text = opened.evaluate(f"{find}.querySelector('.more').innerText")
    assert "What to do: Raise the repository's source level" in text
    assert "failed 11 levels: found SLSA_SOURCE_LEVEL_1" in text
    for fact in (item.resolved, item.seen.artifact, item.revision, item.signer, "sha256:" + "ab" * 32):
        assert fact in text


@needs_chromium
def test_nothing_is_asked_of_the_network_and_the_console_is_silent(opened: Browser, report: Path) -> None:
    opened.open(report)
    opened.click("[data-sort=namespaces]")
    opened.click("[data-value=denied]")
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
    opened.click(".bar")
    assert opened.evaluate("document.title") == "SLSA audit of 1 image"
    assert opened.evaluate("document.images.length + document.scripts.length") == 1
    assert opened.requests == [path.as_uri()]
    assert shown(opened) == "1 of 1 shown"
    assert "<script>document.title" in cells(opened, "image")[0]


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
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_axe_finds_no_serious_issue(opened: Browser, report: Path, dark: bool, width: int) -> None:
    axe = npm_file(AXE_CORE)
    if axe is None:
        pytest.skip("needs npm, for axe-core")
    opened.open(report, dark=dark, width=width)
    draw_all(opened, True)
    opened.click("[data-value=denied]")
    opened.evaluate(axe.decode() + ";true")
    found = opened.evaluate("axe.run().then(result => JSON.stringify(result.violations))")
    violations = json.loads(found)
    serious = [
        f"{item['id']} ({item['impact']}): {item['nodes'][0]['html']}"
        for item in violations
        if item["impact"] in ("serious", "critical")
    ]
    assert serious == []


TIMES = """(async () => {
  const painted = performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? 0;
  const began = performance.now();
  document.querySelector("[data-sort=image]").click();
  document.body.getBoundingClientRect();
  const sorted = performance.now() - began;
  const narrowed = performance.now();
  document.querySelector("[data-value=denied]").click();
  document.body.getBoundingClientRect();
  return [painted, sorted, performance.now() - narrowed];
})()"""


@needs_chromium
@pytest.mark.parametrize("count", [300, 5_000])
def test_many_images_stay_usable(opened: Browser, tmp_path: Path, count: int) -> None:
    """The times are shown (``-rP``) and stand in ``docs/performance.md``; what is asserted does not depend on the machine."""
    opened.open(page([row(number) for number in range(count)], tmp_path / "many.html"))
    times = dict(zip(("first paint", "sort", "filter"), opened.evaluate(TIMES), strict=True))
    print(f"{count} images: {', '.join(f'{name} {time:.0f} ms' for name, time in times.items())}")
    assert shown(opened) == f"{count * 3 // 10} of {count} shown"
    # Rows out of sight are not laid out: that is why thousands are no burden.
    assert opened.evaluate("getComputedStyle(document.querySelector('.row')).contentVisibility") == "auto"


@needs_chromium
@pytest.mark.parametrize(
    ("name", "width", "height", "dark", "paper"),
    [
        ("audit-report", 1180, 1250, False, False),
        ("audit-report-narrow", 400, 900, False, False),
        ("audit-report-dark", 1180, 900, True, False),
        ("audit-report-print", 794, 1123, False, True),
    ],
)
def test_the_screenshots_in_the_docs(
    opened: Browser, tmp_path: Path, name: str, width: int, height: int, dark: bool, paper: bool
) -> None:
    """Taken anew where ``SLSA_UPDATE_IMAGES`` is set; else only that they can be taken, for fonts differ."""
    opened.open(page(ROWS, tmp_path / "report.html"), width=width, height=height, dark=dark)
    if paper:
        opened.as_paper()
    if paper or width < 700:
        opened.evaluate("document.getElementById('images').scrollIntoView() || true")
    png = opened.screenshot()
    assert png.startswith(b"\x89PNG")
    assert len(png) > 10_000
    if os.environ.get("SLSA_UPDATE_IMAGES"):
        (IMAGES / f"{name}.png").write_bytes(png)
    assert (IMAGES / f"{name}.png").stat().st_size < 250_000
