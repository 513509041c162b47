"""The room's certificates and proxies in the terms of an SDK, and an SDK's silence in the room's words."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import DeadlineError, Reason, RegistryError
from slsa_verifier_plugin.network.tls import TrustStore
from slsa_verifier_plugin.registry.credentials.web import (
    SHORTEST_TIMEOUT,
    Answer,
    ca_file,
    proxies,
    seconds,
    unanswered,
)
from tests.support.clouds import TestCa, everything_about


def test_the_file_of_roots_holds_those_of_the_environment_and_ends_with_the_block(tmp_path: Path) -> None:
    first, second = TestCa(tmp_path, "first"), TestCa(tmp_path, "second")
    (tmp_path / "roots").mkdir()
    (tmp_path / "roots" / "second.crt").write_bytes(second.file.read_bytes())
    environ = {"SSL_CERT_FILE": str(first.file), "SSL_CERT_DIR": str(tmp_path / "roots")}
    with ca_file(TrustStore(environ), "sts.example", "test") as path:
        context = ssl.create_default_context(cafile=path)
        names = {str(item["subject"]) for item in context.get_ca_certs()}
        assert all(any(name in text for text in names) for name in ("first", "second"))
        assert len(names) == 2
    assert not Path(path).exists()


def test_no_roots_at_all_is_an_error(tmp_path: Path) -> None:
    empty = TrustStore({"SSL_CERT_DIR": str(tmp_path)}, bundles=())
    with (
        pytest.raises(RegistryError, match="reading CA certificates") as caught,
        ca_file(empty, "a", "test"),
    ):
        pass
    assert caught.value.reason is Reason.REGISTRY_CREDENTIALS


def test_a_broken_file_of_roots_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "broken.pem").write_text("no certificate")
    trust = TrustStore({"SSL_CERT_FILE": str(tmp_path / "broken.pem")}, directories=())
    with pytest.raises(RegistryError, match=r"broken\.pem") as caught, ca_file(trust, "a", "test"):
        pass
    assert caught.value.reason is Reason.REGISTRY_CREDENTIALS


def test_proxies() -> None:
    environ = {"HTTPS_PROXY": "http://proxy.example:3128", "NO_PROXY": ".internal"}
    assert proxies("https://sts.example/", environ, "test") == {"https": "http://proxy.example:3128"}
    assert proxies("https://sts.internal/", environ, "test") == {}
    assert proxies("https://sts.example/", {}, "test") == {}
    environ["HTTPS_PROXY"] = "socks5://user:planted-password@proxy"
    with pytest.raises(RegistryError, match="choosing a proxy") as caught:
        proxies("https://sts.example/", environ, "test")
    assert "planted" not in everything_about(caught.value)


def test_timeouts_for_an_sdk() -> None:
    assert 9 < seconds(Deadline(10), "test", "asking") <= 10
    assert seconds(Deadline(0.01), "test", "asking") == SHORTEST_TIMEOUT
    with pytest.raises(DeadlineError, match="asking"):
        seconds(Deadline(0), "test", "asking")


def tls_error() -> ssl.SSLError:
    """Return an error of OpenSSL's: those that Python makes have no reason."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    incoming.write(b"HTTP/1.1 400 Bad Request")
    connection = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="a")
    try:
        connection.do_handshake()
    except ssl.SSLError as error:
        return error
    raise AssertionError("this was no TLS")


@pytest.mark.parametrize(
    ("cause", "expected", "transient"),
    [
        (TimeoutError("timed out"), "no answer from https://sts.example", True),
        (ConnectionRefusedError(111, "Connection refused"), "Connection refused", True),
        (tls_error(), "TLS with https://sts.example", False),
        (ValueError("planted-secret"), "ValueError", True),
    ],
)
def test_what_an_sdk_wraps_is_found(cause: Exception, expected: str, transient: bool) -> None:
    wrapped = RuntimeError("planted-secret in the SDK's own words")
    wrapped.__context__ = cause
    error = unanswered("test", "asking", "https://sts.example/?query=planted-secret", wrapped)
    assert error.message.startswith("the credential provider test failed at: asking: ")
    assert expected in error.message
    assert error.transient is transient
    assert error.message.endswith("; trying again may help") is transient
    assert "planted" not in everything_about(error)


def test_answers() -> None:
    assert Answer(200, b'{"a": 1}').object() == {"a": 1}
    for body in (b"", b"[]", b"7", b"null", b"\xff", b'{"a": 1, "a": 2}'):
        assert Answer(200, body).object() == {}
    assert "planted" not in repr(Answer(200, b"planted"))
    assert [status for status in (200, 301, 401, 404, 429, 500, 503) if Answer(status, b"").transient] == [
        429,
        500,
        503,
    ]
