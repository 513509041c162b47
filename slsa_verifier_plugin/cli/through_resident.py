"""Lets a resident verifier that runs answer ``verify`` for one image or file, where a process of its own would say the same.

The caller reads the files that it names and sends their content. The verifier does what ``verify`` does, with its warm caches,
and returns the text to print. The caller verifies by itself wherever the answer could differ, or where there is none: for
several images, a layout, an artifact, an error, an undecided image (a registry's failure aside), more bytes than a frame holds,
and where the verifier has other rights, files or networks. So the verifier's errors are never shown, and nobody keeps a verdict.

``verify`` starts no verifier: it would save 0.4 s, which is less than a start costs, and somebody who runs one command, perhaps
in CI, would be left with a process that stays for an hour. ``resident start`` and Ratify's calls start one.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slsa_verifier_plugin.checking.demands import Demands
from slsa_verifier_plugin.checking.status import LISTING_SECONDS, Decision, Status, status_of
from slsa_verifier_plugin.cli.render.painter import Painter
from slsa_verifier_plugin.cli.verifying import Inputs, Look, rendered, reports_on
from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import ContractError, UsageError, VerifierError
from slsa_verifier_plugin.resident import protocol
from slsa_verifier_plugin.resident.protocol import Answer, Request
from slsa_verifier_plugin.resources.named_files import STANDARD_INPUT, NamedFile, Read

if TYPE_CHECKING:
    from slsa_verifier_plugin.service.service import Service

SPARE_SECONDS = 5.0
"""For the wait in the verifier, beside the time that a process of its own would have."""
DECLINED: Answer = (Status.USAGE, b"", b"")
"""Says that the caller must verify by itself. It has no proof, as the lines that a client prints by itself have none."""
_PRINTED = re.compile(r"(?:[^\x00-\x09\x0b-\x1f\x7f-\x9f]|\033\[[0-9;]*m)*")
"""What ``verify`` prints: text, the ends of lines, and colours."""


def ask(
    environ: Mapping[str, str], inputs: Inputs, demands: Demands, look: Look, read: Read
) -> tuple[int, str] | None:
    """Return the exit status and what is to be printed, from a resident verifier; None where the caller must verify by itself.

    Args:
        environ: the process's environment.
        inputs: what is verified.
        demands: what is expected of it.
        look: how it is shown.
        read: reads the files that are named, each once: standard input cannot be read again.
    """
    from slsa_verifier_plugin.resident.client.client import ask_running

    # From here on: reading a slow file or pipe takes up the call's time as well.
    started = time.monotonic()
    # One image, or a file: what else a name may stand for is found out where it is verified.
    is_file = inputs.bundle is not None and (inputs.bundle == STANDARD_INPUT or Path(inputs.bundle).is_file())
    if len(inputs.images) > 1 or inputs.layout is not None or not (inputs.bundle is None or is_file):
        return None
    # Two that would both be standard input: the error is found there, too.
    if inputs.bundle == demands.policy == STANDARD_INPUT:
        return None
    names = [name for name in (demands.policy, inputs.bundle) if name is not None]
    try:
        files = {name: read(name) for name in names}
    # The process of its own meets the same error (ReadOnce keeps it), and tells it.
    except UsageError:
        return None
    # As long as listing an image may take or the person allows, and the wait for a turn.
    seconds = max(LISTING_SECONDS, demands.seconds or 0.0) + SPARE_SECONDS
    told = {
        # Whether it is a file is found out here: the verifier looks for no file by a caller's name.
        "inputs": {**asdict(inputs), "at": inputs.at and inputs.at.isoformat(), "is_file": is_file},
        "demands": asdict(demands),
        "look": asdict(look),
        "files": [
            [name, len(content), shown, str(folder)] for name, (content, shown, folder) in files.items()
        ],
        # The verifier compares this with its own, and declines where they differ.
        "standing": standing(),
    }
    # In the order of "files", whose sizes cut them apart again.
    content = b"".join(file[0] for file in files.values())
    # A name on the command line need not be UTF-8.
    image = os.fsencode(inputs.images[0]) if inputs.images else b""
    fields = (json.dumps(told).encode(), image, b"%d" % round(seconds * 1000), content)
    answer = ask_running(environ, protocol.Question(protocol.REPORT, fields, seconds), started)
    # The lines that a client prints by itself have the status 0, which would admit; they have no proof.
    if answer is None or answer[2] != _proof(fields):
        return None
    status, printed, _ = answer
    try:
        text = printed.decode()
    # A verifier prints UTF-8: this is something else that listens there.
    except UnicodeDecodeError:
        return None
    # Any process of this user may listen there. What it says moves no cursor, and is no status but a verdict's.
    is_shown = status in (Status.ADMITTED, Status.DENIED, Status.UNDECIDED) and _PRINTED.fullmatch(text)
    return (status, text) if text and is_shown else None


def answer(service: Service, request: Request, elapsed: float) -> Answer:
    """Return the answer to a REPORT: what is to be printed, with its exit status and the proof of what was asked.

    Args:
        service: makes policies, signature verifiers and stores.
        request: of a REPORT.
        elapsed: seconds of the call's time that are used already.
    """

    told = json.loads(request[1] or b"{}")
    # With other rights, files or networks the caller may come to another verdict.
    if told["standing"] != standing():
        return DECLINED
    demands = _demands(told["demands"])
    # Less what the question has waited: the caller counts from its own start.
    left = protocol.asked_seconds(protocol.REPORT, request) - elapsed
    within = Deadline(min(max(LISTING_SECONDS, demands.seconds or 0.0), left))
    inputs, look, read = _inputs(told["inputs"]), _look(told["look"]), _reader(told["files"], request[4])
    try:
        reports = reports_on(inputs, demands, service, read, within)
    # A process of its own says what is wrong.
    except (ContractError, UsageError, VerifierError):
        return DECLINED
    # What was not decided may be for want of this verifier's own time or room.
    undecided = [report for report in reports if report.decision is Decision.UNDECIDED]
    if within.expired() or not all(report.reason.startswith("REGISTRY_") for report in undecided):
        return DECLINED
    printed = "".join(rendered(reports, look, inputs.bundle)).encode()
    made = status_of(report.decision for report in reports), printed, _proof(request[1:])
    try:
        # Encoded to find out; the server encodes it once more when it answers.
        protocol.encode_answer(made)
    # A caller that verifies by itself may print more than a frame holds.
    except protocol.FrameError:
        return DECLINED
    return made


def standing() -> list[object]:
    """Return what tells this process's rights, files and networks. A verifier with others may come to another answer."""
    # Mounts decide which files are read, networks which registry answers, users what an id means.
    links = []
    for name in ("mnt", "net", "user"):
        try:
            links.append(str(Path(f"/proc/self/ns/{name}").readlink()))
        except OSError:  # no /proc: of neither, or the two differ
            links.append("")
    # A changed root directory shows in no namespace.
    root = Path("/").stat()
    # Sorted: groups mean the same in any order.
    ids = [*os.getresuid(), *os.getresgid(), *sorted(os.getgroups())]
    return [links, ids, root.st_dev, root.st_ino, _capabilities()]


def _capabilities() -> str:
    # Root in a container may have fewer capabilities than root outside of it.
    try:
        with Path("/proc/self/status").open(encoding="ascii", errors="replace") as file:
            return next((line for line in file if line.startswith("CapEff:")), "")
    except OSError:
        return ""


def _proof(fields: tuple[bytes | None, ...]) -> bytes:
    """Return the digest of a question's fields. Only an answer that has it is an answer to this question."""
    whole = hashlib.sha256()
    for value in fields:
        # The length goes first, so that no byte can move from one field to the next unnoticed.
        whole.update(b"%d," % len(value or b"") + (value or b""))
    return whole.digest()


def _reader(listed: list[list[Any]], content: bytes) -> Read:
    files: dict[str, NamedFile] = {}
    at = 0
    for name, size, shown, folder in listed:
        files[name] = (content[at : at + size], shown, Path(folder))
        at += size
    # Nothing else is read here by a name that the caller gave.
    return files.__getitem__


def _inputs(told: dict[str, Any]) -> Inputs:
    at = told["at"] and datetime.fromisoformat(told["at"])
    # JSON has lists where the values have tuples.
    return replace(Inputs(**told), images=tuple(told["images"]), at=at)


def _demands(told: dict[str, Any]) -> Demands:
    return replace(Demands(**told), artifact_types=tuple(told["artifact_types"]))


def _look(told: dict[str, Any]) -> Look:
    return replace(Look(**told), painter=Painter(**told["painter"]))
