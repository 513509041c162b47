"""Trusted roots (Sigstore client specification, "Trusted root"; protobuf-specs ``TrustedRoot``).

A root is bytes from somewhere trusted, parsed once. Nothing here fetches, and nothing looks at a clock: what of a root counts
at a moment is asked with ``Parts.counting``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from importlib import resources
from itertools import chain
from urllib.parse import quote

from cryptography import x509

from slsa_verifier_plugin.errors import TrustRootError
from slsa_verifier_plugin.policy.verdict import RootInfo
from slsa_verifier_plugin.regular_files import read_configured
from slsa_verifier_plugin.signatures.libraries import Key, trustroot
from slsa_verifier_plugin.signatures.root_json import documents, model_of
from slsa_verifier_plugin.signatures.wording import MalformedError, reason_of
from slsa_verifier_plugin.text import quoted

MAX_ROOT = 4 << 20
"""Bytes of a trusted root's file."""

MAX_ROOTS = 16
"""Trusted roots of one file; GitHub's tool writes two."""

SHIPPED = {"public-good": "https://tuf-repo-cdn.sigstore.dev", "staging": "https://tuf-repo-cdn.sigstage.dev"}
"""TUF repositories of Sigstore's own instances; the sigstore package carries a copy of their targets."""


@dataclass(frozen=True, slots=True)
class Window:
    """A time span; ``end`` is None where it is open."""

    start: datetime
    end: datetime | None

    def holds(self, moment: datetime) -> bool:
        """Return True if ``moment`` lies in it."""
        # Both ends belong to it (protobuf-specs, ``TimeRange``).
        return self.start <= moment and (self.end is None or moment <= self.end)


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority or timestamp authority: its chain from leaf or intermediate to root, and its window."""

    certificates: tuple[x509.Certificate, ...]
    window: Window
    model: trustroot.CertificateAuthority = field(repr=False, compare=False)

    def is_issuer_of(self, certificate: x509.Certificate) -> bool:
        """Return True if a certificate of this authority has the name and key id of ``certificate``'s issuer.

        This recognizes; it verifies nothing.
        """
        # Authorities keep their name when they change their key; the key id tells them apart (RFC 5280, 4.2.1.1). Old ones
        # have none.
        wanted = _key_id(certificate, x509.AuthorityKeyIdentifier)
        # A certificate of the root without a key id is recognized by its name alone.
        return any(
            known.subject == certificate.issuer
            and (wanted is None or _key_id(known, x509.SubjectKeyIdentifier) in (wanted, None))
            for known in self.certificates
        )


@dataclass(frozen=True, slots=True)
class Log:
    """A transparency log or CT log: its id as the root declares it, its key, and its window.

    The id need not be the digest of the key (Rekor v2). ``key`` is None where it is of a kind that is not supported.
    """

    id: bytes
    window: Window
    key: Key | None = field(repr=False, compare=False)
    model: trustroot.TransparencyLogInstance = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Parts:
    """Parts of a trusted root."""

    authorities: tuple[Authority, ...]
    timestamp_authorities: tuple[Authority, ...]
    logs: tuple[Log, ...]
    ct_logs: tuple[Log, ...]

    @property
    def windows(self) -> list[Window]:
        """The windows of all parts."""
        items: Iterator[Authority | Log] = chain(
            self.authorities, self.timestamp_authorities, self.logs, self.ct_logs
        )
        return [item.window for item in items]

    def counting(self, moment: datetime, now: datetime) -> tuple[bool, ...]:
        """Return for each of ``windows`` whether it holds ``moment``, and has begun by ``now``."""
        return tuple(window.start <= now and window.holds(moment) for window in self.windows)

    def chosen(self, counting: tuple[bool, ...]) -> Parts:
        """Return the parts that ``counting`` has True for."""
        # One flag for each part, in the order of ``windows``.
        flags = iter(counting)
        return Parts(
            tuple(item for item in self.authorities if next(flags)),
            tuple(item for item in self.timestamp_authorities if next(flags)),
            tuple(item for item in self.logs if next(flags)),
            tuple(item for item in self.ct_logs if next(flags)),
        )

    def authority_of(self, certificate: x509.Certificate) -> list[Authority]:
        """Return the authorities that ``certificate`` names as its issuer."""
        return [authority for authority in self.authorities if authority.is_issuer_of(certificate)]


@dataclass(frozen=True)
class LoadedRoot:
    """A parsed trusted root: ``content`` are its bytes, ``parts`` all that it names, whenever that counts."""

    content: bytes = field(repr=False)
    info: RootInfo
    parts: Parts

    def begun(self, now: datetime) -> int:
        """Return how many parts' time has begun by ``now``; what was verified counts as long as this stays the same."""
        return sum(window.start <= now for window in self.parts.windows)

    def not_begun(self, now: datetime) -> TrustRootError | None:
        """Return why the root cannot be used yet; None where the time of a certificate authority has begun by ``now``."""
        start = min(authority.window.start for authority in self.parts.authorities)
        if start <= now:
            return None
        return TrustRootError(
            f"the trusted root {quoted(self.info.source)} cannot be used yet: its first certificate authority is in "
            f"service from {start:%Y-%m-%dT%H:%M:%SZ} on",
            "correct this machine's clock, or name another root",
        )


@dataclass(frozen=True, slots=True)
class RootFile:
    """The trusted roots of one file, and why others of it cannot be used."""

    roots: tuple[LoadedRoot, ...]
    problems: tuple[TrustRootError, ...] = ()

    @property
    def date(self) -> datetime:
        """When the newest part of all of them began to count."""
        return max(root.info.date for root in self.roots)


def load_roots(content: bytes, source: str) -> RootFile:
    """Return the trusted roots in ``content``: one, or several one after another (``gh attestation trusted-root``).

    Args:
        content: the file's bytes.
        source: where they came from, for people.

    Raises:
        TrustRootError: it holds no usable trusted root.
    """
    try:
        found = documents(content, MAX_ROOTS)
    except ValueError as error:
        raise _unusable(source, error) from None
    # One root alone has no "line" in its name, and its problem is the file's.
    if len(found) == 1:
        return RootFile((load_root(content, source),))
    roots: list[LoadedRoot] = []
    problems: list[TrustRootError] = []
    for line, document in found:
        try:
            roots.append(load_root(document, f"{source} (line {line})"))
        except TrustRootError as error:
            # Of several roots those that can be used count; the others become warnings, or a new form would stop every
            # verification.
            problems.append(error)
    # Several, none of which can be used: the first says why.
    if not roots:
        raise problems[0]
    return RootFile(tuple(roots), tuple(problems))


def load_root(content: bytes, source: str) -> LoadedRoot:
    """Return the trusted root in ``content``, a ``trusted_root.json``.

    Args:
        content: its bytes.
        source: where they came from, for people.

    Raises:
        TrustRootError: it is no usable trusted root.
    """
    try:
        inner = model_of(content)
        parts = Parts(
            tuple(_authorities(inner.certificate_authorities)),
            tuple(_authorities(inner.timestamp_authorities)),
            tuple(_logs(inner.tlogs)),
            tuple(_logs(inner.ctlogs)),
        )
    except Exception as error:
        # pydantic, cryptography and sigstore each raise their own types on bad input.
        raise _unusable(source, error) from error
    # Without one no certificate could ever verify: better said now than as "unknown CA" for each bundle.
    if not parts.authorities:
        raise TrustRootError(f"the trusted root {quoted(source)} has no certificate authority")
    # Nothing could vouch for a time, and short-lived certificates are valid for ten minutes.
    if not parts.logs and not parts.timestamp_authorities:
        raise TrustRootError(
            f"the trusted root {quoted(source)} has neither a transparency log nor a timestamp authority"
        )
    # When the newest part began to count: the root was made then or later.
    date = max(window.start for window in parts.windows)
    return LoadedRoot(content, RootInfo(source, hashlib.sha256(content).hexdigest(), date), parts)


def shipped_file(kind: str, name: str) -> bytes:
    """Return a file of the copy of Sigstore's TUF repository that the sigstore package carries.

    Args:
        kind: ``public-good`` or ``staging``.
        name: ``root.json``, with which trust begins, or ``trusted_root.json``, the trusted root.

    Raises:
        TrustRootError: the installed package has none.
    """
    # The package names the folder after the repository's URL, percent-encoded.
    folder = quote(SHIPPED[kind], safe="")
    try:
        return resources.files("sigstore._store").joinpath(folder, name).read_bytes()
    except (OSError, ModuleNotFoundError) as error:
        raise TrustRootError(
            f"the sigstore package carries no {name} for {kind}", "install it again"
        ) from error


def read_root_file(path: str) -> bytes:
    """Return the bytes of a trusted root's file.

    Raises:
        TrustRootError: it cannot be read, or is too large.
    """
    what = f"the trusted root {quoted(path)}"
    content = read_configured(path, MAX_ROOT + 1, what, "mount it or correct trustedRoot")
    # One byte more was asked for, which tells a file that is too long from one of just that length.
    if len(content) > MAX_ROOT:
        raise TrustRootError(
            f"{what} is larger than {MAX_ROOT} bytes",
            "mount a Sigstore trusted_root.json or correct trustedRoot",
        )
    return content


def _unusable(source: str, error: Exception) -> TrustRootError:
    return TrustRootError(
        f"the trusted root {quoted(source)} cannot be used: {reason_of(error)}",
        "expected a Sigstore trusted_root.json",
    )


def _authorities(items: Iterable[trustroot.CertificateAuthority]) -> Iterator[Authority]:
    for item in items:
        # Parsed once, when the root is read: a certificate that cannot be read makes the root unusable, and not a bundle.
        certificates = tuple(
            x509.load_der_x509_certificate(entry.raw_bytes) for entry in item.cert_chain.certificates
        )
        # Its window without a certificate would be an authority that nobody can be.
        if not certificates:
            raise MalformedError("an authority has no certificate")
        yield Authority(certificates, _window(item.valid_for), item)


def _logs(items: Iterable[trustroot.TransparencyLogInstance]) -> Iterator[Log]:
    for item in items:
        try:
            key = Key(item.public_key)
        except Exception:  # noqa: BLE001 (as every library's errors: the log is known, and nothing verifies by it)
            # An ML-DSA log, say: known by its id, so that a bundle of it is told apart from one of an unknown log.
            key = None
        yield Log(item.log_id.key_id, _window(item.public_key.valid_for), key, item)


def _window(valid_for: object) -> Window:
    start, end = getattr(valid_for, "start", None), getattr(valid_for, "end", None)
    if not isinstance(start, datetime):
        raise MalformedError("an entry has no validFor.start")
    # Compared with the clock's UTC; without a zone it could be any of 24 hours.
    if any(moment is not None and moment.tzinfo is None for moment in (start, end)):
        raise MalformedError("a time in validFor has no zone")
    return Window(start, end)


def _key_id(
    certificate: x509.Certificate, kind: type[x509.AuthorityKeyIdentifier | x509.SubjectKeyIdentifier]
) -> bytes | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value.key_identifier
    except x509.ExtensionNotFound:
        # Roots of private instances often have no key ids (RFC 5280 asks for them, and nobody checks).
        return None
