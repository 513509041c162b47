"""The audit as one page for browsers: no network, readable without scripts and in print, sortable with them.

Its own Content Security Policy names the digests of its one style sheet and one script, so that nothing that an attestation
says can run or load anything, even if it got past the escaping.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator
from html import escape
from importlib import resources

from slsa_verifier_plugin import __version__
from slsa_verifier_plugin.cli.audit_state import Row
from slsa_verifier_plugin.cli.audit_summary import NO_LEVEL, UNDECIDED, Summary, steps_of
from slsa_verifier_plugin.cli.reasons import SUMMARIES
from slsa_verifier_plugin.cli.status import PROGRAM, Decision
from slsa_verifier_plugin.errors import Reason
from slsa_verifier_plugin.text import plain

_BAR, _GAP, _NAMES, _LENGTH = 22, 10, 220, 560
"""Pixels of the chart: a bar's height, the space below it, the column of names, the longest bar."""
_ORDER = {Decision.DENIED: "0", Decision.UNDECIDED: "1", Decision.ADMITTED: "2"}
_HEADS = ("image", "namespaces", "decision", "highest level", "reason", "repository and commit")
MAX_NAMESPACES = 200
"""Bars of the chart; those with the most images. The table has all of them."""


def page_of(summary: Summary, rows: Iterable[Row]) -> Iterator[str]:
    """Yield the parts of the page, an image at a time.

    Args:
        summary: the counts.
        rows: what became of each image, in the order of the table.
    """
    style, script = _asset("report.css"), _asset("report.js")
    csp = f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; base-uri 'none'; form-action 'none'"
    yield (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(csp)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>SLSA audit of {summary.images} images</title>\n<style>{style}</style>\n</head>\n<body>\n<main>\n"
    )
    yield from _head(summary)
    yield from _levels(summary)
    yield from _chart(summary)
    yield from _reasons(summary)
    yield from _images(summary, rows)
    yield f"</main>\n<script>{script}</script>\n</body>\n</html>\n"


def _head(summary: Summary) -> Iterator[str]:
    yield "<h1>What would be admitted</h1>\n"
    yield (
        f'<p class="about">{summary.images} images in {summary.uses} places, against {_text(summary.policy)}; '
        f'<time datetime="{summary.created:%Y-%m-%dT%H:%M:%SZ}">{summary.created:%Y-%m-%d %H:%M} UTC</time>, '
        f"{PROGRAM} {escape(__version__)}</p>\n"
    )
    if summary.missing:
        yield f'<p class="undecided"><strong>Incomplete: {summary.missing} images have not been looked at yet.</strong></p>\n'
    for gap in summary.gaps:
        yield f'<p class="undecided"><strong>Incomplete: {escape(gap)}.</strong></p>\n'
    yield '<ul class="cards">\n'
    for decision in Decision:
        yield f'<li><strong class="{decision}">{summary.decisions[decision]}</strong> {decision}</li>\n'
    yield "</ul>\n"


def _levels(summary: Summary) -> Iterator[str]:
    yield "<h2>At each level</h2>\n"
    yield _scrolled("Decisions at each level")
    yield '<table class="narrow"><thead><tr><th scope="col">if the policy demanded</th>'
    yield "".join(f'<th scope="col" class="number">{decision}</th>' for decision in Decision)
    yield "</tr></thead><tbody>\n"
    for name, counts in [("as it stands", summary.decisions), *summary.by_level.items()]:
        cells = "".join(f'<td class="number">{counts[decision]}</td>' for decision in Decision)
        yield f'<tr><th scope="row">{_text(name)}</th>{cells}</tr>\n'
    yield "</tbody></table></div>\n"


def _chart(summary: Summary) -> Iterator[str]:
    """Yield the chart of levels by namespace, and the same as a table for those who cannot see it."""
    if not summary.by_namespace:
        return
    steps = steps_of(summary.levels)
    totals = {name: sum(counts.values()) for name, counts in summary.by_namespace.items()}
    shown = sorted(sorted(totals, key=lambda name: -totals[name])[:MAX_NAMESPACES])
    longest = max(totals[name] for name in shown)
    height = len(shown) * (_BAR + _GAP)
    yield "<h2>Highest level by namespace</h2>\n"
    yield '<ul class="legend" aria-hidden="true">'
    for step in steps:
        swatch = f'<svg width="12" height="12"><rect width="12" height="12" class="{_class(step)}"/></svg>'
        yield f"<li>{swatch}{_text(step)}</li>"
    yield "</ul>\n"
    yield (
        f'<figure tabindex="0">\n<svg id="chart" width="{_NAMES + _LENGTH + 60}" height="{height}" role="img" '
        f'viewBox="0 0 {_NAMES + _LENGTH + 60} {height}" aria-label="Images by namespace and highest level; the table below '
        'has the same numbers.">\n'
    )
    for index, name in enumerate(shown):
        top, left = index * (_BAR + _GAP), float(_NAMES)
        label = plain(name, 30)
        yield f'<text x="{_NAMES - 8}" y="{top + 16}" text-anchor="end">{escape(label)}</text>'
        for step in steps:
            count = summary.by_namespace[name][step]
            width = _LENGTH * count / longest
            if count:
                yield (
                    f'<rect class="{_class(step)}" x="{left:.1f}" y="{top}" width="{width:.1f}" height="{_BAR}">'
                    f"<title>{_text(name)}, {_text(step)}: {count}</title></rect>"
                )
            left += width
        yield f'<text class="count" x="{left + 6:.1f}" y="{top + 16}">{totals[name]}</text>\n'
    yield "</svg>\n</figure>\n<details><summary>The same as a table</summary>\n"
    yield _scrolled("Images by namespace and highest level")
    yield '<table id="namespaces"><thead><tr><th scope="col">namespace</th>'
    yield "".join(f'<th scope="col" class="number">{_text(step)}</th>' for step in steps)
    yield "</tr></thead><tbody>\n"
    for name, counts in summary.by_namespace.items():
        cells = "".join(f'<td class="number">{counts[step]}</td>' for step in steps)
        yield f'<tr><th scope="row">{_text(name)}</th>{cells}</tr>\n'
    yield "</tbody></table></div></details>\n"


def _reasons(summary: Summary) -> Iterator[str]:
    if not summary.by_reason:
        return
    yield f"<h2>Why not</h2>\n{_scrolled('Reasons')}"
    yield '<table class="narrow" id="reasons"><thead><tr><th scope="col" class="number">images</th>'
    yield '<th scope="col">reason</th><th scope="col">meaning</th></tr></thead><tbody>\n'
    for reason, count in summary.by_reason.most_common():
        meaning = escape(SUMMARIES[Reason(reason)])
        yield f'<tr><td class="number">{count}</td><td><code>{_text(reason)}</code></td><td>{meaning}</td></tr>\n'
    yield "</tbody></table></div>\n"


def _images(summary: Summary, rows: Iterable[Row]) -> Iterator[str]:
    yield "<h2>Images</h2>\n"
    yield (
        '<p class="filter" hidden><label>Show only those with <input id="filter" type="search" autocomplete="off"></label> '
        '<span id="shown" role="status"></span></p>\n'
    )
    yield _scrolled("Images")
    yield '<table id="images"><thead><tr>'
    yield "".join(f'<th scope="col"><button type="button">{head}</button></th>' for head in _HEADS)
    yield "</tr></thead><tbody>\n"
    ranks = {name: str(number) for number, name in enumerate(summary.levels, 1)}
    for row in rows:
        yield _row(row, ranks)
    yield "</tbody></table></div>\n"


def _row(row: Row, ranks: dict[str, str]) -> str:
    names = sorted({use.namespace for use in row.uses if use.namespace})
    image = f"<code>{_text(row.image, 512)}</code>"
    if row.resolved and row.resolved != row.image:
        image += f"<details><summary>resolved</summary><code>{_text(row.resolved, 512)}</code></details>"
    workloads = sorted({f"{use.namespace}/{use.workload}".strip("/") for use in row.uses if use.workload})
    places = _text(", ".join(names[:8]), 256)
    if workloads:
        items = "".join(f"<li>{_text(item, 256)}</li>" for item in workloads[:50])
        items += f"<li>and {len(workloads) - 50} more</li>" if len(workloads) > 50 else ""
        places += f"<details><summary>{len(workloads)} workloads</summary><ul>{items}</ul></details>"
    reason = ""
    if row.decision is not Decision.ADMITTED:
        reason = f"<code>{_text(row.reason)}</code><br>{_text(row.message, 1024)}"
    source = f"<code>{_text(row.repository, 512)}</code>" if row.repository else ""
    source += f"<br><code>{_text(row.revision)}</code>" if row.revision else ""
    return (
        f"<tr><td>{image}</td><td>{places}</td>"
        f'<td data-key="{_ORDER[row.decision]}"><span class="{row.decision}">{row.decision}</span></td>'
        f'<td data-key="{ranks.get(row.highest, "0")}">{_text(row.highest or NO_LEVEL)}</td>'
        f"<td>{reason}</td><td>{source}</td></tr>\n"
    )


def _scrolled(label: str) -> str:
    """Return the start of a region that scrolls sideways by itself, with the keyboard too."""
    return f'<div class="wide" role="region" tabindex="0" aria-label="{escape(label)}">'


def _class(step: str) -> str:
    if step == UNDECIDED:
        return "s-undecided"
    return "s-none" if step == NO_LEVEL else f"s-{step.rpartition('_')[2]}"


def _text(value: str, limit: int = 160) -> str:
    return escape(plain(value, limit))


def _asset(name: str) -> str:
    return resources.files("slsa_verifier_plugin.cli.assets").joinpath(name).read_text("utf-8").strip()


def _digest(content: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}"
