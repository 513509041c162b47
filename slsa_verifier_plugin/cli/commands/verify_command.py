"""``verify``: would Ratify admit these images, and if not, which step fails."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from slsa_verifier_plugin.checking.demands import Demands, decider_of, setup_of, store_settings
from slsa_verifier_plugin.checking.status import status_of
from slsa_verifier_plugin.cli.lazy import StrictCommand
from slsa_verifier_plugin.cli.options import demands_of, policy_options
from slsa_verifier_plugin.cli.session import Session, say_all, session_of, show
from slsa_verifier_plugin.cli.typed import Choice
from slsa_verifier_plugin.errors import UsageError

if TYPE_CHECKING:
    from slsa_verifier_plugin.checking.decider import Decider
    from slsa_verifier_plugin.checking.reports import ImageReport
    from slsa_verifier_plugin.checking.stores import Store

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
@click.option(
    "--bundle",
    metavar="FILE|REFERENCE",
    type=click.Path(),
    help="An attestation file, or the REFERENCE of an artifact that holds attestations, instead of what is attached to an "
    "image; - for stdin.",
)
@policy_options
@click.option(
    "--layout",
    metavar="DIR",
    type=click.Path(),
    help="An OCI image layout, as 'fetch' writes it, instead of the registry.",
)
@click.option("--offline", is_flag=True, help="Use no network; needs --layout or --bundle.")
@click.option("--at", metavar="TIME", help="Judge the age as of this time (2025-11-24T12:00:00Z).")
@click.option(
    "--format",
    "form",
    type=Choice(["text", "json", "sarif", "markdown", "junit"]),
    default="text",
    show_default=True,
)
@click.option("--json", "form", flag_value="json", help="Short for --format json.")
@click.option(
    "--verbose", "-v", is_flag=True, help="Every attestation with all its steps, admitted ones too."
)
@click.pass_context
def verify(context: click.Context, /, images: tuple[str, ...], **options: Any) -> int:
    """Verify images as Ratify would with a Verifier resource, and show each step.

    A tag is resolved to its digest; every artifact of the Verifier's artifactTypes that is attached to the image is
    verified. With --bundle, an attestation file is verified, for IMAGE (with its digest) if one is given.
    """
    inputs = Inputs(images, options["bundle"], options["layout"], _moment(options["at"]), options["offline"])
    if inputs.bundle is None and not images:
        held = _held(inputs.layout) if inputs.layout else "name one, or give --bundle FILE"
        raise click.UsageError(f"an IMAGE is missing; {held}")
    if inputs.bundle is not None and inputs.layout is not None:
        raise click.UsageError("--bundle and --layout exclude each other")
    if options["offline"] and inputs.bundle is None and inputs.layout is None:
        raise click.UsageError(
            "an image needs its registry; with --offline give --layout DIR or --bundle FILE"
        )
    reports = execute(session_of(context), inputs, demands_of(options))
    write(session_of(context), reports, options["form"], options["verbose"], inputs.bundle)
    return status_of(report.decision for report in reports)


@dataclass(frozen=True, slots=True)
class Inputs:
    """What is verified, where it comes from, and as of when."""

    images: tuple[str, ...]
    bundle: str | None = None
    layout: str | None = None
    at: datetime | None = None
    offline: bool = False


def execute(session: Session, inputs: Inputs, demands: Demands) -> list[ImageReport]:
    """Return a report for each image, or the one on the attestation file.

    Raises:
        UsageError: an option, the policy or a reference is wrong.
    """
    from slsa_verifier_plugin.checking.decider import LISTING_SECONDS
    from slsa_verifier_plugin.checking.image_layout import LayoutStore
    from slsa_verifier_plugin.checking.image_names import parse_image
    from slsa_verifier_plugin.checking.own_artifact import read_artifact, reference_in, remark
    from slsa_verifier_plugin.checking.stores import unreachable_store
    from slsa_verifier_plugin.deadline import Deadline
    from slsa_verifier_plugin.resources.documents import read_file
    from slsa_verifier_plugin.service.service import Service

    # Whichever is read first would take all of standard input.
    if inputs.bundle == "-" and demands.policy == "-":
        raise UsageError("standard input can be the policy or the bundle, not both")
    # All before the first is looked up: a slip in the last must not cost the time of the others.
    for image in inputs.images:
        parse_image(image)
    setup, service = setup_of(demands), Service(session.environ)
    store: Store | None = None
    reference = reference_in(inputs.bundle) if inputs.bundle is not None else None
    if reference is not None and inputs.offline:
        raise UsageError(f"{reference} is in a registry; with --offline give --bundle FILE")
    # A check of a file that reached for a registry would be a defect; it fails then.
    if inputs.bundle is not None:
        store = unreachable_store("a file is verified without a registry")
    elif inputs.layout is not None:
        store = LayoutStore(Path(inputs.layout))
    checker = replace(decider_of(setup, demands, service, store), hints=True)
    if (at := inputs.at) is not None:
        checker = replace(checker, now=lambda: at)
    if inputs.bundle is not None:
        if reference is None:
            content, name, _ = read_file(inputs.bundle)
            return [_check_file(checker, content, name, inputs.images)]
        own = service.store(store_settings(setup.store, demands.plain_http))
        found = read_artifact(own, reference, Deadline(LISTING_SECONDS))
        report = _check_file(checker, found.content, found.name, inputs.images)
        return [replace(report, notes=(*report.notes, remark(reference)))]
    return [checker.image(image) for image in inputs.images]


def _held(layout: str) -> str:
    """Return what a layout holds, for whoever named no image in it."""
    from slsa_verifier_plugin.checking.image_layout import LayoutStore, listing

    return f"{layout} is a layout: {listing(LayoutStore(Path(layout)).names())}"


def _moment(text: str | None) -> datetime | None:
    from slsa_verifier_plugin.errors import StatementError
    from slsa_verifier_plugin.model.vsa import parse_time

    if text is None:
        return None
    try:
        return parse_time(text)
    except StatementError as error:
        raise UsageError(f"--at: {error.message}; expected one such as 2025-11-24T12:00:00Z") from error


def _check_file(checker: Decider, content: bytes, name: str, images: tuple[str, ...]) -> ImageReport:
    from slsa_verifier_plugin.checking.image_names import parse_image

    if len(images) > 1:
        raise UsageError("an attestation file is verified for one IMAGE at most")
    digest = parse_image(images[0]).digest if images else None
    # Resolving the tag would ask a registry, which --bundle promises not to.
    if images and digest is None:
        raise UsageError(
            f"{images[0]} has no digest; a file can only be verified for registry/repository@sha256:..."
        )
    return checker.content(content, name, digest)


def write(
    session: Session, reports: list[ImageReport], form: str, verbose: bool, bundle: str | None = None
) -> None:
    """Write the reports to standard output; ``bundle`` is the file that they are about, where it is no image."""
    from slsa_verifier_plugin.cli.render import render_verify

    if form == "json":
        show(render_verify.json_of(reports))
    elif form == "sarif":
        show(render_verify.sarif_of(reports, "stdin" if bundle == "-" else bundle or ""))
    elif form == "junit":
        for part in render_verify.verify_junit(reports):
            show(part)
    elif form == "markdown":
        from slsa_verifier_plugin.cli.render.render_markdown import markdown_of

        show(markdown_of(reports))
    else:
        say_all(render_verify.text_of(reports, session.painter(), verbose))
