"""Parameters to a policy (step 1): all that is wrong is said at once, and nothing is passed over."""

from __future__ import annotations

from typing import Any

import pytest

from slsa_verifier_plugin.policy.matching import IdentityPattern, RefPattern, UriPattern
from slsa_verifier_plugin.policy.parameters import (
    MAX_VIOLATIONS,
    ParameterError,
    Policy,
    RootSource,
    parse_policy,
)
from slsa_verifier_plugin.policy.trusted import (
    BUILT_IN_VERIFIERS,
    CURRENT_VERIFIER_ID,
    EARLIER_VERIFIER_ID,
    TrustedSigner,
)
from tests.support.policies import RESOURCE, policy

PEM = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"
SIGNER: dict[str, Any] = {"verifierId": EARLIER_VERIFIER_ID, "issuer": "https://i", "identity": "https://a@b"}
BUILDER: dict[str, Any] = {"builderId": "https://b", "issuer": "https://i", "identityPattern": "https://.*"}


def violations(**changes: Any) -> list[str]:
    with pytest.raises(ParameterError) as caught:
        policy(**changes)
    sentences = [str(problem) for problem in caught.value.violations]
    assert str(caught.value) == "; ".join(sentences)
    return sentences


def test_the_least_that_is_needed_and_its_defaults() -> None:
    assert policy() == Policy(
        name="slsla",
        type="",
        levels=("SLSA_SOURCE_LEVEL_2",),
        resource_uris=(UriPattern(RESOURCE),),
        verifier_ids=(CURRENT_VERIFIER_ID, EARLIER_VERIFIER_ID),
        verifiers=BUILT_IN_VERIFIERS,
        roots=(RootSource("public-good"),),
        source_refs=(),
        source_binding="none",
        builders=(),
        max_age=None,
        allow_self_hosted=False,
        timeout=4.0,
        max_bytes=16 << 20,
        max_bundles=1024,
    )


def test_more_commits_of_the_known_workflow() -> None:
    first, second = "ab" * 20, "cd" * 20
    for given_ in ([first], [first, first], [first, second]):
        verifiers = policy(allowedWorkflowDigests=given_).verifiers
        assert [item.id for item in verifiers] == [item.id for item in BUILT_IN_VERIFIERS]
        for own, known in zip(verifiers, BUILT_IN_VERIFIERS, strict=True):
            more = set(given_) if known.is_current_workflow else set()
            assert own.workflow_digests == known.workflow_digests | more
    assert policy().verifiers is BUILT_IN_VERIFIERS


@pytest.mark.parametrize(
    "value",
    [
        "AB" * 20,
        "aB" * 20,
        "ab" * 32,
        "ab" * 19,
        "ab" * 20 + "a",
        "ab" * 20 + "\n",
        "v0.1.0",
        "",
        "refs/tags/v1.0.0",
        7,
    ],
)
def test_more_commits_are_full_ids_in_lower_case(value: object) -> None:
    (violation,) = violations(allowedWorkflowDigests=[value])
    assert violation.startswith("allowedWorkflowDigests[0]: found ")
    if isinstance(value, str) and not value.endswith("\n"):
        assert "40 hexadecimal digits in lower case" in violation


def test_more_commits_are_a_list_of_some_and_need_the_built_in_table() -> None:
    assert violations(allowedWorkflowDigests=[]) == ["allowedWorkflowDigests: must not be empty"]
    assert violations(allowedWorkflowDigests="ab" * 20)[0].startswith("allowedWorkflowDigests: found ")
    with pytest.raises(ParameterError, match="allowedWorkflowDigests: has no effect with trustedVerifiers"):
        parse_policy({"trustedVerifiers": [SIGNER], "allowedWorkflowDigests": ["ab" * 20]})
    (violation,) = violations(trustedVerifiers=[SIGNER], allowedWorkflowDigests=["ab" * 20])
    assert "no effect with trustedVerifiers" in violation


def test_of_the_default_ids_those_count_that_may_be_signed_for() -> None:
    for own in (CURRENT_VERIFIER_ID, EARLIER_VERIFIER_ID):
        assert policy(trustedVerifiers=[{**SIGNER, "verifierId": own}]).verifier_ids == (own,)
    assert len(violations(trustedVerifiers=[{**SIGNER, "verifierId": "https://v.example"}])) == 1
    assert policy(expectedVerifierId=EARLIER_VERIFIER_ID).verifier_ids == (EARLIER_VERIFIER_ID,)


def test_everything_at_once() -> None:
    parsed = policy(
        type="slsa",
        artifactTypes="slsla/attestation",
        nestedReferences=[],
        source={"artifact": "x"},
        version="1.0.0",
        expectedResourceUri=["a", "b/*"],
        expectedVerifierId=["v", "w"],
        trustedVerifiers=[
            {
                **SIGNER,
                "verifierId": "v",
                "maxLevel": "SLSA_SOURCE_LEVEL_2",
                "allowedWorkflowDigests": ["ab" * 20],
            },
            {"verifierId": "w", "publicKey": PEM, "maxLevel": ["SLSA_SOURCE_LEVEL_2", "SLSA_BUILD_LEVEL_1"]},
            {"verifierId": "w", "publicKey": "/k.pem"},
        ],
        trustedRoot=["public-good", "staging", {"path": "/r"}, {"tufUrl": "https://t/", "rootPath": "/b"}],
        expectedSourceRefs=["refs/heads/main", "**"],
        sourceBinding="provenance",
        trustedBuilders=[BUILDER, {"builderId": "c", "publicKey": "/k.pem"}],
        maxAge="720h",
        allowSelfHostedRunners=True,
        timeout="1m30s",
        maxAttestationBytes=1024,
        maxBundles=65536,
    )
    assert parsed.verifiers == (
        TrustedSigner(
            "v",
            "https://i",
            "https://a@b",
            caps=("SLSA_SOURCE_LEVEL_2",),
            workflow_digests=frozenset({"ab" * 20}),
        ),
        TrustedSigner("w", public_key=PEM, caps=("SLSA_SOURCE_LEVEL_2", "SLSA_BUILD_LEVEL_1")),
        TrustedSigner("w", public_key="/k.pem"),
    )
    assert parsed.builders == (
        TrustedSigner("https://b", "https://i", pattern=IdentityPattern("https://.*")),
        TrustedSigner("c", public_key="/k.pem"),
    )
    assert parsed.roots == (
        RootSource("public-good"),
        RootSource("staging"),
        RootSource("path", "/r"),
        RootSource("tuf", "https://t", "/b"),
    )
    assert parsed.public_keys == (PEM, "/k.pem")
    # Neither a key that is written down nor a repository is a file.
    assert parsed.files == ("/r", "/b", "/k.pem")
    assert (parsed.max_age, parsed.timeout, parsed.max_bytes, parsed.max_bundles) == (
        2592000,
        90,
        1024,
        65536,
    )
    assert parsed.allow_self_hosted
    assert parsed.source_refs == (RefPattern("refs/heads/main"), RefPattern("**"))


def test_a_whole_number_may_be_written_as_a_fraction() -> None:
    parsed = policy(maxBundles=10.0, maxAttestationBytes=2048.0)
    assert (type(parsed.max_bundles), type(parsed.max_bytes)) == (int, int)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"expectedVerifiedLevels": None}, "expectedVerifiedLevels is required"),
        ({"expectedResourceUri": None}, "expectedResourceUri is required"),
        ({"expectedVerifiedLevels": []}, "expectedVerifiedLevels: must not be empty"),
        ({"expectedVerifiedLevels": "SLSA_SOURCE_LEVEL_2"}, "expected a list"),
        ({"expectedVerifiedLevels": [2]}, "expectedVerifiedLevels[0]: found 2, expected a string"),
        ({"expectedVerifiedLevels": ["SLSA SOURCE"]}, "expectedVerifiedLevels[0]: found"),
        ({"expectedVerifiedLevels": ["SLSA_SOURCE_LEVEL_0"]}, "demands nothing"),
        (
            {"expectedVerifiedLevels": ["ORG_X", "FAILED"]},
            'expectedVerifiedLevels[1]: "FAILED" demands nothing',
        ),
        ({"expectedVerifiedLevels": ["SLSA_SOURCE_LEVEL_UNEVALUATED"]}, "demands nothing"),
        ({"expectedVerifiedLevels": ["SLSA_SOURCE_LEVEL_2\n"]}, "ends with a line break"),
        ({"expectedResourceUri": ""}, "expectedResourceUri: must not be empty"),
        ({"expectedResourceUri": []}, "expectedResourceUri: "),
        ({"expectedResourceUri": [""]}, "expectedResourceUri[0]: must not be empty"),
        ({"expectedResourceUri": ["x", 5]}, "expectedResourceUri[1]: found 5, expected a string"),
        ({"expectedResourceUri": 1}, "a non-empty string or a non-empty list of strings"),
        (
            {"expectedResourceUri": {"a": 1}},
            'expectedResourceUri: found ("a": 1), expected',
        ),
        ({"expectedResourceUri": "a b"}, "expected a text without blanks and control characters"),
        ({"expectedResourceUri": f"{RESOURCE}\n"}, "ends with a line break"),
        ({"expectedResourceUri": [RESOURCE, f"{RESOURCE}\n"]}, "ends with a line break"),
        ({"expectedVerifierId": "https://nobody.example"}, "nobody in the built-in table may sign"),
        (
            {"expectedVerifierId": [EARLIER_VERIFIER_ID, "https://nobody.example"]},
            "nobody in the built-in table",
        ),
        (
            {"expectedVerifierId": EARLIER_VERIFIER_ID, "trustedVerifiers": [{**SIGNER, "verifierId": "x"}]},
            "known are x",
        ),
        (
            {"expectedverifiedlevels": []},
            "expectedverifiedlevels: unknown parameter; did you mean expectedVerifiedLevels?",
        ),
        ({"maxage": "1h"}, "did you mean maxAge?"),
        ({"zzzz": 1}, "zzzz: unknown parameter; known are"),
        ({"a{b}\n": 1}, "a(b)?: unknown parameter"),
        ({"maxAge": "1 h"}, "expected a duration such as"),
        ({"maxAge": "h"}, "expected a duration such as"),
        ({"maxAge": 3600}, "maxAge: found 3600, expected a duration such as 4s, 500ms or 720h"),
        ({"maxAge": "30d"}, 'found "30d", expected a duration such as 4s, 500ms or 720h; is 720h meant?'),
        ({"timeout": 4}, "timeout: found 4, expected a duration"),
        ({"trustedRoot": "public-god"}, "or a list of those; is public-good meant?"),
        ({"trustedRoot": ["Staging"]}, "or a list of those; is staging meant?"),
        ({"trustedRoot": "/etc/slsa/root.json"}, "write path: /etc/slsa/root.json below trustedRoot"),
        ({"maxAge": "0s"}, "out of range"),
        ({"maxAge": "999ms"}, "out of range"),
        ({"maxAge": "-1h"}, "expected a duration such as"),
        ({"timeout": "99ms"}, "expected between 0.1 s and 300 s"),
        ({"timeout": "301s"}, "expected between 0.1 s and 300 s"),
        ({"timeout": "4"}, "expected a duration such as"),
        ({"timeout": "1s" * 33}, "timeout: found"),
        ({"allowSelfHostedRunners": "true"}, "expected true or false"),
        ({"maxBundles": 0}, "maxBundles: found 0, expected a whole number of at least 1"),
        ({"maxBundles": 65537}, "expected a whole number of at most 65536"),
        ({"maxBundles": 1.5}, "expected a whole number"),
        ({"maxBundles": True}, "expected a whole number"),
        ({"maxAttestationBytes": 1023}, "expected a whole number of at least 1024"),
        ({"expectedSourceRefs": []}, "must not be empty"),
        ({"expectedSourceRefs": ["main"]}, 'expectedSourceRefs[0]: found "main"'),
        ({"sourceBinding": "annotations"}, "expected one of none, annotation, provenance"),
        (
            {"sourceBinding": "provenance", "trustedBuilders": [{**BUILDER, "buildsForeignSource": "yes"}]},
            "expected true or false",
        ),
        ({"trustedVerifiers": [{**SIGNER, "buildsForeignSource": True}]}, "unknown parameter"),
        ({"trustedBuilders": [BUILDER]}, "has no effect with sourceBinding: none"),
        ({"sourceBinding": "annotation", "trustedBuilders": [BUILDER]}, "has no effect"),
        ({"trustedRoot": "private"}, "public-good, staging, an object with path"),
        ({"trustedRoot": []}, "trustedRoot: "),
        ({"trustedRoot": {"path": "r.json"}}, 'trustedRoot.path: "r.json" is relative'),
        ({"trustedRoot": ["public-good", {"path": "r.json"}]}, "trustedRoot[1].path: "),
        ({"trustedRoot": {"tufUrl": "https://t"}}, "trustedRoot: "),
        ({"trustedRoot": {"pth": "/r"}}, "trustedRoot.pth: unknown parameter; did you mean path?"),
        (
            {"trustedRoot": ["staging", {"tufUrl": "https://t", "rootPth": "/r"}]},
            "trustedRoot[1].rootPth: unknown",
        ),
        ({"trustedRoot": {"tufUrl": "ftp://t", "rootPath": "/r"}}, "trustedRoot.tufUrl: "),
        ({"trustedRoot": {"tufUrl": "https://u@t", "rootPath": "/r"}}, "trustedRoot.tufUrl: "),
        ({"trustedRoot": {"tufUrl": "https://t", "rootPath": "r"}}, "trustedRoot.rootPath: "),
        ({"name": ""}, "name: must not be empty"),
        ({"name": 1}, "name: found"),
    ],
)
def test_what_is_wrong_is_said(changes: dict[str, Any], says: str) -> None:
    assert says in "; ".join(violations(**changes))


@pytest.mark.parametrize(
    "entry",
    [
        {},
        {"issuer": "i"},
        {"identity": "a"},
        {"identityPattern": "a"},
        {"identity": "a", "identityPattern": "a", "issuer": "i"},
        {"publicKey": PEM, "issuer": "i"},
        {"publicKey": PEM, "identity": "a"},
        {"publicKey": PEM, "identityPattern": "a"},
        {"publicKey": PEM, "identity": "a", "issuer": "i"},
        {"publicKey": PEM, "identityPattern": "a", "issuer": "i"},
        {"identity": "a", "issuer": ""},
        {"identity": "", "issuer": "i"},
        {"identity": "a\n", "issuer": "i"},
        {"identity": "a", "issuer": "i\n"},
        {"identityPattern": "a\n", "issuer": "i"},
        {"identityPattern": "(", "issuer": "i"},
        {"identityPattern": "", "issuer": "i"},
        {"publicKey": ""},
        {"publicKey": "keys/a.pem"},
        {"identity": "a", "issuer": "i", "subject": "x"},
    ],
)
@pytest.mark.parametrize("kind", ["trustedVerifiers", "trustedBuilders"])
def test_a_signer_is_one_thing_and_whole(entry: dict[str, Any], kind: str) -> None:
    if kind == "trustedVerifiers":
        found = violations(trustedVerifiers=[{"verifierId": EARLIER_VERIFIER_ID, **entry}])
    else:
        found = violations(sourceBinding="provenance", trustedBuilders=[{"builderId": "b", **entry}])
    assert all(text.startswith(f"{kind}[0]") for text in found)


@pytest.mark.parametrize(
    "entry",
    [
        {"maxLevel": "SLSA_SOURCE_LEVEL_2\n"},
        {"maxLevel": "2"},
        {"maxLevel": "ORG_X"},
        {"maxLevel": []},
        {"maxLevel": ["SLSA_SOURCE_LEVEL_2", "x"]},
        {"allowedWorkflowDigests": []},
        {"allowedWorkflowDigests": ["ab" * 19]},
        {"allowedWorkflowDigests": ["AB" * 20]},
        {"allowedWorkflowDigests": ["ab" * 20 + "\n"]},
    ],
)
def test_caps_and_digests_are_well_formed(entry: dict[str, Any]) -> None:
    assert "trustedVerifiers[0]" in violations(trustedVerifiers=[{**SIGNER, **entry}])[0]


def test_a_signer_with_a_bad_pattern_is_one_violation_and_not_a_missing_signer_too() -> None:
    entry = {"verifierId": "https://v", "issuer": "i", "identityPattern": "("}
    (found,) = violations(expectedVerifierId="https://v", trustedVerifiers=[entry])
    assert "not a regular expression" in found


def test_a_builder_may_say_that_it_builds_foreign_sources() -> None:
    for entry, foreign in (
        ({}, False),
        ({"buildsForeignSource": False}, False),
        ({"buildsForeignSource": True}, True),
    ):
        (builder,) = policy(sourceBinding="provenance", trustedBuilders=[{**BUILDER, **entry}]).builders
        assert builder.builds_foreign_source is foreign


def test_provenance_needs_no_builders() -> None:
    assert policy(sourceBinding="provenance").builders == ()


def test_builders_have_no_caps_and_keys_no_workflow() -> None:
    violations(sourceBinding="provenance", trustedBuilders=[{**BUILDER, "maxLevel": "SLSA_BUILD_LEVEL_3"}])
    key = {"verifierId": EARLIER_VERIFIER_ID, "publicKey": PEM, "allowedWorkflowDigests": ["ab" * 20]}
    violations(trustedVerifiers=[key])


def test_all_violations_are_reported_at_once_and_bounded() -> None:
    found = violations(expectedVerifiedLevels=None, maxage="1h", timeout="x", sourceBinding=7)
    assert len(found) == 4
    many = violations(expectedVerifiedLevels=[7] * 64)
    assert many[MAX_VIOLATIONS:] == ["and 44 more"]
    assert [text.partition("]")[0] for text in many[:3]] == [f"expectedVerifiedLevels[{n}" for n in range(3)]
    contradictions = violations(expectedVerifierId=[f"https://nobody.example/{n}" for n in range(99)])
    assert contradictions[MAX_VIOLATIONS:] == ["and 79 more"]
    unknown = violations(**{f"zz{n}": 1 for n in range(MAX_VIOLATIONS + 1)})
    assert unknown[MAX_VIOLATIONS:] == ["and 1 more"]
    assert len(violations(**{f"zz{n}": 1 for n in range(MAX_VIOLATIONS)})) == MAX_VIOLATIONS


def test_what_does_not_fit_the_schema_hides_no_contradiction() -> None:
    found = violations(
        expectedResourceUri=None,
        expectedVerifiedLevels=["FAILED"],
        timeout="9h",
        maxAge=5,
        trustedBuilders=[BUILDER],
    )
    assert [text.partition(":")[0] for text in sorted(found)] == [
        "expectedResourceUri is required",
        "expectedVerifiedLevels[0]",
        "maxAge",
        "timeout",
        "trustedBuilders",
    ]


def test_nothing_is_said_to_be_missing_that_only_does_not_fit() -> None:
    entry = {"verifierId": "https://v", "issuer": "i"}
    assert len(violations(expectedVerifierId="https://v", trustedVerifiers=[entry])) == 1
    assert len(violations(expectedVerifierId=7, trustedVerifiers=[SIGNER])) == 1
    builder = {"builderId": "b", "issuer": "i"}
    assert len(violations(sourceBinding="provenance", trustedBuilders=[builder])) == 1
    assert len(violations(sourceBinding="nothing", trustedBuilders=[BUILDER])) == 1


def test_a_public_key_is_not_repeated_in_a_message() -> None:
    found = violations(trustedVerifiers=[{"verifierId": "x", "publicKey": PEM}])
    assert "AAAA" not in "; ".join(found)


@pytest.mark.parametrize("config", [None, 7, "slsla", [], ["name"], True])
def test_parameters_that_are_no_object_are_said_to_be_none(config: Any) -> None:
    with pytest.raises(ParameterError) as caught:
        parse_policy(config)
    assert len(caught.value.violations) == 1
