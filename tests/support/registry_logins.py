"""Credentials for registries of the tests, and a provider that hands them out."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import pytest

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import RegistryError
from slsa_verifier_plugin.registry.credentials import Credentials
from slsa_verifier_plugin.registry.reference import Reference
from slsa_verifier_plugin.registry.store import RegistryStore
from tests.support.content import NOTE, Pushed

ALICE = Credentials("alice", "correct horse")


USERS = {"alice": "correct horse"}


@dataclass
class Provider:
    """Hands out credentials in turn, the last of them again and again, and counts how often it was asked."""

    answers: list[Credentials | Exception | None]
    asked: int = 0
    pause: float = 0.0
    registries: list[str] = field(default_factory=list)

    def credentials(self, image: Reference, deadline: Deadline) -> Credentials | None:
        self.asked += 1
        self.registries.append(image.registry)
        time.sleep(self.pause)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def fetch(store: RegistryStore, pushed: Pushed, seconds: float = 5.0) -> bytes:
    return store.blob(pushed.image, pushed.blob, len(NOTE), Deadline(seconds))


def failure(store: RegistryStore, pushed: Pushed) -> RegistryError:
    with pytest.raises(RegistryError) as caught:
        fetch(store, pushed)
    return caught.value
