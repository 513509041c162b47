"""Lets another process verify a signature: encodes one bundle and one trusted root, and decodes the result.

What comes back is believed only about the bytes that were sent. The other process is a fork of this one
(``resident.fork``); where it gives no such answer, the bundle is verified here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

from cryptography import x509

from slsa_verifier_plugin.errors import Reason, SignatureError
from slsa_verifier_plugin.lru import LruCache
from slsa_verifier_plugin.model.envelope import Candidate, read_blob
from slsa_verifier_plugin.model.signer import Claim, Verified
from slsa_verifier_plugin.signatures import certificate as certificates
from slsa_verifier_plugin.signatures.trust import LoadedRoot, load_root
from slsa_verifier_plugin.signatures.verifier import RootVerifier
from slsa_verifier_plugin.strict_json import loads

MAX_ROOTS = 16
_LENGTH_BYTES = 4

Ask = Callable[[bytes], bytes | None]
"""Sends a request to the other process and returns its reply, None where there is none."""


class SharedVerifier(RootVerifier):
    """A root's verifier that has bundles verified elsewhere, and does it itself where that gives no answer.

    Args:
        root: the trusted root.
        ask: reaches the other process.
    """

    def __init__(self, root: LoadedRoot, ask: Ask) -> None:
        super().__init__(root)
        self._ask = ask

    def verify(self, candidate: Candidate, certificate: x509.Certificate) -> Verified:
        """Return the verified payload of ``candidate``; raises as ``RootVerifier.verify``."""
        # All that the answer depends on goes along, the root's bytes included: the other process keeps nothing that could
        # be stale.
        request = _encoded(self.root.info.source.encode(), self.root.content, candidate.content)
        # None where the other process is busy, gone, or does not exist: verifying here takes as long, on one processor.
        reply = self._ask(request)
        found = _decoded(reply, request) if reply is not None else None
        if found is None:
            return super().verify(candidate, certificate)
        if isinstance(found, SignatureError):
            raise found
        signed_at, log_index = found
        # Only "verified" comes back. What was verified is taken from here, from the bytes that were sent.
        claim = Claim(candidate.payload_type, candidate.payload, certificates.signer_of(certificate))
        return Verified(claim, signed_at, log_index, self.root.info.digest)


class Answerer:
    """The other process's side: verifies what ``SharedVerifier`` sends."""

    def __init__(self) -> None:
        self._roots: LruCache[bytes, RootVerifier] = LruCache(MAX_ROOTS)

    def __call__(self, request: bytes) -> bytes:
        """Return the reply to a request.

        Raises:
            Exception: whatever is wrong with the request, but for a bundle that does not verify: that is an answer.
        """
        source, content, line = _parts(request)
        # The very line that the other side read a candidate from; anything else is a defect, and ends without an answer.
        (candidate,) = read_blob(line, 1).candidates
        assert candidate.certificate is not None
        try:
            verified = self._root(source, content).verify(candidate, certificates.load(candidate.certificate))
        # "It does not verify" is an answer; anything else ends the exchange, and the asker does the work.
        except SignatureError as error:
            problem = error.problem
            found: dict[str, Any] = {
                "error": problem.found,
                "remedy": problem.remedy,
                "reason": error.reason,
            }
        else:
            found = {
                "signedAt": verified.signed_at.isoformat() if verified.signed_at else None,
                "logIndex": verified.log_index,
            }
        # With the request's digest, so that the asker knows which question this answers.
        return json.dumps({"request": _digest(request), **found}).encode()

    def _root(self, source: bytes, content: bytes) -> RootVerifier:
        # The source as well: messages name it, and two policies may name one file in two ways.
        key = hashlib.sha256(source + b"\0" + content).digest()
        return self._roots.get_or_make(key, lambda: RootVerifier(load_root(content, source.decode())))


def _encoded(*parts: bytes) -> bytes:
    # Each part behind its length, so that no content can pass for the next part.
    return b"".join(len(part).to_bytes(_LENGTH_BYTES) + part for part in parts)


def _parts(request: bytes) -> list[bytes]:
    """Return the parts of a request."""
    parts, at = [], 0
    while at < len(request):
        begin = at + _LENGTH_BYTES
        at = begin + int.from_bytes(request[at:begin])
        parts.append(request[begin:at])
    return parts


def _decoded(reply: bytes, request: bytes) -> tuple[datetime | None, int | None] | SignatureError | None:
    """Return time and log index of the bundle in ``request``, or why it does not verify; None for no such answer."""
    try:
        value = loads(reply)
        # An answer to an earlier request, whose asker gave up, must not be taken for this one's.
        if value.pop("request") != _digest(request):
            return None
        if "error" in value:
            return SignatureError(str(value["error"]), str(value["remedy"]), reason=Reason(value["reason"]))
        signed_at, log_index = value["signedAt"], value["logIndex"]
        return datetime.fromisoformat(signed_at) if signed_at else None, log_index
    # Whatever else it is: no word about the bundle, which then is verified here.
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _digest(request: bytes) -> str:
    return hashlib.sha256(request).hexdigest()
