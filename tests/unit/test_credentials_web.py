"""What the network does to a cloud's call, and how the cloud refuses it, in the words of the provider."""

from __future__ import annotations

import ssl

import pytest

from slsa_verifier_plugin.registry.credentials.web import Refusal, Web, is_transient, own_failure
from slsa_verifier_plugin.registry.faults import is_passing, unreachable
from tests.support.clouds import everything_about


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
    url = "https://sts.example/?query=planted-secret"
    error = own_failure("test", "asking", unreachable("asking", url, wrapped))
    assert error.message.startswith("the credential provider test failed at: asking: ")
    assert expected in error.message
    assert error.transient is transient
    assert error.message.endswith("; trying again may help") is transient
    assert "planted" not in everything_about(error)


def test_refusals() -> None:
    web = Web("test", {})
    error = web.refused("asking", Refusal(403, "not planted-secret", False), ["planted-secret"], "grant it")
    assert error.message == (
        "the credential provider test failed at: asking: HTTP 403, an explanation that repeats a secret and is not shown; "
        "grant it"
    )
    passing = web.refused("asking", Refusal(None, "soon", True), (), "grant it")
    assert passing.message.endswith('asking: "soon"; trying again may help')
    assert passing.transient
    assert "planted" not in repr(Refusal(403, "planted", False))


def test_statuses_that_pass() -> None:
    # The same statuses as of a registry.
    for status in (200, 301, 401, 404, 408, 425, 429, 500, 501, 503, 505, 507, 520):
        assert is_transient(status) is is_passing(status)
    assert not is_transient(None)
    assert is_transient(400, "Throttling.User")
