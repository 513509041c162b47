"""``install``: put the plugin where Ratify looks for it."""

from __future__ import annotations

from pathlib import Path

import click

from slsa_verifier_plugin.checking.status import Status
from slsa_verifier_plugin.cli.session import say, session_of

EPILOG = """\b
Examples:
  slsa-verifier-plugin install                          into ~/.ratify/plugins
  slsa-verifier-plugin install --plugins-dir /plugins   from an init container
"""


@click.command(epilog=EPILOG)
@click.option(
    "--plugins-dir",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Ratify's plugin directory; by default .ratify/plugins in the home directory.",
)
@click.pass_context
def install(context: click.Context, /, plugins_dir: Path | None) -> int:
    """Put the plugin into Ratify's plugin directory, as slsa and slsla.

    Each file is tried out and then appears by a rename, so that a running Ratify may use the directory meanwhile.
    """
    from slsa_verifier_plugin.cli.plugin_file import install as put

    session = session_of(context)
    home = session.home()
    if plugins_dir is None and home is None:
        raise click.UsageError(
            "there is no home directory; name Ratify's plugin directory with --plugins-dir"
        )
    folder = plugins_dir or (home or Path()) / ".ratify" / "plugins"
    installed = put(folder, session.environ)
    names = " and ".join(str(path) for path in installed.paths)
    say(f"installed {names} (version {installed.version}, {installed.kind})")
    return Status.ADMITTED
