"""The one-file plugin on its worst days: what ``docs/life-of-a-call.md`` promises of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import storms
from tests.support.load import Outcome
from tests.support.storms import PROMISES, Storm, hold


@pytest.fixture(scope="module")
def plugin(built: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The plugin, and a directory that it is unpacked into by the first test."""
    cache = tmp_path_factory.mktemp("cache")
    cache.chmod(0o700)
    return str(built / "dist" / "slsa"), str(cache)


@pytest.mark.parametrize(("row", "play"), storms.ROWS.items())
def test_a_storm(plugin: tuple[str, str], row: str, play: Callable[[Storm], Outcome]) -> None:
    path, cache = plugin
    if "frozen" in row and not storms.can_freeze():
        pytest.skip("this machine lets no test freeze a process")
    # The first calls ever unpack as well.
    warm = {} if "ever" in row else {"SLSA_VERIFIER_CACHE": cache}
    with storms.storm([path], storms.processors_of(row), storms.limit_of(row), **warm) as storm:
        outcome = play(storm)
        # The group's own count, all at one moment; what is summed process by process counts one that ends meanwhile twice.
        hold(PROMISES[row], outcome, outcome.peak_bytes, PROMISES[row].launcher_mib)


@pytest.mark.parametrize("lack", storms.LACKS)
@pytest.mark.parametrize("mode", ["auto", "off"])
def test_a_lack_is_named_or_does_no_harm(plugin: tuple[str, str], lack: str, mode: str) -> None:
    path, cache = plugin
    with storms.storm([path], SLSA_VERIFIER_CACHE=cache) as storm:
        storm.warm()  # it is unpacked
        storm.end_servers()
        storms.expect_honest(storm.lacking(lack, mode), lack)
