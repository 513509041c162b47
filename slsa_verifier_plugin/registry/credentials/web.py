"""Sends a provider's HTTP requests over the registry room's transport, those that an SDK writes among them.

Exchanges are bounded in time and size, follow no redirect (a token would go along) and are never repeated. What the network
does to them is told in the same words, whoever wrote the request.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from slsa_verifier_plugin import strict_json
from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import RegistryError, VerifierError
from slsa_verifier_plugin.members import object_at, text_at
from slsa_verifier_plugin.network import faults
from slsa_verifier_plugin.network.origins import REDIRECTS
from slsa_verifier_plugin.network.tls import TrustStore
from slsa_verifier_plugin.network.transport import HttpRequest, Reply, Transport
from slsa_verifier_plugin.registry import limits
from slsa_verifier_plugin.registry.credentials.credential_failures import failed
from slsa_verifier_plugin.registry.redaction import explained
from slsa_verifier_plugin.text import plain

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class CloudStep:
    """One step of a provider's work.

    ``name`` says what is being done, as it completes "while ...", ``advice`` what to look at where the cloud refuses it,
    ``secrets`` what an explanation of the cloud must not repeat.
    """

    name: str
    advice: str
    secrets: Collection[str] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A cloud's answer that is not what was asked for; what it said may hold a secret."""

    status: int | None
    said: object = field(repr=False)
    transient: bool


class Web:
    """Asks a cloud on behalf of one provider.

    Args:
        provider: the provider's name, for messages.
        environ: where proxies and certificates are named; {} for services that no proxy may see.
        trust: certificates, where they are not those of the environment.
    """

    def __init__(self, provider: str, environ: Mapping[str, str], trust: TrustStore | None = None) -> None:
        self.provider = provider
        self._transport = Transport(environ, trust)

    def exchange(self, request: HttpRequest, deadline: Deadline) -> tuple[Reply, bytes]:
        """Return the answer to one request, and its body.

        Args:
            request: what to send; its operation is the step that ``failed`` names.
            deadline: the end of it, the body included.

        Raises:
            RegistryError: no answer, TLS, a redirect, or an answer over its limit.
            DeadlineError: out of time.
        """
        # Exchanges are minutes apart, so a connection that is kept would only be in the server's way.
        headers = {**request.headers, "Connection": "close"}
        try:
            with contextlib.closing(
                self._transport.send(replace(request, headers=headers), deadline)
            ) as reply:
                content = reply.read(limits.MAX_CLOUD_ANSWER_BYTES)
            if reply.status not in REDIRECTS:
                return reply, content
            # It would take the token, or the signed request, to whom the cloud's answer names.
            shown = f"{faults.redacted(request.url)} sends its client elsewhere (HTTP {reply.status})"
            failure = failed(
                self.provider, request.operation, f"{shown}, which is not followed; check the endpoint"
            )
        except RegistryError as error:
            # ``failed`` adds the step and the hint anew.
            detail = error.message.removesuffix(faults.RETRY_HELPS)
            detail = detail.removeprefix(f"{request.operation} failed: ")
            failure = failed(self.provider, request.operation, detail, transient=error.transient)
        # Outside the handler: the transport's own error would otherwise go along as context.
        raise failure

    def send(self, request: HttpRequest, deadline: Deadline) -> tuple[int, Mapping[str, Any]]:
        """Return the status of an answer and the JSON object in it, an empty one where it holds anything else.

        Arguments and errors are those of ``exchange``.
        """
        headers = {"Accept": "application/json", **request.headers}
        reply, content = self.exchange(replace(request, headers=headers), deadline)
        # No error for what is no object: whoever asked names the field that is missing, or the status.
        return reply.status, strict_json.object_in(content)

    def post(
        self,
        step: CloudStep,
        url: str,
        deadline: Deadline,
        form: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Mapping[str, Any]:
        """Return the JSON object of a cloud's answer with status 200.

        Args:
            step: what is being done.
            url: where to.
            deadline: the end of it, the body included.
            form: what is sent, if anything.
            headers: beside those that every request has.

        Raises:
            RegistryError: as ``exchange``, and for any other status or content.
            DeadlineError: out of time.
        """
        status, value = self.send(HttpRequest(step.name, url, "POST", headers or {}, form), deadline)
        if status != 200:
            code, text = explanation(value)
            raise self.refused(step, Refusal(status, text, is_transient(status, code)))
        # Also for an empty object, in which nothing that was asked for can be.
        if not value:
            raise failed(self.provider, step.name, "the answer is not a JSON object")
        return value

    def call(
        self,
        step: CloudStep,
        work: Callable[[], T],
        judge: Callable[[Exception], Refusal | None],
        deadline: Deadline,
    ) -> T:
        """Return what ``work`` returns, which calls an SDK that sends with ``exchange``.

        Args:
            step: what is being done.
            work: calls the SDK.
            judge: finds the refusal in an error of the SDK; None where the answer, or what was to be sent, cannot be read.
            deadline: the end of it.

        Raises:
            RegistryError: the cloud refused the call, or did not answer; no word of the SDK's own is in it.
            DeadlineError: out of time.
        """
        try:
            return work()
        except VerifierError:
            # Of ``exchange`` or of ``work``, and worded already.
            raise
        except Exception as error:  # noqa: BLE001  whatever an SDK raises may hold the signed request
            refusal = judge(error)
            # Only the type is shown: an SDK's text may hold the token.
            kind = plain(type(error).__name__)
            unreadable = f"the SDK cannot make the call or read the answer ({kind})"
            failure = (
                failed(self.provider, step.name, unreadable)
                if refusal is None
                else self.refused(step, refusal)
            )
        deadline.check(step.name)
        # Raised here and not in a handler, where the SDK's error, which may hold the signed request, would go along as context.
        raise failure

    def refused(self, step: CloudStep, refusal: Refusal) -> RegistryError:
        """Return the error for a refusal; the step's advice is left out where waiting alone may help."""
        # The cloud's own words, looked through for what it was sent: they say which permission is missing.
        shown = explained(refusal.said, step.secrets)
        status = f"HTTP {refusal.status}, " if refusal.status else ""
        remedy = "" if refusal.transient else f"; {step.advice}"
        return failed(self.provider, step.name, f"{status}{shown}{remedy}", transient=refusal.transient)


def is_transient(status: int | None, code: str = "") -> bool:
    """Return True where the same request may succeed later, by its HTTP status (None for no answer) and a cloud's error code."""
    # Alibaba throttles with status 400, and with codes such as "Throttling.User".
    return faults.is_passing(status or 0) or code.startswith("Throttling")


def explanation(value: Mapping[str, Any]) -> tuple[str, str]:
    """Return the error code in a server's answer, and code and text together; "" for what is not there.

    Understood are OAuth2's ``error`` and ``error_description``, Alibaba's ``Code`` and ``Message``, and the list
    of ``errors`` with ``code`` and ``message`` of registries.
    """
    # ACR's form, as of every registry.
    first = object_at(value, "errors", 0) or value
    code = next(filter(None, (text_at(first, name) for name in ("code", "Code", "error"))), "")
    names = ("message", "Message", "error_description")
    text = next(filter(None, (text_at(first, name) for name in names)), "")
    return code, ": ".join(part for part in (code, text) if part)
