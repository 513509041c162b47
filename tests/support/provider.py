"""A provider in a process of its own, asked as Gatekeeper asks."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPResponse, HTTPSConnection
from pathlib import Path
from typing import Any

import psutil

from tests.support.certificates import Authority, Pair
from tests.support.command_line import ROOT

START_SECONDS = 60
ASK_SECONDS = 30
VERIFY, MUTATE = "v1/verify", "v1/mutate"
API_VERSION = "externaldata.gatekeeper.sh/v1beta1"

STORE = {
    "apiVersion": "config.ratify.deislabs.io/v1beta1",
    "kind": "Store",
    "metadata": {"name": "store-oras"},
    "spec": {"name": "oras", "parameters": {"useHttp": True, "cacheEnabled": True, "ttl": 10}},
}
"""The store of deploy/, by plain HTTP."""


def store(**parameters: Any) -> dict[str, Any]:
    """Return a Store by plain HTTP with other parameters."""
    return {**STORE, "spec": {"name": "oras", "parameters": {"useHttp": True, **parameters}}}


def policy_resource(**rules: str) -> dict[str, Any]:
    """Return a Policy with rules by artifact type; ``slsla`` stands for the type of the tests' attestations."""
    named = {("slsla/attestation" if kind == "slsla" else kind): rule for kind, rule in rules.items()}
    return {
        "apiVersion": "config.ratify.deislabs.io/v1beta1",
        "kind": "Policy",
        "metadata": {"name": "ratify-policy"},
        "spec": {"type": "config-policy", "parameters": {"artifactVerificationPolicies": named}},
    }


@dataclass(frozen=True)
class Reply:
    """What came back: the status, the headers, and the answer's own parts."""

    status: int
    headers: Mapping[str, str]
    body: dict[str, Any]

    @property
    def items(self) -> list[dict[str, Any]]:
        """The items, one a key."""
        found: list[dict[str, Any]] = self.body["response"]["items"]
        return found

    @property
    def system_error(self) -> str:
        """What kept the whole request from being answered."""
        return str(self.body["response"]["systemError"])


def said(item: Mapping[str, Any]) -> str:
    """Return what an item decides in a word: ``admitted``, ``denied REASONS``, or ``error ...``."""
    if item.get("error"):
        assert "value" not in item
        return f"error {item['error']}"
    value = item["value"]
    if value["isSuccess"] is True:
        return "admitted"
    reasons = {report["extensions"]["reason"] for report in value["verifierReports"]}
    return f"denied {' '.join(sorted(reasons))}"


@dataclass
class Running:
    """A provider that listens.

    Attributes:
        process: the server's.
        address: host and port of its HTTPS.
        health: of its plain HTTP.
        log: its lines, as they come.
        client: asks; None where no certificate is demanded.
    """

    process: subprocess.Popen[bytes]
    address: str
    health: str
    log: Path
    authority: Authority
    client: Pair | None
    own: dict[str, Any] = field(default_factory=dict)

    @property
    def place(self) -> tuple[str, int]:
        """Host and port of its HTTPS."""
        host, _, port = self.address.rpartition(":")
        return host, int(port)

    def context(self, client: Pair | None = None) -> ssl.SSLContext:
        """Return a client's TLS context."""
        context = ssl.create_default_context(cafile=str(self.authority.root))
        shown = client or self.client
        if shown is not None:
            context.load_cert_chain(shown.certificate, shown.key)
        return context

    def ask(self, *keys: str, path: str = VERIFY, body: bytes | None = None) -> Reply:
        """Send one ProviderRequest on a connection of its own."""
        with self.connection() as connection:
            return self.ask_on(connection, keys, path, body)

    @contextmanager
    def connection(self, client: Pair | None = None) -> Iterator[HTTPSConnection]:
        """Open a connection that is kept alive."""
        connection = HTTPSConnection(*self.place, timeout=ASK_SECONDS, context=self.context(client))
        try:
            yield connection
        finally:
            connection.close()

    def ask_on(
        self, connection: HTTPSConnection, keys: Sequence[str], path: str = VERIFY, body: bytes | None = None
    ) -> Reply:
        """Send one ProviderRequest on ``connection``."""
        content = provider_request(keys) if body is None else body
        connection.request(
            "POST", f"/ratify/gatekeeper/{path}", content, {"Content-Type": "application/json"}
        )
        return _reply(connection.getresponse())

    def get(self, path: str) -> tuple[int, str]:
        """Return status and text of a path of health."""
        try:
            with urllib.request.urlopen(f"http://{self.health}{path}", timeout=ASK_SECONDS) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def metric(self, name: str) -> float:
        """Return the sum of all values of a metric whose labels are among those in ``name`` (``name{label="value"``)."""
        _, text = self.get("/metrics")
        found = [line for line in text.splitlines() if line.startswith(name)]
        return sum(float(line.rpartition(" ")[2]) for line in found)

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the log's lines about an event."""
        lines = (json.loads(line) for line in self.log.read_text().splitlines())
        return [line for line in lines if line["event"] == name]

    def memory(self) -> int:
        """Return the bytes that its processes have for themselves: what forks share counts once."""
        parent = psutil.Process(self.process.pid)
        family = [parent, *parent.children(recursive=True)]
        return sum(one.memory_full_info().pss for one in family)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it, and return its exit status."""
        self.process.send_signal(number)
        return self.process.wait(ASK_SECONDS)


def provider_request(keys: Sequence[str], **changes: Any) -> bytes:
    """Return a ProviderRequest."""
    request = {"apiVersion": API_VERSION, "kind": "ProviderRequest", "request": {"keys": list(keys)}}
    return json.dumps({**request, **changes}).encode()


def _reply(answer: HTTPResponse) -> Reply:
    content = answer.read()
    return Reply(answer.status, dict(answer.getheaders()), json.loads(content) if content else {})


@contextmanager
def provider(
    folder: Path, policies: Sequence[Path], *options: str, client_ca: bool = True
) -> Iterator[Running]:
    """Run a provider on free ports of loopback.

    Args:
        folder: gets its certificates, its home and its log.
        policies: files and folders.
        options: beside those for addresses, and instead of those for certificates.
        client_ca: whether it demands a client's certificate.
    """
    authority = Authority(folder / "pki")
    server, client = authority.server("server", "127.0.0.1"), authority.client("gatekeeper")
    command = [sys.executable, "-m", "slsa_verifier_plugin", "serve"]
    command += [argument for path in policies for argument in ("--policy", str(path))]
    command += ["--listen", "127.0.0.1:0", "--health-listen", "127.0.0.1:0"]
    own: dict[str, Any] = {"--tls-cert": server.certificate, "--tls-key": server.key, "--drain": 0}
    if client_ca:
        own["--client-ca"] = authority.root
    command += [
        str(part) for option, value in own.items() if option not in options for part in (option, value)
    ]
    home, log = folder / "home", folder / "log"
    home.mkdir(exist_ok=True)
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(home), "SLSA_VERIFIER_REFRESH_HOURS": "0"}
    with log.open("wb") as output:
        process = subprocess.Popen([*command, *options], env=environ, stdin=subprocess.DEVNULL, stderr=output)
    try:
        heard = _listening(process, log)
        running = Running(
            process, heard["address"], heard["health"], log, authority, client if client_ca else None
        )
        running.own = {"server": server, "home": home}
        yield running
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(ASK_SECONDS)


def _listening(process: subprocess.Popen[bytes], log: Path) -> dict[str, Any]:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        for line in log.read_text().splitlines():
            if line.startswith("{") and (event := json.loads(line))["event"] == "listening":
                return dict(event)
        if process.poll() is not None:
            break
        time.sleep(0.05)
    raise AssertionError(f"the provider does not listen: {log.read_text()}")


def wait_for(condition: Any, seconds: float = 60.0) -> None:
    """Wait until ``condition()`` is true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def is_closed(connection: socket.socket, seconds: float) -> bool:
    """Return True if the other side ends ``connection`` within ``seconds``."""
    connection.settimeout(seconds)
    try:
        while connection.recv(65536):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True
