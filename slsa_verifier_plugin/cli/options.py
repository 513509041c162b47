"""The options that say what is demanded and how registries are reached; shared by the commands that verify."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from slsa_verifier_plugin.checking.demands import Demands, root_parameter, seconds_of
from slsa_verifier_plugin.cli.typed import Choice, PolicyFile, TrustedRootFile

if TYPE_CHECKING:
    from pathlib import Path

Function = TypeVar("Function", bound=Callable[..., Any])

POLICY_VARIABLE = "SLSA_VERIFIER_POLICY"
"""Names the policy file where no ``--policy`` does."""

_POLICY = (
    click.option(
        "--policy",
        "-p",
        metavar="FILE",
        type=PolicyFile(),
        envvar=POLICY_VARIABLE,
        show_envvar=True,
        help="Verifier resource(s) in YAML; - for standard input.",
    ),
    click.option(
        "--verifier",
        metavar="NAME",
        help="Which Verifier of the file; needed where two are for one artifact type.",
    ),
    click.option(
        "--level", "levels", multiple=True, metavar="LEVEL", help="expectedVerifiedLevels; may be repeated."
    ),
    click.option(
        "--resource-uri",
        "resource_uris",
        multiple=True,
        metavar="URI",
        help="expectedResourceUri; may be repeated.",
    ),
    click.option(
        "--verifier-id",
        "verifier_ids",
        multiple=True,
        metavar="URI",
        help="expectedVerifierId; may be repeated.",
    ),
    click.option(
        "--source-ref",
        "source_refs",
        multiple=True,
        metavar="REF",
        help="expectedSourceRefs; may be repeated.",
    ),
    click.option(
        "--source-binding", type=Choice(["none", "annotation", "provenance"]), help="sourceBinding."
    ),
    click.option("--max-age", metavar="DURATION", help="maxAge, such as 720h."),
    click.option(
        "--trusted-root",
        metavar="FILE|NAME",
        type=TrustedRootFile(),
        help="A trusted_root.json, public-good or staging.",
    ),
    click.option(
        "--artifact-type",
        "artifact_types",
        multiple=True,
        metavar="TYPE",
        help="artifactTypes; may be repeated.",
    ),
    click.option(
        "--any", "rule", flag_value="any", help="One passing attestation suffices (Ratify's policy 'any')."
    ),
    click.option(
        "--all", "rule", flag_value="all", help="Every attestation must pass ('all', Ratify's default)."
    ),
)
_REGISTRY = (
    click.option(
        "--plain-http",
        is_flag=True,
        help="Talk HTTP to the registry (a Store's useHttp); one on loopback needs no word.",
    ),
    click.option("--timeout", metavar="DURATION", help="Time for each attestation, instead of the policy's."),
)


def require_folder(path: Path | None) -> None:
    """Refuse a file that is a folder, or whose folder is not there, before anything is asked or written.

    Raises:
        UsageError: it cannot be written.
    """
    from slsa_verifier_plugin.errors import UsageError

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
json_option = click.option("--json", "as_json", is_flag=True, help="As JSON.")


def demands_of(options: Mapping[str, Any]) -> Demands:
    """Return the demands in a command's options, as click hands them over.

    Raises:
        UsageError: a duration that is none, or an empty type.
    """
    from slsa_verifier_plugin.errors import UsageError

    # As an unset variable of a script leaves it; no artifact has an empty type.
    if "" in options["artifact_types"]:
        raise UsageError(
            "--artifact-type: must not be empty; write the type that 'slsa-verifier-plugin inspect IMAGE' shows"
        )
    parameters = {
        "expectedVerifiedLevels": list(options["levels"]),
        "expectedResourceUri": list(options["resource_uris"]),
        "expectedVerifierId": list(options["verifier_ids"]),
        "expectedSourceRefs": list(options["source_refs"]),
        "sourceBinding": options["source_binding"],
        "maxAge": options["max_age"],
        "trustedRoot": root_parameter(options["trusted_root"]),
    }
    return Demands(
        policy=options["policy"],
        verifier=options["verifier"],
        # What was not typed is left out: an empty list would be a demand of nothing.
        parameters={key: value for key, value in parameters.items() if value},
        artifact_types=options["artifact_types"],
        rule=options["rule"],
        plain_http=options["plain_http"],
        seconds=seconds_of(options["timeout"]),
    )
