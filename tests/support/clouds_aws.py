"""AWS for tests: STS and ECR as their API references describe them, and moto's server over TLS."""

from __future__ import annotations

import base64
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from xml.sax.saxutils import escape

from tests.support.clouds import Request, Response

ACCOUNT = "123456789012"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/ratify"

_XML = {"Content-Type": "text/xml"}
_JSON = {"Content-Type": "application/x-amz-json-1.1"}


@dataclass
class FakeAws:
    """Answers as STS ``AssumeRoleWithWebIdentity`` and ECR ``GetAuthorizationToken``, and rejects as they do.

    ``sts_error`` and ``ecr_error`` are an HTTP status, a code and a message to answer with instead.
    """

    web_identity_token: str
    secret_key: str
    session_token: str
    password: str
    key_seconds: float = 3600.0
    token_seconds: float = 12 * 3600.0
    sts_error: tuple[int, str, str] | None = None
    ecr_error: tuple[int, str, str] | None = None
    authorization: dict[str, Any] = field(default_factory=dict)
    delay: float = 0.0
    calls: list[str] = field(default_factory=list)
    key_id: str = "ASIAFAKEFAKEFAKEFAKE"

    def sts(self, request: Request) -> Response:
        """Answer as STS (API version 2011-06-15)."""
        self.calls.append("sts")
        form = request.form
        problem = self.sts_error
        if problem is None and (form.get("Action"), form.get("Version")) != (
            "AssumeRoleWithWebIdentity",
            "2011-06-15",
        ):
            problem = (400, "InvalidAction", "Could not find operation")
        if problem is None and "authorization" in request.headers:
            problem = (403, "SignatureDoesNotMatch", "this operation is not signed")
        if problem is None and form.get("RoleArn") != ROLE:
            problem = (403, "AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity")
        if problem is None and not form.get("RoleSessionName"):
            problem = (400, "ValidationError", "1 validation error detected: roleSessionName")
        if problem is None and form.get("WebIdentityToken") != self.web_identity_token:
            problem = (400, "InvalidIdentityToken", "No OpenIDConnect provider found in your account")
        if problem is not None:
            status, code, message = problem
            body = (
                f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
            )
            return Response(
                status,
                f'<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">{body}</ErrorResponse>'.encode(),
                _XML,
            )
        expiration = datetime.fromtimestamp(time.time() + self.key_seconds, UTC).strftime(
            "%Y-%m-%dT%H:%M:%SZ"
        )
        body = (
            '<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">'
            "<AssumeRoleWithWebIdentityResult><Credentials>"
            f"<AccessKeyId>{self.key_id}</AccessKeyId><SecretAccessKey>{self.secret_key}</SecretAccessKey>"
            f"<SessionToken>{self.session_token}</SessionToken><Expiration>{expiration}</Expiration>"
            "</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
        )
        return Response(200, body.encode(), _XML)

    def ecr(self, request: Request) -> Response:
        """Answer as ECR (``AmazonEC2ContainerRegistry_V20150921``)."""
        self.calls.append("ecr")
        time.sleep(self.delay)
        if self.ecr_error is not None:
            return self._refuse(*self.ecr_error)
        if (
            request.headers.get("x-amz-target")
            != "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken"
        ):
            return self._refuse(400, "UnknownOperationException", "")
        signed = request.headers.get("authorization", "")
        if f"Credential={self.key_id}/" not in signed or "/ecr/aws4_request" not in signed:
            return self._refuse(400, "UnrecognizedClientException", "The security token included is invalid.")
        if request.headers.get("x-amz-security-token") != self.session_token:
            return self._refuse(400, "ExpiredTokenException", "The security token included is expired")
        token = base64.b64encode(f"AWS:{self.password}".encode()).decode()
        data = {"authorizationToken": token, "expiresAt": time.time() + self.token_seconds}
        return Response.json({"authorizationData": [{**data, **self.authorization}]})

    def _refuse(self, status: int, code: str, message: str) -> Response:
        answer = Response.json({"__type": code, "message": message}, status)
        return Response(answer.status, answer.body, _JSON)


@contextmanager
def moto_server(context: ssl.SSLContext) -> Iterator[int]:
    """Run moto's server over TLS; gives its port."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        protocol_version = "HTTP/1.0"

        def log(self, *args: object) -> None:
            """Say nothing."""

    app = DomainDispatcherApplication(create_backend_app)
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet, ssl_context=context)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
