"""Where else a missing attestation may hang: on an image's platforms, or on the index that it is part of. Decides nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace

from slsa_verifier_plugin.checking.stores import Store
from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import Reason, VerifierError
from slsa_verifier_plugin.model.manifest import Manifest, parse_manifest
from slsa_verifier_plugin.registry.reference import Reference
from slsa_verifier_plugin.text import plain

MAX_PLATFORMS = 16
"""Platform manifests of one index whose referrers are asked for."""


def notes_on(store: Store, image: Reference, types: Sequence[str], deadline: Deadline) -> list[str]:
    """Return remarks on where attestations of ``types`` hang, for an image that has none. What fails is left out.

    Args:
        store: the registry.
        image: with its digest.
        types: artifact types as verifiers ask for them.
        deadline: the end of it.
    """
    notes: list[str] = []
    try:
        manifest = _manifest(store, image, deadline)
    except VerifierError as error:
        # A registry lists nothing for what it does not have: a digest that was cut or misspelt looks like one without.
        if error.reason is Reason.REGISTRY_NOT_FOUND:
            notes.append(f"there is no image {image} in that registry; check the digest and the name")
        return notes
    # The denial stands without a remark.
    with suppress(VerifierError):
        # People attach to the one and admit the other; Ratify looks at the admitted digest alone.
        if manifest.kind == "index":
            notes.extend(_on_platforms(store, image, manifest, types, deadline))
        else:
            notes.extend(_on_index(store, image, types, deadline))
    return notes


def _on_platforms(
    store: Store, image: Reference, index: Manifest, types: Sequence[str], deadline: Deadline
) -> Iterator[str]:
    # A request or two each: an index may list a thousand manifests.
    for child in index.manifests[:MAX_PLATFORMS]:
        if _has(store, replace(image, tag=None, digest=child.digest), types, deadline):
            yield (
                f"the attestation hangs on the manifest for {plain(child.platform or 'one platform', 80)}, {child.digest}, "
                "not on this index; Ratify asks for the digest that is admitted: attach it to that, too"
            )
    if len(index.manifests) > MAX_PLATFORMS:
        yield f"the first {MAX_PLATFORMS} of {len(index.manifests)} manifests of the index were looked at"


def _on_index(store: Store, image: Reference, types: Sequence[str], deadline: Deadline) -> Iterator[str]:
    # Without a tag nothing leads from a platform to its index: registries have no way back.
    if image.tag is not None:
        index = replace(image, digest=None)
        index = index.with_digest(store.resolve(index, deadline).digest)
        # The tag may have moved since: only an index that lists this manifest is its index.
        if index.digest != image.digest:
            children = [child.digest for child in _manifest(store, index, deadline).manifests]
            if image.digest in children and _has(store, index, types, deadline):
                yield (
                    f"the attestation hangs on the index {index}, not on this manifest, which is one of its platforms; Ratify "
                    "asks for the digest that is admitted: use the index's, or attach it to this, too"
                )
                return
    yield (
        "if this is one platform of a multi-platform image, the attestation may hang on its index; verify the index's digest"
    )


def _has(store: Store, image: Reference, types: Sequence[str], deadline: Deadline) -> bool:
    return any(
        store.referrers(image, deadline) if kind == "*" else store.matching_referrers(image, kind, deadline)
        for kind in types
    )


def _manifest(store: Store, image: Reference, deadline: Deadline) -> Manifest:
    descriptor = store.resolve(image, deadline)
    return parse_manifest(store.manifest(image, descriptor, deadline), descriptor.media_type)
