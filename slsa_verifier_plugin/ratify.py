"""Ratify's plugin contract (Ratify v1.4.4: ``pkg/verifier/plugin/skel``, ``pkg/common/plugin``, ``pkg/verifier/types``).

A codec: environment and standard input to a ``Call``, a verdict or an error to a ``Response``. It decides nothing. Mistakes are
looked for in the order of Ratify's own skeleton, so that of two at once the one is reported that it would report.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from slsa_verifier_plugin.errors import ArtifactError, ContractCode, ContractError
from slsa_verifier_plugin.model.digest import Descriptor
from slsa_verifier_plugin.policy.durations import parse_duration
from slsa_verifier_plugin.policy.parameters import (
    DEFAULT_TIMEOUT,
    MAX_TIMEOUT,
    ParameterError,
)
from slsa_verifier_plugin.policy.verdict import MAX_RESULT, Verdict, encode, result_line
from slsa_verifier_plugin.registry.reference import Reference
from slsa_verifier_plugin.strict_json import JsonError, loads
from slsa_verifier_plugin.text import ascii_only, plain, quoted

COMMAND = "RATIFY_VERIFIER_COMMAND"
SUBJECT = "RATIFY_VERIFIER_SUBJECT"
VERSION = "RATIFY_VERIFIER_VERSION"
SUPPORTED_VERSIONS = ("1.0.0",)
VERIFY = "VERIFY"
MAX_STDIN = 4 << 20
"""Bytes of standard input; a real one has about a kilobyte."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the plugin: the admitted image, the artifact, the verifier's configuration, the store's settings."""

    image: Reference
    artifact: Descriptor
    config: Mapping[str, Any] = field(repr=False)
    store: Mapping[str, Any] = field(repr=False)

    @property
    def name(self) -> str:
        """Name of the Verifier resource."""
        return str(self.config["name"])

    @property
    def type(self) -> str:
        """Its type, empty where it has none."""
        value = self.config.get("type")
        return value if isinstance(value, str) else ""


class Response(NamedTuple):
    """What the process prints, and its exit status; an ``Answer`` of ``resident.protocol``."""

    status: int
    stdout: bytes
    stderr: bytes = b""


@dataclass(frozen=True, slots=True)
class Input:
    """Standard input of one call, parsed once: a JSON value, or why there is none."""

    value: Any = field(repr=False)
    problem: ContractError | None = None

    @classmethod
    def of(cls, stdin: bytes | Input) -> Input:
        """Return what standard input says; what was parsed before is returned as it is."""
        # Parsed by whoever needed the time limit first; 4 MiB are not parsed twice.
        if isinstance(stdin, Input):
            return stdin
        # The contract's code for what cannot be read; nothing of it is parsed.
        if len(stdin) > MAX_STDIN:
            return cls(
                None, ContractError(ContractCode.IO, f"standard input has more than {MAX_STDIN} bytes")
            )
        try:
            return cls(loads(stdin))
        except JsonError as error:
            return cls(None, _no_input("standard input is empty" if not stdin.strip() else str(error)))

    @property
    def seconds(self) -> float:
        """Seconds that the call may take; the default where that cannot be told."""
        try:
            seconds = parse_duration(self.value["config"]["timeout"])
        # No time limit, or none that can be read: step 1 reports a wrong one, and needs time to do so.
        except (ValueError, KeyError, TypeError):
            return DEFAULT_TIMEOUT
        # Whatever it says, for this is asked before anything is validated: step 1 refuses what is out of range later.
        return min(max(seconds, 0.0), MAX_TIMEOUT) or DEFAULT_TIMEOUT


def environment_of(command: bytes | None, subject: bytes | None, version: bytes | None) -> dict[str, str]:
    """Return the variables of a call that came as a frame. One that is not set is absent: an empty one is another error."""
    values = {COMMAND: command, SUBJECT: subject, VERSION: version}
    # As Python decodes its own environment: bytes that are no UTF-8 stay what they were.
    return {
        name: value.decode("utf-8", "surrogateescape") for name, value in values.items() if value is not None
    }


def parse_call(environment: Mapping[str, str], stdin: bytes | Input) -> Call:
    """Return the call that environment and standard input describe.

    Raises:
        ContractError: codes 4, 7, 6, 1, 2 and 3, checked in this order.
    """
    # First, as in Ratify's skeleton: all that are missing at once.
    missing = [name for name in (COMMAND, VERSION, SUBJECT) if not environment.get(name)]
    # All of them in one message: a person who sets one after the other would try three times.
    if missing:
        raise ContractError(
            ContractCode.MISSING_ENVIRONMENT,
            f"missing environment variables: {', '.join(missing)}",
            "Ratify sets them when it runs this plugin; people use 'slsa-verifier-plugin verify IMAGE'",
        )
    image = _subject(environment[SUBJECT])
    # Before standard input, whose form the version decides.
    if environment[VERSION] not in SUPPORTED_VERSIONS:
        raise ContractError(
            ContractCode.VERSION_NOT_SUPPORTED,
            f"the plugin contract {quoted(environment[VERSION])} is not supported",
            f"supported: {', '.join(SUPPORTED_VERSIONS)}",
        )
    config, store, artifact = _input(Input.of(stdin))
    # Ratify shows results by the Verifier's name; without one nobody could tell whose this is.
    if not isinstance(config.get("name"), str) or not config["name"]:
        raise ContractError(ContractCode.INVALID_CONFIG, "the verifier's configuration has no name")
    # Last, as in Ratify's skeleton: a wrong command with wrong input is reported as wrong input.
    if environment[COMMAND] != VERIFY:
        raise ContractError(
            ContractCode.UNKNOWN_COMMAND,
            f"unknown command {quoted(environment[COMMAND])}",
            f"expected {VERIFY}",
        )
    return Call(image, artifact, config, store)


def _subject(text: str) -> Reference:
    expected = "expected registry/repository@sha256:..."
    try:
        image = Reference.parse(text)
    except ArtifactError as error:
        raise ContractError(
            ContractCode.BAD_ARGUMENTS, f"the subject {quoted(text)} is no image reference", expected
        ) from error
    # Ratify resolves tags before it calls. A tag here could be another image by the time that it runs.
    if image.digest is None:
        raise ContractError(ContractCode.BAD_ARGUMENTS, f"the subject {quoted(text)} has no digest", expected)
    return image


def _input(stdin: Input) -> tuple[Mapping[str, Any], Mapping[str, Any], Descriptor]:
    """Return configuration, store settings and artifact descriptor of standard input."""
    if stdin.problem is not None:
        raise stdin.problem
    value = stdin.value
    if not isinstance(value, dict) or not isinstance(value.get("config"), dict):
        raise _no_input("there is no config object")
    store_config = value.get("storeConfig")
    store = store_config.get("store") if isinstance(store_config, dict) else None
    # Ratify hands a plugin the settings of the store that found the artifact; without them no registry could be asked.
    if not isinstance(store, dict):
        raise _no_input("there is no storeConfig.store object")
    try:
        artifact = Descriptor.parse(value.get("referenceDesc"))
    except ArtifactError as error:
        raise _no_input(f"referenceDesc: {error.message}") from error
    return value["config"], store, artifact


def _no_input(detail: str) -> ContractError:
    return ContractError(
        ContractCode.CONFIG_PARSING,
        f"standard input is not the expected JSON: {plain(detail)}",
        "expected one object with config, storeConfig and referenceDesc, as Ratify writes it",
    )


def answer(verdict: Verdict, name: str, type_: str, duration_ms: int) -> Response:
    """Return the response that carries ``verdict``: one JSON line, exit status 0, warnings as log lines."""
    # Ratify logs standard error; a line with braces there it would read as a result (``parsePluginOutput``), which
    # ``plain`` prevents.
    warnings = "".join(f"warn: {plain(text, 512)}\n" for text in verdict.warnings)
    return Response(0, result_line(verdict, name, type_, duration_ms) + b"\n", warnings.encode())


def invalid_parameters(error: ParameterError) -> ContractError:
    """Return the contract's error for parameters that are not valid (step 1)."""
    return ContractError(
        ContractCode.INVALID_CONFIG,
        f"the Verifier's parameters are not valid: {error}",
        "correct spec.parameters of the Verifier resource; docs/parameters.md lists them all",
    )


def contract_failure(error: ContractError) -> Response:
    """Return the response for a call that breaks the contract: an error object, exit status 1."""
    body: dict[str, Any] = {"code": int(error.code), "msg": plain(error.message, 8192)}
    if error.details:
        body["details"] = plain(error.details, 2048)
    # Ratify would read no line of more than 64 KiB, and report that instead of what is wrong.
    if len(encode(body)) > MAX_RESULT:
        # Text in another script takes up to twelve bytes a character in JSON; this way it fits, and can still be read.
        body["msg"] = ascii_only(body["msg"])
    return Response(1, encode(body) + b"\n")
