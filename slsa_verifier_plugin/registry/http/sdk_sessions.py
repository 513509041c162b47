"""Sessions of ``requests`` for SDKs that bring no HTTP of their own, over the connections that our own requests use."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from typing import Any

import requests
import requests.adapters
import urllib3

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.network.pools import FAILURES, Pools
from slsa_verifier_plugin.network.sockets import total
from slsa_verifier_plugin.network.tls import TrustStore
from slsa_verifier_plugin.registry import limits

_OF_THE_WIRE = ("content-encoding", "content-length", "transfer-encoding")


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
    # A redirect would take the token, or the signed request, to whom the cloud's answer names.
    session.max_redirects = 0
    for scheme in ("https://", "http://"):
        # Both, for a proxy or a test server in clear text: what an SDK may ask is decided by its endpoint, not here.
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
        # call for ever. So are its own words on proxies and certificates. No keep-alive: a session serves one call.
        headers = {**request.headers, "Accept-Encoding": "identity", "Connection": "close"}
        # requests leaves forms as text.
        body = request.body.encode() if isinstance(request.body, str) else request.body
        try:
            answer = self._pools.open(
                str(request.method), str(request.url), headers, total(self._deadline), body=body
            )
            with contextlib.closing(answer):
                content = answer.read(limits.MAX_CLOUD_ANSWER_BYTES + 1, decode_content=False)
        except FAILURES as error:
            # What an SDK expects of a session.
            raise requests.ConnectionError(error, request=request) from error
        if len(content) > limits.MAX_CLOUD_ANSWER_BYTES:
            raise requests.ConnectionError("an answer without end", request=request)
        # Without its coding: nobody asked for one, and unpacked here it could fill the memory.
        kept = {name: text for name, text in answer.headers.items() if name.lower() not in _OF_THE_WIRE}
        raw = urllib3.HTTPResponse(io.BytesIO(content), kept, answer.status, preload_content=False)
        return self.build_response(request, raw)

    def close(self) -> None:
        self._pools.close()
        super().close()
