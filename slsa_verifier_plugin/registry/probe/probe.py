"""What happens between this machine and a registry, step by step: the engine of ``registry check``.

The steps are made by the store itself, with empty caches, and observed (``probe_steps``). What they found is
described here, without secrets: a person can paste it into an issue.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from slsa_verifier_plugin.errors import VerifierError
from slsa_verifier_plugin.text import plain

if TYPE_CHECKING:
    from slsa_verifier_plugin.deadline import Deadline
    from slsa_verifier_plugin.network.dialing import Resolver
    from slsa_verifier_plugin.network.tls import TrustStore
    from slsa_verifier_plugin.registry.probe.probe_steps import Action, Probing, SeenRequest
    from slsa_verifier_plugin.registry.reference import Reference
    from slsa_verifier_plugin.registry.settings import StoreSettings


@dataclass(frozen=True, slots=True)
class ProbeStep:
    """One step of a probe.

    ``message`` says what was found, or what to do. ``reason`` and ``transient`` are those of the error of a failed
    step. ``facts`` are names and values for a table. ``seconds`` is the step's whole duration.
    """

    name: str
    outcome: Literal["passed", "failed", "skipped"]
    message: str
    seconds: float = 0.0
    reason: str | None = None
    transient: bool = False
    facts: Mapping[str, str] = field(default_factory=dict)
    requests: tuple[SeenRequest, ...] = ()


def probe(
    image: Reference,
    settings: StoreSettings,
    environ: Mapping[str, str],
    deadline: Deadline,
    *,
    trust: TrustStore | None = None,
    resolver: Resolver | None = None,
) -> Iterator[ProbeStep]:
    """Yield the steps of fetching what refers to an image, each as soon as it is done.

    They are ``resolve`` (the host's addresses), ``connect`` (TCP and TLS), ``ping`` (``/v2/``), ``authenticate``
    (challenge, credentials, token), ``manifest``, ``referrers`` (API or fallback tag), ``artifact`` (the first
    referrer's manifest) and ``blob`` (its first). After a failed step the others are yielded as skipped; only a
    failed ``ping`` ends nothing: some registries answer nobody at ``/v2/``, and serve their repositories.

    Args:
        image: the image, by tag or digest.
        settings: the store's settings, as Ratify has them.
        environ: proxies, certificates, credentials.
        deadline: the end of all steps.
        trust: makes TLS contexts; tests replace it.
        resolver: looks names up; tests replace it.
    """
    from slsa_verifier_plugin.registry.probe.probe_steps import Probing

    failed = ""
    with contextlib.closing(Probing(image, settings, environ, deadline, trust, resolver)) as probing:
        for name, action in probing.actions():
            # What needs a failed step would only repeat its message.
            if failed:
                yield ProbeStep(name, "skipped", f"not tried, because {failed} failed")
                continue
            step = _made(probing, name, action)
            yield step
            if step.outcome == "failed" and name != "ping":
                failed = name


def _made(probing: Probing, name: str, action: Action) -> ProbeStep:
    begun = time.monotonic()
    facts: Mapping[str, str] = {}
    error: VerifierError | None = None
    try:
        message, facts = action()
    except VerifierError as caught:
        message, error = caught.message, caught
    return ProbeStep(
        name,
        "passed" if error is None else "failed",
        probing.hide(message),
        time.monotonic() - begun,
        error.reason if error else None,
        error.transient if error else False,
        # What a registry says may be the token that it was shown.
        {key: probing.hide(plain(value, 400)) for key, value in facts.items()},
        probing.requests(),
    )
