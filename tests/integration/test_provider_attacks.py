"""Attacks on the provider: nothing is admitted, nothing hangs, memory stays, and honest neighbours are answered."""

from __future__ import annotations

import contextlib
import resource
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.integration.test_provider_answers import Place, push
from tests.support.certificates import Authority, Pair
from tests.support.command_line import LEVEL_1, LEVEL_3, verifier, write_yaml
from tests.support.embedded_registry import EmbeddedRegistry
from tests.support.provider import (
    ASK_SECONDS,
    STORE,
    is_closed,
    policy_resource,
    provider,
    provider_request,
    said,
    wait_for,
)

MEMORY_MIB = 150
"""That all of the provider's processes may have for themselves (issue J)."""
DROP_SECONDS = 60
"""That a connection over a limit of 5 or 10 s is waited for, on however busy a machine."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("provider")
    policies = write_yaml(folder / "policies.yaml", verifier(), STORE, policy_resource(slsla="any"))
    with EmbeddedRegistry() as registry, provider(folder, [policies]) as running:
        images = (
            push(registry, "level-1", LEVEL_1),
            push(registry, "level-3", LEVEL_3),
            push(registry, "bare"),
        )
        yield Place(registry, running, *images)


@pytest.fixture(autouse=True)
def _still_well(place: Place) -> Iterator[None]:
    """After each attack an honest request is answered, and memory is what it may be."""
    yield
    assert said(place.running.ask(place.level_3).items[0]) == "admitted"
    assert said(place.running.ask(place.level_1).items[0]) == "denied LEVEL_TOO_LOW"
    assert place.running.get("/healthz")[0] == 200
    assert place.running.memory() < MEMORY_MIB << 20


def tcp(place: Place) -> socket.socket:
    return socket.create_connection(place.running.place, timeout=ASK_SECONDS)


def tls(place: Place, context: ssl.SSLContext | None = None) -> ssl.SSLSocket:
    """Return a connection whose handshake is done."""
    chosen = context or place.running.context()
    return chosen.wrap_socket(tcp(place), server_hostname="127.0.0.1")


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


def test_a_body_of_a_hundred_megabytes_is_refused_unread(place: Place) -> None:
    size = 100 << 20
    with tls(place) as connection:
        connection.sendall(
            f"POST /ratify/gatekeeper/v1/verify HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n".encode()
        )
        # Answered from the head alone.
        assert connection.recv(4096).startswith(b"HTTP/1.1 413")
    with tls(place) as connection:
        # In chunks nobody says how much it will be; all of it is never taken.
        connection.sendall(
            b"POST /ratify/gatekeeper/v1/verify HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        sent = 0
        chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
        with contextlib.suppress(OSError):
            while sent < size:
                connection.sendall(chunk)
                sent += 65536
        assert sent < size


def test_ten_thousand_keys_are_refused(place: Place) -> None:
    reply = place.running.ask(body=provider_request(["a/b:1"] * 10_000))
    assert (reply.status, reply.items) == (413, [])
    assert "10000 keys" in reply.system_error


@pytest.mark.parametrize(
    "begun",
    [
        b"POST /ratify/gatekeeper/v1/ver",
        b"POST /ratify/gatekeeper/v1/verify HTTP/1.1\r\nHost: a\r\n",
        b"POST /ratify/gatekeeper/v1/verify HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{",
    ],
    ids=["line", "head", "body"],
)
def test_half_a_request_is_not_waited_for(place: Place, begun: bytes) -> None:
    with tls(place) as connection:
        connection.sendall(begun)
        assert is_closed(connection, DROP_SECONDS)


def test_a_head_that_drips_has_no_longer_than_one_that_stops(place: Place) -> None:
    dropped = place.running.metric('slsa_provider_connections_dropped_total{limit="head_seconds"')
    with tls(place) as connection:
        # The second request of a connection, too: an answered first one buys no time.
        body = provider_request([place.level_3])
        head = b"POST /ratify/gatekeeper/v1/verify HTTP/1.1\r\nHost: a\r\n"
        connection.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        assert connection.recv(4096).startswith(b"HTTP/1.1 200")
        end = time.monotonic() + DROP_SECONDS
        with contextlib.suppress(OSError):
            while time.monotonic() < end:
                connection.sendall(head[:1])
                head = head[1:] or b"a"
                time.sleep(0.5)
        assert time.monotonic() < end
    assert place.running.metric('slsa_provider_connections_dropped_total{limit="head_seconds"') > dropped


@pytest.mark.parametrize(
    "head",
    [
        b"POST /ratify/gatekeeper/v1/verify HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
        b"POST /ratify/gatekeeper/v1/verify HTTP/1.1\r\nHost: a\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}",
        b"POST /ratify/gatekeeper/v1/verify HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"POST /ratify/gatekeeper/v1/verify HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n{}",
        b"POST /ratify/gatekeeper/v1/verify HTTP/1.1\r\nHost: a\r\nContent-Length : 2\r\n\r\n{}",
        b"POST /ratify/gatekeeper/v1/verify HTTP/1.1\nHost: a\nContent-Length: 2\n\n{}",
        b"POST /ratify/gatekeeper/v1/verify HTTP/1.1\r\nHost: a\r\nA: \0\r\n\r\n",
        b"POST /ratify/gatekeeper/v1/verify HTTP/1.1\r\nHost: a\r\n" + b"a" * (1 << 20),
        b"POST /ratify/gatekeeper/v1/verify HTTP/1.1\r\nHost: a\r\nA: " + b"a" * (1 << 20),
        b"POST /" + b"a" * (1 << 20),
        b"\r\n" * (1 << 19),
        b"POST /ratify/gatekeeper/v1/verify HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"
        + b"A: b\r\n" * 20_000,
        b"POST /ratify/gatekeeper/v1/verify HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nA: "
        + b"a" * (1 << 20),
        b"POST /ratify/gatekeeper/v1/verify HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2;"
        + b"a" * (1 << 20),
        b"POST /ratify/gatekeeper/v1/verify HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST /ratify/gatekeeper/v1/verify HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"POST /ratify/gatekeeper/v1/verify HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"POST /ratify/gatekeeper/v1/verify HTTP/1.1\r\n" + b"A: b\r\n" * 20_000 + b"\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /ratify/gatekeeper/v1/verify HTTP/9.9\r\n\r\n",
        b"\0\0\0\0",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /ratify/gatekeeper/v1/verify HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    ],
    ids=[
        "no-host",
        "two-hosts",
        "two-codings",
        "another-coding",
        "blank-before-colon",
        "bare-lf",
        "nul-in-header",
        "unfinished-name",
        "unfinished-value",
        "unfinished-path",
        "empty-lines",
        "trailer",
        "unfinished-trailer",
        "unfinished-extension",
        "two-lengths",
        "lengths-differ",
        "negative",
        "many-headers",
        "long-path",
        "version",
        "nul",
        "http2",
        "websocket",
    ],
)
def test_odd_heads_are_errors(place: Place, head: bytes) -> None:
    began = time.monotonic()
    with tls(place) as connection:
        # It may be refused before all of it is sent.
        with contextlib.suppress(OSError):
            connection.sendall(head)
        answer = b""
        with contextlib.suppress(OSError):
            while part := connection.recv(65536):
                answer += part
        assert b" 200 " not in answer.split(b"\r\n")[0]
        assert b"isSuccess" not in answer
        assert b"Traceback" not in answer
    # Refused for what it is, not waited for: the limits of time are a test of their own.
    assert b" 408 " not in answer
    assert time.monotonic() - began < DROP_SECONDS


def test_what_may_be_written_in_more_than_one_way_is_answered(place: Place) -> None:
    body = provider_request([place.level_3])
    line = b"POST /ratify/gatekeeper/v1/verify HTTP/1.1\r\n"
    length = b"Content-Length: %d\r\nConnection: close\r\n" % len(body)
    chunks = b"5;a=b\r\n%b\r\n%x\r\n%b\r\n0\r\nA: 1\r\n\r\n" % (
        body[:5],
        len(body) - 5,
        body[5:],
    )
    for request in (
        line + b"HOST: a\r\n" + length + b"\r\n" + body,
        line + b"Host: a\r\nAccept-Encoding: gzip\r\n" + length + b"A: " + b"a" * 15_000 + b"\r\n\r\n" + body,
        line + b"Host: a\r\nExpect: 100-continue\r\n" + length + b"\r\n" + body,
        line + b"Host: a\r\nConnection: close\r\nTransfer-Encoding: Chunked\r\n\r\n" + chunks,
        line.replace(b"1.1", b"1.0") + length + b"\r\n" + body,
        # One after the other on one connection, all sent at once.
        (line + b"Host: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body) * 3
        + line
        + b"Host: a\r\n"
        + length
        + b"\r\n"
        + body,
    ):
        assert answer_to(place, request).count(b'"isSuccess":true,"traceID"') == request.count(b"POST")


def test_an_answer_comes_in_one_record(place: Place) -> None:
    with tls(place) as connection:
        body = provider_request([place.level_3])
        head = b"POST /ratify/gatekeeper/v1/verify HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(
            body
        )
        connection.sendall(head + body)
        # A read returns one record of TLS.
        first = connection.recv(65536)
    assert first.startswith(b"HTTP/1.1 200")
    assert b"isSuccess" in first


def answer_to(place: Place, request: bytes) -> bytes:
    """Return all that comes back until the server ends the connection."""
    with tls(place) as connection:
        connection.sendall(request)
        answer = b""
        while part := connection.recv(65536):
            answer += part
    return answer


def test_a_request_has_one_length_and_a_body_in_chunks_is_answered(place: Place) -> None:
    body = provider_request([place.level_3])
    head = b"POST /ratify/gatekeeper/v1/verify HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
    chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    refused = answer_to(place, head + b"Content-Length: 4\r\n\r\n" + chunks)
    assert refused.startswith(b"HTTP/1.1 400")
    assert b"isSuccess" not in refused
    assert b'"isSuccess":true' in answer_to(place, head + b"Connection: close\r\n\r\n" + chunks)


def test_a_path_beside_those_that_are_answered_leads_nowhere(place: Place) -> None:
    for path in (b"verify/", b"verify//", b"", b"../v1/verify/"):
        head = (
            b"POST /ratify/gatekeeper/v1/%b HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 0\r\n\r\n"
            % path
        )
        answer = answer_to(place, head)
        assert answer.startswith(b"HTTP/1.1 404")
        assert b"evil" not in answer


def test_bodies_that_drip_on_every_connection_keep_nobody_out(place: Place) -> None:
    head = b"POST /ratify/gatekeeper/v1/verify HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n{"
    context = place.running.context()
    with contextlib.ExitStack() as stack:
        # More than there may be, each with a request that has begun: none of them is idle.
        for _ in range(300):
            connection = stack.enter_context(contextlib.closing(tls(place, context)))
            with contextlib.suppress(OSError):
                connection.sendall(head)
        for _ in range(3):
            assert said(place.running.ask(place.level_3).items[0]) == "admitted"


def test_many_keys_of_an_image_with_much_to_say_are_an_answer_that_fits(place: Place) -> None:
    image = push(place.registry, "noisy", *[LEVEL_1] * 40)
    (alone,) = place.running.ask(image).items
    assert len(alone["value"]["verifierReports"]) == 40
    reply = place.running.ask(*[image] * 256)
    assert len(str(reply.body)) < 4 << 20
    # Each says what was decided, and why.
    assert {said(item) for item in reply.items} == {"denied LEVEL_TOO_LOW"}


def test_who_asks_for_health_without_end_delays_nobody(place: Place) -> None:
    end = threading.Event()

    def ask() -> None:
        while not end.is_set():
            place.running.get("/metrics")
            place.running.get("/readyz")

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    before = place.running.metric("process_cpu_seconds_total")
    began = time.monotonic()
    time.sleep(3)
    used = (place.running.metric("process_cpu_seconds_total") - before) / (time.monotonic() - began)
    end.set()
    for thread in threads:
        thread.join()
    # Taken one after the other, with a pause: most of the processor is left.
    assert used < 0.5


def test_an_answer_that_nobody_takes_is_thrown_away(place: Place) -> None:
    body = provider_request([place.level_1] * 256)
    request = (
        b"POST /ratify/gatekeeper/v1/verify HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body)
        + body
    )
    dropped = place.running.metric('slsa_provider_connections_dropped_total{limit="write_seconds"')
    with contextlib.ExitStack() as stack:
        for _ in range(8):
            raw = socket.socket()
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            raw.settimeout(ASK_SECONDS)
            raw.connect(place.running.place)
            connection = stack.enter_context(
                place.running.context().wrap_socket(raw, server_hostname="127.0.0.1")
            )
            connection.sendall(request)
        wait_for(
            lambda: (
                place.running.metric('slsa_provider_connections_dropped_total{limit="write_seconds"')
                >= dropped + 8
            ),
            DROP_SECONDS,
        )


def test_a_thousand_idle_connections_keep_nobody_out(place: Place) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4096
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.fail(f"only {hard} open files are allowed here, {wanted} are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    with contextlib.ExitStack() as stack:
        # A thousand that never begin, and more than there may be with their handshake done.
        for _ in range(1000):
            stack.enter_context(contextlib.closing(tcp(place)))
        context = place.running.context()
        with ThreadPoolExecutor(8) as pool:
            for connection in pool.map(lambda _: tls(place, context), range(300)):
                stack.enter_context(contextlib.closing(connection))
        for _ in range(5):
            assert said(place.running.ask(place.level_3).items[0]) == "admitted"
        # There are as many as there may be: the limits are what was met.
        assert 200 <= place.running.metric('slsa_provider_connections{door="provider",state="open"') <= 256
        assert place.running.metric('slsa_provider_connections{door="provider",state="handshake"') <= 128
        assert place.running.metric('slsa_provider_connections_dropped_total{limit="handshakes"') >= 500
        assert place.running.memory() < MEMORY_MIB << 20
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


DIGEST = "sha256:" + "a" * 64
KEYS = [
    "",
    " ",
    "\0",
    "a\nb",
    "registry.example/app\x1b[2J:1",
    "registry.example/app:1\u202e",
    "registry.example/\u0430pp:1",
    "..",
    "../../etc/passwd",
    "registry.example/../../app:1",
    "registry.example/..%2f..%2fapp:1",
    "registry.example/./app:1",
    "file:///etc/passwd",
    "http://registry.example/app:1",
    "https://registry.example/app:1",
    "oci://registry.example/app:1",
    "docker-daemon:app:1",
    "javascript:alert(1)",
    "registry.example@evil.example/app:1",
    "user:password@registry.example/app:1",
    "registry.example:99999/app:1",
    "registry.example:/app:1",
    "[::1]/app:1",
    "[fd00:ec2::254]/app:1",
    "[]registry.example/app:1",
    "[a][b]registry.example/app:1",
    "[kube-system]registry.example/app:1",
    "169.254.169.254/latest/meta-data:1",
    "169.254.169.254:80/latest/meta-data@" + DIGEST,
    "169.254.170.2/v2/credentials:1",
    "100.100.100.200/latest/meta-data:1",
    "metadata.google.internal/computemetadata/v1:1",
    "METADATA.GOOGLE.INTERNAL/computemetadata/v1:1",
    "metadata.google.internal:80/a/b:1",
    "registry.example/app@" + DIGEST[:-1],
    "registry.example/app@md5:" + "a" * 32,
    "registry.example/app:1@" + DIGEST + "@" + DIGEST,
    "registry.example/app?x=1",
    "registry.example/app#x",
    "registry.example/" + "a" * 5000,
    "registry.example/app:" + "a" * 200,
    "-rf/app:1",
    "*",
    "${jndi:ldap://x}/app:1",
    '"; DROP TABLE images; --/app:1',
]


@pytest.mark.parametrize("path", ["v1/verify", "v2/verify", "v1/mutate", "v2/mutate"])
def test_keys_that_are_no_images_are_errors_of_their_own(place: Place, path: str) -> None:
    keys = [place.level_3, *KEYS]
    reply = place.running.ask(*keys, path=path)
    assert reply.status == 200
    assert [item["key"] for item in reply.items] == keys
    assert "value" in reply.items[0]
    for item in reply.items[1:]:
        assert set(item) == {"key", "error"}, item
        assert item["error"].startswith(("KEY_INVALID: ", "NAMESPACE_REFUSED: ")), item
        # What is said of a key moves no cursor and is one line.
        assert all(char.isprintable() for char in item["error"]), item


def test_half_a_surrogate_pair_is_no_key(place: Place) -> None:
    reply = place.running.ask(body=provider_request(["registry.example/\ud800:1"]))
    assert (reply.status, reply.items) == (400, [])


def test_a_client_that_goes_away_harms_nobody(place: Place) -> None:
    body = provider_request([place.level_3])
    request = (
        b"POST /ratify/gatekeeper/v1/verify HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body)
        + body
    )

    def gone() -> None:
        with tls(place) as connection:
            connection.sendall(request)

    threads = [threading.Thread(target=gone) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not [event for event in place.running.events("fault") if "unforeseen" in event["message"]]
