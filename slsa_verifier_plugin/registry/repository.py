"""Requests to one repository of a registry, for reading and for writing.

From oras-py come media types and well-known hosts (``oras.defaults``). Its requests are not used: they sleep for 131 s between
attempts, read without a bound, and answer a challenge with whatever scope it asks for. Nor are its references: their parser
takes "localhost/a" for a repository of docker.io, and "my.org/a" for a registry.
"""

from __future__ import annotations

from dataclasses import replace

import oras.defaults

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.lru import LruCache
from slsa_verifier_plugin.network import faults
from slsa_verifier_plugin.network.origins import origin_of
from slsa_verifier_plugin.network.redirects import HttpClient
from slsa_verifier_plugin.network.transport import HttpRequest, Reply
from slsa_verifier_plugin.registry import limits
from slsa_verifier_plugin.registry.auth.authorization import CredentialLeases, RepositoryAuth
from slsa_verifier_plugin.registry.auth.challenge import Challenge, parse_challenges
from slsa_verifier_plugin.registry.auth.tokens import TokenServers
from slsa_verifier_plugin.registry.reference import Reference
from slsa_verifier_plugin.registry.retries import retried


class RepositoryClient:
    """Requests to one repository, authorized, redirected and repeated as far as their deadlines allow.

    Args:
        image: the repository.
        use_http: the store's ``useHttp``.
        http: sends requests and follows their redirects.
        credentials: where credentials come from.
        actions: what is done in the repository, as a token's scope says it.
        asked: what each registry has asked for, shared by the clients of a store; a client's own if left out.
    """

    def __init__(
        self,
        image: Reference,
        use_http: bool,
        http: HttpClient,
        credentials: CredentialLeases,
        actions: str = "pull",
        asked: LruCache[str, Challenge] | None = None,
    ) -> None:
        # Docker Hub's registry has another host than its name says.
        is_hub = image.registry == oras.defaults.registry.index_name
        host = oras.defaults.registry.default_v2_registry["host"] if is_hub else image.registry
        self._http = http
        self.image = image
        self.origin = f"{'http' if use_http else 'https'}://{host}"
        asked = asked if asked is not None else LruCache(limits.MAX_HOSTS)
        self.auth = RepositoryAuth(image, TokenServers(self.origin, http), credentials, actions, asked)

    def url(self, path: str) -> str:
        """Return a URL of the repository (OCI distribution 1.1, "Endpoints"), as of ``manifests/latest`` or ``tags/list``."""
        return f"{self.origin}/v2/{self.image.repository}/{path}"

    def send(
        self,
        request: HttpRequest,
        deadline: Deadline,
        *,
        most: int = limits.MAX_ATTEMPTS,
        leave_home: bool = True,
    ) -> Reply:
        """Return the registry's answer, whatever its status but 401, 429 and 5xx; its body is still to be read.

        Args:
            request: what to send; its URL is one of this registry's.
            deadline: the end of all attempts.
            most: attempts; 1 for a part of a larger operation that is repeated as a whole.
            leave_home: False to return a redirect to another host.

        Raises:
            RegistryError: no answer, a refusal, or a failure that did not pass.
            DeadlineError: out of time.
        """
        with self.auth.redactor.guard():
            return retried(lambda: self._authorized(request, deadline, leave_home), deadline, most)

    def _authorized(self, request: HttpRequest, deadline: Deadline, leave_home: bool) -> Reply:
        """Send once, and again with what a 401 asks for."""
        home = origin_of(self.origin)
        # What is known goes to this registry, and to no other host that a link of it names.
        is_home = origin_of(request.url) == home
        answered = 0
        while True:
            used = self.auth.authorization(deadline) if is_home else None
            headers = {**request.headers, **({"Authorization": used} if used else {})}
            sent = replace(request, headers=headers)
            reply = self._http.follow(sent, deadline, self.origin, leave_home=leave_home)
            if reply.status == 401 and origin_of(reply.url) == home:
                # Only of the registry itself: an object store's 401 is about its own signature, and no token helps.
                challenges = parse_challenges(reply.header("WWW-Authenticate"))
                refusal = reply.refusal()
                if not challenges or answered >= limits.MAX_AUTHENTICATIONS:
                    # Asked twice already: the token is fresh, so it is the right that is missing and not the token.
                    raise refusal
                self.auth.refuse(challenges, used)
            elif reply.status == 403 and used is not None and not answered:
                # A token from before may have lost its right, or been issued before the right was given.
                reply.error_body()
                self.auth.forget(used)
            elif faults.is_passing(reply.status):
                # An error here, so that ``retried`` sends the request again, after the time that the registry asks for.
                raise reply.refusal()
            else:
                return reply
            answered += 1
