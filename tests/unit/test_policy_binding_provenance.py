"""Step 14 by build provenance: whose counts, and what it must say."""

from __future__ import annotations

from typing import Any

import pytest

from slsa_verifier_plugin.errors import Reason
from slsa_verifier_plugin.model.signer import Signer
from slsa_verifier_plugin.policy.binding import (
    PassedOver,
    SignedProvenance,
    check_provenance,
)
from slsa_verifier_plugin.policy.steps import CheckError, StepOutcome
from tests.support.binding_evidence import (
    BUILDER,
    BUILDER_ID,
    ELSEWHERE,
    IMAGE,
    KEY,
    NOT,
    OTHER,
    REPOSITORY,
    built_at,
    check,
    demand,
    denied,
    material,
    provenance,
    trusting,
    two_commits,
)
from tests.support.policies import policy, signer
from tests.support.sigstore import (
    COMMIT,
    LEVEL_1_COMMIT,
    Identity,
    attest_build_provenance,
)


@pytest.mark.parametrize(
    "provenances",
    [
        [provenance(material())],
        [provenance(material(f"git+{REPOSITORY}.git@refs/heads/main"))],
        [provenance(), provenance(material())],
        [provenance(material(), digests=["sha256:" + "00" * 32]), provenance(material())],
        [provenance(material(), by=KEY), provenance(material())],
        [provenance(material(), digests=["sha256:" + "00" * 32, str(IMAGE)])],
        [provenance(material(commit=LEVEL_1_COMMIT)), provenance(material())],
    ],
)
def test_a_trusted_builders_provenance_binds(provenances: list[SignedProvenance]) -> None:
    step = check(provenances).step
    assert (step.number, step.outcome) == (14, StepOutcome.PASSED)
    assert BUILDER_ID in step.detail
    assert COMMIT in step.detail


@pytest.mark.parametrize(
    ("provenances", "reason", "says"),
    [
        ([], NOT, "no signed provenance"),
        ([provenance(material(), digests=["sha256:" + "00" * 32])], NOT, "none about"),
        ([provenance(material(), digests=[IMAGE.hex])], NOT, "none about"),
        ([provenance(material(), by=KEY)], NOT, KEY.identity),
        ([provenance(material(), by=Signer(BUILDER.identity, ""))], NOT, BUILDER.identity),
        ([provenance(material(), builder_id=f"{BUILDER_ID}/")], NOT, f"{BUILDER_ID}/"),
        ([provenance()], OTHER, "no known commit"),
        ([provenance(material(commit=LEVEL_1_COMMIT))], OTHER, LEVEL_1_COMMIT),
        ([provenance(material(commit=""))], OTHER, "no known commit"),
        ([provenance(material(f"{REPOSITORY}2"))], OTHER, f"{REPOSITORY}2"),
        ([provenance(material("nonsense"))], OTHER, "nonsense"),
        ([provenance(material(), material(ELSEWHERE))], NOT, f"{ELSEWHERE}@{COMMIT}"),
        ([provenance(material(), material())], NOT, "expected one source"),
        (
            [provenance(material(), by=KEY), provenance(material(commit=LEVEL_1_COMMIT))],
            OTHER,
            LEVEL_1_COMMIT,
        ),
    ],
)
def test_other_provenance_does_not(provenances: list[SignedProvenance], reason: Reason, says: str) -> None:
    denied(provenances, reason, says)
    denied(provenances[::-1], reason, says)


@pytest.mark.parametrize(
    ("by", "reason", "says"),
    [
        (attest_build_provenance(commit=LEVEL_1_COMMIT), OTHER, LEVEL_1_COMMIT),
        (attest_build_provenance().having({12: ELSEWHERE, 5: "example/other"}), OTHER, ELSEWHERE),
        (attest_build_provenance().having({12: ELSEWHERE}), NOT, "contradicts itself"),
        (attest_build_provenance().having({13: LEVEL_1_COMMIT}), NOT, "contradicts itself"),
        (attest_build_provenance().having({3: LEVEL_1_COMMIT}), NOT, "contradicts itself"),
        (attest_build_provenance().having({5: "example/other"}), NOT, "contradicts itself"),
        (attest_build_provenance().without(3, 13), OTHER, "nothing"),
        (attest_build_provenance().without(5, 12), OTHER, "nothing"),
        (attest_build_provenance().without(5).having({12: ELSEWHERE}), OTHER, ELSEWHERE),
        (attest_build_provenance().without(3).having({13: LEVEL_1_COMMIT}), OTHER, LEVEL_1_COMMIT),
        (attest_build_provenance().only_old(), NOT, "runner"),
        (attest_build_provenance(runner="self-hosted"), NOT, "allowSelfHostedRunners"),
    ],
)
def test_the_run_must_be_for_the_summarys_commit(by: Identity, reason: Reason, says: str) -> None:
    """What the provenance says was built is right in all of them: it was made elsewhere."""
    denied([provenance(material(), by=signer(by))], reason, says)


@pytest.mark.parametrize(
    "by",
    [
        attest_build_provenance(),
        attest_build_provenance().only_new(),
        attest_build_provenance().without(3, 5),
        attest_build_provenance().without(12, 13),
        attest_build_provenance(ref="refs/tags/v1"),
    ],
)
def test_the_run_names_the_commit_in_either_form(by: Identity) -> None:
    assert check([provenance(material(), by=signer(by))], identity=by.san).step.outcome is StepOutcome.PASSED


def test_another_providers_certificate_counts_as_far_as_it_goes() -> None:
    """Step 8's rule: what it names must be right, what it does not name is not asked for."""
    identity = "https://ci.example/job"
    entry: dict[str, Any] = {"issuer": "https://ci.example", "identity": identity}

    def by(**claims: str) -> list[SignedProvenance]:
        arcs = {"repository": 12, "commit": 13, "runner": 11}
        named = {arcs[name]: text for name, text in claims.items()}
        return [provenance(material(), by=Signer(identity, "https://ci.example", named))]

    for good in (
        {},
        {"repository": REPOSITORY},
        {"repository": REPOSITORY, "commit": COMMIT},
        {"commit": COMMIT},
    ):
        assert check(by(**good), **entry).step.outcome is StepOutcome.PASSED
    for bad in ({"repository": ELSEWHERE}, {"repository": REPOSITORY, "commit": LEVEL_1_COMMIT}):
        denied(by(**bad), OTHER, "run for", wanted=trusting(**entry))
    denied(by(repository=REPOSITORY, runner="self-hosted"), NOT, wanted=trusting(**entry))


def test_of_two_attested_commits_the_run_and_the_source_must_be_one() -> None:
    for run, source in ((COMMIT, LEVEL_1_COMMIT), (LEVEL_1_COMMIT, COMMIT)):
        with pytest.raises(CheckError) as caught:
            check([provenance(material(commit=source), by=built_at(run))], two_commits())
        assert caught.value.reason is OTHER


def test_a_builder_of_foreign_sources_must_build_the_right_one() -> None:
    elsewhere = signer(attest_build_provenance("example/builder", LEVEL_1_COMMIT))
    entry: dict[str, Any] = {"identity": elsewhere.identity}
    denied([provenance(material(), by=elsewhere)], OTHER, "buildsForeignSource", wanted=trusting(**entry))
    entry["buildsForeignSource"] = False
    denied([provenance(material(), by=elsewhere)], OTHER, wanted=trusting(**entry))
    entry["buildsForeignSource"] = True
    assert check([provenance(material(), by=elsewhere)], **entry).step.outcome is StepOutcome.PASSED
    contradicting = signer(attest_build_provenance("example/builder").having({13: LEVEL_1_COMMIT}))
    assert check([provenance(material(), by=contradicting)], **entry).step.outcome is StepOutcome.PASSED
    own = signer(attest_build_provenance("example/builder", LEVEL_1_COMMIT, runner="self-hosted"))
    for bad, reason in (
        (provenance(material(ELSEWHERE), by=elsewhere), OTHER),
        (provenance(material(commit=LEVEL_1_COMMIT), by=elsewhere), OTHER),
        (provenance(material(), material(ELSEWHERE), by=elsewhere), NOT),
        (provenance(material(), by=own), NOT),
        (provenance(material(), by=elsewhere, builder_id="https://other.example"), NOT),
    ):
        denied([bad], reason, wanted=trusting(**entry))


def test_foreign_sources_are_one_entrys_alone() -> None:
    """The flag of one entry does not loosen what is asked of another's builder."""
    builders = [
        {"builderId": BUILDER_ID, "issuer": BUILDER.issuer, "identity": BUILDER.identity},
        {"builderId": "https://other.example", "publicKey": "/k.pem", "buildsForeignSource": True},
    ]
    wanted = policy(sourceBinding="provenance", trustedBuilders=builders)
    denied([provenance(material(), by=built_at(LEVEL_1_COMMIT))], OTHER, wanted=wanted)


def test_a_builder_on_ones_own_runner_must_be_allowed() -> None:
    own = signer(attest_build_provenance(runner="self-hosted"))
    alone = [provenance(material(), by=own)]
    denied(alone, NOT, "allowSelfHostedRunners")
    hosted = provenance(material(commit=LEVEL_1_COMMIT))
    denied([*alone, hosted], OTHER, LEVEL_1_COMMIT)
    assert check([*alone, provenance(material())]).step.outcome is StepOutcome.PASSED
    builders = [{"builderId": BUILDER_ID, "issuer": BUILDER.issuer, "identity": BUILDER.identity}]
    allowed = policy(sourceBinding="provenance", trustedBuilders=builders, allowSelfHostedRunners=True)
    assert check_provenance(demand(allowed), alone).step.outcome is StepOutcome.PASSED


def test_a_builder_may_be_known_by_its_key() -> None:
    by_key: dict[str, Any] = {"issuer": None, "identity": None, "publicKey": "/k.pem"}
    assert check([provenance(material(), by=KEY)], **by_key).step.outcome is StepOutcome.PASSED
    for other in (Signer("key:" + "cd" * 32, ""), BUILDER):
        denied(
            [provenance(material(), by=other)],
            NOT,
            "expected the image's build provenance",
            wanted=trusting(**by_key),
        )


def test_builders_of_two_entries_are_not_mixed() -> None:
    """One entry's id with the other's signer is nobody."""
    builders = [
        {"builderId": BUILDER_ID, "issuer": BUILDER.issuer, "identity": BUILDER.identity},
        {"builderId": "https://other.example", "publicKey": "/k.pem"},
    ]
    wanted = policy(sourceBinding="provenance", trustedBuilders=builders)
    mixed = [provenance(material(), by=KEY), provenance(material(), builder_id="https://other.example")]
    denied(mixed, NOT, wanted=wanted)


def test_what_was_passed_over_is_counted_by_kind_with_an_example() -> None:
    passed = PassedOver()
    assert str(passed) == ""
    passed.add("that do not verify", "a broken one")
    assert str(passed) == ", having passed over 1 that do not verify (a broken one)"
    passed.add("that do not verify", "another")
    passed.add("of referrers, of which 64 are looked at", count=3)
    assert str(passed) == (
        ", having passed over 2 that do not verify (such as a broken one), 3 of referrers, of which 64 are looked at"
    )
