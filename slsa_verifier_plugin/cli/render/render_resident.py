"""How the resident verifier's state is shown."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

from slsa_verifier_plugin.cli.render.painter import Painter
from slsa_verifier_plugin.members import at, list_at, object_at, text_at
from slsa_verifier_plugin.resident.client.manage import ResidentStatus
from slsa_verifier_plugin.sinks import Json, json_text
from slsa_verifier_plugin.text import plain

_MIB = 1 << 20
_SHOWN_ERRORS = 5


def json_of(status: ResidentStatus) -> Json:
    """Return the state as JSON; ``report`` is the verifier's own word, null where it gives none."""
    document = {
        "directory": status.directory,
        "listens": status.listens,
        "pid": status.pid,
        "problem": status.problem,
        "report": status.report,
    }
    return json_text(document)


def text_of(status: ResidentStatus, painter: Painter) -> Iterator[str]:
    """Yield the lines for people."""
    report = status.report
    # It listens and does not answer, or it does not run: the problem says which.
    if report is None:
        yield f"{painter.mark('warning')} {plain(status.problem, 512)}"
        yield f"  directory   {plain(status.directory, 512)}"
        return
    warm = "warm" if report.get("warm") else "warming up"
    yield f"{painter.mark('passed')} the resident verifier runs: process {status.pid}, version {_of(report, 'version')}, {warm}"
    yield f"  directory   {plain(status.directory, 512)}"
    uptime = report.get("uptimeSeconds")
    # Each fact stands alone: what a report lacks is left out, and the others are shown.
    if isinstance(uptime, int):
        yield f"  uptime      {_duration(uptime)}"
    # The names are the server's own, whatever version it is of.
    if calls := object_at(report, "calls"):
        counts = ", ".join(f"{plain(name)} {plain(count)}" for name, count in calls.items())
        yield f"  calls       {counts}; {_of(report, 'waiting')} waiting, {_of(report, 'running')} running"
    memory, limit = report.get("memoryBytes"), report.get("memoryLimitBytes")
    if isinstance(memory, int) and isinstance(limit, int):
        yield f"  memory      {memory // _MIB} MiB of {limit // _MIB} MiB"
    # A resident verifier of another version may say less, or otherwise; what it does say is shown.
    service = object_at(report, "service")
    # Of one processor or worker there is none, and it says so.
    if "signatureProcess" in service:
        yield f"  signatures  {_of(service, 'signatureProcess')}"
    for name, usage in object_at(service, "caches").items():
        yield f"  cache       {plain(name)}: {_of(usage, 'hits')} hits, {_of(usage, 'misses')} misses, {_kib(usage)} KiB"
    for root in list_at(service, "loadedRoots"):
        yield from painter.lines(
            f"{_of(root, 'source')} in use: of {_of(root, 'date')}{_age(root)}, sha256:{_of(root, 'digest')}",
            "  root        ",
            14,
        )
    for problem in list_at(service, "unusableRoots"):
        yield from painter.lines(plain(str(problem), 512), f"  {painter.mark('warning')} ", 4)
    for root in list_at(service, "trustedRoots"):
        yield from _root(root, painter)
    # The latest: earlier ones are in its log.
    for error in list_at(report, "latestErrors")[-_SHOWN_ERRORS:]:
        yield from painter.lines(str(error), f"  {painter.mark('warning')} ", 4)


def _root(root: Any, painter: Painter) -> Iterator[str]:
    refreshed = f"refreshed {_of(root, 'refreshed')}" if at(root, "refreshed") else "not refreshed yet"
    problem = f"; {_of(root, 'error')}" if at(root, "error") else ""
    yield from painter.lines(f"{_of(root, 'source')}: {refreshed}{problem}", "  root        ", 14)


def _age(root: Any) -> str:
    try:
        days = (datetime.now(UTC).date() - date.fromisoformat(text_at(root, "date"))).days
    # The date is the resident verifier's word, and one of another version may write it otherwise.
    except ValueError:
        return ""
    return f" ({days} days old)"


def _kib(usage: Any) -> int:
    held = at(usage, "bytes")
    return held // 1024 if isinstance(held, int) else 0


def _duration(seconds: int) -> str:
    minutes, hours, days = seconds // 60 % 60, seconds // 3600 % 24, seconds // 86400
    parts = ((days, "d"), (hours, "h"), (minutes, "min"), (seconds % 60, "s"))
    return " ".join(f"{count} {unit}" for count, unit in parts if count) or "0 s"


def _of(values: Any, name: str) -> str:
    # A resident verifier of another version may not have the member, or something else in the place of the object.
    return plain(object_at(values).get(name, "?"), 512)
