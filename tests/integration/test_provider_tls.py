"""The provider's TLS: who is answered at all."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from tests.support.certificates import Authority, Pair
from tests.support.provider import (
    is_closed,
    provider_request,
)
from tests.support.provider_place import DROP_SECONDS, Place, tcp, tls

pytestmark = pytest.mark.usefixtures("still_well")


def is_refused(place: Place, context: ssl.SSLContext) -> bool:
    """Return True if a request over ``context`` gets no answer at all: in TLS 1.3 a client hears of it as late as that."""
    try:
        with tls(place, context) as connection:
            body = provider_request([place.level_3])
            head = f"POST /ratify/gatekeeper/v1/verify HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n"
            connection.sendall(head.encode() + body)
            return connection.recv(1) == b""
    except (ssl.SSLError, ConnectionError):
        return True


def trusting(place: Place, client: Pair | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(place.running.authority.root))
    if client is not None:
        context.load_cert_chain(client.certificate, client.key)
    return context


def test_no_certificate_another_authoritys_and_an_expired_one_are_refused(
    place: Place, tmp_path: Path
) -> None:
    own = place.running.authority
    other = Authority(tmp_path / "other", "another root").client("gatekeeper")
    # A name that is the authority's own does not make it the authority.
    namesake = Authority(tmp_path / "namesake").client("gatekeeper")
    for client in (
        None,
        other,
        namesake,
        own.client("expired", days=-1),
        own.client("not-begun", begins=1),
        own.server("a-server", "127.0.0.1"),
    ):
        assert is_refused(place, trusting(place, client)), client
    assert not is_refused(place, trusting(place, own.client("another-gatekeeper")))


def test_tls_of_yesterday_is_refused_and_that_of_kyverno_is_not(place: Place) -> None:
    for most in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
        context = place.running.context()
        # OpenSSL's own level would refuse before the server does.
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        with pytest.warns(DeprecationWarning, match="TLSv1"):
            context.maximum_version = most
        assert is_refused(place, context)
    for least in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = place.running.context()
        context.minimum_version = context.maximum_version = least
        assert not is_refused(place, context)


def test_what_is_no_tls_gets_no_answer(place: Place) -> None:
    for content in (b"POST / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"\0" * 1000, b"\0" * 70000):
        with tcp(place) as connection:
            connection.sendall(content)
            assert is_closed(connection, DROP_SECONDS)
