"""Refreshing over a network that is away, silent, slow or endless: every wait ends, and the copy before stays."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Self

import pytest

from slsa_verifier_plugin.errors import TrustRootError
from slsa_verifier_plugin.network import waits as limits
from slsa_verifier_plugin.policy.parameters import RootSource
from slsa_verifier_plugin.signatures import refresh as refreshing
from slsa_verifier_plugin.signatures.refresh import refresh
from slsa_verifier_plugin.signatures.sources import read_root
from tests.support.refreshing import FIRST
from tests.support.tuf import TufRepository


def test_a_repository_that_is_away_leaves_the_copy(tmp_path: Path, environ: dict[str, str]) -> None:
    with TufRepository(tmp_path) as repository:
        repository.publish(FIRST)
        refresh(repository.source, environ)
    with pytest.raises(TrustRootError, match="could not be refreshed") as caught:
        refresh(repository.source, environ)
    assert caught.value.transient
    assert read_root(repository.source, environ)[0] == FIRST


def test_a_repository_that_says_nothing_is_given_up(
    repository: TufRepository, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refreshing, "FILE_SECONDS", 0.2)
    repository.pause = 60.0
    started = time.monotonic()
    with pytest.raises(TrustRootError):
        refresh(repository.source, environ)
    assert time.monotonic() - started < 30, "an answer takes 60 s"


class Trickle:
    """A server that sends the head of an answer and then a byte now and then, for as long as somebody listens."""

    def __init__(
        self, head: bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", piece: bytes = b" "
    ) -> None:
        self._head = head
        self._piece = piece
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, suppress(OSError):
                connection.recv(65536)
                connection.sendall(self._head)
                while not self._is_over.wait(0.05):
                    connection.sendall(self._piece)


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (HEAD, b" "),
        (b"HTTP/1.1 200 OK\r\nX: ", b"x"),
        (b"HTTP/1.", b"1"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"", b"HTTP/1.1 102 Processing\r\n\r\n"),
        (b"HTTP/1.1 103 Early Hints\r\n", b"Link: </x>; rel=preload\r\n"),
        (b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nX: ", b"x"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 1000000\r\nX: ", b"x"),
    ],
    ids=["body", "header", "status-line", "continue", "processing", "hints", "redirect", "not-found"],
)
def test_a_repository_that_trickles_is_given_up(
    repository: TufRepository,
    environ: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    head: bytes,
    piece: bytes,
) -> None:
    monkeypatch.setattr(refreshing, "TOTAL_SECONDS", 0.5)
    with Trickle(head, piece) as server:
        source = RootSource("tuf", server.url, repository.source.bootstrap)
        with pytest.raises(TrustRootError, match=r"not complete after 0\.5 s; try again") as caught:
            refresh(source, environ)
    assert caught.value.transient


def test_interim_answers_are_read_past_but_not_without_end(
    repository: TufRepository, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.interim = b"".join(
        b"HTTP/1.1 %d Interim\r\nLink: </x>; rel=preload\r\n\r\n" % status for status in (100, 102, 103)
    )
    refresh(repository.source, environ)
    monkeypatch.setattr(limits, "MAX_INTERIM_BYTES", len(repository.interim))
    refresh(repository.source, environ)
    monkeypatch.setattr(limits, "MAX_INTERIM_BYTES", len(repository.interim) - 1)
    with pytest.raises(TrustRootError, match=r"the answer of http://.* is not proper HTTP"):
        refresh(repository.source, environ)
    assert read_root(repository.source, environ)[0] == FIRST


def test_redirects_are_followed_only_where_the_repository_itself_could_reach_us_from(
    repository: TufRepository, environ: dict[str, str], tmp_path: Path
) -> None:
    """A mirror's object store is reached; a metadata service is not, nor is a circle followed."""
    (tmp_path / "mirror").mkdir()
    with TufRepository(tmp_path / "mirror") as mirror:
        source = RootSource("tuf", mirror.source.location, repository.source.bootstrap)
        mirror.redirect = repository.source.location
        refresh(source, environ)
        assert read_root(source, environ)[0] == FIRST
        for target, words in (
            ("http://169.254.169.254/latest", "a cloud metadata address"),
            (source.location, "more than 5 of them"),
            ("ftp://127.0.0.1/x", "its target is not a plain HTTP URL"),
        ):
            mirror.redirect = target
            with pytest.raises(TrustRootError, match=words):
                refresh(source, environ)


def test_a_download_that_breaks_off_is_told(
    repository: TufRepository, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Trickle() as server:
        source = RootSource("tuf", server.url, repository.source.bootstrap)
        monkeypatch.setattr(server._is_over, "wait", lambda seconds: True)
        with pytest.raises(
            TrustRootError, match=r"could not be refreshed: .* the answer of http://.* broke off"
        ):
            refresh(source, environ)


def test_a_repository_that_says_when_to_come_back_is_not_waited_for(
    repository: TufRepository, environ: dict[str, str]
) -> None:
    head = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 3600\r\nContent-Length: 0\r\n\r\n"
    with Trickle(head) as server:
        source = RootSource("tuf", server.url, repository.source.bootstrap)
        with pytest.raises(TrustRootError, match=r"could not be refreshed: HTTP error 503"):
            refresh(source, environ)


def test_an_answer_that_is_no_file_is_not_read_as_one(
    repository: TufRepository, environ: dict[str, str]
) -> None:
    with Trickle(b"HTTP/1.1 300 Multiple Choices\r\nContent-Length: 2\r\n\r\n{}", b"") as server:
        source = RootSource("tuf", server.url, repository.source.bootstrap)
        with pytest.raises(TrustRootError, match=r"could not be refreshed: HTTP error 300"):
            refresh(source, environ)


def test_no_download_begins_when_the_time_is_up(
    repository: TufRepository, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refreshing, "TOTAL_SECONDS", -1.0)
    with pytest.raises(TrustRootError, match="not complete after"):
        refresh(repository.source, environ)
    assert repository.asked.total() == 0
