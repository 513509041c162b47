"""The audit as one page for browsers: no network, readable without scripts and in print, filtered and sorted with them.

``assets/report.html.j2`` is the page; here is what it is told. Its Content Security Policy names the digests of its one
style sheet and one script, so that nothing that an attestation says can run or load anything, even if it got past the
encoder.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from slsa_verifier_plugin import __version__
from slsa_verifier_plugin.audit.audit_row import Row
from slsa_verifier_plugin.audit.audit_summary import (
    NO_LEVEL,
    NO_NAMESPACE,
    UNDECIDED,
    Summary,
    highest_of,
    steps_of,
)
from slsa_verifier_plugin.checking.status import PROGRAM, Decision
from slsa_verifier_plugin.cli.reason_page import entries
from slsa_verifier_plugin.policy.carried import carried
from slsa_verifier_plugin.policy.verdict import RootInfo
from slsa_verifier_plugin.sinks import Html, html_asset, html_parts
from slsa_verifier_plugin.text import plain, some_of

_ORDER = {Decision.DENIED: 0, Decision.UNDECIDED: 1, Decision.ADMITTED: 2}
_HEADS = {
    "image": "image",
    "namespaces": "namespaces",
    "order": "decision",
    "rank": "highest level",
    "reason": "reason",
    "source": "repository and commit",
}
"""What the table is sorted by, and the columns' names."""
MAX_BARS = 40
"""Namespaces shown at first, those with the most images; the others are behind a line that opens."""
MAX_PLACES = 200
"""Workloads listed for one image; the JSON and the CSV have all of them."""
MAX_NAMES = 8
"""Namespaces in a row of the table; the opened row has the others with their workloads."""
SHORT_COMMIT = 12
"""Characters of a commit that people compare; the opened row has all of them."""
MAX_SENTENCE = 160
"""Characters of a message that fit a row; the opened row has the whole of it."""


def page_of(summary: Summary, rows: Iterable[Row]) -> Iterator[Html]:
    """Yield the parts of the page; ``rows`` are drawn one at a time, for an audit may be larger than memory.

    Args:
        summary: the counts.
        rows: what became of each image, in the order of the table.
    """
    # Inline, for the page is one file that is mailed and archived.
    style, script = html_asset(_asset("report.css")), html_asset(_asset("report.js"))
    sources = f"style-src '{_digest(style)}'; script-src '{_digest(script)}'"
    steps = steps_of(summary.levels)
    # Names with the most images come first, so that the fold hides the smallest; then by name, so that one audit gives one page.
    names = sorted(summary.by_namespace, key=lambda name: (-summary.by_namespace[name].total(), name))
    longest = max((counts.total() for counts in summary.by_namespace.values()), default=1)
    bars = [_bar(name, summary.by_namespace[name], steps, longest) for name in names]
    ranks = {name: number for number, name in enumerate(summary.levels, 1)}
    values = {
        "csp": f"default-src 'none'; {sources}; base-uri 'none'; form-action 'none'",
        "style": style,
        "script": script,
        "summary": summary,
        "stamp": f"{summary.created:%Y-%m-%dT%H:%M:%SZ}",
        "moment": f"{summary.created:%Y-%m-%d %H:%M}",
        "program": f"{PROGRAM} {__version__}",
        "decisions": list(Decision),
        "levels": [("as it stands", summary.decisions), *summary.by_level.items()],
        "steps": [{"name": step, "style": _style(step)} for step in steps],
        "bars": bars[:MAX_BARS],
        "more_bars": bars[MAX_BARS:],
        "reasons": summary.by_reason.most_common(),
        "entries": entries(),
        "heads": [{"key": key, "name": name} for key, name in _HEADS.items()],
        "rows": ((row, _facts(row, ranks)) for row in rows),
        "roots": [_root(root) for root in summary.roots],
        "verifiers": _verifiers(summary),
    }
    yield from html_parts(_asset("report.html.j2"), values)


def _bar(name: str, counts: Counter[str], steps: Sequence[str], longest: int) -> dict[str, Any]:
    """Return a bar of the chart: lengths are in thousandths of the longest."""
    left, parts = 0.0, []
    for step in steps:
        width = 1000 * counts[step] / longest
        # A part without an image has no width and no number to show.
        if counts[step]:
            # A tenth of a thousandth is below any screen's pixel, and short numbers keep the page small.
            place = {"left": round(left, 1), "width": round(width, 1)}
            parts.append({"step": step, "count": counts[step], "style": _style(step), **place})
        left += width
    return {"name": plain(name), "total": counts.total(), "parts": parts}


def _facts(row: Row, ranks: Mapping[str, int]) -> dict[str, Any]:
    """Return what the template shows of one image beside what its row says."""
    namespaces = sorted({use.namespace or NO_NAMESPACE for use in row.uses})
    # Without doubles: a Deployment of ten Pods is one place.
    places = sorted({f"{use.namespace}/{use.workload}".strip("/") for use in row.uses if use.workload})
    admitted = row.decision is Decision.ADMITTED
    return {
        # Only where it says more than the name itself.
        "resolved": row.resolved if row.resolved != row.image else "",
        "digest": row.resolved.partition("@")[2],
        "order": _ORDER[row.decision],
        "level": highest_of(row),
        "rank": ranks.get(row.highest, 0),
        # Empty where no place has one, as for a list: a column of "(no namespace)" tells nothing.
        "namespaces": some_of(namespaces, MAX_NAMES) if any(use.namespace for use in row.uses) else "",
        # The script compares with a button's value, which is encoded likewise; "|" is in no namespace's name.
        "namespace_keys": f"|{'|'.join(map(plain, namespaces))}|",
        # A sentence that goes on is there as a whole in the opened row.
        "short": "" if admitted else plain(row.message, MAX_SENTENCE),
        "commit": row.revision[:SHORT_COMMIT],
        "states": ", ".join(row.found),
        "roots": ", ".join(map(_root, row.seen.roots)),
        "places": places[:MAX_PLACES],
        "more_places": max(len(places) - MAX_PLACES, 0),
    }


def _root(root: RootInfo) -> str:
    return f"{root.source} of {root.date:%Y-%m-%d}, sha256:{root.digest}"


def _verifiers(summary: Summary) -> list[dict[str, Any]]:
    """Return the parameters of each verifier, once though several runs had them."""
    # Shards of one audit have the same parameters: the fingerprint says so, or they could not be merged.
    found = {name: parameters for run in summary.runs for name, parameters in run.parameters.items()}
    return [{"name": name, "facts": list(_flat(parameters))} for name, parameters in sorted(found.items())]


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield each value in a verifier's parameters with its path, as ``trustedRoot.path``."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flat(item, f"{path}.{key}" if path else str(key))
    # A list of plain values fits one line; one of objects needs a line for each value.
    elif isinstance(value, list) and any(isinstance(item, Mapping | list) for item in value):
        for index, item in enumerate(value):
            yield from _flat(item, f"{path}[{index}]")
    else:
        yield path, ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _style(step: str) -> str:
    """Return the class of a bar's part: by the level's number, whatever its track."""
    if step == UNDECIDED:
        return "s-undecided"
    return "s-none" if step == NO_LEVEL else f"s-{step.rpartition('_')[2]}"


def _asset(name: str) -> str:
    # Stripped: the browser hashes each character between the tags, and the template adds none.
    return carried("slsa_verifier_plugin.cli.render.assets", name).decode("utf-8").strip()


def _digest(content: str) -> str:
    # In the form of a source in a Content Security Policy (CSP Level 3, "hash-source").
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}"
