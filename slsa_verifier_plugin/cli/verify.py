"""``verify``: would Ratify admit these images, and if not, which step fails."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from slsa_verifier_plugin.cli.policy_options import Demands, checker_of, demands_of, policy_options, setup_of
from slsa_verifier_plugin.cli.session import Session, say, session_of
from slsa_verifier_plugin.cli.status import status_of
from slsa_verifier_plugin.errors import UsageError

if TYPE_CHECKING:
    from slsa_verifier_plugin.cli.reports import ImageReport

EPILOG = """\b
Examples:
  slsa-verifier-plugin verify registry.example/app:1.2 --policy verifier.yaml
  kubectl get verifiers -o yaml | slsa-verifier-plugin verify IMAGE --policy -
  slsa-verifier-plugin verify --bundle notes.intoto.jsonl --level SLSA_SOURCE_LEVEL_3 \\
      --resource-uri git+https://github.com/owner/repository

\b
Exit status: 0 all admitted, 1 one denied, 2 usage or configuration,
3 one could not be decided (registry, trusted root, time), 130 interrupted.
"""


@click.command(epilog=EPILOG)
@click.argument("images", nargs=-1, metavar="IMAGE...")
@click.option(
    "--bundle",
    metavar="FILE",
    help="An attestation file instead of what is attached to an image; - for stdin.",
)
@policy_options
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("--json", "form", flag_value="json", help="Short for --format json.")
@click.option(
    "--verbose", "-v", is_flag=True, help="Every attestation with all its steps, admitted ones too."
)
@click.pass_context
def verify(context: click.Context, /, images: tuple[str, ...], bundle: str | None, **options: Any) -> int:
    """Verify images as Ratify would with a Verifier resource, and show each step.

    A tag is resolved to its digest; every artifact of the Verifier's artifactTypes that is attached to the image is
    verified. With --bundle, an attestation file is verified, for IMAGE (with its digest) if one is given.
    """
    if bundle is None and not images:
        raise click.UsageError("an IMAGE is missing; name one, or give --bundle FILE")
    reports = execute(session_of(context), images, bundle, demands_of(options))
    show(session_of(context), reports, options["form"], options["verbose"])
    return status_of(report.decision for report in reports)


def execute(
    session: Session, images: tuple[str, ...], bundle: str | None, demands: Demands
) -> list[ImageReport]:
    """Return a report for each image, or the one on the attestation file.

    Raises:
        UsageError: an option, the policy or a reference is wrong.
    """
    from slsa_verifier_plugin.cli.checking import parse_image, unreachable_store
    from slsa_verifier_plugin.service import Service

    if bundle == "-" and demands.policy == "-":
        raise UsageError("standard input can be the policy or the bundle, not both")
    setup, service = setup_of(demands), Service(session.environ)
    if bundle is None:
        for image in images:
            parse_image(image)
        checker = checker_of(setup, demands, service)
        return [checker.image(image) for image in images]
    checker = checker_of(setup, demands, service, unreachable_store("a file is verified without a registry"))
    return [_check_file(checker, bundle, images)]


def _check_file(checker: Any, bundle: str, images: tuple[str, ...]) -> ImageReport:
    from slsa_verifier_plugin.cli.checking import parse_image
    from slsa_verifier_plugin.cli.documents import read_file

    if len(images) > 1:
        raise UsageError("an attestation file is verified for one IMAGE at most")
    digest = parse_image(images[0]).digest if images else None
    if images and digest is None:
        raise UsageError(
            f"{images[0]} has no digest; a file can only be verified for registry/repository@sha256:..."
        )
    content, name, _ = read_file(bundle)
    report: ImageReport = checker.content(content, name, digest)
    return report


def show(session: Session, reports: list[ImageReport], form: str, verbose: bool) -> None:
    """Write the reports to standard output."""
    from slsa_verifier_plugin.cli import render_verify

    if form == "json":
        say(render_verify.json_of(reports))
    else:
        painter = session.painter()
        for line in render_verify.text_of(reports, painter, verbose):
            say(line)
