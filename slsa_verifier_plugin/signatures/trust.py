"""Trusted roots (Sigstore client specification, "Trusted root"; protobuf-specs ``TrustedRoot``).

A root is bytes from somewhere trusted, parsed once. Nothing here fetches.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from importlib import resources
from urllib.parse import quote

from cryptography import x509

from slsa_verifier_plugin.errors import TrustRootError
from slsa_verifier_plugin.policy.verdict import RootInfo
from slsa_verifier_plugin.signatures.files import read_regular
from slsa_verifier_plugin.signatures.libraries import (
    CertificateAuthority,
    CTKeyring,
    KeyringPurpose,
    RekorKeyring,
    TrustedRoot,
    trustroot,
)
from slsa_verifier_plugin.text import plain, quoted

MAX_ROOT = 4 << 20
"""Bytes of a trusted root."""

SHIPPED = {"public-good": "https://tuf-repo-cdn.sigstore.dev", "staging": "https://tuf-repo-cdn.sigstage.dev"}
"""TUF repositories of Sigstore's own instances; the sigstore package carries a copy of their targets."""


@dataclass(frozen=True, slots=True)
class Window:
    """A time span; ``end`` is None where it is open."""

    start: datetime
    end: datetime | None

    def holds(self, moment: datetime) -> bool:
        """Return True if ``moment`` lies in it."""
        return self.start <= moment and (self.end is None or moment <= self.end)


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority or timestamp authority: its chain from leaf or intermediate to root, and its window."""

    certificates: tuple[x509.Certificate, ...]
    window: Window

    def is_issuer_of(self, certificate: x509.Certificate) -> bool:
        """Return True if a certificate of this authority has the name and key id of ``certificate``'s issuer.

        This recognizes; it verifies nothing.
        """
        wanted = _key_id(certificate, x509.AuthorityKeyIdentifier)
        return any(
            known.subject == certificate.issuer
            and (wanted is None or _key_id(known, x509.SubjectKeyIdentifier) in (wanted, None))
            for known in self.certificates
        )


class _KeptRoot(TrustedRoot):
    """sigstore-python's root, which reads its keys and certificates once, not for every bundle."""

    def rekor_keyring(self, purpose: KeyringPurpose) -> RekorKeyring:
        return self._log_keys if purpose is KeyringPurpose.VERIFY else super().rekor_keyring(purpose)

    def ct_keyring(self, purpose: KeyringPurpose) -> CTKeyring:
        return self._ct_log_keys if purpose is KeyringPurpose.VERIFY else super().ct_keyring(purpose)

    def get_timestamp_authorities(self) -> list[CertificateAuthority]:
        return self._timestamp_authorities

    @cached_property
    def _log_keys(self) -> RekorKeyring:
        return super().rekor_keyring(KeyringPurpose.VERIFY)

    @cached_property
    def _ct_log_keys(self) -> CTKeyring:
        return super().ct_keyring(KeyringPurpose.VERIFY)

    @cached_property
    def _timestamp_authorities(self) -> list[CertificateAuthority]:
        return super().get_timestamp_authorities()


@dataclass(frozen=True)
class LoadedRoot:
    """A parsed trusted root. ``logs`` maps a transparency log's key id to its window, ``ct_logs`` a CT log's."""

    content: bytes = field(repr=False)
    info: RootInfo
    root: TrustedRoot
    authorities: tuple[Authority, ...]
    timestamp_authorities: tuple[Authority, ...]
    logs: dict[bytes, Window]
    ct_logs: dict[bytes, Window]

    def authority_of(self, certificate: x509.Certificate) -> list[Authority]:
        """Return the authorities that ``certificate`` names as its issuer."""
        return [authority for authority in self.authorities if authority.is_issuer_of(certificate)]


def load_root(content: bytes, source: str) -> LoadedRoot:
    """Return the trusted root in ``content``, a ``trusted_root.json``.

    Args:
        content: its bytes.
        source: where they came from, for people.

    Raises:
        TrustRootError: it is no usable trusted root.
    """
    try:
        inner = trustroot.TrustedRoot.from_json(content)
        root = _KeptRoot(inner)
        authorities = tuple(_authorities(inner.certificate_authorities))
        timestamp_authorities = tuple(_authorities(inner.timestamp_authorities))
        ct_logs = {log.log_id.key_id: _window(log.public_key.valid_for) for log in inner.ctlogs}
        logs = {log.log_id.key_id: _window(log.public_key.valid_for) for log in inner.tlogs}
    except Exception as error:
        # pydantic, cryptography and sigstore each raise their own types on bad input.
        raise TrustRootError(
            f"the trusted root {quoted(source)} cannot be used: {plain(str(error))}; expected a Sigstore trusted_root.json"
        ) from error
    if not authorities:
        raise TrustRootError(f"the trusted root {quoted(source)} has no certificate authority")
    if not logs and not timestamp_authorities:
        raise TrustRootError(
            f"the trusted root {quoted(source)} has neither a transparency log nor a timestamp authority"
        )
    windows = [authority.window for authority in (*authorities, *timestamp_authorities)]
    # When the newest part began to count: the root was made then or later.
    date = max(window.start for window in (*windows, *logs.values(), *ct_logs.values()))
    info = RootInfo(source, hashlib.sha256(content).hexdigest(), date)
    return LoadedRoot(content, info, root, authorities, timestamp_authorities, logs, ct_logs)


def shipped_root(kind: str) -> bytes:
    """Return the trusted root that the sigstore package carries for ``public-good`` or ``staging``.

    Raises:
        TrustRootError: the installed package has none.
    """
    return shipped_file(kind, "trusted_root.json")


def shipped_file(kind: str, name: str) -> bytes:
    """Return a file of the copy of Sigstore's TUF repository that the sigstore package carries.

    Raises:
        TrustRootError: the installed package has none.
    """
    folder = quote(SHIPPED[kind], safe="")
    try:
        return resources.files("sigstore._store").joinpath(folder, name).read_bytes()
    except (OSError, ModuleNotFoundError) as error:
        raise TrustRootError(
            f"the sigstore package carries no {name} for {kind}; install it again"
        ) from error


def read_root_file(path: str) -> bytes:
    """Return the bytes of a trusted root's file.

    Raises:
        TrustRootError: it cannot be read, or is too large.
    """
    try:
        content = read_regular(path, MAX_ROOT + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a path"
        raise TrustRootError(
            f"the trusted root {quoted(path)} cannot be read: {reason}; mount it or correct trustedRoot"
        ) from error
    if len(content) > MAX_ROOT:
        raise TrustRootError(
            f"the trusted root {quoted(path)} is larger than {MAX_ROOT} bytes; mount a Sigstore trusted_root.json or correct "
            "trustedRoot"
        )
    return content


def _authorities(items: Iterable[trustroot.CertificateAuthority]) -> Iterable[Authority]:
    for item in items:
        chain = tuple(
            x509.load_der_x509_certificate(entry.raw_bytes) for entry in item.cert_chain.certificates
        )
        yield Authority(chain, _window(item.valid_for))


def _window(valid_for: object) -> Window:
    start, end = getattr(valid_for, "start", None), getattr(valid_for, "end", None)
    if not isinstance(start, datetime):
        raise TypeError("an entry has no validFor.start")
    if any(moment is not None and moment.tzinfo is None for moment in (start, end)):
        raise ValueError("a time in validFor has no zone")
    return Window(start, end)


def _key_id(
    certificate: x509.Certificate, kind: type[x509.AuthorityKeyIdentifier | x509.SubjectKeyIdentifier]
) -> bytes | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value.key_identifier
    except x509.ExtensionNotFound:
        return None
