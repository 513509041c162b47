"""Puts the demonstration's images into a registry, to try a cluster on, with the policy and the trusted root for them.

The private keys of that root are public: whatever is written here says "test-only" in its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from slsa_verifier_plugin.checking.attach import pusher_for
from slsa_verifier_plugin.checking.demands import Demands, decider_of, setup_of
from slsa_verifier_plugin.checking.image_names import parse_image
from slsa_verifier_plugin.checking.reports import ImageReport
from slsa_verifier_plugin.demo import scene
from slsa_verifier_plugin.errors import Reason, UsageError
from slsa_verifier_plugin.registry.reference import Reference
from slsa_verifier_plugin.service.service import Service
from slsa_verifier_plugin.text import quoted

NAME = "slsa-demo"
"""The repository below the registry or prefix; one part, for registries that allow no more."""
VERIFIER = "test-only-slsa-demo"
ROOT = "test-only-trusted-root"
"""The trusted root's key in the ConfigMap. Without an ending: files that end with .json are read as resources there."""
ROOT_FILE, VERIFIER_FILE, PATCH_FILE = f"{ROOT}.json", "test-only-verifier.yaml", "test-only-policy.yaml"
SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Pushed:
    """One image in the registry. ``new`` is False where it was there; ``report`` is what the demo's policy says of it."""

    tag: str
    image: Reference
    new: bool
    expected: Reason
    report: ImageReport

    @property
    def admit(self) -> bool:
        """True where the image must be admitted."""
        return self.expected is Reason.VERIFIED

    @property
    def as_expected(self) -> bool:
        """True where the registry gives back what makes the right verdict, for the right reason."""
        return self.report.reason is self.expected


def repository_of(target: str) -> Reference:
    """Return the repository for the images, below ``REGISTRY[/PREFIX]``.

    Raises:
        UsageError: that is no registry.
    """
    host, _, prefix = target.rstrip("/").partition("/")
    # A tag or digest would become a part of another name. What stands before "@" may be a password, and is not repeated.
    if not host or ":" in prefix or "@" in target:
        said = "a name with @" if "@" in target else quoted(target)
        raise UsageError(f"--push: {said} is no registry; expected registry.example or registry.example/team")
    return parse_image(f"{target.rstrip('/')}/{NAME}")


def push(
    repository: Reference, folder: Path, plain_http: bool, environ: Mapping[str, str]
) -> tuple[Pushed, ...]:
    """Push the images with their attestations, write what trusts them, and have each judged from the registry.

    Args:
        repository: where to.
        folder: gets the trusted root, a Verifier for the command line, and the policies for the cluster.
        plain_http: as ``--plain-http``; a registry on loopback needs no word.
        environ: the caller's environment, with the usual credentials.

    Raises:
        UsageError: a tag stands for another image; nothing is pushed then.
        VerifierError: the registry refuses.
    """
    pieces = scene.pieces()
    with pusher_for(repository, plain_http, environ) as pusher:
        # All of them before the first byte is written: an image of the caller's may have that name.
        there = {piece.tag: pusher.standing(piece.tag) for piece in pieces}
        for piece in pieces:
            found = there[piece.tag]
            if found not in (None, piece.image.descriptor.digest):
                raise UsageError(
                    f"{repository.name}:{piece.tag} is another image already ({found}); nothing was pushed: delete that tag, "
                    f"or name another place, as in --push {repository.name.removesuffix(f'/{NAME}')}/try"
                )
        for piece in pieces:
            # Blobs first: a registry may refuse a manifest whose blobs it does not have.
            for blob in (*piece.image.blobs, *(piece.artifact.blobs if piece.artifact else ())):
                pusher.blob(blob)
            image = piece.image.descriptor
            # Tags that may not be written twice (ECR, Harbor) hold for the same content, too.
            if there[piece.tag] is None:
                pusher.manifest(piece.image.manifest, image.media_type, piece.tag)
            if piece.artifact is not None:
                pusher.attach(image, piece.artifact.manifest, piece.artifact.artifact_type, {})
    # The Verifier by which the images are judged below is one of these files.
    write(folder)
    demands = Demands(policy=str(folder / VERIFIER_FILE), rule="any", plain_http=plain_http, seconds=SECONDS)
    # By what the registry gives back, not by what was sent: a cluster will see the same.
    decider = decider_of(setup_of(demands), demands, Service(environ))
    pushed = []
    for piece in pieces:
        named = repository.with_digest(piece.image.descriptor.digest)
        report = decider.image(str(named))
        pushed.append(Pushed(piece.tag, named, there[piece.tag] is None, piece.expected, report))
    return tuple(pushed)


def write(folder: Path) -> None:
    """Write the trusted root, the Verifier beside it, and the patch that has the cluster's provider decide by them."""
    folder.mkdir(parents=True, exist_ok=True)
    root = scene.trusted_root()
    (folder / ROOT_FILE).write_bytes(root)
    (folder / VERIFIER_FILE).write_text(scene.verifier_resource(VERIFIER, ROOT_FILE), "utf-8")
    policies = f"{scene.verifier_resource(VERIFIER, f'/policy/{ROOT}')}---\n{scene.policy_resource()}"
    # The Store stays the cluster's own: how its registry is reached is no matter of the demonstration.
    texts = {"policy.yaml": policies, ROOT: root.decode()}
    lines = ["# TEST ONLY: whoever has this project can sign for this trusted root.", "data:"]
    for key, text in texts.items():
        lines += [f"  {key}: |", *(f"    {line}" for line in text.splitlines())]
    (folder / PATCH_FILE).write_text("\n".join(lines) + "\n", "utf-8")
