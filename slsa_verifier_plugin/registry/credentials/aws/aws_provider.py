"""``awsEcrBasic``: Amazon ECR with a Pod's own role, IRSA (Ratify v1.4.4 ``aws/awsecrbasic.go``).

1. STS ``AssumeRoleWithWebIdentity``: the mounted service account token for the role's temporary keys. As in
   AWS's own chain of credentials, keys in the environment take its place.
2. ECR ``GetAuthorizationToken`` in the registry's region: the keys for a registry password of 12 hours.

Both by botocore, each call sent once, and told everything: region, keys, endpoint, connections. Nothing comes from this
process's own environment, from ``~/.aws`` or from an instance's metadata.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from time import time
from typing import Any

import urllib3

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.members import object_at
from slsa_verifier_plugin.network.tls import TrustStore
from slsa_verifier_plugin.network.transport import HttpRequest
from slsa_verifier_plugin.registry.auth.leases import Lease, Leases
from slsa_verifier_plugin.registry.credentials import Credentials
from slsa_verifier_plugin.registry.credentials.access_keys import AccessKeys, filled, keys_in
from slsa_verifier_plugin.registry.credentials.credential_failures import failed, libraries
from slsa_verifier_plugin.registry.credentials.login_entries import EntryError, login_from
from slsa_verifier_plugin.registry.credentials.provider_options import Options, token_file, variables
from slsa_verifier_plugin.registry.credentials.web import CloudStep, Refusal, Web, is_transient
from slsa_verifier_plugin.registry.reference import Reference
from slsa_verifier_plugin.text import quoted

NAME = "awsEcrBasic"

_failed = partial(failed, NAME)

SESSION_NAME = "ratifyEcrBasicAuth"
"""Name of the role's session, the one that Ratify uses: CloudTrail shows it."""

_SUFFIXES = (
    "amazonaws.com",
    "amazonaws.com.cn",
    "amazonaws.eu",
    "c2s.ic.gov",
    "sc2s.sgov.gov",
    "cloud.adc-e.uk",
    "csp.hci.ic.gov",
)
"""DNS suffixes of AWS's partitions (botocore ``partitions.json``, ``dnsSuffix``)."""

_REGISTRY = re.compile(
    r"[0-9]{12}\.dkr\.ecr(?:-fips)?\.(?P<region>[a-z]{2,}(?:-[a-z]+)+-[0-9]{1,2})\.(?P<suffix>[a-z0-9.-]+)"
)
"""A private registry's host. Ratify takes the fourth label of any host with six; here it must be ECR's, since the
password opens every registry of the role, and an attacker could name a host of his own in that form."""

_LOGGERS = ("botocore",)

_TRANSIENT_CODES = frozenset(
    [
        "IDPCommunicationError",
        "RequestLimitExceeded",
        "RequestTimeout",
        "RequestTimeoutException",
        "ThrottledException",
        "TooManyRequestsException",
    ]
)
"""AWS error codes after which the same call may succeed later, whatever its status ("Common Errors" of STS and ECR).

Beside those that begin with "Throttling", as Alibaba's do.
"""


@dataclass(frozen=True, slots=True)
class AwsCall:
    """An operation of a service in a region; unsigned without keys.

    ``operation`` is the method of botocore's client.
    """

    step: CloudStep
    service: str
    region: str
    operation: str
    keys: AccessKeys | None = None


class EcrCredentials:
    """Finds credentials for Amazon ECR.

    Args:
        config: Ratify's ``authProvider``; it has no key beside ``name``.
        environ: ``AWS_REGION``, ``AWS_ROLE_ARN`` and ``AWS_WEB_IDENTITY_TOKEN_FILE`` are required;
            ``AWS_API_OVERRIDE_ENDPOINT`` replaces ECR's endpoint in ``AWS_API_OVERRIDE_REGION`` (the chart's
            ``awsApiOverride``; ``AWS_API_OVERRIDE_PARTITION`` changes nothing beside an endpoint). Endpoints, certificates
            and proxies, in AWS's own variables as well.

    Raises:
        RegistryError: the configuration or the environment cannot be used.
    """

    def __init__(
        self, config: Mapping[str, object], environ: Mapping[str, str], clock: Callable[[], float] = time
    ) -> None:
        # Refuses every other key: region and role come from the environment alone, as in Ratify.
        Options(NAME, config, ())
        self._region, self._role, self._token_path = variables(
            NAME,
            environ,
            ("AWS_REGION", "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE"),
            "EKS sets them in Pods whose service account has the annotation eks.amazonaws.com/role-arn",
        )
        self._environ = environ
        bundle = environ.get("AWS_CA_BUNDLE")
        # As in AWS's SDKs: it replaces the system's authorities, for AWS alone.
        self._web = Web(NAME, environ, TrustStore.of_file(bundle) if bundle else None)
        # Making a client of a session is not safe for many threads; each call has a client of its own.
        self._lock = threading.Lock()
        self._session: Any = None
        names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
        self._own_keys = keys_in(environ, names)
        self._role_keys = Leases(f"the role's temporary keys for {NAME}", self._assume_role, clock)
        self._tokens = Leases(f"an ECR authorization token for {NAME}", self._authorize, clock)

    def credentials(self, image: Reference, deadline: Deadline) -> Credentials | None:
        """Return ECR's credentials for the image's registry, None where that is no private ECR registry.

        Raises:
            RegistryError: an exchange failed.
            DeadlineError: out of time.
        """
        # None is anonymous access: no exchange, and nobody but ECR is shown the password.
        region = region_of(image.registry)
        return None if region is None else self._tokens.get(region, deadline)

    def _assume_role(self, _: str, deadline: Deadline) -> Lease[AccessKeys]:
        token = token_file(NAME, "AWS_WEB_IDENTITY_TOKEN_FILE", self._token_path)
        step = CloudStep(
            f"assuming the role {quoted(self._role)}",
            "check the role's trust policy and the cluster's OIDC provider in IAM",
            [token],
        )
        call = AwsCall(step, "sts", self._region, "assume_role_with_web_identity")
        answer = self._send(
            call, deadline, RoleArn=self._role, RoleSessionName=SESSION_NAME, WebIdentityToken=token
        )
        found = object_at(answer, "Credentials")
        values = filled(found, ("AccessKeyId", "SecretAccessKey", "SessionToken"))
        ends = found.get("Expiration")
        # Without their end the keys would be used until AWS refuses them.
        if values is None or not isinstance(ends, datetime):
            raise _failed(step.name, "the answer has no keys, or no time when they expire")
        return Lease.until(AccessKeys(*values), ends.timestamp())

    def _authorize(self, region: str, deadline: Deadline) -> Lease[Credentials]:
        # One role, so one lease under one key.
        keys = self._own_keys or self._role_keys.get("", deadline)
        step = CloudStep(
            f"getting an ECR authorization token in {region}",
            "check that the role may ecr:GetAuthorizationToken",
            keys.secrets(),
        )
        call = AwsCall(step, "ecr", region, "get_authorization_token", keys)
        # One entry: its token opens every registry of the role (API reference, GetAuthorizationToken).
        data = object_at(self._send(call, deadline), "authorizationData", 0)
        token, expires_at = data.get("authorizationToken"), data.get("expiresAt")
        if not isinstance(token, str) or not isinstance(expires_at, datetime):
            raise _failed(step.name, "the answer has no token, or no time when it expires")
        try:
            username, password = login_from(token)
        except EntryError:
            # One error, below, for a token that is no base64 and for one without a password.
            password = ""
        # Without one the registry would be asked anonymously, and blamed for its refusal.
        if not password:
            raise _failed(step.name, "its token is not base64 of a user name, a colon and a password")
        ends = expires_at.timestamp()
        return Lease.until(Credentials(username, password, expires_at=ends), ends)

    def _send(self, call: AwsCall, deadline: Deadline, **parameters: str) -> Mapping[str, Any]:
        """Return the answer of one call.

        Args:
            call: the operation.
            deadline: the end of it.
            parameters: the operation's own.

        Raises:
            RegistryError: AWS refused it, or did not answer.
            DeadlineError: out of time.
        """
        names = ("botocore.session", "botocore.awsrequest", "botocore.exceptions")
        botocore, awsrequest, exceptions = libraries(NAME, "aws", names, _LOGGERS)

        def send(request: Any, **_: object) -> Any:
            # Forms are text.
            body = request.body.encode() if isinstance(request.body, str) else request.body
            sent = HttpRequest(call.step.name, request.url, request.method, request.headers, body)
            reply, content = self._web.exchange(sent, deadline)
            # botocore takes a urllib3 answer whose body is still to be read. Without headers, so that urllib3 unpacks nothing.
            raw = urllib3.HTTPResponse(io.BytesIO(content), preload_content=False)
            return awsrequest.AWSResponse(request.url, reply.status, reply.headers(), raw)

        def work() -> Mapping[str, Any]:
            with self._lock:
                if self._session is None:
                    self._session = _isolated(botocore)
                client = self._client(self._session, call)
            # The SDK's own HTTP bounds the silence between two bytes, so a peer that trickles would keep this thread for ever. It
            # sends nothing itself where a handler of this event has an answer.
            client.meta.events.register("before-send", send)
            with contextlib.closing(client):
                # By name: botocore makes its clients' methods from a description of the service.
                answer = getattr(client, call.operation)(**parameters)
            return object_at(answer)

        def judge(error: Exception) -> Refusal | None:
            if not isinstance(error, exceptions.ClientError):
                return None
            said = object_at(error.response, "Error")
            status = object_at(error.response, "ResponseMetadata").get("HTTPStatusCode", 0)
            code = str(said.get("Code", "an unknown error"))
            # Throttling comes with HTTP 400 from STS and ECR.
            transient = code in _TRANSIENT_CODES or is_transient(status, code)
            return Refusal(status, f"{code}: {said.get('Message', '')}", transient)

        return self._web.call(call.step, work, judge, deadline)

    def _client(self, session: Any, call: AwsCall) -> Any:
        # Not at the top: botocore is an extra, which ``libraries`` has found by now.
        from botocore import UNSIGNED
        from botocore.config import Config

        settings: dict[str, Any] = {
            # The SDK would sleep between attempts, past any deadline; who waits decides on another.
            "retries": {"total_max_attempts": 1, "mode": "standard"},
            # Those are read below from the call's environment, not from this process's.
            "ignore_configured_endpoint_urls": True,
            "use_fips_endpoint": _flag(self._environ, "AWS_USE_FIPS_ENDPOINT"),
            "use_dualstack_endpoint": _flag(self._environ, "AWS_USE_DUALSTACK_ENDPOINT"),
        }
        named: dict[str, Any] = {
            "region_name": call.region,
            # None lets botocore take AWS's own.
            "endpoint_url": self._endpoint(call.service, call.region),
        }
        # AssumeRoleWithWebIdentity is the one call that the token itself authorizes.
        if call.keys is None:
            settings["signature_version"] = UNSIGNED
        else:
            named["aws_access_key_id"] = call.keys.key_id
            named["aws_secret_access_key"] = call.keys.secret
            # Keys from the environment may be lasting ones, which have no token.
            named["aws_session_token"] = call.keys.token or None
        # No proxy here, and no limit of time: who sends the request has both.
        return session.create_client(call.service, config=Config(**settings, proxies={}), **named)

    def _endpoint(self, service: str, region: str) -> str | None:
        """Return the endpoint that the environment names for a service, None for AWS's own."""
        environ = self._environ
        # The chart's ``awsApiOverride``. For one region only: the others keep AWS's own endpoint.
        if service == "ecr" and environ.get("AWS_API_OVERRIDE_REGION") == region:
            override = environ.get("AWS_API_OVERRIDE_ENDPOINT")
            if override:
                return override
        # As every AWS SDK has it ("Service-specific endpoints").
        if _flag(environ, "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"):
            return None
        return environ.get(f"AWS_ENDPOINT_URL_{service.upper()}") or environ.get("AWS_ENDPOINT_URL") or None


def _isolated(botocore_session: Any) -> Any:
    """Return a session that reads no variables, profiles or files: they are this process's, not the caller's."""
    # Each variable keeps its default and loses the place that it would be read from.
    names = botocore_session.Session().session_var_map
    settings = {name: (None, None, default, convert) for name, (_, _, default, convert) in names.items()}
    for name in ("config_file", "credentials_file"):
        settings[name] = (None, None, os.devnull, None)
    return botocore_session.Session(session_vars=settings)


def _flag(environ: Mapping[str, str], name: str) -> bool:
    return environ.get(name, "").lower() == "true"


def region_of(registry: str) -> str | None:
    """Return the region of a private ECR registry's host, None for any other host.

    The region is the fourth label, as in Ratify v1.4.4 (``pkg/utils/awsauth``, ``RegionFromRegistry``).
    """
    # The whole host: "1234...amazonaws.com.evil.example" is somebody else's.
    match = _REGISTRY.fullmatch(registry.lower())
    return match["region"] if match and match["suffix"] in _SUFFIXES else None


make = EcrCredentials
