"""Where the provider listens, what it may use, and why each limit has its value."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field

from slsa_verifier_plugin.errors import UsageError
from slsa_verifier_plugin.provider.tls_files import TlsFiles
from slsa_verifier_plugin.resident.server.permit_pool import ThreadLimits
from slsa_verifier_plugin.text import quoted


@dataclass(frozen=True, slots=True)
class LaneLimits(ThreadLimits):
    """Limits of one lane of keys.

    Attributes:
        queue: keys that wait beyond those that are begun.
    """

    workers: int = 2
    threads: int = 128
    queue: int = 1024


@dataclass(frozen=True, slots=True)
class ProviderLimits:
    """What clients may take up.

    Attributes:
        handshakes: TLS handshakes at once; of more the oldest is ended.
        connections: connections beyond their handshake; of more the one that has been idle longest is ended. Each of
            Gatekeeper's Pods keeps a few.
        handshake_seconds: time for one handshake.
        head_seconds: time for the head of a request, from its first byte or the handshake on.
        body_seconds: time for the body of a request.
        write_seconds: time for which a client may take nothing of its answer.
        idle_seconds: time that a connection is kept without a request: Go's clients end theirs after 90 s, and whoever ends it
            first never meets a request on its way.
        age_seconds: age of a connection at which its next answer is the last: its client's certificate may have ended.
        held_bytes: bytes of request bodies that are being read at once, and of answers that are being taken, each.
        kept_bytes: bytes of decisions that are kept.
        seen: images that are remembered as seen before.
        stop_seconds: time for a stopping server to end what it has begun.
    """

    handshakes: int = 128
    connections: int = 256
    handshake_seconds: float = 5.0
    head_seconds: float = 5.0
    body_seconds: float = 5.0
    write_seconds: float = 10.0
    idle_seconds: int = 120
    age_seconds: float = 3600.0
    held_bytes: int = 8 << 20
    kept_bytes: int = 8 << 20
    seen: int = 8192
    stop_seconds: int = 15


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port; port 0 is any that is free."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """True where only this machine reaches it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        # A name: of none but localhost is it sure that it stays on this machine.
        except ValueError:
            return self.host == "localhost"

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """What the command line asks for; ``seconds`` is the time for each key, ``drain_seconds`` that of a leaving server.

    ``any_client``: clients need no certificate, and the administrator has asked for that.
    """

    policies: tuple[str, ...]
    listen: Address
    health: Address
    tls: TlsFiles
    seconds: float = 4.0
    drain_seconds: float = 5.0
    namespaced: bool = False
    any_client: bool = False
    unseen: LaneLimits = field(default_factory=LaneLimits)
    # An interpreter runs one thread at a time: two that work keep it busy, and each more takes from those that answer.
    seen: LaneLimits = field(default_factory=lambda: LaneLimits(threads=64))
    limits: ProviderLimits = field(default_factory=ProviderLimits)

    def check(self) -> None:
        """Refuse what must not be served.

        Raises:
            UsageError: whoever reaches the address could ask, without a certificate, and nobody said that they may.
        """
        # One of them was not meant, and which of them nobody can say.
        if self.tls.client_ca and self.any_client:
            raise UsageError(
                "--any-client takes clients without a certificate, --client-ca refuses them; expected one of the two"
            )
        # Kyverno has no client certificate to show. What a stranger gets is verdicts and this server's time, never a Pod.
        if not self.tls.client_ca and not self.any_client and not self.listen.is_loopback:
            raise UsageError(
                f"--listen {self.listen} is reached from elsewhere, and without --client-ca anybody there may ask; give "
                "--client-ca (Gatekeeper's: ca.crt of the Secret gatekeeper-webhook-server-cert), or listen on 127.0.0.1; for "
                "Kyverno, which shows no certificate, give --any-client and let a NetworkPolicy keep others away"
            )


def read_address(text: str, option: str) -> Address:
    """Return the address in ``ADDRESS:PORT``; an IPv6 address stands in brackets.

    Raises:
        UsageError: it is none.
    """
    host, colon, port = text.rpartition(":")
    # IPv6 has colons of its own (RFC 3986 "3.2.2").
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    # Without brackets nobody can say where the address ends.
    elif ":" in host:
        host = ""
    # isdigit alone is true of Arabic digits, too, and int() refuses thousands of digits with an exception.
    is_port = port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535
    if not colon or not host or not is_port:
        raise UsageError(
            f"{option} {quoted(text, 80)}: expected ADDRESS:PORT, such as 0.0.0.0:6001 or [::]:6001"
        )
    return Address(host, int(port))
