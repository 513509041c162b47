"""Sessions of ``requests`` for SDKs that bring no HTTP of their own, over the connections that our own requests use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import requests
import requests.adapters

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.network.pools import FAILURES, Pools
from slsa_verifier_plugin.network.sockets import total
from slsa_verifier_plugin.network.tls import TrustStore


def session_until(
    deadline: Deadline, environ: Mapping[str, str], trust: TrustStore | None = None
) -> requests.Session:
    """Return a session for an SDK that takes one: its requests, their answers included, end at ``deadline``.

    Args:
        deadline: the end of every request, whatever limit it is sent with.
        environ: proxies and places of certificates; those of the session and of this process do not count.
        trust: makes the TLS contexts; that of ``environ`` if left out.
    """
    session = requests.Session()
    # No .netrc either.
    session.trust_env = False
    for scheme in ("https://", "http://"):
        session.mount(scheme, _SdkAdapter(Pools(environ, trust), deadline))
    return session


class _SdkAdapter(requests.adapters.HTTPAdapter):
    """Sends what a session is given with our own connections, and makes the answer one of ``requests``."""

    def __init__(self, pools: Pools, deadline: Deadline) -> None:
        super().__init__()
        self._pools = pools
        self._deadline = deadline

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        # The SDK's own limits are left aside: they are for the silence between two bytes, so a peer that trickles would hold the
        # call for ever. So are its own words on proxies and certificates.
        body = request.body.encode() if isinstance(request.body, str) else request.body
        try:
            answer = self._pools.open(
                str(request.method), str(request.url), request.headers, total(self._deadline), body=body
            )
        except FAILURES as error:
            # What an SDK expects of a session.
            raise requests.ConnectionError(error, request=request) from error
        return self.build_response(request, answer)

    def close(self) -> None:
        self._pools.close()
        super().close()
