"""Lists that a registry serves in pages, linked by ``Link`` headers (RFC 8288, rel="next")."""

from __future__ import annotations

import re
from urllib.parse import urljoin

from slsa_verifier_plugin.network.origins import origin_of
from slsa_verifier_plugin.registry import faults

_LINK = re.compile(
    r"<([^<>]*)>((?:[ \t]*;[ \t]*[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:=(?:\"[^\"]*\"|[^\s,;\"]*))?)*)"
)
_NEXT = re.compile(r";[ \t]*rel=(?:\"([^\"]*)\"|([^\s,;\"]*))", re.IGNORECASE)


class Pages:
    """Where the next page is, with loops and other hosts refused.

    Args:
        url: the first page.
        limit: pages that are read at most.
        operation: what is being done, for messages.
    """

    def __init__(self, url: str, limit: int, operation: str) -> None:
        self._home = origin_of(url)
        self._seen = {url}
        self._limit = limit
        self._operation = operation

    def next(self, url: str, link: str) -> str | None:
        """Return the URL of the page after ``url``, None after the last.

        Args:
            url: the page just read.
            link: its ``Link`` header, "" where there was none.

        Raises:
            RegistryError: the link leads elsewhere, in a circle, or there are too many pages.
        """
        target = next_link(link)
        if target is None:
            return None
        try:
            following = urljoin(url, target)
            elsewhere = "@" in following or origin_of(following) != self._home
        except ValueError:
            elsewhere = True
        if elsewhere:
            raise faults.invalid_response(self._operation, "the link to its next page leads to another host")
        if following in self._seen:
            raise faults.invalid_response(self._operation, "the links between its pages go in a circle")
        self._seen.add(following)
        if len(self._seen) > self._limit:
            raise faults.too_many(self._operation, "pages", self._limit)
        return following


def next_link(header: str) -> str | None:
    """Return the target of ``rel="next"`` in a ``Link`` header, None where there is none."""
    for match in _LINK.finditer(header[:16384]):
        for relation in _NEXT.finditer(match[2]):
            if "next" in (relation[1] if relation[1] is not None else relation[2]).lower().split():
                return match[1]
    return None
