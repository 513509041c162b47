from __future__ import annotations

import os
from pathlib import Path

import pytest

from slsa_verifier_plugin.node.policy_folder import (
    DEFAULT_SECONDS,
    MAX_FILES,
    MAX_SMALL,
    FolderError,
    check_folder,
    check_owned,
    folder_of,
    owned_files,
    read_small,
    seconds_of_call,
)
from tests.support.users import OTHER_USER, as_root


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "policies"
    made.mkdir(mode=0o755)
    (made / "verifier.yaml").write_text("kind: Verifier\n")
    (made / "verifier.yaml").chmod(0o644)
    return made


def refusal(path: Path) -> str:
    with pytest.raises(FolderError) as error:
        check_owned(str(path))
    return str(error.value)


def test_a_folder_of_this_users(folder: Path) -> None:
    check_folder(str(folder))
    assert list(owned_files(str(folder))) == ["verifier.yaml"]


def test_a_profiles_folder_lies_in_the_default_one() -> None:
    assert folder_of("") == "/etc/slsa-verifier-plugin"
    assert folder_of("strict") == "/etc/slsa-verifier-plugin/strict"


def test_it_does_not_exist(tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path / "policies")


def test_a_relative_path() -> None:
    assert "no absolute path" in refusal(Path("policies"))


def test_it_is_a_file(folder: Path) -> None:
    with pytest.raises(FolderError, match="is no folder"):
        check_folder(str(folder / "verifier.yaml"))


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o777, 0o1777])
def test_others_may_write_to_it(folder: Path, mode: int) -> None:
    folder.chmod(mode)
    assert "written to by others" in refusal(folder)


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_others_may_write_to_a_file_of_it(folder: Path, mode: int) -> None:
    (folder / "verifier.yaml").chmod(mode)
    with pytest.raises(FolderError, match=r"verifier\.yaml may be written to by others"):
        owned_files(str(folder))


def test_others_may_write_to_a_folder_above_it(folder: Path) -> None:
    below = folder / "strict"
    below.mkdir(mode=0o755)
    folder.chmod(0o777)
    assert "written to by others" in refusal(below)
    # /tmp's bit: nobody else can rename what lies in it.
    folder.chmod(0o1777)
    check_folder(str(below))


def test_a_link_to_a_folder_that_nobody_else_may_write_to(folder: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to("policies")
    check_folder(str(link))
    again = tmp_path / "again"
    again.symlink_to(link)
    check_folder(str(again))
    upwards = folder / "up"
    upwards.symlink_to("../policies/./../policies")
    check_folder(str(upwards))
    folder.chmod(0o777)
    assert "written to by others" in refusal(again)


def test_a_link_to_a_folder_that_others_may_write_to(folder: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    theirs.chmod(0o777)
    (theirs / "policies").symlink_to(folder)
    link = tmp_path / "link"
    # The end is ours, and still whoever may write to the folder on the way can have it lead elsewhere.
    link.symlink_to(theirs / "policies")
    assert "theirs may be written to" in refusal(link)
    direct = tmp_path / "direct"
    direct.symlink_to(theirs)
    assert "theirs may be written to" in refusal(direct)


def test_links_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "one").symlink_to("other")
    (tmp_path / "other").symlink_to("one")
    assert "circle" in refusal(tmp_path / "one")


def test_a_link_that_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    assert "does not exist" in refusal(tmp_path / "link")


def test_a_mounted_configmap_is_made_of_links(tmp_path: Path) -> None:
    folder = tmp_path / "policies"
    (folder / "..2026_01_01").mkdir(parents=True)
    (folder / "..2026_01_01" / "verifier.yaml").write_text("a")
    (folder / "..data").symlink_to("..2026_01_01")
    (folder / "verifier.yaml").symlink_to("..data/verifier.yaml")
    assert list(owned_files(str(folder))) == ["verifier.yaml"]


@as_root
def test_a_folder_or_file_of_another_user(folder: Path) -> None:
    os.chown(folder / "verifier.yaml", OTHER_USER, OTHER_USER)
    with pytest.raises(FolderError, match=f"belongs to user {OTHER_USER}"):
        owned_files(str(folder))
    os.chown(folder, OTHER_USER, OTHER_USER)
    assert f"belongs to user {OTHER_USER}" in refusal(folder)


@as_root
def test_a_link_of_another_users(folder: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(folder)
    os.chown(link, OTHER_USER, OTHER_USER, follow_symlinks=False)
    assert f"belongs to user {OTHER_USER}" in refusal(link)


def test_a_pipe_among_the_files(folder: Path) -> None:
    os.mkfifo(folder / "verifier2.yaml", 0o644)
    with pytest.raises(FolderError, match="neither file nor folder"):
        owned_files(str(folder))


def test_a_pipe_in_the_place_of_a_small_file(folder: Path) -> None:
    os.mkfifo(folder / "timeout", 0o644)
    with pytest.raises(FolderError, match="is no file"):
        seconds_of_call(str(folder))


def test_too_many_files(folder: Path) -> None:
    for number in range(MAX_FILES):
        (folder / f"{number}.yaml").touch()
    with pytest.raises(FolderError, match="entries"):
        owned_files(str(folder))


def test_a_file_that_is_replaced_is_another(folder: Path) -> None:
    before = owned_files(str(folder))
    assert owned_files(str(folder)) == before
    (folder / "new").write_text("kind: Verifier\n")
    (folder / "new").replace(folder / "verifier.yaml")
    assert owned_files(str(folder)) != before


@pytest.mark.parametrize(("text", "seconds"), [("9s", 9.0), ("1s\n", 1.0), (" 2.5s ", 2.5), ("60s", 60.0)])
def test_the_time_of_a_call(folder: Path, text: str, seconds: float) -> None:
    assert seconds_of_call(str(folder)) == DEFAULT_SECONDS
    (folder / "timeout").write_text(text)
    assert seconds_of_call(str(folder)) == seconds


@pytest.mark.parametrize(
    "text", ["", "9", "0s", "0.5s", "61s", "999s", "-1s", "1m", "nan", "9s 9s", "9s\n9s", "1e1s", "\u0669s"]
)
def test_a_time_that_is_not_understood(folder: Path, text: str) -> None:
    (folder / "timeout").write_text(text)
    with pytest.raises(FolderError, match="does not say a time"):
        seconds_of_call(str(folder))


def test_a_small_file_that_is_large_or_no_text(folder: Path) -> None:
    assert read_small(str(folder), "exempt") is None
    (folder / "exempt").write_bytes(b"#" * MAX_SMALL)
    assert read_small(str(folder), "exempt") == "#" * MAX_SMALL
    (folder / "exempt").write_bytes(b"#" * (MAX_SMALL + 1))
    with pytest.raises(FolderError, match="more than"):
        read_small(str(folder), "exempt")
    (folder / "exempt").write_bytes(b"\xff")
    with pytest.raises(FolderError, match="no text"):
        read_small(str(folder), "exempt")
