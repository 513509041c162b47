"""A provider's HTTP: its own exchanges over the room's transport, and the room's rules in the terms of an SDK.

Own exchanges are bounded in time and size, follow no redirect (a token would go along) and are never repeated.
An SDK sends over the room's transport or a session of it (``transport.session_until``), so its calls are bounded as well.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from slsa_verifier_plugin import strict_json
from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import RegistryError
from slsa_verifier_plugin.network.proxies import proxy_for
from slsa_verifier_plugin.network.tls import TrustStore
from slsa_verifier_plugin.registry.credentials.credential_failures import failed
from slsa_verifier_plugin.registry.faults import RETRY_HELPS, unreachable
from slsa_verifier_plugin.registry.http.transport import HttpRequest, Transport
from slsa_verifier_plugin.registry.redaction import explained

MAX_ANSWER_BYTES = 2 * 1024 * 1024
"""Bytes of one answer; a kubernetes Secret holds up to 1 MiB, in base64 1.4 MiB, tokens are far smaller."""

SHORTEST_TIMEOUT = 0.05
"""Seconds that an SDK's call gets at least, so that an almost spent deadline does not mean "no limit" to it."""

TRANSIENT_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
"""HTTP statuses after which the same request may succeed later."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP status and a body, which may hold a secret."""

    status: int
    body: bytes = field(repr=False)

    @property
    def transient(self) -> bool:
        """True where the same request may succeed later."""
        return self.status in TRANSIENT_STATUS

    def object(self) -> Mapping[str, Any]:
        """Return the JSON object in the body, an empty one where it holds anything else."""
        try:
            value = strict_json.loads(self.body)
        except strict_json.JsonError:
            return {}
        return value if isinstance(value, dict) else {}


class Web:
    """Sends a provider's own requests.

    Args:
        provider: the provider's name, for messages.
        environ: where proxies and certificates are named; {} for services that no proxy may see.
        trust: certificates, where they are not those of the environment.
    """

    def __init__(self, provider: str, environ: Mapping[str, str], trust: TrustStore | None = None) -> None:
        self._provider = provider
        self._transport = Transport(environ, trust)

    def send(
        self,
        step: str,
        method: str,
        url: str,
        deadline: Deadline,
        *,
        headers: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
    ) -> Answer:
        """Return the answer to one request, whatever its status.

        Args:
            step: what is being done, for messages, as ``failed`` takes it.
            method: GET or POST.
            url: where to; without secrets.
            deadline: the end of it, the body included.
            headers: beside those that are always sent.
            form: a body to send as a form.

        Raises:
            RegistryError: no answer, TLS, or an answer over ``MAX_ANSWER_BYTES``.
            DeadlineError: out of time.
        """
        # Exchanges are minutes apart, so a connection that is kept would only be in the server's way.
        sent = {"Accept": "application/json", "Connection": "close", **(headers or {})}
        try:
            reply = self._transport.send(HttpRequest(step, url, method, sent, form), deadline)
            try:
                return Answer(reply.status, reply.read(MAX_ANSWER_BYTES))
            finally:
                reply.close()
        except RegistryError as error:
            failure = own_failure(self._provider, step, error)
        raise failure

    def json(
        self,
        step: str,
        method: str,
        url: str,
        deadline: Deadline,
        *,
        headers: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
        secrets: Collection[str] = (),
        advice: str = "",
    ) -> Mapping[str, Any]:
        """Return the JSON object of an answer with status 200.

        Args:
            step: as ``send``.
            method: as ``send``.
            url: as ``send``.
            deadline: as ``send``.
            headers: as ``send``.
            form: as ``send``.
            secrets: what an explanation of the server must not repeat.
            advice: what to do where it refuses.

        Raises:
            RegistryError: as ``send``, and for any other status or content.
            DeadlineError: out of time.
        """
        answer = self.send(step, method, url, deadline, headers=headers, form=form)
        value = answer.object()
        if answer.status != 200:
            code, text = explanation(value)
            transient = answer.transient or code.startswith("Throttling")
            detail = f"HTTP {answer.status}, {explained(text, secrets)}"
            advice = f"; {advice}" if advice and not transient else ""
            raise failed(self._provider, step, detail + advice, transient=transient)
        if not value:
            raise failed(self._provider, step, "the answer is not a JSON object")
        return value


def explanation(value: Mapping[str, Any]) -> tuple[str, str]:
    """Return the error code in a server's answer, and code and text together; "" for what is not there.

    Understood are OAuth2's ``error`` and ``error_description``, Alibaba's ``Code`` and ``Message``, and the list
    of ``errors`` with ``code`` and ``message`` of registries.
    """
    errors = value.get("errors")
    first = errors[0] if isinstance(errors, list) and errors and isinstance(errors[0], Mapping) else value
    code = next((first[name] for name in ("code", "Code", "error") if isinstance(first.get(name), str)), "")
    names = ("message", "Message", "error_description")
    text = next((first[name] for name in names if isinstance(first.get(name), str)), "")
    return code, ": ".join(part for part in (code, text) if part)


def unanswered(provider: str, step: str, url: str, error: BaseException) -> RegistryError:
    """Return the error for an SDK's call that got no answer.

    Args:
        provider: the provider's name, for messages.
        step: what was being done.
        url: the service's URL, without secrets.
        error: what the SDK raised; it is looked through for what the network or TLS said.
    """
    return own_failure(provider, step, unreachable(step, url, error))


def own_failure(provider: str, step: str, error: RegistryError) -> RegistryError:
    """Return a failure of the transport as one of a provider."""
    detail = error.message.removesuffix(RETRY_HELPS).removeprefix(f"{step} failed: ")
    return failed(provider, step, detail, transient=error.transient)


def seconds(deadline: Deadline, provider: str, step: str) -> float:
    """Return what is left of the time, for an SDK's timeouts.

    Raises:
        DeadlineError: nothing is left.
    """
    deadline.check(f"waiting for {step} ({provider})")
    return max(deadline.remaining(), SHORTEST_TIMEOUT)


def proxies(url: str, environ: Mapping[str, str], provider: str) -> dict[str, str]:
    """Return the proxy for ``url`` by its scheme, as ``requests`` and the SDKs take it; {} for none.

    Raises:
        RegistryError: the environment names a proxy that cannot be used.
    """
    try:
        proxy = proxy_for(url, environ)
    except RegistryError as error:
        detail = error.message
    else:
        return {urlsplit(url).scheme: proxy} if proxy else {}
    raise failed(provider, "choosing a proxy", detail)
