"""Step 14: the image and the commit it was built from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.conformance.case import Case, attested, lines, signed
from tests.conformance.model import ARTIFACT_TYPE, image_digest
from tests.support.sigstore import (
    COMMIT,
    GITHUB_ISSUER,
    Lab,
    attest_build_provenance,
    derive_key,
    generic_generator,
    keyed_envelope,
    person,
    provenance_v02,
    provenance_v1,
    vsa,
)

REVISION = "org.opencontainers.image.revision"
SOURCE = "org.opencontainers.image.source"
OTHER = "0" * 40
REPOSITORY = "https://github.com/example/source-demo"
BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
BUILDER = f"{REPOSITORY}/.github/workflows/release.yml@refs/heads/main"
GENERATOR = "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/generator_container_slsa3.yml@refs/tags/v2.1.0"
BUILDERS = [{"builderId": BUILDER, "issuer": GITHUB_ISSUER, "identity": BUILDER}]


def cases() -> Iterator[Case]:
    """Yield the cases."""
    yield Case(
        "binding-none",
        "Without a binding the image is admitted, and the message says that it is not bound.",
        "VERIFIED",
        blobs=attested(signed()),
        says=("not bound to this commit",),
    )
    yield from _annotations()
    yield from _provenances()


def _annotations() -> Iterator[Case]:
    linux = {"annotations": {REVISION: COMMIT}}
    table: dict[str, tuple[dict[str, Any], str, str]] = {
        "manifest": (linux, "VERIFIED", "The manifest's annotation names the commit."),
        "label": ({"labels": {REVISION: COMMIT}}, "VERIFIED", "The config's label names the commit."),
        "source": (
            {"annotations": {REVISION: COMMIT, SOURCE: REPOSITORY}},
            "VERIFIED",
            "And the repository.",
        ),
        "source-git": (
            {"annotations": {REVISION: COMMIT, SOURCE: f"git+{REPOSITORY}.git"}},
            "VERIFIED",
            "The repository in another form.",
        ),
        "annotation-before-label": (
            {"annotations": {REVISION: COMMIT}, "labels": {REVISION: OTHER}},
            "VERIFIED",
            "The annotation goes before the label.",
        ),
        "label-behind-wrong-annotation": (
            {"annotations": {REVISION: OTHER}, "labels": {REVISION: COMMIT}},
            "SOURCE_REVISION_MISMATCH",
            "A right label does not mend a wrong annotation.",
        ),
        "missing": ({}, "SOURCE_NOT_BOUND", "The image names no commit."),
        "empty": ({"annotations": {REVISION: ""}}, "SOURCE_NOT_BOUND", "The image names an empty commit."),
        "other": (
            {"annotations": {REVISION: OTHER}},
            "SOURCE_REVISION_MISMATCH",
            "The image names another commit.",
        ),
        "abbreviated": (
            {"annotations": {REVISION: COMMIT[:12]}},
            "SOURCE_REVISION_MISMATCH",
            "An abbreviated commit is none.",
        ),
        "source-other": (
            {"annotations": {REVISION: COMMIT, SOURCE: "https://github.com/example/other"}},
            "SOURCE_REVISION_MISMATCH",
            "The image names another repository.",
        ),
        "source-nonsense": (
            {"annotations": {REVISION: COMMIT, SOURCE: "here"}},
            "SOURCE_REVISION_MISMATCH",
            "The image names no repository that could be compared.",
        ),
        "index": (
            {"platforms": {"linux/amd64": {}, "linux/arm64": {}}, "annotations": {REVISION: COMMIT}},
            "VERIFIED",
            "The index names the commit.",
        ),
        "every-platform": (
            {"platforms": {"linux/amd64": linux, "linux/arm64": {**linux, "note": "arm64"}}},
            "VERIFIED",
            "Every platform names the commit.",
        ),
        "one-platform-missing": (
            {"platforms": {"linux/amd64": linux, "linux/arm64": {"note": "arm64"}}},
            "SOURCE_NOT_BOUND",
            "One platform names no commit.",
        ),
        "one-platform-other": (
            {"platforms": {"linux/amd64": linux, "linux/arm64": {"annotations": {REVISION: OTHER}}}},
            "SOURCE_REVISION_MISMATCH",
            "One platform names another commit.",
        ),
        "attestation-manifest": (
            {"platforms": {"linux/amd64": linux, "unknown/unknown": {"note": "buildx"}}},
            "VERIFIED",
            "An attestation that a build tool put into the index is no platform.",
        ),
        "no-platform": (
            {"platforms": {"unknown/unknown": {"note": "buildx"}}},
            "SOURCE_NOT_BOUND",
            "An index without a platform.",
        ),
    }
    for name, (image, reason, why) in table.items():
        yield Case(
            f"annotation-{name}",
            why,
            reason,
            parameters={"sourceBinding": "annotation"},
            image=image,
            blobs=attested(signed()),
            step=0 if reason == "VERIFIED" else 14,
        )


def _provenances() -> Iterator[Case]:
    hex_digest = image_digest({}).partition(":")[2]
    lab = Lab()
    summary = lab.sign(vsa())
    builder = attest_build_provenance()

    def by(statement: Any, identity: Any = builder) -> bytes:
        return lab.sign(statement, identity)

    good = by(provenance_v1(hex_digest))
    wanted = {"sourceBinding": "provenance", "trustedBuilders": BUILDERS}
    generated = {
        "sourceBinding": "provenance",
        "trustedBuilders": [{"builderId": GENERATOR, "issuer": GITHUB_ISSUER, "identity": GENERATOR}],
    }
    yield Case(
        "provenance-same-artifact",
        "Build provenance beside the summary.",
        "VERIFIED",
        parameters=wanted,
        blobs=attested(lines(summary, good)),
    )
    yield Case(
        "provenance-v0.2",
        "SLSA provenance v0.2 by a reusable workflow.",
        "VERIFIED",
        parameters=generated,
        blobs=attested(
            lines(summary, by(provenance_v02(hex_digest, builder_id=GENERATOR), generic_generator()))
        ),
    )
    for name, media_type in (
        ("referrer", BUNDLE_TYPE),
        ("referrer-in-toto", "application/vnd.in-toto+json"),
        ("referrer-other-type", "example/other"),
    ):
        yield Case(
            f"provenance-{name}",
            f"Build provenance as a referrer of its own, of type {media_type}.",
            "VERIFIED",
            parameters=wanted,
            blobs={"attestation.intoto.jsonl": summary, "provenance.json": good},
            referrers=[
                {"artifactType": media_type, "blobs": [{"file": "provenance.json", "mediaType": media_type}]}
            ],
        )
    yield Case(
        "provenance-referrer-artifact-manifest",
        "Build provenance in an OCI artifact manifest.",
        "VERIFIED",
        parameters=wanted,
        blobs={"attestation.intoto.jsonl": summary, "provenance.json": good},
        referrers=[
            {
                "kind": "artifact",
                "artifactType": BUNDLE_TYPE,
                "blobs": [{"file": "provenance.json", "mediaType": ARTIFACT_TYPE}],
            }
        ],
    )
    table = {
        "missing": (None, "SOURCE_NOT_BOUND", "There is no provenance."),
        "other-image": (
            by(provenance_v1("1" * 64)),
            "SOURCE_NOT_BOUND",
            "The provenance is another image's.",
        ),
        "other-signer": (
            by(provenance_v1(hex_digest), person()),
            "SOURCE_NOT_BOUND",
            "The provenance is signed by somebody else.",
        ),
        "other-builder-id": (
            by(provenance_v1(hex_digest, builder_id="https://example.com/builder")),
            "SOURCE_NOT_BOUND",
            "The provenance names a builder that is not trusted.",
        ),
        "tampered": (
            good.replace(b'"sig":"', b'"sig":"AA', 1),
            "SOURCE_NOT_BOUND",
            "The provenance's signature is wrong.",
        ),
        "other-commit": (
            by(provenance_v1(hex_digest, commit=OTHER)),
            "SOURCE_REVISION_MISMATCH",
            "The image was built from another commit.",
        ),
        "other-repository": (
            by(provenance_v1(hex_digest, repository="example/other", builder_id=BUILDER)),
            "SOURCE_REVISION_MISMATCH",
            "The image was built from another repository's commit of the same id.",
        ),
        "no-materials": (
            by(provenance_v1(hex_digest, changes={"predicate.buildDefinition.resolvedDependencies": []})),
            "SOURCE_REVISION_MISMATCH",
            "The provenance names no source.",
        ),
    }
    for name, (provenance, reason, why) in table.items():
        content = lines(summary) if provenance is None else lines(summary, provenance)
        yield Case(f"provenance-{name}", why, reason, parameters=wanted, blobs=attested(content), step=14)
    yield Case(
        "provenance-unsigned",
        "The provenance is a bare statement that nobody signed.",
        "SOURCE_NOT_BOUND",
        parameters=wanted,
        blobs=attested(
            lines(summary, keyed_envelope(provenance_v1(hex_digest), derive_key("conformance", "nobody")))
        ),
        step=14,
    )
    several = [
        {"uri": "git+https://github.com/example/base@refs/heads/main", "digest": {"gitCommit": OTHER}},
        {"uri": "docker://base", "digest": {"sha256": "1" * 64}},
        {"uri": f"{REPOSITORY}.git@refs/heads/main", "digest": {"gitCommit": COMMIT}},
    ]
    yield Case(
        "provenance-several-materials",
        "Several materials, the commit's repository written with .git and without git+.",
        "VERIFIED",
        parameters=wanted,
        blobs=attested(
            lines(
                summary,
                by(
                    provenance_v1(
                        hex_digest, changes={"predicate.buildDefinition.resolvedDependencies": several}
                    )
                ),
            )
        ),
    )
    key = derive_key("conformance", "builder")
    yield Case(
        "provenance-by-key",
        "Provenance in an envelope signed with a builder's configured key.",
        "VERIFIED",
        parameters={
            "sourceBinding": "provenance",
            "trustedBuilders": [{"builderId": "https://example.com/builder", "publicKey": key.pem.decode()}],
        },
        blobs=attested(
            lines(
                summary,
                keyed_envelope(provenance_v1(hex_digest, builder_id="https://example.com/builder"), key),
            )
        ),
    )
    mixed = [*several[:2], {"uri": "git+https://github.com/example/other", "digest": {"gitCommit": COMMIT}}]
    yield Case(
        "provenance-right-commit-wrong-repository",
        "The commit's id under another repository's name among the materials.",
        "SOURCE_REVISION_MISMATCH",
        parameters=wanted,
        blobs=attested(
            lines(
                summary,
                by(
                    provenance_v1(
                        hex_digest, changes={"predicate.buildDefinition.resolvedDependencies": mixed}
                    )
                ),
            )
        ),
        step=14,
    )
