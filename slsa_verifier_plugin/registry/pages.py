"""Lists that a registry serves in pages, linked by ``Link`` headers (RFC 8288, rel="next"); lists of names among them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.network import faults
from slsa_verifier_plugin.network.origins import origin_of, target_of
from slsa_verifier_plugin.network.transport import HttpRequest, Reply
from slsa_verifier_plugin.registry import limits
from slsa_verifier_plugin.registry.manifests import json_object
from slsa_verifier_plugin.registry.repository import RepositoryClient

# By hand: ``requests.utils.parse_header_links`` cuts a target at its first semicolon, takes text without angle brackets for one,
# and misses ``REL``, which is the same as ``rel`` (RFC 8288, 3).
_LINK = re.compile(
    r"<([^<>]*)>((?:[ \t]*;[ \t]*[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:=(?:\"[^\"]*\"|[^\s,;\"]*))?)*)"
)
_NEXT = re.compile(r";[ \t]*rel=(?:\"([^\"]*)\"|([^\s,;\"]*))", re.IGNORECASE)


def pages_of(url: str, limit: int, operation: str, ask: Callable[[str], Reply]) -> Iterator[Reply]:
    """Yield the pages of a list, each as ``ask`` gets it; its body is read before the next one is asked for.

    Args:
        url: the first page.
        limit: pages that are read at most.
        operation: what is being done, for messages.
        ask: gets the page at a URL.

    Raises:
        RegistryError: a link leads elsewhere or in a circle, or there are too many pages.
    """
    seen: set[str] = set()
    while True:
        # A page that links to itself would be read until the time is over.
        if url in seen:
            raise faults.invalid_response(operation, "the links between its pages go in a circle")
        # Each with another query, pages could go on for ever without a circle.
        if len(seen) >= limit:
            raise faults.too_many(operation, "pages", limit)
        seen.add(url)
        reply = ask(url)
        yield reply
        # Only once the caller has read the page: an error in it ends the list before another request.
        link = next_link(reply.header("Link"))
        if link is None:
            return
        # Relative in most registries (OCI distribution 1.1, "Listing Tags"), absolute in a few.
        following = target_of(url, link)
        # Our token goes with each page, so a link must not send it to somebody else.
        if following is None or origin_of(following) != origin_of(url):
            raise faults.invalid_response(
                operation, "the link to its next page is no URL, or leads to another host"
            )
        url = following


def next_link(header: str) -> str | None:
    """Return the target of ``rel="next"`` in a ``Link`` header, None where there is none."""
    # Cut: the pattern is linear, and a header could still have 64 KiB of it on each of 256 pages.
    for match in _LINK.finditer(header[:16384]):
        for relation in _NEXT.finditer(match[2]):
            # Several relations in one parameter are allowed: rel="next last" (RFC 8288, 3.3).
            if "next" in (relation[1] if relation[1] is not None else relation[2]).lower().split():
                return match[1]
    return None


def list_names(
    client: RepositoryClient, url: str, field: str, operation: str, deadline: Deadline
) -> list[str]:
    """Return all names that the pages from ``url`` on list.

    Args:
        client: the repository.
        url: the first page.
        field: where a page has its names, as ``tags``.
        operation: what is being done, for messages.
        deadline: the end of all pages.

    Raises:
        RegistryError: a page cannot be had or is broken, or the list is over a limit.
        DeadlineError: out of time.
    """
    found: list[str] = []

    def ask(page: str) -> Reply:
        return client.send(HttpRequest(operation, page), deadline)

    for reply in pages_of(url, limits.MAX_LIST_PAGES, operation, ask):
        reply.expect()
        # Go writes an empty list as null.
        names = json_object(reply.read(limits.MAX_MANIFEST_BYTES), operation).get(field) or []
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise faults.invalid_response(operation, f"its {field} are not a list of names")
        found += names
        if len(found) > limits.MAX_LISTED:
            raise faults.too_many(operation, field, limits.MAX_LISTED)
    return found
