"""Attaches attestations to images: gets one, has the policy judge it, pushes it and reads it back."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from slsa_verifier_plugin.checking import attestation_origins as origins
from slsa_verifier_plugin.checking.decider import Decider
from slsa_verifier_plugin.checking.demands import (
    DEFAULT_ARTIFACT_TYPE,
    Demands,
    decider_of,
    setup_of,
    store_settings,
)
from slsa_verifier_plugin.checking.fetching import MAX_ATTESTATION
from slsa_verifier_plugin.checking.image_names import parse_image
from slsa_verifier_plugin.checking.own_artifact import read_artifact
from slsa_verifier_plugin.checking.reports import ImageReport
from slsa_verifier_plugin.checking.status import Decision
from slsa_verifier_plugin.checking.stores import Store
from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import ArtifactError, Reason, RegistryError, UsageError
from slsa_verifier_plugin.model.digest import Descriptor, Digest
from slsa_verifier_plugin.model.documents_in_text import MAX_LINES
from slsa_verifier_plugin.model.envelope import read_blob
from slsa_verifier_plugin.model.manifest import IMAGE_TYPES, parse_manifest
from slsa_verifier_plugin.registry.credentials.select import provider_for
from slsa_verifier_plugin.registry.loopback import is_plain_http
from slsa_verifier_plugin.registry.push import Pusher
from slsa_verifier_plugin.registry.reference import Reference
from slsa_verifier_plugin.registry.settings import StoreSettings
from slsa_verifier_plugin.resources.named_files import read_file
from slsa_verifier_plugin.service.service import Service
from slsa_verifier_plugin.text import counted, plain, quoted
from slsa_verifier_plugin.verification.evidence import image_labels
from slsa_verifier_plugin.verification.ports import ArtifactStore

EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
MANIFEST_TYPE = IMAGE_TYPES[0]
BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
LINES_TYPE = "application/jsonl"
JSON_TYPE = "application/json"
SECONDS = 120.0
"""Time to look at the image."""
READ_BACK_SECONDS = 30.0
"""How long a registry may take until it lists what was attached; hosted ones take a second or two at times."""
READ_BACK_PAUSE = 0.5


@dataclass(frozen=True, slots=True)
class AttachRequest:
    """What is to be attached to what.

    ``file`` or ``origin`` says where the attestation is (``-`` is standard input); ``commit`` is what it must be about, None for
    the commit in the image's label where an origin needs one; ``wait`` are seconds to wait until it is there.
    """

    image: Reference
    file: str | None
    origin: origins.Origin | None
    commit: str | None
    wait: float
    annotations: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class AttachDone:
    """What came of it: the image with its digest, the artifact's type, how many attestations it holds.

    ``report`` is the policy's verdict, None where there was no policy; ``attached`` is None where that refused it.
    """

    image: Reference
    kind: str
    count: int
    report: ImageReport | None
    attached: Descriptor | None


def execute(request: AttachRequest, demands: Demands, environ: Mapping[str, str]) -> AttachDone:
    """Get an attestation, check it, attach it and read it back.

    Args:
        request: what is to be attached.
        demands: the policy, and how the registry is reached.
        environ: the caller's environment.

    Raises:
        UsageError: it is no attestation, or about another commit.
        VerifierError: the attestation or the registry cannot be had.
    """
    # Without a policy anything that looks like an attestation is attached; the command says that nothing was
    # verified.
    setup = None if demands.is_empty else setup_of(demands)
    service = Service(environ)
    # The registry's options of the command line, not a Store's of the policy file: the image is where the person
    # pushes.
    store = service.store(store_settings({}, demands.plain_http))
    # The digest is what the artifact will hang on: a tag that moves meanwhile changes nothing.
    descriptor = store.resolve(request.image, Deadline(SECONDS))
    image = request.image.with_digest(descriptor.digest)
    checker = decider_of(setup, demands, service) if setup is not None else None
    # Of several types the first: an artifact has one, and Ratify hands it to the verifier for that.
    kinds = demands.artifact_types or (setup.verifiers[0].artifact_types if setup else ())
    kind = kinds[0] if kinds else DEFAULT_ARTIFACT_TYPE
    found, commit = _found(request, checker, store, image, descriptor, environ)
    count = check_bundles(found.content, found.name)
    # oras takes the title for a file name when it pulls; standard input and other sources have none.
    title = Path(found.name).name if request.file not in (None, "-") else "attestation.intoto.jsonl"
    artifact = artifact_of(descriptor, found.content, title, kind, request.annotations)
    report = None
    if checker is not None:
        # Before anything is written: what is attached stays for everybody to see, and under "all" it denies.
        report = judge(checker, image, store, artifact, found.content, found.name)
        # Undecided counts as refused: what could not be verified now may be denied in the cluster.
        if report.decision is not Decision.ADMITTED:
            return AttachDone(image, kind, count, report, None)
    # After the verdict, for what the policy verified about a commit is worth more than what a line claims.
    if commit is not None:
        origins.check_commit(found.content, commit, report)
    with pusher_for(request.image, demands.plain_http, environ) as pusher:
        attached = attach(pusher, descriptor, artifact, found.content)
    # Some registries accept a referrer and never list it, or list it as another type: Ratify would not find it.
    read_back(store, image, attached, Deadline(READ_BACK_SECONDS))
    return AttachDone(image, kind, count, report, attached)


def pusher_for(image: Reference, plain_http: bool, environ: Mapping[str, str]) -> Pusher:
    """Return what writes to the repository of ``image``; ``plain_http`` is as the store's ``useHttp``."""
    # A registry on this machine is asked whether it speaks HTTP; any other has TLS unless --plain-http is given.
    is_plain = is_plain_http(StoreSettings.parse(store_settings({}, plain_http)), image.registry)
    # None: the credentials of the Docker configuration, as docker and oras use them.
    return Pusher(image, is_plain, provider_for(None, environ), environ)


def _found(
    request: AttachRequest,
    checker: Decider | None,
    store: Store,
    image: Reference,
    descriptor: Descriptor,
    environ: Mapping[str, str],
) -> tuple[origins.Found, str | None]:
    """Return the attestation, and the commit that it must be about, None where it may be about any."""
    origin = request.origin
    if origin is None:
        assert request.file is not None
        # A file needs no waiting: it is there or not.
        content, name, _ = read_file(request.file)
        return origins.Found(content, name), request.commit
    # An artifact of its own is about whatever commit it says; --commit alone restricts it.
    if origin.kind == "artifact":
        reference = parse_image(origin.target)
        return origins.patiently(partial(read_artifact, store, reference), request.wait), request.commit
    # Only notes and GitHub are asked by a commit, so only they need the labels.
    labels = image_labels(store, image, descriptor, Deadline(SECONDS))
    # A dict keeps the order and each URI once: several Verifiers may name one repository.
    expected = (
        {uri: None for check in checker.verifiers for uri in check.policy.resource_uris} if checker else {}
    )
    source = origins.ImageSource(labels, tuple(expected))
    # What a person typed goes before what the image says of itself.
    commit = request.commit or source.commit()
    if origin.kind == "notes":
        look = partial(origins.from_notes, origin, commit, source, environ)
    else:
        look = partial(origins.from_github, origin, commit, descriptor, environ)
    return origins.patiently(look, request.wait), commit


def check_bundles(content: bytes, name: str) -> int:
    """Return how many bundles and envelopes are in an attestation file.

    Raises:
        UsageError: none, or more than a verifier reads.
    """
    try:
        blob = read_blob(content, MAX_LINES)
    except ArtifactError as error:
        raise UsageError(f"{quoted(name)}: {error.message}") from error
    # Packed or encoded files are common slips; the form says how to unpack them.
    if not blob.candidates and blob.form:
        raise UsageError(f"{quoted(name)} is {blob.form}")
    # Anything may be pushed as an artifact; a cluster would deny the image for it, hours later.
    if not blob.candidates:
        likeness = f": {blob.likeness}" if blob.likeness else ""
        others = counted(blob.others, "other line")
        raise UsageError(
            f"{quoted(name)} holds no Sigstore bundle and no DSSE envelope ({others}){likeness}; attach the file that the source "
            "workflow wrote"
        )
    return len(blob.candidates)


def artifact_of(
    image: Descriptor, content: bytes, title: str, artifact_type: str, annotations: Mapping[str, str]
) -> bytes:
    """Return the manifest of the artifact that holds ``content`` and hangs on ``image``, as ``oras attach`` writes it.

    Args:
        image: its descriptor.
        content: the attestation file.
        title: its name.
        artifact_type: as in the Verifier's ``artifactTypes``.
        annotations: beside the time.
    """
    created = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    manifest: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "artifactType": artifact_type,
        # The empty descriptor (OCI image specification 1.1, "Guidance for an Empty Descriptor"), inline.
        "config": {"mediaType": EMPTY_TYPE, "digest": str(Digest.of(b"{}")), "size": 2, "data": "e30="},
        "layers": [
            {
                "mediaType": _media_type(content),
                "digest": str(Digest.of(content)),
                "size": len(content),
                "annotations": {"org.opencontainers.image.title": title},
            }
        ],
        "subject": {"mediaType": image.media_type, "digest": str(image.digest), "size": image.size},
        "annotations": {"org.opencontainers.image.created": created, **annotations},
    }
    # These very bytes are digested and pushed; nothing serializes them a second time.
    return json.dumps(manifest).encode()


def _media_type(content: bytes) -> str:
    """Return the media type of an attestation file: that of one bundle, of lines, or of JSON where something is wrapped in it."""
    # oras and cosign set these types; readers such as policy-controller look for the bundle's.
    candidates = read_blob(content, MAX_LINES).candidates
    # A single bundle has a media type of its own; readers that know only that one find it by its type.
    if len(candidates) == 1 and candidates[0].is_bundle and candidates[0].content == content.strip():
        return BUNDLE_TYPE
    # A candidate that is no line of its own is wrapped in a larger document.
    lines = {line.strip() for line in content.splitlines()}
    return LINES_TYPE if all(candidate.content in lines for candidate in candidates) else JSON_TYPE


def judge(
    checker: Decider, image: Reference, store: Store, artifact: bytes, content: bytes, name: str
) -> ImageReport:
    """Return what every verifier would say of an artifact if it hung on ``image``: all steps, and of this artifact alone.

    Args:
        checker: the policy.
        image: with its digest.
        store: has the image, and what else is attached to it (step 14 looks there).
        artifact: its manifest.
        content: its one blob.
        name: of the file, for people.
    """
    # The first type of each verifier, for the artifact has one: else a verifier for two would judge it twice.
    checks = tuple(
        replace(check, resource=replace(check.resource, artifact_types=check.resource.artifact_types[:1]))
        for check in checker.verifiers
    )
    # The very decision of verify, on a registry that has one artifact more.
    report = replace(checker, verifiers=checks, store=_AsAttached(store, artifact, content)).image(str(image))
    # The report is about the file: it hangs on no image yet.
    return replace(report, asked=name, resolved="")


class _AsAttached:
    """A registry as it would be with one more artifact, which alone is found where an artifact type is asked for."""

    def __init__(self, store: Store, artifact: bytes, content: bytes) -> None:
        self._store = store
        self._artifact = artifact
        self._content = content
        self._digest = Digest.of(artifact)

    def resolve(self, image: Reference, deadline: Deadline) -> Descriptor:
        return self._store.resolve(image, deadline)

    def manifest(self, image: Reference, descriptor: Descriptor, deadline: Deadline) -> bytes:
        # The artifact is not pushed yet, so the registry cannot be asked for it.
        if descriptor.digest == self._digest:
            return self._artifact
        return self._store.manifest(image, descriptor, deadline)

    def blob(self, image: Reference, descriptor: Descriptor, limit: int, deadline: Deadline) -> bytes:
        # Step 14 also reads the image's config and other artifacts; those are in the registry.
        if descriptor.digest != Digest.of(self._content):
            return self._store.blob(image, descriptor, limit, deadline)
        # The same limit as in the cluster, or a file would be attached that no verifier reads.
        if len(self._content) > limit:
            raise RegistryError(
                f"the file has {len(self._content)} bytes, at most {limit} are read; raise maxAttestationBytes",
                reason=Reason.LIMIT_EXCEEDED,
            )
        return self._content

    def referrers(self, image: Reference, deadline: Deadline) -> list[Descriptor]:
        # Step 14 looks for build provenance among all that is attached.
        return self._store.referrers(image, deadline)

    def matching_referrers(
        self, image: Reference, artifact_type: str, deadline: Deadline
    ) -> list[Descriptor]:
        # Of this artifact alone: what hangs there already must not pass in its place.
        return [Descriptor(MANIFEST_TYPE, self._digest, len(self._artifact), artifact_type)]


def attach(pusher: Pusher, image: Descriptor, artifact: bytes, content: bytes) -> Descriptor:
    """Push ``content`` and the manifest that ``artifact_of`` made for it; return the artifact's descriptor.

    Args:
        pusher: writes to the image's repository.
        image: its descriptor.
        artifact: the manifest.
        content: the attestation file.

    Raises:
        RegistryError: the registry does not take it.
    """
    manifest = parse_manifest(artifact, MANIFEST_TYPE)
    # Blobs first: a registry may refuse a manifest whose blobs it does not have (distribution specification, "Pushing
    # manifests").
    # The content of the empty config, which the manifest names.
    pusher.blob(b"{}")
    pusher.blob(content)
    return pusher.attach(image, artifact, manifest.artifact_type, manifest.annotations)


def read_back(store: ArtifactStore, image: Reference, attached: Descriptor, deadline: Deadline) -> None:
    """Check that a verifier will find what was attached: the registry delivers it, and lists it for the image.

    Args:
        store: the registry, as verifiers read it.
        image: with its digest.
        attached: what was pushed.
        deadline: how long the registry may take until it lists it.

    Raises:
        RegistryError: it does not, or as another artifact type.
        DeadlineError: out of time before the registry has answered once.
    """
    # What was written is read through the reader's own way, caches and digests included.
    manifest = parse_manifest(store.manifest(image, attached, deadline), attached.media_type)
    for blob in manifest.blobs:
        store.blob(image, blob, MAX_ATTESTATION, deadline)
    while True:
        listed = {item.digest: item for item in store.referrers(image, deadline)}
        found = listed.get(attached.digest)
        # A registry that drops the type lists it for nobody who asks by type.
        if found is not None and found.artifact_type == attached.artifact_type:
            return
        # Registries that copy between sites list an artifact a moment after they took it.
        if deadline.remaining() < READ_BACK_PAUSE:
            break
        time.sleep(READ_BACK_PAUSE)
    # Out of time: what the registry says instead is the whole of the diagnosis.
    said = (
        "does not list it" if found is None else f"lists it as {quoted(found.artifact_type or 'no type', 80)}"
    )
    raise RegistryError(
        f"{image.registry} took {attached.digest}, expected to find it attached to {plain(str(image))} as "
        f"{attached.artifact_type}, but the registry {said}; "
        f"'slsa-verifier-plugin registry check {plain(str(image))}' shows what it answers",
        reason=Reason.REGISTRY_INVALID_RESPONSE,
    )
