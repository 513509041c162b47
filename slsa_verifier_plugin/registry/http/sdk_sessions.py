"""Sessions of ``requests`` for SDKs that bring no HTTP of their own, over the connections that our own requests use."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import requests
import requests.adapters
import urllib3

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import Reason
from slsa_verifier_plugin.network.origins import REDIRECTS
from slsa_verifier_plugin.registry import faults, limits
from slsa_verifier_plugin.registry.http.transport import HttpRequest, Transport

_OF_THE_WIRE = ("content-encoding", "content-length", "transfer-encoding")


def session_until(deadline: Deadline, transport: Transport, operation: str) -> requests.Session:
    """Return a session for an SDK that takes one: its requests, their answers included, end at ``deadline``.

    What goes wrong is raised as ``Transport.send`` raises it, through the SDK.

    Args:
        deadline: the end of every request, whatever limit it is sent with.
        transport: sends them; proxies and certificates of the session and of this process do not count.
        operation: what is being done, for messages.
    """
    session = requests.Session()
    # No .netrc either.
    session.trust_env = False
    for scheme in ("https://", "http://"):
        # Both, for a proxy or a test server in clear text: what an SDK may ask is decided by its endpoint, not here.
        session.mount(scheme, _SdkAdapter(transport, operation, deadline))
    return session


class _SdkAdapter(requests.adapters.HTTPAdapter):
    """Sends what a session is given with our own connections, and makes the answer one of ``requests``."""

    def __init__(self, transport: Transport, operation: str, deadline: Deadline) -> None:
        super().__init__()
        self._transport = transport
        self._operation = operation
        self._deadline = deadline

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        # The SDK's own limits are left aside: they are for the silence between two bytes, so a peer that trickles would hold the
        # call for ever. So are its own words on proxies and certificates. No keep-alive: a session serves one call.
        headers = {**request.headers, "Accept-Encoding": "identity", "Connection": "close"}
        # requests leaves forms as text.
        body = request.body.encode() if isinstance(request.body, str) else request.body
        sent = HttpRequest(self._operation, str(request.url), str(request.method), headers, body)
        with contextlib.closing(self._transport.send(sent, self._deadline)) as reply:
            content = reply.read(limits.MAX_CLOUD_ANSWER_BYTES)
        # It would take the token, or the signed request, to whom the cloud's answer names.
        if reply.status in REDIRECTS:
            shown = faults.redacted(sent.url)
            why = f"{shown} sends its client elsewhere (HTTP {reply.status}), which is not followed; check the endpoint"
            raise faults.failure(self._operation, why, Reason.REGISTRY_INVALID_RESPONSE)
        # Without its coding: nobody asked for one, and unpacked here it could fill the memory.
        kept = {name: text for name, text in reply.headers().items() if name.lower() not in _OF_THE_WIRE}
        raw = urllib3.HTTPResponse(io.BytesIO(content), kept, reply.status, preload_content=False)
        return self.build_response(request, raw)
