"""Calls to AWS by boto3, each sent once, and told everything: region, keys, endpoint, certificates, proxy, timeouts.

Nothing comes from this process's own environment, from ``~/.aws`` or from an instance's metadata.
"""

from __future__ import annotations

import contextlib
import io
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import urllib3

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import RegistryError
from slsa_verifier_plugin.network.tls import TrustStore
from slsa_verifier_plugin.registry import limits
from slsa_verifier_plugin.registry.credentials.access_keys import AccessKeys
from slsa_verifier_plugin.registry.credentials.credential_failures import libraries
from slsa_verifier_plugin.registry.credentials.web import (
    SdkCall,
    is_transient,
    refused,
    seconds,
    unanswered,
)
from slsa_verifier_plugin.registry.http.transport import HttpRequest, Transport
from slsa_verifier_plugin.registry.redaction import explained

_LOGGERS = ("boto3", "botocore", "s3transfer")

_TRANSIENT_CODES = frozenset(
    [
        "IDPCommunicationError",
        "InternalFailure",
        "InternalServerError",
        "RequestLimitExceeded",
        "RequestTimeout",
        "RequestTimeoutException",
        "ServerException",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "TooManyRequestsException",
    ]
)
"""AWS error codes after which the same call may succeed later ("Common Errors" of STS and ECR)."""


@dataclass(frozen=True, slots=True)
class AwsCall:
    """An operation of a service in a region; unsigned without keys; ``endpoint`` replaces AWS's own.

    ``step`` says what is being done, ``advice`` what to look at where AWS refuses it, ``secrets`` what no message may repeat.
    """

    step: str
    service: str
    region: str
    operation: str
    keys: AccessKeys | None = None
    endpoint: str | None = None
    advice: str = ""
    secrets: Sequence[str] = field(repr=False, default=())


class AwsCalls:
    """Makes calls for one provider; safe for many threads: each call has a client and connections of its own.

    Args:
        provider: the provider's name, for messages.
        environ: endpoints, certificates and proxies, in AWS's own variables as well.
    """

    def __init__(self, provider: str, environ: Mapping[str, str]) -> None:
        self._provider = provider
        self._environ = environ
        bundle = environ.get("AWS_CA_BUNDLE")
        # As in AWS's SDKs: it replaces the system's authorities, for AWS alone.
        trust = TrustStore({"SSL_CERT_FILE": bundle}, directories=(), host_directories=()) if bundle else None
        self._transport = Transport(environ, trust)
        # Making a client of a session is not safe for many threads.
        self._lock = threading.Lock()
        self._session: Any = None

    def send(self, call: AwsCall, deadline: Deadline, **parameters: str) -> Mapping[str, Any]:
        """Return the answer of one call.

        Args:
            call: the operation.
            deadline: the end of it.
            parameters: the operation's own.

        Raises:
            RegistryError: AWS refused it, or did not answer.
            DeadlineError: out of time.
        """
        boto3, botocore, exceptions, parsers = libraries(
            self._provider,
            "aws",
            ("boto3.session", "botocore.session", "botocore.exceptions", "botocore.parsers"),
            _LOGGERS,
        )
        timeout = seconds(deadline, self._provider, call.step)

        def work() -> Mapping[str, Any]:
            with self._lock:
                if self._session is None:
                    self._session = boto3.Session(botocore_session=_isolated(botocore))
                client = self._client(self._session, call, timeout)
            # The SDK's own HTTP bounds the silence between two bytes, so a peer that trickles would keep this thread for ever.
            client._endpoint.http_session = _BotoHttp(self._transport, call.step, deadline)
            with contextlib.closing(client):
                # By name: boto3 makes its clients' methods from a description of the service.
                answer = getattr(client, call.operation)(**parameters)
            return answer if isinstance(answer, Mapping) else {}

        errors = (exceptions.BotoCoreError, exceptions.ClientError, parsers.ResponseParserError)
        return SdkCall(self._provider, call.step, errors, lambda error: self._judge(call, error)).make(
            work, deadline
        )

    def _client(self, session: Any, call: AwsCall, timeout: float) -> Any:
        # Not at the top: botocore is an extra, which ``libraries`` has found by now.
        from botocore import UNSIGNED
        from botocore.config import Config

        settings: dict[str, Any] = {
            "connect_timeout": timeout,
            "read_timeout": timeout,
            # The SDK would sleep between attempts, past any deadline; who waits decides on another.
            "retries": {"total_max_attempts": 1, "mode": "standard"},
            # Those are read below from the call's environment, not from this process's.
            "ignore_configured_endpoint_urls": True,
            "use_fips_endpoint": _flag(self._environ, "AWS_USE_FIPS_ENDPOINT"),
            "use_dualstack_endpoint": _flag(self._environ, "AWS_USE_DUALSTACK_ENDPOINT"),
        }
        named: dict[str, Any] = {
            "region_name": call.region,
            # None lets boto3 take AWS's own.
            "endpoint_url": call.endpoint or _configured_endpoint(call.service, self._environ),
        }
        # AssumeRoleWithWebIdentity is the one call that the token itself authorizes.
        if call.keys is None:
            settings["signature_version"] = UNSIGNED
        else:
            named["aws_access_key_id"] = call.keys.key_id
            named["aws_secret_access_key"] = call.keys.secret
            # Keys from the environment may be lasting ones, which have no token.
            named["aws_session_token"] = call.keys.token or None
        # No proxy here: the room's transport, which sends the request, chooses it.
        return session.client(call.service, config=Config(**settings, proxies={}), **named)

    def _judge(self, call: AwsCall, error: Exception) -> RegistryError | None:
        """Return the error for an exception of botocore; what that says itself may hold the request."""
        from botocore import exceptions

        if isinstance(error, exceptions.ClientError):
            details = error.response.get("Error", {})
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            code = str(details.get("Code", "an unknown error"))
            # Throttling comes with HTTP 400 from STS and ECR.
            transient = code in _TRANSIENT_CODES or is_transient(status)
            text = explained(f"{code}: {details.get('Message', '')}", call.secrets)
            detail = f"AWS answered HTTP {status}, {text}"
            return refused(self._provider, call.step, detail, call.advice, transient=transient)
        # The endpoint is named, for it may be an override with a slip in it.
        if isinstance(error, (exceptions.HTTPClientError, exceptions.ConnectionError, OSError)):
            own = f"https://{call.service}.{call.region}.amazonaws.com/"
            endpoint = call.endpoint or _configured_endpoint(call.service, self._environ) or own
            return unanswered(self._provider, call.step, endpoint, error)
        # Neither: an answer that botocore cannot read, which ``SdkCall`` words.
        return None


class _BotoHttp:
    """What botocore sends its requests with, over the room's transport: with certificates, proxies and one limit of time."""

    def __init__(self, transport: Transport, step: str, deadline: Deadline) -> None:
        self._transport = transport
        self._step = step
        self._deadline = deadline

    def send(self, request: Any) -> Any:
        """Return the answer to a request of botocore's (``AWSPreparedRequest``)."""
        from botocore.awsrequest import AWSResponse

        headers = {name: _text(value) for name, value in request.headers.items()}
        # Exchanges are hours apart: a kept connection would only burden the server. Identity: nothing below unpacks the body.
        headers |= {"Accept-Encoding": "identity", "Connection": "close"}
        body = request.body.encode() if isinstance(request.body, str) else bytes(request.body or b"")
        reply = self._transport.send(
            HttpRequest(self._step, request.url, request.method, headers, body), self._deadline
        )
        with contextlib.closing(reply):
            # Read here, where the size is bounded: botocore itself reads whatever comes.
            content = reply.read(limits.MAX_CLOUD_ANSWER_BYTES)
        # botocore takes a urllib3 answer whose body is still to be read.
        raw = urllib3.HTTPResponse(io.BytesIO(content), preload_content=False)
        return AWSResponse(request.url, reply.status, reply.headers(), raw)

    def close(self) -> None:
        """Do nothing: the transport is the provider's."""


def _text(value: object) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _isolated(botocore_session: Any) -> Any:
    """Return a session that reads no variables, profiles or files: they are this process's, not the caller's."""
    # Each variable keeps its default and loses the place that it would be read from.
    names = botocore_session.Session().session_var_map
    settings = {name: (None, None, default, convert) for name, (_, _, default, convert) in names.items()}
    for name in ("config_file", "credentials_file"):
        settings[name] = (None, None, os.devnull, None)
    return botocore_session.Session(session_vars=settings)


def _configured_endpoint(service: str, environ: Mapping[str, str]) -> str | None:
    """Return the endpoint that AWS's own variables name for a service ("Service-specific endpoints")."""
    # As every AWS SDK has it.
    if _flag(environ, "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"):
        return None
    return environ.get(f"AWS_ENDPOINT_URL_{service.upper()}") or environ.get("AWS_ENDPOINT_URL") or None


def _flag(environ: Mapping[str, str], name: str) -> bool:
    return environ.get(name, "").lower() == "true"
