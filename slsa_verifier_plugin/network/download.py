"""Files of a repository on a foreign server (TUF), with one limit for the time of all of them.

The rules are those for registries: every wait ends (``sockets``), certificates and proxies are the environment's, and a
redirect leads only where the server that is configured could reach us from (``addresses.REACH``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

import urllib3

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.network import waits as limits
from slsa_verifier_plugin.network.addresses import AddressRefused
from slsa_verifier_plugin.network.dialing import Resolver
from slsa_verifier_plugin.network.failures import failure_of
from slsa_verifier_plugin.network.origins import REDIRECTS, target_of
from slsa_verifier_plugin.network.pools import FAILURES, Pools


class NotDownloaded(Exception):  # noqa: N818  (whoever asked words the error)
    """A file did not arrive; the text says why, for people. ``status`` is that of an answer without the file, 0 without one."""

    def __init__(self, why: str, status: int = 0) -> None:
        super().__init__(why)
        self.status = status


class Downloader:
    """Fetches files. For one thread, and for one task.

    Args:
        environ: proxies and places of certificates.
        deadline: the end of everything that is fetched with it.
        resolver: finds addresses.
    """

    def __init__(
        self, environ: Mapping[str, str], deadline: Deadline, resolver: Resolver | None = None
    ) -> None:
        self._deadline = deadline
        self._pools = Pools(environ, resolver=resolver)

    def fetch(self, url: str, size: int) -> Iterator[bytes]:
        """Yield the file at the end of the redirects in pieces of at most ``size`` bytes.

        Raises:
            NotDownloaded: no answer, one without the file, a redirect that is not followed, broken off, or out of time.
            RegistryError: the environment names certificates or a proxy that cannot be used.
        """
        answer = self._answer(url)
        try:
            # What is not followed by now is no file of the repository.
            if answer.status >= 300:
                raise NotDownloaded(f"HTTP error {answer.status}", answer.status)
            # Not ``stream``, which waits until a whole piece has come together.
            while piece := answer.read1(size):
                yield piece
        except FAILURES as error:
            raise self._worded(error) from None
        finally:
            # Its connection is closed unless the body was read to its end.
            answer.close()

    def _answer(self, url: str) -> urllib3.BaseHTTPResponse:
        # The configured server; a redirect is judged by it, not by where the redirect before led.
        home = url
        # The request itself, and after it as many redirects as the limit allows.
        for _ in range(limits.MAX_DOWNLOAD_REDIRECTS + 1):
            answer = self._send(url, home)
            location = answer.headers.get("Location")
            # 304 and a redirect without a target are answers as they are.
            if answer.status not in REDIRECTS or not location:
                return answer
            # Its body is not read: a mirror could make it endless.
            answer.close()
            target = target_of(url, location)
            # In clear text anybody between could change the file; TUF would notice, and stay without its update.
            if target is None or (urlsplit(url).scheme == "https" and urlsplit(target).scheme == "http"):
                raise NotDownloaded("it redirects to what is no URL, or from HTTPS to plain HTTP")
            url = target
        raise NotDownloaded(f"it redirects more than {limits.MAX_DOWNLOAD_REDIRECTS} times")

    def _send(self, url: str, home: str) -> urllib3.BaseHTTPResponse:
        self._check()
        deadline = self._deadline.within(limits.DOWNLOAD_SECONDS)
        try:
            return self._pools.open("GET", url, {}, deadline, home=home)
        # As for a registry: whoever controls a mirror must not have us ask this machine, its link or a private network.
        except AddressRefused as refused:
            self._check()
            raise NotDownloaded(f"it redirects to a {refused.kind} address, and is at none itself") from None
        except FAILURES as error:
            raise self._worded(error) from None

    def _worded(self, error: Exception) -> NotDownloaded:
        self._check()
        return NotDownloaded(failure_of(error).sentence())

    def _check(self) -> None:
        # Whatever the network said of it: its last error is only a consequence.
        if self._deadline.remaining() <= 0:
            raise NotDownloaded(
                f"not complete after {self._deadline.seconds:g} s; try again, or look at the network or proxy between"
            )
