"""Attacks on the provider: nothing is admitted, nothing hangs, memory stays, and honest neighbours are answered."""

from __future__ import annotations

import contextlib
import resource
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from slsa_verifier_plugin.resident.server.housekeeping import MOST_DESCRIPTORS
from tests.support.command_line import LEVEL_1
from tests.support.processes import size_of_descriptor_table
from tests.support.provider import (
    ASK_SECONDS,
    provider_request,
    said,
    wait_for,
)
from tests.support.provider_place import (
    DROP_SECONDS,
    MEMORY_MIB,
    Place,
    push,
    tcp,
    tls,
)

pytestmark = pytest.mark.usefixtures("still_well")


def test_a_body_of_a_hundred_megabytes_is_refused_unread(place: Place) -> None:
    size = 100 << 20
    with tls(place) as connection:
        connection.sendall(
            f"POST /ratify/gatekeeper/v1/verify HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n".encode()
        )
        # Answered from the head alone.
        assert connection.recv(4096).startswith(b"HTTP/1.1 413")
    with tls(place) as connection:
        # In chunks nobody says how much it will be. It is refused, and what comes all the same is read for seconds at most.
        connection.sendall(
            b"POST /ratify/gatekeeper/v1/verify HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
        end = time.monotonic() + DROP_SECONDS
        is_over = False
        with contextlib.suppress(OSError):
            while not (is_over := time.monotonic() > end):
                connection.sendall(chunk)
        assert not is_over
    assert place.running.memory() < MEMORY_MIB << 20


def test_ten_thousand_keys_are_refused(place: Place) -> None:
    reply = place.running.ask(body=provider_request(["a/b:1"] * 10_000))
    assert (reply.status, reply.items) == (413, [])
    assert "10000 keys" in reply.system_error


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

    def dropped() -> float:
        limits = ("write_seconds", "answers")
        return sum(
            place.running.metric(f'slsa_provider_connections_dropped_total{{limit="{limit}"')
            for limit in limits
        )

    before = dropped()
    with contextlib.ExitStack() as stack:
        for _ in range(24):
            raw = socket.socket()
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            raw.settimeout(ASK_SECONDS)
            raw.connect(place.running.place)
            connection = stack.enter_context(
                place.running.context().wrap_socket(raw, server_hostname="127.0.0.1")
            )
            connection.sendall(request)
        # More than may be held: those who take nothing make room, and who does is answered.
        for _ in range(3):
            assert [said(item) for item in place.running.ask(*[place.level_3] * 256).items] == [
                "admitted"
            ] * 256
        wait_for(lambda: dropped() >= before + 24, DROP_SECONDS)


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


def test_its_table_of_descriptors_is_made_at_its_full_size(place: Place) -> None:
    """A table that grows in a process with threads holds all of them up, in a burst for more than a second."""
    pid = place.running.process.pid
    soft = resource.prlimit(pid, resource.RLIMIT_NOFILE)[0]
    assert size_of_descriptor_table(pid) >= min(soft, MOST_DESCRIPTORS)


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
