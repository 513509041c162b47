"""How an audit's report is written, in which format and where to, and what makes it a failure."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from slsa_verifier_plugin.checking.status import Decision, status_of
from slsa_verifier_plugin.cli.options import require_folder
from slsa_verifier_plugin.cli.session import Session, say
from slsa_verifier_plugin.errors import UsageError

if TYPE_CHECKING:
    from slsa_verifier_plugin.audit.audit_state import AuditState
    from slsa_verifier_plugin.cli.render.painter import Painter
    from slsa_verifier_plugin.sinks import Encoded


FORMATS = ("table", "json", "sarif", "html", "csv", "junit")
FAIL_ON = {
    "never": frozenset[Decision](),
    "denied": frozenset({Decision.DENIED}),
    "undecided": frozenset({Decision.DENIED, Decision.UNDECIDED}),
}
"""Which decisions make the exit status that of a failure."""


@contextmanager
def opened(options: Mapping[str, Any], session: Session) -> Iterator[Report]:
    """Open where the report goes: standard output, or a file that appears complete or not at all, at the end of the block.

    It is opened before the audit, which may take hours, and not after it.
    """
    path, form, fail_on = options["output"], options["form"], options["fail_on"]
    # Standard output is there already, and is not ours to close.
    if path is None:
        yield Report(form, fail_on, sys.stdout, session.painter())
        return
    from slsa_verifier_plugin.cli.render.painter import Painter

    require_folder(Path(path))
    # What a link points to is replaced, not the link.
    target = Path(os.path.realpath(path))
    # /dev/stdout and pipes are written to as they are; there is nothing to replace.
    is_special = target.exists() and not target.is_file()
    fresh = target if is_special else Path(f"{target}.part")
    try:
        stream = fresh.open("w", encoding="utf-8")
    except OSError as error:
        # The name that was typed, and not that of the part.
        raise UsageError(f"{path} cannot be written: {error.strerror}; name another file") from error
    try:
        with stream:
            # A file has no width and no colours, and is UTF-8 whatever the terminal is.
            yield Report(form, fail_on, stream, Painter(symbols=True))
        if not is_special:
            # Only now, and at once: whoever reads the report in between has the one before.
            fresh.replace(target)
    finally:
        # A report that fails leaves no part behind; after the rename there is none to delete.
        if not is_special:
            fresh.unlink(missing_ok=True)


def put(stream: TextIO, parts: Iterable[Encoded]) -> None:
    """Write a whole document."""
    last = ""
    for part in parts:
        stream.write(part)
        last = part
    # A JSON or SARIF document ends without one; a shell's prompt would stand on its last line.
    if not last.endswith("\n"):
        stream.write("\n")


@dataclass(frozen=True, slots=True)
class Report:
    """How the outcome is written and where to, and what makes it a failure."""

    form: str
    fail_on: str
    stream: TextIO
    painter: Painter

    def write(self, state: AuditState, gaps: tuple[str, ...] = ()) -> int:
        """Write the report on ``state`` and return the exit status; ``gaps`` say what is not in it beside what its runs say."""
        from slsa_verifier_plugin.audit.audit_summary import summary_of

        total, _ = state.counts()
        runs, digest = state.runs, state.fingerprint
        # Each shard has read the same sources; each sentence is told once.
        gaps = (*gaps, *dict.fromkeys(gap for run in runs for gap in run.gaps))
        # What some container runs as well has been looked at.
        looked_at = (name for row in state.rows() for name in (row.image, row.image.partition("@")[0]))
        mentioned = {name for run in runs for name in run.mentioned}.difference(looked_at)
        # Merged states name their verifiers many times; each is shown once, in order.
        names = dict.fromkeys(name for run in runs for name in run.parameters)
        policy = ", ".join(names) or f"policy {digest[:12]}"
        # First the counts, for the report's head; then the rows are read once more to be written: thousands of images are never
        # in memory together.
        summary = summary_of(state.rows(), policy, state.levels, datetime.now(UTC))
        # Images that have not been looked at yet.
        summary.missing = total - summary.images
        summary.gaps, summary.mentioned = gaps, tuple(sorted(mentioned))
        summary.fingerprint, summary.runs = digest, runs
        put(self.stream, self._text(state, summary))
        decisions = {decision for decision, count in summary.decisions.items() if count}
        # What nobody looked at may be anything: --fail-on undecided must not pass over it.
        if summary.is_incomplete:
            decisions.add(Decision.UNDECIDED)
        # What --fail-on does not name counts as admitted for the status.
        return status_of(decisions & FAIL_ON[self.fail_on])

    def _text(self, state: AuditState, summary: Any) -> Iterator[Encoded]:
        from slsa_verifier_plugin.cli.render import render_audit
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
            for text in render_audit.text_of(summary, state.rows(), self.painter):
                yield line(text, "\n")
