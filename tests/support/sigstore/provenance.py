"""SLSA build provenance, as GitHub's attest-build-provenance and slsa-github-generator make it."""

from __future__ import annotations

from tests.support.sigstore.identity import COMMIT, GITHUB, MAIN, REPOSITORY
from tests.support.sigstore.statements import (
    GENERATOR_BUILDER,
    IMAGE_DIGEST,
    PROVENANCE_V02_TYPE,
    PROVENANCE_V1_TYPE,
    STATEMENT_V01,
    Changes,
    Document,
    changed,
    statement,
)

IMAGE_NAME = "registry.example/source-demo"


def provenance_v1(
    digest: str = IMAGE_DIGEST,
    *,
    name: str = IMAGE_NAME,
    repository: str = REPOSITORY,
    commit: str = COMMIT,
    ref: str = MAIN,
    builder_id: str | None = None,
    changes: Changes | None = None,
) -> Document:
    """Return provenance v1 of an image built by a repository's own workflow.

    Args:
        digest: the image's sha256, as hexadecimal digits.
        name: the image's name.
        repository: ``owner/name`` on GitHub of what was built.
        commit: the commit that was built.
        ref: the full ref it was built from.
        builder_id: ``runDetails.builder.id``; the workflow that signs if None.
        changes: fields to set or remove afterwards.
    """
    source, workflow = f"{GITHUB}/{repository}", ".github/workflows/release.yml"
    predicate = {
        "buildDefinition": {
            "buildType": "https://actions.github.io/buildtypes/workflow/v1",
            "externalParameters": {"workflow": {"ref": ref, "repository": source, "path": workflow}},
            "internalParameters": {
                "github": {
                    "event_name": "push",
                    "repository_id": "1079000001",
                    "repository_owner_id": "1950001",
                    "runner_environment": "github-hosted",
                }
            },
            "resolvedDependencies": [{"uri": f"git+{source}@{ref}", "digest": {"gitCommit": commit}}],
        },
        "runDetails": {
            "builder": {"id": builder_id or f"{source}/{workflow}@{ref}"},
            "metadata": {"invocationId": f"{source}/actions/runs/18866000002/attempts/1"},
        },
    }
    subjects = [{"name": name, "digest": {"sha256": digest}}]
    return changed(statement(subjects, PROVENANCE_V1_TYPE, predicate), changes)


def provenance_v02(
    digest: str = IMAGE_DIGEST,
    *,
    name: str = IMAGE_NAME,
    repository: str = REPOSITORY,
    commit: str = COMMIT,
    ref: str = MAIN,
    builder_id: str = GENERATOR_BUILDER,
    changes: Changes | None = None,
) -> Document:
    """Return provenance v0.2, in a statement v0.1, of an image as slsa-github-generator makes it.

    The arguments are those of ``provenance_v1``. A commit stands in it as ``sha1``.
    """
    source, workflow = f"git+{GITHUB}/{repository}@{ref}", ".github/workflows/release.yml"
    predicate = {
        "builder": {"id": builder_id},
        "buildType": f"{GITHUB}/slsa-framework/slsa-github-generator/container@v1",
        "invocation": {
            "configSource": {"uri": source, "digest": {"sha1": commit}, "entryPoint": workflow},
            "parameters": {},
            "environment": {"github_event_name": "push", "github_ref": ref, "github_sha1": commit},
        },
        "metadata": {
            "buildInvocationID": "18866000003-1",
            "completeness": {"parameters": True, "environment": False, "materials": False},
            "reproducible": False,
        },
        "materials": [{"uri": source, "digest": {"sha1": commit}}],
    }
    subjects = [{"name": name, "digest": {"sha256": digest}}]
    document = statement(subjects, PROVENANCE_V02_TYPE, predicate)
    return changed({**document, "_type": STATEMENT_V01}, changes)
