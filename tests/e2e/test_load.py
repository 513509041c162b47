"""Sixteen images at once, as a Deployment's Pods arrive: every decision right, none by timeout."""

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


def check_all(decisions: dict[str, Decision], expected: dict[str, bool]) -> None:
    wrong = {key: decisions[key] for key, good in expected.items() if decisions[key].admitted != good}
    assert not wrong
    reasons = {decisions[key].reason for key, good in expected.items() if not good}
    assert reasons == {"LEVEL_TOO_LOW"}


def test_sixteen_provider_requests_at_once(ratify: Ratify, sixteen: dict[str, bool]) -> None:
    with ratify.serve(DEMO) as provider, ThreadPoolExecutor(AT_ONCE) as pool:
        provider.ask(list(sixteen)[:1])  # a first call may start the resident verifier
        answers = list(pool.map(lambda image: provider.ask([image]), sixteen))
    check_all({key: decision for answer in answers for key, decision in answer.items()}, sixteen)


def test_one_request_with_sixteen_keys(ratify: Ratify, sixteen: dict[str, bool]) -> None:
    with ratify.serve(DEMO) as provider:
        check_all(provider.ask(list(sixteen)), sixteen)
