"""Sixteen images at once, as a Deployment's Pods arrive: every decision right, none by timeout.

Where each call verifies in a process of its own, they have turns (``docs/life-of-a-call.md``): sixteen take about eight seconds
of a processor, more than two processors have in four. Then as many as have turns are right, and the others say that time is over.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.conftest import DEMO
from tests.e2e.oras import Oras
from tests.e2e.ratify import Decision, Ratify
from tests.e2e.servers import Registry
from tests.e2e.shared import demo_note

AT_ONCE = 16


@pytest.fixture(scope="session")
def sixteen(plain_registry: Registry, oras: Oras) -> dict[str, bool]:
    """Sixteen images, and whether each has source level 2."""
    images = {}
    for number in range(AT_ONCE):
        commit = "fcf594d" if number % 2 else "9bef61f"
        image = oras.push_image(f"{plain_registry.address}/many/{number}")
        oras.attach(image, demo_note(commit).read_bytes())
        images[image] = commit == "fcf594d"
    return images


def check_all(ratify: Ratify, decisions: dict[str, Decision], expected: dict[str, bool]) -> None:
    waited = {key for key in expected if decisions[key].reason == "DEADLINE_EXCEEDED"}
    has_turns = ratify.environment.get("SLSA_VERIFIER_RESIDENT") == "off"
    assert not waited or (has_turns and len(waited) < len(expected))
    assert not [key for key in waited if decisions[key].admitted]
    decided = expected.keys() - waited
    assert not {key: decisions[key] for key in decided if decisions[key].admitted != expected[key]}
    assert {decisions[key].reason for key in decided if not expected[key]} <= {"LEVEL_TOO_LOW"}


def test_sixteen_provider_requests_at_once(ratify: Ratify, sixteen: dict[str, bool]) -> None:
    with ratify.serve(DEMO) as provider, ThreadPoolExecutor(AT_ONCE) as pool:
        provider.ask(list(sixteen)[:1])  # a first call may start the resident verifier
        answers = list(pool.map(lambda image: provider.ask([image]), sixteen))
    check_all(ratify, {key: decision for answer in answers for key, decision in answer.items()}, sixteen)


def test_one_request_with_sixteen_keys(ratify: Ratify, sixteen: dict[str, bool]) -> None:
    with ratify.serve(DEMO) as provider:
        check_all(ratify, provider.ask(list(sixteen)), sixteen)


def test_two_at_once_are_right_in_any_case(ratify: Ratify, sixteen: dict[str, bool]) -> None:
    two = dict(list(sixteen.items())[:2])
    with ratify.serve(DEMO) as provider:
        decisions = provider.ask(list(two))
    assert {key: decisions[key].admitted for key in two} == two
