"""Parameters of the Verifier resource to a ``Policy`` (step 1).

The shape is the JSON schema's (``parameters.schema.json``, draft 2020-12); what a schema cannot say is checked after it.
A misspelt parameter is an error: passed over in silence, it would be a check that never runs.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any, TypeVar

from slsa_verifier_plugin.model.levels import is_nothing, track_level
from slsa_verifier_plugin.policy.carried import carried
from slsa_verifier_plugin.policy.matching import PatternError, RefPattern, UriPattern
from slsa_verifier_plugin.policy.trusted import (
    BUILT_IN_VERIFIERS,
    DEFAULT_VERIFIER_IDS,
    TrustedSigner,
    built_in_verifiers,
)
from slsa_verifier_plugin.text import plain, quoted

DEFAULT_TIMEOUT = 4.0
MIN_TIMEOUT, MAX_TIMEOUT = 0.1, 300.0
"""Seconds. Ratify itself gives up after 5 s of validation by default."""

MAX_DURATION = 64
"""Characters of a duration, as in the schema."""

MAX_VIOLATIONS = 20
"""Violations that one error lists; of more than these it gives the count."""

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ns|us|µs|ms|s|m|h)")

Default = TypeVar("Default", float, None)


class ParameterError(ValueError):
    """Parameters that break the schema or contradict themselves.

    Args:
        violations: one sentence for each, beginning with the parameter's path; of more than ``MAX_VIOLATIONS`` the first, and
            how many more there are.
    """

    def __init__(self, violations: list[str]) -> None:
        rest = len(violations) - MAX_VIOLATIONS
        self.violations = violations[:MAX_VIOLATIONS] + ([f"and {rest} more"] if rest > 0 else [])
        super().__init__("; ".join(self.violations))


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


def parse_policy(config: Mapping[str, Any]) -> Policy:
    """Return the policy in a verifier's configuration, as Ratify hands it over.

    Raises:
        ParameterError: lists every violation with its path.
    """
    errors = _sorted_errors(config)
    violations = list(dict.fromkeys(sentence for error in errors for sentence in _explained(error)))
    if not isinstance(config, Mapping):
        raise ParameterError(violations)
    builder = _Builder(config, {error.absolute_path[0] for error in errors if error.absolute_path})
    policy = builder.policy()
    violations += builder.violations
    if violations:
        raise ParameterError(violations)
    return policy


def parse_duration(text: str) -> float:
    """Return the seconds in a duration as Go writes it: ``4s``, ``1h30m``, ``250ms``.

    Raises:
        ValueError: it has more than ``MAX_DURATION`` characters; to look for units in it takes their square.
    """
    if len(text) > MAX_DURATION:
        raise ValueError(f"a duration of more than {MAX_DURATION} characters")
    return sum(float(number) * _UNITS[unit] for number, unit in _DURATION_PART.findall(text))


def schema() -> dict[str, Any]:
    """Return the JSON schema of the parameters."""
    loaded: dict[str, Any] = json.loads(carried("slsa_verifier_plugin.policy", "parameters.schema.json"))
    return loaded


class _Builder:
    """Turns a configuration into a policy, collecting what fits the schema and still contradicts itself.

    Args:
        config: the configuration.
        broken: its parameters that do not fit the schema; they are left out, so that the others are checked all the same. The
            policy then is of no use, for what is left out or missing.
    """

    def __init__(self, config: Mapping[str, Any], broken: Set[str]) -> None:
        self._config = {key: value for key, value in config.items() if key not in broken}
        self._broken = broken
        self.violations: list[str] = []

    def policy(self) -> Policy:
        config = self._config
        verifiers = self._signers("trustedVerifiers", "verifierId") or self._built_in()
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
        self._check_verifiers(policy)
        self._check_builders(policy)
        return policy

    def _levels(self, names: Iterable[str]) -> Iterator[str]:
        for index, name in enumerate(names):
            level = track_level(name)
            if is_nothing(name) or (level and level[1] == 0):
                self.violations.append(
                    f"expectedVerifiedLevels[{index}]: {quoted(name)} demands nothing; name a level of 1 or more"
                )
            yield name

    def _built_in(self) -> tuple[TrustedSigner, ...]:
        digests = self._config.get("allowedWorkflowDigests", ())
        return built_in_verifiers(digests) if digests else BUILT_IN_VERIFIERS

    def _verifier_ids(self, verifiers: Iterable[TrustedSigner]) -> tuple[str, ...]:
        if "expectedVerifierId" in self._config:
            return tuple(_many(self._config["expectedVerifierId"]))
        # trustedVerifiers replaces the table, and may have only one of the ids that are expected by default.
        known = {signer.id for signer in verifiers}
        return tuple(item for item in DEFAULT_VERIFIER_IDS if item in known) or DEFAULT_VERIFIER_IDS[:1]

    def _signers(self, key: str, id_key: str) -> tuple[TrustedSigner, ...]:
        signers = []
        for index, item in enumerate(self._config.get(key, ())):
            try:
                signers.append(TrustedSigner.parse(item, id_key))
            except PatternError as error:
                self.violations.append(
                    f"{key}[{index}].identityPattern: not a regular expression that RE2 accepts: {plain(str(error))}"
                )
            public_key = item.get("publicKey", "")
            if public_key and "-----BEGIN" not in public_key:
                self._absolute(public_key, f"{key}[{index}].publicKey")
        return tuple(signers)

    def _roots(self) -> Iterator[RootSource]:
        value = self._config.get("trustedRoot", "public-good")
        for index, item in enumerate(value if isinstance(value, list) else [value]):
            where = f"trustedRoot[{index}]" if isinstance(value, list) else "trustedRoot"
            if isinstance(item, str):
                yield RootSource(item)
            elif "path" in item:
                yield RootSource("path", self._absolute(item["path"], f"{where}.path"))
            else:
                bootstrap = self._absolute(item["rootPath"], f"{where}.rootPath")
                yield RootSource("tuf", item["tufUrl"].rstrip("/"), bootstrap)

    def _absolute(self, path: str, where: str) -> str:
        if not PurePosixPath(path).is_absolute():
            self.violations.append(
                f"{where}: {quoted(path)} is relative, and the plugin has no folder of its own; write an absolute path"
            )
        return path

    def _seconds(self, key: str, default: Default, least: float, most: float) -> float | Default:
        if key not in self._config:
            return default
        seconds = parse_duration(self._config[key])
        if not least <= seconds <= most:
            upper = "" if most == float("inf") else f" and {most:g} s"
            self.violations.append(
                f"{key}: {self._config[key]} is out of range; expected {'between ' if upper else 'at least '}{least:g} s{upper}"
            )
        return seconds

    def _check_verifiers(self, policy: Policy) -> None:
        if self._broken & {"expectedVerifierId", "trustedVerifiers"}:
            return
        known = {signer.id for signer in policy.verifiers}
        where = "trustedVerifiers" if "trustedVerifiers" in self._config else "the built-in table"
        for verifier_id in policy.verifier_ids:
            if verifier_id not in known and not any(
                item.startswith("trustedVerifiers") for item in self.violations
            ):
                self.violations.append(
                    f"expectedVerifierId: nobody in {where} may sign for {quoted(verifier_id)}; known are "
                    f"{', '.join(sorted(known))}; set expectedVerifierId to one of those, or add a trustedVerifiers entry"
                )

        if {"trustedVerifiers", "allowedWorkflowDigests"} <= self._config.keys():
            self.violations.append(
                "allowedWorkflowDigests: has no effect with trustedVerifiers, which replaces the table that it extends; list the "
                "commits in the trustedVerifiers entry that they are for"
            )

    def _check_builders(self, policy: Policy) -> None:
        if self._broken & {"sourceBinding", "trustedBuilders"}:
            return
        if policy.source_binding != "provenance" and "trustedBuilders" in self._config:
            self.violations.append(
                f"trustedBuilders: has no effect with sourceBinding: {policy.source_binding}; set sourceBinding: provenance, "
                "or leave it out"
            )


def _many(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def _sorted_errors(config: Mapping[str, Any]) -> list[Any]:
    return sorted(
        _validator().iter_errors(config),
        key=lambda error: [
            (0, part, "") if isinstance(part, int) else (1, 0, str(part)) for part in error.absolute_path
        ],
    )


@lru_cache(maxsize=1)
def _validator() -> Any:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(schema())


def _explained(error: Any) -> list[str]:
    """Return a sentence for each thing wrong in a schema violation: the path, what was found, what was expected."""
    where = _path(error)
    if error.validator == "additionalProperties":
        return list(_unknown(error.instance, error.schema["properties"], where))
    if error.validator == "oneOf":
        return _alternatives(error, where)
    return [_explain(error, where)]


def _explain(error: Any, where: str) -> str:
    prefix = f"{where}: " if where else ""
    found = _found(error.instance)
    match error.validator:
        case "required":
            missing = [name for name in error.validator_value if name not in error.instance]
            return f"{prefix}{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} required"
        case "type":
            return f"{prefix}found {found}, expected {_article(error.validator_value)}"
        case "enum":
            return f"{prefix}found {found}, expected one of {', '.join(map(str, error.validator_value))}"
        case "minItems" | "minLength":
            return f"{prefix}must not be empty"
        case "pattern" if error.instance.endswith("\n"):
            return f"{prefix}found {found}, which ends with a line break; write it on one line"
        case "pattern" if where.startswith("allowedWorkflowDigests"):
            return f"{prefix}found {found}, expected a full commit id: 40 hexadecimal digits in lower case"
        case "pattern" if where in ("timeout", "maxAge"):
            return f"{prefix}found {found}, expected a duration such as 4s, 500ms or 720h"
        case "pattern":
            return f"{prefix}found {found}, which does not have the form {plain(error.validator_value)}"
        case _:
            return f"{prefix}found {found}, expected {error.validator} {plain(str(error.validator_value))}"


def _found(value: Any) -> str:
    """Return a value as a message shows it: only a text is in quotes."""
    return quoted(value, 80) if isinstance(value, str) else plain(json.dumps(value, default=str), 80)


def _unknown(names: Iterable[str], properties: Iterable[str], where: str) -> Iterator[str]:
    known = sorted(properties)
    for name in sorted(set(names) - set(known)):
        near = difflib.get_close_matches(name.lower(), [item.lower() for item in known], 1, 0.5)
        nearest = next((item for item in known if near and item.lower() == near[0]), None)
        hint = f"; did you mean {nearest}?" if nearest else f"; known are {', '.join(known)}"
        yield f"{where + '.' if where else ''}{plain(name, 64)}: unknown parameter{hint}"


def _alternatives(error: Any, where: str) -> list[str]:
    """Say what is wrong with a value that fits none (or several) of a schema's alternatives."""
    if isinstance(error.instance, dict) and {"verifierId", "builderId"} & set(error.instance):
        return [
            f"{where}: a signer has either issuer with identity or identityPattern, or publicKey alone; "
            f"found {', '.join(sorted(map(plain, error.instance)))}"
        ]
    context = list(_flat(error))
    if isinstance(error.instance, str):
        # What the alternative for strings objects to says more than that none fits.
        for item in context:
            if item.validator in ("pattern", "minLength", "maxLength"):
                return [_explain(item, where)]
    deeper = [item for item in context if len(item.absolute_path) > len(error.absolute_path)]
    if deeper:
        # A list's items, or an object's values: each says what is wrong with it.
        return [sentence for item in deeper for sentence in _explained(item)]
    if isinstance(error.instance, dict):
        known = {name for item in context for name in item.schema.get("properties", ())}
        if known and (unknown := list(_unknown(error.instance, known, where))):
            return unknown
    return [f"{where}: found {_found(error.instance)}, expected {_expected(error)}"]


def _flat(error: Any) -> Iterator[Any]:
    """Yield what each alternative objects to, those of an alternative of alternatives one by one."""
    for item in error.context or ():
        is_same = item.validator == "oneOf" and item.absolute_path == error.absolute_path
        yield from _flat(item) if is_same else (item,)


def _expected(error: Any) -> str:
    path = error.absolute_path[0] if error.absolute_path else ""
    if path == "trustedRoot":
        return "public-good, staging, an object with path, an object with tufUrl and rootPath, or a list of those"
    return "a non-empty string or a non-empty list of strings"


def _path(error: Any) -> str:
    text = ""
    for part in error.absolute_path:
        text += f"[{part}]" if isinstance(part, int) else f".{plain(part, 64)}" if text else plain(part, 64)
    return text


def _article(name: str | list[str]) -> str:
    if isinstance(name, list):
        return " or ".join(_article(item) for item in name)
    named = {
        "array": "a list",
        "object": "an object",
        "integer": "a whole number",
        "boolean": "true or false",
    }
    return named.get(name, f"a {name}")
