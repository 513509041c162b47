"""``awsEcrBasic``: Amazon ECR with a Pod's own role, IRSA (Ratify v1.4.4 ``aws/awsecrbasic.go``).

1. STS ``AssumeRoleWithWebIdentity``: the mounted service account token for the role's temporary keys. As in
   AWS's own chain of credentials, keys in the environment take its place.
2. ECR ``GetAuthorizationToken`` in the registry's region: the keys for a registry password of 12 hours.

Both by boto3 (``aws_calls``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from time import time

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.registry.auth.leases import Lease, Leases
from slsa_verifier_plugin.registry.credentials import Credentials
from slsa_verifier_plugin.registry.credentials.access_keys import AccessKeys, RoleKeys, filled
from slsa_verifier_plugin.registry.credentials.aws.aws_calls import AwsCall, AwsCalls
from slsa_verifier_plugin.registry.credentials.credential_failures import failed
from slsa_verifier_plugin.registry.credentials.login_entries import EntryError, login_from
from slsa_verifier_plugin.registry.credentials.provider_options import Options, token_file, variables
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


class EcrCredentials:
    """Finds credentials for Amazon ECR.

    Args:
        config: Ratify's ``authProvider``; it has no key beside ``name``.
        environ: ``AWS_REGION``, ``AWS_ROLE_ARN`` and ``AWS_WEB_IDENTITY_TOKEN_FILE`` are required;
            ``AWS_API_OVERRIDE_ENDPOINT`` replaces ECR's endpoint in ``AWS_API_OVERRIDE_REGION`` (the chart's
            ``awsApiOverride``; ``AWS_API_OVERRIDE_PARTITION`` changes nothing beside an endpoint).

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
        self._calls = AwsCalls(NAME, environ)
        names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
        self._keys = RoleKeys(NAME, environ, names, self._assume_role, clock)
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
        step = f"assuming the role {quoted(self._role)}"
        token = token_file(NAME, "AWS_WEB_IDENTITY_TOKEN_FILE", self._token_path)
        call = AwsCall(
            step,
            "sts",
            self._region,
            "assume_role_with_web_identity",
            advice="check the role's trust policy and the cluster's OIDC provider in IAM",
            secrets=[token],
        )
        answer = self._calls.send(
            call, deadline, RoleArn=self._role, RoleSessionName=SESSION_NAME, WebIdentityToken=token
        )
        found = answer.get("Credentials", {})
        values = filled(found, ("AccessKeyId", "SecretAccessKey", "SessionToken"))
        ends = found.get("Expiration")
        # Without their end the keys would be used until AWS refuses them.
        if values is None or not isinstance(ends, datetime):
            raise _failed(step, "the answer has no keys, or no time when they expire")
        return Lease.until(AccessKeys(*values), ends.timestamp())

    def _authorize(self, region: str, deadline: Deadline) -> Lease[Credentials]:
        keys = self._keys.get(deadline)
        step = f"getting an ECR authorization token in {region}"
        # For one region only: the others keep AWS's own endpoint.
        overridden = self._environ.get("AWS_API_OVERRIDE_REGION") == region
        call = AwsCall(
            step,
            "ecr",
            region,
            "get_authorization_token",
            keys,
            (self._environ.get("AWS_API_OVERRIDE_ENDPOINT") or None) if overridden else None,
            "check that the role may ecr:GetAuthorizationToken",
            keys.secrets(),
        )
        # One entry: its token opens every registry of the role (API reference, GetAuthorizationToken).
        data = self._calls.send(call, deadline).get("authorizationData") or [{}]
        token, expires_at = data[0].get("authorizationToken"), data[0].get("expiresAt")
        if not isinstance(token, str) or not isinstance(expires_at, datetime):
            raise _failed(step, "the answer has no token, or no time when it expires")
        try:
            username, password = login_from(token)
        except EntryError:
            # One error, below, for a token that is no base64 and for one without a password.
            password = ""
        # Without one the registry would be asked anonymously, and blamed for its refusal.
        if not password:
            raise _failed(step, "its token is not base64 of a user name, a colon and a password")
        ends = expires_at.timestamp()
        return Lease.until(Credentials(username, password, expires_at=ends), ends)


def region_of(registry: str) -> str | None:
    """Return the region of a private ECR registry's host, None for any other host.

    The region is the fourth label, as in Ratify v1.4.4 (``pkg/utils/awsauth``, ``RegionFromRegistry``).
    """
    # The whole host: "1234...amazonaws.com.evil.example" is somebody else's.
    match = _REGISTRY.fullmatch(registry.lower())
    return match["region"] if match and match["suffix"] in _SUFFIXES else None


make = EcrCredentials
