"""Decides which of the two ways in a call is, before anything heavy is imported."""

from __future__ import annotations

import os
import sys

OWN_PROCESS = "own-process"
"""First argument with which the launcher runs a verification of its own; for nobody else, so the help does not list it."""


def main() -> None:
    """Run the plugin where Ratify calls, the command line otherwise.

    Without arguments and without Ratify's environment, a terminal gets the help; a pipe gets the contract's error 4, for it is
    more likely a mistaken Ratify set-up than a person.
    """
    is_piped = sys.stdin is None or not sys.stdin.isatty()
    if len(sys.argv) == 1 and ("RATIFY_VERIFIER_COMMAND" in os.environ or is_piped):
        from slsa_verifier_plugin.plugin import main as plugin_main

        plugin_main()
    if len(sys.argv) == 3 and sys.argv[1] == OWN_PROCESS:
        from slsa_verifier_plugin.plugin import answer_launcher

        answer_launcher(sys.argv[2])
    from slsa_verifier_plugin.cli.main import main as cli_main

    cli_main()
