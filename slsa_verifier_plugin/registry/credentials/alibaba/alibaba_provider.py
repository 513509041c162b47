"""``alibabacloudAcrBasic``: Alibaba Cloud Container Registry with a Pod's own role, RRSA (Ratify v1.4.4 ``alibabacloud/``).

1. STS ``AssumeRoleWithOIDC``: the mounted service account token for the role's temporary keys. As in Alibaba's own
   chain of credentials, keys in the environment take its place.
2. ACR ``GetAuthorizationToken`` of the registry's Enterprise Edition instance: the keys for a user name and a
   password of one hour.

Both are sent from here. Step 2 is signed by Alibaba's SDK, whose own requests take no limit for the whole of a call and read
their proxies from this process's environment. Step 1 needs no signature: Alibaba's library for it puts the token into the URL,
and writes that URL to standard error when the call fails.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from time import time
from types import SimpleNamespace
from urllib.parse import urlencode
from uuid import uuid4

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.members import object_at
from slsa_verifier_plugin.registry.auth.leases import Lease, Leases
from slsa_verifier_plugin.registry.credentials import Credentials
from slsa_verifier_plugin.registry.credentials.access_keys import AccessKeys, filled, keys_in
from slsa_verifier_plugin.registry.credentials.credential_failures import failed, libraries
from slsa_verifier_plugin.registry.credentials.provider_options import Options, token_file, variables
from slsa_verifier_plugin.registry.credentials.web import CloudStep, Web
from slsa_verifier_plugin.registry.redaction import explained
from slsa_verifier_plugin.registry.reference import Reference
from slsa_verifier_plugin.text import quoted

NAME = "alibabacloudAcrBasic"

_failed = partial(failed, NAME)

DEFAULT_SESSION_NAME = "defaultSessionName"
"""Name of the role's session without ``ALIBABA_CLOUD_ROLE_SESSION_NAME``, as Alibaba's SDK for Go has it."""

SESSION_SECONDS = 3600
"""Life of the temporary keys, the SDK's default."""

_REGISTRY = re.compile(
    r"(?:(?P<instance>[^.\s]+)-)?registry(?:-intl)?(?:-vpc)?(?:-internal)?(?:\.distributed)?"
    r"\.(?P<region>[a-z]{2}-[a-z0-9-]{2,60})\.(?:cr\.)?aliyuncs\.com"
)
"""A registry's host, as Ratify's ``domainPattern``, but matched to its end and with a region that can be one: a
bucket of the object store has a host under aliyuncs.com too, with a name that its owner chooses."""

_LOGGERS = ("alibabacloud-tea", "darabonba-core")
"""They write to standard error without having been asked."""

_TIME = "%Y-%m-%dT%H:%M:%SZ"
"""Form of every time of Alibaba's, in UTC."""


def signed_headers(host: str, query: Mapping[str, str], keys: AccessKeys) -> dict[str, str]:
    """Return the headers of ACR's ``GetAuthorizationToken``, signed (Alibaba, "V3 request structure and signature").

    Args:
        host: where it is sent with POST, without a body.
        query: its parameters.
        keys: sign it.

    Raises:
        RegistryError: the SDK is not installed.
    """
    (library,) = libraries(NAME, "alibaba", ("alibabacloud_tea_openapi.utils",), _LOGGERS)
    headers = {
        "host": host,
        "x-acs-action": "GetAuthorizationToken",
        "x-acs-version": "2018-12-01",
        "x-acs-date": datetime.now(UTC).strftime(_TIME),
        "x-acs-signature-nonce": uuid4().hex,
        "x-acs-content-sha256": sha256(b"").hexdigest(),
    }
    # Keys from the environment may be lasting ones, which have no token.
    if keys.token:
        headers["x-acs-security-token"] = keys.token
    request = SimpleNamespace(method="POST", pathname="/", query=query, headers=headers)
    headers["Authorization"] = library.Utils.get_authorization(
        request, "ACS3-HMAC-SHA256", headers["x-acs-content-sha256"], keys.key_id, keys.secret
    )
    return headers


class AlibabaCredentials:
    """Finds credentials for Alibaba Cloud Container Registry.

    Args:
        config: Ratify's ``authProvider``: ``defaultInstanceId`` (default: ``ALIBABA_CLOUD_ACR_INSTANCE_ID``) and
            ``acrInstancesConfig``, a list of ``instanceName`` and ``instanceId``.
        environ: ``ALIBABA_CLOUD_ROLE_ARN``, ``ALIBABA_CLOUD_OIDC_PROVIDER_ARN`` and
            ``ALIBABA_CLOUD_OIDC_TOKEN_FILE`` are required.

    Raises:
        RegistryError: the configuration or the environment cannot be used.
    """

    def __init__(
        self, config: Mapping[str, object], environ: Mapping[str, str], clock: Callable[[], float] = time
    ) -> None:
        options = Options(NAME, config, ("defaultInstanceId", "acrInstancesConfig"))
        items = options.objects("acrInstancesConfig", ("instanceName", "instanceId"))
        self._instances = {item.required("instanceName"): item.required("instanceId") for item in items}
        self._default = options.text("defaultInstanceId") or environ.get("ALIBABA_CLOUD_ACR_INSTANCE_ID", "")
        # Said when the store is configured, not at the first image.
        if not self._default and not self._instances:
            raise options.error(
                "authProvider has neither defaultInstanceId nor acrInstancesConfig, and "
                "ALIBABA_CLOUD_ACR_INSTANCE_ID is not set"
            )
        self._role, self._provider_arn, self._token_path = variables(
            NAME,
            environ,
            ("ALIBABA_CLOUD_ROLE_ARN", "ALIBABA_CLOUD_OIDC_PROVIDER_ARN", "ALIBABA_CLOUD_OIDC_TOKEN_FILE"),
            "ack-pod-identity-webhook sets them in Pods whose service account names a RAM role (RRSA)",
        )
        self._environ = environ
        self._web = Web(NAME, environ)
        names = (
            "ALIBABA_CLOUD_ACCESS_KEY_ID",
            "ALIBABA_CLOUD_ACCESS_KEY_SECRET",
            "ALIBABA_CLOUD_SECURITY_TOKEN",
        )
        self._own_keys = keys_in(environ, names)
        self._role_keys = Leases(f"the role's temporary keys for {NAME}", self._assume_role, clock)
        self._tokens = Leases(f"an ACR authorization token for {NAME}", self._authorize, clock)

    def credentials(self, image: Reference, deadline: Deadline) -> Credentials | None:
        """Return ACR's credentials for the image's registry, None where that is no registry of Alibaba Cloud.

        Raises:
            RegistryError: no instance is configured for the registry, or an exchange failed.
            DeadlineError: out of time.
        """
        match = _REGISTRY.fullmatch(image.registry.lower())
        # Not Alibaba's: no password of the instance is shown to other hosts.
        if match is None:
            return None
        # By name first, as Ratify; an image chooses among the configured instances, never another.
        instance_id = self._instances.get(match["instance"] or "") or self._default
        if not instance_id:
            raise _failed(
                "choosing the instance",
                f"acrInstancesConfig has no instance {quoted(match['instance'] or '', 60)}, and there is no "
                "defaultInstanceId",
            )
        return self._tokens.get((match["region"], instance_id), deadline)

    def _assume_role(self, _: str, deadline: Deadline) -> Lease[AccessKeys]:
        region = self._environ.get("ALIBABA_CLOUD_STS_REGION", "")
        host = f"sts.{region}.aliyuncs.com" if region else "sts.aliyuncs.com"
        token = token_file(NAME, "ALIBABA_CLOUD_OIDC_TOKEN_FILE", self._token_path)
        step = CloudStep(
            f"assuming the role {quoted(self._role)} at {host}",
            "check the role's trust policy and the OIDC provider in RAM",
            [token],
        )
        query = {
            "Action": "AssumeRoleWithOIDC",
            "Version": "2015-04-01",
            "Format": "JSON",
            "Timestamp": datetime.now(UTC).strftime(_TIME),
            "SignatureNonce": uuid4().hex,
        }
        form = {
            "RoleArn": self._role,
            "OIDCProviderArn": self._provider_arn,
            "OIDCToken": token,
            "RoleSessionName": self._environ.get("ALIBABA_CLOUD_ROLE_SESSION_NAME") or DEFAULT_SESSION_NAME,
            "DurationSeconds": str(SESSION_SECONDS),
        }
        # The token goes in the body: proxies and servers write URLs to their logs.
        answer = self._web.post(step, f"https://{host}/?{urlencode(query)}", deadline, form)
        names = ("AccessKeyId", "AccessKeySecret", "SecurityToken", "Expiration")
        values = filled(object_at(answer, "Credentials"), names)
        if values is None:
            raise _failed(step.name, "the answer has no keys, or no time when they expire")
        # In the order of ``names``: the time is the last.
        *keys, expiration = values
        try:
            # Without their end the keys would be used until Alibaba refuses them.
            ends = datetime.strptime(expiration, _TIME).replace(tzinfo=UTC).timestamp()
        except ValueError:
            raise _failed(step.name, "the time when the keys expire cannot be read") from None
        return Lease.until(AccessKeys(*keys), ends)

    def _authorize(self, target: tuple[str, str], deadline: Deadline) -> Lease[Credentials]:
        region, instance = target
        # One role, so one lease under one key.
        keys = self._own_keys or self._role_keys.get("", deadline)
        step = CloudStep(
            f"getting a token for the instance {quoted(instance, 60)} in {region}",
            "check that the role may cr:GetAuthorizationToken on the instance",
            keys.secrets(),
        )
        # ACR answers at one host for each region.
        host, query = f"cr.{region}.aliyuncs.com", {"InstanceId": instance}
        headers = signed_headers(host, query, keys)
        answer = self._web.post(step, f"https://{host}/?{urlencode(query)}", deadline, headers=headers)
        values = filled(answer, ("TempUsername", "AuthorizationToken"))
        # Alibaba answers some refusals with HTTP 200.
        if answer.get("IsSuccess") is False or values is None:
            shown = explained(answer.get("Code"), step.secrets)
            raise _failed(step.name, f"the answer has no token: {shown}")
        expires = answer.get("ExpireTime")
        # Without its end the password would be used until the registry refuses it.
        if not isinstance(expires, int):
            raise _failed(step.name, "the answer does not say when its token expires")
        # In milliseconds.
        ends = expires / 1000
        username, password = values
        return Lease.until(Credentials(username, password, expires_at=ends), ends)


make = AlibabaCredentials
