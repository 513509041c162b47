"""The program ``slsa-verifier-plugin``: its commands, and the one place where their failures become a line and a status.

Nothing heavy is imported here: ``--help``, ``--version`` and completion must not wait for what they do not use.
"""

from __future__ import annotations

import errno
import gc
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import NoReturn

import click

from slsa_verifier_plugin import __version__
from slsa_verifier_plugin.checking.status import PROGRAM, Status
from slsa_verifier_plugin.cli.arguments import usual
from slsa_verifier_plugin.cli.lazy import Lazy, LazyGroup
from slsa_verifier_plugin.cli.session import Session, say
from slsa_verifier_plugin.cli.typed import Choice

COMPLETION_VARIABLE = "_SLSA_VERIFIER_PLUGIN_COMPLETE"
"""Set by the script that ``completion`` prints; it stands here, so that completing need not load that command."""

COMMANDS = {
    "verify": Lazy("verify", "Verify images as Ratify would, and show each step."),
    "audit": Lazy("audit", "Say what would be admitted and denied of everything that runs."),
    "inspect": Lazy("inspect", "Show what is attached to an image, or in a file, unjudged."),
    "policy": Lazy("policy", "Check, write and describe Verifier resources."),
    "serve": Lazy("serve", "Answer Gatekeeper over HTTPS, without Ratify."),
    "attach": Lazy("attach", "Attach an attestation file to an image."),
    "fetch": Lazy("attach", "Take images' attestations to where there is no registry."),
    "demo": Lazy("demo", "See one image denied and one admitted, without a cluster."),
    "doctor": Lazy("doctor", "See on one screen whether all of it can work."),
    "explain": Lazy("explain", "Say what a denial's reason code means, and what to do."),
    "registry": Lazy("registry", "Find out what happens between this machine and a registry."),
    "trust": Lazy("trust", "List, refresh and export trusted roots."),
    "install": Lazy("install", "Put the plugin into Ratify's plugin directory."),
    "resident": Lazy("resident", "Start, stop and look at the verifier that stays warm."),
    "completion": Lazy("completion", "Print a script that completes commands in a shell."),
}

HELP = """Admit an image only if its source met its SLSA level: Ratify's verifier plugin, at the command line.

\b
  slsa-verifier-plugin demo                            see what it does
  slsa-verifier-plugin verify IMAGE --policy FILE      would Ratify admit it?
  slsa-verifier-plugin install --plugins-dir DIR       give it to Ratify
"""


@click.group(
    cls=LazyGroup,
    table=COMMANDS,
    help=HELP,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    no_args_is_help=True,
)
@click.version_option(__version__, prog_name=PROGRAM, message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.option(
    "--color",
    type=Choice(["auto", "always", "never"]),
    default="auto",
    help="Colours; auto means on a terminal, unless NO_COLOR is set.",
)
@click.pass_context
def program(context: click.Context, debug: bool, color: str) -> None:
    """Keep the program's own options for the command."""
    context.obj = Session(debug=debug, color=color)
    # None lets click ask whether the stream is a terminal.
    context.color = {"always": True, "never": False}.get(color)


def main() -> NoReturn:
    """Run the program with the process's arguments, and end with its status."""
    status = run(sys.argv[1:])
    # The interpreter would look at every object once more before it ends: a fifth of the time of a ``verify`` of one image.
    gc.freeze()
    sys.exit(int(status))


def run(arguments: Sequence[str]) -> int:
    """Run the program; return its exit status. Every failure is one line on standard error, tracebacks only with ``--debug``."""
    _prepare_output()
    try:
        # Flushed inside, so that a reader that has gone shows here and not at the interpreter's end.
        result = _invoke(usual(arguments))
        sys.stdout.flush()
    # No fault: in "... | head -1" the reader has seen enough.
    except BrokenPipeError:
        return _broken_pipe()
    except KeyboardInterrupt as interrupt:
        return _fail(str(interrupt) or "interrupted", Status.INTERRUPTED)
    # click's completion and commands that serve end this way.
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else Status.USAGE
    except Exception as error:  # noqa: BLE001 (the boundary: what nobody foresaw ends in one line, too)
        message, status = explain(error)
        # A usage error is the person's, and its line says all; where it was raised helps nobody.
        # Asked of the words that were typed: parsing them may be what failed.
        if "--debug" in arguments and status != Status.USAGE:
            import traceback

            for text in traceback.format_exc().splitlines():
                # Line by line through say: a traceback may quote an attestation.
                _quietly(partial(say, text, error=True))
        return _fail(message, status)
    return result


def explain(error: Exception) -> tuple[str, Status]:
    """Return the line and the exit status for what ended a command."""
    from slsa_verifier_plugin.errors import ContractError, UsageError, VerifierError
    from slsa_verifier_plugin.text import plain

    # click's messages name the option; the command is added for its help.
    if isinstance(error, click.UsageError):
        where = error.ctx.command_path if error.ctx else PROGRAM
        return f"{error.format_message().rstrip('.')}; see '{where} --help'", Status.USAGE
    # click's word for Ctrl-C at a prompt.
    if isinstance(error, click.Abort):
        return "interrupted", Status.INTERRUPTED
    if isinstance(error, click.ClickException):
        return error.format_message(), Status.USAGE
    # What a person put wrong: the message says all, and no traceback helps.
    if isinstance(error, UsageError):
        return str(error), Status.USAGE
    # Settings that Ratify's contract refuses; the error is made for Ratify, and here a person reads it.
    if isinstance(error, ContractError):
        return f"{error.message}: {error.details}" if error.details else error.message, Status.USAGE
    # Not 1: nothing was decided, and a pipeline may try again.
    if isinstance(error, VerifierError):
        return error.message, Status.UNDECIDED
    # A full disk or a file without rights: the person's to put right, and no defect.
    if isinstance(error, OSError):
        folder = os.path.dirname(os.fsdecode(error.filename or ""))  # noqa: PTH120 (pathlib is not loaded for the help)
        # The system's own words name the file, which is not what is missing.
        if error.errno == errno.ENOENT and folder and not os.path.isdir(folder):  # noqa: PTH112
            found = f"{plain(error.filename)} cannot be written or read: there is no folder {plain(folder)}"
            return f"{found}; create it, or name another", Status.USAGE
        name = f": {plain(error.filename)}" if error.filename else ""
        return f"{error.strerror or type(error).__name__}{name}", Status.USAGE
    # Whatever it quotes is made safe: it may be text of an attestation.
    detail = plain(str(error)) or "no detail"
    return (
        f"a defect: {type(error).__name__}: {detail}; please report it with the output of --debug",
        Status.UNDECIDED,
    )


def _invoke(arguments: list[str]) -> int:
    instruction = os.environ.get(COMPLETION_VARIABLE)
    # A shell asks at every press of Tab; nothing else is to be imported for it.
    if instruction:
        from click.shell_completion import shell_complete

        return shell_complete(program, {}, PROGRAM, COMPLETION_VARIABLE, instruction)
    try:
        with program.make_context(PROGRAM, arguments) as context:
            result = program.invoke(context)
    # --help and --version end the parsing this way.
    except click.exceptions.Exit as end:
        return end.exit_code
    # No error: whoever types nothing wants to see what there is.
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return Status.ADMITTED
    # A group without a command returns nothing.
    return result if isinstance(result, int) else Status.ADMITTED


def _fail(message: str, status: Status) -> int:
    # One line, whatever line ends the message had: people search logs by it.
    _quietly(lambda: say(f"{PROGRAM}: {' '.join(message.split())}", error=True))
    _quietly(sys.stdout.flush)
    return status


def _broken_pipe() -> int:
    """Say nothing: whoever read the output has seen enough. What is still buffered must not fail once more at exit."""
    # Python flushes once more at its end, and would print "Exception ignored" for the closed pipe.
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
    os.close(nothing)
    return Status.BROKEN_PIPE


def _quietly(write: Callable[[], object]) -> None:
    try:
        write()
    except OSError:
        _broken_pipe()


def _prepare_output() -> None:
    """Keep reports from failing at a closed stream, or at a character that the terminal's encoding lacks."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            # Closed by the caller: whoever does that wants to see nothing.
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115 (kept to the end)
        # Tests and embedders put streams of their own in place.
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
