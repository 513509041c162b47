"""The provider under what happens to servers: files that change, replicas that die, registries that hang, a crowd."""

from __future__ import annotations

import http
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import yaml

from tests.e2e.cluster.conftest import Say
from tests.e2e.cluster.lab import SECOND_REGISTRY_HOST, Lab
from tests.e2e.cluster.load import PODS_PATH, Burst, burst, push_images

pytestmark = pytest.mark.through("provider")

IMAGES, PODS, AT_ONCE = 100, 1000, 50
_UNREACHED = ("connection refused", "EOF", "connection reset", "broken pipe", "server closed")
"""What Gatekeeper says of a replica that died while it was being asked."""


@pytest.fixture(scope="module")
def hundred(bare_lab: Lab, level_1: bytes, level_3: bytes) -> dict[str, bool]:
    """A hundred images, half of them to be admitted."""

    return push_images(bare_lab, level_1, level_3, IMAGES)


def _while_created(lab: Lab, expected: dict[str, bool], pods: int, act: Callable[[], None]) -> Burst:
    """Create Pods, eight at a time, and ``act`` again and again meanwhile."""
    results: list[Burst] = []
    creating = threading.Thread(target=lambda: results.append(burst(lab, expected, pods, 8)))
    creating.start()
    time.sleep(0.5)
    acted = 0
    while creating.is_alive():
        act()
        acted += 1
    assert acted >= 2, "too little happened while Pods were created"
    (result,) = results
    return result


def test_a_thousand_pods(lab: Lab, hundred: dict[str, bool], say: Say) -> None:
    """1,000 Pods of 100 images, 50 at a time: every decision right, none by timeout"""
    result = burst(lab, hundred, PODS, AT_ONCE)
    assert not result.wrong, result.wrong[:3]
    assert not result.late, result.late[:3]
    _, memory = lab.provider.usage()
    assert memory <= 150 << 20
    say(f"{result}; {memory >> 20} MiB")


def test_files_change_while_pods_are_created(lab: Lab, hundred: dict[str, bool], say: Say) -> None:
    """certificates, their authority and policies are exchanged while Pods are created: no wrong decision"""
    script = str(lab.manifests / "provider" / "certificates.sh")
    turns = {"certificate": 0, "authority": 0, "policy": 0}

    def act() -> None:
        kind = min(turns, key=lambda one: turns[one])
        if kind == "policy":

            def change(thing: dict[str, object]) -> None:
                if thing["kind"] == "Verifier":
                    thing["spec"]["parameters"]["timeout"] = f"{3 + turns[kind] % 2}s"  # type: ignore[index]

            lab.provider.take([_changed(thing, change) for thing in lab.kustomize("ratify/demo")])
        else:
            lab.kubectl.script(script, "--renew" if kind == "certificate" else "--renew-ca")
            lab.provider.refresh("tls")
        turns[kind] += 1

    try:
        # A quick machine has made its Pods before each kind had its turn.
        for _ in range(5):
            result = _while_created(lab, hundred, 600, act)
            assert not result.wrong, result.wrong[:3]
            if all(turns.values()):
                break
        assert all(turns.values()), f"not everything was exchanged while Pods were created: {turns}"
    finally:
        # The script has changed the Providers: what comes next applies them anew.
        lab.forget("provider/gatekeeper")
    say(f"{', '.join(f'{count} times the {kind}' for kind, count in turns.items())}; {result}")


def _changed(thing: dict[str, object], change: Callable[[dict[str, object]], None]) -> dict[str, object]:
    change(thing)
    return thing


def test_a_broken_policy_changes_nothing(lab: Lab, level_1: bytes, level_3: bytes, say: Say) -> None:
    """a policy file with a misspelt parameter, or that is no YAML, keeps the one before in force and says so"""
    wrong = {"a misspelt parameter": yaml.safe_dump_all(_misspelt(lab)), "no YAML": "kind: [", "nothing": ""}
    try:
        for what, text in wrong.items():
            lab.provider.put(text, "failed")
            denied, admitted = (lab.run(lab.image("kept", one)) for one in (level_1, level_3))
            assert not denied.admitted, what
            assert "SLSA_SOURCE_LEVEL_1" in denied.text
            assert admitted.admitted, f"{what}: {admitted.text}"
            assert 'slsa_provider_reload_failed{what="policies"} 1.0' in lab.provider.metrics()
    finally:
        lab.provider.take(lab.kustomize("ratify/demo"))
    log = lab.processes.log(lab.provider.process()).read_text()
    assert "expectedVerifiedLevels" in log, "the log names the parameter that was meant"
    assert 'slsa_provider_reload_failed{what="policies"} 0.0' in lab.provider.metrics()
    say(f"kept: {', '.join(wrong)}")


def _misspelt(lab: Lab) -> list[dict[str, object]]:
    objects = lab.kustomize("ratify/demo")
    for thing in objects:
        if thing["kind"] == "Verifier":
            parameters = thing["spec"]["parameters"]
            parameters["expectedVerifiedLevel"] = parameters.pop("expectedVerifiedLevels")
    return list(objects)


def test_a_replica_is_killed(lab: Lab, hundred: dict[str, bool], say: Say) -> None:
    """one of two replicas is killed while Pods are created: nothing bad is admitted, and soon everything good is again"""
    lab.provider.start(1)
    try:
        killed: list[float] = []

        def act() -> None:
            if not killed:
                lab.provider.kill(0)
                killed.append(time.monotonic())
            time.sleep(0.2)

        result = _while_created(lab, hundred, 400, act)
        lost = [one for one in result.wrong if not any(word in one for word in _UNREACHED)]
        assert not lost, lost[:3]
        assert len(result.wrong) <= 40, "only those that were being decided when it died"
        assert not lab.provider.is_alive()
        again = burst(lab, hundred, 100, 8)
        assert not again.wrong, again.wrong[:3]
    finally:
        lab.provider.start(0)
        lab.provider.kill(1)
    say(f"{len(result.wrong)} of 400 denied for the connection that broke; then {again}")


def test_a_replica_is_replaced(lab: Lab, hundred: dict[str, bool], say: Say) -> None:
    """both replicas are replaced one after the other while Pods are created, as in a rollout: no wrong decision"""
    lab.provider.start(1)
    try:
        replaced = []

        def replace() -> None:
            for replica in (0, 1):
                lab.provider.replace(replica)
                replaced.append(replica)

        replacing = threading.Thread(target=replace)
        replacing.start()
        results = []
        while replacing.is_alive():
            results.append(burst(lab, hundred, 100, 4))
        replacing.join()
    finally:
        if not lab.provider.is_alive():
            lab.provider.start(0)
        lab.provider.kill(1)
    assert replaced == [0, 1]
    wrong = [one for result in results for one in result.wrong]
    assert not wrong, wrong[:3]
    say(f"{sum(len(one.latencies) for one in results)} Pods meanwhile; {results[-1]}")


@contextmanager
def _hanging_registry() -> Iterator[str]:
    """Accept connections and answer nothing; yields host and port."""
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
        listener.settimeout(0.2)
        ended, taken = threading.Event(), []

        def take() -> None:
            while not ended.is_set():
                try:
                    taken.append(listener.accept()[0])
                except TimeoutError:
                    continue

        thread = threading.Thread(target=take)
        thread.start()
        try:
            yield f"{SECOND_REGISTRY_HOST}:{listener.getsockname()[1]}"
        finally:
            ended.set()
            thread.join()
            for connection in taken:
                connection.close()


def test_a_registry_hangs(lab: Lab, hundred: dict[str, bool], say: Say) -> None:
    """Pods of a registry that hangs are denied in time, saying so; those of others do not wait for them"""
    with _hanging_registry() as address:
        names = [f"{address}/app@sha256:{number:064x}" for number in range(20)]
        over = threading.Event()

        def run(image: str) -> list[str]:
            client, said = lab.plane.client(), []
            while not over.is_set():
                status, text = client.create(PODS_PATH, lab.pod(image))
                assert status != http.HTTPStatus.CREATED, image
                said.append(text)
            client.close()
            return said

        with ThreadPoolExecutor(len(names)) as pool:
            hanging = [pool.submit(run, image) for image in names]
            try:
                time.sleep(1.0)
                others = burst(lab, hundred, 200, 8)
            finally:
                over.set()
            denials = [text for one in hanging for text in one.result()]
    assert not others.wrong, others.wrong[:3]
    assert not others.late, others.late[:3]
    for text in denials:
        # Gatekeeper's own deadline would hide the reason
        assert "DEADLINE_EXCEEDED" in text, text
    say(f"{len(denials)} denied: {denials[0].partition('is not admitted: ')[2]}; others {others}")
