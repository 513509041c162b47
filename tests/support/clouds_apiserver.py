"""A real kube-apiserver with etcd, where ``make e2e`` has built them; both on 127.0.0.1 and ended with the block."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support.clouds import TestCa

ADMIN_TOKEN = "admin-of-the-test"
READY_SECONDS = 60.0


def program(name: str) -> Path | None:
    """Return a program that the end-to-end tests have built and cached, None where they have not."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    found = sorted(Path(home).glob(f"slsa-verifier-plugin/peers/{name}-v*/{name}"))
    return found[-1] if found else None


@dataclass(frozen=True)
class ApiServer:
    """A running API, and an administrator's way in."""

    port: int
    ca: Path

    def call(self, method: str, path: str, body: object | None = None) -> dict[str, Any]:
        """Send a request as the administrator.

        Raises:
            requests.HTTPError: the API refused it.
        """
        answer = requests.request(
            method,
            f"https://127.0.0.1:{self.port}{path}",
            json=body,
            headers={"Authorization": f"Bearer {ADMIN_TOKEN}", "Connection": "close"},
            verify=str(self.ca),
            timeout=10,
        )
        answer.raise_for_status()
        value: dict[str, Any] = answer.json()
        return value


@contextmanager
def api_server(directory: Path, etcd: Path, kube_apiserver: Path) -> Iterator[ApiServer]:
    """Run etcd and kube-apiserver with fresh state below ``directory``."""
    ca = TestCa(directory)
    certificate, key = _written(ca, directory)
    accounts = directory / "accounts.key"
    accounts.write_bytes(_private(ec.generate_private_key(ec.SECP256R1())))
    tokens = directory / "tokens.csv"
    tokens.write_text(f'{ADMIN_TOKEN},admin,1,"system:masters"\n')
    client, peer, secure = _free_ports(3)
    with ExitStack() as stack:
        stack.enter_context(
            _running(
                directory / "etcd.log",
                etcd,
                f"--data-dir={directory / 'etcd'}",
                "--unsafe-no-fsync",
                "--log-level=warn",
                f"--listen-client-urls=http://127.0.0.1:{client}",
                f"--advertise-client-urls=http://127.0.0.1:{client}",
                f"--listen-peer-urls=http://127.0.0.1:{peer}",
                f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",
                f"--initial-cluster=default=http://127.0.0.1:{peer}",
            )
        )
        log = directory / "kube-apiserver.log"
        process = stack.enter_context(
            _running(
                log,
                kube_apiserver,
                f"--etcd-servers=http://127.0.0.1:{client}",
                "--bind-address=127.0.0.1",
                "--advertise-address=127.0.0.1",
                "--endpoint-reconciler-type=none",
                "--service-cluster-ip-range=127.96.0.0/24",
                f"--secure-port={secure}",
                f"--tls-cert-file={certificate}",
                f"--tls-private-key-file={key}",
                f"--token-auth-file={tokens}",
                "--authorization-mode=RBAC",
                "--service-account-issuer=https://kubernetes.default.svc",
                f"--service-account-signing-key-file={accounts}",
                f"--service-account-key-file={accounts}",
                "--profiling=false",
            )
        )
        server = ApiServer(secure, ca.file)
        _wait(server, process, log)
        yield server


def _written(ca: TestCa, directory: Path) -> tuple[Path, Path]:
    """Return the files of a server's certificate and key, which kube-apiserver wants apart."""
    both = ca.issue("kubernetes.default.svc").read_text()
    key, _, certificate = both.partition("-----BEGIN CERTIFICATE-----")
    files = directory / "server.crt", directory / "server.key"
    files[0].write_text(f"-----BEGIN CERTIFICATE-----{certificate}")
    files[1].write_text(key)
    return files


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return a key as kube-apiserver reads it: not in PKCS #8."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )


def _free_ports(count: int) -> list[int]:
    """Return ports that were free a moment ago: neither program can be given port 0 and then be asked."""
    with ExitStack() as stack:
        listeners = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [listener.getsockname()[1] for listener in listeners]


@contextmanager
def _running(log: Path, program: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            [program, *arguments], stdin=subprocess.DEVNULL, stdout=output, stderr=output, env={"HOME": "/"}
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def _wait(server: ApiServer, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + READY_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            server.call("GET", "/api/v1/namespaces/default")
        except requests.RequestException:
            time.sleep(0.2)
        else:
            return
    raise AssertionError(f"kube-apiserver is not ready; the end of its log: {log.read_text()[-2000:]}")
