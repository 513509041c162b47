"""What stands before a registry and answers some requests in the way of GitLab or GHCR; the others it hands on.

A front can be put before any registry, the embedded one or a real one, so the same tests run against both.
"""

from __future__ import annotations

import http.client
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
_REFERRERS = re.compile(r"/v2/.+/referrers/")
_FALLBACK = re.compile(r"(/v2/.+/manifests/)(sha256)-([0-9a-f]{64})$")
_HOP_BY_HOP = {"connection", "transfer-encoding", "keep-alive", "content-length", "date", "server"}


@dataclass(frozen=True)
class Answer:
    """Status, headers and body."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @classmethod
    def index(cls, *entries: Any) -> Answer:
        """Return an image index of ``entries``."""
        value = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": list(entries)}
        return cls(200, {"Content-Type": INDEX_TYPE}, json.dumps(value).encode())


Forward = Callable[[str], Answer]
"""Asks the registry behind for a path."""
Manner = Callable[[str, Forward], Answer | None]
"""Answers a path, or None to hand it on."""

NOT_FOUND = Answer(404, {"Content-Type": "text/plain"}, b"404 page not found\n")


def gitlab(path: str, forward: Forward) -> Answer | None:
    """No referrers API; every tag ``sha256-HEX`` is the image with that digest itself."""
    if _REFERRERS.match(path):
        return NOT_FOUND
    match = _FALLBACK.match(path)
    return forward(f"{match[1]}{match[2]}:{match[3]}") if match else None


def ghcr_empty(path: str, forward: Forward) -> Answer | None:
    """A referrers API that lists nothing, whatever the fallback tag lists."""
    return Answer.index() if _REFERRERS.match(path) else None


def ghcr_missing(path: str, forward: Forward) -> Answer | None:
    """No referrers API, as at other times."""
    return NOT_FOUND if _REFERRERS.match(path) else None


def retyped(artifact_type: str | None, manner: Manner = ghcr_empty) -> Manner:
    """Return a manner whose fallback index gives all entries one artifact type, or none: a client wrote it so."""

    def answer(path: str, forward: Forward) -> Answer | None:
        if not _FALLBACK.match(path):
            return manner(path, forward)
        found = forward(path)
        if found.status != 200:
            return found
        entries = json.loads(found.body)["manifests"]
        for entry in entries:
            entry.pop("artifactType", None)
            if artifact_type is not None:
                entry["artifactType"] = artifact_type
        return Answer.index(*entries)

    return answer


class Front:
    """Serves on a free port of loopback.

    Args:
        upstream: the registry's host and port; it speaks plain HTTP.
        manner: what is answered here.
    """

    def __init__(self, upstream: str, manner: Manner) -> None:
        self.asked: list[str] = []
        front = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                front.asked.append(self.path)
                length = int(self.headers.get("Content-Length") or 0)
                content = self.rfile.read(length)
                found = manner(self.path, self._forward) if self.command in ("GET", "HEAD") else None
                found = found or self._forward(self.path, self.command, content)
                self.send_response(found.status)
                for name, value in found.headers.items():
                    self.send_header(name, value)
                if self.command != "HEAD" or "Content-Length" not in found.headers:
                    self.send_header("Content-Length", str(len(found.body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(found.body)

            do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _answer  # noqa: N815  (their names)

            def _forward(self, path: str, method: str = "GET", content: bytes = b"") -> Answer:
                names = ("Accept", "Authorization", "Content-Type", "Range")
                sent = {name: self.headers[name] for name in names if self.headers[name]}
                connection = http.client.HTTPConnection(upstream, timeout=20)
                try:
                    connection.request(method, path, content or None, sent)
                    reply = connection.getresponse()
                    headers = {
                        name: value for name, value in reply.getheaders() if name.lower() not in _HOP_BY_HOP
                    }
                    if "Location" in headers:
                        headers["Location"] = headers["Location"].replace(f"//{upstream}", f"//{front.host}")
                    return Answer(reply.status, headers, reply.read())
                finally:
                    connection.close()

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
