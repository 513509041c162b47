"""Proxies from the environment: plain, by CONNECT, with a password, over TLS, and where they are not used."""

from __future__ import annotations

import base64
import contextlib
import selectors
import socket
import ssl
import threading
from types import TracebackType
from typing import Self

import pytest

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import DeadlineError, Reason, RegistryError
from slsa_verifier_plugin.model.digest import Digest
from slsa_verifier_plugin.network.dialing import Resolver
from slsa_verifier_plugin.registry.reference import Reference
from slsa_verifier_plugin.registry.settings import StoreSettings
from slsa_verifier_plugin.registry.store import RegistryStore
from slsa_verifier_plugin.signatures.libraries import DownloadError
from slsa_verifier_plugin.signatures.refresh import Fetcher
from tests.support import toxins
from tests.support.certificates import Authority
from tests.support.content import NOTE, push
from tests.support.embedded_registry import EmbeddedRegistry
from tests.support.names import nowhere
from tests.support.registries import ToxicRegistry

pytestmark = pytest.mark.server("proxies, plain and over TLS")

HTTP = StoreSettings(use_http=True)


class Proxy:
    """Forwards every request, whatever its host, to one registry.

    Args:
        target: the registry's host and port.
        user: user and password that it wants, as ``name:password``.
        tls: a server's context to be spoken to over TLS.
        silent: accept connections and say nothing.
    """

    def __init__(
        self, target: str, user: str = "", tls: ssl.SSLContext | None = None, *, silent: bool = False
    ) -> None:
        self.heads: list[str] = []
        self._target = target
        self._user = user
        self._tls = tls
        self._silent = silent
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for item in list(self._open):
            with contextlib.suppress(OSError):
                item.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        for item in self._open:
            item.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._open.append(client)
                thread = threading.Thread(target=self._serve, args=(client,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self, client: socket.socket) -> None:
        if self._silent:
            return
        with contextlib.suppress(OSError):
            if self._tls is not None:
                client = self._tls.wrap_socket(client, server_side=True)
                self._open.append(client)
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                piece = client.recv(1)
                if not piece:
                    return
                head += piece
            text = head.decode()
            self.heads.append(text)
            wanted = base64.b64encode(self._user.encode()).decode()
            if self._user and f"proxy-authorization: basic {wanted}".lower() not in text.lower():
                client.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
                client.close()
                return
            host, _, port = self._target.rpartition(":")
            server = socket.create_connection((host, int(port)))
            self._open.append(server)
            if text.startswith("CONNECT"):
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                line, _, rest = text.partition("\r\n")
                method, url, version = line.split(" ")
                path = "/" + url.split("/", 3)[3]
                server.sendall(f"{method} {path} {version}\r\n{rest}".replace("keep-alive", "close").encode())
            _pipe(client, server)


def _pipe(first: socket.socket, second: socket.socket) -> None:
    with selectors.DefaultSelector() as selector:
        selector.register(first, selectors.EVENT_READ, second)
        selector.register(second, selectors.EVENT_READ, first)
        while True:
            for key, _ in selector.select():
                source = key.fileobj
                assert isinstance(source, socket.socket)
                piece = source.recv(65536)
                if not piece:
                    for item in (first, second):
                        with contextlib.suppress(OSError):
                            item.shutdown(socket.SHUT_RDWR)
                    return
                key.data.sendall(piece)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


def test_plain_http_goes_through_the_proxy_which_looks_the_name_up() -> None:
    with EmbeddedRegistry() as registry, Proxy(registry.host) as proxy:
        pushed = push(registry)
        image = Reference.parse(f"registry.example:5000/team/app@{pushed.image.digest}")
        environ = {"HTTP_PROXY": f"http://{proxy.host}"}
        with RegistryStore(HTTP, None, environ, resolver=Resolver(nowhere)) as store:
            assert store.blob(image, pushed.blob, len(NOTE), Deadline(5)) == NOTE
        assert proxy.heads[0].startswith("GET http://registry.example:5000/v2/team/app/blobs/")


@pytest.mark.parametrize("user", ["", "bob:planted-proxy-password"])
def test_https_goes_through_the_proxy_by_connect(authority: Authority, user: str) -> None:
    context = authority.server_context(authority.server("proxied", "registry.example"))
    with EmbeddedRegistry(tls=context) as registry, Proxy(registry.host, user) as proxy:
        pushed = push(registry)
        image = Reference.parse(f"registry.example/team/app@{pushed.image.digest}")
        at = f"{user}@" if user else ""
        environ = {"https_proxy": f"http://{at}{proxy.host}", "SSL_CERT_FILE": str(authority.root)}
        with RegistryStore(StoreSettings(), None, environ, resolver=Resolver(nowhere)) as store:
            assert store.blob(image, pushed.blob, len(NOTE), Deadline(5)) == NOTE
            assert store.referrers(image, Deadline(5))
        assert len(proxy.heads) == 1
        assert proxy.heads[0].startswith("CONNECT registry.example:443 ")


def test_a_proxy_may_itself_be_spoken_to_over_tls(authority: Authority) -> None:
    context = authority.server_context(authority.server("inner", "registry.example"))
    outer = authority.server_context(authority.server("outer", "127.0.0.1"))
    with EmbeddedRegistry(tls=context) as registry, Proxy(registry.host, tls=outer) as proxy:
        pushed = push(registry)
        image = Reference.parse(f"registry.example/team/app@{pushed.image.digest}")
        environ = {"HTTPS_PROXY": f"https://{proxy.host}", "SSL_CERT_FILE": str(authority.root)}
        with RegistryStore(StoreSettings(), None, environ, resolver=Resolver(nowhere)) as store:
            assert store.blob(image, pushed.blob, len(NOTE), Deadline(5)) == NOTE
            assert store.referrers(image, Deadline(5))


def test_deadlines_hold_through_a_tls_proxy(authority: Authority) -> None:
    context = authority.server_context(authority.server("inner2", "registry.example"))
    outer = authority.server_context(authority.server("outer2", "127.0.0.1"))
    with (
        ToxicRegistry(toxins.dripping_body, "/blobs/", tls=context) as registry,
        Proxy(registry.host, tls=outer) as proxy,
    ):
        pushed = push(registry)
        image = Reference.parse(f"registry.example/team/app@{pushed.image.digest}")
        environ = {"HTTPS_PROXY": f"https://{proxy.host}", "SSL_CERT_FILE": str(authority.root)}
        store = RegistryStore(StoreSettings(), None, environ, resolver=Resolver(nowhere))
        with store, pytest.raises(DeadlineError):
            store.blob(image, pushed.blob, len(NOTE), Deadline(0.6))


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_wants_a_password_says_so_without_showing_it(scheme: str) -> None:
    with EmbeddedRegistry() as registry, Proxy(registry.host, "bob:right") as proxy:
        image = Reference.parse("registry.example/team/app@sha256:" + "0" * 64)
        environ = {f"{scheme.upper()}_PROXY": f"http://bob:planted-wrong@{proxy.host}"}
        settings = StoreSettings(use_http=scheme == "http")
        store = RegistryStore(settings, None, environ, resolver=Resolver(nowhere))
        with store, pytest.raises(RegistryError) as caught:
            store.referrers(image, Deadline(2))
    assert caught.value.reason is Reason.REGISTRY_UNREACHABLE
    assert "407" in caught.value.message
    assert "planted" not in caught.value.message


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_says_nothing_ends_at_the_deadline(scheme: str) -> None:
    with Proxy("127.0.0.1:1", silent=True) as proxy:
        image = Reference.parse("registry.example/team/app@sha256:" + "0" * 64)
        environ = {f"{scheme.upper()}_PROXY": f"http://{proxy.host}"}
        store = RegistryStore(StoreSettings(use_http=scheme == "http"), None, environ)
        with store, pytest.raises(DeadlineError):
            store.referrers(image, Deadline(0.5))


def test_no_proxy_and_loopback_are_reached_directly() -> None:
    with EmbeddedRegistry() as registry:
        pushed = push(registry)
        environ = {"HTTP_PROXY": "http://127.0.0.1:1"}
        with RegistryStore(HTTP, None, environ) as store:
            assert store.referrers(pushed.image, Deadline(5))


FORMS = [
    *(
        "169.254.169.254",
        "2852039166",
        "0xa9fea9fe",
        "0251.0376.0251.0376",
        "169.254.43518",
        "169.254.169.254.",
    ),
    *(
        "0XA9.254.0251.254",
        "127.1:80",
        "0",
        "0x",
        "[::ffff:169.254.169.254]",
        "[64:ff9b::a9fe:a9fe]",
        "[fec0::1]",
        "10.1",
    ),
    *(
        "192.0.0.192",
        "[2002:a9fe:a9fe::1]",
        "metadata.google.internal.",
        "METADATA.google.internal",
        "app.localhost",
    ),
    *(
        "localhost.",
        "ip6-localhost",
        "1.2.3.4.5",
        "08.1.1.1",
        "4294967296",
        "evil.example%2f@x",
        "a..b",
        "evil.example\\x",
    ),
]
"""Hosts that are this machine, its link, a private network or a metadata service, or can be no host."""


@pytest.mark.parametrize("host", FORMS)
@pytest.mark.parametrize("where", ["redirect", "realm"])
def test_where_a_registry_sends_us_through_a_proxy_is_judged_in_one_form(host: str, where: str) -> None:
    target = f"http://{host}/x"
    written = target.replace("\\", "\\\\")  # within quotes a backslash takes another (RFC 9110, 5.6.4)
    toxin = (
        toxins.redirect(target)
        if where == "redirect"
        else toxins.status(401, {"WWW-Authenticate": f'Bearer realm="{written}"'})
    )
    with ToxicRegistry(toxin, "/blobs/") as registry, Proxy(registry.host) as proxy:
        pushed = push(registry)
        image = Reference.parse(f"registry.example:5000/team/app@{pushed.image.digest}")
        environ = {"HTTP_PROXY": f"http://{proxy.host}"}
        store = RegistryStore(HTTP, None, environ, resolver=Resolver(nowhere))
        with store, pytest.raises(RegistryError) as caught:
            store.blob(image, pushed.blob, len(NOTE), Deadline(5))
        assert len(proxy.heads) == 1, "the proxy was asked for it"
    # What is never reached through a proxy is looked up here, where the address is judged; this test's resolver knows none.
    direct = Reason.REGISTRY_UNREACHABLE if host == "localhost." else None
    assert caught.value.reason in (Reason.REGISTRY_INVALID_RESPONSE, direct)


@pytest.mark.parametrize("host", FORMS)
def test_where_a_tuf_mirror_sends_us_through_a_proxy_is_judged_in_one_form(host: str) -> None:
    with (
        ToxicRegistry(toxins.redirect(f"http://{host}/x"), "/root.json") as mirror,
        Proxy(mirror.host) as proxy,
    ):
        environ = {"HTTP_PROXY": f"http://{proxy.host}"}
        fetcher = Fetcher(environ, Resolver(nowhere))
        with pytest.raises(DownloadError):
            list(fetcher._fetch("http://tuf.example/root.json"))
        assert len(proxy.heads) == 1, "the proxy was asked for it"


@pytest.mark.parametrize(
    "host", ["cdn.example", "cdn.example.", "8.8.8.8", "134744072", "[2606:4700::1]", "1.example"]
)
def test_an_honest_redirect_through_a_proxy_is_followed(host: str) -> None:
    with (
        ToxicRegistry(toxins.redirect(f"http://{host}/x"), "/blobs/") as registry,
        Proxy(registry.host) as proxy,
    ):
        pushed = push(registry)
        image = Reference.parse(f"registry.example:5000/team/app@{pushed.image.digest}")
        environ = {"HTTP_PROXY": f"http://{proxy.host}"}
        store = RegistryStore(HTTP, None, environ, resolver=Resolver(nowhere))
        with store, pytest.raises(RegistryError):
            store.blob(image, pushed.blob, len(NOTE), Deadline(5))
        shown = "8.8.8.8" if host == "134744072" else host  # what was judged is what the proxy gets to read
        assert proxy.heads[1].startswith(f"GET http://{shown}/x ")


@pytest.mark.parametrize(
    "target", ["http://169.254.169.254/x", "http://metadata.google.internal/x", "http://app.localhost/x"]
)
def test_a_redirect_through_a_proxy_is_judged_by_its_name(target: str) -> None:
    with ToxicRegistry(toxins.redirect(target), "/blobs/") as registry, Proxy(registry.host) as proxy:
        pushed = push(registry)
        image = Reference.parse(f"registry.example:5000/team/app@{pushed.image.digest}")
        environ = {"HTTP_PROXY": f"http://{proxy.host}"}
        store = RegistryStore(HTTP, None, environ, resolver=Resolver(nowhere))
        with store, pytest.raises(RegistryError) as caught:
            store.blob(image, pushed.blob, len(NOTE), Deadline(5))
        assert len(proxy.heads) == 1
    assert caught.value.reason is Reason.REGISTRY_INVALID_RESPONSE


@pytest.mark.parametrize("value", ["socks5://proxy.example:1080", "http://", "http://bob:planted@:x"])
def test_a_proxy_that_cannot_be_used_is_an_error(value: str) -> None:
    image = Reference.parse("registry.example/app").with_digest(Digest.of(b""))
    with (
        RegistryStore(StoreSettings(), None, {"HTTPS_PROXY": value}) as store,
        pytest.raises(RegistryError) as caught,
    ):
        store.referrers(image, Deadline(2))
    assert caught.value.reason is Reason.REGISTRY_UNREACHABLE
    assert "planted" not in caught.value.message
