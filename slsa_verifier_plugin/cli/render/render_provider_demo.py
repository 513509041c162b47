"""How the demonstration of the provider is shown: what was asked, what came back, how to ask again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from slsa_verifier_plugin.cli.render.painter import Painter
from slsa_verifier_plugin.cli.render.render_demo import conclusion, headline, image_facts, introduction
from slsa_verifier_plugin.demo.provider_calls import PATH, ProviderExchange, RunningProvider
from slsa_verifier_plugin.sinks import Json, json_text


def text_of(
    running: RunningProvider, exchanges: Sequence[ProviderExchange], painter: Painter, stays: bool
) -> Iterator[str]:
    """Yield the lines for people; ``stays`` says whether the provider can be asked again."""
    yield from painter.lines(
        introduction(f"The provider at https://{running.address}, asked as Gatekeeper asks")
    )
    for exchange in exchanges:
        yield ""
        yield headline(exchange.exhibit, exchange.admitted, painter)
        # Not broken: whoever copies a line copies all of it.
        yield f"  {painter.paint('request', 'dim')}     POST {PATH}"
        yield f"              {exchange.request}"
        yield f"  {painter.paint('answer', 'dim')}      {json_text(in_short(exchange.answer), None)}"
        yield f"  {painter.paint('again', 'dim')}       {exchange.curl}"
    yield ""
    yield conclusion(all(exchange.as_expected for exchange in exchanges), painter)
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
                    **image_facts(exchange.exhibit, exchange.admitted),
                    "request": exchange.request,
                    "answer": exchange.answer,
                    "curl": exchange.curl,
                }
                for exchange in exchanges
            ],
        }
    )
