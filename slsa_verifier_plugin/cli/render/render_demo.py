"""How the demonstration is shown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slsa_verifier_plugin.cli.render.painter import Painter
from slsa_verifier_plugin.demo.calls import DemoOutcome
from slsa_verifier_plugin.demo.scene import ARTIFACT_TYPE, EXPECTED_LEVEL, SOURCE, Exhibit, Scene
from slsa_verifier_plugin.members import list_at, text_at
from slsa_verifier_plugin.sinks import Json, json_text
from slsa_verifier_plugin.text import plain

_INDENT = 14


@dataclass(frozen=True, slots=True)
class Show:
    """What came of the demonstration. ``ratify`` is the program that was gone through, empty for the plugin alone."""

    outcomes: tuple[DemoOutcome, ...]
    scene: Scene
    ratify: str = ""

    @property
    def as_expected(self) -> bool:
        """True where each image has the expected decision, for the expected reason."""
        # all() of nothing is true, and a demo without images has shown nothing.
        return bool(self.outcomes) and all(outcome.as_expected for outcome in self.outcomes)


def text_of(show: Show, painter: Painter) -> Iterator[str]:
    """Yield the lines for people."""
    # People want to know whether Ratify itself took part.
    asked = f"by {show.ratify}" if show.ratify else "exactly as Ratify runs it"
    yield from painter.lines(introduction(f"The plugin, run {asked}"))
    for outcome in show.outcomes:
        yield ""
        yield from _outcome(outcome, painter)
    yield ""
    yield conclusion(show.as_expected, painter)


def introduction(asked: str) -> str:
    """Return what is shown; ``asked`` is who is to decide, and how."""
    return (
        f"Two images in a registry on this machine, each with an attestation ({ARTIFACT_TYPE}) of its source. {asked}, is to "
        f"admit those of {SOURCE} at {EXPECTED_LEVEL} or above."
    )


def headline(exhibit: Exhibit, admitted: bool, painter: Painter) -> str:
    """Return the line on what became of an image."""
    style, word = ("green", "ADMITTED") if admitted else ("red", "DENIED")
    # The sign's column is as wide as the widest; here a word follows.
    mark = painter.mark("passed" if admitted else "failed").rstrip()
    return f"{mark} {painter.paint(f'{word:<{_INDENT - 2}}', style, 'bold')}{plain(exhibit.image, 512)}"


def conclusion(as_expected: bool, painter: Painter) -> str:
    """Return the line on whether each image has the right decision: a reader might not see that both are denied."""
    if as_expected:
        return painter.paint("The demo worked: one image denied, one admitted.", "green")
    return painter.paint("This is not what must happen: please report it with the output of --json.", "red")


def image_facts(exhibit: Exhibit, admitted: bool) -> dict[str, Any]:
    """Return what the JSON says of each image first."""
    return {
        "image": exhibit.image,
        "tag": exhibit.tag,
        "expected": "admitted" if exhibit.admit else "denied",
        "decision": "admitted" if admitted else "denied",
    }


def _outcome(outcome: DemoOutcome, painter: Painter) -> Iterator[str]:
    yield headline(outcome.exhibit, outcome.admitted, painter)
    found = outcome.extensions
    # An admitted image needs no reason; what it claims follows for both.
    if not outcome.admitted:
        yield from _field("reason", str(found.get("reason", "none")), painter)
        # A verdict has a message, Ratify's own failures have an errorReason, a contract error has a msg.
        said = outcome.result.get("message") or outcome.result.get("errorReason") or outcome.result.get("msg")
        yield from _field("message", str(said), painter)
    # Absent where nothing verified; then the line says none.
    levels = list_at(found, "verifiedLevels")
    yield from _field("level", ", ".join(map(str, levels)) or "none", painter)
    yield from _field("repository", str(found.get("resourceUri", "none")), painter)
    yield from _field("commit", str(found.get("revision", "none")), painter)
    yield from _field("signer", text_at(found, "signer", "identity") or "none", painter)


def _field(name: str, value: str, painter: Painter) -> Iterator[str]:
    yield from painter.lines(value, f"  {painter.paint(f'{name:<{_INDENT - 2}}', 'dim')}", _INDENT)


def kept_lines(host: str, scene: Scene, policy: Path) -> Iterator[str]:
    """Yield the lines on a registry that stays: what is in it, and the policy for it."""
    repository = scene.exhibits[0].image.partition("@")[0]
    yield f"registry  {host} (plain HTTP)"
    for exhibit in scene.exhibits:
        yield f"image     {repository}:{exhibit.tag}"
    yield f"policy    {policy}"
    yield "Ctrl-C ends it."


def json_of(show: Show) -> Json:
    """Return the outcome as JSON."""
    return json_text(
        {
            "asExpected": show.as_expected,
            "ratify": show.ratify or None,
            "parameters": show.scene.parameters,
            "images": [
                {**image_facts(outcome.exhibit, outcome.admitted), "result": outcome.result}
                for outcome in show.outcomes
            ],
        },
    )
