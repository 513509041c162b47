"""Looks at Ratify's Stores: the settings by which Ratify and the plugin reach a registry, and how they log in."""

from __future__ import annotations

from collections.abc import Iterator

from slsa_verifier_plugin.errors import ContractError
from slsa_verifier_plugin.members import object_at, text_at
from slsa_verifier_plugin.problem import Key
from slsa_verifier_plugin.registry.credentials.select import MODULES
from slsa_verifier_plugin.registry.settings import StoreSettings
from slsa_verifier_plugin.resources.problems import Remark, error, warning
from slsa_verifier_plugin.resources.ratify_resources import STORE_KINDS, Resource
from slsa_verifier_plugin.text import nearest, quoted

PARAMETERS = ("useHttp", "authProvider", "localCachePath", "cosignEnabled", "cacheEnabled", "ttl")
"""The settings of Ratify's ORAS store (v1.4.4, ``OrasStoreConf`` and ``cacheConf``)."""
_NAMES = frozenset(name.lower() for name in PARAMETERS)


def lint_store(resource: Resource) -> Iterator[Remark]:
    """Yield the settings of a Store that Ratify does not know or take; other resources are passed by."""
    if not resource.is_ratify(STORE_KINDS):
        return
    path: list[Key] = ["spec", "parameters"]
    parameters = object_at(resource.spec, "parameters")
    names: tuple[tuple[list[Key], str, tuple[str, ...]], ...] = (
        (["spec", "name"], text_at(resource.spec, "name"), ("oras",)),
        ([*path, "authProvider", "name"], text_at(parameters, "authProvider", "name"), tuple(MODULES)),
        # Ratify's reader takes the names of settings in any case.
        *(([*path, name], name, PARAMETERS) for name in parameters if name.lower() not in _NAMES),
    )
    for where, found, known in names:
        if found not in known and (near := nearest(found, known)):
            yield error(where, f"Ratify knows no {quoted(found, 80)} here", f"is {near} meant?")
    try:
        settings = StoreSettings.parse(parameters)
    except ContractError as refused:
        said = refused.details.replace("storeConfig.store.", "", 1)
        yield error(path, said, "Ratify refuses the Store as it is")
        return
    if settings.use_http:
        what = "useHttp: attestations and credentials travel unencrypted"
        yield warning([*path, "useHttp"], what, "leave it out unless the registry is a test's")
