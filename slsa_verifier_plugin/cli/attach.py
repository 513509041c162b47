"""``attach`` and ``fetch``: attestations to images, and images' attestations to where there is no registry."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from slsa_verifier_plugin.cli.policy_options import (
    DEFAULT_ARTIFACT_TYPE,
    checker_of,
    demands_of,
    policy_options,
    registry_options,
    seconds_of,
    setup_of,
    store_settings,
)
from slsa_verifier_plugin.cli.session import Session, say, session_of
from slsa_verifier_plugin.cli.status import Decision, Status, status_of

if TYPE_CHECKING:
    from slsa_verifier_plugin.cli.reports import ImageReport

SECONDS = 120.0
ATTACH_EPILOG = """\b
Examples:
  slsa-verifier-plugin attach registry.example/app:1.2 signed_bundle.intoto.jsonl
  slsa-verifier-plugin attach IMAGE notes.intoto.jsonl --policy verifier.yaml
"""
FETCH_EPILOG = """\b
Examples:
  slsa-verifier-plugin fetch registry.example/app:1.2 -o attestations
  slsa-verifier-plugin verify --offline --layout attestations registry.example/app:1.2 \\
      --policy verifier.yaml
"""


@click.command(epilog=ATTACH_EPILOG)
@click.argument("image")
@click.argument("file", type=click.Path())
@policy_options
@click.option(
    "--annotation",
    "annotations",
    multiple=True,
    metavar="KEY=VALUE",
    help="Of the artifact; may be repeated.",
)
@click.pass_context
def attach(
    context: click.Context, /, image: str, file: str, annotations: tuple[str, ...], **options: Any
) -> int:
    """Attach an attestation file to an image, as 'oras attach' does, and print the artifact's digest.

    What holds no Sigstore bundle or DSSE envelope is refused. With a policy (--policy, or --level and --resource-uri) what
    the policy would not admit, attached to this image, is refused too, with the step that fails.
    """
    from slsa_verifier_plugin.cli import attaching
    from slsa_verifier_plugin.cli.checking import parse_image
    from slsa_verifier_plugin.cli.documents import read_file
    from slsa_verifier_plugin.deadline import Deadline
    from slsa_verifier_plugin.errors import UsageError
    from slsa_verifier_plugin.registry.credentials.select import provider_for
    from slsa_verifier_plugin.registry.push import Pusher
    from slsa_verifier_plugin.service import Service

    session, demands = session_of(context), demands_of(options)
    pairs = [text.partition("=") for text in annotations]
    if any(not key or not equals for key, equals, _ in pairs):
        raise UsageError("an --annotation is KEY=VALUE")
    reference = parse_image(image)
    content, name, _ = read_file(file)
    count = attaching.check_bundles(content, name)
    service = Service(session.environ)
    settings = store_settings({}, demands.plain_http)
    store = service.store(settings)
    descriptor = store.resolve(reference, Deadline(SECONDS))
    setup = None if demands.is_empty else setup_of(demands)
    kinds = demands.artifact_types or (setup.verifiers[0].artifact_types if setup else ())
    kind = kinds[0] if kinds else DEFAULT_ARTIFACT_TYPE
    title = Path(name).name if file != "-" else "attestation.intoto.jsonl"
    own = {key: value for key, _, value in pairs}
    artifact = attaching.artifact_of(descriptor, content, title, kind, own)
    if setup is not None:
        checker, pinned = checker_of(setup, demands, service), reference.with_digest(descriptor.digest)
        report = attaching.judge(checker, pinned, store, artifact, content, name)
        if report.decision is not Decision.ADMITTED:
            return _refused(session, report)
    with Pusher(
        reference, demands.plain_http, provider_for(None, session.environ), session.environ
    ) as pusher:
        attached = attaching.attach(pusher, descriptor, artifact, content)
    pinned = reference.with_digest(descriptor.digest)
    attaching.read_back(store, pinned, attached, Deadline(attaching.READ_BACK_SECONDS))
    say(f"attached {attached.digest} ({kind}, {count} attestations) to {pinned}")
    return Status.ADMITTED


@click.command(epilog=FETCH_EPILOG)
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@click.option(
    "--output",
    "-o",
    required=True,
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="An OCI image layout.",
)
@click.option(
    "--artifact-type", "artifact_types", multiple=True, metavar="TYPE", help="Only these; all by default."
)
@registry_options
@click.pass_context
def fetch(context: click.Context, /, images: tuple[str, ...], output: Path, **options: Any) -> int:
    """Take images' attestations to where there is no registry, as an OCI image layout.

    Manifests, configs and attestations are taken, no layers: all that 'verify --layout' looks at. 'trust export' takes a
    trusted root along.
    """
    from slsa_verifier_plugin.cli import attaching
    from slsa_verifier_plugin.cli.checking import parse_image
    from slsa_verifier_plugin.cli.layout import LayoutWriter
    from slsa_verifier_plugin.deadline import Deadline
    from slsa_verifier_plugin.service import Service

    references = [parse_image(image) for image in images]
    writer = LayoutWriter(output)
    store = Service(session_of(context).environ).store(store_settings({}, options["plain_http"]))
    seconds = seconds_of(options["timeout"]) or SECONDS
    fetched = [
        attaching.fetch(reference, store, writer, options["artifact_types"], Deadline(seconds))
        for reference in references
    ]
    writer.close()
    for item in fetched:
        say(f"{item.image}: {len(item.artifacts)} artifacts")
        for warning in item.warnings:
            say(f"warning: {warning}", error=True)
    say(f"written to {output}")
    return Status.ADMITTED


def _refused(session: Session, report: ImageReport) -> int:
    from slsa_verifier_plugin.cli.render_verify import text_of

    for line in text_of([report], session.painter(), verbose=False):
        say(line)
    say("nothing was attached")
    return status_of([report.decision])
