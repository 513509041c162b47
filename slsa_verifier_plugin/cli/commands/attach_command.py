"""``attach`` and ``fetch``: attestations to images, and images' attestations to where there is no registry."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from slsa_verifier_plugin.checking.demands import seconds_of, store_settings
from slsa_verifier_plugin.checking.status import Status, status_of
from slsa_verifier_plugin.cli.lazy import StrictCommand
from slsa_verifier_plugin.cli.options import (
    demands_of,
    policy_options,
    registry_options,
    require_folder,
    valued,
)
from slsa_verifier_plugin.cli.session import Session, pass_session, say, say_all
from slsa_verifier_plugin.errors import UsageError
from slsa_verifier_plugin.text import counted

if TYPE_CHECKING:
    from slsa_verifier_plugin.checking.attach import AttachRequest
    from slsa_verifier_plugin.checking.reports import ImageReport

# For each image that fetch takes along, where --timeout says nothing.
SECONDS = 120.0
WAIT = (0.0, 6 * 3600.0, "up to 6h, such as 10m or 90s")
"""Seconds that ``--wait`` may be: as long as a job of GitHub Actions may run."""
# Whole, of SHA-1 or SHA-256: attestations never abbreviate a commit, so a short one would match none.
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
ATTACH_EPILOG = """\b
Examples:
  slsa-verifier-plugin attach registry.example/app:1.2 signed_bundle.intoto.jsonl
  slsa-verifier-plugin attach IMAGE notes.intoto.jsonl --policy verifier.yaml
  slsa-verifier-plugin attach IMAGE --from notes --policy verifier.yaml
  slsa-verifier-plugin attach IMAGE --from github:owner/repository --policy verifier.yaml
  slsa-verifier-plugin attach IMAGE --policy verifier.yaml \\
      --from registry.example/owner/repository/source-vsa:COMMIT
"""
FETCH_EPILOG = """\b
Examples:
  slsa-verifier-plugin fetch registry.example/app:1.2 -o attestations
  slsa-verifier-plugin verify --offline --layout attestations registry.example/app:1.2 \\
      --policy verifier.yaml
"""


@click.command(cls=StrictCommand, epilog=ATTACH_EPILOG)
@click.argument("image")
@click.argument("file", type=click.Path(), required=False)
@valued(
    "--from",
    "SOURCE",
    "Instead of FILE: notes[:REPOSITORY] (the commit's git note), github:OWNER/NAME (GitHub's attestation API), or the "
    "REFERENCE of an artifact that holds attestations.",
    "origin",
)
@valued("--commit", "COMMIT", "What the attestation must be about; by default the image's revision label.")
@valued("--wait", "DURATION", "With --from: how long to wait until it is there, such as 10m.")
@policy_options
@valued("--annotation", "KEY=VALUE", "Of the artifact; may be repeated.", "annotations", multiple=True)
@valued(
    "--report", "FILE", "Append the policy's verdict as Markdown, for a job's summary.", type=click.Path()
)
@pass_session
def attach(session: Session, /, image: str, file: str | None, **options: Any) -> int:
    """Attach an attestation file to an image, as 'oras attach' does, and print the artifact's digest.

    What holds no Sigstore bundle or DSSE envelope is refused. With a policy (--policy, or --level and --resource-uri) what
    the policy would not admit, attached to this image, is refused too, with the step that fails. With --from notes or github,
    or with --commit, so is what is about another commit. What was written is read back.
    """
    from slsa_verifier_plugin.checking import attach

    demands = demands_of(options)
    request = _request(image, file, options)
    # Before the artifact is pushed, which nothing takes back.
    require_folder(Path(options["report"]) if options["report"] else None)
    # A refusal is a report like any other: it goes into the job's summary, too.
    done = attach.execute(request, demands, session.environ)
    if done.report is not None and options["report"]:
        from slsa_verifier_plugin.cli.render.render_markdown import markdown_of

        # Appended: GITHUB_STEP_SUMMARY is one file for all steps of a job.
        with Path(options["report"]).open("a", encoding="utf-8") as summary:
            summary.write(f"{markdown_of([done.report])}\n")
    # Only a policy refuses without raising, and then there is its report.
    if done.attached is None:
        assert done.report is not None
        return _refused(session, done.report)
    # From elsewhere and unverified: a person who names a file has it before their eyes.
    if done.report is None and request.origin is not None:
        say("nothing was verified: give --policy FILE, or --level and --resource-uri", error=True)
    say(
        f"attached {done.attached.digest} ({done.kind}, {counted(done.count, 'attestation')}) to {done.image}"
    )
    return Status.ADMITTED


def _request(image: str, file: str | None, options: Any) -> AttachRequest:
    """Return what is to be attached to what.

    Raises:
        UsageError: an option is wrong, or options contradict each other.
    """
    from slsa_verifier_plugin.checking.attach import AttachRequest
    from slsa_verifier_plugin.checking.attestation_origins import parse_origin
    from slsa_verifier_plugin.checking.image_names import parse_image

    # The value may have an equals sign; the key may not.
    pairs = [text.partition("=") for text in options["annotations"]]
    if any(not key or not equals for key, equals, _ in pairs):
        raise UsageError("an --annotation is KEY=VALUE")
    # Both, or neither: there is no place that attestations come from by default.
    if (file is None) == (options["origin"] is None):
        raise UsageError("give either a FILE, or --from where to take the attestation from")
    if options["wait"] is not None and file is not None:
        raise UsageError("--wait is for --from: a FILE is there or not")
    commit = options["commit"]
    if commit is not None and not _COMMIT.fullmatch(commit):
        raise UsageError("--commit is no commit: expected 40 hexadecimal digits")
    return AttachRequest(
        parse_image(image),
        file,
        parse_origin(options["origin"]) if options["origin"] is not None else None,
        commit,
        # Without --wait there is one look and no second.
        seconds_of(options["wait"], "--wait", WAIT) or 0.0,
        {key: value for key, _, value in pairs},
    )


@click.command(cls=StrictCommand, epilog=FETCH_EPILOG)
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@valued("--output", "DIR", "An OCI image layout.", "-o", required=True, type=click.Path(path_type=Path))
@valued("--artifact-type", "TYPE", "Only these; all by default.", "artifact_types", multiple=True)
@registry_options
@pass_session
def fetch(session: Session, /, images: tuple[str, ...], output: Path, **options: Any) -> int:
    """Take images' attestations to where there is no registry, as an OCI image layout.

    Manifests, configs and attestations are taken, no layers: all that 'verify --layout' looks at. 'trust export' takes a
    trusted root along.
    """
    from slsa_verifier_plugin.checking import fetching
    from slsa_verifier_plugin.checking.image_layout import LayoutWriter
    from slsa_verifier_plugin.checking.image_names import parse_image
    from slsa_verifier_plugin.deadline import Deadline
    from slsa_verifier_plugin.service.service import Service

    # All before the first is fetched: a slip in the last must not cost the time of the others.
    references = [parse_image(image) for image in images]
    writer = LayoutWriter(output)
    store = Service(session.environ).store(store_settings({}, options["plain_http"]))
    seconds = seconds_of(options["timeout"]) or SECONDS
    fetched = [
        fetching.fetch(reference, store, writer, options["artifact_types"], Deadline(seconds))
        for reference in references
    ]
    # The index last: a copy that breaks off is no layout.
    writer.close()
    for item in fetched:
        say(f"{item.image}: {counted(len(item.artifacts), 'artifact')}")
        for warning in item.warnings:
            say(f"warning: {warning}", error=True)
    say(f"written to {output}")
    return Status.ADMITTED


def _refused(session: Session, report: ImageReport) -> int:
    from slsa_verifier_plugin.cli.render.render_verify import text_of

    say_all(text_of([report], session.painter(), verbose=False))
    say("nothing was attached")
    # Denied or undecided: after the second a pipeline may try again.
    return status_of([report.decision])
