"""``inspect``: what is attached to an image, or in a file, without judging it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from slsa_verifier_plugin.checking.demands import ROOTS, seconds_of, store_for
from slsa_verifier_plugin.checking.status import Status
from slsa_verifier_plugin.cli.lazy import StrictCommand
from slsa_verifier_plugin.cli.options import flag, json_option, layout_option, registry_options, valued
from slsa_verifier_plugin.cli.session import Session, pass_session, say, tell
from slsa_verifier_plugin.cli.typed import TrustedRootFile

if TYPE_CHECKING:
    from slsa_verifier_plugin.checking.inspecting import BlobView, ImageView, Verify
    from slsa_verifier_plugin.service.service import Service

SECONDS = 60.0
EPILOG = """\b
Examples:
  slsa-verifier-plugin inspect registry.example/app:1.2
  slsa-verifier-plugin inspect notes.intoto.jsonl
  git notes show | slsa-verifier-plugin inspect -

\b
Exit status: 0 shown (with --verify: and every signature verifies), 1 a signature does
not verify (with --verify: or there is none), 2 usage, 3 the registry or the trusted root
could not be had (with --verify: or some of what is attached could not be had or read).
"""


@click.command(cls=StrictCommand, epilog=EPILOG)
@click.argument("subject", metavar="IMAGE|FILE|-", type=click.Path(), required=False)
@registry_options
@layout_option
@flag("--verify", "Check signatures too (not policy: that is 'verify').", "check")
@valued(
    "--trusted-root",
    "FILE|NAME",
    "For --verify; public-good by default.",
    type=TrustedRootFile(),
    default="public-good",
)
@flag("--verbose", "Annotations, certificate extensions and every line.", "-v")
@json_option
@pass_session
def inspect(session: Session, /, subject: str | None, **options: Any) -> int:
    """Show what is attached to an image, or in an attestation file: each line's type, subject, predicate, signer and claims.

    Nothing is verified unless --verify is given: what is shown is what the lines claim. With --layout alone, the images in the
    layout are listed.
    """
    from slsa_verifier_plugin.checking.image_layout import LayoutStore
    from slsa_verifier_plugin.cli.render import render_inspect

    # Alone, --layout asks what is in it.
    if subject is None:
        if options["layout"] is None:
            raise click.UsageError("an IMAGE, a FILE or - is missing")
        for name in LayoutStore(Path(options["layout"])).names():
            say(name)
        return Status.ADMITTED
    view, verified = execute(session, subject, options), options["check"]
    lines = render_inspect.text_of(view, session.painter(), verified=verified, verbose=options["verbose"])
    tell(options["as_json"], lambda: render_inspect.json_of(view, verified=verified), lines)
    # Only with --verify does anything fail; without it nothing was verified.
    if render_inspect.has_failed(view):
        return Status.DENIED
    if verified and render_inspect.is_incomplete(view):
        return Status.UNDECIDED
    # Where there is nothing to verify, 0 would pass for signatures that verify.
    return Status.DENIED if verified and render_inspect.is_unsigned(view) else Status.ADMITTED


def execute(session: Session, subject: str, options: Any) -> ImageView | BlobView:
    """Return what ``subject`` is: standard input, a file if there is one of that name, else an image.

    Raises:
        UsageError: neither a file nor an image reference.
        VerifierError: the registry or the trusted root cannot be had.
    """
    from slsa_verifier_plugin.checking.image_names import parse_image
    from slsa_verifier_plugin.checking.inspecting import look_at_file, look_at_image
    from slsa_verifier_plugin.deadline import Deadline
    from slsa_verifier_plugin.resources.named_files import read_file
    from slsa_verifier_plugin.service.service import Service

    service = Service(session.environ)
    # Only when asked for: without it nothing is loaded but what reads the lines.
    verify = signature_check(service, options["trusted_root"]) if options["check"] else None
    # A file goes before an image of its name: to inspect a file asks nobody.
    if subject == "-" or (options["layout"] is None and Path(subject).is_file()):
        content, name, _ = read_file(subject)
        return look_at_file(content, name, verify)
    image = parse_image(subject)
    deadline = Deadline(seconds_of(options["timeout"]) or SECONDS)
    store = store_for(service, options["layout"], options["plain_http"])
    return look_at_image(image, store, deadline, verify)


def signature_check(service: Service, root: str) -> Verify:
    """Return what checks signatures against one trusted root, and tell of those in its file that cannot be used.

    Args:
        service: makes the verifier.
        root: ``public-good``, ``staging`` or a file.

    Raises:
        TrustRootError: the root cannot be used.
    """
    from slsa_verifier_plugin.policy.parameters import Policy, RootSource

    # Relative to where the person is, as for verify.
    source = RootSource(root) if root in ROOTS else RootSource("path", str(Path(root).absolute()))
    # A policy with a root and nothing else: the question is whether signatures verify, not what they say.
    policy = Policy("inspect", "", (), (), (), (), (source,))
    verifier = service.verifier(policy)
    # Of several roots in the file those that work are used.
    for warning in verifier.warnings:
        say(f"! {warning}", error=True)
    return verifier.verify
