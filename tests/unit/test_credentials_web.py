"""The room's certificates and proxies in the terms of an SDK, and an SDK's silence in the room's words."""

from __future__ import annotations

import ssl

import pytest

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import DeadlineError
from slsa_verifier_plugin.registry.credentials.web import (
    SHORTEST_TIMEOUT,
    CloudAnswer,
    is_transient,
    seconds,
    unanswered,
)
from slsa_verifier_plugin.registry.faults import is_passing
from tests.support.clouds import everything_about


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
    assert CloudAnswer(200, b'{"a": 1}').object() == {"a": 1}
    for body in (b"", b"[]", b"7", b"null", b"\xff", b'{"a": 1, "a": 2}'):
        assert CloudAnswer(200, body).object() == {}
    assert "planted" not in repr(CloudAnswer(200, b"planted"))
    # The same statuses as of a registry.
    for status in (200, 301, 401, 404, 408, 425, 429, 500, 501, 503, 505, 507, 520):
        assert is_transient(status) is is_passing(status)
    assert not is_transient(None)
    assert is_transient(400, "Throttling.User")
