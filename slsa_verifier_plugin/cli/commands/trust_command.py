"""``trust``: the trusted roots that signatures are verified against."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from slsa_verifier_plugin.checking.demands import ROOTS
from slsa_verifier_plugin.checking.status import Status
from slsa_verifier_plugin.cli.lazy import StrictGroup
from slsa_verifier_plugin.cli.options import flag, json_option, policy_option, require_folder, valued
from slsa_verifier_plugin.cli.session import Session, pass_session, say, say_all, tell
from slsa_verifier_plugin.cli.typed import Choice

if TYPE_CHECKING:
    from slsa_verifier_plugin.policy.parameters import RootSource

_OPTION = policy_option("The trusted roots of the Verifiers in FILE; without it, public-good's.")


@click.group(cls=StrictGroup)
def trust() -> None:
    """List, refresh and export the trusted roots that signatures are verified against.

    The one that ships with the sigstore package is used until a newer one has been fetched; nothing is fetched while a
    verification waits.
    """


@trust.command("list", short_help="Show each trusted root, its date, age and where it comes from.")
@_OPTION
@json_option
@pass_session
def list_(session: Session, /, policy: str | None, as_json: bool) -> int:
    """Show each trusted root: where it comes from, its digest, its date and what is in it."""
    from slsa_verifier_plugin.cli.render import render_trust
    from slsa_verifier_plugin.resources import trust_roots

    found = [state for source in sources_of(policy) for state in trust_roots.look_at(source, session.environ)]
    tell(as_json, lambda: render_trust.json_of(found), render_trust.text_of(found, session.painter()))
    # 3 as for a registry that fails: without a root nothing can be decided.
    return Status.UNDECIDED if any(item.problem for item in found) else Status.ADMITTED


@trust.command(short_help="Write the trusted root in use to a file.")
@valued(
    "--root", "NAME", "public-good or staging.", type=Choice(ROOTS), default="public-good", show_default=True
)
@valued("--output", "FILE", "Where to.", "-o", required=True, type=click.Path(path_type=Path))
@flag("--force", "Replace what is there.")
@pass_session
def export(session: Session, /, root: str, output: Path, force: bool) -> int:
    """Write the trusted root in use to a file, for machines without internet: trustedRoot: {path: FILE} there."""
    from slsa_verifier_plugin.policy.parameters import RootSource
    from slsa_verifier_plugin.resources.named_files import write_new
    from slsa_verifier_plugin.signatures.sources import read_root
    from slsa_verifier_plugin.signatures.trust import load_root

    require_folder(output)
    content, shown = read_root(RootSource(root), session.environ)
    # Parsed before it is written: a broken file would be found out only where there is no network.
    loaded = load_root(content, shown)
    write_new(output, content, force)
    say(f"wrote {output}: {shown} of {loaded.info.date:%Y-%m-%d}, sha256:{loaded.info.digest}")
    return Status.ADMITTED


@trust.command(short_help="Fetch the newest trusted roots through TUF, and verify them.")
@_OPTION
@pass_session
def refresh(session: Session, /, policy: str | None) -> int:
    """Fetch the newest trusted roots through TUF into this user's cache. What is there stays if that fails."""
    from slsa_verifier_plugin.cli.render import render_trust
    from slsa_verifier_plugin.errors import TrustRootError
    from slsa_verifier_plugin.signatures.refresh import refresh as fetch

    painter = session.painter()
    status = Status.ADMITTED
    for source in sources_of(policy):
        outcome: Any
        try:
            outcome = fetch(source, session.environ)
        # One that cannot be fetched must not keep the others from it.
        except TrustRootError as error:
            outcome, status = error, Status.UNDECIDED
        say_all(render_trust.refreshed(source, outcome, painter))
    return status


def sources_of(policy: str | None) -> tuple[RootSource, ...]:
    """Return the trusted roots that the policy file's verifiers name, without repetition.

    Raises:
        UsageError: the file has no Verifier of this plugin, or one that is not valid.
    """
    from slsa_verifier_plugin.errors import UsageError
    from slsa_verifier_plugin.policy.parameters import ParameterError, RootSource, parse_policy
    from slsa_verifier_plugin.resources.ratify_resources import read_setup

    # The root that policies use when they name none.
    if policy is None:
        return (RootSource("public-good"),)
    found: list[RootSource] = []
    for verifier in read_setup(policy).verifiers:
        try:
            # Of all Verifiers in the file: each may name others.
            found += parse_policy(verifier.config).roots
        except ParameterError as error:
            raise UsageError(f"the parameters are not valid: {error}") from error
    return tuple(dict.fromkeys(found))
