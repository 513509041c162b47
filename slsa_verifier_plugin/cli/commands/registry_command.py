"""``registry``: what happens between this machine and a registry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from slsa_verifier_plugin.checking.demands import seconds_of, store_settings
from slsa_verifier_plugin.checking.status import Status
from slsa_verifier_plugin.cli.lazy import StrictGroup
from slsa_verifier_plugin.cli.options import flag, json_option, registry_options, valued
from slsa_verifier_plugin.cli.session import Session, pass_session, say_all, show

if TYPE_CHECKING:
    from slsa_verifier_plugin.registry.settings import StoreSettings

SECONDS = 30.0
EPILOG = """\b
Examples:
  slsa-verifier-plugin registry check registry.example/app:1.2
  kubectl get stores -o yaml | slsa-verifier-plugin registry check IMAGE --store -

\b
Exit status: 0 every step passed, 2 usage, 3 a step failed.
"""


@click.group(cls=StrictGroup)
def registry() -> None:
    """Find out what happens between this machine and a registry."""


@registry.command(short_help="Fetch an image's attestation step by step, and show each.", epilog=EPILOG)
@click.argument("image")
@valued("--store", "FILE", "A Store resource with the settings to use; - for stdin.", type=click.Path())
@registry_options
@flag("--verbose", "Every fact and every request.", "-v")
@json_option
@pass_session
def check(
    session: Session, /, image: str, store: str | None, verbose: bool, as_json: bool, **options: Any
) -> int:
    """Fetch an image's attestation step by step as the plugin does, and show each: name, connection, credentials, content.

    What is shown holds no secret, so it can be pasted into an issue.
    """
    from slsa_verifier_plugin.checking.image_names import parse_image
    from slsa_verifier_plugin.cli.render import render_registry
    from slsa_verifier_plugin.deadline import Deadline
    from slsa_verifier_plugin.registry.probe.probe import Probe, ProbeStep

    reference = parse_image(image)
    deadline = Deadline(seconds_of(options["timeout"]) or SECONDS)
    settings = settings_of(store, options["plain_http"])
    painter = session.painter()
    steps: list[ProbeStep] = []
    # Shown one by one: the person sees at which step it hangs.
    for step in Probe(reference, settings, session.environ, deadline).steps():
        steps.append(step)
        if not as_json:
            say_all(render_registry.step_lines(step, painter, verbose))
    if as_json:
        show(render_registry.json_of(steps))
    # 3 and never 1: a registry that fails says nothing against the image.
    return Status.UNDECIDED if any(step.outcome == "failed" for step in steps) else Status.ADMITTED


def settings_of(store: str | None, plain_http: bool) -> StoreSettings:
    """Return the store's settings: those of a Store resource, if a file is given.

    Raises:
        UsageError: the file has no Store.
        ContractError: its settings are not valid.
    """
    from slsa_verifier_plugin.errors import UsageError
    from slsa_verifier_plugin.registry.settings import StoreSettings
    from slsa_verifier_plugin.resources.ratify_resources import STORE_KINDS, read_resources

    configured: Any = {}
    if store is not None:
        found = [item for item in read_resources(store)[0] if item.is_ratify(STORE_KINDS)]
        # A file of Verifiers, most often: the defaults would hide the slip.
        if not found:
            raise UsageError(f"{store} holds no Store of Ratify's")
        # Of several Stores the first, as wherever one is read from a file.
        configured = found[0].spec.get("parameters") or {}
    return StoreSettings.parse(store_settings(configured, plain_http))
