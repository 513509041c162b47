"""Runs the provider: reads policies and certificates, opens both ports, answers, and ends gracefully."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
import sys
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from types import FrameType

import uvloop
from uvicorn import Config, Server

from slsa_verifier_plugin.errors import UsageError
from slsa_verifier_plugin.provider.connections import BoundedProtocol, Guard, Listener
from slsa_verifier_plugin.provider.decision_log import DecisionLog, Write
from slsa_verifier_plugin.provider.decisions import Decisions
from slsa_verifier_plugin.provider.http_application import Application, State
from slsa_verifier_plugin.provider.policy_sets import PolicySet, files_in, load_policies
from slsa_verifier_plugin.provider.provider_metrics import ProviderMetrics
from slsa_verifier_plugin.provider.provider_settings import Address, ProviderLimits, ProviderSettings
from slsa_verifier_plugin.provider.reloading import Reloader, look_out
from slsa_verifier_plugin.provider.tls_files import TlsContext, load_tls
from slsa_verifier_plugin.resident.server.housekeeping import (
    release_memory,
    resident_bytes,
    share_arenas,
    widen_descriptor_table,
)
from slsa_verifier_plugin.service.resident_service import ResidentService
from slsa_verifier_plugin.text import plain

SEND_BUFFER = 128 << 10
"""Bytes that the system keeps of an answer; it would grow to megabytes of the Pod's memory for a client that takes nothing."""
BACKLOG = 1024
"""Connections that the system holds until they are accepted."""
REINFORCE_SECONDS = 0.25
"""Seconds between two looks for work that takes long, so that others may work in its place, and for clients to part from."""
STACK_BYTES = 1 << 20
SWITCH_SECONDS = 0.001
"""A thread that verifies keeps the interpreter no longer than this while another wants it: the one that answers."""
MEMORY_SECONDS = 2.0
"""Seconds between two looks at the memory in use."""
ROOMY_BYTES = 96 << 20
"""Resident set from which on free memory is given back; an idle server has some 80 MiB."""
MOST_BYTES = 128 << 20
"""Resident set from which on nothing is kept for speed: with the process for signatures it stays below 150 MiB."""


class Files:
    """The policies and the TLS context in use. Each is replaced as a whole, by the thread that watches the files."""

    def __init__(
        self, settings: ProviderSettings, service: ResidentService, metrics: ProviderMetrics
    ) -> None:
        self.settings = settings
        self.service = service
        self.metrics = metrics
        self.policies = PolicySet({})
        self.tls: TlsContext | None = None
        named = settings.policies
        self.reloaders = (
            # The folders too, for what is added to them.
            Reloader("policies", lambda: [*named, *files_in(named)], self._load_policies),
            Reloader("tls", lambda: settings.tls.paths, self._load_tls),
        )

    def problems(self) -> list[str]:
        """Return why nothing can be admitted, or not all that should be."""
        problems = self.policies.root_problems()
        if self.tls is not None and self.tls.ends <= datetime.now(UTC):
            problems.append(
                f"the server's certificate ended on {self.tls.ends:%Y-%m-%d}, and no client connects to it"
            )
        return [plain(problem, 512) for problem in problems]

    def _load_policies(self) -> tuple[str, ...]:
        settings = self.settings
        self.policies = load_policies(settings.policies, settings.namespaced, self.service.service)
        # Roots are loaded now, not while a Pod waits; one that cannot be used keeps the server from being ready.
        self.policies.root_problems()
        return self.policies.remarks

    def _load_tls(self) -> tuple[str, ...]:
        self.tls = load_tls(self.settings.tls)
        self.metrics.certificates(self.tls.expiries)
        return ()


class ProviderServer(Server):
    """uvicorn's server without sockets of its own. It ends in two steps: it first tells clients to leave, then it stops.

    Made on the event loop that it answers on, which signals come to.

    Args:
        config: uvicorn's.
        state: told that it ends.
        drain_seconds: time between the two steps, in which whoever still comes is answered.
    """

    def __init__(self, config: Config, state: State, drain_seconds: float) -> None:
        super().__init__(config)
        self._state = state
        self._drain_seconds = drain_seconds
        self._accepting: list[asyncio.Task[None]] = []
        self._loop = asyncio.get_running_loop()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to end; a second signal ends at once. Replaces uvicorn's own, which would close every connection now."""
        # A second signal is somebody who will not wait.
        if self._state.is_stopping:
            self.should_exit = True
            return
        self._state.is_stopping = True
        # Ctrl-C is a person who waits; SIGTERM is a kubelet, while Services still send requests here for a while.
        seconds = 0.0 if sig == signal.SIGINT else self._drain_seconds
        # A signal's handler may run at any moment of the loop: of the loop's methods only this one is made for that.
        self._loop.call_soon_threadsafe(self._loop.call_later, seconds, self._end)

    def accept(self, *listeners: Listener) -> None:
        """Have connections accepted from now on, until ``leave``."""
        self._accepting += [asyncio.create_task(listener.run()) for listener in listeners]

    def leave(self) -> None:
        """Accept no more connections."""
        for task in self._accepting:
            task.cancel()

    def _end(self) -> None:
        self.leave()
        self.should_exit = True


def serve(settings: ProviderSettings, environ: Mapping[str, str], write: Write) -> None:
    """Answer until a signal ends it.

    Args:
        settings: what the command line asked for.
        environ: the process's environment, for credentials, proxies and trusted roots.
        write: where the log goes.

    Raises:
        UsageError: the settings, policies or certificates are not valid, or an address is not to be had.
    """
    settings.check()
    metrics = ProviderMetrics()
    service = ResidentService(environ)
    files = Files(settings, service, metrics)
    # Files that are broken end the start here: there are none from before that could count.
    remarks = [remark for reloader in files.reloaders for remark in reloader.begin()]
    listener = _bound(settings.listen, "--listen")
    health = _bound(settings.health, "--health-listen")
    widen_descriptor_table()
    # Before any thread: the process beside this one is a fork of it, which closes what it inherits.
    service.warm_up()
    # Verifications take little stack; a hundred threads of the usual size would look like a leak.
    threading.stack_size(STACK_BYTES)
    sys.setswitchinterval(SWITCH_SECONDS)
    share_arenas()
    log = DecisionLog(write, metrics.unlogged.inc)
    metrics.follow(service.service.usage)
    log.remarks(remarks)
    ended = threading.Event()
    watched = (files.reloaders, log, metrics, ended)
    # What libraries say becomes lines of ours: a line of another form is lost to whoever reads this log.
    logging.basicConfig(handlers=[_Handler(log)], level=logging.WARNING, force=True)
    # uvicorn's own has a level, so that the root's does not count.
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    try:
        threading.Thread(target=look_out, args=watched, name="look-out", daemon=True).start()
        uvloop.run(_answer(files, log, listener, health))
    finally:
        ended.set()
        service.close()
        log.event("stopped")
        log.close()


async def _answer(files: Files, log: DecisionLog, listener: socket.socket, health: socket.socket) -> None:
    """Answer until told to end."""
    settings, service, metrics = files.settings, files.service, files.metrics
    state = State(files.problems, settings.limits)
    decisions = Decisions(settings, lambda: files.policies, service.working, log, metrics)
    application = Application(decisions, state, metrics, log)
    config = _config(application.provider, settings.limits)
    probes = _config(application.health, settings.limits)
    server = ProviderServer(config, state, settings.drain_seconds)
    guard, other = (Guard(settings.limits, metrics, name) for name in ("provider", "health"))
    server.accept(
        Listener(listener, config, lambda: files.tls, server.server_state, guard),
        Listener(health, probes, lambda: None, server.server_state, other),
    )
    # The provider's guard alone: nobody shows a certificate at the door for health.
    chores = [
        asyncio.create_task(_look_after(files, decisions, guard)),
        asyncio.create_task(_keep_small(decisions, service)),
    ]
    log.event(
        "listening",
        address=_shown(listener),
        health=_shown(health),
        clientCertificates=bool(settings.tls.client_ca),
        namespaced=settings.namespaced,
    )
    # What is loaded by now lives as long as the process: the collector need not look at it again.
    gc.freeze()
    try:
        # Without sockets: the listeners above accept, and uvicorn's server only waits for the end.
        await server.serve(sockets=[])
    finally:
        for chore in chores:
            chore.cancel()
        server.leave()
        decisions.close()


async def _look_after(files: Files, decisions: Decisions, guard: Guard) -> None:
    while True:
        await asyncio.sleep(REINFORCE_SECONDS)
        decisions.reinforce()
        if files.tls is not None:
            guard.end_others(files.tls.clients)


def _config(application: object, limits: ProviderLimits) -> Config:
    """Return uvicorn's settings for one application."""
    config = Config(
        application,  # type: ignore[arg-type]
        http=BoundedProtocol,
        ws="none",
        lifespan="off",
        # Lines of uvicorn's own form would be lost to whoever reads the log (``_Handler``).
        log_config=None,
        access_log=False,
        # Nobody's headers say who the client is, and ours do not say who we are.
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=limits.idle_seconds,
        timeout_graceful_shutdown=limits.stop_seconds,
    )
    config.load()
    return config


async def _keep_small(decisions: Decisions, service: ResidentService) -> None:
    """Give free memory back to the system, and what is kept only for speed where that is not enough.

    Thousands of connections that came and went leave their heaps behind; a look costs one or two milliseconds.
    """
    while True:
        await asyncio.sleep(MEMORY_SECONDS)
        # Giving back first: most of it is free memory that the allocator keeps.
        if (resident_bytes() or 0) > ROOMY_BYTES:
            release_memory()
        # What is kept can be made again; a Pod that is killed for its memory answers nobody.
        if (resident_bytes() or 0) > MOST_BYTES:
            service.trim()
            decisions.trim()
            release_memory()


def _bound(address: Address, option: str) -> socket.socket:
    """Return a listening socket.

    Raises:
        UsageError: the address is not to be had.
    """
    try:
        found = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, kind, protocol, _, place = found[0]
        listener = socket.socket(family, kind, protocol)
        try:
            # A restarted container finds the port in TIME_WAIT.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
            listener.bind(place)
            listener.listen(BACKLOG)
        # The socket would stay open until the collector comes by.
        except OSError:
            listener.close()
            raise
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise UsageError(f"{option} {address} cannot be listened on: {reason}") from error
    listener.setblocking(False)
    return listener


def _shown(listener: socket.socket) -> str:
    place = listener.getsockname()
    return str(Address(str(place[0]), int(place[1])))


class _Handler(logging.Handler):
    """Turns a record into a line of the log.

    Only words of this package, uvicorn and asyncio are repeated, and no traceback: what others say may hold what a registry or a
    client sent.
    """

    def __init__(self, log: DecisionLog) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Log the record's own words, and of an exception its kind."""
        is_known = record.name.partition(".")[0] in ("slsa_verifier_plugin", "uvicorn", "asyncio")
        words = (
            plain(record.getMessage(), 400) if is_known else f"a {record.levelname.lower()} of {record.name}"
        )
        kind = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else None
        self._log.event("library", message=words, **({"exception": kind} if kind else {}))
