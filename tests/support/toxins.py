"""Ways in which a server can misbehave; each is a ``registries.Toxin`` or returns one."""

from __future__ import annotations

import gzip
import socket
import struct
import time
from collections.abc import Iterable, Mapping

from tests.support.registries import ToxicRegistry, Toxin
from tests.support.registry_handler import RegistryHandler

PIECE = b"x" * 65536


def _raw(handler: RegistryHandler, pieces: Iterable[bytes]) -> bool:
    """Send bytes as they are, as long as anybody reads them, and end the connection."""
    handler.close_connection = True
    for piece in pieces:
        handler.wfile.write(piece)
    return True


def _forever(registry: ToxicRegistry, piece: bytes, pause: float = 0.0) -> Iterable[bytes]:
    while not registry.over.is_set():
        yield piece
        if pause:
            registry.over.wait(pause)


def silent(handler: RegistryHandler, registry: ToxicRegistry) -> bool:
    """Never answers."""
    handler.close_connection = True
    registry.over.wait(30)
    return True


def silent_body(handler: RegistryHandler, registry: ToxicRegistry) -> bool:
    """Sends headers, and a body that never begins."""
    _raw(handler, [b"HTTP/1.1 200 OK\r\n\r\n"])
    return silent(handler, registry)


def dripping_headers(handler: RegistryHandler, registry: ToxicRegistry) -> bool:
    """Sends a header line ten times a second, for ever: no silence is ever long."""
    return _raw(handler, [b"HTTP/1.1 200 OK\r\n", *_forever(registry, b"X: y\r\n", 0.1)])


def flooding_headers(handler: RegistryHandler, registry: ToxicRegistry) -> bool:
    """Sends header lines without an end."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    return _raw(handler, _forever(registry, b"X: y\r\n" * 1000))


def endless_header(handler: RegistryHandler, registry: ToxicRegistry) -> bool:
    """Sends one header line without an end."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
    return _raw(handler, _forever(registry, PIECE))


def endless_status_line(handler: RegistryHandler, registry: ToxicRegistry) -> bool:
    """Sends a status line without an end."""
    handler.wfile.write(b"HTTP/1.1 200 ")
    return _raw(handler, _forever(registry, PIECE))


def endless_continue(handler: RegistryHandler, registry: ToxicRegistry) -> bool:
    """Sends "100 Continue" for ever."""
    return _raw(handler, _forever(registry, b"HTTP/1.1 100 Continue\r\n\r\n", 0.001))


def endless_processing(handler: RegistryHandler, registry: ToxicRegistry) -> bool:
    """Sends "102 Processing" for ever."""
    return _raw(handler, _forever(registry, b"HTTP/1.1 102 Processing\r\n\r\n", 0.01))


def flooding_interim(handler: RegistryHandler, registry: ToxicRegistry) -> bool:
    """Sends "103 Early Hints" as fast as they are read."""
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\n" * 1000
    return _raw(handler, _forever(registry, hints))


def with_hints(handler: RegistryHandler, registry: ToxicRegistry) -> bool:
    """Sends "102 Processing" and "103 Early Hints", and then the proper answer."""
    handler.wfile.write(b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
    return False


def dripping_body(handler: RegistryHandler, registry: ToxicRegistry) -> bool:
    """Sends one byte of the body ten times a second."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    return _raw(handler, _forever(registry, b"1\r\nx\r\n", 0.1))


def endless_body(handler: RegistryHandler, registry: ToxicRegistry) -> bool:
    """Sends a body without length or end."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
    return _raw(handler, _forever(registry, PIECE))


def endless_chunks(handler: RegistryHandler, registry: ToxicRegistry) -> bool:
    """Sends chunks without an end."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    return _raw(handler, _forever(registry, b"10000\r\n" + PIECE + b"\r\n"))


def endless_chunk_size(handler: RegistryHandler, registry: ToxicRegistry) -> bool:
    """Sends the line before a chunk without an end."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;")
    return _raw(handler, _forever(registry, PIECE))


def endless_trailer(handler: RegistryHandler, registry: ToxicRegistry) -> bool:
    """Sends an empty body and then trailers without an end."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n")
    return _raw(handler, _forever(registry, b"X: y\r\n" * 1000))


def reset(handler: RegistryHandler, registry: ToxicRegistry) -> bool:
    """Resets the connection."""
    handler.close_connection = True
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()
    return True


def hang_up(handler: RegistryHandler, registry: ToxicRegistry) -> bool:
    """Ends the connection instead of answering."""
    handler.close_connection = True
    return True


def not_http(handler: RegistryHandler, registry: ToxicRegistry) -> bool:
    """Answers in another protocol."""
    return _raw(handler, [b"220 mail.example ESMTP ready\r\n"])


def two_lengths(handler: RegistryHandler, registry: ToxicRegistry) -> bool:
    """Announces two lengths, and the end of the connection."""
    return _raw(handler, [b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5, 6\r\n\r\n123456"])


def truncating(length: int) -> Toxin:
    """Announce the whole blob and end after ``length`` bytes, wherever a range began."""

    def toxin(handler: RegistryHandler, registry: ToxicRegistry) -> bool:
        name, _, digest = handler.path.removeprefix("/v2/").partition("/blobs/")
        content = registry.storage.blob(name, digest) or b""
        begin = int((handler.headers.get("Range") or "bytes=0-").removeprefix("bytes=").rstrip("-"))
        status = "206 Partial Content" if begin else "200 OK"
        extra = f"Content-Range: bytes {begin}-{len(content) - 1}/{len(content)}\r\n" if begin else ""
        head = f"HTTP/1.1 {status}\r\n{extra}Content-Length: {len(content) - begin}\r\n\r\n"
        return _raw(handler, [head.encode(), content[begin : begin + length]])

    return toxin


def body(content: bytes, media_type: str = "application/octet-stream", length: int | None = None) -> Toxin:
    """Send other content, announced with its own or another length."""

    def toxin(handler: RegistryHandler, registry: ToxicRegistry) -> bool:
        announced = len(content) if length is None else length
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {media_type}\r\nContent-Length: {announced}\r\n\r\n"
        return _raw(handler, [head.encode(), content])

    return toxin


def chunked(content: bytes, media_type: str = "application/octet-stream", size: int = 7) -> Toxin:
    """Send content in chunks of a few bytes, without its length."""

    def toxin(handler: RegistryHandler, registry: ToxicRegistry) -> bool:
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {media_type}\r\nTransfer-Encoding: chunked\r\n\r\n"
        parts = (content[start : start + size] for start in range(0, len(content), size))
        return _raw(
            handler, [head.encode(), *(b"%x\r\n%b\r\n" % (len(part), part) for part in parts), b"0\r\n\r\n"]
        )

    return toxin


def compressed(content: bytes) -> Toxin:
    """Send content compressed, though nobody said that it would be understood."""

    def toxin(handler: RegistryHandler, registry: ToxicRegistry) -> bool:
        packed = gzip.compress(content)
        handler.answer(200, packed, "application/octet-stream", {"Content-Encoding": "gzip"})
        return True

    return toxin


def flood(
    size: int, media_type: str = "application/vnd.oci.image.manifest.v1+json", announced: bool = True
) -> Toxin:
    """Send ``size`` bytes, announced or not."""

    def toxin(handler: RegistryHandler, registry: ToxicRegistry) -> bool:
        length = f"Content-Length: {size}\r\n" if announced else ""
        handler.wfile.write(f"HTTP/1.1 200 OK\r\nContent-Type: {media_type}\r\n{length}\r\n".encode())
        return _raw(handler, (PIECE for _ in range(size // len(PIECE))))

    return toxin


def status(code: int, headers: Mapping[str, str] | None = None, error: str = "UNKNOWN") -> Toxin:
    """Answer with an error."""

    def toxin(handler: RegistryHandler, registry: ToxicRegistry) -> bool:
        handler.fail(code, error, headers)
        return True

    return toxin


def redirect(location: str, code: int = 307, content: bytes = b"") -> Toxin:
    """Redirect; ``SELF`` in the location is this registry's URL, ``PATH`` the path that was asked for."""

    def toxin(handler: RegistryHandler, registry: ToxicRegistry) -> bool:
        target = location.replace("SELF", registry.url).replace("PATH", handler.path)
        handler.answer(code, content, headers={"Location": target})
        return True

    return toxin


def redirect_with_endless_body(location: str) -> Toxin:
    """Redirect with a body without an end."""

    def toxin(handler: RegistryHandler, registry: ToxicRegistry) -> bool:
        head = f"HTTP/1.1 307 Temporary Redirect\r\nLocation: {location}\r\n\r\n"
        handler.wfile.write(head.encode())
        return _raw(handler, _forever(registry, PIECE))

    return toxin


def slow(seconds: float) -> Toxin:
    """Wait before a good answer."""

    def toxin(handler: RegistryHandler, registry: ToxicRegistry) -> bool:
        time.sleep(seconds)
        return False

    return toxin
