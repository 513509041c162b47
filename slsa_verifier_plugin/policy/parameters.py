"""Parameters of the Verifier resource to a ``Policy`` (step 1).

The shape is the JSON schema's (``parameters.schema.json``, draft 2020-12); what a schema cannot say is checked after it.
A misspelt parameter is an error: passed over in silence, it would be a check that never runs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any, TypeVar

from slsa_verifier_plugin.model.levels import is_nothing, track_level
from slsa_verifier_plugin.policy.carried import carried
from slsa_verifier_plugin.policy.durations import parse_duration
from slsa_verifier_plugin.policy.matching import PatternError, RefPattern, UriPattern
from slsa_verifier_plugin.policy.schema_words import explained
from slsa_verifier_plugin.policy.trusted import (
    BUILT_IN_VERIFIERS,
    DEFAULT_VERIFIER_IDS,
    TrustedSigner,
    built_in_verifiers,
)
from slsa_verifier_plugin.problem import Key, Problem
from slsa_verifier_plugin.text import nearest, plain, quoted

# Below Ratify's own limit, so that a slow registry ends in a reason and not in Ratify's error.
DEFAULT_TIMEOUT = 4.0
MIN_TIMEOUT, MAX_TIMEOUT = 0.1, 300.0
"""Seconds. Ratify itself gives up after 5 s of validation by default."""

MAX_VIOLATIONS = 20
"""Violations that one error lists; of more than these it gives the count."""

Default = TypeVar("Default", float, None)


class ParameterError(ValueError):
    """Parameters that break the schema or contradict themselves.

    Args:
        violations: what is wrong, each with the way to the parameter. The error keeps the first ``MAX_VIOLATIONS`` of them, and
            one that says how many more there are.
    """

    def __init__(self, violations: list[Problem]) -> None:
        rest = len(violations) - MAX_VIOLATIONS
        more = [Problem((), f"and {rest} more")] if rest > 0 else []
        self.violations = violations[:MAX_VIOLATIONS] + more
        super().__init__("; ".join(map(str, self.violations)))


@dataclass(frozen=True, slots=True)
class RootSource:
    """Where a trusted root comes from: ``kind`` is ``public-good``, ``staging``, ``path`` or ``tuf``.

    ``location`` is a file's path or the TUF repository's URL, ``bootstrap`` the path of its ``root.json``.
    """

    kind: str
    location: str = ""
    bootstrap: str = ""


@dataclass(frozen=True, slots=True)
class Policy:
    """What is demanded of an image's attestation. Times are in seconds, sizes in bytes."""

    name: str
    type: str
    levels: tuple[str, ...]
    resource_uris: tuple[UriPattern, ...]
    verifier_ids: tuple[str, ...]
    verifiers: tuple[TrustedSigner, ...] = BUILT_IN_VERIFIERS
    roots: tuple[RootSource, ...] = (RootSource("public-good"),)
    source_refs: tuple[RefPattern, ...] = ()
    source_binding: str = "none"
    builders: tuple[TrustedSigner, ...] = ()
    max_age: float | None = None
    allow_self_hosted: bool = False
    timeout: float = DEFAULT_TIMEOUT
    max_bytes: int = 16 << 20
    max_bundles: int = 1024

    @property
    def public_keys(self) -> tuple[str, ...]:
        """The configured public keys (PEM or path) of verifiers and builders, without repetition."""
        signers = (*self.verifiers, *self.builders)
        return tuple(dict.fromkeys(signer.public_key for signer in signers if signer.public_key))

    @property
    def files(self) -> tuple[str, ...]:
        """The paths of the files that it names: trusted roots, those that TUF repositories begin with, and public keys."""
        # A TUF repository's own copy is none of them: it is refreshed, and means the same repository.
        roots = (root.location if root.kind == "path" else root.bootstrap for root in self.roots)
        # A PEM block is the key itself, not where it lies.
        keys = (key for key in self.public_keys if "-----BEGIN" not in key)
        return tuple(filter(None, (*roots, *keys)))


def parse_policy(config: Mapping[str, Any]) -> Policy:
    """Return the policy in a verifier's configuration, as Ratify hands it over.

    Raises:
        ParameterError: lists every violation with its path.
    """
    errors = _sorted_errors(config)
    # Two alternatives of a schema may object to the same thing.
    # All at once: a person who mends one after the other would roll out as many times.
    violations = list(dict.fromkeys(problem for error in errors for problem in explained(error)))
    # Nothing to look into; the schema has said what is wrong.
    if not isinstance(config, Mapping):
        raise ParameterError(violations)
    # What breaks the schema is left out, so that the other parameters are checked in the same run.
    builder = _Builder(config, {error.absolute_path[0] for error in errors if error.absolute_path})
    policy = builder.policy()
    violations += builder.violations
    if violations:
        raise ParameterError(violations)
    return policy


def schema() -> dict[str, Any]:
    """Return the JSON schema of the parameters."""
    loaded: dict[str, Any] = json.loads(carried("slsa_verifier_plugin.policy", "parameters.schema.json"))
    return loaded


class _Builder:
    """Turns a configuration into a policy, collecting what fits the schema and still contradicts itself.

    Args:
        config: the configuration.
        broken: its parameters that do not fit the schema. They are left out, so that the others are checked all the same; the
            policy is then incomplete, and only the violations are of use.
    """

    def __init__(self, config: Mapping[str, Any], broken: Set[str]) -> None:
        self._config = {key: value for key, value in config.items() if key not in broken}
        self._broken = broken
        self.violations: list[Problem] = []

    def policy(self) -> Policy:
        config = self._config
        # The built-in table is made once; only a policy with commits of its own needs another.
        digests = config.get("allowedWorkflowDigests", ())
        built_in = built_in_verifiers(digests) if digests else BUILT_IN_VERIFIERS
        # A configured table replaces the built-in one as a whole.
        verifiers = self._signers("trustedVerifiers", "verifierId") or built_in
        policy = Policy(
            name=config.get("name", ""),
            type=config.get("type", ""),
            levels=tuple(self._levels(config.get("expectedVerifiedLevels", ()))),
            resource_uris=tuple(UriPattern(text) for text in _many(config.get("expectedResourceUri", []))),
            verifier_ids=self._verifier_ids(verifiers),
            verifiers=verifiers,
            roots=tuple(self._roots()),
            source_refs=tuple(RefPattern(text) for text in config.get("expectedSourceRefs", ())),
            source_binding=config.get("sourceBinding", "none"),
            builders=self._signers("trustedBuilders", "builderId"),
            max_age=self._seconds("maxAge", None, 1.0, float("inf")),
            allow_self_hosted=config.get("allowSelfHostedRunners", False),
            timeout=self._seconds("timeout", DEFAULT_TIMEOUT, MIN_TIMEOUT, MAX_TIMEOUT),
            # JSON Schema takes 1024.0 for an integer.
            max_bytes=int(config.get("maxAttestationBytes", 16 << 20)),
            max_bundles=int(config.get("maxBundles", 1024)),
        )
        self._require_verifiers(policy)
        self._require_builders(policy)
        return policy

    def _levels(self, names: Iterable[str]) -> Iterator[str]:
        for index, name in enumerate(names):
            level = track_level(name)
            # SLSA v1.2: level 0 is "no guarantees", and UNEVALUATED is no level. Either would let everything through.
            if is_nothing(name) or (level and level[1] == 0):
                where = ("expectedVerifiedLevels", index)
                self._note(where, f"{quoted(name)} demands nothing", "name a level of 1 or more")
            yield name

    def _verifier_ids(self, verifiers: Iterable[TrustedSigner]) -> tuple[str, ...]:
        if "expectedVerifierId" in self._config:
            # A configured id replaces the defaults; to add one, people list all.
            return tuple(_many(self._config["expectedVerifierId"]))
        # trustedVerifiers replaces the table, and may have only one of the ids that are expected by default.
        known = {signer.id for signer in verifiers}
        # With none of them in the table one stays expected, so that ``_require_verifiers`` reports what is missing.
        return tuple(item for item in DEFAULT_VERIFIER_IDS if item in known) or DEFAULT_VERIFIER_IDS[:1]

    def _signers(self, key: str, id_key: str) -> tuple[TrustedSigner, ...]:
        signers = []
        for index, item in enumerate(self._config.get(key, ())):
            try:
                signers.append(TrustedSigner.parse(item, id_key))
            # No schema can tell whether RE2 takes a pattern, so it is tried here.
            except PatternError as error:
                found = f"not a regular expression that RE2 accepts: {plain(str(error))}"
                self._note((key, index, "identityPattern"), found)
            public_key = item.get("publicKey", "")
            # A PEM block is the key itself, not where it lies.
            if public_key and "-----BEGIN" not in public_key:
                self._absolute(public_key, (key, index, "publicKey"))
        return tuple(signers)

    def _roots(self) -> Iterator[RootSource]:
        value = self._config.get("trustedRoot", "public-good")
        for index, item in enumerate(value if isinstance(value, list) else [value]):
            where: tuple[Key, ...] = ("trustedRoot", index) if isinstance(value, list) else ("trustedRoot",)
            if isinstance(item, str):
                yield RootSource(item)
            elif "path" in item:
                yield RootSource("path", self._absolute(item["path"], (*where, "path")))
            else:
                bootstrap = self._absolute(item["rootPath"], (*where, "rootPath"))
                yield RootSource("tuf", item["tufUrl"].rstrip("/"), bootstrap)

    def _absolute(self, path: str, where: tuple[Key, ...]) -> str:
        # Ratify starts plugins in a folder of its own choosing, which changes with its version.
        if not PurePosixPath(path).is_absolute():
            found = f"{quoted(path)} is relative, and the plugin has no folder of its own"
            self._note(where, found, "write an absolute path")
        return path

    def _seconds(self, key: str, default: Default, least: float, most: float) -> float | Default:
        if key not in self._config:
            return default
        seconds = parse_duration(self._config[key])
        if not least <= seconds <= most:
            is_open = most == float("inf")
            expected = f"at least {least:g} s" if is_open else f"between {least:g} s and {most:g} s"
            self._note((key,), f"{self._config[key]} is out of range", f"expected {expected}")
        return seconds

    def _require_verifiers(self, policy: Policy) -> None:
        # One of the two breaks the schema and was left out: the other one cannot be held against it.
        if self._broken & {"expectedVerifierId", "trustedVerifiers"}:
            return
        known = {signer.id for signer in policy.verifiers}
        where = "trustedVerifiers" if "trustedVerifiers" in self._config else "the built-in table"
        # An entry that was left out for its pattern is one problem, and not a missing signer as well.
        if not any(item.where[0] == "trustedVerifiers" for item in self.violations):
            for verifier_id in policy.verifier_ids:
                if verifier_id not in known:
                    near = nearest(verifier_id, sorted(known), 0.8)
                    self._note(
                        ("expectedVerifierId",),
                        f"nobody in {where} may sign for {quoted(verifier_id)}; known are {', '.join(sorted(known))}",
                        f"is {plain(near)} meant?"
                        if near
                        else "set expectedVerifierId to one of those, or add a trustedVerifiers entry",
                    )
        # People who list commits believe that these may sign; with a table of their own none of them may.
        if {"trustedVerifiers", "allowedWorkflowDigests"} <= self._config.keys():
            self._note(
                ("allowedWorkflowDigests",),
                "has no effect with trustedVerifiers, which replaces the table that it extends",
                "list the commits in the trustedVerifiers entry that they are for",
            )

    def _require_builders(self, policy: Policy) -> None:
        # As for the verifiers: what was left out says nothing about the other one.
        if self._broken & {"sourceBinding", "trustedBuilders"}:
            return
        # People who list builders believe that they are asked.
        if policy.source_binding != "provenance" and "trustedBuilders" in self._config:
            self._note(
                ("trustedBuilders",),
                f"has no effect with sourceBinding: {policy.source_binding}",
                "set sourceBinding: provenance, or leave it out",
            )

    def _note(self, where: tuple[Key, ...], found: str, remedy: str = "") -> None:
        self.violations.append(Problem(where, found, remedy=remedy))


def _many(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def _sorted_errors(config: Mapping[str, Any]) -> list[Any]:
    # A path mixes names and indexes, which Python does not compare with each other; indexes come first.
    return sorted(
        _validator().iter_errors(config),
        key=lambda error: [
            (0, part, "") if isinstance(part, int) else (1, 0, str(part)) for part in error.absolute_path
        ],
    )


@lru_cache(maxsize=1)
def _validator() -> Any:
    # Not at the top: it takes longer to import than a resident verifier takes to answer.
    from jsonschema import Draft202012Validator

    return Draft202012Validator(schema())
