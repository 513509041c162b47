"""Content read with its size and digest checked while it arrives."""

from __future__ import annotations

import re
from dataclasses import replace

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import DeadlineError, Reason, RegistryError
from slsa_verifier_plugin.model.digest import Descriptor
from slsa_verifier_plugin.network import faults
from slsa_verifier_plugin.network.transport import HttpRequest, Reply
from slsa_verifier_plugin.registry import arrival
from slsa_verifier_plugin.registry.repository import RepositoryClient
from slsa_verifier_plugin.registry.retries import retried

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
    # Kept over all attempts, so that a connection that breaks off every few megabytes still ends with the whole.
    received = bytearray()

    def attempt() -> None:
        headers = dict(request.headers)
        # The rest alone: a broken connection does not cost what has come already (RFC 9110, 14.2).
        if received:
            headers["Range"] = f"bytes={len(received)}-"
        # One attempt each: the attempts are counted out here, where a body that breaks off counts as one.
        reply = client.send(replace(request, headers=headers), deadline, most=1)
        if reply.status == 416 and received:
            # What we have is then wrong: once more from the beginning.
            reply.error_body()
            received.clear()
            raise faults.invalid_response(operation, "it refused to continue a body", transient=True)
        # A 206 is checked further below; whoever asked for all of it must not get a part (RFC 9110, 15.3.7).
        if reply.status != 206:
            reply.expect(200)
        _receive(reply, received, descriptor, operation)

    retried(attempt, deadline)
    return _checked(received, descriptor, operation)


def _receive(reply: Reply, received: bytearray, descriptor: Descriptor, operation: str) -> None:
    """Add an answer's body to ``received``, which is cut before to where the answer continues."""
    try:
        why = _misfit(reply, received, descriptor)
        if why:
            raise faults.invalid_response(operation, why)
        for piece in reply.chunks(descriptor.size - len(received)):
            # Before it is held: many calls at once share the memory that there is.
            arrival.hold(len(received) + len(piece))
            received += piece
        # Of a chunked body, whose length is not announced, this is the first sign.
        if len(received) > descriptor.size:
            why = f"the body is longer than its descriptor's {descriptor.size} bytes"
            raise faults.invalid_response(operation, why)
    except (RegistryError, DeadlineError):
        # What is left of the body would be the next answer's.
        reply.close()
        raise


def _misfit(reply: Reply, received: bytearray, descriptor: Descriptor) -> str:
    """Return why an answer is not what was asked for, "" where it is; cut ``received`` to where it continues."""
    # Unpacked it would have another size than its descriptor, and could fill the memory.
    if reply.header("Content-Encoding").strip().lower() not in ("", "identity"):
        return "the answer is compressed, though that was not asked for"
    match = _CONTENT_RANGE.fullmatch(reply.header("Content-Range").strip())
    if reply.status == 200:
        # The whole once more: many registries know no ranges.
        received.clear()
    elif match is None or int(match[1]) != len(received):
        # Pieces of another part would be put together to content with a wrong digest, and the registry blamed for it.
        received.clear()
        return "a partial answer (HTTP 206) of another part than asked for"
    left = descriptor.size - len(received)
    # Refused before a byte is read. The length of a chunked answer is not known here: ``_checked`` looks at it in the end.
    if reply.length is not None and reply.length != left:
        return f"the answer announces {reply.length} bytes where its descriptor leaves {left}"
    return ""


def _checked(received: bytearray, descriptor: Descriptor, operation: str) -> bytes:
    # A chunked body, or one that ended early without an error.
    if len(received) != descriptor.size:
        raise faults.invalid_response(
            operation, f"the body has {len(received)} bytes, its descriptor says {descriptor.size}"
        )
    content = bytes(received)
    # The one thing that proves content (OCI image specification 1.1, "Digests"): all before it only saves bytes and time.
    if not descriptor.digest.matches(content):
        why = (
            "what the registry delivered does not have this digest; the registry, its storage or something on the way "
            "altered it, so nothing of it was used"
        )
        raise faults.failure(operation, why, Reason.REGISTRY_INVALID_RESPONSE)
    return content
