"""A token server whose tokens Debian's docker-registry accepts: JWTs signed with a certificate it trusts."""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections.abc import Mapping, Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from tests.support.certificates import Pair
from tests.support.registries import TokenServer

SERVICE = "test-registry"
ISSUER = "test-issuer"


class JwtServer(TokenServer):
    """Issues tokens of the distribution token specification ("Token Authentication Implementation").

    Args:
        pair: the signing certificate and its key.
        users: passwords by user name.
    """

    def __init__(self, pair: Pair, users: Mapping[str, str]) -> None:
        super().__init__(users)
        key = serialization.load_pem_private_key(pair.key.read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self._key = key
        certificate = x509.load_pem_x509_certificate(pair.certificate.read_bytes())
        self._chain = [base64.b64encode(certificate.public_bytes(serialization.Encoding.DER)).decode()]

    def new_token(self, user: str | None, scopes: Sequence[str]) -> str:
        now = int(time.time())
        access = []
        for scope in scopes:
            kind, name, actions = scope.split(":")
            access.append({"type": kind, "name": name, "actions": actions.split(",")})
        claims = {
            "iss": ISSUER,
            "sub": user or "",
            "aud": SERVICE,
            "exp": now + self.seconds,
            "nbf": now - 5,
            "iat": now,
            "jti": secrets.token_hex(8),
            "access": access,
        }
        signed = ".".join(
            _encoded(item) for item in ({"typ": "JWT", "alg": "ES256", "x5c": self._chain}, claims)
        )
        r, s = decode_dss_signature(self._key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{_base64(r.to_bytes(32) + s.to_bytes(32))}"


def _encoded(value: object) -> str:
    return _base64(json.dumps(value).encode())


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
