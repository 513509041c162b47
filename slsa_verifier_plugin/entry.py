"""Chooses between containerd, the Ratify plugin and the command line, before anything heavy is imported."""

from __future__ import annotations

import os
import sys

OWN_PROCESS = "own-process"
"""First argument with which the launcher runs a verification of its own; for nobody else, so the help does not list it."""
IMAGE_VERIFIER = "image-verifier"
"""First argument with which the launcher passes on a call of containerd's, with the executed path after it; not in the help."""
CONTAINERD = frozenset(("-name", "-digest", "-stdin-media-type"))
"""containerd's arguments (``node.call_arguments``); the command line has none of them. One alone, anywhere, makes a call
containerd's: such a call must never end with the status of ``--help``."""


def main() -> None:
    """Run the image verifier where containerd calls, the plugin where Ratify does, the command line otherwise.

    Without arguments and without Ratify's environment, a terminal gets the help; a pipe gets the contract's error 4, for it is
    more likely a mistaken Ratify set-up than a person.
    """
    # First of all: a call of containerd's that ended in the help would have status 0, which containerd takes for "allowed".
    if not CONTAINERD.isdisjoint(sys.argv[1:]):
        from slsa_verifier_plugin.node.call import main as node_main

        if sys.argv[1] == IMAGE_VERIFIER and len(sys.argv) > 2:
            node_main(sys.argv[2], sys.argv[3:], is_launched=True)
        node_main(sys.argv[0], sys.argv[1:])
    # None where descriptor 0 is closed, as a careless caller leaves it.
    is_piped = sys.stdin is None or not sys.stdin.isatty()
    # Ratify sets the variable for each call, and gives no arguments; so does a person who tries the plugin in a pipe.
    if len(sys.argv) == 1 and ("RATIFY_VERIFIER_COMMAND" in os.environ or is_piped):
        from slsa_verifier_plugin.plugin import main as plugin_main

        plugin_main()  # ends the process
    # The argument is the time at which the launcher began. Anything else is left for click to refuse.
    if len(sys.argv) == 3 and sys.argv[1] == OWN_PROCESS:
        from slsa_verifier_plugin.plugin import answer_launcher

        answer_launcher(sys.argv[2])
    from slsa_verifier_plugin.cli.main import main as cli_main

    cli_main()
