"""What a provider or its SDK sends: it goes nowhere else, ends in size, and knows nothing of this process's environment."""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Mapping

import pytest

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import RegistryError
from slsa_verifier_plugin.network.transport import HttpRequest
from slsa_verifier_plugin.registry import limits
from slsa_verifier_plugin.registry.credentials.web import Web
from tests.support.clouds import Request, Response, Server

pytestmark = pytest.mark.server("a cloud of the tests")


@pytest.fixture
def cloud() -> Iterator[Server]:
    with Server(lambda _: Response.json({"answer": 1})) as server:
        yield server


def asked(
    url: str, environ: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
) -> tuple[int, bytes]:
    request = HttpRequest("asking", url, headers=headers or {})
    reply, content = Web("a cloud's", environ or {}).exchange(request, Deadline(20))
    return reply.status, content


def url_of(server: Server) -> str:
    return f"http://127.0.0.1:{server.port}/x"


def test_an_answer_and_what_was_sent(cloud: Server) -> None:
    request = HttpRequest("asking", url_of(cloud), "POST", {"X-Own": "1"}, {"a": "b"})
    reply, content = Web("a cloud's", {}).exchange(request, Deadline(20))
    assert (reply.status, content) == (200, b'{"answer": 1}')
    (seen,) = cloud.requests
    assert (seen.method, seen.form, seen.headers["x-own"]) == ("POST", {"a": "b"}, "1")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(cloud: Server, status: int) -> None:
    with Server(lambda _: Response.json({})) as other:
        cloud.answering = lambda _: Response(status, b"", {"Location": url_of(other)})
        with pytest.raises(RegistryError, match=rf"HTTP {status}.*not followed"):
            asked(url_of(cloud), headers={"Authorization": "planted"})
        assert other.requests == []


@pytest.mark.parametrize("more", [0, 1])
def test_an_answer_is_bounded(cloud: Server, more: int) -> None:
    cloud.answering = lambda _: Response(200, b"x" * (limits.MAX_CLOUD_ANSWER_BYTES + more))
    if more:
        with pytest.raises(RegistryError, match=f"the limit is {limits.MAX_CLOUD_ANSWER_BYTES}"):
            asked(url_of(cloud))
    else:
        assert len(asked(url_of(cloud))[1]) == limits.MAX_CLOUD_ANSWER_BYTES


def test_nothing_is_unpacked(cloud: Server) -> None:
    bomb = gzip.compress(b"\0" * 50_000_000)

    def answering(request: Request) -> Response:
        assert request.headers["accept-encoding"] == "identity"
        return Response(200, bomb, {"Content-Encoding": "gzip"})

    cloud.answering = answering
    assert asked(url_of(cloud)) == (200, bomb)


def test_proxies_are_those_of_the_call_and_not_of_this_process(
    cloud: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert asked(url_of(cloud))[0] == 200
    # The cloud stands for a proxy: it is asked for another host's URL.
    environ = {"HTTP_PROXY": f"http://127.0.0.1:{cloud.port}"}
    assert asked("http://cloud.example/x", environ)[0] == 200
    assert cloud.requests[-1].headers["host"] == "cloud.example"


def test_a_proxy_that_cannot_be_used_is_said_without_its_password() -> None:
    with pytest.raises(RegistryError) as caught:
        asked("http://cloud.example/x", {"HTTP_PROXY": "socks5://user:planted-password@proxy"})
    assert "planted" not in caught.value.message
