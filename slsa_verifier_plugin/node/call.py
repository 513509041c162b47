"""Answers one call of containerd: exit status 0 lets the image be pulled, any other blocks it; standard output has the reason.

The resident verifier decides (``node.decision``); where there is none, a process of the call's own does. Nothing heavy is
imported here. Status 0 needs all of this: arguments that are containerd's and nothing else, a folder of policies that nobody else
may write to, a descriptor of the same digest on standard input, and a whole answer that says yes to that digest.
"""

import os
import time

from slsa_verifier_plugin.environment import BUILD_VARIABLE
from slsa_verifier_plugin.node import policy_folder
from slsa_verifier_plugin.node.call_arguments import CallError, ImageCall, parse_arguments
from slsa_verifier_plugin.node.surroundings import surroundings
from slsa_verifier_plugin.plugin import START, prepare, process_age, write_answer
from slsa_verifier_plugin.resident import protocol
from slsa_verifier_plugin.resident.client import client

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from slsa_verifier_plugin.resident.protocol import Answer, Question

ALLOWED, BLOCKED = 0, 1
PRINT_SECONDS = 1.0
"""How long the reason is waited for; containerd reads it at once, unless the machine is busy."""
MAX_OUTPUT = 30 << 10
"""Bytes of a reason; containerd reads 32 KiB of it."""
OLDEST_SECONDS = 60.0
"""A process that is older was something else before, say a shell: no limit of containerd's is that long."""
_EXPECTED = "expected the image's descriptor, as containerd writes it"
_EXECUTABLE = "SLSA_VERIFIER_EXECUTABLE"
# Written out: policy.verdict, which has the same words, would be one more import at every call.
_FAILED = "SLSA attestation verified FAILED: "


def main(
    program: str, arguments: list[str], is_launched: bool = False, base: str = policy_folder.BASE
) -> "NoReturn":
    """Answer one call of containerd, and end the process.

    Args:
        program: the path that containerd executed.
        arguments: those after it.
        is_launched: True where the one-file plugin's launcher runs this.
        base: the folder of all policies; tests have another.
    """
    prepare()
    try:
        is_allowed, said, debug = _answered(program, arguments, is_launched, base)
    except BaseException as error:  # noqa: BLE001 (the last boundary: what nobody foresaw blocks)
        # The error's kind alone: its text may hold anything.
        said = f"{_FAILED}an unforeseen {type(error).__name__}; please report it."
        is_allowed, debug = False, b""
    write_answer(
        said.encode("ascii", "replace")[:MAX_OUTPUT] + b"\n", debug, time.monotonic() + PRINT_SECONDS
    )
    # Not sys.exit: containerd would wait for an interpreter that tidies up.
    os._exit(ALLOWED if is_allowed else BLOCKED)


def _answered(program: str, arguments: list[str], is_launched: bool, base: str) -> tuple[bool, str, bytes]:
    """Return whether the image may be pulled, the reason, and lines for containerd's debug log."""
    # From the start of the process on: containerd counts the interpreter's start as well.
    started = time.monotonic() - process_age(OLDEST_SECONDS)
    try:
        # The arguments first: without them nobody knows whose policies decide.
        call = parse_arguments(program, arguments)
        # By the executed file's name, which root chose in bin_dir, and by nothing that comes with the call.
        folder = policy_folder.folder_of(call.profile, base)
        policy_folder.check_folder(folder)
        seconds = policy_folder.seconds_of_call(folder)
        _check_descriptor(call)
    except CallError as error:
        return False, f"{_FAILED}{error}.", b""
    # There is no such folder, or others may change what it says.
    except policy_folder.FolderError as error:
        why = f"this node's policies cannot be used, so nothing is pulled here: {error}"
        return False, f"{_FAILED}{why}.", b""
    # Before the environment is replaced, for it reads what the launcher has set there.
    command = _start_command(is_launched)
    environ = surroundings(os.environ, folder, is_launched)
    # Clouds' SDKs and what is forked or started from here read the process's own.
    os.environ.clear()
    os.environ.update(environ)
    fields = (os.fsencode(folder), call.name.encode(), call.digest.encode(), b"%d" % round(seconds * 1000))
    # The name and the digest as containerd gave them: the answer is about exactly these.
    question = protocol.Question(protocol.CHECK, fields, seconds)

    def own_process(turn: int) -> "Answer":
        return _own_process(question, started, turn)

    answer = client.ask(environ, question, own_process, command, started)
    is_allowed, said = judged(answer, call.digest)
    return is_allowed, said, answer[2]


def judged(answer: "Answer", digest: str) -> tuple[bool, str]:
    """Return whether an answer lets an image be pulled, and its lines for people.

    An exit status says nothing here: Ratify's contract gives denials the status 0, and so do all lines of the client's own.
    """
    from slsa_verifier_plugin.strict_json import JsonError, loads
    from slsa_verifier_plugin.text import inert

    status, stdout, _ = answer
    try:
        said = loads(stdout)
    except JsonError:
        said = None
    # A verdict has a "message", an error of Ratify's contract a "msg".
    message = said.get("message", said.get("msg")) if isinstance(said, dict) else None
    # Half an answer, or none: a process that was killed must not be a yes.
    if not isinstance(said, dict) or not isinstance(message, str) or not message:
        return False, f"{_FAILED}the verifier gave no answer that can be read; try again, or report it."
    extensions = said.get("extensions")
    extensions = extensions if isinstance(extensions, dict) else {}
    # Success is said here alone, and only to the digest that was asked about: an answer meant for another call is a
    # no.
    is_allowed = status == 0 and said.get("isSuccess") is True and extensions.get("digest") == digest
    notes = extensions.get("notes")
    lines = [message, *(notes if isinstance(notes, list) else ())]
    return is_allowed, "\n".join(inert(line) for line in lines if isinstance(line, str))


def _check_descriptor(call: ImageCall) -> None:
    """Raise ``CallError`` unless standard input is, within its time, a descriptor of the digest in the arguments."""
    from slsa_verifier_plugin.strict_json import JsonError, loads

    try:
        content = client.read_stdin(0, time.monotonic() + protocol.STDIN_SECONDS)
        value = loads(content)
    # Too long, too late, or closed.
    except client.StdinError as error:
        raise CallError(f"{error}; {_EXPECTED}") from error
    except JsonError as error:
        raise CallError(f"standard input is no JSON; {_EXPECTED}") from error
    # Two accounts of one image that differ: whichever is pulled, something else may have been verified.
    if not isinstance(value, dict) or value.get("digest") != call.digest:
        raise CallError(
            "standard input describes another digest than the arguments; expected the same image in both"
        )


def _start_command(is_launched: bool) -> list[str]:
    """Return what starts the resident verifier: of this very build, and never what a caller's variable names."""
    executable = os.environ.get(_EXECUTABLE)
    # Only the launcher sets these for itself; a caller could name any program.
    if is_launched and executable and os.environ.get(BUILD_VARIABLE):
        return [executable, "resident", "serve", "--detached"]
    return list(START)


def _own_process(question: "Question", started: float, turn: int) -> "Answer":
    """Answer a question in a fork of this process, which holds the deadline and imports nothing for it."""
    from slsa_verifier_plugin.resident import isolate

    def work(elapsed: float) -> "Answer":
        # Imported only now, half a second's worth: whoever waits is told the call's time first.
        from slsa_verifier_plugin.node.decision import ImageDecider
        from slsa_verifier_plugin.service.service import Service

        return ImageDecider().answer(Service(dict(os.environ)), (elapsed, *question.fields), elapsed)

    return isolate.run_isolated(lambda: (question.seconds, work), started, question.seconds, turn)
