"""``awsEcrBasic`` against moto's server, which checks signatures and permissions by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import RegistryError
from slsa_verifier_plugin.registry.credentials import Credentials
from slsa_verifier_plugin.registry.credentials.aws.aws_provider import EcrCredentials
from slsa_verifier_plugin.registry.reference import Reference
from tests.support.clouds import Cloud
from tests.support.clouds_aws import ACCOUNT, ROLE, moto_server

pytestmark = pytest.mark.server("awsEcrBasic: moto's ECR")

CONFIG = {"name": "awsEcrBasic"}
IMAGE = Reference.parse(f"{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com/team/app")
STS, ECR = "sts.us-east-2.amazonaws.com", "api.ecr.eu-west-1.amazonaws.com"


def test_moto_verifies_the_signature_and_the_role_s_permission(tmp_path: Path) -> None:
    """moto's passwords expired in 2015, so the provider's clock shows 2014."""
    import boto3
    from moto.core import set_initial_no_auth_action_count

    token = tmp_path / "token"
    token.write_text("a-token-that-moto-may-log")
    with Cloud(tmp_path) as cloud, moto_server(cloud.ca.context(STS, ECR, "iam.amazonaws.com")) as port:
        cloud.proxy.hosts.update({STS: port, ECR: port})
        iam = boto3.client(
            "iam",
            endpoint_url=f"https://127.0.0.1:{port}",
            verify=str(cloud.ca.file),
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )
        document = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"%s","Resource":"*"}]}'
        iam.create_role(RoleName="ratify", AssumeRolePolicyDocument="{}")
        environ = cloud.environ(
            AWS_REGION="us-east-2", AWS_ROLE_ARN=ROLE, AWS_WEB_IDENTITY_TOKEN_FILE=str(token)
        )

        def attempt() -> Credentials | None:
            provider = EcrCredentials(CONFIG, environ, clock=lambda: 1388534400.0)
            return provider.credentials(IMAGE, Deadline(60))

        # AssumeRoleWithWebIdentity is not signed; every later action must be, by a key with the permission.
        guarded = set_initial_no_auth_action_count(1)(attempt)
        iam.put_role_policy(RoleName="ratify", PolicyName="p", PolicyDocument=document % "ecr:ListImages")
        with pytest.raises(RegistryError, match="is not authorized to perform"):
            guarded()
        iam.put_role_policy(
            RoleName="ratify", PolicyName="p", PolicyDocument=document % "ecr:GetAuthorizationToken"
        )
        found = guarded()
        iam.delete_role_policy(RoleName="ratify", PolicyName="p")
        iam.delete_role(RoleName="ratify")
        iam.close()
    assert found is not None
    assert (found.username, found.password) == ("AWS", f"{ACCOUNT}-auth-token")
