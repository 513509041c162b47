"""The real programs that the end-to-end tests run against, built from source and cached outside the tree.

``peer(name)`` returns an executable and builds it first where the cache has none;
``python -m tests.e2e.peers [NAME...]`` does so from a shell and prints ``NAME PATH`` lines.
"""

from tests.e2e.peers.build import cache_root, peer
from tests.e2e.peers.catalogue import PEERS, GoPeer
from tests.e2e.peers.error import PeerError

__all__ = ["PEERS", "GoPeer", "PeerError", "cache_root", "peer"]
