"""``verify``: would Ratify admit these images, and if not, which step fails."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import click

from slsa_verifier_plugin.checking.status import status_of
from slsa_verifier_plugin.cli.lazy import StrictCommand
from slsa_verifier_plugin.cli.options import demands_of, flag, layout_option, policy_options, valued
from slsa_verifier_plugin.cli.session import Session, pass_on, pass_session
from slsa_verifier_plugin.cli.through_resident import ask
from slsa_verifier_plugin.cli.typed import Choice
from slsa_verifier_plugin.cli.verifying import Inputs, Look, rendered, reports_on
from slsa_verifier_plugin.errors import UsageError
from slsa_verifier_plugin.resources.named_files import ReadOnce

EPILOG = """\b
Examples:
  slsa-verifier-plugin verify registry.example/app:1.2 --policy verifier.yaml
  slsa-verifier-plugin verify --level SLSA_SOURCE_LEVEL_3 IMAGE \\
      --resource-uri git+https://github.com/owner/repository
  kubectl get verifiers -o yaml | slsa-verifier-plugin verify IMAGE --policy -
  slsa-verifier-plugin verify --bundle notes.intoto.jsonl --policy verifier.yaml
  slsa-verifier-plugin verify --offline --layout DIR IMAGE --policy verifier.yaml

\b
Exit status: 0 all admitted, 1 one denied, 2 usage or configuration,
3 one could not be decided (registry, trusted root, time), 130 interrupted.
"""


@click.command(cls=StrictCommand, epilog=EPILOG)
@click.argument("images", nargs=-1, metavar="IMAGE...")
@valued(
    "--bundle",
    "FILE|REFERENCE",
    "An attestation file, or the REFERENCE of an artifact that holds attestations, instead of what is attached to an "
    "image; - for stdin.",
    type=click.Path(),
)
@policy_options
@layout_option
@flag("--offline", "Use no network; needs --layout or --bundle.")
@valued("--at", "TIME", "Judge the age as of this time (2025-11-24T12:00:00Z).")
@click.option(
    "--format",
    "form",
    type=Choice(["text", "json", "sarif", "markdown", "junit"]),
    default="text",
    show_default=True,
)
@click.option("--json", "form", flag_value="json", help="Short for --format json.")
@flag("--verbose", "Every attestation with all its steps, admitted ones too.", "-v")
@pass_session
def verify(session: Session, /, images: tuple[str, ...], **options: Any) -> int:
    """Verify images as Ratify would with a Verifier resource, and show each step.

    A tag is resolved to its digest; every artifact of the Verifier's artifactTypes that is attached to the image is
    verified. With --bundle, an attestation file is verified, for IMAGE (with its digest) if one is given.
    """
    inputs = Inputs(images, options["bundle"], options["layout"], _moment(options["at"]), options["offline"])
    if inputs.bundle is None and not images:
        held = _held(inputs.layout) if inputs.layout else "name one, or give --bundle FILE"
        raise click.UsageError(f"an IMAGE is missing; {held}")
    # Both say where the attestation is.
    if inputs.bundle is not None and inputs.layout is not None:
        raise click.UsageError("--bundle and --layout exclude each other")
    # Found out now, and not by a registry that is asked against the person's word.
    if options["offline"] and inputs.bundle is None and inputs.layout is None:
        raise click.UsageError(
            "an image needs its registry; with --offline give --layout DIR or --bundle FILE"
        )
    demands = demands_of(options)
    look = Look(options["form"], options["verbose"], session.painter())
    # One reader for both ways: standard input that was read for the resident verifier is still at hand here.
    read = ReadOnce()
    answered = ask(session.environ, inputs, demands, look, read)
    if answered is not None:
        status, printed = answered
        pass_on([printed])
        return status
    # Imported only now: an answer of the resident verifier needs none of it.
    from slsa_verifier_plugin.service.service import Service

    reports = reports_on(inputs, demands, Service(session.environ), read)
    pass_on(rendered(reports, look, inputs.bundle))
    return status_of(report.decision for report in reports)


def _held(layout: str) -> str:
    """Return what a layout holds, for whoever named no image in it."""
    from slsa_verifier_plugin.checking.image_layout import LayoutStore, listing

    return f"{layout} is a layout: {listing(LayoutStore(Path(layout)).names())}"


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    from slsa_verifier_plugin.errors import StatementError
    from slsa_verifier_plugin.model.vsa import parse_time

    try:
        return parse_time(text)
    except StatementError as error:
        raise UsageError(f"--at: {error.message}; expected one such as 2025-11-24T12:00:00Z") from error
