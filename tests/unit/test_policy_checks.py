"""Steps 6 to 8, each from both sides: the nearest that passes and the nearest that does not."""

from __future__ import annotations

import json

import pytest

from slsa_verifier_plugin.errors import Reason, StatementError
from slsa_verifier_plugin.model.signer import Claim, Signer
from slsa_verifier_plugin.model.statement import PAYLOAD_TYPE
from slsa_verifier_plugin.model.vsa import read
from slsa_verifier_plugin.policy.checks import Context, examine, examine_verified
from slsa_verifier_plugin.policy.releases import known_releases
from tests.support.policies import (
    IMAGE,
    KEY,
    assert_failed,
    assert_passed,
    by_key,
    claim,
    policy,
    run,
    signer,
)
from tests.support.sigstore import (
    COMMIT,
    IMAGE_DIGEST,
    MAIN,
    REMOVED,
    Identity,
    build_vsa,
    github_actions,
    github_source_actions,
    person,
    slsa_framework_actions,
    vsa,
)

ACTIONS = "https://github.com/slsa-framework/actions"


def test_an_honest_summary_passes_every_step() -> None:
    examination = run(claim())
    assert_passed(examination)
    assert examination.levels == ("SLSA_SOURCE_LEVEL_3",)
    assert (examination.revision, examination.refs) == (COMMIT, (MAIN,))
    assert examination.summary is not None
    assert examination.signer == claim().signer
    assert not examination.bound_by_digest


def test_what_was_read_before_is_used_for_the_same_payload() -> None:
    bad = read(PAYLOAD_TYPE, b"{}")
    assert isinstance(bad, StatementError)
    assert examine(claim(), Context(policy(), IMAGE), bad).reason is Reason.NO_VSA
    good = read(PAYLOAD_TYPE, json.dumps(vsa()).encode())
    assert not isinstance(good, StatementError)
    assert examine(Claim(PAYLOAD_TYPE, b"{}", signer()), Context(policy(), IMAGE), good).reason is None


def test_what_came_of_the_same_claim_is_not_worked_out_again() -> None:
    context = Context(policy(), IMAGE)
    earlier = examine(claim(), context)
    assert examine_verified(claim(), context, None, earlier) is earlier
    by_another = claim(vsa(), person())
    assert_failed(examine_verified(by_another, context, None, earlier), 6, Reason.SIGNER_UNTRUSTED)


# Step 6


@pytest.mark.parametrize(
    "a_claim",
    [
        claim(payload_type="application/json"),
        Claim(PAYLOAD_TYPE, b"not json", signer()),
        claim(vsa(changes={"predicateType": "https://slsa.dev/provenance/v1"})),
        claim(vsa(changes={"predicate.verifiedLevels": REMOVED})),
        claim(vsa(changes={"subject": REMOVED})),
    ],
)
def test_step_6_what_is_no_summary(a_claim: Claim) -> None:
    assert_failed(run(a_claim), 6, Reason.NO_VSA, "attach the source workflow's signed bundle")


@pytest.mark.parametrize("verifier_id", ["https://example.com/v", f"{ACTIONS}/", f"{ACTIONS}".upper()])
def test_step_6_another_verifier(verifier_id: str) -> None:
    examination = run(claim(vsa(verifier_id=verifier_id)))
    assert_failed(examination, 6, Reason.VERIFIER_ID_MISMATCH, verifier_id, "source-actions")


def test_step_6_verifiers_of_a_list() -> None:
    both = policy(expectedVerifierId=["https://github.com/slsa-framework/source-actions", ACTIONS])
    assert_passed(run(claim(), both))
    assert_passed(run(claim(vsa(verifier_id=ACTIONS), slsa_framework_actions("v1.2.3")), both))


@pytest.mark.parametrize(
    "identity",
    [
        person(),
        slsa_framework_actions("v1.0"),
        slsa_framework_actions("refs/heads/main"),
        github_actions("example/source-demo/.github/workflows/compute_slsa_source.yml@refs/heads/main"),
        github_actions("slsa-framework/source-actions/.github/workflows/other.yml@refs/heads/main"),
        github_actions(
            "slsa-framework/source-actions/.github/workflows/compute_slsa_source.yml@refs/heads/dev"
        ),
        github_actions(
            "slsa-framework/source-actions/.github/workflows/compute_slsa_source.yml@refs/heads/main2"
        ),
        github_source_actions().having({8: "https://issuer.example", 1: "https://issuer.example"}),
        github_source_actions().without(1, 8),
    ],
)
def test_step_6_another_signer(identity: Identity) -> None:
    examination = run(claim(vsa(), identity))
    assert_failed(
        examination, 6, Reason.SIGNER_UNTRUSTED, identity.san, "compute_slsa_source.yml@refs/heads/main"
    )
    assert "fork" not in examination.message


def test_step_6_one_verifiers_signer_does_not_speak_for_another() -> None:
    both = policy(expectedVerifierId=["https://github.com/slsa-framework/source-actions", ACTIONS])
    # source-tool 0.7.0 ran in the moved workflow and wrote the id from before: an honest summary.
    assert_passed(run(claim(vsa(), slsa_framework_actions("v1.0.0")), both))
    borrowed = claim(vsa(verifier_id=ACTIONS), github_source_actions())
    assert_failed(run(borrowed, both), 6, Reason.SIGNER_UNTRUSTED)


def test_step_6_names_the_unlisted_commit_and_the_parameter_ready_to_paste() -> None:
    commit = "ab" * 20
    unlisted = claim(vsa(verifier_id=ACTIONS), slsa_framework_actions(commit))
    assert_failed(
        run(unlisted),
        6,
        Reason.SIGNER_UNTRUSTED,
        "fork",
        "git ls-remote --tags https://github.com/slsa-framework/actions",
        f'allowedWorkflowDigests: ["{commit}"]',
    )
    assert_passed(run(unlisted, policy(allowedWorkflowDigests=[commit])))
    assert_failed(run(unlisted, policy(allowedWorkflowDigests=["cd" * 20])), 6, Reason.SIGNER_UNTRUSTED)


def test_step_6_names_the_entry_that_an_unlisted_commit_belongs_to() -> None:
    commit = "ab" * 20
    entry = {
        "verifierId": ACTIONS,
        "issuer": "https://token.actions.githubusercontent.com",
        "identityPattern": r"https://github\.com/slsa-framework/actions/.*",
    }
    unlisted = claim(vsa(verifier_id=ACTIONS), slsa_framework_actions(commit))
    assert_failed(
        run(unlisted, policy(trustedVerifiers=[entry])),
        6,
        Reason.SIGNER_UNTRUSTED,
        f'allowedWorkflowDigests: ["{commit}"]',
        f"the entry of {ACTIONS} in trustedVerifiers",
    )
    listed = {**entry, "allowedWorkflowDigests": [commit]}
    assert_passed(run(unlisted, policy(trustedVerifiers=[listed])))


@pytest.mark.parametrize(
    "signer_of",
    [
        "slsa-framework/source-actions/.github/workflows/compute_slsa_source.yml",
        "slsa-framework-evil/actions/.github/workflows/compute_slsa_source.yml",
        "slsa-framework/actions/.github/workflows/other.yml",
        "slsa-framework/actions/.github/workflows/compute_slsa_source.yml@refs/heads/x",
    ],
)
def test_step_6_advises_nobody_to_list_a_commit_that_would_not_help(signer_of: str) -> None:
    commit = "ab" * 20
    identity = github_actions(f"{signer_of}@{commit}")
    for verifier_id in (ACTIONS, "https://github.com/slsa-framework/source-actions"):
        examination = run(claim(vsa(verifier_id=verifier_id), identity))
        assert_failed(examination, 6, Reason.SIGNER_UNTRUSTED, "check who attached this")
        assert "allowedWorkflowDigests" not in examination.message
        listed = run(claim(vsa(verifier_id=verifier_id), identity), policy(allowedWorkflowDigests=[commit]))
        assert_failed(listed, 6, Reason.SIGNER_UNTRUSTED)


def test_step_6_the_known_release_signs_under_both_ids() -> None:
    (release,) = [item for item in known_releases().releases if item.version == "v0.1.0"]
    identity = slsa_framework_actions(release.commit)
    for verifier_id in (ACTIONS, "https://github.com/slsa-framework/source-actions"):
        assert_passed(run(claim(vsa(verifier_id=verifier_id), identity)))
        assert_passed(
            run(claim(vsa(verifier_id=verifier_id), identity), policy(expectedVerifierId=verifier_id))
        )
    upper = slsa_framework_actions(release.commit.upper())
    assert_failed(run(claim(vsa(verifier_id=ACTIONS), upper)), 6, Reason.SIGNER_UNTRUSTED)
    poc = claim(vsa(verifier_id="https://github.com/slsa-framework/slsa-source-poc"), identity)
    assert_failed(run(poc), 6, Reason.VERIFIER_ID_MISMATCH)


def test_step_6_says_that_the_workflow_moved_and_what_to_add() -> None:
    earlier = "https://github.com/slsa-framework/source-actions"
    moved = claim(vsa(verifier_id=ACTIONS), slsa_framework_actions("v1.0.0"))
    says = ("moved to slsa-framework/actions", f'expectedVerifierId: ["{earlier}", "{ACTIONS}"]')
    assert_failed(run(moved, policy(expectedVerifierId=earlier)), 6, Reason.VERIFIER_ID_MISMATCH, *says)
    assert_passed(run(moved, policy(expectedVerifierId=[earlier, ACTIONS])))
    before = run(claim(), policy(expectedVerifierId=ACTIONS))
    assert_failed(before, 6, Reason.VERIFIER_ID_MISMATCH, "before it moved", f'["{ACTIONS}", "{earlier}"]')
    entry = {"verifierId": earlier, "issuer": "https://i.example", "identity": "https://me.example"}
    own = run(moved, policy(expectedVerifierId=earlier, trustedVerifiers=[entry]))
    assert_failed(own, 6, Reason.VERIFIER_ID_MISMATCH, *says, "and its signer to trustedVerifiers")
    private = {**entry, "verifierId": "https://v.example"}
    elsewhere = run(moved, policy(expectedVerifierId="https://v.example", trustedVerifiers=[private]))
    assert_failed(elsewhere, 6, Reason.VERIFIER_ID_MISMATCH, "set expectedVerifierId")
    assert "moved" not in elsewhere.message


def test_step_6_says_that_only_letters_differ() -> None:
    entry = {
        "verifierId": "https://v.example/Source",
        "issuer": "https://token.actions.githubusercontent.com",
        "identity": github_source_actions().san.replace("slsa-framework", "SLSA-Framework"),
    }
    own = policy(expectedVerifierId="https://v.example/Source", trustedVerifiers=[entry])
    says = "only in the case of letters"
    assert_failed(
        run(claim(vsa(verifier_id="https://v.example/Source")), own), 6, Reason.SIGNER_UNTRUSTED, says
    )
    assert_failed(
        run(claim(vsa(verifier_id="https://v.example/source")), own), 6, Reason.VERIFIER_ID_MISMATCH, says
    )
    slash = run(claim(vsa(verifier_id="https://v.example/Source/")), own)
    assert_failed(slash, 6, Reason.VERIFIER_ID_MISMATCH, "only in the slash at the end")


def test_step_6_a_configured_key() -> None:
    keyed, known = by_key()
    assert_passed(run(claim(vsa(), KEY), keyed, **known))
    assert_failed(
        run(claim(vsa(), Signer("key:" + "cd" * 32, "")), keyed, **known), 6, Reason.SIGNER_UNTRUSTED
    )
    assert_failed(
        run(claim(vsa(), Signer(KEY.identity, "issuer")), keyed, **known), 6, Reason.SIGNER_UNTRUSTED
    )
    assert_failed(run(claim(vsa(), KEY), keyed), 6, Reason.SIGNER_UNTRUSTED, "a configured public key")
    assert_failed(run(claim(vsa(), github_source_actions()), keyed, **known), 6, Reason.SIGNER_UNTRUSTED)


# Step 7


def test_step_7_the_images_own_digest_is_a_subject_and_binds() -> None:
    keyed, known = by_key(
        verifierId="https://example.com/verifier",
        expectedVerifiedLevels=["SLSA_BUILD_LEVEL_3"],
        expectedResourceUri="oci://registry.example/source-demo",
    )
    examination = run(claim(build_vsa(), KEY), keyed, **known)
    assert_passed(examination)
    assert (examination.bound_by_digest, examination.revision, examination.refs) == (True, "", ())
    other = run(claim(build_vsa("ee" * 32), KEY), keyed, **known)
    assert_failed(other, 7, Reason.SUBJECT_MISMATCH, "sha256:" + "ee" * 32, str(IMAGE))
    assert not other.bound_by_digest


@pytest.mark.parametrize(
    "digest", [{"sha1": COMMIT}, {"md5": "ab"}, {"sha512": IMAGE_DIGEST}, {"sha256": IMAGE_DIGEST.upper()}]
)
def test_step_7_what_is_neither_commit_nor_image(digest: dict[str, str]) -> None:
    examination = run(claim(vsa(subjects=[{"digest": digest}])))
    assert_failed(examination, 7, Reason.SUBJECT_MISMATCH, "expected a gitCommit")


def test_step_7_a_commit_beside_the_image_is_bound_too() -> None:
    subjects = [{"digest": {"gitCommit": COMMIT}}, {"digest": {"sha256": IMAGE_DIGEST}}]
    examination = run(claim(vsa(subjects=subjects)))
    assert_passed(examination)
    assert not examination.bound_by_digest
    assert examination.revision == COMMIT
