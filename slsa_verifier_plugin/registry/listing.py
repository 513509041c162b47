"""Lists of names: tags and repositories (OCI distribution specification 1.1, "Listing Tags")."""

from __future__ import annotations

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.registry import faults, limits
from slsa_verifier_plugin.registry.http.transport import HttpRequest
from slsa_verifier_plugin.registry.manifests import json_object
from slsa_verifier_plugin.registry.pages import Pages
from slsa_verifier_plugin.registry.repository import RepositoryClient


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
    pages = Pages(url, limits.MAX_LIST_PAGES, operation)
    for reply in pages.read(lambda page: client.send(HttpRequest(operation, page), deadline)):
        reply.expect()
        # Go writes an empty list as null.
        names = json_object(reply.read(limits.MAX_MANIFEST_BYTES), operation).get(field) or []
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise faults.invalid_response(operation, f"its {field} are not a list of names")
        found += names
        if len(found) > limits.MAX_LISTED:
            raise faults.too_many(operation, field, limits.MAX_LISTED)
    return found
