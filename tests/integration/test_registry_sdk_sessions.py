"""Sessions that SDKs are given: they go nowhere else, end in size, and know nothing of this process's environment."""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Mapping

import pytest
import requests

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import Reason, RegistryError
from slsa_verifier_plugin.registry import limits
from slsa_verifier_plugin.registry.http.sdk_sessions import session_until
from slsa_verifier_plugin.registry.http.transport import Transport
from tests.support.clouds import Request, Response, Server

pytestmark = pytest.mark.server("a cloud of the tests")


@pytest.fixture
def cloud() -> Iterator[Server]:
    with Server(lambda _: Response.json({"answer": 1})) as server:
        yield server


def session_for(environ: Mapping[str, str]) -> requests.Session:
    return session_until(Deadline(20), Transport(environ), "asking")


def url_of(server: Server) -> str:
    return f"http://127.0.0.1:{server.port}/x"


def test_an_answer_is_one_of_requests_own(cloud: Server) -> None:
    with session_for({}) as session:
        answer = session.post(url_of(cloud), data={"a": "b"}, headers={"X-Own": "1"})
    assert (answer.status_code, answer.json(), answer.url) == (200, {"answer": 1}, url_of(cloud))
    (seen,) = cloud.requests
    assert (seen.method, seen.form, seen.headers["x-own"]) == ("POST", {"a": "b"}, "1")


def test_a_redirect_is_not_followed(cloud: Server) -> None:
    with Server(lambda _: Response.json({})) as other, session_for({}) as session:
        cloud.answering = lambda _: Response(307, b"", {"Location": url_of(other)})
        with pytest.raises(RegistryError, match=r"HTTP 307.*not followed"):
            session.get(url_of(cloud), headers={"Authorization": "planted"})
        assert other.requests == []


@pytest.mark.parametrize("more", [0, 1])
def test_an_answer_is_bounded(cloud: Server, more: int) -> None:
    cloud.answering = lambda _: Response(200, b"x" * (limits.MAX_CLOUD_ANSWER_BYTES + more))
    with session_for({}) as session:
        if more:
            with pytest.raises(RegistryError) as caught:
                session.get(url_of(cloud))
            assert caught.value.reason is Reason.LIMIT_EXCEEDED
        else:
            assert len(session.get(url_of(cloud)).content) == limits.MAX_CLOUD_ANSWER_BYTES


def test_nothing_is_unpacked(cloud: Server) -> None:
    bomb = gzip.compress(b"\0" * 50_000_000)

    def answering(request: Request) -> Response:
        assert request.headers["accept-encoding"] == "identity"
        return Response(200, bomb, {"Content-Encoding": "gzip"})

    cloud.answering = answering
    with session_for({}) as session:
        assert session.get(url_of(cloud)).content == bomb


def test_proxies_are_those_of_the_call_and_not_of_this_process(
    cloud: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with session_for({}) as session:
        assert session.get(url_of(cloud)).status_code == 200
    # The cloud stands for a proxy: it is asked for another host's URL.
    with session_for({"HTTP_PROXY": f"http://127.0.0.1:{cloud.port}"}) as session:
        assert session.get("http://cloud.example/x").status_code == 200
    assert cloud.requests[-1].headers["host"] == "cloud.example"


def test_a_proxy_that_cannot_be_used_is_said_without_its_password() -> None:
    environ = {"HTTP_PROXY": "socks5://user:planted-password@proxy"}
    with session_for(environ) as session, pytest.raises(RegistryError) as caught:
        session.get("http://cloud.example/x")
    assert "planted" not in caught.value.message
