"""Many ``attach`` calls at once to a registry without the referrers API: none is lost. What was written is read back."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from slsa_verifier_plugin.checking import attach
from slsa_verifier_plugin.checking.status import Status
from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import RegistryError
from slsa_verifier_plugin.model.digest import Descriptor, Digest
from slsa_verifier_plugin.registry import push
from slsa_verifier_plugin.registry.push import Pusher
from slsa_verifier_plugin.registry.reference import Reference
from slsa_verifier_plugin.service.service import Service
from tests.support.attaching import attach_at_once
from tests.support.command_line import ARTIFACT_TYPE, LEVEL_3, cli
from tests.support.embedded_registry import EmbeddedRegistry
from tests.support.registry_handler import RegistryHandler

REPOSITORY = "team/app"
CALLS = 64


class Conditional(EmbeddedRegistry):
    """Sends entity tags for manifests; keeps to conditions where ``enforces``, as registry software with a database can."""

    enforces = True

    def __init__(self) -> None:
        super().__init__(referrers_api=False)
        self.refused = 0
        self._writing = threading.Lock()

    def intercept(self, handler: RegistryHandler) -> bool:
        tag = handler.path.rpartition("/manifests/")[2]
        if not tag.startswith("sha256-"):
            return False
        found = self.storage.manifest(REPOSITORY, tag)
        etag = f'"{found[0]}"' if found else ""
        if handler.command == "GET" and found is not None:
            handler.answer(200, found[1].content, found[1].media_type, {"ETag": etag})
            return True
        if handler.command != "PUT" or not self.enforces:
            return False
        content = handler.body()
        with self._writing:
            found = self.storage.manifest(REPOSITORY, tag)
            etag = f'"{found[0]}"' if found else ""
            asked = handler.headers.get("If-Match")
            fails = asked != etag if asked else handler.headers.get("If-None-Match") == "*" and etag
            if fails:
                self.refused += 1
            else:
                self.storage.put_manifest(REPOSITORY, content, handler.headers["Content-Type"], tag)
        handler.answer(412 if fails else 201)
        return True


class Forgetful(Conditional):
    """Sends entity tags and ignores conditions, as Distribution does."""

    enforces = False


@pytest.mark.parametrize(
    "make",
    [lambda: EmbeddedRegistry(referrers_api=False), Conditional, Forgetful],
    ids=["bare", "if-match", "ignores"],
)
def test_of_64_concurrent_calls_none_is_lost(make: Callable[[], EmbeddedRegistry]) -> None:
    with make() as registry:
        subject = registry.push_image(REPOSITORY, "v1")
        attached = attach_at_once(registry.host, REPOSITORY, subject, CALLS)
        image = Reference(registry.host, REPOSITORY, digest=subject.digest)
        store = Service({}).store({"name": "oras", "useHttp": True})
        listed = store.referrers(image, Deadline(20))
        assert len(set(attached)) == CALLS
        assert {item.digest for item in listed} == set(attached)
        assert {item.artifact_type for item in listed} == {ARTIFACT_TYPE}


class Losing(EmbeddedRegistry):
    """Takes what is pushed, and does not list it, or as another type."""

    lists: list[dict[str, object]] = []  # noqa: RUF012  (set by each test)

    def intercept(self, handler: RegistryHandler) -> bool:
        if "/referrers/" not in handler.path:
            return False
        body = {"schemaVersion": 2, "manifests": self.lists}
        handler.answer(200, json.dumps(body).encode(), "application/vnd.oci.image.index.v1+json")
        return True


@pytest.mark.parametrize("wrong_type", [False, True])
def test_what_the_registry_does_not_list_is_said(monkeypatch: pytest.MonkeyPatch, wrong_type: bool) -> None:
    monkeypatch.setattr(attach, "READ_BACK_SECONDS", 0.3)
    with Losing() as registry:
        subject = registry.push_image(REPOSITORY, "v1")
        name = Reference(registry.host, REPOSITORY, digest=subject.digest)
        artifact = attach.artifact_of(subject, LEVEL_3.read_bytes(), "x", ARTIFACT_TYPE, {})
        store = Service({}).store({"name": "oras", "useHttp": True})
        with Pusher(name, True, None, {}) as pusher:
            attached = attach.attach(pusher, subject, artifact, LEVEL_3.read_bytes())
        if wrong_type:
            registry.lists = [
                {"mediaType": attached.media_type, "digest": str(attached.digest), "size": attached.size}
            ]
        said = "lists it as" if wrong_type else "does not list it"
        with pytest.raises(RegistryError, match=said):
            attach.read_back(store, name, attached, Deadline(0.3))
        other = Descriptor(attached.media_type, Digest.of(b"x"), 1, ARTIFACT_TYPE)
        with pytest.raises(RegistryError):
            attach.read_back(store, name, other, Deadline(0.3))


def test_annotations_are_in_the_fallback_index(tmp_path: Path) -> None:
    """OCI distribution 1.1, "Pushing Manifests with Subject": the index repeats the manifest's annotations."""
    with EmbeddedRegistry(referrers_api=False) as registry:
        subject = registry.push_image(REPOSITORY, "v1")
        image = f"{registry.host}/{REPOSITORY}:v1"
        done = cli("attach", image, LEVEL_3, "--plain-http", "--annotation", "team=shop")
        assert done.status == Status.ADMITTED, done
        found = registry.storage.manifest(REPOSITORY, str(subject.digest).replace(":", "-"))
        assert found is not None
        (entry,) = found[1].fields["manifests"]
        assert entry["annotations"]["team"] == "shop"


class Trickling(EmbeddedRegistry):
    """Answers a byte at a time, or without end."""

    endless = False

    def intercept(self, handler: RegistryHandler) -> bool:
        handler.send_response(200)
        handler.end_headers()
        try:
            while True:
                handler.wfile.write(b"x" * 65536 if self.endless else b"x")
                if not self.endless:
                    time.sleep(0.05)
        except OSError:
            return True


@pytest.mark.parametrize("endless", [True, False])
def test_a_registry_that_never_ends_its_answer_holds_nobody(
    monkeypatch: pytest.MonkeyPatch, endless: bool
) -> None:
    monkeypatch.setattr(push, "PUSH_SECONDS", 1.0 if not endless else 60.0)
    monkeypatch.setattr(push, "ATTEMPTS", 1)
    with Trickling() as registry:
        registry.endless = endless
        name, started = Reference(registry.host, REPOSITORY), time.monotonic()
        with Pusher(name, True, None, {}) as pusher, pytest.raises(RegistryError):
            push.FallbackTag(pusher, "a").read()
        assert time.monotonic() - started < 30.0
