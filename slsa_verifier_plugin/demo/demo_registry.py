"""Serves a registry on loopback: it answers for what it was given, and takes no uploads.

It is as much of the OCI distribution specification 1.1 as pulling needs: manifests, blobs, tags, the catalog and
referrers. A whole registry, with uploads and pages, is among the tests' support.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from slsa_verifier_plugin.errors import UsageError
from slsa_verifier_plugin.model.digest import Descriptor, Digest
from slsa_verifier_plugin.registry.closing import Closeable

INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
JSON_TYPE = "application/json"
BLOB_TYPE = "application/octet-stream"
READ_ONLY = {
    "errors": [
        {
            "code": "UNSUPPORTED",
            "message": "the demo's registry takes no uploads; 'slsa-verifier-plugin demo --push REGISTRY' fills one of yours",
        }
    ]
}
"""What a push is answered (OCI distribution 1.1, "Error Codes"); clients such as oras and crane print the message."""
POLL_SECONDS = 0.02
"""How soon the server sees that it is to end."""


DemoAnswer = tuple[str, bytes]
"""The media type of an answer, and its body."""


@dataclass(frozen=True, slots=True)
class Made:
    """A manifest with the blobs that it names, as they are stored."""

    manifest: bytes
    blobs: tuple[bytes, ...]
    artifact_type: str = ""

    @property
    def descriptor(self) -> Descriptor:
        """What a manifest says that names this one."""
        return Descriptor(
            MANIFEST_TYPE, Digest.of(self.manifest), len(self.manifest), self.artifact_type or None
        )


class DemoRegistry(Closeable):
    """Serves one repository until it is closed.

    Args:
        repository: its name.
        port: where to listen on loopback; 0 for a free one.

    Raises:
        UsageError: somebody listens there, or may not.
    """

    def __init__(self, repository: str, port: int = 0) -> None:
        self.repository = repository
        self._answers: dict[str, DemoAnswer] = {}
        self._referrers: dict[str, list[dict[str, Any]]] = {}
        self._tags: list[str] = []
        # GET /v2/ is how a client asks whether this is a registry (OCI distribution 1.1, "Determining Support").
        self._answer("", {})
        self._answer("_catalog", {"repositories": [repository]})
        try:
            self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler_of(self._answers))
        except OSError as error:
            raise UsageError(
                f"cannot listen on 127.0.0.1:{port}: {error.strerror}; choose another --port"
            ) from error
        # A client that keeps its connection open must not keep the program from ending.
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(POLL_SECONDS,), name="demo-registry", daemon=True
        )
        self._thread.start()

    @property
    def host(self) -> str:
        """Host and port, as in an image reference."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        """End the server: the port is free when this returns."""
        # Waits until the loop has ended.
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def add(self, made: Made, tag: str = "") -> None:
        """Serve a manifest and its blobs, under its tag too, and list it among its subject's referrers if it has one."""
        descriptor, manifest = made.descriptor, json.loads(made.manifest)
        for blob in made.blobs:
            self._answers[f"{self.repository}/blobs/{Digest.of(blob)}"] = BLOB_TYPE, blob
        for name in (str(descriptor.digest), tag or str(descriptor.digest)):
            self._answers[f"{self.repository}/manifests/{name}"] = descriptor.media_type, made.manifest
        # A tag is another name for the same manifest; what hangs on an image has none.
        if tag:
            self._tags.append(tag)
            self._answer(f"{self.repository}/tags/list", {"name": self.repository, "tags": self._tags})
        # An image begins a list of its own, which is empty so far; what has a subject joins the subject's list.
        subject = manifest["subject"]["digest"] if "subject" in manifest else str(descriptor.digest)
        listed = self._referrers.setdefault(subject, [])
        if "subject" in manifest:
            listed.append(descriptor.to_json())
        # An image without referrers has an empty list, not "not found" (OCI distribution 1.1, "Listing Referrers").
        index = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": listed}
        self._answer(f"{self.repository}/referrers/{subject}", index, INDEX_TYPE)

    def _answer(self, path: str, value: object, media_type: str = JSON_TYPE) -> None:
        self._answers[path] = media_type, json.dumps(value).encode()


def _handler_of(answers: Mapping[str, DemoAnswer]) -> type[BaseHTTPRequestHandler]:
    """Return a handler of requests for what stands in ``answers``, by the path below ``/v2/``."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Head and body are two writes: with Nagle's algorithm the second may wait until the first is acknowledged.
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            found = answers.get(urlsplit(self.path).path.removeprefix("/v2/"))
            # Filtering referrers is the client's work where the answer does not say that it was done.
            missing = b'{"errors": [{"code": "NOT_FOUND", "message": "not in the demo"}]}'
            self._send(200 if found else 404, *(found or (JSON_TYPE, missing)))

        def do_POST(self) -> None:
            # Before the body is read, so the connection cannot be used again.
            self.close_connection = True
            self._send(405, JSON_TYPE, json.dumps(READ_ONLY).encode())

        do_PUT = do_PATCH = do_DELETE = do_POST  # noqa: N815 (http.server asks for these names)

        def _send(self, status: int, media_type: str, body: bytes) -> None:
            self.send_response(status)
            if status == 405:
                # RFC 9110, 15.5.6: such an answer says what is allowed.
                self.send_header("Allow", "GET, HEAD")
                self.send_header("Connection", "close")
            self.send_header("Content-Type", media_type)
            self.send_header("Content-Length", str(len(body)))
            # Clients take the digest of a tag from this header (OCI distribution 1.1, "Pulling manifests").
            if "/manifests/" in self.path:
                self.send_header("Docker-Content-Digest", str(Digest.of(body)))
            self.end_headers()
            # A body after HEAD would be read as the next answer on the connection.
            if self.command != "HEAD":
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815 (http.server asks for this name)

        def log_message(self, *arguments: object) -> None:
            """Write nothing: the program around it has an output of its own."""

    return Handler
