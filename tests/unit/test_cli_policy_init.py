"""``policy init`` and ``schema``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from slsa_verifier_plugin.checking.status import Status
from slsa_verifier_plugin.cli.commands.policy_command import resource_schema
from slsa_verifier_plugin.policy.parameters import parse_policy
from slsa_verifier_plugin.resources.ratify_resources import GROUP, VERIFIER_KINDS, VERSIONS
from tests.support.command_line import (
    ARTIFACT_TYPE,
    LEVEL_1,
    LEVEL_3,
    ROOT,
    SOURCE,
    TESTDATA,
    TRUSTED_ROOT,
    cli,
    parameters,
    verifier,
)
from tests.support.embedded_registry import EmbeddedRegistry
from tests.support.sigstore import (
    COMMIT,
    Identity,
    Lab,
    attest_build_provenance,
    github_actions,
    github_source_actions,
    person,
    provenance_v1,
    slsa_framework_actions,
    vsa,
)


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedRegistry]:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with EmbeddedRegistry() as running:
        yield running


def pushed(registry: EmbeddedRegistry, *notes: bytes, **annotations: str) -> str:
    image = registry.push_image("team/app", "v1", annotations)
    for note in notes:
        registry.attach("team/app", image, ARTIFACT_TYPE, [note])
    return f"{registry.host}/team/app:v1"


ALL_DENIES = "it admits the image only where Ratify's Policy says 'slsla/attestation: any'"


def init(
    image: str, *arguments: str | Path, root: Path = TRUSTED_ROOT, notes: tuple[str, ...] = ()
) -> dict[str, Any]:
    done = cli("policy", "init", image, "--plain-http", "--trusted-root", root, *arguments)
    told = done.err.splitlines()
    assert (done.status, len(told)) == (Status.ADMITTED, len(notes)), done
    for line, note in zip(told, notes, strict=True):
        assert line.startswith("note: ")
        assert note in line
        assert f"# Note: {line.removeprefix('note: ')}.\n" in done.out
    resource: dict[str, Any] = yaml.safe_load(done.out)
    assert list(Draft202012Validator(resource_schema()).iter_errors(resource)) == []
    return resource


def test_the_policy_is_as_strict_as_the_attestations_allow(registry: EmbeddedRegistry) -> None:
    image = pushed(registry, LEVEL_1.read_bytes(), LEVEL_3.read_bytes())
    spec = init(image, notes=(ALL_DENIES,))["spec"]
    assert (spec["name"], spec["artifactTypes"]) == ("slsla", ARTIFACT_TYPE)
    assert spec["parameters"] == {
        "expectedVerifiedLevels": ["SLSA_SOURCE_LEVEL_3", "TAG_HYGIENE"],
        "expectedResourceUri": SOURCE,
        "expectedVerifierId": "https://github.com/slsa-framework/source-actions",
        "trustedRoot": {"path": str(TRUSTED_ROOT)},
        "expectedSourceRefs": ["refs/heads/main"],
    }


def test_what_is_written_admits_the_image_and_is_checked(registry: EmbeddedRegistry, tmp_path: Path) -> None:
    image = pushed(registry, LEVEL_3.read_bytes(), **{"org.opencontainers.image.revision": COMMIT})
    path = tmp_path / "made.yaml"
    done = cli(
        "policy", "init", image, "--plain-http", "--trusted-root", TRUSTED_ROOT, "-o", path, "--name", "mine"
    )
    assert done.status == Status.ADMITTED
    assert done.out == f"wrote {path}, and {tmp_path / 'verifier.schema.json'} for editors\n"
    assert path.read_text().startswith("# yaml-language-server: $schema=verifier.schema.json\n")
    resource = yaml.safe_load(path.read_text())
    assert resource["metadata"]["name"] == "mine"
    assert resource["spec"]["parameters"]["sourceBinding"] == "annotation"
    schema = json.loads((tmp_path / "verifier.schema.json").read_text())
    assert list(Draft202012Validator(schema).iter_errors(resource)) == []
    assert cli("verify", image, "--plain-http", "--policy", path).status == Status.ADMITTED
    assert cli("policy", "check", path).out.endswith("\n1 resource: nothing is wrong\n")
    again = cli("policy", "init", image, "--plain-http", "--trusted-root", TRUSTED_ROOT, "-o", path)
    assert (again.status, "--force replaces it" in again.err) == (Status.USAGE, True)


def proposed_with(registry: EmbeddedRegistry, by: Identity, **fields: Any) -> tuple[str, dict[str, Any]]:
    """Return an image with a provenance by ``by`` and a label, and the parameters that are proposed for it."""
    lab, repository = Lab(), "team/app"
    image = registry.push_image(repository, "v1", {"org.opencontainers.image.revision": COMMIT})
    notes = [
        lab.sign(vsa(COMMIT), github_source_actions(commit=COMMIT)),
        lab.sign(provenance_v1(image.digest.hex, **fields), by),
    ]
    registry.attach(repository, image, ARTIFACT_TYPE, [b"\n".join(notes)])
    name = f"{registry.host}/{repository}:v1"
    found: dict[str, Any] = init(name)["spec"]["parameters"]
    return name, found


def test_build_provenance_of_the_repositorys_own_workflow_needs_no_builder(
    registry: EmbeddedRegistry,
) -> None:
    _, found = proposed_with(registry, attest_build_provenance())
    assert found["sourceBinding"] == "provenance"
    assert "trustedBuilders" not in found


def test_another_builder_of_the_commit_is_named(registry: EmbeddedRegistry) -> None:
    builder = "https://builder.example/v1"
    _, found = proposed_with(registry, attest_build_provenance(), builder_id=builder)
    assert found["sourceBinding"] == "provenance"
    (entry,) = found["trustedBuilders"]
    assert entry["builderId"] == builder
    assert entry["identity"] == attest_build_provenance().san
    assert "buildsForeignSource" not in entry


@pytest.mark.parametrize(
    ("by", "fields"),
    [
        (attest_build_provenance(), {"repository": "example/other"}),
        (attest_build_provenance("example/other"), {}),
        (attest_build_provenance(commit="1" * 40), {}),
        (attest_build_provenance(runner="self-hosted"), {}),
    ],
)
def test_provenance_that_would_not_bind_is_not_proposed(
    registry: EmbeddedRegistry, by: Identity, fields: dict[str, Any]
) -> None:
    _, found = proposed_with(registry, by, **fields)
    assert found["sourceBinding"] == "annotation"
    assert "trustedBuilders" not in found


def test_an_unknown_signer_is_named_exactly(registry: EmbeddedRegistry) -> None:
    lab = Lab()
    summary = vsa(COMMIT, changes={"predicate.verifier.id": "https://verifier.example"})
    identity = person("ci@example.com")
    image = pushed(registry, lab.sign(summary, identity))
    found = init(image, notes=("the signer ci@example.com is not among those known",))["spec"]["parameters"]
    assert found["expectedVerifierId"] == "https://verifier.example"
    (trusted,) = found["trustedVerifiers"]
    assert trusted["identity"] == "ci@example.com"
    assert parse_policy({"name": "x", **found}).verifiers[0].issuer == trusted["issuer"]


def attested(lab: Lab, commit: str, *levels: str, repository: str = "", workflow: str = "") -> bytes:
    """Return a summary of a known signer; with a workflow, of that one in ``evil/repo``."""
    if not workflow:
        return lab.sign(vsa(commit, levels=list(levels)), github_source_actions(commit=commit))
    signer = github_actions(workflow, repository="evil/repo", commit=commit)
    return lab.sign(vsa(commit, levels=list(levels), repository=repository), signer)


EVIL_WORKFLOW = "evil/repo/.github/workflows/x.yml@refs/heads/main"


@pytest.mark.parametrize("repository", ["evil/repo", "other/repo"], ids=["verifies", "contradicts itself"])
def test_whoever_may_push_does_not_choose_the_policy(registry: EmbeddedRegistry, repository: str) -> None:
    lab = Lab()
    good = attested(lab, COMMIT, "SLSA_SOURCE_LEVEL_3")
    evil = attested(
        lab, "6" * 40, "SLSA_SOURCE_LEVEL_4", "TAG_HYGIENE", repository=repository, workflow=EVIL_WORKFLOW
    )
    other = f"git+https://github.com/{repository}"
    found = init(
        pushed(registry, evil, good), notes=(f"other repositories are attached, too ({other})", ALL_DENIES)
    )
    assert found["spec"]["parameters"]["expectedVerifiedLevels"] == ["SLSA_SOURCE_LEVEL_3"]
    assert "trustedVerifiers" not in found["spec"]["parameters"]


def test_a_summary_that_its_own_policy_does_not_admit_is_none(registry: EmbeddedRegistry) -> None:
    evil = attested(Lab(), "6" * 40, "SLSA_SOURCE_LEVEL_4", repository="other/repo", workflow=EVIL_WORKFLOW)
    done = cli("policy", "init", pushed(registry, evil), "--plain-http", "--trusted-root", TRUSTED_ROOT)
    assert (done.status, done.out, done.err.count("\n")) == (Status.DENIED, "", 1)
    assert "admits it; the most likely one: CERTIFICATE_MISMATCH: " in done.err


def test_what_the_image_is_bound_to_goes_before_what_claims_more(registry: EmbeddedRegistry) -> None:
    lab = Lab()
    good = attested(lab, COMMIT, "SLSA_SOURCE_LEVEL_3")
    stronger = attested(lab, "7" * 40, "SLSA_SOURCE_LEVEL_3", "TAG_HYGIENE")
    image = pushed(registry, stronger, good, **{"org.opencontainers.image.revision": COMMIT})
    found = init(image, notes=(ALL_DENIES,))["spec"]["parameters"]
    assert found["expectedVerifiedLevels"] == ["SLSA_SOURCE_LEVEL_3"]
    assert found["sourceBinding"] == "annotation"


def test_attested_text_is_no_pattern(registry: EmbeddedRegistry) -> None:
    """A repository or ref that is called *: what is written matches it alone, and not every other one."""
    uri, ref = "git+https://git.example/team/*", "refs/heads/*"
    signer = person("verifier@example.com", "https://issuer.example.com")
    note = Lab().sign(vsa(refs=[ref], changes={"predicate.resourceUri": uri}), signer)
    image = pushed(registry, note)
    parameters = init(image, notes=("not among those known",))["spec"]["parameters"]
    assert parameters["expectedResourceUri"] == "git+https://git.example/team/\\*"
    assert parameters["expectedSourceRefs"] == ["refs/heads/\\*"]
    policy = parse_policy({"name": "x", **parameters})
    assert [policy.resource_uris[0].matches(text) for text in (uri, "git+https://git.example/team/a")] == [
        True,
        False,
    ]
    assert [policy.source_refs[0].matches(text) for text in (ref, "refs/heads/a")] == [True, False]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"subject.0.annotations.source_refs": ["**"]}, "expectedSourceRefs[0]"),
        ({"subject.0.annotations.source_refs": ["main"]}, "expectedSourceRefs[0]"),
        ({"predicate.resourceUri": "git+https://git.example/a b"}, "expectedResourceUri"),
        ({"predicate.resourceUri": "git+https://git.example/a\nb"}, "expectedResourceUri"),
        ({"predicate.verifiedLevels": ["SLSA_SOURCE_LEVEL_3", "A B"]}, "expectedVerifiedLevels[1]"),
    ],
)
def test_what_no_policy_can_say_is_refused_and_hides_nothing(
    registry: EmbeddedRegistry, changes: dict[str, Any], says: str
) -> None:
    lab, signer = Lab(), person("verifier@example.com", "https://issuer.example.com")
    odd = lab.sign(vsa(changes=changes), signer)
    done = cli("policy", "init", pushed(registry, odd), "--plain-http", "--trusted-root", TRUSTED_ROOT)
    assert (done.status, done.out, done.err.count("\n")) == (Status.DENIED, "", 1)
    assert f"no policy can say what its attestation says: {says}" in done.err
    plain_one = lab.sign(vsa(), signer)
    image = registry.push_image("team/app", "v2", {})
    for note in (odd, plain_one):
        registry.attach("team/app", image, ARTIFACT_TYPE, [note])
    found = cli(
        "policy", "init", f"{registry.host}/team/app:v2", "--plain-http", "--trusted-root", TRUSTED_ROOT
    )
    assert found.status == Status.ADMITTED


ACTIONS = "https://github.com/slsa-framework/actions"


@pytest.mark.parametrize("commit", ["dea965cdca5e0cb422bf7b2653c9d15f678ad01c", "ab" * 20])
def test_a_commit_of_the_known_workflow_is_written_unless_it_is_a_release(
    registry: EmbeddedRegistry, commit: str
) -> None:
    note = Lab().sign(vsa(verifier_id=ACTIONS), slsa_framework_actions(commit))
    is_known = commit.startswith("dea9")
    notes = () if is_known else (f"the commit {commit}, which is no release known",)
    parameters = init(pushed(registry, note), notes=notes)["spec"]["parameters"]
    assert parameters["expectedVerifierId"] == ACTIONS
    assert parameters.get("allowedWorkflowDigests") == (None if is_known else [commit])
    assert "trustedVerifiers" not in parameters


def test_the_ref_of_a_tags_run_is_the_certified_tag(registry: EmbeddedRegistry) -> None:
    tag = "refs/tags/v1.2.3"
    note = Lab().sign(vsa(), github_source_actions(ref=tag))
    assert init(pushed(registry, note))["spec"]["parameters"]["expectedSourceRefs"] == [tag]


def test_other_letters_are_no_other_repository(registry: EmbeddedRegistry) -> None:
    lab = Lab()
    notes = [
        lab.sign(vsa(repository=name), github_source_actions())
        for name in ("example/source-demo", "Example/Source-Demo")
    ]
    init(pushed(registry, *notes))


@pytest.mark.parametrize("note", [b"{}", (TESTDATA / "tampered.intoto.jsonl").read_bytes()])
def test_what_does_not_verify_is_no_ground_for_a_policy(registry: EmbeddedRegistry, note: bytes) -> None:
    done = cli("policy", "init", pushed(registry, note), "--plain-http", "--trusted-root", TRUSTED_ROOT)
    assert (done.status, done.out, done.err.count("\n")) == (Status.DENIED, "", 1)
    assert "whose signature verifies" in done.err


# schema


def test_the_schema_of_the_parameters() -> None:
    found = json.loads(cli("policy", "schema").out)
    Draft202012Validator.check_schema(found)
    assert "expectedVerifiedLevels" in found["properties"]


def test_the_schema_of_the_resource_accepts_what_the_plugin_does() -> None:
    schema = json.loads(cli("policy", "schema", "--resource").out)
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    for path in (ROOT / "deploy" / "ratify").glob("*/verifier-slsa.yaml"):
        assert list(validator.iter_errors(yaml.safe_load(path.read_text()))) == []
    assert list(validator.iter_errors(verifier(spec={"parameters": parameters(expectedLevels=1)})))
    assert list(validator.iter_errors(verifier(kind="Store")))


def test_the_schema_of_a_resource_has_the_kinds_and_versions_that_are_read() -> None:
    properties = resource_schema()["properties"]
    assert properties["kind"]["enum"] == list(VERIFIER_KINDS)
    assert properties["apiVersion"]["enum"] == [f"{GROUP}/{version}" for version in VERSIONS]
