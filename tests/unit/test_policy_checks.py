"""Steps 6 to 8, each from both sides: the nearest that passes and the nearest that does not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from slsa_verifier_plugin.errors import Reason, StatementError
from slsa_verifier_plugin.model.signer import Claim, Signer
from slsa_verifier_plugin.model.statement import PAYLOAD_TYPE
from slsa_verifier_plugin.model.vsa import SourceSubject
from slsa_verifier_plugin.policy.checks import Context, Examination, examine, examine_verified, read
from slsa_verifier_plugin.policy.releases import known_releases
from slsa_verifier_plugin.policy.steps import StepOutcome
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
    trusting,
)
from tests.support.sigstore import (
    COMMIT,
    IMAGE_DIGEST,
    LEVEL_1_COMMIT,
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
    assert_passed(examine(Claim(PAYLOAD_TYPE, b"{}", signer()), Context(policy(), IMAGE), good))


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


# Step 8


@pytest.mark.parametrize(
    "identity",
    [
        github_source_actions(),
        github_source_actions().only_new(),
        github_source_actions().without(3, 5, 6),
        github_source_actions().without(12, 13, 14),
        github_source_actions().having({24: "of tomorrow"}),
    ],
)
def test_step_8_old_and_new_extensions_agree_with_the_summary(identity: Identity) -> None:
    assert_passed(run(claim(vsa(), identity)))


TAG = "refs/tags/v1.2.3"


def tag_run(refs: list[str], ref: str = TAG, **parameters: Any) -> Examination:
    return run(claim(vsa(refs=refs), github_source_actions(ref=ref)), policy(**parameters))


def test_step_8_a_tag_run_counts_as_its_tag() -> None:
    examination = tag_run([MAIN])
    assert_passed(examination)
    assert examination.refs == (TAG,)
    assert TAG in examination.steps[2].detail
    assert_passed(tag_run([MAIN, "refs/heads/release/1"], expectedSourceRefs=["refs/tags/v*"]))
    denied = tag_run([MAIN], expectedSourceRefs=[MAIN])
    assert_failed(denied, 12, Reason.SOURCE_REF_MISMATCH, f"found {TAG}", "certificate", f"names {MAIN}")
    # As before the workflow moved: the summary names the tag.
    assert tag_run([TAG]).refs == (TAG,)
    assert_passed(tag_run([TAG, MAIN], expectedSourceRefs=[MAIN]))


@pytest.mark.parametrize(
    ("refs", "ref"),
    [
        (["refs/tags/v1.2.4"], TAG),
        ([MAIN, "refs/tags/v1.2.4"], TAG),
        (["refs/pull/1/merge"], TAG),
        (["main"], TAG),
        ([MAIN], "refs/tags/"),
        ([MAIN], "refs/heads/dev"),
        ([MAIN], "refs/pull/1/merge"),
        ([MAIN], "v1.2.3"),
        ([MAIN], ""),
        (["refs/heads/dev"], MAIN),
        ([TAG], MAIN),
    ],
)
def test_step_8_every_other_ref_that_differs_is_a_mismatch(refs: list[str], ref: str) -> None:
    assert_failed(tag_run(refs, ref), 8, Reason.CERTIFICATE_MISMATCH, "source ref")


def test_step_8_a_tag_run_is_of_the_certified_commit() -> None:
    other = {"digest": {"gitCommit": LEVEL_1_COMMIT}, "annotations": {"source_refs": [MAIN]}}
    own = vsa()["subject"][0]
    examination = run(claim(vsa(subjects=[other, own]), github_source_actions(ref=TAG)))
    assert_passed(examination)
    assert examination.sources == (SourceSubject(own["digest"]["gitCommit"], (TAG,)),)
    assert_failed(
        run(claim(vsa(subjects=[other]), github_source_actions(ref=TAG))),
        8,
        Reason.CERTIFICATE_MISMATCH,
        "commit",
    )


def test_step_8_a_tag_of_no_certified_commit_is_no_tag_run() -> None:
    """Of another provider's run that certifies a tag and no commit, nothing says which commit the tag is."""
    entry = {
        "verifierId": "https://v.example",
        "issuer": "https://ci.example",
        "identity": "https://ci.example/x",
    }
    keyed = policy(expectedVerifierId="https://v.example", trustedVerifiers=[entry])
    extensions: dict[int, str | bytes] = {
        8: "https://ci.example",
        12: "https://github.com/example/source-demo",
        14: TAG,
    }
    summary = vsa(verifier_id="https://v.example")
    assert_failed(
        run(claim(summary, Identity("https://ci.example/x", extensions)), keyed),
        8,
        Reason.CERTIFICATE_MISMATCH,
    )
    certified = {**extensions, 13: summary["subject"][0]["digest"]["gitCommit"]}
    examination = run(claim(summary, Identity("https://ci.example/x", certified)), keyed)
    assert_passed(examination)
    assert examination.refs == (TAG,)


def test_step_8_says_what_alone_differs() -> None:
    elsewhere = github_source_actions().having({12: "https://git.example/Example/source-demo"}).without(5)
    summary = vsa(changes={"predicate.resourceUri": "git+https://git.example/example/source-demo"})
    assert_failed(
        run(claim(summary, elsewhere)), 8, Reason.CERTIFICATE_MISMATCH, "only in the case of letters"
    )
    plain_http = vsa(changes={"predicate.resourceUri": "git+http://github.com/example/source-demo"})
    assert_failed(run(claim(plain_http)), 8, Reason.CERTIFICATE_MISMATCH, "the scheme (https and http)")


def test_step_8_ignores_the_case_of_a_repository_where_its_host_does() -> None:
    assert run(claim(vsa(), github_source_actions(repository="Example/Source-Demo"))).reason is None
    elsewhere = github_source_actions().having({12: "https://git.example/Example/source-demo"}).without(5)
    summary = vsa(changes={"predicate.resourceUri": "git+https://git.example/example/source-demo"})
    assert_failed(run(claim(summary, elsewhere)), 8, Reason.CERTIFICATE_MISMATCH, "source repository")


@pytest.mark.parametrize(
    ("identity", "says"),
    [
        (github_source_actions(repository="example/other"), "source repository"),
        (github_source_actions(repository="Example/source-dem0"), "source repository"),
        (
            github_source_actions().having({12: "https://ghe.example/example/source-demo"}),
            "source repository",
        ),
        (github_source_actions(commit=LEVEL_1_COMMIT), "source commit"),
        (github_source_actions(ref="refs/heads/dev"), "source ref"),
        (github_source_actions(ref="refs/heads/main2"), "source ref"),
        (github_source_actions().without(5, 12), "source repository"),
        (github_source_actions().without(3, 13), "source commit"),
        (github_source_actions().without(6, 14), "source ref"),
        (github_source_actions().having({3: LEVEL_1_COMMIT}), "contradicts itself"),
        (github_source_actions().having({13: LEVEL_1_COMMIT}), "contradicts itself"),
        (github_source_actions().having({5: "example/other"}), "contradicts itself"),
        (github_source_actions().having({12: "https://github.com/example/other"}), "contradicts itself"),
        (github_source_actions().having({6: "refs/heads/dev"}), "contradicts itself"),
        (github_source_actions().having({14: "refs/heads/dev"}), "contradicts itself"),
        (github_source_actions(runner="self-hosted"), 'runner "self-hosted"'),
        (github_source_actions(runner="GitHub-Hosted"), 'runner "GitHub-Hosted"'),
        (github_source_actions(runner=""), 'runner ""'),
        (github_source_actions().without(11), "runner nothing"),
        (github_source_actions().only_old(), "runner nothing"),
    ],
)
def test_step_8_a_certificate_that_says_otherwise(identity: Identity, says: str) -> None:
    assert_failed(run(claim(vsa(), identity)), 8, Reason.CERTIFICATE_MISMATCH, says)


def test_step_8_self_hosted_runners_may_be_allowed() -> None:
    allowed = policy(allowSelfHostedRunners=True)
    assert_passed(run(claim(vsa(), github_source_actions(runner="self-hosted")), allowed))
    assert_passed(run(claim(vsa(), github_source_actions().only_old()), allowed))
    other = github_source_actions(runner="self-hosted", commit=LEVEL_1_COMMIT)
    assert_failed(run(claim(vsa(), other), allowed), 8, Reason.CERTIFICATE_MISMATCH, "source commit")


def test_step_8_a_ref_is_compared_only_where_the_summary_has_any() -> None:
    elsewhere = github_source_actions(ref="refs/heads/dev")
    assert_passed(run(claim(vsa(refs=None), elsewhere)))
    assert_passed(run(claim(vsa(refs=["refs/heads/dev", MAIN]), elsewhere)))
    assert_failed(run(claim(vsa(refs=[MAIN]), elsewhere)), 8, Reason.CERTIFICATE_MISMATCH)


def test_step_8_of_several_commits_only_the_certified_one_counts() -> None:
    subjects = [
        {"digest": {"gitCommit": LEVEL_1_COMMIT}, "annotations": {"source_refs": ["refs/heads/other"]}},
        {"digest": {"gitCommit": COMMIT}, "annotations": {"source_refs": [MAIN]}},
    ]
    examination = run(claim(vsa(subjects=subjects)))
    assert_passed(examination)
    assert examination.revision == COMMIT
    assert examination.refs == (MAIN,)


def test_step_8_a_signer_that_is_no_github_run_is_not_compared() -> None:
    examination = run(
        claim(vsa(), person()), trusting(identity=person().san, issuer="https://accounts.google.com")
    )
    assert_passed(examination)
    assert examination.steps[2].outcome is StepOutcome.NOT_CHECKED


@pytest.mark.parametrize("arc", [2, 3, 4, 5, 6])
def test_step_8_one_github_extension_makes_it_a_github_run_whatever_the_issuer(arc: int) -> None:
    identity = person().having({arc: "x"})
    examination = run(
        claim(vsa(), identity), trusting(identity=identity.san, issuer="https://accounts.google.com")
    )
    assert_failed(examination, 8, Reason.CERTIFICATE_MISMATCH)


@pytest.mark.parametrize("name", ["/acme", "/"])
def test_step_8_an_enterprises_issuer_is_githubs(name: str) -> None:
    issuer = f"https://token.actions.githubusercontent.com{name}"
    identity = person().having({1: issuer, 8: issuer})
    trusted = trusting(identity=identity.san, issuer=issuer)
    assert_failed(run(claim(vsa(), identity), trusted), 8, Reason.CERTIFICATE_MISMATCH, "runner nothing")


GITLAB = "https://gitlab.example"
GITLAB_RUN = Identity(
    f"{GITLAB}/example/source-demo//.gitlab-ci.yml@refs/heads/main",
    {
        8: GITLAB,
        11: "gitlab-hosted",
        12: f"{GITLAB}/example/source-demo",
        13: COMMIT,
        14: MAIN,
    },
)


@pytest.mark.parametrize(
    ("identity", "says"),
    [
        (GITLAB_RUN, None),
        (GITLAB_RUN.without(11), None),
        (GITLAB_RUN.without(12), None),
        (GITLAB_RUN.without(13), None),
        (GITLAB_RUN.without(14), None),
        (GITLAB_RUN.without(11, 12, 13, 14), None),
        (GITLAB_RUN.having({11: "of-a-provider"}), None),
        (GITLAB_RUN.having({11: "self-hosted"}), 'runner "self-hosted", expected the provider'),
        (GITLAB_RUN.having({12: f"{GITLAB}/example/other"}), "source repository"),
        (GITLAB_RUN.having({12: "x"}), "source repository"),
        (GITLAB_RUN.having({13: LEVEL_1_COMMIT}), "source commit"),
        (GITLAB_RUN.having({14: "refs/heads/dev"}), "source ref"),
    ],
)
def test_step_8_of_another_provider_what_is_certified_must_agree(
    identity: Identity, says: str | None
) -> None:
    trusted = [
        {
            "verifierId": "https://github.com/slsa-framework/source-actions",
            "issuer": GITLAB,
            "identity": identity.san,
        }
    ]
    uri = f"git+{GITLAB}/example/source-demo"
    statement = vsa(changes={"predicate.resourceUri": uri})
    examination = run(claim(statement, identity), policy(trustedVerifiers=trusted, expectedResourceUri=uri))
    if says is None:
        assert_passed(examination)
    else:
        assert_failed(examination, 8, Reason.CERTIFICATE_MISMATCH, says)


def test_step_8_of_another_provider_only_the_certified_commit_counts() -> None:
    uri = f"git+{GITLAB}/example/source-demo"
    subjects = [{"digest": {"gitCommit": LEVEL_1_COMMIT}}, {"digest": {"gitCommit": COMMIT}}]
    statement = vsa(subjects=subjects, changes={"predicate.resourceUri": uri})
    entry = {"verifierId": "https://github.com/slsa-framework/source-actions", "issuer": GITLAB}
    trusted = policy(trustedVerifiers=[{**entry, "identity": GITLAB_RUN.san}], expectedResourceUri=uri)
    assert run(claim(statement, GITLAB_RUN), trusted).revision == COMMIT


def test_step_8_the_old_repository_extension_means_github_com_alone() -> None:
    enterprise = "https://ghe.example/_services/token"
    identity = github_source_actions().without(12).having({1: enterprise, 8: enterprise})
    trusted = trusting(identity=identity.san, issuer=enterprise)
    assert_failed(run(claim(vsa(), identity), trusted), 8, Reason.CERTIFICATE_MISMATCH, "source repository")
    ghe = vsa(changes={"predicate.resourceUri": "git+https://ghe.example/example/source-demo"})
    both = github_source_actions().having(
        {1: enterprise, 8: enterprise, 12: "https://ghe.example/example/source-demo"}
    )
    assert run(claim(ghe, both), trusted).reached == 10
    contradicting = both.having({5: "example/other"})
    assert_failed(
        run(claim(ghe, contradicting), trusted), 8, Reason.CERTIFICATE_MISMATCH, "contradicts itself"
    )


def test_step_8_a_summary_about_an_image_has_only_its_runner_checked() -> None:
    statement = build_vsa(verifier_id="https://github.com/slsa-framework/source-actions")
    wanted = policy(
        expectedVerifiedLevels=["SLSA_BUILD_LEVEL_3"],
        expectedResourceUri="oci://registry.example/source-demo",
    )
    assert_passed(run(claim(statement), wanted))
    self_hosted = github_source_actions(runner="self-hosted")
    assert_failed(run(claim(statement, self_hosted), wanted), 8, Reason.CERTIFICATE_MISMATCH, "runner")


def test_step_8_says_of_what_was_compared() -> None:
    assert run(claim()).steps[2].detail == "repository, commit, ref and runner agree"
    entry = {
        "verifierId": "https://v.example",
        "issuer": "https://ci.example",
        "identity": "https://ci.example/x",
    }
    own = policy(expectedVerifierId="https://v.example", trustedVerifiers=[entry])
    other = Identity(
        "https://ci.example/x", {8: "https://ci.example", 12: "https://github.com/example/source-demo"}
    )
    examination = run(claim(vsa(verifier_id="https://v.example"), other), own)
    assert_passed(examination)
    assert examination.steps[2].detail.startswith("what is certified of")
