"""Stands in for the carried loader in tests: a payload of one file that starts in milliseconds.

The launcher executes it as it does the loader: library path, interpreter, module and arguments. As the resident verifier it
becomes the real server with an obedient service (``tests/support/resident.py``); else it tells what it was given, as JSON: as a
process of the launcher's own by the frames of ``docs/resident-protocol.md``, which it knows by heart.
"""

import os
import sys

RESIDENT = ["resident", "serve", "--detached"]
SERVER_ENDS = "TEST_LAUNCHER_SERVER_ENDS"
"""Variable that makes the server end at once, after writing its process id."""
SLEEPS = "TEST_LAUNCHER_RUNTIME_SLEEPS"
"""Variable with the seconds that a process of the launcher's own says nothing."""
LINGERS = "TEST_LAUNCHER_RUNTIME_LINGERS"
"""Variable with the seconds that it stays after its answer."""
PROMISES = "TEST_LAUNCHER_RUNTIME_PROMISES"
"""Variable with the milliseconds that it promises to answer within."""
SILENT = "TEST_LAUNCHER_RUNTIME_SILENT"
"""Variable that makes it, and a helper that it starts, do nothing, after writing both process ids to that file."""
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
    if SILENT in os.environ:
        be_silent(os.environ[SILENT])
    import json

    own = arguments[:1] == ["own-process"]
    elapsed, variables, stdin = (
        take_request() if own else (0, [], b"" if arguments else sys.stdin.buffer.read())
    )
    told = {
        "arguments": sys.argv[1:-1] if own else sys.argv[1:],  # without the time
        "called": [] if own else arguments,
        "descriptors": sorted(int(name) for name in os.listdir("/proc/self/fd")),  # noqa: PTH208
        "elapsed": elapsed,
        "environment": dict(os.environ),
        "parent": os.getppid(),
        "pid": os.getpid(),
        "size": len(stdin),
        "stdin": stdin[:1000].hex(),
        "variables": variables,
    }
    line = json.dumps(told) + "\n"
    if own:
        answer(line.encode())
    sys.stdout.write(line)
    sys.stdout.flush()
    sys.exit(7 if arguments else 3)


def be_silent(path: str) -> None:
    """Tell two process ids, and do nothing."""
    import time

    helper = os.fork()
    if helper:
        with open(path, "a") as file:  # noqa: PTH123 (pathlib is slow to import)
            file.write(f"{os.getpid()} {helper}\n")
    time.sleep(600)


def take_request() -> tuple[int, list[str], bytes]:
    """Return what the one VERIFY on standard input says: elapsed milliseconds, the three variables, standard input."""
    header = read(12)
    body = read(int.from_bytes(header[8:], "big"))
    fields, at = [], 4
    while at < len(body):
        size = int.from_bytes(body[at : at + 4], "big")
        fields.append(body[at + 4 : at + 4 + size])
        at += 4 + size
    return int.from_bytes(body[:4], "big"), [os.fsdecode(field) for field in fields[:3]], fields[3]


def read(size: int) -> bytes:
    """Return so many bytes of standard input, which is a socket."""
    content = b""
    while len(content) < size:
        part = os.read(0, size - len(content))
        if not part:
            sys.exit(1)
        content += part
    return content


def answer(output: bytes) -> None:
    """Accept for five seconds, say nothing for as long as a test wants, answer with status 3, and end."""
    import time

    send(3, (int(os.environ.get(PROMISES, "5000"))).to_bytes(4, "big"))
    time.sleep(float(os.environ.get(SLEEPS, "0")))
    send(2, b"\3" + len(output).to_bytes(4, "big") + output + bytes(4))
    # Nothing that it does after its answer counts.
    time.sleep(float(os.environ.get(LINGERS, "0")))
    sys.exit(0)


def send(kind: int, body: bytes) -> None:
    """Send one frame."""
    frame = b"SLSV\0\1" + kind.to_bytes(2, "big") + len(body).to_bytes(4, "big") + body
    while frame:
        frame = frame[os.write(0, frame) :]


if __name__ == "__main__":
    main()
