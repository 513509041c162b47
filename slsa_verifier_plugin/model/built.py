"""What a build provenance says was built: one repository at one commit, as its build type documents it.

A provenance also names what the build merely used. Only the documented source counts, so that nobody's image is taken for
another repository's because it has that repository among its dependencies.

- SLSA provenance v0.2, ``invocation.configSource``: what the build was started from, whatever the build type.
- GitHub's workflow build type v1: the dependency that is ``externalParameters.workflow``'s repository at its ref.
- slsa-github-generator and container-based builds v1: ``externalParameters.source``, else the first dependency.
- GitLab v1: the dependency that is the project in ``externalParameters.source``. GitLab writes a commit as ``sha256``, too.
- BuildKit v1: ``externalParameters.configSource``, the git context of the build.
- Google Cloud Build v1: the dependency that is ``externalParameters.buildConfigSource``'s repository at its ref.
- Any other build type: the only git dependency.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from slsa_verifier_plugin.members import object_at, text_at
from slsa_verifier_plugin.model.source_uri import SourceUri, same_repository
from slsa_verifier_plugin.model.vsa import is_commit

# GitHub's definition of the type, and the SLSA project's; both name the repository and the ref.
_WORKFLOW = (
    "https://actions.github.io/buildtypes/workflow/v1",
    "https://slsa-framework.github.io/github-actions-buildtypes/workflow/v1",
)
_GENERATOR = (
    "https://github.com/slsa-framework/slsa-github-generator/",
    "https://slsa.dev/container-based-build/",
)
_GITLAB = (
    "https://gitlab.com/gitlab-org/gitlab-runner/",
    "https://docs.gitlab.com/",
)
_BUILDKIT = (
    "https://mobyproject.org/buildkit@",
    "https://github.com/moby/buildkit/",
)
_CLOUD_BUILD = (
    "https://cloud.google.com/build/gcb-buildtypes/",
    "https://cloudbuild.googleapis.com/",
)
_DOCUMENTED = (*_WORKFLOW, *_GENERATOR, *_GITLAB, *_BUILDKIT, *_CLOUD_BUILD)
"""Build types whose source is documented, by how they begin: nothing else in their provenance may stand in for it."""

# ``.git`` at the end of a name: a folder that is called ``.git`` makes no repository of an address.
_NAMED_GIT = re.compile(r"[^/]\.git(?:[/@#?]|$)")
_GIT = ("git+", "git:", "git@", "ssh:")


@dataclass(frozen=True, slots=True)
class Material:
    """A repository, as the provenance writes it, at a commit; the commit is empty where none is said that can be read."""

    repository: str
    commit: str


def built_v02(
    build_type: str, invocation: Mapping[str, Any], materials: Sequence[Any]
) -> tuple[Material, ...]:
    """Return what a provenance v0.2 says was built.

    Args:
        build_type: ``buildType``.
        invocation: ``invocation``; empty where there is none.
        materials: ``materials``.

    Returns:
        One material; none where it is not said, two or more where it is not clear which.
    """
    # SLSA v0.2, "invocation.configSource": what the build's configuration was read from, which is the source that was built.
    source = invocation.get("configSource") or {}
    # Something is there that cannot be read: no other part may stand in for it.
    if not isinstance(source, Mapping):
        return ()
    if source.get("uri") or source.get("digest"):
        # Something was named; where that cannot be read, nothing else stands in for it.
        return _stated(build_type, source)
    # The specification has configSource optional; where it is left out, a builder of one's own may have one source alone.
    # A documented build type always names it; where it does not, nothing may be guessed.
    return () if build_type.startswith(_DOCUMENTED) else _only(materials)


def built_v1(
    build_type: str, external: Mapping[str, Any], dependencies: Sequence[Any]
) -> tuple[Material, ...]:
    """Return what a provenance v1 says was built, as ``built_v02``.

    Args:
        build_type: ``buildDefinition.buildType``.
        external: ``externalParameters``; empty where there are none.
        dependencies: ``resolvedDependencies``.
    """
    # GitHub writes the build type with and without a slash at the end.
    if build_type.rstrip("/") in _WORKFLOW:
        workflow = object_at(external, "workflow")
        return _resolved(build_type, workflow.get("repository"), workflow.get("ref"), dependencies)
    # slsa-github-generator v1: ``source`` for container-based builds; else the first dependency is the source, as its
    # document says.
    if build_type.startswith(_GENERATOR):
        return _stated(build_type, object_at(external, "source") or object_at(dependencies, 0))
    # GitLab names its project without a ref, so the one dependency of that repository is it.
    if build_type.startswith(_GITLAB):
        return _resolved(build_type, external.get("source"), None, dependencies)
    if build_type.startswith(_BUILDKIT):
        # BuildKit's ``resolvedDependencies`` are base images, which may come from git as well: only the context was built.
        return _stated(build_type, object_at(external, "configSource"))
    config = object_at(external, "buildConfigSource")
    if build_type.startswith(_CLOUD_BUILD) and config:
        return _resolved(build_type, config.get("repository"), config.get("ref"), dependencies)
    # Cloud Build names no buildConfigSource where the configuration is the trigger's own.
    return _only(dependencies)


def git_materials(dependencies: Iterable[Any]) -> Iterator[Material]:
    """Yield the dependencies that name a repository and a full commit, for people."""
    for item in dependencies:
        if isinstance(item, Mapping):
            material = _pinned("", item)
            uri = SourceUri.parse(material.repository)
            # Without a commit it tells nobody what went in.
            if uri and material.commit:
                yield Material(str(uri), material.commit)


def _resolved(
    build_type: str, repository: object, ref: object, dependencies: Sequence[Any]
) -> tuple[Material, ...]:
    """Return the dependency that is ``repository``, resolved to its commit; of several commits the one at ``ref``."""
    # The build type's own field is missing or broken, and no other part may stand in for it.
    if not isinstance(repository, str):
        return ()
    # The same repository in any of its forms: the workflow is named by its page, the dependency by ``git+https``.
    wanted = SourceUri.parse(repository)
    found = [
        _pinned(build_type, item)
        for item in dependencies
        if isinstance(item, Mapping)
        and wanted is not None
        and (uri := SourceUri.parse(item.get("uri"))) is not None
        and uri.same_repository(wanted)
    ]
    # The repository itself and a checkout of another ref of it, say for a tool's configuration.
    if len({material.commit for material in found}) > 1:
        # The build type documents uri as repository@ref; another ref of the repository is something that was used.
        found = [material for material in found if _ref(material) == ref] or found
    # Named twice at one commit is one source; at two it is unclear, and both are returned.
    by_commit = {material.commit: material for material in found}
    # Named and never resolved: the message can then say which repository has no known commit.
    return tuple(by_commit.values()) or (Material(repository, ""),)


def _only(dependencies: Iterable[Any]) -> tuple[Material, ...]:
    """Return the only git dependency, or two that differ where there are several."""
    # Base images, packages and downloads are no source.
    found = (_pinned("", item) for item in dependencies if _is_git(item))
    first = next(found, None)
    if first is None:
        return ()
    # The first that differs ends the search: there may be thousands.
    return (first, *islice((other for other in found if not _is_same(other, first)), 1))


def _is_same(one: Material, other: Material) -> bool:
    # Two forms of one repository at one commit are one source.
    return one == other or (one.commit == other.commit and same_repository(one.repository, other.repository))


def _is_git(item: Any) -> bool:
    """Return True for a dependency that is a git repository, also for one that cannot be read: it makes the source unclear."""
    text, digest = text_at(item, "uri").lower(), object_at(item, "digest")
    # A digest that only git has makes it a repository, whatever its URI looks like.
    if any(name.startswith("git") for name in digest):  # gitCommit, gitTree, gitTag (in-toto, "DigestSet")
        return True
    # A web address is a repository where it is pinned by a commit, or is named like one; else it is a download.
    is_web = text.startswith(("https://", "http://"))
    return text.startswith(_GIT) or (is_web and ("sha1" in digest or _NAMED_GIT.search(text) is not None))


def _stated(build_type: str, source: Mapping[str, Any]) -> tuple[Material, ...]:
    """Return the source that a build type has in a place of its own; none where it has no URI that can be read."""
    return (_pinned(build_type, source),) if text_at(source, "uri") else ()


def _pinned(build_type: str, item: Mapping[str, Any]) -> Material:
    """Return the repository and commit of a resource descriptor."""
    text = text_at(item, "uri")
    if build_type.startswith(_BUILDKIT):
        text = text.partition("#")[0]  # git contexts are REPOSITORY#REF:FOLDER
    digest = object_at(item, "digest")
    # v0.2 calls a git commit sha1 (SLSA v0.2 provenance, "materials"), GitLab's runner sha256.
    names = ("gitCommit", "sha1", "sha256") if build_type.startswith(_GITLAB) else ("gitCommit", "sha1")
    # Under several names the same commit must stand: with two, nobody could say which was built.
    # Compared as text, whatever is in it: ``is_commit`` refuses what is none.
    said = {str(digest[name]) for name in names if name in digest}
    commit = said.pop() if len(said) == 1 else ""
    return Material(text, commit if is_commit(commit) else "")


def _ref(material: Material) -> str | None:
    uri = SourceUri.parse(material.repository)
    return uri.ref if uri else None
