"""What refers to an image: the referrers API, and the tag that stands in for it (OCI distribution 1.1)."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from slsa_verifier_plugin import strict_json
from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import ArtifactError
from slsa_verifier_plugin.members import text_at
from slsa_verifier_plugin.model.digest import Descriptor, Digest
from slsa_verifier_plugin.model.envelope import PREDICATE_TYPE_ANNOTATION
from slsa_verifier_plugin.network import faults
from slsa_verifier_plugin.network.transport import HttpRequest, Reply
from slsa_verifier_plugin.registry import limits
from slsa_verifier_plugin.registry.manifests import INDEX_TYPE, json_object
from slsa_verifier_plugin.registry.pages import pages_of
from slsa_verifier_plugin.registry.repository import RepositoryClient

EMPTY_TYPE = "application/vnd.oci.empty.v1+json"

_NO_API = frozenset({301, 302, 303, 307, 308, 404, 405, 406, 501})
"""Statuses with which registries answer that they have no such API; a redirect leaves for a web page."""


def fallback_tag(digest: Digest) -> str:
    """Return the tag of the referrers index where there is no API ("Referrers Tag Schema")."""
    # Cut as the specification says, which only matters for sha512.
    return f"{digest.algorithm[:32]}-{digest.hex[:64]}"


def from_api(
    client: RepositoryClient,
    digest: Digest,
    deadline: Deadline,
    artifact_type: str | None = None,
    *,
    parsing: threading.Lock,
) -> list[Descriptor] | None:
    """Return the referrers from the API, None where the registry has none.

    Args:
        client: the image's repository.
        digest: the image's.
        deadline: the end of all pages.
        artifact_type: asks the registry to leave out other types. Whether it did (``OCI-Filters-Applied``) makes
            no difference: what it leaves in is looked at by the caller.
        parsing: held while a page is parsed, so that callers at once have one parsed page in memory together.

    Raises:
        RegistryError: a page failed, is no index, or the list is over a limit.
        DeadlineError: out of time.
    """
    operation = f"listing the referrers of {digest}"
    url = client.url(f"referrers/{digest}")
    if artifact_type is not None:
        # OCI distribution 1.1, "Listing Referrers": ``artifactType`` is the only filter there is.
        url += "?" + urlencode({"artifactType": artifact_type})
    entries = _Entries(operation, deadline, parsing)
    budget = limits.MAX_REFERRERS_BYTES

    def ask(page: str) -> Reply:
        request = HttpRequest(operation, page, headers={"Accept": INDEX_TYPE})
        # A redirect to another host is a registry's web page, and says that there is no API.
        return client.send(request, deadline, leave_home=False)

    for number, reply in enumerate(pages_of(url, limits.MAX_LIST_PAGES, operation, ask)):
        # Only of the first: a later page that is missing would hide what is on it.
        if number == 0 and not _offers_api(reply):
            # The caller asks for the fallback tag then, as the specification says.
            return None
        reply.expect()
        # Each page has what the pages before left of the limit for all of them.
        body = reply.read(min(limits.MAX_MANIFEST_BYTES, budget))
        budget -= len(body)
        # Parsed page by page and not kept as JSON, which takes many times the room of its bytes.
        entries.add(body)
        deadline.check(operation)
    return entries.found


def _offers_api(reply: Reply) -> bool:
    """Return False if this answer is not one of a referrers API."""
    if reply.status in _NO_API:
        refusal = reply.refusal()
        # The repository is missing, not the API: its fallback tag would be looked for in vain, with a worse message.
        if "NAME_UNKNOWN" in refusal.codes:
            raise refusal
        return False
    if reply.status == 200 and reply.media_type != INDEX_TYPE:
        # Some registries answer any path with a page for people.
        reply.close()
        return False
    return True


def from_tag(
    client: RepositoryClient, digest: Digest, deadline: Deadline, *, parsing: threading.Lock
) -> list[Descriptor]:
    """Return the referrers listed in the index under an image's fallback tag; none where what stands there is no list of them.

    GitLab resolves every tag of that form to the image itself, and whoever may push may give any manifest that tag. Nothing is
    attached by either; content that cannot be read is an error, for a list may be lost there.

    Args:
        client: the image's repository.
        digest: the image's.
        deadline: the end of it.
        parsing: as for ``from_api``.

    Raises:
        RegistryError: it cannot be had or read, or is over a limit.
        DeadlineError: out of time.
    """
    operation = f"listing the referrers of {digest} by their tag"
    url = client.url(f"manifests/{fallback_tag(digest)}")
    reply = client.send(HttpRequest(operation, url, headers={"Accept": INDEX_TYPE}), deadline)
    # No such tag, or one of something that is no index: nothing is attached.
    if reply.status in (404, 406):
        reply.error_body()
        return []
    reply.expect()
    content = reply.read(limits.MAX_MANIFEST_BYTES)
    # GitLab resolves the tag to the image itself.
    if digest.matches(content):
        # Not an error: a GitLab registry answers so for every image that nothing is attached to.
        return []
    entries = _Entries(operation, deadline, parsing, by_tag=True)
    entries.add(content)
    return entries.found


@dataclass(slots=True)
class _Entries:
    """The entries of one list so far, without what nobody reads of them: whoever may push writes the annotations.

    Args:
        operation: what is being done, for messages.
        deadline: the end of it.
        parsing: held while a page is parsed.
        by_tag: True for the index under the fallback tag.
    """

    operation: str
    deadline: Deadline
    parsing: threading.Lock
    by_tag: bool = False
    found: list[Descriptor] = field(default_factory=list)
    values: int = limits.MAX_REFERRERS_VALUES
    texts: dict[str, str] = field(default_factory=dict)
    # One for all entries that have none: a list of 10,000 shares it.
    unannotated: dict[str, str] = field(default_factory=dict)

    def add(self, body: bytes) -> None:
        """Take over the entries of a page.

        Raises:
            RegistryError: it is no index, or the list is over a limit.
            DeadlineError: out of time.
        """
        # Counted in the raw bytes, before anything is parsed: a page of 4 MiB can be 2 million empty objects, 400 MiB
        # in memory.
        self.values -= sum(map(body.count, (b",", b"[", b"{")))
        if self.values < 0:
            raise faults.too_many(self.operation, "values", limits.MAX_REFERRERS_VALUES)
        # One parsed page in memory at a time, for all calls together.
        self.deadline.acquire(self.parsing, self.operation)
        try:
            for item in self._manifests(body):
                self.deadline.check(self.operation)
                # Not cut: an attacker who fills the list must not choose which entries count.
                if len(self.found) == limits.MAX_LISTED_REFERRERS:
                    raise faults.too_many(self.operation, "entries", limits.MAX_LISTED_REFERRERS)
                self.found.append(self._entry(item))
        finally:
            self.parsing.release()

    def _manifests(self, body: bytes) -> list[Any]:
        value = json_object(body, self.operation)
        # Whoever may push may give any manifest that tag.
        if self.by_tag and _is_other_manifest(value):
            return []
        manifests = value.get("manifests")
        # Go writes an empty list as null.
        if manifests is None and value.get("mediaType") in (None, INDEX_TYPE):
            return []
        if not isinstance(manifests, list):
            raise faults.invalid_response(self.operation, "the list is not an image index")
        return manifests

    def _entry(self, item: object) -> Descriptor:
        try:
            entry = Descriptor.parse(item)
        except ArtifactError as error:
            raise faults.invalid_response(
                self.operation, f"an entry of the list is broken: {error.message}"
            ) from None
        # The one annotation that orders what is fetched; others are dropped, for anybody writes them.
        told = entry.annotations.get(PREDICATE_TYPE_ANNOTATION, "")
        return Descriptor(
            self._text(entry.media_type),
            entry.digest,
            entry.size,
            None if entry.artifact_type is None else self._text(entry.artifact_type),
            {PREDICATE_TYPE_ANNOTATION: self._text(told)} if told else self.unannotated,
            listed_by_tag=self.by_tag,
        )

    def _text(self, text: str) -> str:
        """Return ``text``, cut; the same string for all entries that say the same."""
        text = text[: limits.MAX_TYPE_CHARACTERS]
        # Lists of thousands repeat three or four types; shared, they take no room.
        return self.texts.setdefault(text, text)


def _is_other_manifest(value: Mapping[str, Any]) -> bool:
    """Return True for a manifest that is no OCI image index: by its media type or, where it says none, by its form."""
    told = text_at(value, "mediaType")
    if told:
        # Its own word counts before its form.
        return told != INDEX_TYPE
    return "manifests" not in value and any(
        name in value for name in ("config", "layers", "blobs", "fsLayers")
    )


def type_in(content: bytes) -> str | None:
    """Return the artifact type that a manifest has, None where it has none or is no manifest.

    It is ``artifactType`` or, without one, the config's media type (OCI image specification 1.1, "Guidelines for
    Artifact Usage").
    """
    value = strict_json.object_in(content)
    kind = text_at(value, "config", "mediaType")
    # ``artifactType`` is of OCI 1.1; before, the config's type said it.
    return text_at(value, "artifactType") or (kind if kind != EMPTY_TYPE else None)


def by_doubt(
    entries: list[Descriptor], artifact_type: str
) -> tuple[list[Descriptor], list[Descriptor], list[Descriptor]]:
    """Return the entries that say they are of ``artifact_type``, those that do not say, and the others.

    An entry does not say if its type is absent, or is that of a config: registries that predate ``artifactType``
    put the config's media type there (go-containerregistry, GHCR's fallback index).
    """
    said, silent, others = [], [], []
    for entry in entries:
        kind = entry.artifact_type
        # Only a hint of where to look first: the manifest itself decides (type_in).
        if kind == artifact_type:
            said.append(entry)
        elif kind is None or "config" in kind.lower() or kind == EMPTY_TYPE:
            silent.append(entry)
        else:
            others.append(entry)
    return said, silent, others
