"""Attaches many attestations to one image at once, each as ``attach`` does."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from slsa_verifier_plugin.checking import attach
from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.model.digest import Descriptor, Digest
from slsa_verifier_plugin.registry.push import Pusher
from slsa_verifier_plugin.registry.reference import Reference
from slsa_verifier_plugin.service.service import Service
from tests.support.command_line import ARTIFACT_TYPE, LEVEL_3


def attach_at_once(host: str, repository: str, subject: Descriptor, count: int) -> list[Digest]:
    """Attach ``count`` artifacts that differ in an annotation, all at the same moment; return their digests."""
    content, image = LEVEL_3.read_bytes(), Reference(host, repository, digest=subject.digest)
    together = threading.Barrier(count)

    def one(number: int) -> Digest:
        artifact = attach.artifact_of(subject, content, "x.jsonl", ARTIFACT_TYPE, {"number": str(number)})
        with Pusher(image, True, None, {}) as pusher:
            together.wait(60)
            attached = attach.attach(pusher, subject, artifact, content)
        store = Service({}).store({"name": "oras", "useHttp": True})
        attach.read_back(store, image, attached, Deadline(attach.READ_BACK_SECONDS))
        return attached.digest

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))
