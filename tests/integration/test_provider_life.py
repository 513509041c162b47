"""The provider's life: what it refuses to start with, files that change under it, a flood, and its end."""

from __future__ import annotations

import shutil
import signal
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from slsa_verifier_plugin.checking.status import Status
from tests.support.certificates import Authority, Pair
from tests.support.command_line import LEVEL_1, LEVEL_3, TRUSTED_ROOT, cli, parameters, verifier, write_yaml
from tests.support.embedded_registry import EmbeddedRegistry
from tests.support.provider import (
    STORE,
    Running,
    is_closed,
    policy_resource,
    provider,
    said,
    store,
    wait_for,
)
from tests.support.provider_place import REPOSITORY, CountingRegistry, namespaced, push
from tests.support.registries import RecordingRegistry, Seen
from tests.support.registry_handler import RegistryHandler


def mounted(folder: Path, **files: Path) -> Path:
    """Put files where a kubelet puts a Secret's: links through ``..data``, which one rename turns to new ones."""
    folder.mkdir(exist_ok=True)
    version = folder / f"..{time.monotonic_ns()}"
    version.mkdir()
    for name, source in files.items():
        shutil.copy(source, version / name.replace("_", "."))
        link = folder / name.replace("_", ".")
        if not link.is_symlink():
            link.symlink_to(Path("..data") / link.name)
    part = folder / "..data_tmp"
    part.symlink_to(version.name)
    part.rename(folder / "..data")
    return folder


def shown_certificate(running: Running, authority: Authority) -> bytes:
    """Return the certificate that the server shows now."""
    context = ssl.create_default_context(cafile=str(authority.root))
    assert running.client is not None
    context.load_cert_chain(running.client.certificate, running.client.key)
    import socket

    with (
        socket.create_connection(running.place, timeout=20) as raw,
        context.wrap_socket(raw, server_hostname="127.0.0.1") as connection,
    ):
        shown = connection.getpeercert(binary_form=True)
    assert shown is not None
    return shown


@contextmanager
def with_mounts(tmp_path: Path, registry: EmbeddedRegistry) -> Iterator[tuple[Running, Path, Authority]]:
    """Run a provider whose certificates come from a mounted Secret."""
    authority = Authority(tmp_path / "first")
    own = authority.server("server", "127.0.0.1")
    mount = mounted(tmp_path / "tls", tls_crt=own.certificate, tls_key=own.key, ca_crt=authority.root)
    policies = write_yaml(tmp_path / "p.yaml", verifier(), STORE, policy_resource(slsla="any"))
    options = [
        "--tls-cert",
        mount / "tls.crt",
        "--tls-key",
        mount / "tls.key",
        "--client-ca",
        mount / "ca.crt",
    ]
    with provider(tmp_path, [policies], *map(str, options)) as running:
        running.authority, running.client = authority, authority.client("gatekeeper")
        yield running, mount, authority


def pair_of(mount: Path) -> Pair:
    return Pair(mount / "tls.crt", mount / "tls.key")


def test_certificates_of_a_mounted_secret_are_renewed_and_open_connections_stay(tmp_path: Path) -> None:
    with EmbeddedRegistry() as registry, with_mounts(tmp_path, registry) as (running, mount, authority):
        image = push(registry, "level-3", LEVEL_3)
        before = shown_certificate(running, authority)
        with running.connection() as connection:
            assert said(running.ask_on(connection, [image]).items[0]) == "admitted"
            other = authority.server("renewed", "127.0.0.1", days=60)
            mounted(mount, tls_crt=other.certificate, tls_key=other.key, ca_crt=authority.root)
            wait_for(lambda: shown_certificate(running, authority) != before)
            assert said(running.ask_on(connection, [image]).items[0]) == "admitted"
        assert said(running.ask(image).items[0]) == "admitted"
        # Lines gather a moment before they are written.
        wait_for(lambda: bool(running.events("reload")))
        assert running.events("reload")[-1]["outcome"] == "done"


def test_another_client_authority_counts_and_the_one_before_no_more(tmp_path: Path) -> None:
    with EmbeddedRegistry() as registry, with_mounts(tmp_path, registry) as (running, mount, authority):
        image = push(registry, "level-3", LEVEL_3)
        other = Authority(tmp_path / "second", "another root")
        new = other.client("gatekeeper")
        own = authority.server("server-2", "127.0.0.1")
        # A connection that is kept alive has shown its certificate once and for all: it ends with its authority.
        with running.connection() as old:
            assert said(running.ask_on(old, [image]).items[0]) == "admitted"
            mounted(mount, tls_crt=own.certificate, tls_key=own.key, ca_crt=other.root)
            assert is_closed(old.sock, 30)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            running.ask(image)
        with running.connection(new) as connection:
            assert said(running.ask_on(connection, [image]).items[0]) == "admitted"


def test_a_broken_certificate_changes_nothing_and_is_told(tmp_path: Path) -> None:
    with EmbeddedRegistry() as registry, with_mounts(tmp_path, registry) as (running, mount, authority):
        image = push(registry, "level-3", LEVEL_3)
        before = shown_certificate(running, authority)
        other = authority.server("other", "127.0.0.1")
        ended = authority.server("ended", "127.0.0.1", days=-1)
        late = Authority(tmp_path / "late", "late root", days=-1)
        nothing = tmp_path / "nothing"
        nothing.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        keys = pair_of(mount).key.resolve()
        for number, broken in enumerate(
            (
                {"tls_crt": other.certificate, "tls_key": keys, "ca_crt": authority.root},
                {"tls_crt": nothing, "tls_key": other.key, "ca_crt": authority.root},
                {"tls_crt": other.certificate, "tls_key": other.key, "ca_crt": nothing},
                # What has ended: no client would connect, or none would be accepted.
                {"tls_crt": ended.certificate, "tls_key": ended.key, "ca_crt": authority.root},
                {"tls_crt": other.certificate, "tls_key": other.key, "ca_crt": late.root},
                # A server's certificate is no authority: with it no client would ever be accepted.
                {"tls_crt": other.certificate, "tls_key": other.key, "ca_crt": other.certificate},
            ),
            1,
        ):
            mounted(mount, **broken)
            wait_for(lambda number=number: len(running.events("reload")) == number)
            assert running.events("reload")[-1]["outcome"] == "failed"
            assert shown_certificate(running, authority) == before
            assert running.metric('slsa_provider_reload_failed{what="tls"') == 1
            assert running.get("/readyz")[0] == 200
            assert said(running.ask(image).items[0]) == "admitted"
        mounted(mount, tls_crt=other.certificate, tls_key=other.key, ca_crt=authority.root)
        wait_for(lambda: running.metric('slsa_provider_reload_failed{what="tls"') == 0)
        assert shown_certificate(running, authority) != before
        assert "PRIVATE" not in running.log.read_text()


def test_policies_are_read_anew_and_what_was_kept_no_longer_counts(tmp_path: Path) -> None:
    folder = tmp_path / "policies"
    folder.mkdir()
    write_yaml(folder / "a.yaml", verifier())
    write_yaml(folder / "b.yaml", store(cacheEnabled=True, ttl=60), policy_resource(slsla="any"))
    with EmbeddedRegistry() as registry, provider(tmp_path, [folder]) as running:
        image = push(registry, "level-1", LEVEL_1)
        assert said(running.ask(image).items[0]) == "denied LEVEL_TOO_LOW"

        def now(level: int, outcome: str) -> None:
            write_yaml(folder / "a.yaml", verifier(spec={"parameters": parameters(level=level)}))
            wait_for(lambda: said(running.ask(image).items[0]) == outcome)

        now(1, "admitted")
        now(2, "denied LEVEL_TOO_LOW")
        now(1, "admitted")
        # A file that joins the folder counts too: a second Verifier for the type is one too many, and changes nothing.
        write_yaml(folder / "c.yaml", verifier(name="another"))
        wait_for(lambda: running.metric('slsa_provider_reload_failed{what="policies"') == 1)
        assert said(running.ask(image).items[0]) == "admitted"
        (folder / "c.yaml").unlink()
        wait_for(lambda: running.metric('slsa_provider_reload_failed{what="policies"') == 0)
        for broken in ("{", "kind: Verifier", "", "a: &a [*a]"):
            count = len(running.events("reload"))
            (folder / "a.yaml").write_text(broken)
            # The event of the file that is gone may still be on its way: it is set down after the metric.
            wait_for(
                lambda count=count: (
                    "failed" in [event["outcome"] for event in running.events("reload")[count:]]
                )
            )
            assert said(running.ask(image).items[0]) == "admitted"
            assert running.get("/readyz")[0] == 200
        now(3, "denied LEVEL_TOO_LOW")


def test_a_trusted_root_that_cannot_be_used_keeps_it_from_being_ready(tmp_path: Path) -> None:
    root = tmp_path / "trusted_root.json"
    root.write_bytes(TRUSTED_ROOT.read_bytes())
    own = verifier(spec={"parameters": parameters(trustedRoot={"path": str(root)})})
    policies = write_yaml(tmp_path / "p.yaml", own, store(cacheEnabled=False))
    with EmbeddedRegistry() as registry, provider(tmp_path, [policies]) as running:
        image = push(registry, "level-3", LEVEL_3)
        assert running.get("/readyz")[0] == 200
        assert said(running.ask(image).items[0]) == "admitted"
        root.write_text("{}")
        status, words = running.get("/readyz")
        assert (status, "trusted root" in words) == (503, True)
        assert said(running.ask(image).items[0]) == "denied TRUST_ROOT_UNAVAILABLE"
        assert running.get("/healthz")[0] == 200
        root.write_bytes(TRUSTED_ROOT.read_bytes())
        assert running.get("/readyz")[0] == 200
        assert said(running.ask(image).items[0]) == "admitted"


class HangingRegistry(RecordingRegistry):
    """Answers nothing about the images of one repository until told to."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = threading.Event()

    def respond(self, handler: RegistryHandler, seen: Seen) -> bool:
        if "/hangs/" in seen.path:
            self.go_on.wait(60)
        return False

    def close(self) -> None:
        self.go_on.set()
        super().close()


def test_a_registry_that_hangs_holds_up_neither_seen_images_nor_other_registries(tmp_path: Path) -> None:
    policies = write_yaml(
        tmp_path / "p.yaml", verifier(), store(cacheEnabled=False), policy_resource(slsla="any")
    )
    with (
        HangingRegistry() as hanging,
        EmbeddedRegistry() as other,
        provider(tmp_path, [policies], "--timeout", "10s") as running,
    ):
        seen = push(hanging, "level-3", LEVEL_3)
        new = push(other, "level-3", LEVEL_3)
        assert said(running.ask(seen).items[0]) == "admitted"
        stuck: list[str] = []
        digest = seen.partition("@")[2]

        def flood() -> None:
            keys = [f"{hanging.host}/hangs/app{number}@{digest}" for number in range(250)]
            stuck.extend(said(item) for item in running.ask(*keys).items)

        flooding = threading.Thread(target=flood)
        flooding.start()
        wait_for(lambda: sum("/hangs/" in path for path in hanging.paths()) >= 96)
        # Nothing is kept, so both are looked at again, in the middle of it.
        assert said(running.ask(seen).items[0]) == "admitted"
        assert said(running.ask(new).items[0]) == "admitted"
        assert not stuck
        flooding.join()
        # None of the 250 was left out, and none was let in.
        assert len(stuck) == 250
        assert {one.split(":")[0] for one in stuck} <= {
            "error DEADLINE_EXCEEDED",
            "error REGISTRY_UNREACHABLE",
        }


def test_sigterm_answers_what_has_begun_and_then_ends(tmp_path: Path) -> None:
    policies = write_yaml(
        tmp_path / "p.yaml", verifier(), store(cacheEnabled=False), policy_resource(slsla="any")
    )
    with (
        CountingRegistry() as registry,
        provider(tmp_path, [policies], "--timeout", "20s", "--drain", "3s") as running,
    ):
        image = push(registry, "level-3", LEVEL_3)
        registry.open.clear()
        found: list[Any] = []
        asking = threading.Thread(target=lambda: found.append(running.ask(image)))
        asking.start()
        wait_for(lambda: registry.lists == 1)
        running.process.send_signal(signal.SIGTERM)
        wait_for(lambda: running.get("/readyz") == (503, "stopping\n"))
        # Services still send requests here for a while: they are answered, and told to go elsewhere next.
        reply = running.ask("..")
        assert (reply.status, reply.headers["connection"]) == (200, "close")
        registry.open.set()
        asking.join()
        assert said(found[0].items[0]) == "admitted"
        assert running.process.wait(30) == 0
        with pytest.raises(OSError, match="refused"):
            running.ask(image)
        assert running.events("stopped")


def test_ctrl_c_does_not_wait(tmp_path: Path) -> None:
    policies = write_yaml(tmp_path / "p.yaml", verifier(), STORE)
    with provider(tmp_path, [policies], "--drain", "300s") as running:
        assert running.stop(signal.SIGINT) == 0


def test_no_certificates_are_demanded_on_loopback_where_none_are_asked_for(tmp_path: Path) -> None:
    policies = write_yaml(tmp_path / "p.yaml", verifier(), STORE)
    with EmbeddedRegistry() as registry, provider(tmp_path, [policies], client_ca=False) as running:
        assert said(running.ask(push(registry, "level-3", LEVEL_3)).items[0]) == "admitted"


@pytest.fixture
def pki(tmp_path: Path) -> tuple[Pair, Path]:
    authority = Authority(tmp_path / "pki")
    return authority.server("server", "127.0.0.1"), authority.root


REGO = {
    **policy_resource(slsla="any"),
    "spec": {"type": "rego-policy", "parameters": {"policy": "package x"}},
}


@pytest.mark.parametrize(
    ("documents", "says"),
    [
        ([], "is empty"),
        ([STORE], "no Verifier of type"),
        ([verifier(), verifier(name="another")], "are for the same artifacts"),
        ([verifier(), STORE, STORE], "a second Store"),
        ([verifier(), policy_resource(slsla="any"), policy_resource(slsla="all")], "a second Policy"),
        ([verifier(), policy_resource(slsla="most")], "expected any or all"),
        ([verifier(), REGO], "in Rego cannot be evaluated"),
        (
            [verifier(), namespaced("NamespacedVerifier", "team-a", verifier())],
            "only 'serve --namespaced' is told; expected a Verifier",
        ),
        ([verifier(spec={"parameters": {"expectedVerifiedLevels": "?"}})], "the parameters are not valid"),
        ([verifier(), store(useHttp="yes")], "storeConfig.store.useHttp"),
    ],
    ids=[
        "empty",
        "no-verifier",
        "two",
        "stores",
        "policies",
        "rule",
        "rego",
        "namespaced",
        "parameters",
        "store",
    ],
)
def test_policies_that_say_nothing_clear_end_it_at_the_start(
    tmp_path: Path, pki: tuple[Pair, Path], documents: list[Any], says: str
) -> None:
    policies = write_yaml(tmp_path / "p.yaml", *documents)
    server, root = pki
    tls = ["--tls-cert", server.certificate, "--tls-key", server.key, "--client-ca", root]
    done = cli("serve", "--policy", policies, *map(str, tls), environ={"HOME": str(tmp_path)})
    assert done.status == Status.USAGE
    assert says in done.err
    assert done.err.count("\n") == 1


def test_options_that_would_open_it_to_everybody_end_it_at_the_start(
    tmp_path: Path, pki: tuple[Pair, Path]
) -> None:
    policies = write_yaml(tmp_path / "p.yaml", verifier(), STORE)
    server, root = pki
    other = Authority(tmp_path / "other").server("other", "127.0.0.1")
    usual: dict[str, Any] = {"tls-cert": server.certificate, "tls-key": server.key, "client-ca": root}
    missing = tmp_path / "missing"
    for changes, says in (
        ({"client-ca": None, "listen": "0.0.0.0:0"}, "anybody there may ask"),
        ({"client-ca": None, "listen": "[::]:0"}, "anybody there may ask"),
        ({"client-ca": None, "listen": "host.example:1"}, "anybody there may ask"),
        ({"listen": "6001"}, "expected ADDRESS:PORT"),
        ({"listen": "127.0.0.1:99999"}, "expected ADDRESS:PORT"),
        ({"listen": "192.0.2.1:0"}, "cannot be listened on"),
        ({"health-listen": "::1:80"}, "expected ADDRESS:PORT"),
        ({"tls-key": other.key}, "no certificate and its key"),
        ({"tls-cert": missing}, "cannot be read"),
        ({"client-ca": server.certificate}, "no certificate of an authority"),
        ({"policy": missing}, "cannot be read"),
        ({"policy": tmp_path / "pki"}, "has no file that ends with"),
        ({"timeout": "soon"}, "--timeout"),
        ({"drain": "-1s"}, "--drain"),
    ):
        options = {"policy": policies, **usual, **changes}
        arguments = [f"--{key}={value}" for key, value in options.items() if value]
        done = cli("serve", *arguments, environ={"HOME": str(tmp_path), "SLSA_VERIFIER_REFRESH_HOURS": "0"})
        assert done.status == Status.USAGE, changes
        assert says in done.err, (changes, done.err)
    assert REPOSITORY
