"""How an audit's report is written, in which format and where to, and what makes it a failure."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from slsa_verifier_plugin.checking.status import Decision, status_of
from slsa_verifier_plugin.cli.options import require_folder
from slsa_verifier_plugin.cli.session import Session, say
from slsa_verifier_plugin.errors import UsageError

if TYPE_CHECKING:
    from slsa_verifier_plugin.audit.audit_state import AuditState
    from slsa_verifier_plugin.sinks import Encoded


FORMATS = ("table", "json", "sarif", "html", "csv", "junit")
FAIL_ON = {
    "never": frozenset[Decision](),
    "denied": frozenset({Decision.DENIED}),
    "undecided": frozenset({Decision.DENIED, Decision.UNDECIDED}),
}
"""Which decisions make the exit status that of a failure."""


class Output:
    """Where the report goes: standard output, or a file that appears complete or not at all.

    It is opened before the audit, which may take hours, and not after it.
    """

    def __init__(self, path: str | None) -> None:
        self.path = path
        self._stack = ExitStack()
        self._write: Callable[[str], object] = sys.stdout.write

    def __enter__(self) -> Self:
        # Standard output is there already, and is not ours to close.
        if self.path is None:
            return self
        require_folder(Path(self.path))
        # What a link points to is replaced, not the link.
        self._target = Path(os.path.realpath(self.path))
        # /dev/stdout and pipes are written to as they are; there is nothing to replace.
        is_special = self._target.exists() and not self._target.is_file()
        self._fresh = self._target if is_special else Path(f"{self._target}.part")
        if not is_special:
            # A report that fails leaves no part behind; after the rename there is none to delete.
            self._stack.callback(self._fresh.unlink, missing_ok=True)
        try:
            self._file = self._stack.enter_context(self._fresh.open("w", encoding="utf-8"))
        except OSError as error:
            # The name that was typed, and not that of the part.
            raise UsageError(f"{self.path} cannot be written: {error.strerror}; name another file") from error
        self._write = self._file.write
        return self

    def __exit__(self, *arguments: object) -> None:
        self._stack.close()

    def write(self, parts: Iterable[Encoded]) -> None:
        """Write the whole report, and let it appear."""
        last = ""
        for part in parts:
            self._write(part)
            last = part
        # A JSON or SARIF document ends without one; a shell's prompt would stand on its last line.
        if not last.endswith("\n"):
            self._write("\n")
        if self.path is not None and self._fresh != self._target:
            self._file.close()
            # Only now, and at once: whoever reads the report in between has the one before.
            self._fresh.replace(self._target)


@dataclass(frozen=True, slots=True)
class Report:
    """How the outcome is written, and what makes it a failure."""

    form: str
    fail_on: str
    output: Output

    def write(self, session: Session, state: AuditState, gaps: tuple[str, ...] = ()) -> int:
        """Write the report on ``state`` and return the exit status; ``gaps`` say what is not in it beside what its runs say."""
        from slsa_verifier_plugin.audit.audit_summary import summary_of

        total, _ = state.counts()
        # Rows are read anew to be counted and to be written: thousands of images are never in memory together.
        seen = sum(1 for _ in state.rows())
        runs, digest = state.runs, state.fingerprint
        # Each shard has read the same sources; each sentence is told once.
        gaps = (*gaps, *dict.fromkeys(gap for run in runs for gap in run.gaps))
        # What some container runs as well has been looked at.
        looked_at = (name for row in state.rows() for name in (row.image, row.image.partition("@")[0]))
        mentioned = {name for run in runs for name in run.mentioned}.difference(looked_at)
        # Merged states name their verifiers many times; each is shown once, in order.
        names = dict.fromkeys(name for run in runs for name in run.parameters)
        policy = ", ".join(names) or f"policy {digest[:12]}"
        # First the counts, for the report's head; then the rows are read once more to be written.
        counted = summary_of(state.rows(), policy, state.levels, datetime.now(UTC), total - seen, gaps)
        summary = replace(counted, fingerprint=digest, runs=runs, mentioned=tuple(sorted(mentioned)))
        self.output.write(self._text(session, state, summary))
        decisions = {decision for decision, count in summary.decisions.items() if count}
        # What nobody looked at may be anything: --fail-on undecided must not pass over it.
        if summary.is_incomplete:
            decisions.add(Decision.UNDECIDED)
        # What --fail-on does not name counts as admitted for the status.
        return status_of(decisions & FAIL_ON[self.fail_on])

    def _text(self, session: Session, state: AuditState, summary: Any) -> Iterator[Encoded]:
        from slsa_verifier_plugin.cli.render import render_audit
        from slsa_verifier_plugin.cli.render.painter import Painter
        from slsa_verifier_plugin.sinks import line

        # Imported here: jinja2 takes some 70 ms that the other formats need not wait for.
        if self.form == "html":
            from slsa_verifier_plugin.cli.render.render_html import page_of

            yield from page_of(summary, state.rows())
        elif self.form == "json":
            yield from render_audit.json_of(summary, state.rows())
        # Not in parts: each result points into the list of rules, which is known only at the end.
        elif self.form == "sarif":
            yield render_audit.audit_sarif(state.rows(), render_audit.remarks(summary))
        elif self.form == "csv":
            yield from render_audit.csv_of(state.rows())
            # Its lines are images. To the report's reader the list looks whole, so it is said beside it.
            for remark in render_audit.remarks(summary):
                say(remark, error=True)
        elif self.form == "junit":
            yield from render_audit.audit_junit(summary, state.rows())
        else:
            # A file has no width and no colours, and is UTF-8 whatever the terminal is.
            painter = session.painter() if self.output.path is None else Painter(symbols=True)
            for text in render_audit.text_of(summary, state.rows(), painter):
                yield line(text, "\n")
