"""The choice of a credential provider by Ratify's names."""

from __future__ import annotations

import subprocess
import sys

import pytest

from slsa_verifier_plugin.errors import Reason, RegistryError
from slsa_verifier_plugin.registry.credentials import select
from slsa_verifier_plugin.registry.credentials.docker.docker_config import DockerConfig


@pytest.mark.parametrize("config", [None, {"name": "dockerConfig"}])
def test_docker_is_what_ratify_uses_by_default(config: dict[str, object] | None) -> None:
    assert isinstance(select.provider_for(config, {}), DockerConfig)


@pytest.mark.parametrize(
    "config", [{}, {"name": "planted"}, {"name": 7}, {"name": "DockerConfig"}, {"x": "y"}]
)
def test_an_unknown_name_is_an_error_that_lists_the_known_ones(config: dict[str, object]) -> None:
    with pytest.raises(RegistryError) as caught:
        select.provider_for(config, {})
    assert caught.value.reason is Reason.REGISTRY_CREDENTIALS
    for name in select.MODULES:
        assert name in caught.value.message


SCRIPT = """
import sys
import slsa_verifier_plugin.registry.reference
import slsa_verifier_plugin.registry.settings
import slsa_verifier_plugin.registry.memory_cache
import slsa_verifier_plugin.registry.disk_cache
from slsa_verifier_plugin.registry.credentials.select import provider_for
provider_for(None, {})
clouds = {"boto3", "botocore", "azure", "msal", "alibabacloud_tea_openapi"}
heavy = ({"oras", "requests", "urllib3", "jsonschema", "ssl", "cryptography"} | clouds) & set(sys.modules)
assert not heavy, heavy
"""


def test_settings_references_and_docker_load_nothing_heavy() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
