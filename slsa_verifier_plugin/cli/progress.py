"""A progress bar with a live count, on standard error and only on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from slsa_verifier_plugin.checking.status import Decision

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

    from slsa_verifier_plugin.audit.auditor import Show
    from slsa_verifier_plugin.cli.session import Session

BAR_COLUMNS = 24


@contextmanager
def bar(session: Session) -> Iterator[Show]:
    """Show how far an audit is, for the length of a ``with`` block; yields what is called with it, some times a second.

    Shows nothing where standard error is no terminal, and only numbers: no foreign text reaches the terminal past the sinks.

    Args:
        session: says whether there are colours.
    """
    # rich is imported only for a terminal. A dumb one cannot redraw a line: each update would be a new one.
    if not sys.stderr.isatty() or session.environ.get("TERM") == "dumb":
        yield lambda *_: None
        return
    # rich gives the terminal back at the end of the block, after an interrupt too.
    with _progress(session) as drawn:
        # The total comes with the first call.
        task = drawn.add_task("", total=None, counts="")

        def show(total: int, done: int, decisions: Mapping[Decision, int]) -> None:
            # All three words at all times, so that the line does not jump.
            counts = " ".join(f"{decisions.get(decision, 0)} {decision}" for decision in Decision)
            drawn.update(task, total=total, completed=done, counts=counts)

        yield show


def _progress(session: Session) -> RichProgress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    painter = session.painter(sys.stderr)
    # bar has asked whether this is a terminal, so rich need not guess.
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
