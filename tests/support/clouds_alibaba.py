"""Alibaba Cloud for tests: STS ``AssumeRoleWithOIDC`` and ACR ``GetAuthorizationToken``, as documented.

The signature of the second is computed here from its description ("V3 request structure and signature"), not by the
SDK that made it.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from tests.support.clouds import Request, Response

ROLE = "acs:ram::1234567890123456:role/ratify"
OIDC_PROVIDER = "acs:ram::1234567890123456:oidc-provider/ack-rrsa-c0ffee"
ALGORITHM = "ACS3-HMAC-SHA256"


@dataclass
class FakeAlibaba:
    """What is accepted and handed out; ``*_answer`` is given instead of what a service would say."""

    oidc_token: str
    secret_key: str
    security_token: str
    password: str
    instances: Mapping[str, str] = field(default_factory=lambda: {"cri-default": "cr_temp_user"})
    key_id: str = "STS.FakeFakeFakeFake"
    key_seconds: float = 3600.0
    token_seconds: float = 3600.0
    sts_answer: Response | None = None
    acr_answer: Response | None = None
    body: dict[str, Any] = field(default_factory=dict)
    delay: float = 0.0
    calls: list[str] = field(default_factory=list)
    nonces: set[str] = field(default_factory=set)

    def sts(self, request: Request) -> Response:
        """Answer as STS (API version 2015-04-01)."""
        self.calls.append("sts")
        if self.sts_answer is not None:
            return self.sts_answer
        parameters = {**request.query, **request.form}
        if request.method != "POST" or parameters.get("Action") != "AssumeRoleWithOIDC":
            return refused(404, "InvalidAction.NotFound", "Specified api is not found")
        if parameters.get("Version") != "2015-04-01" or parameters.get("Format") != "JSON":
            return refused(400, "InvalidVersion", "Specified parameter Version is not valid.")
        if "OIDCToken" in request.query:
            return refused(400, "Test.TokenInUrl", "the token is in the URL")
        if abs(_time(parameters.get("Timestamp", "")) - datetime.now(UTC)) > timedelta(minutes=15):
            return refused(400, "InvalidTimeStamp.Expired", "Specified time stamp or date value is expired.")
        if not 900 <= int(parameters.get("DurationSeconds", "3600")) <= 43200:
            return refused(400, "InvalidParameter.DurationSeconds", "The duration is out of range.")
        if not 2 <= len(parameters.get("RoleSessionName", "")) <= 64:
            return refused(400, "InvalidParameter.RoleSessionName", "The session name is not valid.")
        if parameters.get("RoleArn") != ROLE:
            return refused(404, "EntityNotExist.Role", "The role not exists.")
        if parameters.get("OIDCProviderArn") != OIDC_PROVIDER:
            return refused(404, "EntityNotExist.OIDCProvider", "The OIDC provider does not exist.")
        if parameters.get("OIDCToken") != self.oidc_token:
            return refused(400, "AuthenticationFail.OIDCToken.Invalid", "This JSON Web Token is invalid.")
        ends = datetime.now(UTC) + timedelta(seconds=self.key_seconds)
        return Response.json(
            {
                "RequestId": "1",
                "Credentials": {
                    "AccessKeyId": self.key_id,
                    "AccessKeySecret": self.secret_key,
                    "SecurityToken": self.security_token,
                    "Expiration": ends.strftime("%Y-%m-%dT%H:%M:%SZ"),
                },
            }
        )

    def acr(self, request: Request) -> Response:
        """Answer as ACR (API version 2018-12-01)."""
        self.calls.append("acr")
        time.sleep(self.delay)
        if self.acr_answer is not None:
            return self.acr_answer
        headers = request.headers
        if (
            headers.get("x-acs-action") != "GetAuthorizationToken"
            or headers.get("x-acs-version") != "2018-12-01"
        ):
            return refused(404, "InvalidAction.NotFound", "Specified api is not found")
        if abs(_time(headers.get("x-acs-date", "")) - datetime.now(UTC)) > timedelta(minutes=15):
            return refused(400, "InvalidTimeStamp.Expired", "Specified time stamp or date value is expired.")
        nonce = headers.get("x-acs-signature-nonce", "")
        if not nonce or nonce in self.nonces:
            return refused(400, "SignatureNonceUsed", "Specified signature nonce was used already.")
        self.nonces.add(nonce)
        if headers.get("x-acs-security-token") != self.security_token:
            return refused(400, "InvalidSecurityToken.Expired", "Specified SecurityToken is expired.")
        if not signature_is_valid(request, self.key_id, self.secret_key):
            return refused(
                400, "SignatureDoesNotMatch", "Specified signature does not match our calculation."
            )
        user = self.instances.get(request.query.get("InstanceId", ""))
        if user is None:
            return Response.json({"IsSuccess": False, "Code": "INSTANCE_NOT_EXIST", "RequestId": "2"})
        ends = int((time.time() + self.token_seconds) * 1000)
        answer = {
            "IsSuccess": True,
            "Code": "success",
            "RequestId": "2",
            "TempUsername": user,
            "AuthorizationToken": self.password,
            "ExpireTime": ends,
        }
        return Response.json({**answer, **self.body})


def refused(status: int, code: str, message: str) -> Response:
    """Return an error as Alibaba's gateways write it."""
    return Response.json({"RequestId": "3", "HostId": "test", "Code": code, "Message": message}, status)


def signature_is_valid(request: Request, key_id: str, secret_key: str) -> bool:
    """Return True if the request's V3 signature is of ``secret_key`` and covers what it must."""
    kind, _, fields = request.headers.get("authorization", "").partition(" ")
    parts = dict(item.partition("=")[::2] for item in fields.split(","))
    names = parts.get("SignedHeaders", "").split(";")
    must = {name for name in request.headers if name.startswith("x-acs-")} | {"host"}
    if kind != ALGORITHM or parts.get("Credential") != key_id or not must <= set(names):
        return False
    hashed = hashlib.sha256(request.body).hexdigest()
    if request.headers.get("x-acs-content-sha256") != hashed:
        return False
    query = "&".join(f"{_encode(name)}={_encode(value)}" for name, value in sorted(request.query.items()))
    canonical = "\n".join(
        [
            request.method,
            request.path,
            query,
            "".join(f"{name}:{request.headers.get(name, '').strip()}\n" for name in sorted(names)),
            ";".join(sorted(names)),
            hashed,
        ]
    )
    text = f"{ALGORITHM}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    expected = hmac.new(secret_key.encode(), text.encode(), hashlib.sha256).hexdigest()
    return hmac.compare_digest(parts.get("Signature", ""), expected)


def _encode(text: str) -> str:
    return quote(text, safe="-_.~")


def _time(text: str) -> datetime:
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)
