"""What the network does to a cloud's call, and how the cloud refuses it, in the words of the provider."""

from __future__ import annotations

import ssl

import pytest

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import DeadlineError, RegistryError
from slsa_verifier_plugin.network.faults import is_passing, unreachable
from slsa_verifier_plugin.network.transport import HttpRequest, Reply, Transport
from slsa_verifier_plugin.registry.credentials.web import CloudStep, Refusal, Web, is_transient
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
def test_what_the_network_does_is_told_as_the_provider_s(
    cause: Exception, expected: str, transient: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrapped = RuntimeError("planted-secret in the library's own words")
    wrapped.__context__ = cause
    url = "https://sts.example/?query=planted-secret"

    def send(*_: object) -> Reply:
        raise unreachable("asking", url, wrapped)

    monkeypatch.setattr(Transport, "send", send)
    with pytest.raises(RegistryError) as caught:
        Web("test", {}).exchange(HttpRequest("asking", url), Deadline(5))
    error = caught.value
    assert error.message.startswith("the credential provider test failed at: asking: ")
    assert expected in error.message
    assert error.transient is transient
    assert error.message.endswith("; trying again may help") is transient
    assert "planted" not in everything_about(error)


def test_refusals() -> None:
    web = Web("test", {})
    step = CloudStep("asking", "grant it", ["planted-secret"])
    assert "planted" not in repr(step)
    error = web.refused(step, Refusal(403, "not planted-secret", False))
    assert error.message == (
        "the credential provider test failed at: asking: HTTP 403, an explanation that repeats a secret and is not shown; "
        "grant it"
    )
    passing = web.refused(step, Refusal(None, "soon", True))
    assert passing.message.endswith('asking: "soon"; trying again may help')
    assert passing.transient
    assert "planted" not in repr(Refusal(403, "planted", False))


def test_what_an_sdk_raises_is_judged_and_never_shown() -> None:
    web, step = Web("test", {}), CloudStep("asking", "grant it", ["planted-secret"])

    def broken() -> None:
        raise OverflowError("planted-secret of the SDK")

    judged: list[Refusal | None] = []
    for refusal, expected in (
        (None, "(OverflowError)"),
        (Refusal(403, "no", False), 'HTTP 403, "no"; grant it'),
    ):
        judged.append(refusal)
        with pytest.raises(RegistryError) as caught:
            web.call(step, broken, lambda _: judged[-1], Deadline(5))
        assert expected in caught.value.message
        assert "planted" not in everything_about(caught.value)
    # Out of time, whatever the SDK made of it.
    with pytest.raises(DeadlineError):
        web.call(step, broken, lambda _: None, Deadline(0))
    assert web.call(step, lambda: 7, lambda _: None, Deadline(5)) == 7


def test_statuses_that_pass() -> None:
    # The same statuses as of a registry.
    for status in (200, 301, 401, 404, 408, 425, 429, 500, 501, 503, 505, 507, 520):
        assert is_transient(status) is is_passing(status)
    assert not is_transient(None)
    assert is_transient(400, "Throttling.User")
