"""Pushing an artifact (OCI distribution 1.1, "Pushing"), for people at the command line; the plugin itself never writes.

oras-py's session sends. Its requests are not used, for their retries sleep for minutes, nor is its token exchange, which asks for
whatever the challenge says.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urljoin

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import Reason, RegistryError
from slsa_verifier_plugin.model.digest import Descriptor, Digest
from slsa_verifier_plugin.network.addresses import Resolver
from slsa_verifier_plugin.network.origins import origin_of
from slsa_verifier_plugin.network.sockets import timed_pools, total
from slsa_verifier_plugin.network.tls import TrustStore
from slsa_verifier_plugin.registry import faults
from slsa_verifier_plugin.registry.auth.challenge import Challenge, parse_challenges
from slsa_verifier_plugin.registry.auth.tokens import TokenRequest, TokenServers, basic_value
from slsa_verifier_plugin.registry.credentials import CredentialProvider, Credentials
from slsa_verifier_plugin.registry.http.redirects import Courier
from slsa_verifier_plugin.registry.http.transport import Transport
from slsa_verifier_plugin.registry.reference import Reference
from slsa_verifier_plugin.registry.referrers import INDEX_TYPE, fallback_tag
from slsa_verifier_plugin.registry.repository import host_of, new_session
from slsa_verifier_plugin.registry.tag_index import Kept, keep_entry

REQUEST_SECONDS = 300.0
"""For one request, from connecting to the last byte of the answer; a blob of 256 MiB must fit in."""
MAX_ANSWER = 4 << 20
"""Bytes of an answer: the largest is an index, which is a manifest."""
ACTIONS = "pull,push"
"""What is done in the repository: whatever a challenge asks for, a token is asked for this."""
TOKEN_SECONDS = 30.0
"""For a token, all attempts together."""
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
ATTEMPTS = 4
"""Further attempts of a push that failed for a reason that may pass, within three seconds together."""
INDEX_SECONDS = 120.0
"""Time to get an entry into an index that others write at the same time."""


T = TypeVar("T")


class Pusher:
    """Writes to one repository.

    Args:
        image: the repository; its tag and digest do not matter.
        use_http: plain HTTP, as the store's ``useHttp``.
        provider: finds credentials; None for anonymous access.
        environ: places of certificates.

    Raises:
        RegistryError: the credentials cannot be had.
    """

    def __init__(
        self,
        image: Reference,
        use_http: bool,
        provider: CredentialProvider | None,
        environ: Mapping[str, str],
    ) -> None:
        origin = f"{'http' if use_http else 'https'}://{host_of(image.registry)}"
        self._image = image
        self._session = new_session()
        self._base = f"{origin}/v2/{image.repository}"
        trust = TrustStore(environ)
        adapter = _Adapter(None if use_http else trust, host_of(image.registry))
        for scheme in ("https://", "http://"):
            self._session.mount(scheme, adapter)
        found = provider.credentials(image, Deadline(REQUEST_SECONDS)) if provider else None
        if found is not None and found.identity_token:
            raise RegistryError(
                f"the credentials for {image.registry} are an identity token, which pushing does not support; "
                "log in with a user name and password, or push with oras",
                reason=Reason.REGISTRY_CREDENTIALS,
            )
        courier = Courier(Transport(new_session(), environ, trust))
        self._auth = _Auth(image, TokenServers(origin, use_http, courier), origin, found)

    def blob(self, content: bytes) -> Digest:
        """Push a blob, unless it is there, and return its digest ("Pushing a blob monolithically").

        Raises:
            RegistryError: the registry does not take it.
        """
        digest = Digest.of(content)
        _patiently(lambda: self._push_blob(content, digest))
        return digest

    def _push_blob(self, content: bytes, digest: Digest) -> None:
        doing = f"pushing the blob {digest} to {self._image.name}"
        if self._send("HEAD", f"{self._base}/blobs/{digest}", doing).status_code == 200:
            return
        url = f"{self._base}/blobs/uploads/"
        begun = self._send("POST", url, doing, headers={"Content-Length": "0"})
        self._expect(begun, 202, doing)
        location = urljoin(url, begun.headers.get("Location", ""))
        if not begun.headers.get("Location") or origin_of(location) != origin_of(self._base):
            # Our credentials go along; nobody else gets them.
            raise faults.invalid_response(doing, "it sends the upload to another host, or nowhere")
        target = f"{location}{'&' if '?' in location else '?'}digest={digest}"
        headers = {"Content-Type": "application/octet-stream"}
        self._expect(self._send("PUT", target, doing, content, headers), 201, doing)

    def manifest(self, content: bytes, media_type: str, name: str) -> requests.Response:
        """Push a manifest under a digest or tag ("Pushing Manifests").

        Raises:
            RegistryError: the registry does not take it.
        """
        doing = f"pushing the manifest {name} to {self._image.name}"

        def put() -> requests.Response:
            headers = {"Content-Type": media_type}
            answer = self._send("PUT", self._manifest_url(name), doing, content, headers)
            self._expect(answer, 201, doing)
            return answer

        return _patiently(put)

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
        answer = self.manifest(content, MANIFEST_TYPE, str(digest))
        pushed = Descriptor(MANIFEST_TYPE, digest, len(content), artifact_type, annotations)
        if answer.headers.get("OCI-Subject") != str(subject.digest):
            self._add_to_fallback(subject.digest, pushed)
        return pushed

    def close(self) -> None:
        """Close every connection."""
        self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _add_to_fallback(self, subject: Digest, entry: Descriptor) -> None:
        tag = fallback_tag(subject)
        doing = f"adding to the referrers tag {tag} of {self._image.name}"
        described: dict[str, Any] = {
            "mediaType": entry.media_type,
            "digest": str(entry.digest),
            "size": entry.size,
            "artifactType": entry.artifact_type,
        }
        if entry.annotations:
            described["annotations"] = dict(entry.annotations)
        keep_entry(_FallbackTag(self, tag, doing), described, subject, Deadline(INDEX_SECONDS), doing)

    def read_tag(self, tag: str, doing: str) -> Kept | None:
        """Return what stands under a tag, None for nothing.

        Raises:
            RegistryError: the registry does not deliver it.
        """
        found = self._send("GET", self._manifest_url(tag), doing, headers={"Accept": INDEX_TYPE})
        if found.status_code == 404:
            return None
        self._expect(found, 200, doing)
        return Kept(found.content, found.headers.get("ETag", ""))

    def write_tag(self, tag: str, content: bytes, condition: Mapping[str, str], doing: str) -> bool:
        """Put an index under a tag; return False where the condition (RFC 9110, section 13) did not hold.

        Raises:
            RegistryError: the registry does not take it.
        """
        headers = {"Content-Type": INDEX_TYPE, **condition}
        answer = self._send("PUT", self._manifest_url(tag), doing, content, headers)
        if answer.status_code == 412 and condition:
            return False
        self._expect(answer, 201, doing)
        return True

    def _manifest_url(self, name: str) -> str:
        return f"{self._base}/manifests/{name}"

    def _send(
        self,
        method: str,
        url: str,
        doing: str,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> requests.Response:
        def attempt() -> requests.Response:
            sent = {**(headers or {}), **self._auth.header}
            return self._session.request(method, url, data=content, headers=sent)

        try:
            answer = attempt()
            if answer.status_code == 401:
                challenges = parse_challenges(answer.headers.get("WWW-Authenticate", ""))
                if self._auth.answer(challenges):
                    answer = attempt()
        except requests.RequestException as error:
            raise faults.unreachable(doing, url, error) from None
        return answer

    def _expect(self, answer: requests.Response, status: int, doing: str) -> None:
        if answer.status_code != status:
            codes = faults.error_codes(answer.content[:4096])
            error = faults.status_error(doing, answer.url, answer.status_code, codes)
            # Whatever a manifest names is there by now. Distribution misses it for a moment while another pushes the same.
            error.transient = error.transient or "MANIFEST_BLOB_UNKNOWN" in codes
            raise error


def _patiently(work: Callable[[], T]) -> T:
    """Return what ``work`` returns, with a few more attempts where it fails for a reason that may pass."""
    for attempt in range(ATTEMPTS):
        try:
            return work()
        except RegistryError as error:
            if not error.transient:
                raise
        time.sleep(random.uniform(0.0, 0.2 * 2**attempt))  # noqa: S311  (no secret)
    return work()


class _Auth:
    """Answers a challenge with a token for pulling from and pushing to one repository or, where that is asked for, with Basic.

    Args:
        image: the repository.
        servers: issue tokens, by the rules for those that the plugin itself asks for.
        origin: the registry's scheme and host.
        credentials: None for anonymous access.
    """

    def __init__(
        self, image: Reference, servers: TokenServers, origin: str, credentials: Credentials | None
    ) -> None:
        self._image = image
        self._servers = servers
        self._origin = origin
        self._credentials = credentials
        self.header: dict[str, str] = {}
        """What is known to be asked for, so that no content is sent in vain."""

    def answer(self, challenges: Sequence[Challenge]) -> bool:
        """Make ``header`` an answer to a 401; return whether another attempt is worth while.

        Raises:
            RegistryError: the token server must not be asked, does not answer, or refuses.
        """
        bearer = next((item for item in challenges if item.scheme == "bearer" and item.get("realm")), None)
        if bearer is not None:
            request = TokenRequest.answering(bearer, self._image.repository, ACTIONS)
            doing = f"getting a token for {self._image.name}"
            token, _ = self._servers.issue(request, self._credentials, Deadline(TOKEN_SECONDS), doing)
            self.header = {"Authorization": f"Bearer {token}"}
            return True
        wanted = any(item.scheme == "basic" for item in challenges)
        if (
            not wanted
            or self._credentials is None
            or self.header.get("Authorization", "").startswith("Basic")
        ):
            return False
        self.header = {"Authorization": f"Basic {basic_value(self._credentials, self._origin)}"}
        return True


class _Adapter(HTTPAdapter):
    """Ends what hangs, and trusts the authorities that the rest of this package trusts.

    Args:
        trust: makes the TLS context; None where there is no TLS.
        host: whose.
    """

    def __init__(self, trust: TrustStore | None, host: str) -> None:
        self._context = trust.context(host) if trust else None
        super().__init__(max_retries=0)

    def init_poolmanager(
        self, connections: int, maxsize: int, block: bool = False, **pool_kwargs: Any
    ) -> None:
        """Make the pool with our own TLS context."""
        if self._context is not None:
            pool_kwargs["ssl_context"] = self._context
        super().init_poolmanager(connections, maxsize, block, **pool_kwargs)
        self.poolmanager.pool_classes_by_scheme = timed_pools(Resolver(), None)

    def proxy_manager_for(self, proxy: str, **proxy_kwargs: Any) -> Any:
        """Make the pool for a proxy, with the same limit of time."""
        manager = super().proxy_manager_for(proxy, **proxy_kwargs)
        manager.pool_classes_by_scheme = timed_pools(Resolver(), None)
        return manager

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """Send, and read the answer, within one limit of time and one of size; oras-py has neither."""
        kwargs.update(timeout=total(Deadline(REQUEST_SECONDS)), stream=True)
        answer = super().send(request, *args, **kwargs)
        try:
            content = answer.raw.read(MAX_ANSWER + 1, decode_content=True)
        except (HTTPError, OSError) as error:
            raise requests.ConnectionError(error) from error
        finally:
            answer.close()
        if len(content) > MAX_ANSWER:
            raise requests.ConnectionError(f"an answer of more than {MAX_ANSWER} bytes")
        answer._content = content  # what requests does itself, without a bound
        return answer


class _FallbackTag:
    """The tag that stands in for the referrers API, as ``keep_entry`` wants it."""

    def __init__(self, pusher: Pusher, tag: str, doing: str) -> None:
        self._pusher = pusher
        self._tag = tag
        self._doing = doing

    def read(self) -> Kept | None:
        """Return what stands under the tag."""
        return self._pusher.read_tag(self._tag, self._doing)

    def write(self, content: bytes, condition: Mapping[str, str]) -> bool:
        """Put ``content`` there."""
        return self._pusher.write_tag(self._tag, content, condition, self._doing)
