"""What holds for the credential provider of every cloud: exchanges shared, renewed, ended in time, and nothing shown."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import DeadlineError, Reason, RegistryError
from slsa_verifier_plugin.registry.auth import leases
from slsa_verifier_plugin.registry.credentials import CredentialProvider, Credentials
from tests.support.cloud_scenes import SCENES, CloudScene, nothing_shown
from tests.support.clouds import Response, TestCa, eventually, everything_about, pieces_of

pytestmark = pytest.mark.server("every cloud's provider: what all of them must do")


@pytest.fixture(params=SCENES)
def scene(
    request: pytest.FixtureRequest, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> Iterator[CloudScene]:
    with SCENES[request.param](tmp_path) as made, nothing_shown(made.secrets, capfd):
        yield made


def password_of(scene: CloudScene, provider: CredentialProvider, seconds: float = 20.0) -> str:
    found = provider.credentials(scene.image, Deadline(seconds))
    assert found is not None
    assert not pieces_of(scene.secrets, repr(found))
    return found.password


def failure(scene: CloudScene) -> RegistryError:
    with pytest.raises(RegistryError) as caught:
        scene.make().credentials(scene.image, Deadline(60))
    assert caught.value.reason is Reason.REGISTRY_CREDENTIALS
    assert scene.name in caught.value.message
    assert not pieces_of(scene.secrets, everything_about(caught.value))
    return caught.value


def test_many_threads_make_one_exchange(scene: CloudScene) -> None:
    scene.fake.delay = 0.2
    provider = scene.make()
    found: list[Credentials | None] = []
    threads = [
        threading.Thread(target=lambda: found.append(provider.credentials(scene.image, Deadline(60))))
        for _ in range(32)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [item.password for item in found if item] == [scene.password] * 32
    assert len(scene.fake.calls) == 2, "one for each of the two steps"


def test_a_password_about_to_end_is_renewed_while_it_is_used(
    scene: CloudScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "RETRY_SECONDS", 0.0)
    provider = scene.make()
    if scene.name != "k8Secrets":
        scene.hurry()
    assert password_of(scene, provider) == scene.password
    if scene.name == "k8Secrets":
        # Nothing there ends; what is older than a minute is read again.
        scene.hurry()
    scene.change("planted-second-password-of-this-cloud")
    scene.fake.delay = 0.3
    assert password_of(scene, provider) == scene.password, "nobody waits for a renewal"
    assert eventually(lambda: password_of(scene, provider) == "planted-second-password-of-this-cloud")


def each_host(scene: CloudScene) -> Iterator[tuple[int, str]]:
    """Yield the servers of one exchange, the last first: a failure before it would hide what it does."""
    yield from reversed(list(enumerate(scene.hosts)))


@pytest.mark.parametrize("trickle", [False, True], ids=["silent", "trickling"])
def test_every_server_that_does_not_end_is_left_at_the_deadline(scene: CloudScene, trickle: bool) -> None:
    scene.make().credentials(scene.image, Deadline(60))  # so that the SDK's import is not what takes the time
    looked_at = 0
    for _, host in each_host(scene):
        server = scene.answer(host, lambda _: Response(200, b" " * 5000, trickle=0.05))
        if not trickle:
            server.answering = server.hang
        begun = time.monotonic()
        with pytest.raises(DeadlineError):
            scene.make().credentials(scene.image, Deadline(0.7))
        assert time.monotonic() - begun < 60, "the peer's limit is 250 s"
        looked_at += 1
    assert looked_at == len(scene.hosts) >= 1


def test_certificates_of_another_ca_are_refused(scene: CloudScene, tmp_path: Path) -> None:
    other = TestCa(tmp_path, "another CA")
    asked = [
        (number, host)
        for number, host in each_host(scene)
        if host in getattr(scene.cloud, "proxy", scene).hosts
    ]
    if scene.cloud is None:
        # The cluster's own CA is a file; whatever else is trusted does not count.
        (tmp_path / "serviceaccount" / "ca.crt").write_bytes(other.file.read_bytes())
        scene.environ["SSL_CERT_FILE"] = str(tmp_path / "test-CA.pem")
    for number, host in asked:
        if scene.cloud is not None:
            scene.answer(host, scene.hosts[host], ca=other)
        scene.fake.calls.clear()
        error = failure(scene)
        assert f"the certificate of https://{host}" in error.message
        assert not error.transient
        assert len(scene.fake.calls) == number, "nothing was sent to it"
    assert asked


def test_a_missing_extra_is_named(scene: CloudScene, monkeypatch: pytest.MonkeyPatch) -> None:
    if not scene.extra:
        assert scene.name in ("k8Secrets", "azureWorkloadIdentity"), "the only ones that need no library"
        return
    monkeypatch.setitem(sys.modules, scene.module, None)
    assert f"slsa-verifier-plugin[{scene.extra}]" in failure(scene).message
