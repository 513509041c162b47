"""``python -m tests.e2e.peers [NAME...]``: build the peers named, or all, and print where they are."""

from __future__ import annotations

import logging
import sys

from tests.e2e.peers import PEERS, PeerError, peer
from tests.e2e.peers.catalogue import DOCKER_REGISTRY


def main(names: list[str]) -> int:
    """Build each of ``names``; returns the exit status, 1 where any failed."""
    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stderr)
    failed = 0
    for name in names or [*PEERS, DOCKER_REGISTRY]:
        try:
            sys.stdout.write(f"{name} {peer(name)}\n")
        except PeerError as error:
            sys.stderr.write(f"{name}: {error}\n")
            failed = 1
        sys.stdout.flush()
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
