"""Starts and ends the programs that tests talk to; all listen on loopback, on ports that are free."""

from __future__ import annotations

import re
import selectors
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.peers import peer

START_SECONDS = 20.0

_DOCKER_REGISTRY_CONFIG = """\
version: 0.1
log: {accesslog: {disabled: true}}
storage: {inmemory: {}, delete: {enabled: true}}
http: {addr: "127.0.0.1:0"}
"""


@dataclass(frozen=True)
class Registry:
    """A running registry.

    Attributes:
        kind: the peer's name.
        address: ``127.0.0.1:PORT``; it speaks plain HTTP.
        artifact_type: what its referrers report for an artifact of type ``slsla/attestation``.
    """

    kind: str
    address: str
    artifact_type: str


def ended(process: subprocess.Popen[bytes]) -> None:
    """End ``process``, which keeps nothing that is worth a farewell, and close its pipes."""
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    process.kill()  # Ratify would take 6 s over a SIGTERM
    process.wait()


def wait_until_listening(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Return once ``address`` accepts connections; RuntimeError where ``process`` ends or time is over."""
    host, _, port = address.rpartition(":")
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"nothing listens on {address}: {log.read_text()[-2000:]}")


@contextmanager
def in_memory_registry(kind: str, folder: Path) -> Iterator[Registry]:
    """Run one of our two Go servers, which print their address and end with their standard input."""
    log = folder / f"{kind}.log"
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [peer(kind)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, cwd=folder
        )
    try:
        # go-containerregistry reports the config's media type, which oras makes the empty one
        reported = "application/vnd.oci.empty.v1+json" if kind == "ggcr" else "slsla/attestation"
        yield Registry(kind, _first_line(process, log), reported)
    finally:
        ended(process)


def _first_line(process: subprocess.Popen[bytes], log: Path) -> str:
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        line = process.stdout.readline() if selector.select(START_SECONDS) else b""
    if not line:
        raise RuntimeError(f"{process.args!r} did not start: {log.read_text()[-2000:]}")
    return line.decode().strip()


@contextmanager
def docker_registry(folder: Path, environment: Mapping[str, str]) -> Iterator[Registry]:
    """Run Debian's docker-registry, which has no referrers API; it logs the port it was given."""
    config, log = folder / "docker-registry.yml", folder / "docker-registry.log"
    config.write_text(_DOCKER_REGISTRY_CONFIG)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [peer("docker-registry"), "serve", config],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=folder,
            env=environment,
        )
    try:
        yield Registry("docker-registry", _logged_address(process, log), "slsla/attestation")
    finally:
        ended(process)


def _logged_address(process: subprocess.Popen[bytes], log: Path) -> str:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        if found := re.search(r"listening on (127\.0\.0\.1:\d+)", log.read_text()):
            return found[1]
        time.sleep(0.05)
    raise RuntimeError(f"docker-registry did not start: {log.read_text()[-2000:]}")


def free_address() -> str:
    """Return a loopback address whose port was free just now, for programs that cannot choose one."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"
