"""What every command gets from the program's own options, and the places it writes to."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TextIO

from slsa_verifier_plugin.cli.render import Painter

NARROWEST, WIDEST = 40, 160
"""Columns that text is laid out for, whatever the terminal says."""


@dataclass(frozen=True, slots=True)
class Session:
    """One run of the program: whether tracebacks are shown, whether to colour (``auto``, ``always``, ``never``)."""

    debug: bool = False
    color: str = "auto"
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)

    def painter(self, stream: TextIO | None = None) -> Painter:
        """Return the painter for ``stream``, by default standard output."""
        stream = stream or sys.stdout
        terminal = stream.isatty()
        encoding = (stream.encoding or "ascii").lower().replace("-", "")
        width = None
        if terminal:
            width = min(max(shutil.get_terminal_size().columns, NARROWEST), WIDEST)
        return Painter(color=self._colored(terminal), symbols=encoding == "utf8", width=width)

    def _colored(self, terminal: bool) -> bool:
        if self.color != "auto":
            return self.color == "always"
        if self.environ.get("NO_COLOR"):
            return False
        return terminal and self.environ.get("TERM") != "dumb"


def session_of(context: object) -> Session:
    """Return the session of a click context; a default one where a command is called without the program's group."""
    found = getattr(context, "obj", None)
    return found if isinstance(found, Session) else Session()
