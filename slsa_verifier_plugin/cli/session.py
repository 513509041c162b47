"""What every command gets from the program's own options, and the places it writes to."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TextIO

import click

if TYPE_CHECKING:
    from pathlib import Path

    from slsa_verifier_plugin.cli.render.painter import Painter
    from slsa_verifier_plugin.sinks import Encoded, Json

NARROWEST, WIDEST = 40, 160
"""Columns that text is laid out for, whatever the terminal says."""


@dataclass(slots=True)
class Session:
    """One run of the program.

    Args:
        debug: whether tracebacks are shown.
        color: ``auto``, ``always`` or ``never``.
        environ: the process's environment.
    """

    debug: bool = False
    color: str = "auto"
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)

    def painter(self, stream: TextIO | None = None) -> Painter:
        """Return the painter for ``stream``, by default standard output."""
        from slsa_verifier_plugin.cli.render.painter import Painter

        stream = stream or sys.stdout
        terminal = stream.isatty()
        # With or without its dash; a stream without an encoding, such as StringIO, counts as ASCII.
        encoding = (stream.encoding or "ascii").lower().replace("-", "")
        # A pipe has no width: what reads it breaks lines as it likes.
        width = min(max(_columns(stream), NARROWEST), WIDEST) if terminal else None
        return Painter(color=self._colored(terminal), symbols=encoding == "utf8", width=width)

    def ratify_plugins(self) -> Path | None:
        """Return Ratify's plugin directory; None where there is no home directory, as in many containers."""
        from pathlib import Path

        home = self.environ.get("HOME")
        return Path(home, ".ratify", "plugins") if home else None

    def _colored(self, terminal: bool) -> bool:
        # What is asked for goes before NO_COLOR (no-color.org: user settings override it).
        if self.color != "auto":
            return self.color == "always"
        if self.environ.get("NO_COLOR"):
            return False
        # dumb: Emacs and some CI systems show sequences as text.
        return terminal and self.environ.get("TERM") != "dumb"


pass_session = click.make_pass_decorator(Session, ensure=True)
"""Hands a command the program's session first; a default one where a command is called without the program's group."""


def say(text: str, *, error: bool = False) -> None:
    """Write a line to standard output, or error, fit for a terminal and a log whatever is in it.

    Unlike click's, in the encoding that the terminal has.
    """
    from slsa_verifier_plugin.sinks import line

    stream = sys.stderr if error else sys.stdout
    stream.write(f"{line(text)}\n")


def say_all(lines: Iterable[str]) -> None:
    """Write lines to standard output, each as soon as it is known: what comes next may take long."""
    for text in lines:
        say(text)


def show(document: Encoded) -> None:
    """Write a document that an encoder made to standard output, with a line's end after it."""
    sys.stdout.write(ended(document))


def tell(as_json: bool, document: Callable[[], Json], lines: Iterable[str]) -> None:
    """Write what a command has found, as JSON or for people.

    Args:
        as_json: whether ``--json`` was given.
        document: makes the JSON.
        lines: for people; not drawn from where JSON was asked for.
    """
    if as_json:
        show(document())
    else:
        say_all(lines)


def pass_on(encoded: Iterable[str]) -> None:
    """Write to standard output what a renderer has encoded, here or in a resident verifier."""
    for text in encoded:
        sys.stdout.write(text)


def ended(document: Encoded) -> str:
    """Return a document with a line's end after it."""
    return document if document.endswith("\n") else f"{document}\n"


def record(lines: Iterable[Json]) -> None:
    """Write JSON to standard error, a line each: the log of a server, whatever standard output is for."""
    stream = sys.stderr
    # In one write, so that lines of several threads do not mix.
    stream.write("".join(f"{line}\n" for line in lines))
    stream.flush()


def _columns(stream: TextIO) -> int:
    try:
        # A pseudo-terminal whose size nobody has set reports 0 columns.
        return os.get_terminal_size(stream.fileno()).columns or 80
    # Not a terminal after all, or a stream without a descriptor.
    except OSError:
        return 80
