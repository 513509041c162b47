"""Redirects, followed by our own code only.

A library would read a redirect's body without a bound, go anywhere, and decide on its own what to forward. Here:
at most five; never from HTTPS to HTTP; an ``Authorization`` header stays with the origin it was meant for; another
host must have an address of a kind that the registry itself could reach us from (``addresses.REACH``).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import urlsplit

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import Reason, RegistryError
from slsa_verifier_plugin.network import faults
from slsa_verifier_plugin.network import waits as limits
from slsa_verifier_plugin.network.origins import REDIRECTS, origin_of, target_of
from slsa_verifier_plugin.network.transport import HttpRequest, Reply, Transport

Observer = Callable[[HttpRequest, Reply, str, float], None]
"""Gets a request, its answer with the body unread, the registry's scheme and host, and the seconds to the answer's head.

What it gets is not yet redacted.
"""


class HttpClient(Transport):
    """Sends requests and follows their redirects; arguments as of ``Pools``; safe for many threads."""

    observer: Observer | None = None
    """Called with every answer, its body unread (``registry check``)."""

    def follow(
        self, request: HttpRequest, deadline: Deadline, home: str, *, leave_home: bool = True
    ) -> Reply:
        """Return the answer at the end of the redirects, whatever its status.

        Args:
            request: what to send.
            deadline: the end of all of it.
            home: a URL of the server that is configured, and so may be connected to wherever it is.
            leave_home: False to return a redirect to another origin instead of following it.

        Raises:
            RegistryError: reason ``REGISTRY_INVALID_RESPONSE`` for a redirect that is not followed; else as
                ``Transport.send``.
            DeadlineError: out of time.
        """
        for _ in range(limits.MAX_REDIRECTS + 1):
            # For ``registry check``, which shows where the time goes.
            begun = time.monotonic()
            reply = self.send(request, deadline, home)
            # Before the body is read, which is the caller's.
            if self.observer is not None:
                self.observer(request, reply, home, time.monotonic() - begun)
            # A redirect without a target is an answer as it is (RFC 9110, 15.4).
            if reply.status not in REDIRECTS or not reply.header("Location"):
                return reply
            target = target_of(request.url, reply.header("Location"))
            # The referrers API is the registry's own; an answer from elsewhere is a web page.
            if target is not None and not leave_home and origin_of(target) != origin_of(home):
                return reply
            # Read, so that the connection can be used for what follows.
            reply.error_body()
            if target is None:
                # ftp:, file: and javascript: among them; so are user information and a port of 0.
                raise _refused(request, "its target is not a plain HTTP URL")
            _check_step(request, reply.status, target)
            if origin_of(target) != origin_of(request.url):
                # A token for the registry is nobody else's. It does not come back, wherever the next redirect leads.
                kept = {name: text for name, text in request.headers.items() if name != "Authorization"}
                request = replace(request, headers=kept)
            request = replace(request, url=target)
        raise _refused(
            request, f"there were more than {limits.MAX_REDIRECTS} of them, or they go in a circle"
        )


def _check_step(request: HttpRequest, status: int, target: str) -> None:
    """Refuse a redirect that would show somebody what was not meant for them.

    Raises:
        RegistryError: reason ``REGISTRY_INVALID_RESPONSE``.
    """
    # A form holds an identity token; bytes are content, which is no secret.
    if request.body is not None and not isinstance(request.body, bytes):
        # 307 and 308 would repeat the form, and with it the identity token, to whom the answer names.
        raise _refused(request, "a token server must not redirect a request that carries a secret")
    if request.method in ("POST", "PUT") and status not in (307, 308):
        # Only these two keep method and body (RFC 9110, 15.4); after the others a GET would pass for a push.
        raise _refused(request, f"HTTP {status} would turn a {request.method} into a GET")
    # Whoever listens would read, and could answer, what was asked over TLS.
    if urlsplit(request.url).scheme == "https" and urlsplit(target).scheme == "http":
        # The digest would still be checked, so a changed blob is noticed; what is read along the way is not.
        raise _refused(request, "it leads from HTTPS to plain HTTP")


def _refused(request: HttpRequest, why: str) -> RegistryError:
    found = f"a redirect from {faults.redacted(request.url)} is not followed: {why}"
    advice = "correct the server's or its storage's configuration"
    return faults.failure(request.operation, f"{found}; {advice}", Reason.REGISTRY_INVALID_RESPONSE)
