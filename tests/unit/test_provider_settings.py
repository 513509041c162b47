"""Who may ask: without client certificates only loopback, unless somebody says that any client may."""

from __future__ import annotations

import pytest

from slsa_verifier_plugin.errors import UsageError
from slsa_verifier_plugin.provider.provider_settings import ProviderSettings, read_address
from slsa_verifier_plugin.provider.tls_files import TlsFiles


def _settings(listen: str, client_ca: str = "", *, any_client: bool = False) -> ProviderSettings:
    return ProviderSettings(
        policies=("policy.yaml",),
        listen=read_address(listen, "--listen"),
        health=read_address("127.0.0.1:0", "--health-listen"),
        tls=TlsFiles("tls.crt", "tls.key", client_ca),
        any_client=any_client,
    )


@pytest.mark.parametrize("address", ["127.0.0.1:6001", "[::1]:6001", "localhost:6001"])
def test_loopback_needs_no_client_certificates(address: str) -> None:
    _settings(address).check()


@pytest.mark.parametrize("address", ["0.0.0.0:6001", "[::]:6001", "10.0.0.1:6001", "localhost.example:6001"])
def test_elsewhere_client_certificates_are_demanded(address: str) -> None:
    with pytest.raises(UsageError, match="--client-ca"):
        _settings(address).check()
    _settings(address, "ca.crt").check()


@pytest.mark.parametrize("address", ["0.0.0.0:6001", "[::]:6001", "127.0.0.1:6001"])
def test_any_client_may_ask_where_somebody_says_so(address: str) -> None:
    _settings(address, any_client=True).check()


def test_any_client_and_client_certificates_exclude_each_other() -> None:
    with pytest.raises(UsageError, match="expected one of the two"):
        _settings("0.0.0.0:6001", "ca.crt", any_client=True).check()
