"""Content read with its size and digest checked while it arrives."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import DeadlineError, Reason, RegistryError
from slsa_verifier_plugin.model.digest import Descriptor
from slsa_verifier_plugin.registry import arrival, faults
from slsa_verifier_plugin.registry.http.retries import Retries
from slsa_verifier_plugin.registry.http.transport import HttpRequest, Reply
from slsa_verifier_plugin.registry.repository import RepositoryClient

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-[0-9]{1,18}/(?:[0-9]{1,18}|\*)")


def fetch_content(
    client: RepositoryClient, request: HttpRequest, descriptor: Descriptor, deadline: Deadline
) -> bytes:
    """Return the content of ``descriptor``; a body that breaks off is continued where it ended.

    Args:
        client: the repository.
        request: asks for the manifest or blob.
        descriptor: its digest and size; the size is within the caller's limit.
        deadline: the end of it.

    Raises:
        RegistryError: the registry did not deliver, or delivered something else.
        DeadlineError: out of time.
    """
    operation = request.operation
    retries = Retries(deadline)
    received = bytearray()

    def attempt() -> None:
        headers = dict(request.headers)
        # The rest alone: a broken connection does not cost what has come already (RFC 9110, 14.2).
        if received:
            headers["Range"] = f"bytes={len(received)}-"
        reply = client.send(replace(request, headers=headers), deadline, Retries(deadline, most=1))
        if reply.status == 416 and received:
            # What we have is then wrong: once more from the beginning.
            reply.error_body()
            received.clear()
            raise faults.invalid_response(operation, "it refused to continue a body", transient=True)
        if reply.status != 206:
            reply.expect(200)
        _check_coding(reply, operation)
        _continue_at(reply, received, operation)
        _receive(reply, received, descriptor, operation)

    retries.run(attempt)
    return _checked(received, descriptor, operation)


def _check_coding(reply: Reply, operation: str) -> None:
    # Unpacked it would have another size than its descriptor, and could fill the memory.
    if reply.header("Content-Encoding").strip().lower() not in ("", "identity"):
        reply.close()
        raise faults.invalid_response(operation, "the answer is compressed, though that was not asked for")


def _continue_at(reply: Reply, received: bytearray, operation: str) -> None:
    """Cut ``received`` to where the answer continues: its whole for the rest of it, nothing for all of it."""
    # The whole once more: many registries know no ranges.
    if reply.status == 200:
        received.clear()
        return
    # Pieces of another part would be put together to content with a wrong digest, and the registry blamed for it.
    match = _CONTENT_RANGE.fullmatch(reply.header("Content-Range").strip())
    if match is None or int(match[1]) != len(received):
        reply.close()
        received.clear()
        raise faults.invalid_response(operation, "a partial answer (HTTP 206) of another part than asked for")


def _receive(reply: Reply, received: bytearray, descriptor: Descriptor, operation: str) -> None:
    left = descriptor.size - len(received)
    # Known before a byte is read.
    if reply.length is not None and reply.length != left:
        reply.close()
        raise faults.invalid_response(
            operation, f"the answer announces {reply.length} bytes where its descriptor leaves {left}"
        )
    try:
        for piece in reply.chunks(left):
            # Before it is held: many calls at once share the memory that there is.
            arrival.hold(len(received) + len(piece))
            received += piece
    except DeadlineError:
        # What is left of the body would be the next answer's.
        reply.close()
        raise
    if len(received) > descriptor.size:
        reply.close()
        raise faults.invalid_response(
            operation, f"the body is longer than its descriptor's {descriptor.size} bytes"
        )


def _checked(received: bytearray, descriptor: Descriptor, operation: str) -> bytes:
    # A chunked body, or one that ended early without an error.
    if len(received) != descriptor.size:
        raise faults.invalid_response(
            operation, f"the body has {len(received)} bytes, its descriptor says {descriptor.size}"
        )
    content = bytes(received)
    if hashlib.new(descriptor.digest.algorithm, content).hexdigest() != descriptor.digest.hex:
        raise RegistryError(
            f"{operation} failed: what the registry delivered does not have this digest; the registry, its "
            "storage or something on the way altered it, so nothing of it was used",
            reason=Reason.REGISTRY_INVALID_RESPONSE,
        )
    return content
