"""Makes the TLS context: of the server's certificate, its key and the clients' authority, anew when the files change."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime

from slsa_verifier_plugin.errors import UsageError
from slsa_verifier_plugin.regular_files import read_regular
from slsa_verifier_plugin.signatures.expiry import lifetimes
from slsa_verifier_plugin.text import quoted

MAX_FILE = 1 << 20
"""Bytes of a file of certificates; one certificate has some 2 KiB."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Paths of PEM files; without ``client_ca`` no client shows a certificate."""

    certificate: str
    key: str
    client_ca: str = ""

    @property
    def paths(self) -> tuple[str, ...]:
        """Every file that counts."""
        return tuple(path for path in (self.certificate, self.key, self.client_ca) if path)


@dataclass(frozen=True, slots=True)
class TlsContext:
    """A context for new connections, and when each file's first certificate ends.

    ``ends`` is when the server's own certificate does, whatever comes with it. ``clients`` is what the clients' authority was
    read from: whoever was let in by another one is not let in by this.
    """

    context: ssl.SSLContext
    expiries: dict[str, datetime]
    ends: datetime
    clients: bytes


def load_tls(files: TlsFiles) -> TlsContext:
    """Return a context of the files as they are now.

    A new context each time: certificates of clients' authorities can be added to a context but not taken out of it.

    Raises:
        UsageError: a file cannot be read, is not what it must be, has ended or not begun; or key and certificate do not belong
            together.
    """
    # Gatekeeper speaks TLS 1.3 alone, Kyverno 1.2 too; nothing older is answered.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Compression leaks (CRIME); a client has no say in renegotiation.
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    # Gatekeeper resumes no session, and a ticket costs as much as the rest of a handshake: the client's chain is in it.
    # Nor is a resumed session's certificate looked at again.
    context.num_tickets = 0
    _, own = _certificates(files.certificate, "--tls-cert")
    # The first certificate is the server's: others may be of authorities that cross-signed and have ended since.
    _check_time(own[:1], f"{quoted(files.certificate)} (--tls-cert)", "no client connects to it")
    first = {"certificate": min(end for _, end in own)}
    clients = b""
    # Read for its error alone: OpenSSL does not say which of the two files it cannot read.
    _content(files.key, "--tls-key")
    try:
        # An encrypted key would make OpenSSL ask for its password at a terminal.
        context.load_cert_chain(files.certificate, files.key, password=lambda: b"")
    except (ssl.SSLError, OSError, ValueError) as error:
        raise UsageError(
            f"{quoted(files.certificate)} and {quoted(files.key)} are no certificate and its key in PEM ({_reason(error)}); "
            "expected both, without a password"
        ) from None
    # Without it whoever reaches the address may ask (``ProviderSettings.check``).
    if files.client_ca:
        clients, authorities = _certificates(files.client_ca, "--client-ca")
        # One of several may have ended: Gatekeeper keeps its authority's last one beside the next.
        _check_time(authorities, f"{quoted(files.client_ca)} (--client-ca)", "no client would be accepted")
        first["client-ca"] = min(end for _, end in authorities)
        # Any client of that authority will do: Gatekeeper's has issued one certificate (docs/limits.md).
        context.verify_mode = ssl.CERT_REQUIRED
        # As Go, and so Ratify, has it: any authority in the file will do, though who signed it (a company's root) is not there.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        try:
            # What was read, not the file again: it may be another by now. Comments between certificates may be in any letters.
            context.load_verify_locations(cadata=clients.decode("ascii", "ignore"))
        except (ssl.SSLError, OSError, ValueError) as error:
            raise UsageError(
                f"{quoted(files.client_ca)} holds no certificates of an authority in PEM ({_reason(error)})"
            ) from None
        if not context.get_ca_certs():
            # OpenSSL takes a server's certificate for an authority's, and then no client is ever accepted.
            raise UsageError(f"{quoted(files.client_ca)} holds no certificate of an authority (CA:TRUE)")
    return TlsContext(context, first, own[0][1], clients)


def _certificates(path: str, option: str) -> tuple[bytes, list[tuple[datetime, datetime]]]:
    """Return a file's bytes, and when each of its certificates begins and ends."""
    content = _content(path, option)
    try:
        return content, lifetimes(content)
    except ValueError:
        raise UsageError(f"{quoted(path)} ({option}) holds no certificate in PEM") from None


def _check_time(lives: list[tuple[datetime, datetime]], file: str, effect: str) -> None:
    """Raise ``UsageError`` where none of a file's certificates counts now; ``effect`` is what that leads to."""
    now = datetime.now(UTC)
    if any(begin <= now < end for begin, end in lives):
        return
    # Renewed too early, or on a machine whose clock is ahead: what was there before counts until then.
    later = [begin for begin, end in lives if end > now]
    last = max(end for _, end in lives)
    found = f"begins on {min(later):%Y-%m-%d}" if later else f"ended on {last:%Y-%m-%d}"
    raise UsageError(f"{file} {found}, and {effect}; renew it")


def _content(path: str, option: str) -> bytes:
    try:
        content = read_regular(path, MAX_FILE + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a path"
        raise UsageError(f"{quoted(path)} ({option}) cannot be read: {reason}") from None
    # A path that leads to a log or a device: it must not fill the memory at each reload.
    if len(content) > MAX_FILE:
        raise UsageError(f"{quoted(path)} ({option}) is larger than {MAX_FILE >> 20} MiB")
    return content


def _reason(error: Exception) -> str:
    """Return OpenSSL's name for what is wrong, which holds nothing of a file."""
    name = getattr(error, "reason", None)
    return quoted(str(name or type(error).__name__), 80)
