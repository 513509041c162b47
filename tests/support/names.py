"""Name lookups for tests: no test asks the machine's own resolver."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from slsa_verifier_plugin.network.dialing import Endpoint, Resolver


def nowhere(host: str, port: int) -> list[Endpoint]:
    """Know no name at all."""
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


def endpoint(address: str, port: int) -> Endpoint:
    """Return an address as the system's resolver gives it."""
    return Endpoint(socket.AF_INET6 if ":" in address else socket.AF_INET, (address, port))


def knowing(**names: Sequence[str]) -> Resolver:
    """Return a resolver that knows these names only; the dots of a name are written as underscores."""
    known = {name.replace("_", "."): addresses for name, addresses in names.items()}

    def lookup(host: str, port: int) -> list[Endpoint]:
        return [endpoint(item, port) for item in known[host]] if host in known else nowhere(host, port)

    return Resolver(lookup)
