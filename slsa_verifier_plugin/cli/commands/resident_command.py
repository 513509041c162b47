"""``resident``: the verifier that stays warm between calls of Ratify."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from functools import cache, partial
from typing import TYPE_CHECKING

import click

from slsa_verifier_plugin.checking.status import Status
from slsa_verifier_plugin.cli.lazy import StrictGroup
from slsa_verifier_plugin.cli.options import flag, json_option
from slsa_verifier_plugin.cli.session import Session, pass_session, say, tell

if TYPE_CHECKING:
    from slsa_verifier_plugin.node.decision import ImageDecider
    from slsa_verifier_plugin.resident.protocol import Answer, Request
    from slsa_verifier_plugin.service.service import Service


@click.group(cls=StrictGroup)
def resident() -> None:
    """Start, stop and look at the verifier that stays warm between Ratify's calls.

    The first call of Ratify starts it by itself; 'verify' of one image asks it where it runs. There is one for each user, build
    and environment: a shell whose settings (proxies, credentials, HOME) differ from Ratify's does not see Ratify's.
    """


@resident.command(short_help="Show whether it runs, its calls, memory and latest errors.")
@json_option
@pass_session
def status(session: Session, /, as_json: bool) -> int:
    """Show whether the resident verifier runs, and what it says of itself. Exit status 0 if it answers, else 1."""
    from slsa_verifier_plugin.cli.render import render_resident
    from slsa_verifier_plugin.resident.client import manage

    found = manage.status(session.environ)
    lines = render_resident.text_of(found, session.painter())
    tell(as_json, lambda: render_resident.json_of(found), lines)
    return Status.ADMITTED if found.report is not None else Status.DENIED


@resident.command(short_help="Start it and wait until it is warm.")
@pass_session
def start(session: Session, /) -> int:
    """Start the resident verifier and wait until it is warm."""
    from slsa_verifier_plugin.resident.client import manage

    environ = session.environ
    started = manage.start(environ, start_command(environ))
    verb = "runs already" if started.was_running else "started"
    say(f"the resident verifier {verb}: process {started.status.pid}, {started.status.directory}")
    return Status.ADMITTED


@resident.command(short_help="Stop it after the calls that it has accepted.")
@pass_session
def stop(session: Session, /) -> int:
    """Stop the resident verifier after the calls that it has accepted."""
    from slsa_verifier_plugin.resident.client import manage

    stopped = manage.stop(session.environ)
    if stopped.pid is None:
        say("no resident verifier runs")
    else:
        how = "killed, for it did not end by itself" if stopped.killed else "stopped"
        say(f"the resident verifier (process {stopped.pid}) was {how}")
    return Status.ADMITTED


@resident.command(short_help="Be the resident verifier, in the foreground.")
@flag("--detached", "Write nothing; used by the plugin when it starts one.")
@pass_session
def serve(session: Session, /, detached: bool) -> int:
    """Be the resident verifier, in the foreground, until it is stopped or has been idle for an hour."""
    from slsa_verifier_plugin.resident import protocol
    from slsa_verifier_plugin.resident.server.server import serve as run
    from slsa_verifier_plugin.resident.spawn import server_environment
    from slsa_verifier_plugin.service.resident_service import ResidentService

    # The same cleaning as for one that a call starts: else this one would answer to another key.
    environ = server_environment(session.environ)
    # SDKs read the process's own environment: what does not key this verifier must not reach another caller's credentials.
    for name in set(os.environ) - set(environ):
        del os.environ[name]
    checks = {protocol.CHECK: _check_image, protocol.REPORT: _report_image}
    service = ResidentService(environ, checks=checks)
    # Until a signal or the idle limit; what it kept goes with it.
    run(service, environ, echo=None if detached else partial(say, error=True))
    service.close()
    # os._exit leaves out the flush that Python does at its end.
    sys.stdout.flush()
    # A verification that loops in a thread must not keep the process.
    os._exit(Status.ADMITTED)


# One for the process: it keeps the policies of the folders that it has read.
@cache
def _decider() -> ImageDecider:
    """Return what decides about images; loaded at the first of them, for whoever starts this waits for its socket."""
    from slsa_verifier_plugin.node.decision import ImageDecider

    return ImageDecider()


def _check_image(service: Service, request: Request, elapsed: float) -> Answer:
    return _decider().answer(service, request, elapsed)


def _report_image(service: Service, request: Request, elapsed: float) -> Answer:
    # Loaded with the first such question: Ratify's calls never need it.
    from slsa_verifier_plugin.cli.through_resident import answer

    return answer(service, request, elapsed)


def start_command(environ: Mapping[str, str]) -> list[str]:
    """Return the command that runs a resident verifier of this very build."""
    from slsa_verifier_plugin.cli.plugin_file import one_file
    from slsa_verifier_plugin.plugin import START

    # The one-file plugin starts itself: there is no interpreter beside it.
    if executable := one_file(environ):
        return [executable, "resident", "serve", "--detached"]
    return list(START)
