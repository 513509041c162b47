"""An OCI registry in memory, on loopback, for tests, benchmarks and the soak test.

It speaks the distribution specification 1.1 as far as real clients need it: pull (with ranges), push (monolithic,
chunked, by mount), tags, catalog, and the referrers API with pages and filter. It has no authentication; the tests
derive registries from it that have, and others that misbehave, through ``EmbeddedRegistry.intercept``.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from slsa_verifier_plugin.model.digest import Descriptor
from tests.support.registry_handler import RegistryHandler, RegistryServer
from tests.support.registry_storage import (
    CONFIG_TYPE,
    EMPTY_TYPE,
    INDEX_TYPE,
    Storage,
    image_manifest,
    to_json,
)


class Server(RegistryServer):
    """Keeps the open connections, so that closing the registry closes them too."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, registry: EmbeddedRegistry, handler: type[RegistryHandler], host: str) -> None:
        self.registry: EmbeddedRegistry = registry
        self._open: dict[int, tuple[socket.socket, threading.Thread]] = {}
        self._open_lock = threading.Lock()
        if ":" in host:
            self.address_family = socket.AF_INET6
        super().__init__((host, 0), handler)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve one connection, known to ``end_connections`` until it is over."""
        with self._open_lock:
            self._open[id(request)] = (request, threading.current_thread())
        try:
            context = self.registry.tls
            if context is not None:
                request.settimeout(10)
                request.do_handshake()
                request.settimeout(None)
            super().process_request_thread(request, client_address)
        except OSError:
            self.shutdown_request(request)  # a client that does not like our certificate
        finally:
            with self._open_lock:
                self._open.pop(id(request), None)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection; its TLS handshake is left to its own thread."""
        connection, address = super().get_request()
        if self.registry.tls is not None:
            connection = self.registry.tls.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
        return connection, address

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Write nothing: the client sees its connection end."""

    def end_connections(self) -> None:
        """End every open connection and wait for its thread."""
        with self._open_lock:
            still_open = list(self._open.values())
        for connection, _ in still_open:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
        for _, thread in still_open:
            thread.join(5)


class EmbeddedRegistry:
    """A registry that runs from ``start`` to ``close``, or as long as a ``with`` block.

    Args:
        referrers_api: False to answer 404 to it, as registries of distribution 1.0 do; ``attach`` then keeps the
            index under the fallback tag.
        page_size: entries of one page of tags or referrers.
        latency: seconds to wait before each answer.
        host: the loopback address to listen on.
        tls: a server's context to speak HTTPS.
    """

    handler: type[RegistryHandler] = RegistryHandler

    def __init__(
        self,
        *,
        referrers_api: bool = True,
        page_size: int = 1000,
        latency: float = 0.0,
        host: str = "127.0.0.1",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.storage = Storage()
        self.uploads: dict[str, bytes] = {}
        self.referrers_api = referrers_api
        self.page_size = page_size
        self.latency = latency
        self.tls = tls
        self._address = host
        self._port = 0
        self._server: Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def host(self) -> str:
        """Host and port, as in an image reference."""
        assert self._port, "the registry has not been started"
        address = f"[{self._address}]" if ":" in self._address else self._address
        return f"{address}:{self._port}"

    @property
    def url(self) -> str:
        """The registry's base URL."""
        return f"{'https' if self.tls else 'http'}://{self.host}"

    def intercept(self, handler: RegistryHandler) -> bool:
        """Return True if this request has been answered here; for derived registries."""
        return False

    def start(self) -> Self:
        """Listen on a free port and serve in a thread."""
        self._server = Server(self, self.handler, self._address)
        self._port = int(self._server.server_address[1])
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), name="embedded-registry", daemon=True
        )
        self._thread.start()
        return self

    def close(self) -> None:
        """Stop listening and end every connection."""
        server, self._server = self._server, None
        if server is None or self._thread is None:
            return
        server.shutdown()
        self._thread.join()
        server.end_connections()
        server.server_close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def push_image(
        self, repository: str, tag: str, annotations: Mapping[str, str] | None = None
    ) -> Descriptor:
        """Push a small image whose content is its own name, and return its descriptor."""
        config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}
        config_blob = self.storage.put_blob(repository, json.dumps(config).encode(), CONFIG_TYPE)
        layer = self.storage.put_blob(
            repository, f"{repository}:{tag}\n".encode(), "application/vnd.oci.image.layer.v1.tar"
        )
        content = image_manifest(config_blob, [layer], annotations=annotations)
        return self.storage.put_manifest(repository, content, tag=tag)

    def attach(
        self,
        repository: str,
        subject: Descriptor,
        artifact_type: str,
        blobs: Sequence[bytes],
        media_type: str = "application/vnd.dev.sigstore.bundle+json",
        annotations: Mapping[str, str] | None = None,
    ) -> Descriptor:
        """Push an artifact that refers to ``subject``, as ``oras attach`` does, and return its descriptor."""
        config = self.storage.put_blob(repository, b"{}", EMPTY_TYPE)
        layers = [self.storage.put_blob(repository, blob, media_type) for blob in blobs]
        content = image_manifest(
            config, layers, subject=subject, artifact_type=artifact_type, annotations=annotations
        )
        pushed = self.storage.put_manifest(repository, content)
        descriptor = Descriptor(
            pushed.media_type, pushed.digest, pushed.size, artifact_type, dict(annotations or {})
        )
        if not self.referrers_api:
            self._add_to_fallback(repository, subject, descriptor)
        return descriptor

    def _add_to_fallback(self, repository: str, subject: Descriptor, entry: Descriptor) -> None:
        """Add an entry to the index under the fallback tag, which clients do where there is no API."""
        tag = str(subject.digest).replace(":", "-")
        found = self.storage.manifest(repository, tag)
        entries = list(found[1].fields.get("manifests", [])) if found else []
        index = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [*entries, to_json(entry)]}
        self.storage.put_manifest(repository, json.dumps(index).encode(), INDEX_TYPE, tag)
