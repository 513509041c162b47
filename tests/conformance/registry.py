"""A registry on loopback that holds one case, and misbehaves as the case says.

Read-only: OCI distribution 1.1 "Pulling manifests", "Pulling blobs", "Listing Referrers".
"""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.conformance.model import INDEX_TYPE, Content, compact

HANG = 30.0
"""Seconds after which the server itself gives up hanging."""


class CaseRegistry:
    """Serves one case. Use as a context manager.

    Args:
        content: manifests and blobs.
        faults: how it misbehaves: ``on`` (manifest, blob or referrers), ``status`` with ``headers``, ``body`` or
            ``redirect``, and ``times`` where it is to stop after a number of requests.
    """

    def __init__(self, content: Content, faults: list[dict[str, Any]]) -> None:
        self.content = content
        self.faults = faults
        self.served: Counter[int] = Counter()
        self.closing = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.registry = self
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> CaseRegistry:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def fault(self, where: str) -> dict[str, Any] | None:
        """Return how the next answer about ``where`` is to be wrong, None for honest."""
        for number, fault in enumerate(self.faults):
            if fault["on"] == where and self.served[number] < fault.get("times", 1 << 30):
                self.served[number] += 1
                return fault
        return None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    registry: CaseRegistry


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        content = self.server.registry.content
        path = urlsplit(self.path)
        parts = path.path.split("/")
        where, name = (parts[-2], parts[-1]) if len(parts) > 2 else ("", "")
        if path.path.rstrip("/") == "/v2":
            self._send(200, b"{}", "application/json")
        elif where == "manifests":
            media_type, body = content.manifests.get(name, ("", None))
            self._with_fault("manifest", body, media_type, name)
        elif where == "blobs":
            self._with_fault("blob", content.blobs.get(name), "application/octet-stream", name)
        elif where == "referrers":
            wanted = parse_qs(path.query).get("artifactType")
            self._with_fault("referrers", self._referrers(name, wanted), INDEX_TYPE, "")
        else:
            self._send(404, b"{}", "application/json")

    def _referrers(self, subject: str, wanted: list[str] | None) -> bytes:
        listed = []
        for digest, (media_type, body) in self.server.registry.content.manifests.items():
            manifest = json.loads(body)
            about = manifest.get("subject")
            if isinstance(about, dict) and about.get("digest") == subject:
                artifact_type = manifest.get("artifactType", "")
                if not wanted or artifact_type in wanted:
                    listed.append(
                        {
                            "mediaType": media_type,
                            "digest": digest,
                            "size": len(body),
                            "artifactType": artifact_type,
                        }
                    )
        return compact({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": listed})

    def _with_fault(self, where: str, body: bytes | None, media_type: str, digest: str) -> None:
        fault = self.server.registry.fault(where)
        if fault is None:
            if body is None:
                self._send(404, b'{"errors":[{"code":"NOT_FOUND"}]}', "application/json")
            else:
                self._send(200, body, media_type, digest=digest)
        elif "status" in fault:
            self._send(
                fault["status"],
                b'{"errors":[{"code":"DENIED"}]}',
                "application/json",
                fault.get("headers", {}),
            )
        elif "redirect" in fault:
            target = self.path if fault["redirect"] == "loop" else fault["redirect"]
            self._send(307, b"", "text/plain", {"Location": target})
        else:
            self._broken(fault["body"], body or b"", media_type)

    def _send(
        self,
        status: int,
        body: bytes,
        media_type: str,
        headers: dict[str, str] | None = None,
        digest: str = "",
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        if digest:
            self.send_header("Docker-Content-Digest", digest)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self._write(body)

    def _broken(self, how: str, body: bytes, media_type: str) -> None:
        self.close_connection = True
        if how == "resets":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return
        if how == "silent":
            self.server.registry.closing.wait(HANG)
            return
        self.send_response(200)
        self.send_header("Content-Type", media_type)
        if how != "never-ends":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if how == "other":
            self._write(bytes(byte ^ 1 for byte in body))
        elif how == "truncated":
            self._write(body[: len(body) // 2])
        elif how == "never-starts":
            self.server.registry.closing.wait(HANG)
        elif how == "drips":
            self._drip(body)
        elif how == "never-ends":
            end = time.monotonic() + HANG
            while (
                time.monotonic() < end
                and not self.server.registry.closing.is_set()
                and self._write(b" " * 65536)
            ):
                pass

    def _drip(self, body: bytes) -> None:
        for byte in body:
            if self.server.registry.closing.wait(0.1) or not self._write(bytes([byte])):
                return

    def _write(self, content: bytes) -> bool:
        try:
            self.wfile.write(content)
        except OSError:
            self.close_connection = True
            return False
        return True
