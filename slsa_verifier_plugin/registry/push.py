"""Pushing an artifact (OCI distribution 1.1, "Pushing"), for people at the command line; the plugin itself never writes.

What is sent goes the way of what is read (``repository``): the same connections, tokens, redirects and messages.
"""

from __future__ import annotations

from collections.abc import Mapping

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import DeadlineError
from slsa_verifier_plugin.model.digest import Descriptor, Digest
from slsa_verifier_plugin.network import faults
from slsa_verifier_plugin.network.origins import origin_of, target_of
from slsa_verifier_plugin.network.redirects import HttpClient
from slsa_verifier_plugin.network.transport import HttpRequest, Reply
from slsa_verifier_plugin.registry import limits
from slsa_verifier_plugin.registry.auth.authorization import credential_leases
from slsa_verifier_plugin.registry.closing import Closeable
from slsa_verifier_plugin.registry.credentials import CredentialProvider
from slsa_verifier_plugin.registry.manifests import INDEX_TYPE, MANIFEST_TYPE, MANIFEST_TYPES
from slsa_verifier_plugin.registry.reference import Reference
from slsa_verifier_plugin.registry.referrers import fallback_tag
from slsa_verifier_plugin.registry.repository import RepositoryClient
from slsa_verifier_plugin.registry.retries import retried
from slsa_verifier_plugin.registry.tag_index import Kept, keep_entry

PUSH_SECONDS = 300.0
"""Seconds for one request, from connecting to the last byte of the answer; a blob of 256 MiB must fit in."""

ACTIONS = "pull,push"
"""What is done in the repository: whatever a challenge asks for, a token is asked for this."""

ATTEMPTS = 5
"""Times that a blob or manifest is pushed, where it fails for a reason that may pass."""

INDEX_SECONDS = 120.0
"""Time to get an entry into an index that others write at the same time."""


class Pusher(Closeable):
    """Writes to one repository.

    Args:
        image: the repository; its tag and digest do not matter.
        use_http: plain HTTP, as the store's ``useHttp``.
        provider: finds credentials; None for anonymous access.
        environ: proxies and places of certificates.
    """

    def __init__(
        self,
        image: Reference,
        use_http: bool,
        provider: CredentialProvider | None,
        environ: Mapping[str, str],
    ) -> None:
        self._image = image
        credentials = credential_leases(provider)
        self._http = HttpClient(environ)
        self.client = RepositoryClient(image, use_http, self._http, credentials, ACTIONS)

    def blob(self, content: bytes) -> Digest:
        """Push a blob, unless it is there, and return its digest ("Pushing a blob monolithically").

        Raises:
            RegistryError: the registry does not take it.
        """
        digest = Digest.of(content)
        # Repeated as a whole: after a failed PUT the upload's own URL is no longer good for anything.
        retried(lambda: self._push_blob(content, digest), Deadline(PUSH_SECONDS), ATTEMPTS)
        return digest

    def _push_blob(self, content: bytes, digest: Digest) -> None:
        doing = f"pushing the blob {digest} to {self._image.name}"
        there, _ = self.send(HttpRequest(doing, self.client.url(f"blobs/{digest}"), "HEAD"))
        # Layers of an attestation are often pushed twice, by a retry or for another image of the repository.
        if there.status == 200:
            return
        begun, _ = self.send(HttpRequest(doing, self.client.url("blobs/uploads/"), "POST"), 202)
        location = target_of(begun.url, begun.header("Location")) if begun.header("Location") else None
        if location is None or origin_of(location) != origin_of(self.client.origin):
            # Our credentials go along; nobody else gets them.
            raise faults.invalid_response(doing, "it sends the upload to another host, or nowhere")
        # Registries put a state of their own into the query, which must come back (OCI distribution 1.1, end-6).
        target = f"{location}{'&' if '?' in location else '?'}digest={digest}"
        headers = {"Content-Type": "application/octet-stream"}
        self.send(HttpRequest(doing, target, "PUT", headers, content), 201)

    def manifest(self, content: bytes, media_type: str, name: str) -> Reply:
        """Push a manifest under a digest or tag ("Pushing Manifests").

        Raises:
            RegistryError: the registry does not take it.
        """
        doing = f"pushing the manifest {name} to {self._image.name}"
        headers = {"Content-Type": media_type}
        return retried(lambda: self.put(name, content, headers, doing), Deadline(PUSH_SECONDS), ATTEMPTS)

    def standing(self, tag: str) -> Digest | None:
        """Return the digest of what stands under a tag, None for nothing.

        Raises:
            RegistryError: the registry does not say.
        """
        kept = self.read(tag, ", ".join(MANIFEST_TYPES), f"looking at the tag {tag} of {self._image.name}")
        return None if kept is None else Digest.of(kept.content)

    def read(self, tag: str, accept: str, doing: str) -> Kept | None:
        """Return what stands under a tag, None for nothing; ``doing`` is what is being done, for messages.

        Raises:
            RegistryError: the registry does not deliver it.
        """
        url = self.client.url(f"manifests/{tag}")
        reply, content = self.send(HttpRequest(doing, url, headers={"Accept": accept}), 200, 404)
        return Kept(content, reply.header("ETag")) if reply.status == 200 else None

    def attach(
        self, subject: Descriptor, content: bytes, artifact_type: str, annotations: Mapping[str, str]
    ) -> Descriptor:
        """Push a manifest whose subject is ``subject``, and make it findable there.

        Where the registry does not say that it took note of the subject (``OCI-Subject``), the index under the fallback tag is
        extended ("Referrers Tag Schema").

        Args:
            subject: the image's descriptor.
            content: the manifest.
            artifact_type: its artifact type.
            annotations: its annotations, which the index repeats.

        Raises:
            RegistryError: the registry does not take it.
        """
        digest = Digest.of(content)
        reply = self.manifest(content, MANIFEST_TYPE, str(digest))
        pushed = Descriptor(MANIFEST_TYPE, digest, len(content), artifact_type, annotations)
        # Without this header the registry does not promise that its API lists the manifest (OCI distribution 1.1, "Pushing
        # Manifests with Subject").
        if reply.header("OCI-Subject") != str(subject.digest):
            # With its type and annotations: readers choose by them before they fetch anything.
            tag = FallbackTag(self, fallback_tag(subject.digest))
            keep_entry(tag, pushed.to_json(), subject.digest, Deadline(INDEX_SECONDS))
        return pushed

    def close(self) -> None:
        """Close every connection."""
        self._http.close()

    def put(self, name: str, content: bytes, headers: Mapping[str, str], doing: str) -> Reply:
        """Put a manifest once under a digest or tag; ``doing`` is what is being done, for messages.

        Raises:
            RegistryError: the registry does not take it.
        """
        try:
            url = self.client.url(f"manifests/{name}")
            return self.send(HttpRequest(doing, url, "PUT", headers, content), 201)[0]
        except faults.StatusError as error:
            # Whatever a manifest names is there by now. Distribution misses it for a moment while another pushes the same.
            error.transient = error.transient or "MANIFEST_BLOB_UNKNOWN" in error.codes
            raise

    def send(self, request: HttpRequest, *expected: int) -> tuple[Reply, bytes]:
        """Send once; return the answer, of one of the ``expected`` statuses or, without any, of whichever, and its body.

        Raises:
            RegistryError: there is no such answer.
        """
        deadline = Deadline(PUSH_SECONDS)
        try:
            # One attempt: whoever calls repeats the operation as a whole (``retried``, ``keep_entry``).
            reply = self.client.send(request, deadline, most=1)
            if expected and reply.status not in expected:
                raise reply.refusal()
            # Read to its end, or the connection would not be used again for the next of many uploads.
            return reply, reply.read(limits.MAX_MANIFEST_BYTES)
        except DeadlineError:
            # For a person that is an answer that did not come, after which another attempt may help.
            raise faults.unreachable(request.operation, request.url, TimeoutError()) from None


class FallbackTag:
    """The tag that stands in for the referrers API, as ``keep_entry`` wants it.

    Args:
        pusher: writes to the repository.
        tag: the tag's name.
    """

    def __init__(self, pusher: Pusher, tag: str) -> None:
        self._pusher = pusher
        self._tag = tag
        self.doing = f"adding to the referrers tag {tag} of {pusher.client.image.name}"

    def read(self) -> Kept | None:
        """Return what stands under the tag, None for nothing.

        Raises:
            RegistryError: the registry does not deliver it.
        """
        return self._pusher.read(self._tag, INDEX_TYPE, self.doing)

    def write(self, content: bytes, condition: Mapping[str, str]) -> bool:
        """Put ``content`` there; False where the condition (RFC 9110, section 13) did not hold.

        Raises:
            RegistryError: the registry does not take it.
        """
        headers = {"Content-Type": INDEX_TYPE, **condition}
        try:
            self._pusher.put(self._tag, content, headers, self.doing)
        except faults.StatusError as error:
            if error.status == 412 and condition:
                # Another has written since we read: ``keep_entry`` reads again, and adds to what there is now.
                return False
            raise
        return True
