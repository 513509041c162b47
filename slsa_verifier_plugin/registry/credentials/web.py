"""Sends a provider's own HTTP requests over the registry room's transport, and applies the same rules to an SDK's calls.

Own exchanges are bounded in time and size, follow no redirect (a token would go along) and are never repeated.
An SDK sends over the room's transport or a session of it (``sdk_sessions``), so its calls are bounded as well.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from slsa_verifier_plugin import strict_json
from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import Reason, RegistryError
from slsa_verifier_plugin.network.tls import TrustStore
from slsa_verifier_plugin.registry import limits
from slsa_verifier_plugin.registry.credentials.credential_failures import failed
from slsa_verifier_plugin.registry.faults import RETRY_HELPS, is_passing, unreachable
from slsa_verifier_plugin.registry.http.transport import HttpRequest, Transport
from slsa_verifier_plugin.registry.redaction import explained
from slsa_verifier_plugin.text import plain

T = TypeVar("T")

SHORTEST_TIMEOUT = 0.05
"""Seconds that an SDK's call gets at least, so that an almost spent deadline does not mean "no limit" to it."""


@dataclass(frozen=True, slots=True)
class CloudAnswer:
    """An HTTP status and a body, which may hold a secret."""

    status: int
    body: bytes = field(repr=False)

    def object(self) -> Mapping[str, Any]:
        """Return the JSON object in the body, an empty one where it holds anything else."""
        try:
            value = strict_json.loads(self.body)
        except strict_json.JsonError:
            # No error here: whoever asked names the field that is missing, or the status.
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

    def send(self, request: HttpRequest, deadline: Deadline) -> CloudAnswer:
        """Return the answer to one request, whatever its status.

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
            reply = self._transport.send(replace(request, headers=headers), deadline)
            with contextlib.closing(reply):
                return CloudAnswer(reply.status, reply.read(limits.MAX_CLOUD_ANSWER_BYTES))
        except RegistryError as error:
            failure = own_failure(self._provider, request.operation, error)
        # Outside the handler: the transport's own error would otherwise go along as context.
        raise failure

    def json(
        self, request: HttpRequest, deadline: Deadline, secrets: Collection[str] = (), advice: str = ""
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
        answer = self.send(request, deadline)
        value = answer.object()
        if answer.status != 200:
            # The server's own words, looked through for what it was sent: they say which permission is missing.
            code, text = explanation(value)
            detail = f"HTTP {answer.status}, {explained(text, secrets)}"
            transient = is_transient(answer.status, code)
            raise refused(self._provider, request.operation, detail, advice, transient=transient)
        # Also for an empty object, in which nothing that was asked for can be.
        if not value:
            raise failed(self._provider, request.operation, "the answer is not a JSON object")
        return value


_UNFORESEEN: tuple[type[Exception], ...] = (OSError, ValueError, TypeError, LookupError, AttributeError)
"""What SDKs raise for answers of a form that they did not expect."""


@dataclass(frozen=True, slots=True)
class SdkCall:
    """One call that a cloud's SDK makes.

    Args:
        provider: the provider's name, for messages.
        step: what is being done, for messages.
        errors: what the SDK raises beside Python's own.
        judge: words an error of the SDK; None where the answer, or what was to be sent, cannot be read.
    """

    provider: str
    step: str
    errors: tuple[type[Exception], ...]
    judge: Callable[[Any], RegistryError | None]

    def make(self, work: Callable[[], T], deadline: Deadline) -> T:
        """Return what ``work`` returns, which calls the SDK.

        Raises:
            RegistryError: the cloud refused the call, or did not answer; no word of the SDK's own is in it.
            DeadlineError: out of time.
        """
        try:
            return work()
        except RegistryError as error:
            # Of the transport that the SDK was given, or of ``work``.
            failure = own_failure(self.provider, self.step, error)
        except self.errors + _UNFORESEEN as error:
            # Only the kind of the SDK's error is told; its text may hold the token or the signed request.
            failure = self.judge(error) or unreadable(self.provider, self.step, error)
        deadline.check(self.step)
        # Raised here and not in a handler, where the SDK's error, which may hold the signed request, would go along as context.
        raise failure


def refused(provider: str, step: str, detail: str, advice: str, *, transient: bool) -> RegistryError:
    """Return the error for a refusal; ``advice`` is left out where waiting alone may help."""
    shown = f"; {advice}" if advice and not transient else ""
    return failed(provider, step, detail + shown, transient=transient)


def unreadable(provider: str, step: str, found: object) -> RegistryError:
    """Return the error for an answer that an SDK cannot read; only the type of ``found`` is shown."""
    kind = plain(type(found).__name__)
    return failed(provider, step, f"the SDK cannot make the call or read the answer ({kind})")


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
    if error.reason is Reason.REGISTRY_CREDENTIALS:
        # Worded as one already.
        return error
    # ``failed`` adds the step and the hint anew.
    detail = error.message.removesuffix(RETRY_HELPS).removeprefix(f"{step} failed: ")
    return failed(provider, step, detail, transient=error.transient)


def seconds(deadline: Deadline, provider: str, step: str) -> float:
    """Return what is left of the time, for an SDK's timeouts.

    Raises:
        DeadlineError: nothing is left.
    """
    deadline.check(f"waiting for {step} ({provider})")
    # SDKs take 0 for "no limit".
    return max(deadline.remaining(), SHORTEST_TIMEOUT)
