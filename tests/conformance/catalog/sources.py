"""Step 14, provenance: what was built, in whose run, by whom; and what else hangs on the image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tests.conformance.case import Case, attested, lines
from tests.conformance.catalog.bindings import BUILDER, BUILDERS, GENERATOR, OTHER, REPOSITORY
from tests.conformance.model import image_digest
from tests.support.sigstore import (
    COMMIT,
    GITHUB_ISSUER,
    MAIN,
    Identity,
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

ELSEWHERE = "https://github.com/example/other"
DIGEST = image_digest({}).partition(":")[2]
OWN = attest_build_provenance()
HERE = {"uri": f"git+{REPOSITORY}@{MAIN}", "digest": {"gitCommit": COMMIT}}
THERE = {"uri": f"git+{ELSEWHERE}@{MAIN}", "digest": {"gitCommit": OTHER}}
NO_BUILDERS: dict[str, Any] = {"sourceBinding": "provenance"}
TRUSTED: dict[str, Any] = {"sourceBinding": "provenance", "trustedBuilders": BUILDERS}
NOT_BOUND, MISMATCH, VERIFIED = "SOURCE_NOT_BOUND", "SOURCE_REVISION_MISMATCH", "VERIFIED"
BUILDER_KEY = derive_key("conformance", "builder")
KEYED: dict[str, Any] = {
    "sourceBinding": "provenance",
    "trustedBuilders": [{"builderId": "https://example.com/builder", "publicKey": BUILDER_KEY.pem.decode()}],
}


def cases() -> Iterator[Case]:
    """Yield the cases."""
    yield from _without_builders()
    yield from _runs()
    yield from _built()


def case_of(name: str, why: str, reason: str, parameters: Mapping[str, Any], *bundles: bytes) -> Case:
    """Return a case of one artifact; what denies is step 14."""
    step = 0 if reason == VERIFIED else 14
    return Case(name, why, reason, parameters=dict(parameters), blobs=attested(lines(*bundles)), step=step)


def _by(identity: Identity, **fields: Any) -> tuple[bytes, bytes]:
    """Return the summary, and a provenance that is signed as ``identity``."""
    lab = Lab()
    return lab.sign(vsa()), lab.sign(provenance_v1(DIGEST, **fields), identity)


def _without_builders() -> Iterator[Case]:
    reusable = generic_generator()
    enterprise = {1: f"{GITHUB_ISSUER}/corp", 8: f"{GITHUB_ISSUER}/corp"}
    forced = {18: f"{ELSEWHERE}/.github/workflows/rule.yml@{MAIN}"}
    table: dict[str, tuple[str, Identity, dict[str, Any], str]] = {
        "own-workflow": (VERIFIED, OWN, {}, "A workflow of the attested repository at the attested commit."),
        "own-workflow-of-tag": (
            VERIFIED,
            attest_build_provenance(ref="refs/tags/v1"),
            {"ref": "refs/tags/v1"},
            "The same in a run for a tag of that commit.",
        ),
        "reusable-workflow": (
            VERIFIED,
            reusable,
            {"builder_id": reusable.san},
            "A reusable workflow of another repository, called by the attested one at the attested commit.",
        ),
        "runner-as-builder": (
            VERIFIED,
            OWN,
            {"builder_id": "https://github.com/actions/runner/github-hosted"},
            "The builder id of attest-build-provenance until 1.3: the runner that the certificate names.",
        ),
        "other-repository": (
            MISMATCH,
            attest_build_provenance("example/other"),
            {"builder_id": attest_build_provenance("example/other").san},
            "Another repository's workflow claims to have built the attested commit.",
        ),
        "other-commit": (
            MISMATCH,
            attest_build_provenance(commit=OTHER),
            {},
            "A run for another commit claims to have built the attested one.",
        ),
        "reusable-workflow-for-other-repository": (
            MISMATCH,
            generic_generator(repository="example/other"),
            {"builder_id": reusable.san},
            "The reusable workflow was called by another repository.",
        ),
        "self-hosted": (
            NOT_BOUND,
            attest_build_provenance(runner="self-hosted"),
            {},
            "The attested repository's workflow on a runner of its own.",
        ),
        "enterprise-issuer": (
            NOT_BOUND,
            OWN.having(enterprise),
            {},
            "The issuer is an enterprise's own, which must be named in trustedBuilders.",
        ),
        "other-builder-id": (
            NOT_BOUND,
            OWN,
            {"builder_id": "https://example.com/builder"},
            "The workflow names another builder than itself.",
        ),
        "person": (NOT_BOUND, person(), {"builder_id": "someone@example.com"}, "A person signed."),
        "forced-workflow": (
            NOT_BOUND,
            generic_generator().having(forced),
            {"builder_id": reusable.san},
            "The run was started by a workflow of another repository, which an organization's rules can do.",
        ),
        "used-only": (
            MISMATCH,
            OWN,
            {
                "builder_id": OWN.san,
                "repository": "example/other",
                "changes": {"predicate.buildDefinition.resolvedDependencies": [THERE, HERE]},
            },
            "The attested repository was a dependency of what was built.",
        ),
    }
    for name, (reason, identity, fields, why) in table.items():
        yield case_of(f"hosted-{name}", why, reason, NO_BUILDERS, *_by(identity, **fields))
    yield case_of(
        "hosted-self-hosted-allowed",
        "The attested repository's workflow on a runner of its own, where those are allowed.",
        VERIFIED,
        {**NO_BUILDERS, "allowSelfHostedRunners": True},
        *_by(attest_build_provenance(runner="self-hosted")),
    )
    yield case_of("hosted-none", "There is no provenance.", NOT_BOUND, NO_BUILDERS, Lab().sign(vsa()))
    lab = Lab()
    v02 = provenance_v02(DIGEST, builder_id=GENERATOR)
    yield case_of(
        "hosted-generator-v0.2",
        "slsa-github-generator's reusable workflow, called by the attested repository.",
        VERIFIED,
        NO_BUILDERS,
        lab.sign(vsa()),
        lab.sign(v02, generic_generator()),
    )


def _runs() -> Iterator[Case]:
    """Trusted builders whose provenance says what is right, in runs for something else."""
    elsewhere = attest_build_provenance("example/builder", OTHER)
    entry = {"builderId": BUILDER, "issuer": GITHUB_ISSUER, "identity": elsewhere.san}
    foreign = {**TRUSTED, "trustedBuilders": [{**entry, "buildsForeignSource": True}]}
    table: dict[str, tuple[str, Identity, Mapping[str, Any], dict[str, Any], str]] = {
        "right": (VERIFIED, OWN.only_new(), TRUSTED, {}, "The certificate names repository and commit."),
        "other-repository": (
            MISMATCH,
            OWN.having({5: "example/other", 12: ELSEWHERE}),
            TRUSTED,
            {},
            "The certificate names another repository.",
        ),
        "other-commit": (
            MISMATCH,
            attest_build_provenance(commit=OTHER),
            TRUSTED,
            {},
            "The certificate names another commit.",
        ),
        "contradiction-commit": (
            NOT_BOUND,
            OWN.having({13: OTHER}),
            TRUSTED,
            {},
            "The certificate's two forms of the commit contradict each other.",
        ),
        "contradiction-repository": (
            NOT_BOUND,
            OWN.having({5: "example/other"}),
            TRUSTED,
            {},
            "The certificate's two forms of the repository contradict each other.",
        ),
        "foreign-unsaid": (
            MISMATCH,
            elsewhere,
            {**TRUSTED, "trustedBuilders": [entry]},
            {},
            "A builder for other repositories, whose entry does not say so.",
        ),
        "foreign": (
            VERIFIED,
            elsewhere,
            foreign,
            {},
            "A builder for other repositories, whose entry says so.",
        ),
        "foreign-other-source": (
            MISMATCH,
            elsewhere,
            foreign,
            {"repository": "example/other"},
            "A builder for other repositories that built another one.",
        ),
        "foreign-self-hosted": (
            NOT_BOUND,
            attest_build_provenance("example/builder", OTHER, runner="self-hosted"),
            foreign,
            {},
            "A builder for other repositories on a runner of its own.",
        ),
    }
    for name, (reason, identity, parameters, fields, why) in table.items():
        yield case_of(
            f"builder-run-{name}", why, reason, parameters, *_by(identity, builder_id=BUILDER, **fields)
        )


def typed(build_type: str, external: Any, *dependencies: Any) -> bytes:
    """Return a provenance v1 of a build type, signed with the builder's key."""
    definition = "predicate.buildDefinition"
    changes = {
        f"{definition}.buildType": build_type,
        f"{definition}.externalParameters": external,
        f"{definition}.resolvedDependencies": list(dependencies),
    }
    statement = provenance_v1(DIGEST, builder_id="https://example.com/builder", changes=changes)
    return keyed_envelope(statement, BUILDER_KEY)


def _built() -> Iterator[Case]:
    workflow = "https://actions.github.io/buildtypes/workflow/v1"
    generator = "https://github.com/slsa-framework/slsa-github-generator/delegator-generic@v0"
    gitlab = "https://gitlab.com/gitlab-org/gitlab-runner/-/blob/v16.7.0/PROVENANCE.md"
    buildkit = "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md"
    cloud = "https://cloud.google.com/build/gcb-buildtypes/google-worker/v1"
    own = "https://example.com/build/v1"
    this = {"workflow": {"repository": REPOSITORY, "ref": MAIN}}
    other = {"workflow": {"repository": ELSEWHERE, "ref": MAIN}}
    sha1 = {"uri": HERE["uri"], "digest": {"sha1": COMMIT}}
    sha256 = {"uri": REPOSITORY, "digest": {"sha256": COMMIT}}
    context = {"uri": f"{REPOSITORY}.git#{MAIN}", "digest": {"sha1": COMMIT}}
    config = {"repository": f"git+{REPOSITORY}", "ref": MAIN, "path": "cloudbuild.yaml"}
    image = {"uri": "gcr.io/builder", "digest": {"sha256": "1" * 64}}
    table: dict[str, tuple[str, bytes, str]] = {
        "workflow": (
            VERIFIED,
            typed(workflow, this, THERE, HERE),
            "The workflow's repository, beside another.",
        ),
        "workflow-other": (
            MISMATCH,
            typed(workflow, other, HERE),
            "Another workflow's repository was built.",
        ),
        "workflow-other-with-its-commit": (
            MISMATCH,
            typed(workflow, other, HERE, THERE),
            "Another workflow's repository was built; the attested one comes first.",
        ),
        "workflow-two-commits": (
            NOT_BOUND,
            typed(workflow, this, {**HERE, "digest": {"gitCommit": OTHER}}, HERE),
            "Two commits of the workflow's repository at one ref.",
        ),
        "generator": (VERIFIED, typed(generator, {"source": sha1}, THERE), "The generator's source."),
        "generator-first": (
            VERIFIED,
            typed(generator, {"inputs": {}}, HERE, THERE),
            "The first dependency.",
        ),
        "generator-second": (
            MISMATCH,
            typed(generator, {"inputs": {}}, THERE, HERE),
            "The second dependency.",
        ),
        "generator-other": (
            MISMATCH,
            typed(generator, {"source": THERE}, HERE),
            "Another source was built.",
        ),
        "gitlab": (VERIFIED, typed(gitlab, {"source": REPOSITORY}, sha256), "GitLab calls a commit sha256."),
        "gitlab-other": (
            MISMATCH,
            typed(gitlab, {"source": ELSEWHERE}, sha256),
            "Another project was built.",
        ),
        "buildkit": (VERIFIED, typed(buildkit, {"configSource": context}), "The git context of a build."),
        "buildkit-local": (
            MISMATCH,
            typed(buildkit, {"configSource": {"path": "Dockerfile"}}, HERE),
            "A local context, and the attested commit as a dependency.",
        ),
        "cloud-build": (
            VERIFIED,
            typed(cloud, {"buildConfigSource": config}, HERE, image),
            "Google Cloud Build.",
        ),
        "cloud-build-other": (
            MISMATCH,
            typed(cloud, {"buildConfigSource": {**config, "repository": ELSEWHERE}}, HERE, image),
            "Google Cloud Build of another repository.",
        ),
        "own-type": (
            VERIFIED,
            typed(own, {}, HERE, image),
            "A build type of one's own with one git dependency.",
        ),
        "own-type-two": (
            NOT_BOUND,
            typed(own, {}, HERE, THERE),
            "A build type of one's own with two of them.",
        ),
        "own-type-unreadable": (
            NOT_BOUND,
            typed(own, {}, HERE, {"uri": "git@example.com:x.git", "digest": {"gitCommit": OTHER}}),
            "A build type of one's own with a second git dependency that cannot be read.",
        ),
    }
    for name, (reason, provenance, why) in table.items():
        yield case_of(f"built-{name}", why, reason, KEYED, Lab().sign(vsa()), provenance)
    generated = {
        "sourceBinding": "provenance",
        "trustedBuilders": [{"builderId": GENERATOR, "issuer": GITHUB_ISSUER, "identity": GENERATOR}],
    }
    for name, source in (
        ("v0.2-other-repository", {"uri": f"git+{ELSEWHERE}@{MAIN}", "digest": {"sha1": COMMIT}}),
        ("v0.2-other-commit", {"uri": HERE["uri"], "digest": {"sha1": OTHER}}),
        ("v0.2-nothing", {}),
    ):
        changes = {"predicate.invocation.configSource": source}
        lab = Lab()
        yield case_of(
            f"built-{name}",
            "The attested commit is among the materials; configSource says what was built.",
            MISMATCH,
            generated,
            lab.sign(vsa()),
            lab.sign(provenance_v02(DIGEST, builder_id=GENERATOR, changes=changes), generic_generator()),
        )
