"""Looks at what Gatekeeper's constraints and mutators apply to: finds kinds, API groups and places that no object has."""

from __future__ import annotations

import re
from collections.abc import Iterator

from slsa_verifier_plugin.members import list_at
from slsa_verifier_plugin.problem import Key
from slsa_verifier_plugin.resources.kinds import CONSTRAINT, MUTATOR_KINDS, kind_of
from slsa_verifier_plugin.resources.problems import Remark, error, warning
from slsa_verifier_plugin.resources.ratify_resources import Resource
from slsa_verifier_plugin.text import nearest, plain, quoted

_KINDS = (
    "Pod", "Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Job", "CronJob", "ReplicationController", "PodTemplate",
    "Service", "Namespace", "Agent", "Workflow", "Task", "Rollout",
)  # fmt: skip
"""Kinds that have images, or whose names are near to those."""
_LISTS = ("containers", "initContainers", "ephemeralContainers", "volumes")
_PLACE = re.compile(r"spec\.([A-Za-z]+)\[.*\]\.(?:image|image\.reference)")


def lint_match(resource: Resource) -> Iterator[Remark]:
    """Yield kinds, API groups and places that no object has, so that a constraint or mutator applies to nothing.

    Args:
        resource: of whatever kind; others are passed by.
    """
    if kind_of(resource) not in (CONSTRAINT, *MUTATOR_KINDS):
        return
    # Constraints and mutators name kinds in ``match``, mutators also in ``applyTo``.
    for path, groups, name in (
        (["spec", "match", "kinds"], "apiGroups", "kinds"),
        (["spec", "applyTo"], "groups", "kinds"),
    ):
        for index, item in enumerate(list_at(resource.value, *path)):
            yield from _kinds([*path, index, name], list_at(item, name))
            yield from _groups([*path, index, groups], list_at(item, groups))
    location = resource.spec.get("location")
    found = _PLACE.fullmatch(location) if isinstance(location, str) else None
    if found and found[1] not in _LISTS and (near := nearest(found[1], _LISTS, 0.7)):
        what = f"the location {quoted(location)} is in no Pod: nothing is changed"
        yield error(["spec", "location"], what, f"is {near} meant?")


def _kinds(path: list[Key], kinds: list[object]) -> Iterator[Remark]:
    for number, kind in enumerate(kinds):
        # ``*`` is Gatekeeper's word for all kinds.
        if isinstance(kind, str) and kind not in (*_KINDS, "*") and (near := nearest(kind, _KINDS, 0.8)):
            what = f"the kind {quoted(kind)} is none that is known here, and this is for nothing else"
            # Another project may have a kind of that name.
            yield warning([*path, number], what, f"is {near} meant?")


def _groups(path: list[Key], groups: list[object]) -> Iterator[Remark]:
    for number, group in enumerate(groups):
        # The core kinds' group is the empty text. People write its name, or a group with the version, as in apiVersion.
        if group == "core" or (isinstance(group, str) and "/" in group) or group in ("v1", "v1beta1"):
            name = str(group).partition("/")[0]
            meant = '""' if name in ("core", "v1", "v1beta1") else plain(name, 80)
            what = f"the API group {quoted(group)} is none: nothing has it"
            yield error([*path, number], what, f"write {meant}, the group without its version")
