"""Which proxy, and for which hosts: as Go's ``httpproxy`` decides."""

from __future__ import annotations

import pytest

from slsa_verifier_plugin.errors import RegistryError
from slsa_verifier_plugin.network.proxies import bypassed, proxy_for

HTTPS = "https://registry.example/v2/"


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"HTTPS_PROXY": "http://proxy:3128"}, "http://proxy:3128"),
        ({"https_proxy": "http://proxy:3128"}, "http://proxy:3128"),
        ({"HTTPS_PROXY": "http://upper", "https_proxy": "http://lower"}, "http://upper"),
        ({"HTTPS_PROXY": "proxy:3128"}, "http://proxy:3128"),
        ({"HTTPS_PROXY": "https://u:p@proxy"}, "https://u:p@proxy"),
        ({"HTTP_PROXY": "http://proxy"}, None),
        ({"ALL_PROXY": "http://proxy"}, "http://proxy"),
        ({"HTTPS_PROXY": "http://proxy", "NO_PROXY": "registry.example"}, None),
        ({"HTTPS_PROXY": "http://proxy", "no_proxy": ".example"}, None),
        ({"HTTPS_PROXY": "", "ALL_PROXY": ""}, None),
    ],
)
def test_the_proxy_is_the_environments(environ: dict[str, str], expected: str | None) -> None:
    assert proxy_for(HTTPS, environ) == expected


@pytest.mark.parametrize(
    "value", ["socks5://proxy", "ftp://proxy", "http://", "http://proxy:port", "http://[::1"]
)
def test_a_proxy_that_cannot_be_used_is_an_error(value: str) -> None:
    with pytest.raises(RegistryError):
        proxy_for(HTTPS, {"HTTPS_PROXY": value})


@pytest.mark.parametrize(
    ("host", "port", "no_proxy", "expected"),
    [
        ("localhost", 443, "", True),
        ("127.0.0.1", 443, "", True),
        ("127.9.9.9", 443, "", True),
        ("::1", 443, "", True),
        ("127.1", 443, "", True),
        ("2130706433", 443, "", True),
        ("127.0.0.1.", 443, "", True),
        ("::ffff:127.0.0.1", 443, "", True),
        ("0xa010203", 443, "10.0.0.0/8", True),
        ("10.1.515", 443, "10.1.2.3", True),
        ("10.1.2.3", 443, "::ffff:10.1.2.3", True),
        ("2852039166", 443, "10.0.0.0/8", False),
        ("localhost.example", 443, "", False),
        ("registry.example", 443, "", False),
        ("registry.example", 443, "*", True),
        ("registry.example", 443, " other , registry.example ", True),
        ("registry.example", 443, "REGISTRY.example", True),
        ("sub.registry.example", 443, "registry.example", True),
        ("subregistry.example", 443, "registry.example", False),
        ("registry.example", 443, ".registry.example", False),
        ("sub.registry.example", 443, ".registry.example", True),
        ("sub.registry.example", 443, "*.registry.example", True),
        ("registry.example", 443, "registry.example:443", True),
        ("registry.example", 8443, "registry.example:443", False),
        ("10.1.2.3", 443, "10.0.0.0/8", True),
        ("11.1.2.3", 443, "10.0.0.0/8", False),
        ("10.1.2.3", 443, "10.1.2.3", True),
        ("10.1.2.3", 5000, "10.1.2.3:5000", True),
        ("10.1.2.3", 5001, "10.1.2.3:5000", False),
        ("fd00::1", 443, "fd00::/8", True),
        ("fd00::1", 443, "fd00::1", True),
        ("fd00::1", 443, "[fd00::1]", True),
        ("fd00::1", 443, "[fd00::1]:443", True),
        ("fd00::1", 444, "[fd00::1]:443", False),
        ("registry.example", 443, "10.0.0.0/8,not/a/range,,", False),
    ],
)
def test_no_proxy(host: str, port: int, no_proxy: str, expected: bool) -> None:
    assert bypassed(host, port, no_proxy) is expected
