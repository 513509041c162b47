"""How the demonstration of the provider is shown: what was asked, what came back, how to ask again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from slsa_verifier_plugin.demo.provider_calls import PATH
from slsa_verifier_plugin.demo.scene import ARTIFACT_TYPE, EXPECTED_LEVEL, SOURCE
from slsa_verifier_plugin.sinks import Json, json_text
from slsa_verifier_plugin.text import plain

if TYPE_CHECKING:
    from slsa_verifier_plugin.cli.render.painter import Painter
    from slsa_verifier_plugin.demo.provider_calls import ProviderExchange, RunningProvider


def text_of(
    running: RunningProvider, exchanges: Sequence[ProviderExchange], painter: Painter, stays: bool
) -> Iterator[str]:
    """Yield the lines for people; ``stays`` says whether the provider can be asked again."""
    yield from painter.lines(
        f"Two images in a registry on this machine, each with an attestation ({ARTIFACT_TYPE}) of its source. The provider at "
        f"https://{running.address}, asked as Gatekeeper asks, is to admit those of {SOURCE} at {EXPECTED_LEVEL} or above."
    )
    for exchange in exchanges:
        style, word = ("green", "ADMITTED") if exchange.admitted else ("red", "DENIED")
        mark = painter.mark("passed" if exchange.admitted else "failed").rstrip()
        yield ""
        yield f"{mark} {painter.paint(f'{word:<12}', style, 'bold')}{plain(exchange.exhibit.image, 512)}"
        # Not broken: whoever copies a line copies all of it.
        yield f"  {painter.paint('request', 'dim')}     POST {PATH}"
        yield f"              {exchange.request}"
        yield f"  {painter.paint('answer', 'dim')}      {json_text(in_short(exchange.answer), None)}"
        yield f"  {painter.paint('again', 'dim')}       {exchange.curl}"
    yield ""
    # A provider that admits both, or denies both, is a fault that a reader might not see.
    if all(exchange.as_expected for exchange in exchanges):
        yield painter.paint("The demo worked: one image denied, one admitted.", "green")
    else:
        yield painter.paint(
            "This is not what must happen: please report it with the output of --json.", "red"
        )
    # Lines to repeat are a promise: there must be somebody who answers.
    if stays:
        yield f"policies {running.folder}; health and metrics http://{running.health}/readyz, /metrics. Ctrl-C ends it."
    else:
        yield "The provider has ended; with --serve DIR it stays, for the lines above."


def in_short(value: Any) -> Any:
    """Return an answer without the extensions' long lists: steps and candidates are for machines."""
    if isinstance(value, Mapping):
        kept = ("reason", "verifiedLevels", "revision")
        return {
            key: {name: item[name] for name in kept if name in item}
            if key == "extensions" and isinstance(item, Mapping)
            else in_short(item)
            for key, item in value.items()
        }
    return [in_short(item) for item in value] if isinstance(value, list) else value


def json_of(exchanges: Sequence[ProviderExchange]) -> Json:
    """Return the exchanges as JSON."""
    return json_text(
        {
            # all() of nothing is true, and without an exchange nothing was shown.
            "asExpected": bool(exchanges) and all(exchange.as_expected for exchange in exchanges),
            "exchanges": [
                {
                    "image": exchange.exhibit.image,
                    "tag": exchange.exhibit.tag,
                    "expected": "admitted" if exchange.exhibit.admit else "denied",
                    "decision": "admitted" if exchange.admitted else "denied",
                    "request": exchange.request,
                    "answer": exchange.answer,
                    "curl": exchange.curl,
                }
                for exchange in exchanges
            ],
        }
    )
