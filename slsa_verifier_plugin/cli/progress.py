"""A progress bar with a live count, on standard error and only on a terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Self

from slsa_verifier_plugin.checking.status import Decision

if TYPE_CHECKING:
    from types import TracebackType

    from rich.progress import Progress as RichProgress

    from slsa_verifier_plugin.audit.auditor import Progress
    from slsa_verifier_plugin.cli.session import Session

BAR_COLUMNS = 24


class Bar:
    """Shows how far an audit is, for the length of a ``with`` block. Shows nothing where standard error is no terminal.

    Only numbers are shown, so no foreign text reaches the terminal past the sinks.

    Args:
        session: says whether there are colours.
    """

    def __init__(self, session: Session) -> None:
        # rich is imported only for a terminal. A dumb one cannot redraw a line: each update would be a new one.
        watched = sys.stderr.isatty() and session.environ.get("TERM") != "dumb"
        self._progress = _progress(session) if watched else None

    def __enter__(self) -> Self:
        if self._progress is not None:
            # The total comes with the first call of ``show``.
            self._task = self._progress.add_task("", total=None, counts="")
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # rich must give the terminal back, after an interrupt too.
        if self._progress is not None:
            self._progress.stop()

    def show(self, progress: Progress) -> None:
        """Take over how far it is; the bar is drawn some times a second."""
        if self._progress is not None:
            # All three words at all times, so that the line does not jump.
            counts = " ".join(f"{progress.decisions.get(decision, 0)} {decision}" for decision in Decision)
            self._progress.update(self._task, total=progress.total, completed=progress.done, counts=counts)


def _progress(session: Session) -> RichProgress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    painter = session.painter(sys.stderr)
    # Bar has asked whether this is a terminal, so rich need not guess.
    console = Console(
        file=sys.stderr, force_terminal=True, no_color=not painter.color, width=painter.width, markup=False
    )
    return Progress(
        MofNCompleteColumn(),
        BarColumn(BAR_COLUMNS, complete_style="cyan", finished_style="green"),
        TextColumn("{task.fields[counts]}", markup=False),
        TimeRemainingColumn(compact=True),
        console=console,
        # The report comes in its place.
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
