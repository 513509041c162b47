"""Build provenance of both versions, as far as it binds an image to its source."""

from __future__ import annotations

import json
from typing import Any

import pytest

from slsa_verifier_plugin.errors import StatementError
from slsa_verifier_plugin.model import built
from slsa_verifier_plugin.model.built import Material
from slsa_verifier_plugin.model.provenance import MAX_MATERIALS, Provenance, parse_provenance
from slsa_verifier_plugin.model.statement import PAYLOAD_TYPE, parse_statement
from tests.support.sigstore import (
    COMMIT,
    IMAGE_DIGEST,
    MAIN,
    REMOVED,
    changed,
    provenance_v02,
    provenance_v1,
    vsa,
)

REPOSITORY = "https://github.com/example/source-demo"
WRITTEN = f"git+{REPOSITORY}@{MAIN}"
OTHER = "https://github.com/example/other"
V1_DEPENDENCIES = "predicate.buildDefinition.resolvedDependencies"
V1_PARAMETERS = "predicate.buildDefinition.externalParameters"
V1_TYPE = "predicate.buildDefinition.buildType"
GENERATOR = "https://github.com/slsa-framework/slsa-github-generator/delegator-generic@v0"
GITLAB = "https://gitlab.com/gitlab-org/gitlab-runner/-/blob/v16.7.0/PROVENANCE.md"
BUILDKIT = "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md"
CLOUD_BUILD = "https://cloud.google.com/build/gcb-buildtypes/google-worker/v1"
OWN = "https://build.example/type/v1"


def parse(statement: Any) -> Provenance:
    return parse_provenance(parse_statement(PAYLOAD_TYPE, json.dumps(statement).encode()))


def pinned(uri: str = WRITTEN, commit: str = COMMIT, name: str = "gitCommit") -> dict[str, Any]:
    return {"uri": uri, "digest": {name: commit}}


def built_v1(build_type: str, parameters: Any, *dependencies: Any) -> list[str]:
    """Return what a v1 of this type says was built, each as ``repository@commit``."""
    changes = {V1_TYPE: build_type, V1_PARAMETERS: parameters, V1_DEPENDENCIES: list(dependencies)}
    return [f"{item.repository} {item.commit}" for item in parse(provenance_v1(changes=changes)).built]


def built_v02(build_type: str, source: Any, *materials: Any) -> list[str]:
    """Return what a v0.2 of this type says was built."""
    changes = {
        "predicate.buildType": build_type,
        "predicate.invocation": {"configSource": source},
        "predicate.materials": list(materials),
    }
    return [f"{item.repository} {item.commit}" for item in parse(provenance_v02(changes=changes)).built]


@pytest.mark.parametrize("version", [provenance_v1, provenance_v02])
def test_provenance_is_read(version: Any) -> None:
    found = parse(version(builder_id="https://builder.example"))
    assert found == Provenance(
        "https://builder.example", frozenset({f"sha256:{IMAGE_DIGEST}"}), (Material(WRITTEN, COMMIT),)
    )
    assert found.materials == (Material(REPOSITORY, COMMIT),)


WORKFLOW = "https://actions.github.io/buildtypes/workflow/v1"
THIS = {"workflow": {"repository": REPOSITORY, "ref": MAIN, "path": ".github/workflows/release.yml"}}
GOOD = [f"{WRITTEN} {COMMIT}"]
TAG = f"git+{REPOSITORY}@refs/tags/v1"
CONTEXT = f"{REPOSITORY}.git"


@pytest.mark.parametrize(
    ("build_type", "parameters", "dependencies", "built"),
    [
        # GitHub's workflow build type: the dependency that is the workflow's repository
        (WORKFLOW, THIS, [pinned()], GOOD),
        (f"{WORKFLOW}/", THIS, [pinned()], GOOD),
        ("https://slsa-framework.github.io/github-actions-buildtypes/workflow/v1", THIS, [pinned()], GOOD),
        (WORKFLOW, THIS, [pinned(OTHER, "1" * 40), pinned(), {"uri": "docker://base"}], GOOD),
        (WORKFLOW, THIS, [pinned(TAG, "1" * 40), pinned()], GOOD),
        (WORKFLOW, THIS, [pinned(TAG)], [f"{TAG} {COMMIT}"]),
        (WORKFLOW, THIS, [pinned(), pinned(WRITTEN, "1" * 40)], [*GOOD, f"{WRITTEN} {'1' * 40}"]),
        (WORKFLOW, THIS, [pinned(OTHER)], [f"{REPOSITORY} "]),
        (WORKFLOW, THIS, [pinned(name="sha256", commit="ab" * 32)], [f"{WRITTEN} "]),
        (WORKFLOW, {"workflow": {"repository": OTHER, "ref": MAIN}}, [pinned()], [f"{OTHER} "]),
        (WORKFLOW, {"workflow": {"repository": "nonsense"}}, [pinned()], ["nonsense "]),
        (WORKFLOW, {"workflow": {"repository": 7}}, [pinned()], []),
        (WORKFLOW, {"workflow": [REPOSITORY]}, [pinned()], []),
        (WORKFLOW, {}, [pinned()], []),
        (WORKFLOW, None, [pinned()], []),
        (WORKFLOW, THIS, ["x", None, {"digest": {"gitCommit": COMMIT}}], [f"{REPOSITORY} "]),
        # slsa-github-generator: the source, else the first dependency
        (GENERATOR, {"source": pinned(name="sha1")}, [pinned(OTHER)], GOOD),
        (GENERATOR, {"source": pinned(OTHER)}, [pinned()], [f"{OTHER} {COMMIT}"]),
        (GENERATOR, {"inputs": {}}, [pinned(), pinned(OTHER, "1" * 40)], GOOD),
        (GENERATOR, {"inputs": {}}, [pinned(OTHER, "1" * 40), pinned()], [f"{OTHER} {'1' * 40}"]),
        (GENERATOR, {"inputs": {}}, ["x", pinned()], []),
        (GENERATOR, {"inputs": {}}, [], []),
        ("https://slsa.dev/container-based-build/v0.1?draft", {"source": pinned(name="sha1")}, [], GOOD),
        # GitLab: the project
        (GITLAB, {"source": REPOSITORY}, [pinned(name="sha256")], GOOD),
        (GITLAB, {"source": REPOSITORY}, [pinned(OTHER, "1" * 40, "sha256"), pinned()], GOOD),
        (GITLAB, {"source": OTHER}, [pinned(name="sha256")], [f"{OTHER} "]),
        (GITLAB, {}, [pinned(name="sha256")], []),
        (
            "https://docs.gitlab.com/ci/pipeline_security/slsa/provenance_v1",
            {"source": REPOSITORY},
            [pinned()],
            GOOD,
        ),
        # BuildKit: the git context
        (
            BUILDKIT,
            {"configSource": pinned(f"{CONTEXT}#{MAIN}:app", name="sha1")},
            [],
            [f"{CONTEXT} {COMMIT}"],
        ),
        (BUILDKIT, {"configSource": pinned(f"{OTHER}#{CONTEXT}")}, [pinned()], [f"{OTHER} {COMMIT}"]),
        (BUILDKIT, {"configSource": {"path": "Dockerfile"}}, [pinned()], []),
        (BUILDKIT, {}, [pinned()], []),
        # Google Cloud Build: the source of the build configuration
        (
            CLOUD_BUILD,
            {"buildConfigSource": {"repository": f"git+{REPOSITORY}", "ref": MAIN}},
            [pinned()],
            GOOD,
        ),
        (CLOUD_BUILD, {"buildConfigSource": {"repository": f"git+{OTHER}"}}, [pinned()], [f"git+{OTHER} "]),
        (
            CLOUD_BUILD,
            {"substitutions": {}},
            [pinned(), {"uri": "gcr.io/docker", "digest": {"sha256": "1"}}],
            GOOD,
        ),
        (CLOUD_BUILD, {}, [pinned(), pinned(OTHER)], [*GOOD, f"{OTHER} {COMMIT}"]),
        # any other: the only git dependency
        (OWN, {}, [pinned()], GOOD),
        (OWN, None, [pinned(name="sha1"), {"uri": "docker://base", "digest": {"sha256": "1"}}], GOOD),
        (OWN, {}, [pinned(), pinned()], GOOD),
        (OWN, {}, [pinned(), pinned(f"{REPOSITORY}.git")], GOOD),
        (OWN, {}, [pinned(), pinned(OTHER)], [*GOOD, f"{OTHER} {COMMIT}"]),
        (OWN, {}, [pinned(), pinned(commit="1" * 40)], [*GOOD, f"{WRITTEN} {'1' * 40}"]),
        (
            OWN,
            {},
            [pinned(), pinned("git@github.com:example/other.git")],
            [*GOOD, f"git@github.com:example/other.git {COMMIT}"],
        ),
        (OWN, {}, [pinned(), {"uri": "git+ssh://x@y/z"}], [*GOOD, "git+ssh://x@y/z "]),
        (OWN, {}, [pinned(), {"digest": {"gitCommit": "1" * 40}}], [*GOOD, f" {'1' * 40}"]),
        (OWN, {"workflow": {"repository": OTHER}}, [pinned()], GOOD),
        (OWN, {}, [], []),
        ("", {}, [pinned()], GOOD),
        (OWN, {"buildConfigSource": {"repository": OTHER}}, [pinned()], GOOD),
        (OWN, {}, [pinned("git@x:y.git"), pinned("git@x:y.git")], [f"git@x:y.git {COMMIT}"]),
        (OWN, {}, [pinned(), {"digest": {"sha256": "1"}}], GOOD),
        (OWN, {}, [pinned(), {"uri": "https://example.com/a.tar.gz", "digest": {"sha256": "1"}}], GOOD),
        (OWN, {}, [pinned(), {"uri": "pkg:npm/x@1", "digest": {"sha1": "1" * 40}}], GOOD),
        (WORKFLOW, THIS, [pinned(), pinned(TAG)], [f"{TAG} {COMMIT}"]),
        (
            WORKFLOW,
            THIS,
            [pinned(TAG, "1" * 40), pinned(f"{TAG}.1")],
            [f"{TAG} {'1' * 40}", f"{TAG}.1 {COMMIT}"],
        ),
    ],
)
def test_what_a_v1_says_was_built(
    build_type: str, parameters: Any, dependencies: list[Any], built: list[str]
) -> None:
    assert built_v1(build_type, parameters, *dependencies) == built


CONTAINER = "https://github.com/slsa-framework/slsa-github-generator/container@v1"


@pytest.mark.parametrize(
    ("build_type", "source", "materials", "built"),
    [
        (CONTAINER, pinned(name="sha1"), [pinned(name="sha1")], GOOD),
        (CONTAINER, pinned(OTHER, name="sha1"), [pinned(name="sha1")], [f"{OTHER} {COMMIT}"]),
        (CONTAINER, pinned(commit="1" * 40), [pinned()], [f"{WRITTEN} {'1' * 40}"]),
        (CONTAINER, {"uri": WRITTEN}, [pinned()], [f"{WRITTEN} "]),
        (CONTAINER, {"uri": WRITTEN, "digest": {"sha1": "short"}}, [pinned()], [f"{WRITTEN} "]),
        (CONTAINER, {"uri": WRITTEN, "digest": {"sha1": COMMIT, "gitCommit": "1" * 40}}, [], [f"{WRITTEN} "]),
        (CONTAINER, {"uri": WRITTEN, "digest": {"sha1": COMMIT, "gitCommit": COMMIT}}, [], GOOD),
        (CONTAINER, {"uri": WRITTEN, "digest": {"sha256": COMMIT}}, [], [f"{WRITTEN} "]),
        (CONTAINER, {}, [pinned()], []),
        (
            "https://mobyproject.org/buildkit@v1",
            pinned(f"{CONTEXT}#main", name="sha1"),
            [],
            [f"{CONTEXT} {COMMIT}"],
        ),
        ("https://mobyproject.org/buildkit@v1", {"entryPoint": "Dockerfile"}, [pinned()], []),
        (GITLAB, pinned(REPOSITORY, name="sha256"), [pinned(OTHER)], [f"{REPOSITORY} {COMMIT}"]),
        (GITLAB, {}, [pinned()], []),
        (OWN, pinned(OTHER), [pinned()], [f"{OTHER} {COMMIT}"]),
        (OWN, {}, [pinned()], GOOD),
        (OWN, None, [pinned(), pinned(OTHER)], [*GOOD, f"{OTHER} {COMMIT}"]),
        (OWN, {"uri": ""}, [pinned()], GOOD),
        (OWN, {"uri": 7}, [pinned()], []),
    ],
)
def test_what_a_v02_says_was_built(
    build_type: str, source: Any, materials: list[Any], built: list[str]
) -> None:
    assert built_v02(build_type, source, *materials) == built


def test_a_v02_without_invocation_has_its_only_git_material() -> None:
    changes = {"predicate.invocation": REMOVED, "predicate.buildType": OWN}
    assert parse(provenance_v02(changes=changes)).built == (Material(WRITTEN, COMMIT),)
    assert parse(provenance_v02(changes={"predicate.invocation": REMOVED})).built == ()


@pytest.mark.parametrize("build_type", [WORKFLOW, GENERATOR, GITLAB, BUILDKIT, CLOUD_BUILD, OWN])
def test_of_many_dependencies_none_costs_much(build_type: str) -> None:
    """As many as a document may have are read within seconds on any machine."""
    parameters = {"source": REPOSITORY, "configSource": pinned(), **THIS}
    many = [pinned(f"git+https://github.com/a/{number}") for number in range(20_000)]
    assert built_v1(build_type, parameters, *many, pinned())


def test_all_digests_of_all_subjects_count() -> None:
    subjects = [
        {"name": "a", "digest": {"sha256": "aa", "sha1": "bb"}},
        {"name": "b", "digest": {"sha512": "cc"}},
    ]
    assert parse(provenance_v1(changes={"subject": subjects})).digests == {"sha256:aa", "sha512:cc"}


@pytest.mark.parametrize(
    ("dependency", "is_material"),
    [
        ({"uri": "git+https://github.com/a/b@refs/heads/main", "digest": {"gitCommit": COMMIT}}, True),
        ({"uri": "https://github.com/a/b.git", "digest": {"gitCommit": COMMIT}}, True),
        ({"uri": "https://github.com/a/b", "digest": {"sha1": COMMIT}}, True),
        ({"uri": "https://github.com/a/b", "digest": {"gitCommit": "short", "sha1": COMMIT}}, False),
        ({"uri": "https://github.com/a/b", "digest": {"gitCommit": None}}, False),
        ({"uri": "https://github.com/a/b", "digest": {"sha256": "ab" * 32}}, False),
        ({"uri": "https://github.com/a/b", "digest": {}}, False),
        ({"uri": "https://github.com/a/b", "digest": "x"}, False),
        ({"uri": "https://github.com/a/b"}, False),
        ({"uri": "pkg:docker/debian", "digest": {"gitCommit": COMMIT}}, False),
        ({"uri": None, "digest": {"gitCommit": COMMIT}}, False),
        ({"digest": {"gitCommit": COMMIT}}, False),
        (None, False),
        ("x", False),
    ],
)
def test_dependencies_that_are_commits_are_materials(dependency: object, is_material: bool) -> None:
    for statement in (
        provenance_v1(changes={V1_DEPENDENCIES: [dependency]}),
        provenance_v02(changes={"predicate.materials": [dependency]}),
    ):
        materials = parse(statement).materials
        assert [item.commit for item in materials] == ([COMMIT] if is_material else [])


@pytest.mark.parametrize("statement", [provenance_v1(), provenance_v02()], ids=["v1", "v0.2"])
def test_no_dependencies_are_no_materials(statement: dict[str, Any]) -> None:
    path = V1_DEPENDENCIES if statement["predicateType"].endswith("v1") else "predicate.materials"
    assert parse(changed(statement, {path: REMOVED})).materials == ()
    assert parse(changed(statement, {path: []})).materials == ()
    # As Go writes an empty list.
    assert parse(changed(statement, {path: None})).materials == ()


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        (vsa(), "the predicate type is"),
        (provenance_v1(changes={"predicateType": "https://slsa.dev/provenance/v2"}), "the predicate type is"),
        (provenance_v1(changes={"predicateType": "https://slsa.dev/provenance/v0.2"}), "no builder object"),
        (provenance_v02(changes={"predicateType": "https://slsa.dev/provenance/v1"}), "no runDetails object"),
        (provenance_v1(changes={"predicate.runDetails": REMOVED}), "no runDetails object"),
        (provenance_v1(changes={"predicate.runDetails.builder": "x"}), "no builder object"),
        (provenance_v1(changes={"predicate.runDetails.builder": {}}), "names no builder"),
        (provenance_v1(changes={"predicate.runDetails.builder.id": ""}), "names no builder"),
        (provenance_v1(changes={"predicate.runDetails.builder.id": 1}), "names no builder"),
        (provenance_v1(changes={"predicate.buildDefinition": REMOVED}), "no buildDefinition object"),
        (provenance_v1(changes={V1_DEPENDENCIES: {}}), "no list, or too many"),
        (provenance_v1(changes={V1_DEPENDENCIES: False}), "no list, or too many"),
        (provenance_v1(changes={V1_DEPENDENCIES: [0] * (MAX_MATERIALS + 1)}), "no list, or too many"),
        (provenance_v02(changes={"predicate.builder": REMOVED}), "no builder object"),
        (provenance_v02(changes={"predicate.materials": "x"}), "no list, or too many"),
    ],
)
def test_malformed_provenance_is_refused(statement: dict[str, Any], problem: str) -> None:
    with pytest.raises(StatementError, match=problem):
        parse(statement)


def test_as_many_dependencies_as_allowed_are_read() -> None:
    statement = provenance_v1(changes={V1_DEPENDENCIES: [0] * MAX_MATERIALS})
    assert parse(statement).materials == ()


_OWN = {"uri": "git+https://git.example/own", "digest": {"gitCommit": "a" * 40}}


@pytest.mark.parametrize(
    "other",
    [
        {"uri": "GIT+https://git.example/other"},
        {"uri": "https://git.example/other.git"},
        {"uri": "https://git.example/other.git#refs/heads/main"},
        {"uri": "https://user@git.example/other", "digest": {"sha1": "b" * 40}},
        {"uri": "https://git.example/other?x", "digest": {"sha1": "b" * 40}},
        {"uri": "https://git.example/other", "digest": {"gitTree": "b" * 40}},
        {"digest": {"gitTag": "b" * 40}},
    ],
)
def test_another_repository_makes_the_source_unclear_however_it_is_written(other: dict[str, Any]) -> None:
    assert len(built_v1("https://builder.example/v1", {}, _OWN, other)) == 2
    assert len(built_v02("https://builder.example/v1", {}, other, _OWN)) == 2


@pytest.mark.parametrize(
    "other",
    [
        {"uri": "pkg:docker/alpine@3.20", "digest": {"sha256": "b" * 64}},
        {"uri": "https://files.example/x.tar.gz", "digest": {"sha256": "b" * 64}},
        {"uri": "https://files.example/.gitignore"},
        {"uri": "oci://registry.example/x.git", "digest": {"sha256": "b" * 64}},
        {"uri": 7, "digest": {"sha1": "b" * 40}},
    ],
)
def test_what_is_no_repository_leaves_the_source_clear(other: dict[str, Any]) -> None:
    assert built_v1("https://builder.example/v1", {}, _OWN, other) == [f"{_OWN['uri']} {'a' * 40}"]


@pytest.mark.parametrize(
    "source",
    [
        "git+https://git.example/other",
        ["x"],
        {"uri": ["x"]},
        {"uri": "", "digest": {"sha1": "b" * 40}},
        {"uri": 7},
    ],
)
def test_a_config_source_that_cannot_be_read_is_not_replaced_by_a_material(source: Any) -> None:
    assert built_v02("https://builder.example/v1", source, _OWN) == []


@pytest.mark.parametrize("source", [None, {}, {"entryPoint": "build.yaml"}, {"uri": "", "digest": {}}])
def test_without_a_config_source_the_only_repository_counts(source: Any) -> None:
    assert built_v02("https://builder.example/v1", source, _OWN) == [f"{_OWN['uri']} {'a' * 40}"]


def test_of_other_build_types_only_git_repositories_count_and_all_of_them() -> None:
    one = {"uri": "https://github.com/example/one", "digest": {"sha1": "a" * 40}}
    two = {"uri": "https://github.com/example/two", "digest": {"sha1": "b" * 40}}
    own = Material("https://github.com/example/one", "a" * 40)
    assert built.built_v1("https://own.example/v1", {}, ["no object", one]) == (own,)
    assert len(built.built_v1("https://own.example/v1", {}, [one, two])) == 2
