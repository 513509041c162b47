"""A registry with images to audit, and a policy for them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.auditing import SlowRegistry, push
from tests.support.command_line import (
    LEVEL_1,
    LEVEL_3,
    verifier,
    write_yaml,
)


@pytest.fixture(autouse=True)
def _own_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def registry() -> Iterator[SlowRegistry]:
    with SlowRegistry() as running:
        yield running


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    return write_yaml(tmp_path / "verifier.yaml", verifier())


@pytest.fixture
def images(registry: SlowRegistry) -> dict[str, str]:
    return {
        "low": push(registry, "shop/low", "v1", LEVEL_1),
        "high": push(registry, "shop/high", "v1", LEVEL_3),
        "bare": push(registry, "shop/bare", "v1"),
        "gone": f"{registry.host}/shop/gone:v1",
    }
