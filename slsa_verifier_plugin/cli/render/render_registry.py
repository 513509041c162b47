"""How the steps towards a registry are shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from slsa_verifier_plugin.cli.render.painter import Painter
from slsa_verifier_plugin.registry.probe.probe import ProbeStep
from slsa_verifier_plugin.sinks import Json, json_text
from slsa_verifier_plugin.text import plain

_MARKS = {"passed": "passed", "failed": "failed", "skipped": "not checked"}
_NAME = 13


def step_lines(step: ProbeStep, painter: Painter, verbose: bool) -> Iterator[str]:
    """Yield the lines on one step: how it ended and how long it took; facts and requests if ``verbose``."""
    mark = painter.mark(_MARKS[step.outcome])
    # A step that was skipped took no time, and "0 ms" would say that it was fast.
    took = f"{step.seconds * 1000:>6.0f} ms" if step.outcome != "skipped" else f"{'':>9}"
    # Sign and blank, the name, then the time: nine columns and two blanks.
    columns = (2 if painter.symbols else 3) + _NAME + 11
    yield from painter.lines(
        step.message, f"{mark} {step.name:<{_NAME}}{painter.paint(took, 'dim')}  ", columns
    )
    # Only a step that failed has one.
    if step.reason:
        hint = "; a retry may help" if step.transient else ""
        more = f"'slsa-verifier-plugin explain {step.reason}' says more"
        yield f"{'':{columns}}{painter.paint(str(step.reason), 'bold')}{hint}; {more}"
    # Headers and addresses are for who searches a fault; the steps tell where to look.
    if not verbose:
        return
    for name, value in step.facts.items():
        yield from painter.lines(value, f"    {plain(name)}: ", len(name) + 6)
    for request in step.requests:
        yield f"    {plain(request.method)} {plain(request.url, 512)} -> {request.status}, {request.seconds * 1000:.0f} ms"
        for name, value in request.headers.items():
            # Absent headers are no news: most answers lack most of them.
            if value:
                yield from painter.lines(value, f"      {plain(name)}: ", len(name) + 8)


def json_of(steps: Sequence[ProbeStep]) -> Json:
    """Return the steps as JSON."""
    return json_text(
        [
            {
                "name": step.name,
                "outcome": step.outcome,
                "message": plain(step.message, 1024),
                "milliseconds": round(step.seconds * 1000),
                "reason": step.reason,
                "transient": step.transient,
                "facts": {plain(name): plain(value, 512) for name, value in step.facts.items()},
                "requests": [
                    {
                        "method": plain(request.method),
                        "url": plain(request.url, 512),
                        "status": request.status,
                        "milliseconds": round(request.seconds * 1000),
                        "headers": {
                            plain(name): plain(value, 512) for name, value in request.headers.items() if value
                        },
                    }
                    for request in step.requests
                ],
            }
            for step in steps
        ],
    )
