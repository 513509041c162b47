"""How trusted roots are shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from slsa_verifier_plugin.cli.render.painter import Painter
from slsa_verifier_plugin.errors import TrustRootError
from slsa_verifier_plugin.sinks import Json, json_text
from slsa_verifier_plugin.text import counted, plain

if TYPE_CHECKING:
    from slsa_verifier_plugin.policy.parameters import RootSource
    from slsa_verifier_plugin.resources.trust_roots import RootState
    from slsa_verifier_plugin.signatures.refresh import Refreshed


def text_of(states: Sequence[RootState], painter: Painter, now: datetime | None = None) -> Iterator[str]:
    """Yield the lines for people."""
    for state in states:
        # Nothing else is known of a root that cannot be used.
        if state.problem:
            yield f"{painter.mark('failed')} {painter.paint(plain(state.asked, 512), 'bold')}"
            yield from painter.lines(state.problem, "  ", 2)
            continue
        yield f"{painter.mark('passed')} {painter.paint(plain(state.asked, 512), 'bold')}"
        yield from _field("in use", state.source, painter)
        yield from _field("digest", f"sha256:{state.digest}", painter)
        if state.date is not None:
            # A part that begins tomorrow has no negative age: clocks of nodes differ.
            days = max(0, ((now or datetime.now(UTC)) - state.date).days)
            yield from _field("newest part", f"{state.date:%Y-%m-%d}, {days} days ago", painter)
        parts = {
            "certificate authority": state.authorities,
            "transparency log": state.logs,
            "timestamp authority": state.timestamp_authorities,
        }
        yield from _field("holds", ", ".join(counted(count, what) for what, count in parts.items()), painter)


def _field(name: str, value: str, painter: Painter) -> Iterator[str]:
    yield from painter.lines(value, f"  {name:<12}", 14)


def json_of(states: Sequence[RootState]) -> Json:
    """Return the states as JSON."""
    return json_text(
        [
            {
                "asked": plain(state.asked, 512),
                "source": plain(state.source, 512),
                "digest": f"sha256:{state.digest}" if state.digest else "",
                "date": f"{state.date:%Y-%m-%dT%H:%M:%SZ}" if state.date else "",
                "certificateAuthorities": state.authorities,
                "transparencyLogs": state.logs,
                "timestampAuthorities": state.timestamp_authorities,
                "problem": plain(state.problem, 1024),
            }
            for state in states
        ],
    )


def refreshed(
    source: RootSource, outcome: Refreshed | TrustRootError | None, painter: Painter
) -> Iterator[str]:
    """Yield the lines on one refresh: what it brought, that there is nothing to refresh (None), or why it failed."""
    # A built-in root has no location: its kind is its name.
    name = plain(source.location or source.kind, 512)
    # A file has no repository that could bring a newer one.
    if outcome is None:
        yield f"{painter.mark('not checked')} {name}: a file, which nothing refreshes"
    elif isinstance(outcome, TrustRootError):
        yield from painter.lines(f"{name}: {outcome.message}", f"{painter.mark('failed')} ", 2)
    else:
        # Up to date is the usual answer: Sigstore changes its root a few times a year.
        change = "changed" if outcome.changed else "up to date"
        yield f"{painter.mark('passed')} {name}: {change}, sha256:{outcome.digest}"
