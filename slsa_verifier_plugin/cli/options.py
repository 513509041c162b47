"""The options that say what is demanded and how registries are reached; shared by the commands that verify."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from slsa_verifier_plugin.checking.demands import OPTIONS, Demands, root_parameter, seconds_of
from slsa_verifier_plugin.cli.typed import Choice, PolicyFile, TrustedRootFile
from slsa_verifier_plugin.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

Function = TypeVar("Function", bound=Callable[..., Any])

POLICY_VARIABLE = "SLSA_VERIFIER_POLICY"
"""Names the policy file where no ``--policy`` does."""


def valued(
    name: str, metavar: str, meaning: str, *others: str, **more: Any
) -> Callable[[Function], Function]:
    """Return an option that takes a value.

    Args:
        name: the option, such as ``--output``.
        metavar: what the help calls its value.
        meaning: one sentence.
        others: its short form, and the parameter that it fills, where that has another name.
        more: what else ``click.option`` takes.
    """
    return click.option(name, *others, metavar=metavar, help=meaning, **more)


def flag(name: str, meaning: str, *others: str) -> Callable[[Function], Function]:
    """Return an option that is given or not; ``others`` as of ``valued``."""
    return click.option(name, *others, is_flag=True, help=meaning)


def policy_option(meaning: str) -> Callable[[Function], Function]:
    """Return the option that names a policy file."""
    return valued(
        "--policy", "FILE", meaning, "-p", type=PolicyFile(), envvar=POLICY_VARIABLE, show_envvar=True
    )


def _repeated(parameter: str, metavar: str) -> Callable[[Function], Function]:
    """Return the option for a parameter of a policy that is a list; it fills a parameter of that name."""
    return valued(OPTIONS[parameter], metavar, f"{parameter}; may be repeated.", parameter, multiple=True)


_POLICY = (
    policy_option("Verifier resource(s) in YAML; - for standard input."),
    valued("--verifier", "NAME", "Which Verifier of the file; needed where two are for one artifact type."),
    _repeated("expectedVerifiedLevels", "LEVEL"),
    _repeated("expectedResourceUri", "URI"),
    _repeated("expectedVerifierId", "URI"),
    _repeated("expectedSourceRefs", "REF"),
    click.option(
        "--source-binding",
        "sourceBinding",
        type=Choice(["none", "annotation", "provenance"]),
        help="sourceBinding.",
    ),
    valued("--max-age", "DURATION", "maxAge, such as 720h.", "maxAge"),
    valued(
        "--trusted-root",
        "FILE|NAME",
        "A trusted_root.json, public-good or staging.",
        "trustedRoot",
        type=TrustedRootFile(),
    ),
    valued("--artifact-type", "TYPE", "artifactTypes; may be repeated.", "artifact_types", multiple=True),
    click.option(
        "--any", "rule", flag_value="any", help="One passing attestation suffices (Ratify's policy 'any')."
    ),
    click.option(
        "--all", "rule", flag_value="all", help="Every attestation must pass ('all', Ratify's default)."
    ),
)
_REGISTRY = (
    flag("--plain-http", "Talk HTTP to the registry (a Store's useHttp); one on loopback needs no word."),
    valued("--timeout", "DURATION", "Time for each attestation, instead of the policy's."),
)


def require_folder(path: Path | None) -> None:
    """Refuse a file that is a folder, or whose folder is not there, before anything is asked or written.

    Raises:
        UsageError: it cannot be written.
    """

    # Told now: the system would say it only when the report is written, perhaps hours later.
    if path is not None and path.is_dir():
        raise UsageError(f"{path} is a folder; name a file in it")
    # Asked before the work: an artifact that was pushed cannot be taken back for a report that nobody can write.
    if path is not None and not path.absolute().parent.is_dir():
        raise UsageError(
            f"{path} cannot be written: there is no folder {path.absolute().parent}; create it, or name another"
        )


def with_options(options: Sequence[Callable[[Function], Function]]) -> Callable[[Function], Function]:
    """Return a decorator that adds several options to a command, listed by its help in this order."""

    def add(function: Function) -> Function:
        # Decorators are applied from the last to the first.
        for option in reversed(options):
            function = option(function)
        return function

    return add


policy_options = with_options(_POLICY + _REGISTRY)
"""Adds the policy's and the registry's options to a command."""
registry_options = with_options(_REGISTRY)
"""Adds the registry's options to a command."""
layout_option = valued(
    "--layout",
    "DIR",
    "An OCI image layout, as 'fetch' writes it, instead of the registry.",
    type=click.Path(),
)
json_option = flag("--json", "As JSON.", "as_json")


def demands_of(options: Mapping[str, Any]) -> Demands:
    """Return the demands in a command's options, as click hands them over.

    Raises:
        UsageError: a duration that is none, or an empty type.
    """

    # As an unset variable of a script leaves it; no artifact has an empty type.
    if "" in options["artifact_types"]:
        raise UsageError(
            "--artifact-type: must not be empty; write the type that 'slsa-verifier-plugin inspect IMAGE' shows"
        )
    typed = {**options, "trustedRoot": root_parameter(options["trustedRoot"])}
    # What was not typed is left out: an empty list would be a demand of nothing. JSON's lists are Python's.
    parameters = {
        name: list(typed[name]) if isinstance(typed[name], tuple) else typed[name]
        for name in OPTIONS
        if typed[name]
    }
    return Demands(
        policy=options["policy"],
        verifier=options["verifier"],
        parameters=parameters,
        artifact_types=options["artifact_types"],
        rule=options["rule"],
        plain_http=options["plain_http"],
        seconds=seconds_of(options["timeout"]),
    )
