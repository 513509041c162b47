"""Every limit of the network room, with its unit and why it has that value."""

from __future__ import annotations

MAX_LOOKUPS = 64
"""Name lookups under way at once: the system's resolver cannot be interrupted, so a dead one holds threads."""

MAX_CA_BYTES = 32 * 1024 * 1024
"""Bytes of certificate files read from directories for one host."""

MAX_TLS_CONTEXTS = 32
"""Hosts whose TLS contexts are kept: those to which a registry store keeps connections."""

MAX_POOLS = 128
"""Pools of connections that are kept: by server, proxy, allowed addresses and TLS context."""

MAX_CONNECTIONS_A_HOST = 64
"""Connections kept alive to one host; the resident verifier has up to 64 workers."""

MAX_INTERIM_BYTES = 64 * 1024
"""Bytes of all interim answers (100, 102, 103) to one request; servers send one or two (RFC 9110, 15.2; RFC 8297)."""

MAX_MET_HOSTS = 256
"""Hosts whose addresses are remembered after they were connected to."""

MET_SECONDS = 600.0
"""Seconds for which such an address counts: longer than a reach is remembered (``REACH_SECONDS``)."""

REACH_SECONDS = 60.0
"""Time for which it is remembered to which kinds of address a server may send its client."""

MAX_ERROR_BYTES = 64 * 1024
"""Bytes of an error's body that are read to keep its connection usable; more closes the connection."""

MAX_REDIRECTS = 5
"""Redirects followed for one request; registries and mirrors use one, to their object store."""

READ_CHUNK_BYTES = 64 * 1024
"""Bytes asked of a response at a time."""
