"""A certificate authority for tests: servers on loopback, and clients."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


@dataclass(frozen=True)
class Pair:
    """Files with a certificate and its key."""

    certificate: Path
    key: Path


class Authority:
    """Issues certificates below one root, written to a directory.

    Args:
        directory: where the files go.
        name: the root's common name.
        days: days for which it lasts; negative for one that is over.
        above: the authority that has signed it; None for a root.
        has_key_identifiers: as RFC 5280 wants them (4.2.1.1); many a company's own authority has none.
    """

    def __init__(
        self,
        directory: Path,
        name: str = "test root",
        days: int = 365,
        above: Authority | None = None,
        *,
        has_key_identifiers: bool = True,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._has_key_identifiers = has_key_identifiers
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        signer = above or self
        builder = signer._builder(self._name, self._key.public_key(), days=days)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        builder = builder.add_extension(_usage(signs=True), critical=True)
        root = builder.sign(signer._key, hashes.SHA256())
        self.root = directory / "root.crt"
        self.root.write_bytes(root.public_bytes(serialization.Encoding.PEM))

    def server(self, name: str, *hosts: str, days: int = 30, begins: int = -60) -> Pair:
        """Issue a server's certificate for host names and IP addresses, good from one day until another, counted from today."""
        alternatives: list[x509.GeneralName] = []
        for host in hosts:
            try:
                alternatives.append(x509.IPAddress(ipaddress.ip_address(host)))
            except ValueError:
                alternatives.append(x509.DNSName(host))
        extension = x509.SubjectAlternativeName(alternatives)
        return self._issue(name, ExtendedKeyUsageOID.SERVER_AUTH, extension, (begins, days))

    def client(self, name: str, days: int = 30, begins: int = -60) -> Pair:
        """Issue a client's certificate, good from one day until another, counted from today."""
        return self._issue(name, ExtendedKeyUsageOID.CLIENT_AUTH, None, (begins, days))

    def server_context(self, pair: Pair, *, wants_client: bool = False) -> ssl.SSLContext:
        """Return a server's TLS context; with ``wants_client`` it demands a certificate of this authority."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.certificate, pair.key)
        if wants_client:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.root)
        return context

    def _issue(
        self,
        name: str,
        purpose: x509.ObjectIdentifier,
        alternatives: x509.SubjectAlternativeName | None,
        days: tuple[int, int],
    ) -> Pair:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = self._builder(subject, key.public_key(), days[1], days[0])
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        if alternatives is not None:
            builder = builder.add_extension(alternatives, critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        pair = Pair(self._directory / f"{name}.cert", self._directory / f"{name}.key")
        pair.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        pair.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return pair

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, days: int, begins: int = -60
    ) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + datetime.timedelta(days=begins))
            .not_valid_after(now + datetime.timedelta(days=days))
        )
        # Python 3.13's default context, which stands for other clients here, refuses a certificate without them; Go's does not.
        if self._has_key_identifiers:
            own = x509.SubjectKeyIdentifier.from_public_key(key)
            above = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
            builder = builder.add_extension(own, critical=False).add_extension(above, critical=False)
        return builder


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )
