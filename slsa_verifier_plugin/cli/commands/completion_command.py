"""``completion``: scripts for bash, zsh and fish."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from slsa_verifier_plugin.checking.status import PROGRAM, Status
from slsa_verifier_plugin.cli.lazy import StrictCommand
from slsa_verifier_plugin.cli.session import show
from slsa_verifier_plugin.cli.typed import Choice
from slsa_verifier_plugin.sinks import Script

# The plugin's names are the same program, so each shell completes them too.
NAMES = (PROGRAM, "slsa", "slsla")
ARGUMENT = "--help"
"""Without an argument, and without a terminal, the program is the plugin; completion may run without a terminal."""
EPILOG = """\b
In a running shell, or in its start-up file:
  bash   source <(slsa-verifier-plugin completion bash)
  zsh    source <(slsa-verifier-plugin completion zsh)
  fish   slsa-verifier-plugin completion fish | source
"""


@click.command(cls=StrictCommand, epilog=EPILOG)
@click.argument("shell", type=Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> int:
    """Print the script that teaches a shell to complete commands, options and files."""
    show(Script("\n".join(script(shell, name).strip() for name in NAMES)))
    return Status.ADMITTED


def script(shell: str, name: str = PROGRAM) -> str:
    """Return click's script for ``shell``, changed so that the program is always given an argument.

    Args:
        shell: bash, zsh or fish.
        name: of the program; those of the plugin are the same program.
    """
    from slsa_verifier_plugin.cli.main import COMPLETION_VARIABLE, program

    found = get_completion_class(shell)
    # click has a class for each shell that the argument allows.
    assert found is not None
    completer = found(program, {}, name, COMPLETION_VARIABLE)
    source = completer.source_template % completer.source_vars()
    # click's bash function is handed the command's name; the other shells write it out.
    called = "$1" if shell == "bash" else name
    # The call of the program is the first place where its name stands before a bracket.
    return source.replace(f"{called})", f"{called} {ARGUMENT})", 1)
