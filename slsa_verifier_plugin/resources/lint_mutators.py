"""Looks at Gatekeeper's mutators that turn tags into digests: the provider that they ask, and what happens where it fails."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from slsa_verifier_plugin.members import at
from slsa_verifier_plugin.problem import Key
from slsa_verifier_plugin.resources.kinds import MUTATION_GROUP
from slsa_verifier_plugin.resources.problems import Remark, error, warning
from slsa_verifier_plugin.resources.ratify_resources import Resource
from slsa_verifier_plugin.text import nearest, quoted

_DATA = ("spec", "parameters", "assign", "externalData")
_PLACES = (
    *(f"spec.{name}[name:*].image" for name in ("containers", "initContainers", "ephemeralContainers")),
    "spec.volumes[name:*].image.reference",
)
_PLACE = re.compile(
    r"\.(?:(?:c|initC|ephemeralC)ontainers\[name:[^]]+\]\.image|volumes\[name:[^]]+\]\.image\.reference)$"
)
_INSTEAD = {
    # Safe, and confusing: the plugin denies a tag, and nobody sees why it stayed one.
    "Ignore": "leaves an image as it is where it cannot be resolved: a tag, which the plugin refuses",
    # Whoever writes the default decides what runs wherever the provider is away.
    "UseDefault": "puts another image in the place of one that cannot be resolved",
}
"""What comes of each failure policy but Fail."""
VERIFYING, MUTATING = "/verify", "/mutate"
"""How the addresses end at which Ratify verifies, and resolves tags (Ratify v1.4.4, ``httpserver``)."""


def lint_mutator(resource: Resource, providers: Mapping[str, Resource]) -> Iterator[Remark]:
    """Yield what is wrong with a mutator that asks a provider.

    Args:
        resource: of whatever kind; others than mutators are passed by.
        providers: the Providers at hand, by name; with none nothing is said of names.
    """
    data = at(resource.value, *_DATA)
    # Other projects have kinds of these names, with fields of their own.
    if not resource.api_version.startswith(f"{MUTATION_GROUP}/") or not isinstance(data, dict):
        return
    name = data.get("provider")
    if not isinstance(name, str) or not name:
        yield error(_DATA, "externalData names no provider", "write provider: and a Provider's name")
    # Without any Provider at hand it may be in the cluster already.
    elif providers:
        place = (*_DATA, "provider")
        yield from lint_provider_name(place, name, providers)
        url = str(at(providers[name].spec, "url")) if name in providers else ""
        if url.endswith(VERIFYING):
            # It answers with verdicts, which would be written into the field as if they were an image's name.
            mutating = [
                key for key, item in providers.items() if str(item.spec.get("url")).endswith(MUTATING)
            ]
            what = f"the provider {quoted(name)} verifies images, expected one that resolves them (its url ends with {MUTATING})"
            remedy = f"write {mutating[0]}" if mutating else "apply a Provider whose url ends with /mutate"
            yield error(place, what, remedy)
    # Gatekeeper's paths name the key of a list's items, and only some members are images. Lists are ``lint_match``'s.
    location = "".join(str(resource.spec.get("location")).split())
    near = nearest(location, _PLACES, 0.8)
    if near.startswith(location.partition("[")[0]) and near and not _PLACE.search(location):
        what = f"the location {quoted(resource.spec.get('location'))} is no image's: nothing is changed"
        yield error(["spec", "location"], what, f"is {near} meant?")
    policy = str(data.get("failurePolicy"))
    if policy in _INSTEAD:
        what = f"failurePolicy: {policy} {_INSTEAD[policy]}"
        yield warning([*_DATA, "failurePolicy"], what, "set failurePolicy: Fail")


def lint_provider_name(path: Sequence[Key], name: str, providers: Mapping[str, Resource]) -> Iterator[Remark]:
    """Yield a remark on a name of a Provider that none of ``providers`` has."""
    if name not in providers:
        near = nearest(name, list(providers), 0.4)
        what = f"it asks the provider {quoted(name)}, and there is none of that name here"
        yield error(path, what, f"is {near} meant?" if near else "apply that Provider, or correct the name")
