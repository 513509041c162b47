"""Sends a provider's own HTTP requests over the registry room's transport, and applies the same rules to an SDK's calls.

Exchanges are bounded in time and size, follow no redirect (a token would go along) and are never repeated. An SDK is given a
session over the same transport (``sdk_sessions``), so what the network does to its calls is told in the same words.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

from slsa_verifier_plugin import strict_json
from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import Reason, RegistryError
from slsa_verifier_plugin.members import object_at, text_at
from slsa_verifier_plugin.network.tls import TrustStore
from slsa_verifier_plugin.registry import limits
from slsa_verifier_plugin.registry.credentials.credential_failures import failed
from slsa_verifier_plugin.registry.faults import RETRY_HELPS, is_passing
from slsa_verifier_plugin.registry.http.transport import HttpRequest, Transport
from slsa_verifier_plugin.registry.redaction import explained
from slsa_verifier_plugin.text import plain

if TYPE_CHECKING:
    import requests

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Refusal:
    """A cloud's answer that is not what was asked for; what it said may hold a secret."""

    status: int | None
    said: object = field(repr=False)
    transient: bool


@dataclass(frozen=True, slots=True)
class SdkCall:
    """One call that a cloud's SDK makes.

    Args:
        step: what is being done, for messages.
        advice: what to do where the cloud refuses it.
        secrets: what an explanation of the cloud must not repeat.
        errors: what the SDK raises beside Python's own.
        judge: finds the refusal in an error of the SDK; None where the answer, or what was to be sent, cannot be read.
    """

    step: str
    advice: str
    secrets: Collection[str] = field(repr=False)
    errors: tuple[type[Exception], ...]
    judge: Callable[[Any], Refusal | None]


_UNFORESEEN: tuple[type[Exception], ...] = (OSError, ValueError, TypeError, LookupError, AttributeError)
"""What SDKs raise for answers of a form that they did not expect."""


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

    def send(self, request: HttpRequest, deadline: Deadline) -> tuple[int, Mapping[str, Any]]:
        """Return the status of an answer and the JSON object in it, an empty one where it holds anything else.

        Args:
            request: what to send; its operation is the step that ``failed`` names.
            deadline: the end of it, the body included.

        Raises:
            RegistryError: no answer, TLS, or an answer over its limit.
            DeadlineError: out of time.
        """
        # Exchanges are minutes apart, so a connection that is kept would only be in the server's way.
        headers = {"Accept": "application/json", "Connection": "close", **request.headers}
        try:
            with contextlib.closing(
                self._transport.send(replace(request, headers=headers), deadline)
            ) as reply:
                # No error for what is no object: whoever asked names the field that is missing, or the status.
                return reply.status, strict_json.object_in(reply.read(limits.MAX_CLOUD_ANSWER_BYTES))
        except RegistryError as error:
            failure = own_failure(self.provider, request.operation, error)
        # Outside the handler: the transport's own error would otherwise go along as context.
        raise failure

    def json(
        self, request: HttpRequest, deadline: Deadline, secrets: Collection[str], advice: str
    ) -> Mapping[str, Any]:
        """Return the JSON object of an answer with status 200.

        Args:
            request: as ``send``.
            deadline: as ``send``.
            secrets: what an explanation of the server must not repeat.
            advice: what to do where it refuses.

        Raises:
            RegistryError: as ``send``, and for any other status or content.
            DeadlineError: out of time.
        """
        status, value = self.send(request, deadline)
        if status != 200:
            code, text = explanation(value)
            refusal = Refusal(status, text, is_transient(status, code))
            raise self.refused(request.operation, refusal, secrets, advice)
        # Also for an empty object, in which nothing that was asked for can be.
        if not value:
            raise failed(self.provider, request.operation, "the answer is not a JSON object")
        return value

    def call(self, call: SdkCall, work: Callable[[requests.Session], T], deadline: Deadline) -> T:
        """Return what ``work`` returns, which calls the SDK, and has it send with the session that it is given.

        Raises:
            RegistryError: the cloud refused the call, or did not answer; no word of the SDK's own is in it.
            DeadlineError: out of time.
        """
        # Not at the top: it imports ``requests``, which no provider needs that asks for itself.
        from slsa_verifier_plugin.registry.http.sdk_sessions import session_until

        failure: RegistryError
        try:
            with session_until(deadline, self._transport, call.step) as session:
                return work(session)
        except RegistryError as error:
            # Of the session, or of ``work``.
            failure = own_failure(self.provider, call.step, error)
        except call.errors + _UNFORESEEN as error:
            # Alibaba's SDK wraps whatever stopped it, the session's own error among it.
            inner = getattr(error, "inner_exception", None) or error
            if isinstance(inner, RegistryError):
                failure = own_failure(self.provider, call.step, inner)
            elif (refusal := call.judge(error)) is not None:
                failure = self.refused(call.step, refusal, call.secrets, call.advice)
            else:
                failure = self.unreadable(call.step, inner)
        deadline.check(call.step)
        # Raised here and not in a handler, where the SDK's error, which may hold the signed request, would go along as context.
        raise failure

    def refused(self, step: str, refusal: Refusal, secrets: Collection[str], advice: str) -> RegistryError:
        """Return the error for a refusal; ``advice`` is left out where waiting alone may help."""
        # The cloud's own words, looked through for what it was sent: they say which permission is missing.
        shown = explained(refusal.said, secrets)
        status = f"HTTP {refusal.status}, " if refusal.status else ""
        remedy = "" if refusal.transient else f"; {advice}"
        return failed(self.provider, step, f"{status}{shown}{remedy}", transient=refusal.transient)

    def unreadable(self, step: str, found: object) -> RegistryError:
        """Return the error for an answer that an SDK cannot read.

        Only the type of ``found`` is shown: an SDK's text may hold the token or the signed request.
        """
        kind = plain(type(found).__name__)
        return failed(self.provider, step, f"the SDK cannot make the call or read the answer ({kind})")


def is_transient(status: int | None, code: str = "") -> bool:
    """Return True where the same request may succeed later, by its HTTP status (None for no answer) and a cloud's error code."""
    # Alibaba throttles with status 400, and with codes such as "Throttling.User".
    return is_passing(status or 0) or code.startswith("Throttling")


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


def own_failure(provider: str, step: str, error: RegistryError) -> RegistryError:
    """Return a failure of the transport as one of a provider."""
    if error.reason is Reason.REGISTRY_CREDENTIALS:
        # Worded as one already.
        return error
    # ``failed`` adds the step and the hint anew.
    detail = error.message.removesuffix(RETRY_HELPS).removeprefix(f"{step} failed: ")
    return failed(provider, step, detail, transient=error.transient)
