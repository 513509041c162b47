"""Step 8: what is certified of the CI run is what the summary says."""

from __future__ import annotations

from typing import Any

import pytest

from slsa_verifier_plugin.errors import Reason
from slsa_verifier_plugin.model.vsa import SourceSubject
from slsa_verifier_plugin.policy.checks import Examination
from slsa_verifier_plugin.policy.steps import StepOutcome
from tests.support.policies import (
    assert_failed,
    assert_passed,
    claim,
    policy,
    run,
    trusting,
)
from tests.support.sigstore import (
    COMMIT,
    LEVEL_1_COMMIT,
    MAIN,
    Identity,
    build_vsa,
    github_source_actions,
    person,
    vsa,
)

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
