"""Turns of processes of calls' own, and where they are taken."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from slsa_verifier_plugin.resident.client import own_turns
from slsa_verifier_plugin.resident.client.own_turns import NO_PLACE, take_turn
from slsa_verifier_plugin.resident.place import Place

UNUSABLE = Place("/proc/none", "key")


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Two folders in the place of ``/tmp`` and its like, and two processors."""
    found = [tmp_path / "one", tmp_path / "two"]
    for folder in found:
        folder.mkdir()
    monkeypatch.setattr(own_turns, "ELSEWHERE", tuple(map(str, found)))
    monkeypatch.setattr(own_turns, "usable_processors", lambda: 8)
    return found


def own(folder: Path) -> Path:
    return folder / f"slsa-verifier-plugin-{os.geteuid()}"


def taken(place: Place | None) -> int:
    turn = take_turn(place)
    assert turn is not None
    assert turn >= 0
    return turn


@pytest.mark.parametrize("place", [None, UNUSABLE])
def test_without_a_usable_place_there_are_turns_all_the_same(
    place: Place | None, folders: list[Path]
) -> None:
    """A read-only file system: a burst must not take the memory of as many processes."""
    turns = [taken(place), taken(place)]
    assert take_turn(place) is None
    os.close(turns.pop())
    turns.append(taken(place))
    for turn in turns:
        os.close(turn)
    assert own(folders[0]).stat().st_mode & 0o777 == 0o700
    assert list(folders[1].iterdir()) == []


def test_turns_are_of_the_place_where_it_can_be_used(tmp_path: Path, folders: list[Path]) -> None:
    place = Place(str(tmp_path / "d"), "key")
    turns = [taken(place), taken(place)]
    assert take_turn(place) is None
    # Whoever has no such place has turns of its own.
    turns.append(taken(None))
    for turn in turns:
        os.close(turn)


def test_another_users_directory_is_passed_over(folders: list[Path]) -> None:
    own(folders[0]).mkdir(mode=0o777)
    own(folders[0]).chmod(0o777)
    os.close(taken(None))
    assert (own(folders[1]) / "turns" / "own-0").exists()


@pytest.mark.parametrize("place", [None, UNUSABLE])
def test_where_no_file_can_be_made_there_is_one_turn(
    place: Place | None, folders: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_turns, "ELSEWHERE", ("/proc/none", "/proc/nothing"))
    monkeypatch.setattr(sys, "executable", str(folders[0] / "python"))
    assert take_turn(place) == NO_PLACE, "not even an interpreter's file"
    Path(sys.executable).touch(mode=0o400)
    turn = taken(place)
    assert take_turn(place) is None
    os.close(turn)
    os.close(taken(place))
