"""Steps 6 to 9: the statement, its signer, its subject, the certificate behind it, and its result."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tests.conformance.case import Case, attested, signed
from tests.conformance.model import image_digest
from tests.support.sigstore import (
    GITHUB_ISSUER,
    REMOVED,
    Identity,
    attest_build_provenance,
    build_vsa,
    github_source_actions,
    person,
    slsa_framework_actions,
    vsa,
)

ACTIONS = "https://github.com/slsa-framework/actions"
ACTIONS_WORKFLOW = f"{ACTIONS}/.github/workflows/compute_slsa_source.yml"
OTHER_COMMIT = "0" * 39 + "1"


def cases() -> Iterator[Case]:
    """Yield the cases."""
    yield from _statements()
    yield from _signers()
    yield from _trusted_verifiers()
    yield from _subjects()


def _statements() -> Iterator[Case]:
    yield Case(
        "statement-v0.1",
        "An in-toto statement v0.1.",
        "VERIFIED",
        blobs=attested(signed(vsa(changes={"_type": "https://in-toto.io/Statement/v0.1"}))),
    )
    changes: dict[str, tuple[dict[str, Any], str]] = {
        "type-unknown": (
            {"_type": "https://in-toto.io/Statement/v2"},
            "A statement of a version that is not known.",
        ),
        "no-type": ({"_type": REMOVED}, "A statement without a type."),
        "no-subject": ({"subject": []}, "A statement about nothing."),
        "subject-no-digest": ({"subject": [{"name": "x"}]}, "A subject without a digest."),
        "subject-digest-number": ({"subject": [{"digest": {"gitCommit": 7}}]}, "A digest that is no text."),
        "commit-short": ({"subject": [{"digest": {"gitCommit": "fcf594d"}}]}, "An abbreviated commit."),
        "commit-upper-case": ({"subject": [{"digest": {"gitCommit": "A" * 40}}]}, "A commit in upper case."),
        "no-predicate": ({"predicate": REMOVED}, "A statement without a predicate."),
        "no-verifier": ({"predicate.verifier": REMOVED}, "A summary without a verifier."),
        "verifier-list": ({"predicate.verifier.id": ["x"]}, "A verifier's id that is a list."),
        "no-result": ({"predicate.verificationResult": REMOVED}, "A summary without a result."),
        "no-levels": ({"predicate.verifiedLevels": REMOVED}, "A summary without verifiedLevels."),
        "levels-text": ({"predicate.verifiedLevels": "SLSA_SOURCE_LEVEL_3"}, "Levels that are one text."),
        "levels-numbers": ({"predicate.verifiedLevels": [3]}, "Levels that are numbers."),
        "no-resource": ({"predicate.resourceUri": REMOVED}, "A summary without a resourceUri."),
        "time-nonsense": ({"predicate.timeVerified": "yesterday"}, "A timeVerified that is no time."),
        "refs-text": (
            {"subject": [{"digest": {"gitCommit": "0" * 40}, "annotations": {"source_refs": "x"}}]},
            "Refs that are no list.",
        ),
    }
    for name, (change, why) in changes.items():
        yield Case(f"statement-{name}", why, "NO_VSA", blobs=attested(signed(vsa(changes=change))), step=6)
    payload = json.dumps(vsa()).encode()
    raw = {
        "duplicate-name": payload.replace(b'"predicate":', b'"predicate":{},"predicate":', 1),
        "truncated": payload[:-1],
        "not-utf8": payload.replace(b"PASSED", b"PASS\xff", 1),
        "deep": b'{"a":' * 5000 + b"1" + b"}" * 5000,
        "list": b"[]",
        "empty": b"",
    }
    for name, content in raw.items():
        yield Case(
            f"payload-{name}",
            "A signed payload that is no statement with one meaning.",
            "NO_VSA",
            blobs=attested(signed(content)),
            step=6,
        )
    yield Case(
        "payload-type-other",
        "A summary, signed as a payload of another type.",
        "NO_VSA",
        blobs=attested(signed(payload_type="application/json")),
        says=("application/vnd.in-toto+json",),
        step=6,
    )
    yield Case(
        "predicate-type-other",
        "A summary's content under another predicate type.",
        "NO_VSA",
        blobs=attested(signed(vsa(changes={"predicateType": "https://slsa.dev/verification_summary/v0.2"}))),
        step=6,
    )


def _signers() -> Iterator[Case]:
    source = github_source_actions()
    foreign: dict[str, tuple[Identity, str]] = {
        "fork": (
            _renamed(source, "slsa-framework/", "slsa-framework-evil/"),
            "The workflow of a fork with a like name.",
        ),
        "other-workflow": (
            _renamed(source, "compute_slsa_source.yml", "other.yml"),
            "Another workflow of the same repository.",
        ),
        "other-branch": (
            _renamed(source, "refs/heads/main", "refs/heads/feature"),
            "The workflow on another branch.",
        ),
        "suffix": (Identity(source.san + "x", source.extensions), "One character more."),
        "own-workflow": (
            attest_build_provenance(),
            "The repository's own workflow, as if it could vouch for itself.",
        ),
        "person": (person(), "A person with an e-mail address."),
        "issuer": (
            source.having({1: "https://accounts.google.com", 8: "https://accounts.google.com"}),
            "The right name, vouched for by another issuer.",
        ),
        "no-issuer": (source.without(1, 8), "The right name, vouched for by nobody."),
    }
    for name, (identity, why) in foreign.items():
        yield Case(
            f"signer-{name}", why, "SIGNER_UNTRUSTED", blobs=attested(signed(identity=identity)), step=6
        )
    yield Case(
        "signer-old-issuer-extension",
        "Only the old issuer extension.",
        "VERIFIED",
        blobs=attested(signed(identity=source.without(8))),
    )
    yield Case(
        "signer-two-issuers",
        "Old and new issuer extension contradict each other.",
        "SIGNATURE_INVALID",
        blobs=attested(signed(identity=source.having({8: "https://accounts.google.com"}))),
        step=5,
    )
    yield Case(
        "verifier-id-other",
        "A verifier.id that is not expected.",
        "VERIFIER_ID_MISMATCH",
        blobs=attested(signed(vsa(verifier_id="https://github.com/slsa-framework/slsa-source-poc"))),
        says=("expectedVerifierId",),
        step=6,
    )
    yield Case(
        "verifier-id-borrowed",
        "The signer of one known verifier signs as another.",
        "SIGNER_UNTRUSTED",
        parameters={"expectedVerifierId": ["https://github.com/slsa-framework/source-actions", ACTIONS]},
        blobs=attested(signed(vsa(verifier_id=ACTIONS))),
        step=6,
    )
    asked = {"expectedVerifierId": ACTIONS}
    tags = {
        "v1.0.0": "VERIFIED",
        "v12.34.56": "VERIFIED",
        "v1.0": "SIGNER_UNTRUSTED",
        "v1.0.0-rc1": "SIGNER_UNTRUSTED",
        "refs/heads/main": "SIGNER_UNTRUSTED",
    }
    for tag, reason in tags.items():
        yield Case(
            f"actions-{tag.replace('/', '-')}",
            f"The current workflow of slsa-framework/actions at {tag}: release tags are trusted, nothing else.",
            reason,
            parameters=asked,
            blobs=attested(signed(vsa(verifier_id=ACTIONS), slsa_framework_actions(tag))),
            step=0 if reason == "VERIFIED" else 6,
        )
    digest = "ab" * 20
    by_digest = attested(signed(vsa(verifier_id=ACTIONS), slsa_framework_actions(digest)))
    yield Case(
        "actions-bare-digest",
        "A bare commit after the @ may be one of a fork.",
        "SIGNER_UNTRUSTED",
        parameters=asked,
        blobs=by_digest,
        says=("fork", "allowedWorkflowDigests"),
        step=6,
    )
    entry = {
        "verifierId": ACTIONS,
        "issuer": GITHUB_ISSUER,
        "identity": f"{ACTIONS_WORKFLOW}@refs/tags/v1.0.0",
    }
    yield Case(
        "actions-listed-digest",
        "The same commit, listed in allowedWorkflowDigests.",
        "VERIFIED",
        parameters={**asked, "trustedVerifiers": [{**entry, "allowedWorkflowDigests": [digest]}]},
        blobs=by_digest,
    )
    yield Case(
        "actions-other-digest-listed",
        "Another commit is listed.",
        "SIGNER_UNTRUSTED",
        parameters={**asked, "trustedVerifiers": [{**entry, "allowedWorkflowDigests": ["cd" * 20]}]},
        blobs=by_digest,
        step=6,
    )
    yield Case(
        "actions-digest-by-pattern",
        "A pattern that would match any ref does not admit a bare commit.",
        "SIGNER_UNTRUSTED",
        parameters={
            **asked,
            "trustedVerifiers": [
                {"verifierId": ACTIONS, "issuer": GITHUB_ISSUER, "identityPattern": f"{ACTIONS_WORKFLOW}@.*"}
            ],
        },
        blobs=by_digest,
        step=6,
    )


def _trusted_verifiers() -> Iterator[Case]:
    private = "https://example.com/verifier"
    identity = person("verifier@example.com", "https://issuer.example.com")
    summary = vsa(verifier_id=private)
    base: dict[str, Any] = {"verifierId": private, "issuer": "https://issuer.example.com"}
    blobs = attested(signed(summary, identity))
    good = {
        "exact": {**base, "identity": "verifier@example.com"},
        "pattern": {**base, "identityPattern": r"[a-z]+@example\.com"},
    }
    for name, entry in good.items():
        yield Case(
            f"trusted-{name}",
            "A verifier of one's own.",
            "VERIFIED",
            parameters={"expectedVerifierId": private, "trustedVerifiers": [entry]},
            blobs=blobs,
        )
    bad = {
        "pattern-part": ({**base, "identityPattern": "verifier"}, "A pattern must match in full."),
        "pattern-suffix": (
            {**base, "identityPattern": "verifier@example"},
            "A pattern must match to the end.",
        ),
        "issuer-other": (
            {**base, "issuer": "https://other.example.com", "identity": "verifier@example.com"},
            "Another issuer.",
        ),
        "identity-other": (
            {**base, "identity": "Verifier@example.com"},
            "Identities are compared to the letter.",
        ),
    }
    for name, (entry, why) in bad.items():
        yield Case(
            f"trusted-{name}",
            why,
            "SIGNER_UNTRUSTED",
            parameters={"expectedVerifierId": private, "trustedVerifiers": [entry]},
            blobs=blobs,
            step=6,
        )
    yield Case(
        "trusted-replaces-table",
        "trustedVerifiers replaces the built-in table: the default verifier is then unknown.",
        code=2,
        parameters={"trustedVerifiers": [good["exact"]]},
        blobs=attested(signed()),
        says=("expectedVerifierId",),
    )


def _subjects() -> Iterator[Case]:
    yield Case(
        "subject-build-vsa",
        "A summary of the build track about the admitted image itself.",
        "VERIFIED",
        parameters=_build_parameters(),
        blobs=attested(signed(build_vsa(_image_hex()), person("v@example.com", "https://i.example.com"))),
    )
    yield Case(
        "subject-build-vsa-other-image",
        "A summary about another image.",
        "SUBJECT_MISMATCH",
        parameters=_build_parameters(),
        blobs=attested(signed(build_vsa("1" * 64), person("v@example.com", "https://i.example.com"))),
        step=7,
    )
    yield Case(
        "subject-neither",
        "A summary about something that is neither a commit nor the image.",
        "SUBJECT_MISMATCH",
        blobs=attested(signed(vsa(subjects=[{"digest": {"gitTree": "0" * 40}}]))),
        step=7,
    )
    yield Case(
        "subject-sha256-commit",
        "A repository with SHA-256 commits.",
        "VERIFIED",
        blobs=attested(signed(vsa(commit="ab" * 32), github_source_actions(commit="ab" * 32))),
    )


def _build_parameters() -> dict[str, Any]:
    return {
        "expectedVerifiedLevels": ["SLSA_BUILD_LEVEL_2"],
        "expectedResourceUri": "oci://registry.example/source-demo",
        "expectedVerifierId": "https://example.com/verifier",
        "trustedVerifiers": [
            {
                "verifierId": "https://example.com/verifier",
                "issuer": "https://i.example.com",
                "identity": "v@example.com",
            }
        ],
    }


def _image_hex() -> str:
    return image_digest({}).partition(":")[2]


def first_subject() -> dict[str, Any]:
    subject: dict[str, Any] = vsa()["subject"][0]
    return subject


def _renamed(identity: Identity, old: str, new: str) -> Identity:
    return Identity(identity.san.replace(old, new, 1), identity.extensions)
