"""``explain``: what a reason code means, an example, and what to do, without a network."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain

import click
from click.shell_completion import CompletionItem

from slsa_verifier_plugin.checking.status import Status
from slsa_verifier_plugin.cli.lazy import StrictCommand
from slsa_verifier_plugin.cli.options import json_option
from slsa_verifier_plugin.cli.reason_page import CONTRACT, ReasonEntry, entries
from slsa_verifier_plugin.cli.render.painter import Painter
from slsa_verifier_plugin.cli.session import Session, pass_session, tell
from slsa_verifier_plugin.errors import Reason, UsageError
from slsa_verifier_plugin.sinks import json_text
from slsa_verifier_plugin.text import nearest

EPILOG = """\b
Examples:
  slsa-verifier-plugin explain NO_ATTESTATION
  slsa-verifier-plugin explain                      all codes, a line each

\b
Exit status: 0 explained, 2 there is no such code.
"""


def _codes(session: Session, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(str(code)) for code in Reason if code.startswith(incomplete.upper())]


@click.command(cls=StrictCommand, epilog=EPILOG)
@click.argument("code", required=False, shell_complete=_codes)
@json_option
@pass_session
def explain(session: Session, /, code: str | None, as_json: bool) -> int:
    """Say what a reason code of a denial means, with an example and what to do; all codes without one.

    What is printed is docs/reasons.md's, and needs no network. A number is an error code of Ratify's plugin contract.
    """
    known = entries()
    painter = session.painter()
    # All of them, for whoever does not know what there is.
    if code is None:
        width = max(map(len, Reason))
        told = (painter.lines(known[reason].meaning, f"{reason:<{width}}  ", width + 2) for reason in Reason)
        summaries = [{"code": str(item), "summary": known[item].meaning} for item in Reason]
        tell(as_json, lambda: json_text(summaries), chain.from_iterable(told))
        return Status.ADMITTED
    # A code as it stands in a message may have brackets around it, and people write it in lower case.
    name = code.strip("[]().,:; ").upper().replace("-", "_")
    # A whole message is pasted as easily as its end; the last code in it is its own.
    if name not in known and (words := [word for word in re.split(r"[^A-Z_]+", name) if word in known]):
        name = words[-1]
    entry = known.get(name)
    # A code of another version, or a slip.
    if entry is None:
        # Part of a code is near to none by its letters, and may be all that somebody remembers.
        part = next((item for item in known if len(name) > 2 and name in item), "")
        near = nearest(name, known) or part
        hint = f"did you mean {near}?" if near else "'slsa-verifier-plugin explain' lists all"
        raise UsageError(f"there is no reason code '{name[:80]}'; {hint}")
    values = {
        "code": entry.code,
        "steps": entry.steps,
        "summary": entry.meaning,
        "example": entry.example,
        "remedy": entry.remedy,
        "inShort": entry.in_short,
    }
    tell(as_json, lambda: json_text(values), _lines_of(entry, painter))
    return Status.ADMITTED


def _lines_of(entry: ReasonEntry, painter: Painter) -> Iterator[str]:
    is_of_contract = entry.steps == CONTRACT
    where = CONTRACT if is_of_contract else f"step {entry.steps}" if entry.steps else "no step failed"
    yield f"{painter.paint(entry.code, 'bold')}  ({where})"
    # A contract error has a typical cause on the page, a reason has a remedy.
    last = "usually: " if is_of_contract else "to do: "
    for title, text in (("", entry.meaning), ("example: ", entry.example), (last, entry.remedy)):
        # The example of a contract error is its meaning, which is said already.
        if text and not (title == "example: " and text == entry.meaning):
            yield from painter.lines(text, f"  {title}", 4)
