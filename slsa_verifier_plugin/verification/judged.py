"""What a verification judges: an artifact that hangs on an image, or a file that hangs on none.

Each reads its own bytes into candidates (steps 2 to 4) and knows how its image is bound (step 14). The steps between are the
same for both, and are in ``verify``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import ArtifactError, InternalError, Reason
from slsa_verifier_plugin.model.digest import Descriptor, Digest
from slsa_verifier_plugin.model.envelope import Blob, Candidate
from slsa_verifier_plugin.model.manifest import Manifest
from slsa_verifier_plugin.policy.parameters import Policy
from slsa_verifier_plugin.policy.steps import Step, passed
from slsa_verifier_plugin.registry.reference import Reference
from slsa_verifier_plugin.text import counted
from slsa_verifier_plugin.verification.binder import AnnotationBinder, NoBinder
from slsa_verifier_plugin.verification.evidence import EMPTY, image_labels
from slsa_verifier_plugin.verification.ports import ArtifactStore, Binder, SignatureVerifier
from slsa_verifier_plugin.verification.provenances import ProvenanceSearch
from slsa_verifier_plugin.verification.readings import Readings


@dataclass(frozen=True, slots=True)
class ArtifactRequest:
    """What is asked: the admitted image (with its digest), the artifact that hangs on it, and the policy."""

    image: Reference
    artifact: Descriptor
    policy: Policy


@dataclass(frozen=True, slots=True)
class FileRequest:
    """What is asked of a file: its bytes, the image that it is meant for (None for none), and the policy.

    The policy's ``source_binding`` is not checked, for there is no image to bind; the verdict says so.
    """

    content: bytes
    image: Digest | None
    policy: Policy


class AttachedArtifact:
    """An artifact that hangs on the admitted image.

    Args:
        request: image, artifact and policy.
        store: where manifests and blobs come from.
        readings: what earlier calls have read.
        deadline: the time for all of it.

    Raises:
        InternalError: the image has no digest.
    """

    def __init__(
        self, request: ArtifactRequest, store: ArtifactStore, readings: Readings, deadline: Deadline
    ) -> None:
        if request.image.digest is None:
            # A tag may name another image a moment later; only a digest is what was admitted.
            # Every caller has resolved the tag before, so this is a defect of ours.
            raise InternalError("a verification needs the image's digest")
        self.policy = request.policy
        self.image: Digest | None = request.image.digest
        self.name = str(request.image)
        self.digest = request.artifact.digest
        self.binding = request.policy.source_binding
        self.steps: list[Step] = [passed(1)]
        self._request = request
        self._store = store
        self.readings = readings
        self._deadline = deadline
        self._subject: Descriptor | None = None

    def read(self) -> Iterator[tuple[int, Blob]]:
        """Yield the artifact's blobs with their numbers from 1 (steps 2 and 3), and note each step that passes in ``steps``.

        Raises:
            RegistryError: the registry does not deliver.
            ArtifactError: the artifact is not what its descriptor says, or hangs on another image; reason ``LIMIT_EXCEEDED`` for
                more bytes than ``maxAttestationBytes``, or more candidates than ``maxBundles``.
            DeadlineError: out of time.
        """
        # Steps are noted one by one, so that a failure is of the first that is missing.
        manifest = self._manifest()
        self.steps.append(passed(2, f"{self.digest} hangs on the admitted image"))
        bytes_left, bundles_left = self.policy.max_bytes, self.policy.max_bundles
        for number, descriptor in enumerate(manifest.blobs, 1):
            # Tools that attach only annotations have one empty blob; it is no attestation and not worth a request.
            if descriptor.digest == EMPTY:
                continue
            self._deadline.check(f"reading blob {number} of {len(manifest.blobs)}")
            # Asked of the descriptor before anything is fetched: a manifest of 1 KiB may name a blob of a terabyte.
            if descriptor.size > bytes_left:
                most = self.policy.max_bytes
                raise ArtifactError(
                    f"the artifact's blobs have more than {most} bytes, of which nothing was read beyond that",
                    "attach less, or raise maxAttestationBytes",
                    reason=Reason.LIMIT_EXCEEDED,
                )
            content = self._store.blob(self._request.image, descriptor, bytes_left, self._deadline)
            # Each blob has what the others left: a thousand blobs of the largest size would fill memory one by one.
            bytes_left -= len(content)
            blob = self.readings.blob(content, bundles_left)
            bundles_left -= len(blob.candidates)
            yield number, blob
        self.steps.append(passed(3, f"{counted(len(manifest.blobs), 'blob')} as the manifest says"))

    def _manifest(self) -> Manifest:
        """Step 2: the manifest is the descriptor's, an artifact, and hangs on the admitted image."""
        # Ratify names the artifact, and lists it from the registry: the descriptor is the registry's word until its digest is
        # checked.
        descriptor = self._request.artifact
        content = self._store.manifest(self._request.image, descriptor, self._deadline)
        # The store has looked at both already. A store of somebody's own may have forgotten to, and what follows rests on it.
        if len(content) != descriptor.size or not descriptor.digest.matches(content):
            raise ArtifactError(
                f"the manifest is not the {descriptor.size} bytes of {descriptor.digest}", "attach it anew"
            )
        manifest = self.readings.manifest(content, descriptor.media_type)
        # An index has manifests and no blobs, so there is nothing to read in it.
        if manifest.kind == "index":
            raise ArtifactError(
                "the attestation is an index, expected an image or artifact manifest", "use oras attach"
            )
        # A registry lists referrers by what clients wrote under a fallback tag, so the list alone proves nothing
        # (OCI distribution specification 1.1, "Referrers Tag Schema"); the manifest's own subject does.
        if manifest.subject is None or manifest.subject.digest != self.image:
            found = manifest.subject.digest if manifest.subject else "no image"
            raise ArtifactError(
                f"the attestation hangs on {found}, expected the admitted image {self.image}",
                "attach it to that image",
                reason=Reason.SUBJECT_MISMATCH,
            )
        self._subject = manifest.subject
        return manifest

    def binder(self, own: Sequence[Candidate], verifier: SignatureVerifier) -> Binder:
        """Return what binds the image, as the policy says; nothing is fetched yet.

        Args:
            own: the artifact's candidates, as ``read`` returned them.
            verifier: verifies the signatures of build provenance.
        """
        # Said in the verdict: an attestation without a binding proves that somebody could push.
        if self.binding == "none":
            return NoBinder()
        image = self._request.image
        if self.binding == "annotation":
            # Step 2 has passed and set it: ``verify`` asks for a binder once ``read`` has returned.
            assert self._subject is not None
            return AnnotationBinder(partial(image_labels, self._store, image, self._subject, self._deadline))
        # The artifact's own candidates come first: workflows attach summary and build provenance in one file.
        return ProvenanceSearch(self._store, image, own, verifier, self.policy, self._deadline)


class LooseFile:
    """A file that hangs on no image: it has no manifest, no registry, and nothing that could bind an image.

    Args:
        request: content, image and policy.
        readings: what earlier calls have read.
    """

    def __init__(self, request: FileRequest, readings: Readings) -> None:
        self.policy = request.policy
        self.image = request.image
        self.name = f"file@{request.image}" if request.image else "file"
        self.digest = Digest.of(request.content)
        # The verdict names what is not checked: a file's success must not be taken for an image's.
        asked = request.policy.source_binding
        self.binding = "none" if asked == "none" else f"{asked} (not checked)"
        self.steps: list[Step] = [passed(1)]
        self._content = request.content
        self.readings = readings

    def read(self) -> Iterator[tuple[int, Blob]]:
        """Yield the file as the one blob that it is.

        Raises:
            ArtifactError: it holds more candidates than ``maxBundles``, or more lines than any file may.
        """
        # A file has no descriptor that could bound it; its bytes were bounded by whoever read it.
        yield 1, self.readings.blob(self._content, self.policy.max_bundles)

    def binder(self, own: Sequence[Candidate], verifier: SignatureVerifier) -> Binder:
        """Return what says that step 14 is not checked."""
        return NoBinder(self.policy.source_binding)
