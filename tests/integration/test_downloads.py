"""Downloads of a TUF repository's files: through proxies, over TLS, and to no address that a server may not send us to."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from slsa_verifier_plugin.signatures import refresh
from slsa_verifier_plugin.signatures.libraries import DownloadError, DownloadHTTPError
from tests.integration.test_registry_proxy import Proxy
from tests.support.certificates import Authority
from tests.support.names import knowing

pytestmark = pytest.mark.server("mirrors, behind proxies")
CONTENT = b"a file of a repository"
NAMES = knowing(tuf_example=["127.0.0.1"])


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT)


class Mirror:
    """Serves one file, over TLS where there is a context."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self.server.daemon_threads = True
        if tls is not None:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_port
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    made = Mirror()
    yield made
    made.close()


def fetch(url: str, environ: dict[str, str]) -> bytes:
    return b"".join(refresh.Fetcher(environ, NAMES)._fetch(url))


def test_a_file_is_fetched_directly(mirror: Mirror) -> None:
    assert fetch(f"http://tuf.example:{mirror.port}/x", {}) == CONTENT


@pytest.mark.parametrize("user", ["", "somebody:pass%40word"])
def test_a_file_is_fetched_through_a_proxy(mirror: Mirror, user: str) -> None:
    with Proxy(f"127.0.0.1:{mirror.port}", user.replace("%40", "@")) as proxy:
        url = f"http://{user}@{proxy.host}" if user else f"http://{proxy.host}"
        assert fetch("http://anywhere.example/x", {"HTTP_PROXY": url}) == CONTENT
    assert proxy.heads[0].startswith("GET http://anywhere.example/x HTTP/1.1")


def test_a_proxy_that_wants_a_password_is_an_answer_of_its_own(mirror: Mirror) -> None:
    with Proxy(f"127.0.0.1:{mirror.port}", "somebody:password") as proxy:
        environ = {"HTTP_PROXY": f"http://{proxy.host}"}
        with pytest.raises(DownloadHTTPError) as caught:
            fetch("http://a.example/x", environ)
    assert caught.value.status_code == 407


@pytest.mark.parametrize("proxied", [False, True])
def test_a_file_is_fetched_over_tls_from_whom_the_environment_trusts(tmp_path: Path, proxied: bool) -> None:
    authority = Authority(tmp_path / "ca")
    mirror = Mirror(authority.server_context(authority.server("mirror", "tuf.example")))
    try:
        with Proxy(f"127.0.0.1:{mirror.port}") as proxy:
            environ = {"HTTPS_PROXY": f"http://{proxy.host}"} if proxied else {}
            url = f"https://tuf.example:{mirror.port}/x"
            trusted = {**environ, "SSL_CERT_FILE": str(authority.root)}
            assert fetch(url, trusted) == CONTENT
            stranger = Authority(tmp_path / "other", "another root")
            with pytest.raises(
                DownloadError, match=r"the certificate of https://tuf\.example:.* is not trusted"
            ):
                fetch(url, {**environ, "SSL_CERT_FILE": str(stranger.root)})
            with pytest.raises(DownloadError, match="no CA certificate was found"):
                fetch(url, {**environ, "SSL_CERT_FILE": "/nonexistent", "SSL_CERT_DIR": "/nonexistent"})
    finally:
        mirror.close()


def test_a_proxy_that_says_nothing_ends_at_the_deadline(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refresh, "TOTAL_SECONDS", 0.5)
    with (
        Proxy(f"127.0.0.1:{mirror.port}", silent=True) as proxy,
        pytest.raises(DownloadError, match="not complete after"),
    ):
        fetch("http://anywhere.example/x", {"HTTP_PROXY": f"http://{proxy.host}"})


def test_a_name_that_nobody_knows_is_told(mirror: Mirror) -> None:
    with pytest.raises(DownloadError, match=r"the host of http://unknown\.example has no address"):
        fetch("http://unknown.example/x", {})
