"""Stands in for the carried loader in tests: a payload of one file that starts in milliseconds.

The launcher executes it as it does the loader: library path, interpreter, module and arguments. As the resident verifier it
becomes the real server with an obedient service (``tests/support/resident.py``); else it prints what it was given, as JSON.
"""

import os
import sys

RESIDENT = ["resident", "serve", "--detached"]
SERVER_ENDS = "TEST_LAUNCHER_SERVER_ENDS"
"""Variable that makes the server end at once, after writing its process id."""
FAILS = "TEST_LAUNCHER_RUNTIME_FAILS"
"""Variable that makes everything but a server end without an answer."""


def main() -> None:
    """Do what the arguments behind the module's name say."""
    arguments = sys.argv[sys.argv.index("slsa_verifier_plugin") + 1 :]
    if arguments == RESIDENT:
        if SERVER_ENDS in os.environ:
            with open(os.environ[SERVER_ENDS], "a") as file:  # noqa: PTH123 (pathlib is slow to import)
                file.write(f"{os.getpid()}\n")
            sys.exit(1)
        os.execve(sys.executable, [sys.executable, "-m", "tests.support.resident", "serve"], os.environ)  # noqa: S606
    if FAILS in os.environ:
        sys.exit(9)
    import json

    told = {
        "arguments": sys.argv[1:],
        "called": arguments,
        "descriptors": sorted(int(name) for name in os.listdir("/proc/self/fd")),  # noqa: PTH208
        "environment": dict(os.environ),
        "stdin": sys.stdin.buffer.read().hex() if not arguments else "",
    }
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()
    sys.exit(3 if not arguments else 7)


if __name__ == "__main__":
    main()
