"""The one signed call to Alibaba Cloud, by Alibaba's SDK, sent once: ACR's ``GetAuthorizationToken``.

The SDK keeps connections for the whole process, takes no limit for the whole of a call and reads its proxies from
this process's environment where it is told of none; it is told of everything else.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import requests

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import RegistryError
from slsa_verifier_plugin.network.tls import TrustStore
from slsa_verifier_plugin.registry.credentials.access_keys import AccessKeys
from slsa_verifier_plugin.registry.credentials.credential_failures import libraries
from slsa_verifier_plugin.registry.credentials.web import (
    SdkCall,
    explanation,
    is_transient,
    refused,
    seconds,
    unanswered,
    unreadable,
)
from slsa_verifier_plugin.registry.http.sdk_sessions import session_until
from slsa_verifier_plugin.registry.redaction import explained

_MODULES = (
    "alibabacloud_cr20181201.client",
    "alibabacloud_cr20181201.models",
    "alibabacloud_tea_openapi.utils_models",
    "alibabacloud_tea_openapi.exceptions",
    "darabonba.runtime",
    "Tea.exceptions",
    "darabonba.core",
)

_LOGGERS = ("alibabacloud-tea", "darabonba-core", "credentials")
"""All three write to standard error without having been asked."""


_NUMBERS = itertools.count(1000)
_PORT = 80
"""What the SDK writes into a session's key, for HTTPS too."""


@contextmanager
def _session(core: Any, key: str, session: requests.Session) -> Iterator[None]:
    """Let the SDK send one call with ``session``.

    The SDK keeps one session for each host and pool size. Its own limits bound only the silence between two bytes: a peer
    that trickles would hold the thread for ever. So each call names a pool size of its own, and finds the session put there.
    """
    with session:
        # Private, and the only way in: the SDK takes no session as an argument.
        core._sessions[key] = session
        try:
            yield
        finally:
            # The table is the process's, and each call has a key of its own: left in, it would grow with every call.
            core._sessions.pop(key, None)


@dataclass(frozen=True, slots=True)
class AcrInstance:
    """An Enterprise Edition instance in a region."""

    region: str
    instance_id: str


class AlibabaCalls:
    """Makes calls for one provider; safe for many threads: each call has a client of its own.

    Args:
        provider: the provider's name, for messages.
        environ: proxies and places of certificates.
    """

    def __init__(self, provider: str, environ: Mapping[str, str]) -> None:
        self._provider = provider
        self._environ = environ
        self._trust = TrustStore(environ)

    def get_authorization_token(
        self, step: str, target: AcrInstance, keys: AccessKeys, deadline: Deadline
    ) -> Any:
        """Return the answer, an instance of the SDK's ``GetAuthorizationTokenResponseBody``.

        Args:
            step: what is being done, for messages.
            target: the instance.
            keys: sign the call.
            deadline: bounds connecting and each wait for bytes.

        Raises:
            RegistryError: Alibaba refused it, or did not answer.
            DeadlineError: out of time.
        """
        client, models, api, api_exceptions, runtime, tea, core = libraries(
            self._provider, "alibaba", _MODULES, _LOGGERS
        )
        # ACR answers at one host for each region.
        host = f"cr.{target.region}.aliyuncs.com"
        number = next(_NUMBERS)
        # The SDK counts in whole milliseconds.
        milliseconds = max(1, int(seconds(deadline, self._provider, step) * 1000))
        config = api.Config(
            access_key_id=keys.key_id,
            access_key_secret=keys.secret,
            # Keys from the environment may be lasting ones, which have no token.
            security_token=keys.token or None,
            endpoint=host,
            region_id=target.region,
            user_agent="",
        )
        options = runtime.RuntimeOptions(
            connect_timeout=milliseconds,
            read_timeout=milliseconds,
            # Makes the session's key ours alone, see _session.
            max_idle_conns=number,
            ignore_ssl=False,
        )
        request = models.GetAuthorizationTokenRequest(instance_id=target.instance_id)
        # Written exactly as the SDK writes it, or it would make a session without our limits.
        key = f"https://{host}:{_PORT}:pool={number}"

        def work() -> Any:
            with _session(core.DaraCore, key, session_until(deadline, self._environ, self._trust)):
                body = client.Client(config).get_authorization_token_with_options(request, options).body
            # The SDK hands on what it got, whatever that is.
            if isinstance(body, models.GetAuthorizationTokenResponseBody):
                return body
            raise unreadable(self._provider, step, body)

        def judge(error: Any) -> RegistryError | None:
            # Alibaba answered, and refused.
            if isinstance(error, api_exceptions.AlibabaCloudException):
                return self._refused(step, error, keys)
            # The SDK wraps what stopped it in an UnretryableException.
            inner = getattr(error, "inner_exception", error)
            # "RetryError" is the SDK's name for every failure to get an answer, though it has not tried again.
            if type(inner).__name__ == "RetryError":
                return unanswered(self._provider, step, f"https://{host}", inner)
            return unreadable(self._provider, step, inner)

        errors = (api_exceptions.AlibabaCloudException, tea.UnretryableException)
        return SdkCall(self._provider, step, errors, judge).make(work, deadline)

    def _refused(self, step: str, error: Any, keys: AccessKeys) -> RegistryError:
        code, text = explanation(error.data if isinstance(error.data, Mapping) else {})
        detail = f"HTTP {error.status_code}, {explained(text, keys.secrets())}"
        advice = "check that the role may cr:GetAuthorizationToken on the instance"
        transient = is_transient(error.status_code, code)
        return refused(self._provider, step, detail, advice, transient=transient)
