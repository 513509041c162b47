"""oras-py's client for one repository, with requests of our own underneath.

From oras-py come the session with its cookie policy, and the place where a request is sent (``do_request``) and
authorized (``auth``). Its retries (131 s of sleep), its unbounded reads, its token handling and its URLs (which take
the registry ``localhost`` for a repository of docker.io) are replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import oras.provider
import requests

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import RegistryError
from slsa_verifier_plugin.network.origins import origin_of
from slsa_verifier_plugin.registry import faults, limits
from slsa_verifier_plugin.registry.auth.authorization import RepositoryAuth
from slsa_verifier_plugin.registry.auth.challenge import Challenge, parse_challenges
from slsa_verifier_plugin.registry.http.redirects import Courier
from slsa_verifier_plugin.registry.http.retries import Retries
from slsa_verifier_plugin.registry.http.transport import Reply
from slsa_verifier_plugin.registry.reference import Reference

USER_AGENT = "slsa-verifier-plugin"

_ALWAYS = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity"}
"""Headers of every request; without content coding there is nothing that could be a decompression bomb."""


def host_of(registry: str) -> str:
    """Return the host that serves the registry with this name."""
    return "registry-1.docker.io" if registry == "docker.io" else registry


def new_session() -> requests.Session:
    """Return the session that oras-py makes for its client: it accepts no cookies."""
    session = oras.provider.Registry().session
    assert isinstance(session, requests.Session)
    return session


class RepositoryClient(oras.provider.Registry):  # type: ignore[misc]  # oras has no type information
    """Requests to one repository, authorized, redirected and repeated as far as its deadline allows.

    Args:
        image: the repository.
        use_http: the store's ``useHttp``.
        session: shared by all repositories of a store.
        courier: sends requests.
        auth: makes their ``Authorization``.
        asked: called with each challenge of the registry.
    """

    def __init__(
        self,
        image: Reference,
        use_http: bool,
        session: requests.Session,
        courier: Courier,
        auth: RepositoryAuth,
        asked: Callable[[Challenge], None],
    ) -> None:
        super().__init__(hostname=host_of(image.registry), insecure=use_http)
        self.session = session
        self.auth = auth
        self.image = image
        self._courier = courier
        self._asked = asked

    @property
    def origin(self) -> str:
        """The registry's scheme and host."""
        return f"{self.prefix}://{self.hostname}"

    def manifest_url(self, name: str) -> str:
        """Return the URL of the manifest with this tag or digest (OCI distribution 1.1, end-3)."""
        return f"{self._base}/manifests/{name}"

    def blob_url(self, digest: str) -> str:
        """Return the URL of the blob with this digest (end-2)."""
        return f"{self._base}/blobs/{digest}"

    def referrers_url(self, digest: str) -> str:
        """Return the URL of the list of referrers of this digest (end-12a)."""
        return f"{self._base}/referrers/{digest}"

    def tags_url(self) -> str:
        """Return the URL of the list of tags (end-8a)."""
        return f"{self._base}/tags/list"

    @property
    def _base(self) -> str:
        return f"{self.origin}/v2/{self.image.repository}"

    def do_request(
        self,
        url: str,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        *,
        deadline: Deadline,
        operation: str,
        retries: Retries | None = None,
        leave_home: bool = True,
    ) -> Reply:
        """Return the registry's answer, whatever its status but 401, 429 and 5xx; its body is still to be read.

        Args:
            url: one of this registry's.
            method: GET or HEAD.
            headers: beside those that are always sent.
            deadline: the end of all attempts.
            operation: what is being done, for messages.
            retries: the attempts of a larger operation of which this is a part.
            leave_home: False to return a redirect to another host.

        Raises:
            RegistryError: no answer, a refusal, or a failure that did not pass.
            DeadlineError: out of time.
        """
        with self.auth.hiding_secrets():
            return self._exchange(
                url, method, headers or {}, deadline, operation, retries or Retries(deadline), leave_home
            )

    def _exchange(
        self,
        url: str,
        method: str,
        headers: Mapping[str, str],
        deadline: Deadline,
        operation: str,
        retries: Retries,
        leave_home: bool,
    ) -> Reply:
        authenticated = 0
        renewed = False
        at_home = origin_of(url) == origin_of(self.origin)
        while True:
            used = self.auth.authorization(deadline) if at_home else None  # for this registry, for no other
            sent = {**_ALWAYS, **headers, **({"Authorization": used} if used else {})}
            try:
                reply = self._courier.carry(
                    method, url, sent, deadline, operation, home=self.origin, leave_home=leave_home
                )
            except RegistryError as error:
                retries.wait(error)
                continue
            if reply.status == 401 and origin_of(reply.url) == origin_of(self.origin):
                if authenticated >= limits.MAX_AUTHENTICATIONS:
                    codes = faults.error_codes(reply.error_body())
                    raise faults.status_error(operation, reply.url, 401, codes)
                authenticated += 1
                self._challenged(reply, used, operation)
            elif reply.status == 403 and used is not None and not authenticated and not renewed:
                # A token from before may have lost its right, or been issued before the right was given.
                renewed = True
                reply.error_body()
                self.auth.forget(used)
            elif faults.is_passing(reply.status):
                retry_after = reply.header("Retry-After")
                codes = faults.error_codes(reply.error_body())
                retries.wait(faults.status_error(operation, reply.url, reply.status, codes), retry_after)
            else:
                return reply

    def _challenged(self, reply: Reply, used: str | None, operation: str) -> None:
        challenges = parse_challenges(reply.header("WWW-Authenticate"))
        codes = faults.error_codes(reply.error_body())
        if not challenges:
            raise faults.status_error(operation, reply.url, 401, codes)
        self._asked(self.auth.refuse(challenges, used))
