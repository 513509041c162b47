"""Statements as the real producers make them, every field open to change.

The in-toto attestation library checks the shape before any change is made, so that a case which is wrong is
wrong in what it says, and not by accident.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Final

from google.protobuf import json_format
from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.statement import STATEMENT_TYPE_URI, Statement

from tests.support.sigstore.identity import COMMIT, GITHUB, LEVEL_1_COMMIT, MAIN, REPOSITORY

VSA_TYPE = "https://slsa.dev/verification_summary/v1"
PROVENANCE_V1_TYPE = "https://slsa.dev/provenance/v1"
PROVENANCE_V02_TYPE = "https://slsa.dev/provenance/v0.2"
SOURCE_PROVENANCE_TYPE = f"{GITHUB}/slsa-framework/slsa-source-poc/source-provenance/v1-draft"
TAG_PROVENANCE_TYPE = f"{GITHUB}/slsa-framework/slsa-source-poc/tag-provenance/v1-draft"
STATEMENT_V01 = "https://in-toto.io/Statement/v0.1"

SOURCE_ACTIONS = f"{GITHUB}/slsa-framework/source-actions"
IMAGE_DIGEST = "d4" * 32
"""The sha256 of the image that build provenance is about, unless told otherwise."""
ATTEST_BUILDER = f"{GITHUB}/actions/runner/github-hosted"
GENERATOR_BUILDER = (
    f"{GITHUB}/slsa-framework/slsa-github-generator/.github/workflows/"
    "generator_container_slsa3.yml@refs/tags/v2.1.0"
)


class _Removed:
    """The type of ``REMOVED``."""


REMOVED: Final = _Removed()
"""As a value in ``changes``: the field goes away."""

Document = dict[str, Any]
Changes = Mapping[str, Any]
"""New values by path: ``{"predicate.verifier.id": "...", "subject.0.annotations": REMOVED}``."""


def changed(statement: Mapping[str, Any], changes: Changes | None) -> Document:
    """Return a copy of ``statement`` with fields set or removed.

    Args:
        statement: any JSON object.
        changes: as ``Changes`` says. A number in a path is an index where there is a list; names may hold
            dots if the path is written with ``/`` at its start and between its steps (``/subject/0/digest``).

    Raises:
        KeyError: a path leads through something that is not there.
        IndexError: as above, in a list.
    """
    result: Document = copy.deepcopy(dict(statement))
    for path, value in (changes or {}).items():
        *way, last = path[1:].split("/") if path.startswith("/") else path.split(".")
        place: Any = result
        for step in way:
            place = place[int(step)] if isinstance(place, list) else place[step]
        key = int(last) if isinstance(place, list) else last
        if isinstance(value, _Removed):
            del place[key]
        else:
            place[key] = value
    return result


def statement(subjects: Sequence[Document], predicate_type: str, predicate: Document) -> Document:
    """Return an in-toto statement v1, its shape checked by the in-toto attestation library.

    Raises:
        ValueError: it is no valid statement.
        google.protobuf.json_format.ParseError: as above.
    """
    document = {
        "_type": STATEMENT_TYPE_URI,
        "subject": list(subjects),
        "predicateType": predicate_type,
        "predicate": predicate,
    }
    Statement.copy_from_pb(json_format.ParseDict(document, statement_pb2.Statement())).validate()
    # The library (0.9.3) knows summaries too, but takes verifiedLevels for one string: no real one passes.
    if predicate_type == PROVENANCE_V1_TYPE:
        json_format.ParseDict(predicate, provenance_pb2.Provenance())
    return document


def vsa(
    commit: str = COMMIT,
    *,
    repository: str = REPOSITORY,
    levels: Sequence[str] = ("SLSA_SOURCE_LEVEL_3",),
    refs: Sequence[str] | None = (MAIN,),
    refs_key: str = "source_refs",
    verifier_id: str = SOURCE_ACTIONS,
    result: str = "PASSED",
    time_verified: str = "2025-11-03T09:59:59.077372531Z",
    subjects: Sequence[Document] | None = None,
    changes: Changes | None = None,
) -> Document:
    """Return a verification summary as slsa-framework/source-actions makes it.

    Args:
        commit: the commit it is about.
        repository: ``owner/name`` on GitHub.
        levels: ``verifiedLevels``.
        refs: the refs in the subject's annotation; None for no annotation.
        refs_key: the annotation's name.
        verifier_id: ``verifier.id``.
        result: ``verificationResult``.
        time_verified: ``timeVerified``.
        subjects: other subjects in place of the commit.
        changes: fields to set or remove afterwards.
    """
    if subjects is None:
        annotations = {} if refs is None else {"annotations": {refs_key: list(refs)}}
        subjects = [{"digest": {"gitCommit": commit}, **annotations}]
    policies = f"{GITHUB}/slsa-framework/source-policies/blob/main/policy/github.com"
    predicate = {
        "policy": {"uri": f"{policies}/{repository}/source-policy.json"},
        "resourceUri": f"git+{GITHUB}/{repository}",
        "timeVerified": time_verified,
        "verificationResult": result,
        "verifiedLevels": list(levels),
        "verifier": {"id": verifier_id},
    }
    return changed(statement(subjects, VSA_TYPE, predicate), changes)


def build_vsa(
    digest: str = IMAGE_DIGEST,
    *,
    name: str = "registry.example/source-demo",
    levels: Sequence[str] = ("SLSA_BUILD_LEVEL_3",),
    verifier_id: str = "https://example.com/verifier",
    changes: Changes | None = None,
) -> Document:
    """Return a verification summary of the build track, about an image.

    Args:
        digest: the image's sha256, as hexadecimal digits.
        name: the image's name, which also is the ``resourceUri``.
        levels: ``verifiedLevels``.
        verifier_id: ``verifier.id``.
        changes: fields to set or remove afterwards.
    """
    subjects = [{"name": name, "digest": {"sha256": digest}}]
    more = {"predicate.resourceUri": f"oci://{name}", **(changes or {})}
    return vsa(levels=levels, verifier_id=verifier_id, subjects=subjects, changes=more)


def source_provenance(
    commit: str = COMMIT,
    *,
    repository: str = REPOSITORY,
    ref: str = MAIN,
    previous: str = LEVEL_1_COMMIT,
    changes: Changes | None = None,
) -> Document:
    """Return the source provenance that stands beside a summary in a commit's note."""
    predicate = {
        "activityType": "pr_merge",
        "actor": "somebody",
        "branch": ref,
        "controls": [
            {"name": "CONTINUITY_ENFORCED", "since": "2025-10-01T06:20:44.417Z"},
            {"name": "TAG_HYGIENE", "since": "2025-10-01T07:19:39.736Z"},
            {"name": "PROVENANCE_AVAILABLE", "since": "1970-01-01T00:00:00Z"},
        ],
        "createdOn": "2025-11-03T09:59:58.555892744Z",
        "prevCommit": previous,
        "repoUri": f"{GITHUB}/{repository}",
    }
    subjects = [{"digest": {"gitCommit": commit}}]
    return changed(statement(subjects, SOURCE_PROVENANCE_TYPE, predicate), changes)


def tag_provenance(
    commit: str = COMMIT, *, repository: str = REPOSITORY, tag: str = "v0.1", changes: Changes | None = None
) -> Document:
    """Return the provenance of a tag, which carries summaries' levels along."""
    predicate = {
        "actor": "somebody",
        "createdOn": "2025-11-03T09:59:58.550006409Z",
        "repoUri": f"{GITHUB}/{repository}",
        "tag": f"refs/tags/{tag}",
        "vsaSummaries": [{"sourceRefs": [MAIN], "verifiedLevels": ["SLSA_SOURCE_LEVEL_3"]}],
    }
    subjects = [{"digest": {"gitCommit": commit}}]
    return changed(statement(subjects, TAG_PROVENANCE_TYPE, predicate), changes)
