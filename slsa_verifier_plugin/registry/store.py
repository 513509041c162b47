"""The store: manifests, blobs and referrers of a registry, each checked before it is returned.

Looked for in this order: the process's memory, Ratify's cache on disk, the registry. Whatever is found is checked
against its descriptor, so the places differ in speed only.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import Reason, RegistryError
from slsa_verifier_plugin.lru import LruCache
from slsa_verifier_plugin.model.digest import Descriptor, Digest
from slsa_verifier_plugin.network import faults
from slsa_verifier_plugin.network.dialing import Resolver
from slsa_verifier_plugin.network.redirects import HttpClient
from slsa_verifier_plugin.network.tls import TrustStore
from slsa_verifier_plugin.network.transport import HttpRequest
from slsa_verifier_plugin.permit import aside
from slsa_verifier_plugin.registry import limits, referrers
from slsa_verifier_plugin.registry.auth.authorization import credential_leases
from slsa_verifier_plugin.registry.auth.challenge import Challenge
from slsa_verifier_plugin.registry.closing import Closeable
from slsa_verifier_plugin.registry.content import fetch_content
from slsa_verifier_plugin.registry.credentials import CredentialProvider
from slsa_verifier_plugin.registry.disk_cache import LayoutCache
from slsa_verifier_plugin.registry.loopback import is_plain_http
from slsa_verifier_plugin.registry.manifests import MANIFEST_TYPES, media_type_in
from slsa_verifier_plugin.registry.memory_cache import ContentCache
from slsa_verifier_plugin.registry.pages import list_names
from slsa_verifier_plugin.registry.reference import Reference
from slsa_verifier_plugin.registry.remarks import Remarks
from slsa_verifier_plugin.registry.repository import RepositoryClient
from slsa_verifier_plugin.registry.settings import DEFAULT_CACHE_PATH, StoreSettings
from slsa_verifier_plugin.text import plain

_MEDIA_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]{1,127}/[A-Za-z0-9!#$&^_.+-]{1,127}")


class RegistryStore(Closeable):
    """Implements ``verify.ArtifactStore`` on OCI registries; safe for many threads.

    Args:
        settings: Ratify's settings of its ORAS store.
        provider: finds credentials (``credentials.select.provider_for``), None for anonymous access.
        environ: the environment of the call: proxies, certificates, ``HOME``.
        cache: content in memory, shared by the stores of a process; a store's own if left out.
        trust: makes TLS contexts; tests replace it.
        resolver: looks names up; tests replace it.
    """

    def __init__(
        self,
        settings: StoreSettings,
        provider: CredentialProvider | None,
        environ: Mapping[str, str],
        *,
        cache: ContentCache | None = None,
        trust: TrustStore | None = None,
        resolver: Resolver | None = None,
    ) -> None:
        self._settings = settings
        self._cache = cache if cache is not None else ContentCache()
        self.remarks = Remarks()
        self._layout = _layout(settings, environ, self.remarks)
        self.http = HttpClient(environ, trust, resolver)
        self._credentials = credential_leases(provider)
        self._clients: LruCache[tuple[str, str], RepositoryClient] = LruCache(limits.MAX_REPOSITORIES)
        self._asked: LruCache[str, Challenge] = LruCache(limits.MAX_HOSTS)
        self._without_api: LruCache[str, float] = LruCache(limits.MAX_REPOSITORIES)
        self._parsing = threading.Lock()

    def manifest(self, image: Reference, descriptor: Descriptor, deadline: Deadline) -> bytes:
        """Return a manifest's bytes; their digest and size are the descriptor's (step 2 of a verification).

        Args:
            image: the repository; its own tag and digest do not matter.
            descriptor: the manifest's digest and size.
            deadline: the end of it.

        Raises:
            RegistryError: the registry did not deliver, or delivered something else; reason ``LIMIT_EXCEEDED``
                for a manifest of more than 4 MiB, before it is asked for.
            DeadlineError: out of time.
        """
        # The type that the descriptor names comes first; one that is no media type must not become a header's text.
        own = (descriptor.media_type,) if _MEDIA_TYPE.fullmatch(descriptor.media_type) else ()
        accept = ", ".join(dict.fromkeys((*own, *MANIFEST_TYPES)))
        return self._content(image, "manifest", accept, descriptor, limits.MAX_MANIFEST_BYTES, deadline)

    def blob(self, image: Reference, descriptor: Descriptor, limit: int, deadline: Deadline) -> bytes:
        """Return a blob's bytes; their digest and size are the descriptor's (step 3 of a verification).

        Args:
            image: the repository; its own tag and digest do not matter.
            descriptor: the blob's digest and size.
            limit: bytes that it may have.
            deadline: the end of it.

        Raises:
            RegistryError: as for ``manifest``; reason ``LIMIT_EXCEEDED`` for more than ``limit`` bytes.
            DeadlineError: out of time.
        """
        return self._content(image, "blob", "*/*", descriptor, limit, deadline)

    @aside()
    def referrers(
        self, image: Reference, deadline: Deadline, artifact_type: str | None = None
    ) -> list[Descriptor]:
        """Return the descriptors of what refers to the image's digest, as the registry reports them.

        The registry's API, or the index under the tag that stands in for it where there is no API, or one that lists
        nothing (OCI distribution 1.1, "Listing Referrers"). The artifact types are the registry's word: see
        ``matching_referrers``.

        Args:
            image: has a digest.
            deadline: the end of it.
            artifact_type: asks the registry to leave out other types; see ``referrers.from_api``.

        Raises:
            RegistryError: the list cannot be had, is broken or over a limit.
            DeadlineError: out of time.
        """
        # A tag may point elsewhere by the time of the next request.
        if image.digest is None:
            operation = f"listing the referrers of {plain(str(image))}"
            why = "it has no digest; resolve the tag first"
            raise faults.failure(operation, why, Reason.REGISTRY_INVALID_RESPONSE)
        client = self.client(image)
        # By repository: one host may route its repositories to several registries.
        if (self._without_api.get(image.name) or 0.0) < time.monotonic():
            found = referrers.from_api(client, image.digest, deadline, artifact_type, parsing=self._parsing)
            # With a filter an empty list is an answer, too: the API has listed too much before (``matching_referrers``).
            if found or (found is not None and artifact_type is not None):
                return found
            # No API: for a while calls go to the tag at once.
            if found is None:
                self._without_api.put(image.name, time.monotonic() + limits.API_SUPPORT_SECONDS)
            # GHCR answers with an empty list while the tag has entries. Nothing of that is remembered: with something attached
            # there is no second request, and without anything the next may find it.
        return referrers.from_tag(client, image.digest, deadline, parsing=self._parsing)

    def matching_referrers(
        self, image: Reference, artifact_type: str, deadline: Deadline
    ) -> list[Descriptor]:
        """Return the descriptors of the referrers that are of ``artifact_type`` by their own manifest.

        The whole list is asked for, and filtered here: a registry that reports wrong types also filters by them.
        Only a list that is over the limit is asked for again with the registry's filter. The manifest decides where
        the list does not say the type, or says another and nothing else matched; at most 64 are fetched for that.

        Args:
            image: has a digest.
            artifact_type: as in the Verifier's ``artifactTypes``.
            deadline: the end of it.

        Raises:
            RegistryError: as for ``referrers``; a manifest that cannot be had is passed over with a warning.
            DeadlineError: out of time.
        """
        try:
            entries = self.referrers(image, deadline)
        except RegistryError as error:
            if error.reason is not Reason.LIMIT_EXCEEDED:
                raise
            # With the registry's filter the list may be short enough.
            entries = self.referrers(image, deadline, artifact_type)
        said, silent, others = referrers.by_doubt(entries, artifact_type)
        # A list's word is enough for those that name the type: the manifest is read by the verification anyway.
        found = said + self._of_type(image, silent, artifact_type, deadline)
        # The others are looked into only where nothing matched: it costs a request for each.
        return found or self._of_type(image, others, artifact_type, deadline)

    def resolve(self, image: Reference, deadline: Deadline) -> Descriptor:
        """Return the descriptor of the manifest that the tag or digest of ``image`` names.

        The digest is computed from the content; the registry's ``Docker-Content-Digest`` must agree with it.

        Args:
            image: a digest counts before a tag; with neither it is the tag ``latest``.
            deadline: the end of it.

        Raises:
            RegistryError: there is none, or what there is contradicts itself.
            DeadlineError: out of time.
        """
        if image.digest is not None:
            # A digest names its content, whatever registry it came from; a tag has to be asked for each time.
            known = self._known(image.digest, limits.MAX_MANIFEST_BYTES)
            if known is not None:
                return Descriptor(media_type_in(known, "", "resolving"), image.digest, len(known))
        client = self.client(image)
        url = client.url(f"manifests/{image.digest or image.tag or 'latest'}")
        request = HttpRequest(f"resolving {image}", url, headers={"Accept": ", ".join(MANIFEST_TYPES)})
        with aside():
            reply = client.send(request, deadline)
            reply.expect()
            content = reply.read(limits.MAX_MANIFEST_BYTES)
        operation = request.operation
        # sha512 where the reference has it; registries answer tags with sha256.
        digest = Digest.of(content, image.digest.algorithm if image.digest else "sha256")
        # The one check that decides: everything else is the registry's word.
        if image.digest is not None and digest != image.digest:
            raise faults.invalid_response(operation, f"what it delivered has the digest {digest}")
        # Compared only where it is of the same algorithm; it is the registry's word, never used for the content's own digest.
        told = reply.header("Docker-Content-Digest")
        if told.startswith(f"{digest.algorithm}:") and told != str(digest):
            raise faults.invalid_response(
                operation, f"it announced another digest than its content has, {digest}"
            )
        kind = media_type_in(content, reply.media_type, operation)
        self._cache.put(digest, content)
        return Descriptor(kind, digest, len(content))

    def tags(self, image: Reference, deadline: Deadline) -> list[str]:
        """Return the tags of a repository (OCI distribution 1.1, "Listing Tags").

        Raises:
            RegistryError: the list cannot be had, is broken or over a limit.
            DeadlineError: out of time.
        """
        client = self.client(image)
        return list_names(
            client, client.url("tags/list"), "tags", f"listing the tags of {image.name}", deadline
        )

    def repositories(self, registry: str, deadline: Deadline) -> list[str]:
        """Return the repositories of a registry that has a catalog (docker's ``_catalog``; most hosted ones do not).

        Raises:
            RegistryError: the list cannot be had, is broken or over a limit.
            DeadlineError: out of time.
        """
        client = self.client(Reference(registry, ""))
        url = f"{client.origin}/v2/_catalog"
        return list_names(client, url, "repositories", f"listing the repositories of {registry}", deadline)

    def client(self, image: Reference) -> RepositoryClient:
        """Return the client for the image's repository, with the challenge and token it has by now."""

        def made() -> RepositoryClient:
            use_http = is_plain_http(self._settings, image.registry)
            return RepositoryClient(image, use_http, self.http, self._credentials, asked=self._asked)

        # Two calls at once share one client, and with it one token. The least recently used goes: its next use asks for a
        # challenge and a token again, and nothing worse.
        return self._clients.get_or_make((image.registry, image.repository), made)

    def close(self) -> None:
        """Close every connection; the store can be used again."""
        self.http.close()

    def _content(
        self, image: Reference, kind: str, accept: str, descriptor: Descriptor, limit: int, deadline: Deadline
    ) -> bytes:
        """Return the content of a descriptor, a ``manifest`` or ``blob`` of the image's repository."""
        operation = f"fetching the {kind} {descriptor.digest} of {image.name}"
        # Before anything is asked: content may say itself that it is over its limit.
        if descriptor.size > limit:
            raise faults.too_large(operation, descriptor.size, limit)
        known = self._known(descriptor.digest, descriptor.size)
        if known is not None:
            # What the registry would be refused for is not accepted from a cache either.
            if len(known) != descriptor.size:
                why = f"its descriptor says {descriptor.size} bytes, it has {len(known)}"
                raise faults.invalid_response(operation, why)
            return known
        client = self.client(image)
        url = client.url(f"{kind}s/{descriptor.digest}")
        request = HttpRequest(operation, url, headers={"Accept": accept})
        # Aside: while this call waits for the network, another may work.
        with client.auth.redactor.guard(), aside():
            content = fetch_content(client, request, descriptor, deadline)
        self._cache.put(descriptor.digest, content)
        if self._layout is not None:
            # A cache that cannot be written is a remark, never a failure: the content is here.
            self._layout.write(descriptor.digest, content)
        return content

    def _known(self, digest: Digest, limit: int) -> bytes | None:
        """Return content from memory or from disk, at most ``limit`` bytes of it from disk."""
        content = self._cache.get(digest)
        if content is None and self._layout is not None:
            content = self._layout.read(digest, limit)
            if content is not None:
                self._cache.put(digest, content)
        return content

    def _of_type(
        self, image: Reference, entries: list[Descriptor], artifact_type: str, deadline: Deadline
    ) -> list[Descriptor]:
        found = []
        # A request for each: without a limit whoever may push decides how many.
        for entry in entries[: limits.MAX_INSPECTED_MANIFESTS]:
            try:
                content = self.manifest(image, entry, deadline)
            except RegistryError as error:
                # One broken referrer must not hide the good ones: whoever may push could deny every image so.
                self.remarks.add(f"a referrer was passed over: {error.message}")
                continue
            if referrers.type_in(content) == artifact_type:
                found.append(entry)
        if len(entries) > limits.MAX_INSPECTED_MANIFESTS:
            self.remarks.add(
                f"{len(entries)} referrers of {image.name} do not say their type; the first "
                f"{limits.MAX_INSPECTED_MANIFESTS} were looked into"
            )
        return found


def _layout(settings: StoreSettings, environ: Mapping[str, str], remarks: Remarks) -> LayoutCache | None:
    # As Ratify: its own setting first, then below HOME, which a distroless Pod may not have.
    if settings.local_cache_path is not None:
        return LayoutCache(Path(settings.local_cache_path), remarks)
    home = environ.get("HOME")
    return LayoutCache(Path(home) / DEFAULT_CACHE_PATH, remarks) if home else None
