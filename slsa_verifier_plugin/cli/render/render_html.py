"""The audit as one page for browsers: no network, readable without scripts and in print, sortable with them.

Its own Content Security Policy names the digests of its one style sheet and one script, so that nothing that an attestation
says can run or load anything, even if it got past the escaping.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator
from importlib import resources

from slsa_verifier_plugin import __version__
from slsa_verifier_plugin.audit.audit_state import Row
from slsa_verifier_plugin.audit.audit_summary import NO_LEVEL, UNDECIDED, Summary, steps_of
from slsa_verifier_plugin.checking.status import PROGRAM, Decision
from slsa_verifier_plugin.cli.render.reasons import SUMMARIES
from slsa_verifier_plugin.errors import Reason
from slsa_verifier_plugin.sinks import Html, html, html_asset, html_text, joined

_BAR, _GAP, _NAMES, _LENGTH = 22, 10, 220, 560
"""Pixels of the chart: a bar's height, the space below it, the column of names, the longest bar."""
_ORDER = {Decision.DENIED: "0", Decision.UNDECIDED: "1", Decision.ADMITTED: "2"}
_HEADS = ("image", "namespaces", "decision", "highest level", "reason", "repository and commit")
MAX_NAMESPACES = 200
"""Bars of the chart; those with the most images. The table has all of them."""


def page_of(summary: Summary, rows: Iterable[Row]) -> Iterator[Html]:
    """Yield the parts of the page, an image at a time.

    Args:
        summary: the counts.
        rows: what became of each image, in the order of the table.
    """
    style, script = _asset("report.css"), _asset("report.js")
    csp = f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; base-uri 'none'; form-action 'none'"
    yield html(
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta http-equiv="Content-Security-Policy" content="{}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<title>SLSA audit of {} images</title>\n<style>{}</style>\n</head>\n<body>\n<main>\n",
        html_text(csp, 1024),
        summary.images,
        style,
    )
    yield from _head(summary)
    yield from _levels(summary)
    yield from _chart(summary)
    yield from _reasons(summary)
    yield from _images(summary, rows)
    yield html("</main>\n<script>{}</script>\n</body>\n</html>\n", script)


def _head(summary: Summary) -> Iterator[Html]:
    yield html("<h1>What would be admitted</h1>\n")
    yield html(
        '<p class="about">{} images in {} places, against {}; <time datetime="{}">{} UTC</time>, {} {}</p>\n',
        summary.images,
        summary.uses,
        summary.policy,
        f"{summary.created:%Y-%m-%dT%H:%M:%SZ}",
        f"{summary.created:%Y-%m-%d %H:%M}",
        PROGRAM,
        __version__,
    )
    if summary.missing:
        yield html(
            '<p class="undecided"><strong>Incomplete: {} images have not been looked at yet.</strong></p>\n',
            summary.missing,
        )
    for gap in summary.gaps:
        yield html(
            '<p class="undecided"><strong>Incomplete: {}.</strong></p>\n',
            html_text(gap, 1024),
        )
    yield html('<ul class="cards">\n')
    for decision in Decision:
        yield html('<li><strong class="{0}">{1}</strong> {0}</li>\n', decision, summary.decisions[decision])
    yield html("</ul>\n")


def _levels(summary: Summary) -> Iterator[Html]:
    yield html("<h2>At each level</h2>\n")
    yield _scrolled("Decisions at each level")
    yield html(
        '<table class="narrow"><thead><tr><th scope="col">if the policy demanded</th>{}</tr></thead><tbody>\n',
        _number_heads(Decision),
    )
    for name, counts in [("as it stands", summary.decisions), *summary.by_level.items()]:
        yield html(
            '<tr><th scope="row">{}</th>{}</tr>\n', name, _numbers(counts[decision] for decision in Decision)
        )
    yield html("</tbody></table></div>\n")


def _chart(summary: Summary) -> Iterator[Html]:
    """Yield the chart of levels by namespace, and the same as a table for those who cannot see it."""
    if not summary.by_namespace:
        return
    steps = steps_of(summary.levels)
    totals = {name: sum(counts.values()) for name, counts in summary.by_namespace.items()}
    shown = sorted(sorted(totals, key=lambda name: -totals[name])[:MAX_NAMESPACES])
    longest = max(totals[name] for name in shown)
    height = len(shown) * (_BAR + _GAP)
    yield html("<h2>Highest level by namespace</h2>\n")
    yield html('<ul class="legend" aria-hidden="true">')
    for step in steps:
        yield html(
            '<li><svg width="12" height="12"><rect width="12" height="12" class="{}"/></svg>{}</li>',
            _class(step),
            step,
        )
    yield html("</ul>\n")
    yield html(
        '<figure tabindex="0">\n<svg id="chart" width="{0}" height="{1}" role="img" viewBox="0 0 {0} {1}" '
        'aria-label="Images by namespace and highest level; the table below has the same numbers.">\n',
        _NAMES + _LENGTH + 60,
        height,
    )
    for index, name in enumerate(shown):
        top, left = index * (_BAR + _GAP), float(_NAMES)
        yield html(
            '<text x="{}" y="{}" text-anchor="end">{}</text>', _NAMES - 8, top + 16, html_text(name, 30)
        )
        for step in steps:
            count = summary.by_namespace[name][step]
            width = _LENGTH * count / longest
            if count:
                yield html(
                    '<rect class="{}" x="{:.1f}" y="{}" width="{:.1f}" height="{}"><title>{}, {}: {}</title></rect>',
                    _class(step),
                    left,
                    top,
                    width,
                    _BAR,
                    name,
                    step,
                    count,
                )
            left += width
        yield html('<text class="count" x="{:.1f}" y="{}">{}</text>\n', left + 6, top + 16, totals[name])
    yield html("</svg>\n</figure>\n<details><summary>The same as a table</summary>\n")
    yield _scrolled("Images by namespace and highest level")
    yield html(
        '<table id="namespaces"><thead><tr><th scope="col">namespace</th>{}</tr></thead><tbody>\n',
        _number_heads(steps),
    )
    for name, counts in summary.by_namespace.items():
        yield html('<tr><th scope="row">{}</th>{}</tr>\n', name, _numbers(counts[step] for step in steps))
    yield html("</tbody></table></div></details>\n")


def _reasons(summary: Summary) -> Iterator[Html]:
    if not summary.by_reason:
        return
    yield html("<h2>Why not</h2>\n{}", _scrolled("Reasons"))
    yield html(
        '<table class="narrow" id="reasons"><thead><tr><th scope="col" class="number">images</th>'
        '<th scope="col">reason</th><th scope="col">meaning</th></tr></thead><tbody>\n'
    )
    for reason, count in summary.by_reason.most_common():
        yield html(
            '<tr><td class="number">{}</td><td><code>{}</code></td><td>{}</td></tr>\n',
            count,
            reason,
            SUMMARIES[Reason(reason)],
        )
    yield html("</tbody></table></div>\n")


def _images(summary: Summary, rows: Iterable[Row]) -> Iterator[Html]:
    yield html("<h2>Images</h2>\n")
    yield html(
        '<p class="filter" hidden><label>Show only those with <input id="filter" type="search" autocomplete="off"></label> '
        '<span id="shown" role="status"></span></p>\n'
    )
    yield _scrolled("Images")
    heads = _each('<th scope="col"><button type="button">{}</button></th>', _HEADS)
    yield html('<table id="images"><thead><tr>{}</tr></thead><tbody>\n', heads)
    ranks = {name: number for number, name in enumerate(summary.levels, 1)}
    for row in rows:
        yield _row(row, ranks)
    yield html("</tbody></table></div>\n")


def _row(row: Row, ranks: dict[str, int]) -> Html:
    return html(
        '<tr><td>{}</td><td>{}</td><td data-key="{}"><span class="{}">{}</span></td><td data-key="{}">{}</td>'
        "<td>{}</td><td>{}</td></tr>\n",
        _image(row),
        _places(row),
        _ORDER[row.decision],
        row.decision,
        row.decision,
        ranks.get(row.highest, 0),
        row.highest or NO_LEVEL,
        html("")
        if row.decision is Decision.ADMITTED
        else html("<code>{}</code><br>{}", row.reason, html_text(row.message, 1024)),
        _source(row),
    )


def _image(row: Row) -> Html:
    image = html("<code>{}</code>", html_text(row.image, 512))
    if not row.resolved or row.resolved == row.image:
        return image
    template = "{}<details><summary>resolved</summary><code>{}</code></details>"
    return html(template, image, html_text(row.resolved, 512))


def _places(row: Row) -> Html:
    names = sorted({use.namespace for use in row.uses if use.namespace})
    workloads = sorted({f"{use.namespace}/{use.workload}".strip("/") for use in row.uses if use.workload})
    places = html_text(", ".join(names[:8]), 256)
    if not workloads:
        return places
    more = html("<li>and {} more</li>", len(workloads) - 50) if len(workloads) > 50 else html("")
    return html(
        "{}<details><summary>{} workloads</summary><ul>{}{}</ul></details>",
        places,
        len(workloads),
        _each("<li>{}</li>", (html_text(item, 256) for item in workloads[:50])),
        more,
    )


def _source(row: Row) -> Html:
    source = html("<code>{}</code>", html_text(row.repository, 512)) if row.repository else html("")
    return html("{}<br><code>{}</code>", source, row.revision) if row.revision else source


def _scrolled(label: str) -> Html:
    """Return the start of a region that scrolls sideways by itself, with the keyboard too."""
    return html('<div class="wide" role="region" tabindex="0" aria-label="{}">', label)


def _number_heads(names: Iterable[str]) -> Html:
    return _each('<th scope="col" class="number">{}</th>', names)


def _numbers(counts: Iterable[int]) -> Html:
    return _each('<td class="number">{}</td>', counts)


def _each(template: str, parts: Iterable[object]) -> Html:
    return joined((html(template, part) for part in parts), Html)


def _class(step: str) -> str:
    if step == UNDECIDED:
        return "s-undecided"
    return "s-none" if step == NO_LEVEL else f"s-{step.rpartition('_')[2]}"


def _asset(name: str) -> Html:
    text = resources.files("slsa_verifier_plugin.cli.render.assets").joinpath(name).read_text("utf-8")
    return html_asset(text.strip())


def _digest(content: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}"
