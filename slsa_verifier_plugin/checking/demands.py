"""Turns a caller's demands (policy files, and options that change them) into a ``Decider``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slsa_verifier_plugin.errors import UsageError
from slsa_verifier_plugin.resources.named_files import Read, read_file
from slsa_verifier_plugin.text import quoted

if TYPE_CHECKING:
    from slsa_verifier_plugin.checking.decider import Decider
    from slsa_verifier_plugin.checking.stores import Store
    from slsa_verifier_plugin.resources.ratify_resources import Setup
    from slsa_verifier_plugin.service.service import Service

DEFAULT_ARTIFACT_TYPE = "slsla/attestation"
"""The artifact type of the demo's Verifier resource."""
ROOTS = ("public-good", "staging")
"""Trusted roots that a word names; anything else is a file."""


@dataclass(frozen=True, slots=True)
class Demands:
    """What the policy options said, as typed."""

    policy: str | None = None
    verifier: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    artifact_types: tuple[str, ...] = ()
    rule: str | None = None
    plain_http: bool = False
    seconds: float | None = None

    @property
    def is_empty(self) -> bool:
        """True where nothing says what is demanded."""
        return self.policy is None and not self.parameters


OPTIONS = {
    "expectedVerifiedLevels": "--level",
    "expectedResourceUri": "--resource-uri",
    "expectedVerifierId": "--verifier-id",
    "expectedSourceRefs": "--source-ref",
    "sourceBinding": "--source-binding",
    "maxAge": "--max-age",
    "trustedRoot": "--trusted-root",
}
"""The option for each parameter that has one."""
# Without a policy file these two are the least: which repository, and at what level.
REQUIRED = ("expectedVerifiedLevels", "expectedResourceUri")


def seconds_of(
    duration: str | None, option: str = "--timeout", span: tuple[float, float, str] | None = None
) -> float | None:
    """Return the seconds in a duration such as ``10s``, None for None.

    Args:
        duration: as a person wrote it.
        option: where it was given.
        span: the fewest and the most seconds that it may have, and how that is said; from 100 ms to 5 min by default.

    Raises:
        UsageError: it is none, or not in ``span``.
    """
    # Not given: each policy's own limit counts.
    if duration is None:
        return None
    # Imported here: help and completion load this module and must not wait for the parser of policies.
    from slsa_verifier_plugin.policy.durations import parse_duration
    from slsa_verifier_plugin.policy.parameters import MAX_TIMEOUT, MIN_TIMEOUT

    least, most, said = span or (MIN_TIMEOUT, MAX_TIMEOUT, "between 100ms and 5m, such as 10s")
    try:
        seconds = parse_duration(duration)
    except ValueError:
        # What is no duration gets the same message as one that is too short.
        seconds = -1.0
    if not least <= seconds <= most:
        raise UsageError(f"{option} {quoted(duration, 40)}: expected a duration {said}")
    return seconds


def setup_of(demands: Demands, read: Read = read_file) -> Setup:
    """Return the verifiers that are demanded: those of the policy file, with what the options change in them.

    Args:
        demands: what is demanded.
        read: reads the policy file.

    Raises:
        UsageError: nothing is demanded, or the file has no such Verifier.
    """
    from slsa_verifier_plugin.resources.ratify_resources import Setup, VerifierResource, read_setup

    # A policy of nothing would admit what anybody signed.
    if demands.is_empty:
        raise UsageError(
            "nothing says what to expect; give --policy FILE (a Verifier resource), or --level and --resource-uri"
        )
    # Options are a policy by themselves, under a name that no resource can have.
    if demands.policy is None:
        # Passed over, it would leave somebody in the belief that a file was read.
        if demands.verifier is not None:
            raise UsageError("--verifier chooses a Verifier of a file; give that with --policy FILE")
        missing = [OPTIONS[name] for name in REQUIRED if name not in demands.parameters]
        if missing:
            raise UsageError(
                f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing; without --policy FILE both "
                "--level and --resource-uri are needed"
            )
        artifact_types = demands.artifact_types or (DEFAULT_ARTIFACT_TYPE,)
        config = {
            **demands.parameters,
            "name": "command line",
            "artifactTypes": ",".join(artifact_types),
        }
        setup = Setup((VerifierResource("command line", "", "", artifact_types, config),))
    else:
        # With a file the options change its Verifiers, each of them.
        found = read_setup(demands.policy, demands.verifier, read)
        setup = Setup(tuple(_changed(item, demands) for item in found.verifiers), found.store, found.rules)
    # What is typed goes before the Policy resource, for all types.
    if demands.rule is not None:
        return Setup(setup.verifiers, setup.store, {"default": demands.rule})
    return setup


def decider_of(setup: Setup, demands: Demands, service: Service, store: Store | None = None) -> Decider:
    """Return the checker for a setup.

    Args:
        setup: the verifiers, the store's settings and the rules.
        demands: the registry's options.
        service: makes policies, verifiers and the store.
        store: instead of the registry.

    Raises:
        UsageError: a policy is not valid.
        ContractError: the store's settings are not.
    """
    from slsa_verifier_plugin.checking.decider import Decider, ready_verifiers

    typed = {name: OPTIONS[name] for name in demands.parameters}
    checks = ready_verifiers(setup.verifiers, service, typed)
    # The Store of the policy file: its credentials are those that Ratify would use.
    used = store or service.store(store_settings(setup.store, demands.plain_http))
    return Decider(checks, service, used, setup.rules, demands.seconds)


def store_for(service: Service, layout: str | None, plain_http: bool) -> Store:
    """Return where an image and what is attached to it are looked for.

    Args:
        service: makes the registry's store.
        layout: a folder with an OCI image layout; None for the registry in the image's name.
        plain_http: as the store's ``useHttp``.

    Raises:
        UsageError: the folder is no layout.
    """
    from slsa_verifier_plugin.checking.image_layout import LayoutStore

    if layout is not None:
        return LayoutStore(Path(layout))
    return service.store(store_settings({}, plain_http))


def root_parameter(root: str | None) -> str | dict[str, str] | None:
    """Return ``trustedRoot`` as a policy says it, for what a person typed: a name, or a file."""
    if not root or root in ROOTS:
        return root
    # Relative to where the person is, not to the policy file's folder.
    return {"path": str(Path(root).absolute())}


def store_settings(configured: Mapping[str, Any], plain_http: bool) -> dict[str, Any]:
    """Return Ratify's store settings for a registry as the command line reaches it."""
    from slsa_verifier_plugin.registry.settings import LOOPBACK_HTTP

    # On a person's own machine HTTP may be found out; in the cluster nothing is guessed (registry/loopback.py).
    settings = {"name": "oras", **configured, LOOPBACK_HTTP: True}
    # Only ever switched on: a Store that says useHttp is not contradicted by leaving the option out.
    if plain_http:
        settings["useHttp"] = True
    return settings


def _changed(resource: Any, demands: Demands) -> Any:
    artifact_types: Sequence[str] = demands.artifact_types or resource.artifact_types
    # Options go last: what is typed now goes before what a file says.
    config = {**resource.config, **demands.parameters, "artifactTypes": ",".join(artifact_types)}
    return replace(resource, artifact_types=tuple(artifact_types), config=config)
