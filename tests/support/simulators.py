"""Simulators of what ``verify`` is given: a store in memory, and signatures that cost nothing.

They implement the Protocols of ``verification.evidence`` in full, so a test tells them what there is, and never what to answer.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import Reason, RegistryError, SignatureError, VerifierError
from slsa_verifier_plugin.model.digest import Descriptor, Digest
from slsa_verifier_plugin.model.envelope import BUNDLE_MEDIA_TYPES, Candidate
from slsa_verifier_plugin.model.signer import Claim, Signer, Verified
from slsa_verifier_plugin.model.statement import PAYLOAD_TYPE
from slsa_verifier_plugin.policy.verdict import RootInfo
from slsa_verifier_plugin.registry.reference import Reference
from tests.support.policies import signer
from tests.support.sigstore import SIGNED_AT, Identity, vsa

IMAGE_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
REPOSITORY = "registry.example/app"
ROOT = RootInfo("the simulator's root", "ab" * 32, datetime(2025, 1, 1, tzinfo=UTC))


class MemoryStore:
    """A registry's content, each piece checked as ``ArtifactStore`` promises.

    ``failures`` maps digests (or ``referrers``) to what is raised; ``asked`` counts what was asked for.
    """

    def __init__(self) -> None:
        self.content: dict[Digest, bytes] = {}
        self.referring: dict[Digest, list[Descriptor]] = {}
        self.failures: dict[Digest | str, VerifierError] = {}
        self.asked: Counter[Digest | str] = Counter()

    def put(self, content: bytes, media_type: str = "application/octet-stream", **more: Any) -> Descriptor:
        """Hold ``content`` and return its descriptor."""
        digest = Digest.of(content)
        self.content[digest] = content
        return Descriptor(media_type, digest, len(content), **more)

    def put_json(self, value: Any, media_type: str, **more: Any) -> Descriptor:
        """Hold a JSON document and return its descriptor."""
        return self.put(json.dumps(value).encode(), media_type, **more)

    def put_image(
        self, annotations: Mapping[str, str] | None = None, config: Any = None, note: str = ""
    ) -> Descriptor:
        """Hold an image manifest and its config."""
        held = self.put_json(
            {"architecture": "amd64", **(config or {})}, "application/vnd.oci.image.config.v1+json"
        )
        manifest: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": IMAGE_TYPE,
            "config": as_json(held),
            "layers": [],
        }
        if annotations is not None:
            manifest["annotations"] = dict(annotations)
        if note:
            manifest["note"] = note
        return self.put_json(manifest, IMAGE_TYPE)

    def attach(
        self, subject: Descriptor | None, *blobs: bytes, artifact_type: str = "slsla/attestation"
    ) -> Descriptor:
        """Hold an artifact of ``blobs`` that hangs on ``subject``, list it, and return its descriptor."""
        layers = [as_json(self.put(blob)) for blob in blobs]
        manifest: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": IMAGE_TYPE,
            "artifactType": artifact_type,
            "layers": layers,
        }
        if subject is not None:
            manifest["subject"] = as_json(subject)
        described = self.put_json(manifest, IMAGE_TYPE, artifact_type=artifact_type)
        if subject is not None:
            self.referring.setdefault(subject.digest, []).append(described)
        return described

    def manifest(self, image: Reference, descriptor: Descriptor, deadline: Deadline) -> bytes:
        return self._get(descriptor, deadline)

    def blob(self, image: Reference, descriptor: Descriptor, limit: int, deadline: Deadline) -> bytes:
        if descriptor.size > limit:
            raise RegistryError("larger than allowed", reason=Reason.LIMIT_EXCEEDED)
        return self._get(descriptor, deadline)

    def referrers(self, image: Reference, deadline: Deadline) -> list[Descriptor]:
        self._ask("referrers", deadline)
        assert image.digest is not None
        return list(self.referring.get(image.digest, ()))

    def resolve(self, image: Reference, deadline: Deadline) -> Descriptor:
        raise RegistryError("the simulator has no tags")

    def _get(self, descriptor: Descriptor, deadline: Deadline) -> bytes:
        self._ask(descriptor.digest, deadline)
        content = self.content.get(descriptor.digest)
        if content is None:
            raise RegistryError(f"no {descriptor.digest}", reason=Reason.REGISTRY_NOT_FOUND)
        if len(content) != descriptor.size:
            raise RegistryError("another size", reason=Reason.REGISTRY_INVALID_RESPONSE)
        return content

    def _ask(self, what: Digest | str, deadline: Deadline) -> None:
        deadline.check("asking the simulator")
        self.asked[what] += 1
        if what in self.failures:
            raise self.failures[what]


class Notary:
    """Signs statements, and implements ``SignatureVerifier`` for what it signed: the certificate names the signer in plain JSON.

    Args:
        secret: two notaries with different secrets are strangers.
        keys: identities of configured keys, by how the policy writes them.
    """

    def __init__(self, secret: str = "ours", keys: Mapping[str, str] | None = None) -> None:
        self._secret = secret.encode()
        self._keys = dict(keys or {})
        self.verified: list[Candidate] = []
        self.roots: tuple[RootInfo, ...] = (ROOT,)
        self.warnings: tuple[str, ...] = ()

    @property
    def key_identities(self) -> Mapping[str, str]:
        return self._keys

    def sign(
        self,
        statement: Any = None,
        by: Identity | Signer | None = None,
        *,
        at: datetime | None = SIGNED_AT,
        payload_type: str = PAYLOAD_TYPE,
    ) -> bytes:
        """Return a bundle, as a line without its end."""
        payload = statement if isinstance(statement, bytes) else json.dumps(statement or vsa()).encode()
        named = by if isinstance(by, Signer) else signer(by)
        claims = {str(arc): text for arc, text in named.claims.items()}
        certificate = json.dumps(
            [named.identity, named.issuer, claims, at.isoformat() if at else None]
        ).encode()
        envelope = {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": payload_type,
            "signatures": [{"sig": self._signature(certificate, payload_type, payload)}],
        }
        material = {"certificate": {"rawBytes": base64.b64encode(certificate).decode()}}
        bundle = {
            "mediaType": BUNDLE_MEDIA_TYPES[3],
            "verificationMaterial": material,
            "dsseEnvelope": envelope,
        }
        return json.dumps(bundle).encode()

    def claims(self, candidate: Candidate) -> list[Claim]:
        return [Claim(candidate.payload_type, candidate.payload, self._signer(candidate)[0])]

    def verify(self, candidate: Candidate) -> Verified:
        self.verified.append(candidate)
        named, at = self._signer(candidate)
        given = json.loads(candidate.content)["dsseEnvelope"]["signatures"][0]["sig"]
        assert candidate.certificate is not None
        if given != self._signature(candidate.certificate, candidate.payload_type, candidate.payload):
            raise SignatureError("the signature is another notary's")
        return Verified(Claim(candidate.payload_type, candidate.payload, named), at, 7, ROOT.digest)

    def _signer(self, candidate: Candidate) -> tuple[Signer, datetime | None]:
        try:
            identity, issuer, claims, at = json.loads(candidate.certificate or b"")
        except ValueError as error:
            raise SignatureError("the certificate cannot be read") from error
        named = Signer(identity, issuer, {int(arc): text for arc, text in claims.items()})
        return named, datetime.fromisoformat(at) if at else None

    def _signature(self, certificate: bytes, payload_type: str, payload: bytes) -> str:
        message = json.dumps([certificate.hex(), payload_type, payload.hex()]).encode()
        return hmac.new(self._secret, message, hashlib.sha256).hexdigest()


def as_json(descriptor: Descriptor) -> dict[str, Any]:
    """Return a descriptor as a manifest holds it."""
    return {"mediaType": descriptor.media_type, "digest": str(descriptor.digest), "size": descriptor.size}


def reference(digest: Digest) -> Reference:
    """Return the simulator's image with a digest."""
    return Reference.parse(f"{REPOSITORY}@{digest}")


def lines(items: Sequence[bytes]) -> bytes:
    """Return JSON lines."""
    return b"".join(item + b"\n" for item in items)
