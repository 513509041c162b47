"""TLS: verification always, roots as Go finds them, certificates for single hosts."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import DeadlineError, Reason, RegistryError
from slsa_verifier_plugin.network.tls import TrustStore
from slsa_verifier_plugin.registry.settings import StoreSettings
from slsa_verifier_plugin.registry.store import RegistryStore
from tests.support import toxins
from tests.support.certificates import Authority
from tests.support.content import NOTE, push
from tests.support.embedded_registry import EmbeddedRegistry
from tests.support.registries import RecordingRegistry, TokenRegistry, TokenServer, ToxicRegistry, Toxin

pytestmark = pytest.mark.server("registries with TLS by a CA of the tests")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def context(authority: Authority) -> ssl.SSLContext:
    return authority.server_context(authority.server("server", "127.0.0.1", "localhost"))


@pytest.fixture
def registry(context: ssl.SSLContext) -> Iterator[EmbeddedRegistry]:
    with RecordingRegistry(tls=context) as running:
        yield running


def fetched(registry: EmbeddedRegistry, environ: dict[str, str], trust: TrustStore | None = None) -> bytes:
    pushed = push(registry)
    with RegistryStore(StoreSettings(), None, environ, trust=trust) as store:
        return store.blob(pushed.image, pushed.blob, len(NOTE), Deadline(5))


def failure(
    registry: EmbeddedRegistry, environ: dict[str, str], trust: TrustStore | None = None
) -> RegistryError:
    with pytest.raises(RegistryError) as caught:
        fetched(registry, environ, trust)
    assert caught.value.reason is Reason.REGISTRY_TLS, caught.value.message
    return caught.value


def test_an_unknown_authority_is_refused(registry: EmbeddedRegistry) -> None:
    assert "is not trusted" in failure(registry, {}).message


def test_loopback_is_no_exception_whatever_the_reference_contains(registry: EmbeddedRegistry) -> None:
    assert registry.host.startswith("127.0.0.1:")
    failure(registry, {})


def test_ssl_cert_file_replaces_the_bundle(registry: EmbeddedRegistry, authority: Authority) -> None:
    assert fetched(registry, {"SSL_CERT_FILE": str(authority.root)}) == NOTE


def test_an_authority_without_key_identifiers_is_trusted(tmp_path: Path) -> None:
    """As Go has it, whatever the version of Python: from 3.13 on its own default context refuses such a certificate."""
    company = Authority(tmp_path / "company", has_key_identifiers=False)
    tls = company.server_context(company.server("server", "127.0.0.1"))
    with RecordingRegistry(tls=tls) as running:
        assert fetched(running, {"SSL_CERT_FILE": str(company.root)}) == NOTE


def test_ssl_cert_dir_counts_whatever_the_files_are_called(
    registry: EmbeddedRegistry, authority: Authority, tmp_path: Path
) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "README").write_text("no certificate")
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "company-root.pem").write_bytes(
        b"-----BEGIN CERTIFICATE-----\nbroken\n-----END CERTIFICATE-----\n" + authority.root.read_bytes()
    )
    assert fetched(registry, {"SSL_CERT_DIR": f"{tmp_path}/one:{tmp_path}/two"}) == NOTE


BROKEN = b"-----BEGIN CERTIFICATE-----\nMIIBbroken\n-----END CERTIFICATE-----\n"


def test_a_file_in_the_systems_directory_counts_whatever_it_is_called(
    registry: EmbeddedRegistry, authority: Authority, tmp_path: Path
) -> None:
    other = Authority(tmp_path / "other", "other root")
    (tmp_path / "certs").mkdir()
    (tmp_path / "certs" / "company.crt").write_bytes(authority.root.read_bytes())
    trust = TrustStore({}, (str(other.root),), (str(tmp_path / "certs"),), ())
    assert fetched(registry, {}, trust) == NOTE


@pytest.mark.parametrize("broken", [BROKEN, BROKEN[:40], BROKEN.replace(b"MIIBbroken", b"MA==")])
@pytest.mark.parametrize("first", [True, False])
def test_a_broken_certificate_takes_none_of_the_others_away(
    registry: EmbeddedRegistry, authority: Authority, tmp_path: Path, broken: bytes, first: bool
) -> None:
    bundle = tmp_path / "ca.pem"
    good = authority.root.read_bytes()
    bundle.write_bytes(broken + b"\n" + good if first else good + broken)
    environ = {"SSL_CERT_FILE": str(bundle)}
    assert fetched(registry, environ, TrustStore(environ, directories=(), host_directories=())) == NOTE


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_a_file_without_roots_is_an_error_only_where_there_are_no_others(
    registry: EmbeddedRegistry, authority: Authority, tmp_path: Path, content: bytes | None
) -> None:
    (tmp_path / "certs").mkdir()
    if content is not None:
        (tmp_path / "ca.pem").write_bytes(content)
    environ = {"SSL_CERT_FILE": str(tmp_path / "ca.pem"), "SSL_CERT_DIR": str(tmp_path / "certs")}
    message = failure(registry, environ).message
    assert "no CA certificate was found" in message
    assert all(value in message for value in environ.values())
    (tmp_path / "certs" / "company.crt").write_bytes(authority.root.read_bytes())
    assert fetched(registry, environ) == NOTE


def test_links_within_a_directory_of_roots_are_not_read_again(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certs = tmp_path / "certs"
    (certs / "..data").mkdir(parents=True)
    (certs / "..data" / "company.crt").write_bytes(authority.root.read_bytes())
    (certs / "company.crt").symlink_to("..data/company.crt")
    (certs / "0a1b2c3d.0").symlink_to("company.crt")
    opened: list[str] = []
    original = Path.open

    def recording(self: Path, *args: Any, **kwargs: Any) -> Any:
        opened.append(self.name)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(Path, "open", recording)
    context = TrustStore({"SSL_CERT_DIR": str(certs)}, bundles=(), host_directories=()).context("a.example")
    assert (opened, len(context.get_ca_certs())) == (["company.crt"], 1)


def test_a_certificate_that_openssl_marks_is_not_taken_for_a_root(
    registry: EmbeddedRegistry, authority: Authority, tmp_path: Path
) -> None:
    (tmp_path / "ca.pem").write_bytes(
        authority.root.read_bytes().replace(b" CERTIFICATE", b" TRUSTED CERTIFICATE")
    )
    environ = {"SSL_CERT_FILE": str(tmp_path / "ca.pem")}
    failure(registry, environ, TrustStore(environ, directories=(), host_directories=()))


def test_a_missing_ssl_cert_file_trusts_nobody_new(registry: EmbeddedRegistry, tmp_path: Path) -> None:
    failure(registry, {"SSL_CERT_FILE": str(tmp_path / "missing.pem")})


def test_the_systems_bundle_is_the_first_that_exists(
    registry: EmbeddedRegistry, authority: Authority, tmp_path: Path
) -> None:
    bundles = (str(tmp_path / "missing"), str(authority.root))
    trust = TrustStore({}, bundles=bundles, directories=(), host_directories=())
    assert fetched(registry, {}, trust) == NOTE


@pytest.mark.parametrize("suffix", [".config/containers/certs.d", "etc"])
def test_a_host_may_have_roots_of_its_own(
    registry: EmbeddedRegistry, authority: Authority, tmp_path: Path, suffix: str
) -> None:
    directory = tmp_path / suffix / registry.host
    directory.mkdir(parents=True)
    (directory / "ca.crt").write_bytes(authority.root.read_bytes())
    environ = {"HOME": str(tmp_path)}
    trust = TrustStore(environ, host_directories=(str(tmp_path / "etc"),))
    assert fetched(registry, environ, trust) == NOTE
    other = {"HOME": str(tmp_path / "elsewhere")}
    failure(registry, other, TrustStore(other, host_directories=()))


def test_the_roots_of_one_host_do_not_count_for_another(
    context: ssl.SSLContext, authority: Authority, tmp_path: Path
) -> None:
    with EmbeddedRegistry(tls=context) as first, EmbeddedRegistry(tls=context) as second:
        directory = tmp_path / first.host
        directory.mkdir()
        (directory / "ca.crt").write_bytes(authority.root.read_bytes())
        trust = TrustStore({}, host_directories=(str(tmp_path),))
        assert fetched(first, {}, trust) == NOTE
        failure(second, {}, trust)


def test_a_client_certificate_is_shown_to_the_host_it_is_for(authority: Authority, tmp_path: Path) -> None:
    pair = authority.server("mutual", "127.0.0.1")
    client = authority.client("client")
    with EmbeddedRegistry(tls=authority.server_context(pair, wants_client=True)) as registry:
        environ = {"SSL_CERT_FILE": str(authority.root)}
        with pytest.raises(RegistryError):
            fetched(registry, environ, TrustStore(environ, host_directories=()))
        directory = tmp_path / registry.host
        directory.mkdir()
        (directory / "client.cert").write_bytes(client.certificate.read_bytes())
        (directory / "client.key").write_bytes(client.key.read_bytes())
        assert fetched(registry, environ, TrustStore(environ, host_directories=(str(tmp_path),))) == NOTE


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"client.cert": b"x"}, "its key client.key is missing"),
        ({"client.cert": b"x", "client.key": b"x"}, "client certificate"),
        ({"ca.crt": b"no certificate"}, "a host's CA"),
    ],
)
def test_a_broken_host_directory_is_an_error_that_names_the_file(
    registry: EmbeddedRegistry, tmp_path: Path, files: dict[str, bytes], said: str
) -> None:
    directory = tmp_path / registry.host
    directory.mkdir()
    for name, content in files.items():
        (directory / name).write_bytes(content)
    assert said in failure(registry, {}, TrustStore({}, host_directories=(str(tmp_path),))).message


def test_a_home_that_may_not_be_searched_has_no_certificates_for_hosts(
    registry: EmbeddedRegistry, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = os.stat

    def closed(path: str | Path, **options: Any) -> os.stat_result:
        if str(path).startswith(str(tmp_path / "home")):
            raise PermissionError
        return original(path, **options)

    monkeypatch.setattr(os, "stat", closed)
    environ = {"SSL_CERT_FILE": str(authority.root), "HOME": str(tmp_path / "home")}
    assert fetched(registry, environ) == NOTE


@pytest.mark.parametrize(("hosts", "days"), [(("registry.example",), 30), (("127.0.0.1",), -1)])
def test_another_name_or_a_certificate_that_is_over_is_refused(
    authority: Authority, hosts: tuple[str, ...], days: int
) -> None:
    pair = authority.server("wrong", *hosts, days=days)
    with EmbeddedRegistry(tls=authority.server_context(pair)) as registry:
        failure(registry, {"SSL_CERT_FILE": str(authority.root)})


def test_a_registry_that_speaks_plain_http_is_recognized() -> None:
    with EmbeddedRegistry() as registry:
        assert "useHttp" in failure(registry, {}).message


def test_a_rotated_authority_is_noticed(
    registry: EmbeddedRegistry, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slsa_verifier_plugin.network.tls.RECHECK_SECONDS", 0.0)
    bundle = tmp_path / "ca.pem"
    bundle.write_bytes(Authority(tmp_path / "other", "other root").root.read_bytes())
    environ = {"SSL_CERT_FILE": str(bundle)}
    pushed = push(registry)
    with RegistryStore(StoreSettings(), None, environ) as store:
        with pytest.raises(RegistryError):
            store.referrers(pushed.image, Deadline(5))
        bundle.write_bytes(authority.root.read_bytes())
        assert store.referrers(pushed.image, Deadline(5))


def test_an_authority_that_is_replaced_within_one_tick_by_one_of_the_same_size_is_noticed(
    registry: EmbeddedRegistry, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slsa_verifier_plugin.network.tls.RECHECK_SECONDS", 0.0)
    bundle, fresh = tmp_path / "ca.pem", tmp_path / "fresh.pem"
    other = Authority(tmp_path / "other", "other root").root.read_bytes()
    for path, content in ((bundle, other), (fresh, authority.root.read_bytes())):
        path.write_bytes(content.ljust(4096, b"\n"))
        os.utime(path, (1, 1))
    pushed = push(registry)
    with RegistryStore(StoreSettings(), None, {"SSL_CERT_FILE": str(bundle)}) as store:
        with pytest.raises(RegistryError):
            store.referrers(pushed.image, Deadline(5))
        fresh.replace(bundle)
        assert store.referrers(pushed.image, Deadline(5))


def test_tokens_come_over_tls_too(context: ssl.SSLContext, authority: Authority) -> None:
    with TokenServer(anonymous=True, tls=context) as server, TokenRegistry(server, tls=context) as registry:
        assert fetched(registry, {"SSL_CERT_FILE": str(authority.root)}) == NOTE


def test_https_does_not_lead_to_plain_http(context: ssl.SSLContext, authority: Authority) -> None:
    with (
        EmbeddedRegistry() as plain,
        ToxicRegistry(toxins.redirect(f"{plain.url}/x"), "/blobs/", tls=context) as toxic,
    ):
        pushed = push(toxic)
        store = RegistryStore(StoreSettings(), None, {"SSL_CERT_FILE": str(authority.root)})
        with store, pytest.raises(RegistryError) as caught:
            store.blob(pushed.image, pushed.blob, len(NOTE), Deadline(5))
    assert "plain HTTP" in caught.value.message


def test_a_realm_in_plain_http_is_refused_by_a_registry_with_tls(
    context: ssl.SSLContext, authority: Authority
) -> None:
    with TokenServer(anonymous=True) as server, TokenRegistry(server, tls=context) as registry:
        with pytest.raises(RegistryError) as caught:
            fetched(registry, {"SSL_CERT_FILE": str(authority.root)})
        assert server.seen == []
    assert caught.value.reason is Reason.REGISTRY_CREDENTIALS


@pytest.mark.parametrize("toxin", [toxins.silent, toxins.dripping_body, toxins.dripping_headers])
def test_deadlines_hold_over_tls(context: ssl.SSLContext, authority: Authority, toxin: Toxin) -> None:
    with ToxicRegistry(toxin, "/blobs/", tls=context) as registry:
        pushed = push(registry)
        store = RegistryStore(StoreSettings(), None, {"SSL_CERT_FILE": str(authority.root)})
        with store, pytest.raises(DeadlineError):
            store.blob(pushed.image, pushed.blob, len(NOTE), Deadline(0.5))


def test_a_handshake_that_never_ends_ends_at_the_deadline() -> None:
    import socket

    from slsa_verifier_plugin.registry.reference import Reference

    with socket.create_server(("127.0.0.1", 0)) as listener:
        image = Reference.parse(f"127.0.0.1:{listener.getsockname()[1]}/app@sha256:" + "0" * 64)
        with RegistryStore(StoreSettings(), None, {}) as store, pytest.raises(DeadlineError):
            store.referrers(image, Deadline(0.4))


def test_connections_over_tls_are_kept(registry: RecordingRegistry, authority: Authority) -> None:
    pushed = push(registry)
    accepted = 0
    server = registry._server
    assert server is not None
    original = server.get_request

    def counting() -> object:
        nonlocal accepted
        accepted += 1
        return original()

    server.get_request = counting  # type: ignore[assignment,method-assign]
    with RegistryStore(StoreSettings(), None, {"SSL_CERT_FILE": str(authority.root)}) as store:
        for _ in range(5):
            store.referrers(pushed.image, Deadline(5))
    assert accepted == 1
