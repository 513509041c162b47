"""Real servers: Debian's docker-registry in four configurations, and two registries with the referrers API.

The programs are those that the end-to-end tests build; where they have not been built, these tests are skipped, and
`make e2e` runs them again.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import Reason, RegistryError
from slsa_verifier_plugin.registry.credentials.select import provider_for
from slsa_verifier_plugin.registry.probe.probe import Probe
from slsa_verifier_plugin.registry.reference import Reference
from slsa_verifier_plugin.registry.settings import StoreSettings
from slsa_verifier_plugin.registry.store import RegistryStore
from tests.e2e.peers import cache_root
from tests.support.certificates import Authority
from tests.support.content import ARTIFACT_TYPE, NOTE, Pushed, push
from tests.support.embedded_registry import EmbeddedRegistry
from tests.support.jwt import ISSUER, SERVICE, JwtServer

HTTP = StoreSettings(use_http=True)
USERS = {"alice": "correct horse"}
HTPASSWD = "alice:$2b$05$abcdefghijklmnopqrstuuHNbAKRhpaujgo33bRWs.NLUTJO3lOy2\n"
"""The same password, as bcrypt."""


def built(name: str) -> str:
    """Return a program of the end-to-end tests, or skip the test."""
    places = sorted(cache_root().glob(f"{name}-*/{name}")) + sorted(
        cache_root().glob(f"{name}-*/usr/bin/{name}")
    )
    if not places:
        pytest.skip(f"{name} has not been built (make e2e)")
    return str(places[-1])


@dataclass(frozen=True)
class Served:
    """A real registry, and what was pushed to it."""

    pushed: Pushed
    host: str


@contextlib.contextmanager
def docker_registry(folder: Path, environ: Mapping[str, str]) -> Iterator[str]:
    """Run docker-registry on a free port with its storage in ``folder``; yield its host."""
    program = built("docker-registry")
    config = folder / "config.yml"
    config.write_text(
        "version: 0.1\nlog: {accesslog: {disabled: true}}\n"
        f"storage: {{filesystem: {{rootdirectory: {folder / 'storage'}}}}}\nhttp: {{addr: '127.0.0.1:0'}}\n"
    )
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [program, "serve", config], stdout=output, stderr=output, env={**environ, "PATH": os.defpath}
        )
    try:
        for _ in range(200):
            found = re.search(r"listening on (127\.0\.0\.1:\d+)", log.read_text())
            if found:
                break
            assert process.poll() is None, log.read_text()
            time.sleep(0.05)
        assert found, log.read_text()
        yield found[1]
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def in_memory(name: str) -> Iterator[str]:
    """Run one of the Go registries, which print their address and end with their standard input."""
    process = subprocess.Popen(
        [built(name)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdin
    assert process.stdout
    try:
        yield process.stdout.readline().decode().strip()
    finally:
        process.stdin.close()
        process.stdout.close()
        process.kill()
        process.wait()


def copied(host: str, *, referrers_api: bool = False, content: bytes = NOTE) -> Served:
    """Push an image with an attestation to a real registry, the fallback tag too where it has no API."""
    with EmbeddedRegistry(referrers_api=referrers_api) as source:
        pushed = push(source, content=content)
        repository = source.storage._get("team/app")
    connection = http.client.HTTPConnection(host, timeout=10)
    for digest, content in repository.blobs.items():
        connection.request("POST", "/v2/team/app/blobs/uploads/")
        begun = connection.getresponse()
        begun.read()
        location = str(begun.getheader("Location")).removeprefix(f"http://{host}")
        mark = "&" if "?" in location else "?"
        connection.request("PUT", f"{location}{mark}digest={digest}", content)
        _accepted(connection)
    for digest, manifest in repository.manifests.items():
        names = [tag for tag, own in repository.tags.items() if own == digest] or [digest]
        for name in names:
            headers = {"Content-Type": manifest.media_type}
            connection.request("PUT", f"/v2/team/app/manifests/{name}", manifest.content, headers)
            _accepted(connection)
    connection.close()
    image = Reference.parse(f"{host}/team/app@{pushed.image.digest}")
    return Served(Pushed(image, pushed.artifact, pushed.blob, content), host)


def _accepted(connection: http.client.HTTPConnection) -> None:
    answer = connection.getresponse()
    body = answer.read()
    assert answer.status == 201, body


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in whose storage docker-registry has the image."""
    folder = tmp_path_factory.mktemp("docker-registry")
    with docker_registry(folder, {}) as host:
        copied(host)
    return folder


def moved(host: str, storage: Path) -> Pushed:
    """Return the image as it is on another docker-registry with the same storage."""
    with EmbeddedRegistry(referrers_api=False) as source:
        pushed = push(source)
    image = Reference.parse(f"{host}/team/app@{pushed.image.digest}")
    return Pushed(image, pushed.artifact, pushed.blob, NOTE)


def docker_config(folder: Path, host: str, password: str) -> dict[str, str]:
    auth = base64.b64encode(f"alice:{password}".encode()).decode()
    (folder / "config.json").write_text(json.dumps({"auths": {host: {"auth": auth}}}))
    return {"DOCKER_CONFIG": str(folder)}


def check(settings: StoreSettings, environ: dict[str, str], pushed: Pushed) -> None:
    """Fetch everything, and let the probe pass."""
    with RegistryStore(settings, provider_for(None, environ), environ) as store:
        found = store.matching_referrers(pushed.image, ARTIFACT_TYPE, Deadline(10))
        assert [item.digest for item in found] == [pushed.artifact.digest]
        assert store.manifest(pushed.image, found[0], Deadline(10))
        assert store.blob(pushed.image, pushed.blob, len(NOTE), Deadline(10)) == NOTE
        assert store.resolve(pushed.image, Deadline(10)).digest == pushed.image.digest
        assert "1" in store.tags(pushed.image, Deadline(10))
    steps = list(Probe(pushed.image, settings, environ, Deadline(20)).steps())
    assert [step.outcome for step in steps] == ["passed"] * 8, steps


def refusal(settings: StoreSettings, environ: dict[str, str], pushed: Pushed) -> RegistryError:
    with (
        RegistryStore(settings, provider_for(None, environ), environ) as store,
        pytest.raises(RegistryError) as caught,
    ):
        store.referrers(pushed.image, Deadline(10))
    return caught.value


@pytest.mark.server("docker-registry, fallback tag")
def test_docker_registry_without_the_referrers_api(storage: Path) -> None:
    with docker_registry(storage, {}) as host:
        check(HTTP, {}, moved(host, storage))


@pytest.mark.server("docker-registry, htpasswd (dockerConfig)")
def test_docker_registry_with_htpasswd(storage: Path, tmp_path: Path) -> None:
    (tmp_path / "htpasswd").write_text(HTPASSWD)
    environ = {
        "REGISTRY_AUTH": "htpasswd",
        "REGISTRY_AUTH_HTPASSWD_REALM": "test",
        "REGISTRY_AUTH_HTPASSWD_PATH": str(tmp_path / "htpasswd"),
    }
    with docker_registry(storage, environ) as host:
        pushed = moved(host, storage)
        check(HTTP, docker_config(tmp_path, host, USERS["alice"]), pushed)
        wrong = docker_config(tmp_path, host, "planted-wrong-password")
        for unknown in (wrong, {}):
            error = refusal(HTTP, unknown, pushed)
            assert error.reason is Reason.REGISTRY_UNAUTHORIZED
            assert "planted" not in error.message


@pytest.mark.server("docker-registry, token server (dockerConfig)")
def test_docker_registry_with_tokens(storage: Path, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    with JwtServer(authority.client("signer"), USERS) as server:
        environ = {
            "REGISTRY_AUTH": "token",
            "REGISTRY_AUTH_TOKEN_REALM": server.realm,
            "REGISTRY_AUTH_TOKEN_SERVICE": SERVICE,
            "REGISTRY_AUTH_TOKEN_ISSUER": ISSUER,
            "REGISTRY_AUTH_TOKEN_ROOTCERTBUNDLE": str(authority.root),
        }
        with docker_registry(storage, environ) as host:
            pushed = moved(host, storage)
            check(HTTP, docker_config(tmp_path, host, USERS["alice"]), pushed)
            assert all(seen.query["scope"] == ["repository:team/app:pull"] for seen in server.seen)
            wrong = docker_config(tmp_path, host, "planted-wrong-password")
            error = refusal(HTTP, wrong, pushed)
    assert error.reason is Reason.REGISTRY_UNAUTHORIZED
    assert "planted" not in error.message


@pytest.mark.server("docker-registry, TLS by a CA of the tests")
def test_docker_registry_with_tls(storage: Path, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    pair = authority.server("docker", "127.0.0.1")
    environ = {
        "REGISTRY_HTTP_TLS_CERTIFICATE": str(pair.certificate),
        "REGISTRY_HTTP_TLS_KEY": str(pair.key),
    }
    with docker_registry(storage, environ) as host:
        pushed = moved(host, storage)
        check(StoreSettings(), {"SSL_CERT_FILE": str(authority.root)}, pushed)
        assert refusal(StoreSettings(), {}, pushed).reason is Reason.REGISTRY_TLS
        assert "HTTP 400" in refusal(HTTP, {}, pushed).message


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("ociregistry", marks=pytest.mark.server("ociregistry, referrers API")),
        pytest.param("ggcr", marks=pytest.mark.server("go-containerregistry, wrong artifactType")),
    ],
)
def test_registries_with_the_referrers_api(name: str) -> None:
    with in_memory(name) as host:
        served = copied(host, referrers_api=True)
        with RegistryStore(HTTP, None, {}) as store:
            reported = store.referrers(served.pushed.image, Deadline(10))[0].artifact_type
        assert (reported == ARTIFACT_TYPE) == (name == "ociregistry"), (
            "go-containerregistry reports the config's"
        )
        check(HTTP, {}, served.pushed)


@pytest.mark.server("embedded registry, pushed to by oras")
def test_oras_pushes_to_the_embedded_registry(tmp_path: Path) -> None:
    program = built("oras")
    (tmp_path / "note.jsonl").write_bytes(NOTE)
    environ = {"HOME": str(tmp_path), "PATH": os.defpath}
    for api in (True, False):
        with EmbeddedRegistry(referrers_api=api) as registry:
            image = registry.push_image("team/app", "1")
            target = f"{registry.host}/team/app@{image.digest}"
            command = [
                program,
                "attach",
                "--plain-http",
                "--artifact-type",
                ARTIFACT_TYPE,
                target,
                "note.jsonl",
            ]
            done = subprocess.run(
                command, check=False, cwd=tmp_path, env=environ, capture_output=True, timeout=30
            )
            assert done.returncode == 0, done.stderr.decode()
            with RegistryStore(HTTP, None, {}) as store:
                found = store.matching_referrers(Reference.parse(target), ARTIFACT_TYPE, Deadline(10))
                assert len(found) == 1
                manifest = json.loads(store.manifest(Reference.parse(target), found[0], Deadline(10)))
            assert manifest["layers"][0]["size"] == len(NOTE)


@pytest.mark.server("embedded registry, copied by crane")
def test_crane_copies_from_the_embedded_registry(tmp_path: Path) -> None:
    program = built("crane")
    environ = {"HOME": str(tmp_path), "PATH": os.defpath}
    with EmbeddedRegistry() as first, EmbeddedRegistry() as second:
        image = first.push_image("team/app", "1")
        command = [program, "copy", "--insecure", f"{first.host}/team/app:1", f"{second.host}/copy/app:2"]
        done = subprocess.run(command, check=False, env=environ, capture_output=True, timeout=30)
        assert done.returncode == 0, done.stderr.decode()
        assert second.storage.manifest("copy/app", "2") == first.storage.manifest(
            "team/app", str(image.digest)
        )
