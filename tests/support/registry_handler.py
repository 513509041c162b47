"""The embedded registry's answers to single requests (OCI distribution specification 1.1)."""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol
from urllib.parse import parse_qs, urlencode, urlsplit

from slsa_verifier_plugin.errors import ArtifactError
from slsa_verifier_plugin.model.digest import Descriptor, Digest
from tests.support.registry_storage import INDEX_TYPE, Storage

MAX_BODY_BYTES = 128 * 1024 * 1024
"""Bytes of one upload: enough for every test, not enough to fill a machine's memory by mistake."""

_NAME = r"(?P<name>[a-z0-9]+(?:[._/-]+[a-z0-9]+)*)"
_ROUTES = (
    ("ping", re.compile(r"/v2/?")),
    ("catalog", re.compile(r"/v2/_catalog")),
    ("tags", re.compile(rf"/v2/{_NAME}/tags/list")),
    ("manifest", re.compile(rf"/v2/{_NAME}/manifests/(?P<reference>[^/]+)")),
    ("upload", re.compile(rf"/v2/{_NAME}/blobs/uploads/(?P<session>[^/]*)")),
    ("blob", re.compile(rf"/v2/{_NAME}/blobs/(?P<digest>[^/]+)")),
    ("referrers", re.compile(rf"/v2/{_NAME}/referrers/(?P<digest>[^/]+)")),
)
_RANGE = re.compile(r"bytes=([0-9]{1,18})-([0-9]{0,18})")


class Served(Protocol):
    """What a connection asks its registry for; ``EmbeddedRegistry`` is one."""

    storage: Storage
    uploads: dict[str, bytes]
    referrers_api: bool
    page_size: int
    latency: float

    @property
    def host(self) -> str:
        """Host and port."""

    def intercept(self, handler: RegistryHandler) -> bool:
        """Return True if a request has been answered there."""


class RegistryServer(ThreadingHTTPServer):
    """A server whose connections belong to a registry."""

    registry: Served


class RegistryHandler(BaseHTTPRequestHandler):
    """One connection of an ``EmbeddedRegistry``."""

    protocol_version = "HTTP/1.1"
    server_version = "embedded-registry"
    sys_version = ""
    disable_nagle_algorithm = True
    server: RegistryServer

    @property
    def registry(self) -> Served:
        """The registry that this connection belongs to."""
        return self.server.registry

    @property
    def query(self) -> dict[str, str]:
        """The query's parameters, the first of each name."""
        return {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}

    def handle_one_request(self) -> None:
        """Handle a request; a client that goes away ends its connection, nothing else."""
        try:
            super().handle_one_request()
        except OSError:
            self.close_connection = True

    def do_GET(self) -> None:
        """Answer a read."""
        self._dispatch("get")

    def do_HEAD(self) -> None:
        """Answer a read without its body."""
        self._dispatch("get")

    def do_PUT(self) -> None:
        """Answer the end of an upload, or a manifest."""
        self._dispatch("put")

    def do_POST(self) -> None:
        """Answer the beginning of an upload."""
        self._dispatch("post")

    def do_PATCH(self) -> None:
        """Answer a part of an upload."""
        self._dispatch("patch")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Write nothing: this is part of a program with an output of its own."""

    def answer(
        self, status: int, body: bytes = b"", media_type: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        """Send a whole answer."""
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if media_type:
            self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def answer_json(self, value: object, headers: Mapping[str, str] | None = None, status: int = 200) -> None:
        """Send a JSON value."""
        self.answer(status, json.dumps(value).encode(), "application/json", headers)

    def fail(self, status: int, code: str, headers: Mapping[str, str] | None = None) -> None:
        """Send an error of the distribution specification."""
        self.answer_json({"errors": [{"code": code, "message": code.lower()}]}, headers, status)

    def body(self) -> bytes:
        """Return the request's body, sent with a length or in chunks."""
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            return self._chunked_body()
        length = int(self.headers.get("Content-Length") or 0)
        if not 0 <= length <= MAX_BODY_BYTES:
            raise OSError("the body is too long")
        return self.rfile.read(length)

    def _chunked_body(self) -> bytes:
        body = bytearray()
        while size := int(self.rfile.readline(64).split(b";")[0], 16):
            if len(body) + size > MAX_BODY_BYTES:
                raise OSError("the body is too long")
            body += self.rfile.read(size)
            self.rfile.readline(8)
        while self.rfile.readline(1024).strip():
            pass
        return bytes(body)

    def _dispatch(self, method: str) -> None:
        if self.registry.latency:
            time.sleep(self.registry.latency)
        if self.registry.intercept(self):
            return
        path = urlsplit(self.path).path
        for route, pattern in _ROUTES:
            match = pattern.fullmatch(path)
            if match is not None:
                action = getattr(self, f"_{method}_{route}", None)
                if action is None:
                    self.body()
                    self.fail(405, "UNSUPPORTED")
                    return
                try:
                    action(**match.groupdict())
                except ArtifactError:
                    self.fail(400, "DIGEST_INVALID")
                return
        self.body()
        self.answer(404, b"404 page not found\n", "text/plain")

    def _get_ping(self) -> None:
        self.answer_json({}, {"Docker-Distribution-Api-Version": "registry/2.0"})

    def _get_catalog(self) -> None:
        self.answer_json({"repositories": self.registry.storage.repositories()})

    def _get_tags(self, name: str) -> None:
        if not self.registry.storage.exists(name):
            self.fail(404, "NAME_UNKNOWN")
            return
        self._paged({"name": name}, "tags", self.registry.storage.tags(name), {}, "application/json")

    def _get_manifest(self, name: str, reference: str) -> None:
        found = self.registry.storage.manifest(name, reference)
        if found is None:
            self.fail(404, "MANIFEST_UNKNOWN" if self.registry.storage.exists(name) else "NAME_UNKNOWN")
            return
        digest, manifest = found
        self.answer(200, manifest.content, manifest.media_type, {"Docker-Content-Digest": digest})

    def _put_manifest(self, name: str, reference: str) -> None:
        content = self.body()
        tag = None
        if ":" not in reference:
            tag = reference
        elif not Digest.parse(reference).matches(content):
            self.fail(400, "DIGEST_INVALID")
            return
        try:
            fields = json.loads(content)
        except ValueError:
            fields = None
        if not isinstance(fields, dict):
            self.fail(400, "MANIFEST_INVALID")
            return
        media_type = self.headers.get("Content-Type") or str(fields.get("mediaType"))
        descriptor = self.registry.storage.put_manifest(name, content, media_type, tag)
        headers = {
            "Location": f"/v2/{name}/manifests/{descriptor.digest}",
            "Docker-Content-Digest": str(descriptor.digest),
        }
        subject = fields.get("subject")
        if isinstance(subject, dict) and self.registry.referrers_api:
            headers["OCI-Subject"] = str(subject.get("digest"))
        self.answer(201, headers=headers)

    def _get_blob(self, name: str, digest: str) -> None:
        content = self.registry.storage.blob(name, digest)
        if content is None:
            self.fail(404, "BLOB_UNKNOWN")
            return
        headers = {"Docker-Content-Digest": digest, "Accept-Ranges": "bytes"}
        wanted = _RANGE.fullmatch(self.headers.get("Range", ""))
        if wanted is None:
            self.answer(200, content, "application/octet-stream", headers)
            return
        first, last = int(wanted[1]), min(int(wanted[2] or len(content) - 1), len(content) - 1)
        if first > last:
            self.answer(416, headers={"Content-Range": f"bytes */{len(content)}"})
            return
        headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
        self.answer(206, content[first : last + 1], "application/octet-stream", headers)

    def _post_upload(self, name: str, session: str) -> None:
        body = self.body()
        query = self.query
        if "mount" in query:
            content = self.registry.storage.blob(query.get("from", ""), query["mount"])
            if content is not None:
                self._created(name, self.registry.storage.put_blob(name, content))
                return
        if "digest" in query:
            self._finish(name, body, query["digest"])
            return
        session = secrets.token_hex(8)
        self.registry.uploads[session] = b""
        self._accepted(name, session)

    def _patch_upload(self, name: str, session: str) -> None:
        body = self.body()
        if session not in self.registry.uploads:
            self.fail(404, "BLOB_UPLOAD_UNKNOWN")
            return
        self.registry.uploads[session] += body
        self._accepted(name, session)

    def _put_upload(self, name: str, session: str) -> None:
        body = self.body()
        begun = self.registry.uploads.pop(session, None)
        if begun is None:
            self.fail(404, "BLOB_UPLOAD_UNKNOWN")
            return
        self._finish(name, begun + body, self.query.get("digest", ""))

    def _get_referrers(self, name: str, digest: str) -> None:
        if not self.registry.referrers_api:
            self.answer(404, b"404 page not found\n", "text/plain")
            return
        Digest.parse(digest)
        entries = self.registry.storage.referrers(name, digest)
        headers = {}
        wanted = self.query.get("artifactType")
        if wanted is not None:
            entries = [entry for entry in entries if entry.get("artifactType") == wanted]
            headers["OCI-Filters-Applied"] = "artifactType"
        self._paged({"schemaVersion": 2, "mediaType": INDEX_TYPE}, "manifests", entries, headers, INDEX_TYPE)

    def _paged(
        self,
        value: dict[str, Any],
        field: str,
        items: Sequence[object],
        headers: dict[str, str],
        media_type: str,
    ) -> None:
        """Send a part of ``items``, with a link to the next where there is one."""
        query = self.query
        start = int(query.get("last") or 0)
        size = min(int(query.get("n") or self.registry.page_size), self.registry.page_size)
        if start + size < len(items):
            following = urlencode({**query, "n": size, "last": start + size})
            headers["Link"] = f'<{urlsplit(self.path).path}?{following}>; rel="next"'
        body = json.dumps({**value, field: items[start : start + size]}).encode()
        self.answer(200, body, media_type, headers)

    def _finish(self, name: str, content: bytes, digest: str) -> None:
        if not Digest.parse(digest).matches(content):
            self.fail(400, "DIGEST_INVALID")
            return
        self._created(name, self.registry.storage.put_blob(name, content))

    def _created(self, name: str, descriptor: Descriptor) -> None:
        digest = str(descriptor.digest)
        self.answer(201, headers={"Location": f"/v2/{name}/blobs/{digest}", "Docker-Content-Digest": digest})

    def _accepted(self, name: str, session: str) -> None:
        received = len(self.registry.uploads[session])
        headers = {"Location": f"/v2/{name}/blobs/uploads/{session}", "Range": f"0-{max(received - 1, 0)}"}
        self.answer(202, headers=headers)
