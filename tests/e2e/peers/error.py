"""The one error of this package."""


class PeerError(Exception):
    """A peer could not be had; the message says which one and why."""
