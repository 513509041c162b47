"""Servers that stand for a cloud's: TLS by a test CA, a proxy that leads the clouds' own host names here, records.

The providers under test run unchanged, with the real names: their environment has ``HTTPS_PROXY`` and
``SSL_CERT_FILE``, as in a company's cluster. The proxy knows the names that a test gave it and refuses all others,
so nothing leaves the machine. Everything listens on 127.0.0.1, on a port of the system's choice, and ends with the
``with`` block that started it.
"""

from __future__ import annotations

import json
import logging
import select
import socket
import ssl
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

DAY = timedelta(days=1)


class TestCa:
    """A certificate authority of its own; ``file`` holds its certificate."""

    __test__ = False

    def __init__(self, directory: Path, name: str = "test CA") -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        certificate = (
            self._builder(self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.file = directory / f"{name.replace(' ', '-')}.pem"
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def _builder(self, name: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - DAY)
            .not_valid_after(now + DAY)
        )

    def issue(self, *names: str) -> Path:
        """Return a file with a key, and a certificate for ``names`` and for 127.0.0.1."""
        key = ec.generate_private_key(ec.SECP256R1())
        general: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
        general.append(x509.IPAddress(IPv4Address("127.0.0.1")))
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "server")])
        certificate = (
            self._builder(subject, key.public_key())
            .add_extension(x509.SubjectAlternativeName(general), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        path = self._directory / f"{certificate.serial_number:x}.pem"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        return path

    def context(self, *names: str) -> ssl.SSLContext:
        """Return a server's TLS context with a certificate for ``names`` and for 127.0.0.1."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.issue(*names))
        return context


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it arrived; header names in lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    @property
    def form(self) -> dict[str, str]:
        """The body's fields, {} where it is no form."""
        if not self.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
            return {}
        return _single(self.body.decode("ascii"))


@dataclass(frozen=True, slots=True)
class Response:
    """An answer; ``trickle`` sends its body one byte at a time, so many seconds apart."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    trickle: float = 0.0

    @classmethod
    def json(cls, value: object, status: int = 200) -> Response:
        """Return ``value`` as JSON."""
        return cls(status, json.dumps(value).encode())


Answering = Callable[[Request], Response]


def _single(text: str) -> dict[str, str]:
    return {name: values[-1] for name, values in parse_qs(text, keep_blank_values=True).items()}


class Server(AbstractContextManager["Server"]):
    """Answers HTTP requests by a function, over TLS with a context.

    Args:
        answering: request to response; it may block on ``ended``.
        context: TLS, None for plain HTTP.
    """

    def __init__(self, answering: Answering, context: ssl.SSLContext | None = None) -> None:
        self.requests: list[Request] = []
        self.ended = threading.Event()
        self.answering = answering
        self._http = _HttpServer(self, context)
        self.port: int = self._http.server_address[1]
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ended.set()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def hang(self, _: Request) -> Response:
        """Answer nothing until the server ends."""
        self.ended.wait()
        return Response(503)


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = False  # so that closing waits for every handler

    def __init__(self, owner: Server, context: ssl.SSLContext | None) -> None:
        self.owner = owner
        self.context = context
        super().__init__(("127.0.0.1", 0), _Handler)

    def get_request(self) -> tuple[Any, Any]:
        connection, address = super().get_request()
        connection.settimeout(30)
        if self.context is not None:
            connection = self.context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that refuse a certificate or give up are what the tests are about."""


class _Handler(BaseHTTPRequestHandler):
    server: _HttpServer

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        request = Request(
            self.command,
            parts.path,
            _single(parts.query),
            {name.lower(): value for name, value in self.headers.items()},
            self.rfile.read(length),
        )
        owner = self.server.owner
        owner.requests.append(request)
        response = owner.answering(request)
        self.send_response_only(response.status)
        for name, value in {"Content-Length": str(len(response.body)), **response.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        pieces = [bytes([byte]) for byte in response.body] if response.trickle else [response.body]
        for piece in pieces:
            if owner.ended.wait(response.trickle):
                return
            self.wfile.write(piece)

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the standard library's name
        """Say nothing."""


class Proxy(AbstractContextManager["Proxy"]):
    """A forward proxy for TLS (``CONNECT``) that leads the names in ``hosts`` to ports of 127.0.0.1."""

    def __init__(self) -> None:
        self.hosts: dict[str, int] = {}
        self.asked: list[str] = []
        self._ended = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.02)
        self._threads = [threading.Thread(target=self._accept)]

    @property
    def url(self) -> str:
        """What ``HTTPS_PROXY`` is set to."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                connection, _ = self._listener.accept()
            except TimeoutError:
                continue
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.settimeout(5)
            head = b""
            while b"\r\n\r\n" not in head:
                piece = connection.recv(1024)
                if not piece:
                    return
                head += piece
            target = head.split(b" ")[1].decode("ascii")
            self.asked.append(target)
            host, _, port = target.rpartition(":")
            if host not in self.hosts or port != "443":
                connection.sendall(b"HTTP/1.1 502 Unknown Host\r\nContent-Length: 0\r\n\r\n")
                return
            with socket.create_connection(("127.0.0.1", self.hosts[host])) as upstream:
                connection.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
                self._relay(connection, upstream)

    def _relay(self, one: socket.socket, other: socket.socket) -> None:
        peers = {one: other, other: one}
        while not self._ended.is_set():
            for readable in select.select(list(peers), [], [], 0.02)[0]:
                piece = readable.recv(65536)
                if not piece:
                    return
                peers[readable].sendall(piece)


class Cloud(AbstractContextManager["Cloud"]):
    """A proxy, a CA, and servers under the clouds' names.

    Args:
        directory: for certificates.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.ca = TestCa(directory)
        self.proxy = Proxy()
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._stack.enter_context(self.proxy)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def serve(self, answering: Answering, *hosts: str, ca: TestCa | None = None) -> Server:
        """Start a server that answers for ``hosts``, with a certificate of ``ca`` (default: the cloud's)."""
        server = self._stack.enter_context(Server(answering, (ca or self.ca).context(*hosts)))
        self.proxy.hosts.update(dict.fromkeys(hosts, server.port))
        return server

    def environ(self, **more: str) -> dict[str, str]:
        """Return an environment in which the clouds' names lead here."""
        # Without the system's own authorities, which take 40 ms to read each time.
        trust = {"SSL_CERT_FILE": str(self.ca.file), "SSL_CERT_DIR": str(self._directory / "none")}
        return {"HTTPS_PROXY": self.proxy.url, **trust, **more}


def eventually(condition: Callable[[], bool], seconds: float = 60.0) -> bool:
    """Return True as soon as ``condition`` holds, False if it does not within ``seconds``."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.01)
    return condition()


def pieces_of(secrets: tuple[str, ...], text: str, length: int = 12) -> list[str]:
    """Return the parts of ``secrets`` that ``text`` repeats, ``length`` characters each, or whole shorter ones."""
    found = []
    for secret in secrets:
        for start in range(max(1, len(secret) - length + 1)):
            piece = secret[start : start + length]
            if piece in text:
                found.append(piece)
    return found


def everything_about(error: BaseException) -> str:
    """Return all that a log of ``error`` could show: text, representation, traceback, causes and contexts."""
    shown = [str(error), repr(error), *traceback.format_exception(error)]
    for related in (error.__cause__, error.__context__):
        if related is not None:
            shown.append(everything_about(related))
    return "\n".join(shown)


@contextmanager
def recorded_logs() -> Iterator[list[str]]:
    """Collect every log record that reaches the root logger, from the lowest level up, as text."""
    texts: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            texts.append(self.format(record))

    root, handler = logging.getLogger(), Handler(logging.NOTSET)
    level = root.level
    root.addHandler(handler)
    root.setLevel(1)
    try:
        yield texts
    finally:
        root.setLevel(level)
        root.removeHandler(handler)
