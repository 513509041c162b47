"""``install``: put the plugin where Ratify looks for it, or containerd."""

from __future__ import annotations

import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click

from slsa_verifier_plugin.checking.status import Status
from slsa_verifier_plugin.cli.lazy import StrictCommand
from slsa_verifier_plugin.cli.options import flag, valued
from slsa_verifier_plugin.cli.plugin_file import Installed, is_installed
from slsa_verifier_plugin.cli.plugin_file import install as put
from slsa_verifier_plugin.cli.session import Session, pass_session, say
from slsa_verifier_plugin.errors import UsageError

_FOLDER = click.Path(file_okay=False, path_type=Path)
EPILOG = """\b
Examples:
  slsa-verifier-plugin install                          into ~/.ratify/plugins
  slsa-verifier-plugin install --plugins-dir /plugins   from an init container
  slsa-verifier-plugin install --containerd --policies DIR
                                                        a node's image verifier and its policies
"""
FOLLOW_SECONDS = 30
"""Between two looks at whether policies or the installed file have changed."""


@click.command(cls=StrictCommand, epilog=EPILOG)
@valued(
    "--plugins-dir",
    "DIR",
    "Ratify's plugin directory; by default .ratify/plugins in the home directory.",
    type=_FOLDER,
)
@flag("--containerd", "Install containerd's image verifier instead.", "for_containerd")
@valued(
    "--bin-dir", "DIR", "containerd's bin_dir; /opt/containerd/image-verifier/bin by default.", type=_FOLDER
)
@valued("--profile", "NAME", "For a verifier with policies of its own.", default="")
@valued("--policies", "DIR", "Put the files of DIR into the node's policy folder first.", type=_FOLDER)
@flag("--follow", "Stay, and do all of it again when policies change.")
@pass_session
def install(
    session: Session, /, plugins_dir: Path | None, for_containerd: bool, follow: bool, **node: Any
) -> int:
    """Put the plugin into Ratify's plugin directory, as slsa and slsla, or into containerd's directory of image verifiers.

    Each file is tried out and then appears by a rename, so that a running Ratify or containerd may use the directory meanwhile.
    """
    if for_containerd:
        if plugins_dir is not None:
            raise click.UsageError("--plugins-dir is Ratify's; containerd's directory is --bin-dir")
        return _install_on_node(partial(_put_on_node, session, **node), follow)
    # Passed over, they would make a person believe that containerd's verifier is installed.
    if follow or any(node.values()):
        raise click.UsageError("--bin-dir, --profile, --policies and --follow go with --containerd")
    return _install_for_ratify(session, plugins_dir)


def _install_for_ratify(session: Session, plugins_dir: Path | None) -> int:

    folder = plugins_dir or session.ratify_plugins()
    # As in many containers; the root of the file system would be a bad guess.
    if folder is None:
        raise click.UsageError(
            "there is no home directory; name Ratify's plugin directory with --plugins-dir"
        )
    _told(put(folder, session.environ))
    return Status.ADMITTED


def _install_on_node(place: Callable[[], None], follow: bool) -> int:

    # Taken at a moment of our choice: the first process of a container ignores what it does not wait for.
    ends = {signal.SIGTERM, signal.SIGINT}
    if follow:
        signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    while True:
        try:
            place()
        except UsageError as error:
            # Once: whoever started it sees the error and the status.
            if not follow:
                raise
            # What is on the node stays, and goes on to decide.
            say(str(error), error=True)
        # sigtimedwait returns None when its time is over: then all of it is looked at again.
        if not follow or signal.sigtimedwait(ends, FOLLOW_SECONDS):
            return Status.ADMITTED


def _put_on_node(session: Session, bin_dir: Path | None, profile: str, policies: Path | None) -> None:
    from slsa_verifier_plugin.node.call_arguments import CallError, parse_program, program_of
    from slsa_verifier_plugin.node.fail_open import BIN_DIR
    from slsa_verifier_plugin.node.placing import place_policies
    from slsa_verifier_plugin.node.policy_folder import FolderError, check_owned, folder_of
    from slsa_verifier_plugin.node.surroundings import surroundings
    from slsa_verifier_plugin.service.service import Service

    name = program_of(profile)
    try:
        target = Path(folder_of(parse_program(name)))
    except CallError as error:
        raise click.UsageError(f"--profile: {error}") from error
    # Before the executable: a verifier without policies blocks every pull.
    if policies is not None:
        # In the surroundings that a call of containerd has: what decides here decides there.
        service = Service(surroundings(session.environ, str(target), is_launched=False))
        changed = place_policies(policies, target, service)
        if changed:
            say(f"put into {target}: {', '.join(changed)}")
    folder = bin_dir or Path(BIN_DIR)
    # With --follow it is looked at every half minute: a node's file that is the same is left alone.
    if not is_installed(folder / name, session.environ):
        _told(put(folder, session.environ, (name,), work_beside=True))
    # Asked each time: with --follow, rights may have changed since the file was put there.
    try:
        check_owned(str((folder / name).absolute()))
    except FolderError as error:
        raise UsageError(
            f"whoever may change what containerd runs decides what is pulled: {error}"
        ) from error
    # Without policies the verifier blocks every pull, which is the safe default and a surprise.
    if not target.is_dir():
        say(
            f"{target} does not exist: until it has policies, containerd pulls nothing on this node",
            error=True,
        )


def _told(installed: Installed) -> None:
    names = " and ".join(str(path) for path in installed.paths)
    say(f"installed {names} (version {installed.version}, {installed.kind})")
