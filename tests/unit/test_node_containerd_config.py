from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from slsa_verifier_plugin.errors import UsageError
from slsa_verifier_plugin.node import fail_open
from slsa_verifier_plugin.node.call_arguments import PROGRAM
from slsa_verifier_plugin.node.containerd_config import BINDIR, IMAGES, read_config
from slsa_verifier_plugin.node.fail_open import gaps, profiles
from slsa_verifier_plugin.policy.verdict import FAILURE_PREFIX
from slsa_verifier_plugin.problem import FAILED, NOT_CHECKED, PASSED, DoctorFinding

Failures = Callable[[str], list[DoctorFinding]]
OWN = f'[plugins."{BINDIR}"]\n'
CRI = f'[plugins."{IMAGES}"]\n'
CRI_2 = '[plugins."io.containerd.grpc.v1.cri"]\n'


@pytest.fixture
def bin_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    executable(folder / PROGRAM)
    return folder


def executable(path: Path, script: str = f"echo '{FAILURE_PREFIX}odd.'; exit 1") -> Path:
    """Make a file that blocks what is no call, as the verifier does, or one that does something else."""
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def failures(tmp_path: Path, bin_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Failures:
    """Return the gaps of a configuration that would hold without what is asked for; no bin_dir of this machine counts."""
    monkeypatch.setattr(fail_open, "BIN_DIR", str(bin_dir))
    monkeypatch.setattr("shutil.which", lambda name: None)

    def found(text: str) -> list[DoctorFinding]:
        file = tmp_path / "config.toml"
        file.write_text(text)
        return [gap for gap in gaps(read_config(file), str(tmp_path / "etc")) if gap.outcome == FAILED]

    return found


@pytest.mark.parametrize(
    "text",
    [
        "",
        "version = 2\n",
        "version = 3\n",
        "version = 4\n",
        f'version = 3\nrequired_plugins = ["{BINDIR}"]\n',
        f"version = 3\n{OWN}max_verifiers = 1\n",
        f"version = 3\n{OWN}max_verifiers = -1\n",
        f'version = 3\n{OWN}per_verifier_timeout = "9.5s"\n',
        f'version = 3\n{OWN}per_verifier_timeout = "1m"\n',
        f"version = 3\n{CRI}max_concurrent_downloads = 3\ndisable_snapshot_annotations = true\nuse_local_image_pull = false\n",
        f"version = 3\n{CRI}discard_unpacked_layers = false\nimage_pull_with_sync_fs = false\n",
        f'version = 3\n{CRI}[plugins."{IMAGES}".registry]\nconfig_path = "/etc/containerd/certs.d"\n',
        f'version = 3\n[plugins."{IMAGES}".registry.mirrors]\n',
        f'version = 2\n{CRI_2}sandbox_image = "registry.k8s.io/pause:3.10"\n',
        f"version = 3\n{OWN}Max_Verifiers = 1\n",
        # Short names of plugins are version 1's, and this is nobody's directory of verifiers.
        "version = 2\n[plugins.cri]\nmax_concurrent_downloads = 7\n",
        'version = 3\n[plugins."io.containerd.cri.v1.runtime".cni]\nbin_dir = "/opt/cni/bin"\n',
        # Version 4 has the CRI's settings elsewhere: containerd does not read these.
        f"version = 4\n{CRI_2}max_concurrent_downloads = 7\n",
    ],
)
def test_a_configuration_that_asks_verifiers(failures: Failures, text: str) -> None:
    assert failures(text) == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f'disabled_plugins = ["{BINDIR}"]\n', "disables io.containerd.image-verifier.v1.bindir"),
        (
            'disabled_plugins = ["io.containerd.transfer.v1.local"]\n',
            "disables io.containerd.transfer.v1.local",
        ),
        (f'{OWN}bin_dir = ""\n', "sets bin_dir to"),
        (f'{OWN}bin_dir = "bin"\n', "sets bin_dir to"),
        (f'{OWN}bin_dir = "/opt/bin\\u0000"\n', "sets bin_dir to"),
        (f'{OWN}bin_dir = "/nonexistent/verifiers"\n', "does not exist"),
        (f'{OWN}bindir = "/opt"\n', "containerd ignores"),
        (
            '[plugins."io.containerd.image-verifier.v1.bin-dir"]\nmax_verifiers = 2\n',
            "which containerd does not know",
        ),
        ('[plugins.bindir]\nbin_dir = "/opt"\n', "which containerd does not know"),
        # containerd reads keys in any case.
        (f'{OWN}Bin_Dir = ""\n', "sets bin_dir to"),
        (f"{OWN}MAX_VERIFIERS = 0\n", "is never asked"),
        (f"{CRI}Use_Local_Image_Pull = true\n", "use_local_image_pull"),
        (f"{CRI}MAX_CONCURRENT_DOWNLOADS = 9\n", "max_concurrent_downloads"),
        (f'[plugins."{IMAGES}".Registry.MIRRORS."docker.io"]\n', "registry.mirrors"),
        (f'Disabled_Plugins = ["{BINDIR}"]\n', "disables io.containerd.image-verifier.v1.bindir"),
        (f'[Plugins."{IMAGES}"]\nuse_local_image_pull = true\n', "use_local_image_pull"),
        (f"{OWN}max_verifiers = 0\n", "is never asked"),
        (f'{OWN}per_verifier_timeout = "9s"\n', "containerd ends it"),
        (f'{OWN}per_verifier_timeout = "0s"\n', "containerd ends it"),
        (f'{OWN}per_verifier_timeout = "soon"\n', "containerd ends it"),
        (f"{CRI}use_local_image_pull = true\n", "use_local_image_pull"),
        (f"{CRI}disable_snapshot_annotations = false\n", "disable_snapshot_annotations"),
        (f"{CRI}discard_unpacked_layers = true\n", "discard_unpacked_layers"),
        (f"{CRI}max_concurrent_downloads = 2\n", "max_concurrent_downloads"),
        (f"{CRI}max_concurrent_downloads = 0\n", "max_concurrent_downloads"),
        (f"{CRI}image_pull_with_sync_fs = true\n", "image_pull_with_sync_fs"),
        (
            f'[plugins."{IMAGES}".registry.mirrors."docker.io"]\nendpoint = ["https://m"]\n',
            "registry.mirrors",
        ),
        (
            f'[plugins."{IMAGES}".registry.configs."r.example".tls]\ninsecure_skip_verify = true\n',
            "registry.configs",
        ),
        (f'[plugins."{IMAGES}".registry.configs."r.example"]\n', "registry.configs"),
        (f'[plugins."{IMAGES}".registry.auths."https://r.example"]\nusername = "u"\n', "registry.auths"),
    ],
)
@pytest.mark.parametrize("version", [3, 4])
def test_what_opens_the_door(failures: Failures, text: str, says: str, version: int) -> None:
    found = failures(f"version = {version}\n{text}")
    assert len(found) == 1
    assert says in found[0].message
    assert found[0].remedy


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f"{CRI_2}max_concurrent_downloads = 2\n", "max_concurrent_downloads"),
        (f"{CRI_2}image_pull_with_sync_fs = true\n", "image_pull_with_sync_fs"),
        (
            '[plugins."io.containerd.grpc.v1.cri".containerd]\ndisable_snapshot_annotations = false\n',
            "disable_snapshot",
        ),
        (
            '[plugins."io.containerd.grpc.v1.cri".containerd]\ndiscard_unpacked_layers = true\n',
            "discard_unpacked_layers",
        ),
        (
            '[plugins."io.containerd.grpc.v1.cri".registry.mirrors."docker.io"]\nendpoint = []\n',
            "registry.mirrors",
        ),
        (
            '[plugins."io.containerd.grpc.v1.cri".registry.configs."r".auth]\nusername = "u"\n',
            "registry.configs",
        ),
        ('[plugins."io.containerd.grpc.v1.cri".registry.auths.x]\nusername = "u"\n', "registry.auths"),
        (f"{CRI}use_local_image_pull = true\n", "use_local_image_pull"),
        (f'disabled_plugins = ["{BINDIR}"]\n', "disables"),
    ],
)
@pytest.mark.parametrize("version", [2, 3])
def test_what_opens_the_door_in_the_form_of_version_2(
    failures: Failures, text: str, says: str, version: int
) -> None:
    """containerd 2.4 reads these sections in a file of version 3, too."""
    found = failures(f"version = {version}\n{text}")
    assert len(found) == 1
    assert says in found[0].message


def test_the_form_of_version_1(failures: Failures) -> None:
    found = failures('[plugins.cri.registry.mirrors."docker.io"]\nendpoint = ["https://m"]\n')
    assert [gap.message.count("registry.mirrors") for gap in found] == [1]


def test_an_imported_file_opens_the_door(failures: Failures, tmp_path: Path) -> None:
    (tmp_path / "conf.d").mkdir()
    later = tmp_path / "conf.d" / "10.toml"
    later.write_text(f"version = 2\n{CRI_2}max_concurrent_downloads = 9\n")
    main = f'version = 3\nimports = ["conf.d/*.toml"]\n{CRI}max_concurrent_downloads = 3\n'
    found = failures(main)
    assert len(found) == 1
    assert str(later) in found[0].message
    # And one that comes after it closes it again; but not with another key that only looks the same: both are read, sorted.
    closing = tmp_path / "conf.d" / "20.toml"
    closing.write_text(f"version = 3\n{CRI}Max_Concurrent_Downloads = 3\n")
    assert len(failures(main)) == 1
    closing.write_text(f"version = 3\n{CRI}max_concurrent_downloads = 3\n")
    assert failures(main) == []


@pytest.mark.parametrize(
    "pattern", ["conf.d/*.toml", "conf.d/*", "none/../conf.d/*.toml", "conf.d/[^a]*l", "*.d/.h*"]
)
def test_a_star_finds_hidden_files_too(failures: Failures, tmp_path: Path, pattern: str) -> None:
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / ".hidden.toml").write_text(f"version = 3\n{CRI}use_local_image_pull = true\n")
    found = failures(f'version = 3\nImports = ["{pattern}"]\n')
    assert [".hidden.toml sets use_local_image_pull" in gap.message for gap in found] == [True]


def test_folders_are_imported_one_after_the_other(failures: Failures, tmp_path: Path) -> None:
    """As containerd does it: all of "a" before "a-b", though "-" comes before "/"."""
    for folder, downloads in (("a", 9), ("a-b", 3)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.toml").write_text(
            f"version = 3\n{CRI}max_concurrent_downloads = {downloads}\n"
        )
    assert failures('version = 3\nimports = ["a*/x.toml"]\n') == []


def test_what_an_imported_file_imports_comes_after_all_that_its_parent_imports(
    failures: Failures, tmp_path: Path
) -> None:
    (tmp_path / "a.toml").write_text('version = 3\nimports = ["c.toml"]\n')
    (tmp_path / "b.toml").write_text(f"version = 3\n{CRI}max_concurrent_downloads = 3\n")
    (tmp_path / "c.toml").write_text(f"version = 3\n{CRI}max_concurrent_downloads = 9\n")
    found = failures('version = 3\nimports = ["a.toml", "b.toml"]\n')
    assert [str(tmp_path / "c.toml") in gap.message for gap in found] == [True]


def test_imports_of_imports_once_each_and_lists_are_joined(failures: Failures, tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(
        'version = 3\nimports = ["config.toml", "b.toml"]\ndisabled_plugins = ["x.y"]\n'
    )
    (tmp_path / "b.toml").write_text(f'version = 3\nimports = ["a.toml"]\ndisabled_plugins = ["{BINDIR}"]\n')
    found = failures('version = 3\nimports = ["a.toml"]\ndisabled_plugins = []\n')
    assert [str(tmp_path / "b.toml") in gap.message for gap in found] == [True]
    read = read_config(tmp_path / "config.toml")
    assert [Path(file).name for file in read.files] == ["config.toml", "a.toml", "b.toml"]


@pytest.mark.parametrize(
    "text",
    [
        *("version = ", "version = 3\nversion = 3\n", "\xff", "version = 5\n", 'version = "3"\n'),
        *("version = true\n", "version = -1\n", "version = 3.0\n"),
        *('imports = "conf.d/*.toml"\n', "imports = [1]\n", "disabled_plugins = [[]]\n"),
        "version = 3\n[plugins.a]\nx = 1\n[plugins.a]\ny = 1\n",
        'imports = ["a.toml"]\nImports = ["b.toml"]\n',
        'imports = ["conf.d/[!a]*"]\n',
        *('imports = ["a\\u0000.toml"]\n', 'imports = ["a\\u0000/*.toml"]\n'),
    ],
)
def test_a_file_that_containerd_does_not_start_with(failures: Failures, text: str) -> None:
    with pytest.raises(UsageError, match=r"config\.toml"):
        failures(text)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: None, "name /dev/null"),
        (lambda path: path.mkdir(), "cannot be read"),
        (lambda path: path.symlink_to(path), "cannot be read"),
        (os.mkfifo, "not a regular file"),
        (lambda path: path.symlink_to("/dev/zero"), "not a regular file"),
        (lambda path: path.write_text("{{ template }}\nversion = 3\n"), "it is a template"),
    ],
)
def test_what_is_no_file_of_containerds(tmp_path: Path, make: Callable[[Path], object], says: str) -> None:
    config = tmp_path / "config.toml"
    make(config)
    with pytest.raises(UsageError, match=says):
        read_config(config)


def test_containerd_without_a_file(failures: Failures) -> None:
    failures("")
    assert [
        gap.name for gap in gaps(read_config(Path("/dev/null")), "/nonexistent") if gap.outcome == FAILED
    ] == []


def test_an_import_that_is_missing(failures: Failures) -> None:
    with pytest.raises(UsageError, match=r"other\.toml"):
        failures('version = 3\nimports = ["other.toml"]\n')
    assert failures('version = 3\nimports = ["none/*.toml"]\n') == []


def test_the_directory_is_empty_or_not_ours(failures: Failures, bin_dir: Path) -> None:
    (bin_dir / PROGRAM).rename(bin_dir / "another")
    assert ["has no slsa-verifier-plugin" in gap.message for gap in failures("version = 3\n")] == [True]
    (bin_dir / "another").unlink()
    assert ["is empty" in gap.message for gap in failures("version = 3\n")] == [True]


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda file: file.chmod(0o644), "not executable"),
        (lambda file: file.chmod(0o777), "written to by others"),
        (lambda file: file.parent.chmod(0o777), "written to by others"),
        (lambda file: (file.parent / "sub").mkdir(), "is no file"),
        (lambda file: (file.parent / "broken").symlink_to("nowhere"), "does not exist"),
        (lambda file: (file.parent / "old").write_text("x"), "not executable"),
    ],
)
def test_a_file_that_containerd_cannot_run_or_others_can_change(
    failures: Failures, bin_dir: Path, spoil: Callable[[Path], object], says: str
) -> None:
    spoil(bin_dir / PROGRAM)
    found = failures("version = 3\n")
    assert found
    assert all(says in gap.message for gap in found)


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("exit 0", "is not this verifier"),
        ("exit 1", "is not this verifier"),
        (f"echo '{FAILURE_PREFIX}but no.'", "is not this verifier"),
        ("sleep 60", "does not end"),
    ],
)
def test_a_file_of_our_name_that_is_another_program(
    failures: Failures, bin_dir: Path, monkeypatch: pytest.MonkeyPatch, script: str, says: str
) -> None:
    monkeypatch.setattr(fail_open, "_TRIAL_SECONDS", 10 if "sleep" not in script else 0.2)
    executable(bin_dir / PROGRAM, script)
    found = failures("version = 3\n")
    assert [says in gap.message for gap in found] == [True]
    assert "install --containerd" in found[0].remedy


@pytest.mark.parametrize("content", [b"\x7fELF" + bytes(60), b"#!/nonexistent/python3\n"])
def test_a_file_of_our_name_that_cannot_run_here(failures: Failures, bin_dir: Path, content: bytes) -> None:
    """Made for another architecture, or by an interpreter that is gone."""
    (bin_dir / PROGRAM).write_bytes(content)
    assert ["cannot be run" in gap.message for gap in failures("version = 3\n")] == [True]


def test_a_file_that_others_may_change_is_not_tried(
    failures: Failures, bin_dir: Path, tmp_path: Path
) -> None:
    executable(bin_dir / PROGRAM, f"touch {tmp_path / 'ran'}").chmod(0o777)
    assert failures("version = 3\n")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["-", "-..", "-Strict", "-a b", "-.bak", ".bak", "2"])
def test_a_file_whose_name_stands_for_no_profile(failures: Failures, bin_dir: Path, name: str) -> None:
    executable(bin_dir / f"{PROGRAM}{name}")
    assert ["must be named" in gap.message for gap in failures("version = 3\n")] == [True]


def test_ours_is_skipped_where_others_come_first(failures: Failures, bin_dir: Path) -> None:
    executable(bin_dir / "another")
    assert failures(f"version = 3\n{OWN}max_verifiers = 2\n") == []
    found = failures(f"version = 3\n{OWN}max_verifiers = 1\n")
    assert ["slsa-verifier-plugin is never asked" in gap.message for gap in found] == [True]


def test_a_profile_with_a_time_of_its_own(failures: Failures, bin_dir: Path, tmp_path: Path) -> None:
    executable(bin_dir / f"{PROGRAM}-slow")
    (tmp_path / "etc" / "slow").mkdir(parents=True)
    (tmp_path / "etc" / "slow" / "timeout").write_text("20s\n")
    found = failures("version = 3\n")
    assert ["slsa-verifier-plugin-slow may take 20 s" in gap.message for gap in found] == [True]
    assert failures(f'version = 3\n{OWN}per_verifier_timeout = "21s"\n') == []
    assert profiles(read_config(tmp_path / "config.toml")) == ["", "slow"]


@pytest.mark.parametrize(
    ("said", "outcome"),
    [
        ("containerd github.com/containerd/containerd/v2 v2.4.2 abc", PASSED),
        ("containerd github.com/containerd/containerd/v2 v2.1.0", PASSED),
        ("containerd containerd.io 1.7.27 05044ec0a9a75232cad458027ca83437aae3f4da", FAILED),
        ("containerd github.com/containerd/containerd/v2 v2.0.5 x", FAILED),
        ("", NOT_CHECKED),
        ("containerd", NOT_CHECKED),
    ],
)
def test_the_version(monkeypatch: pytest.MonkeyPatch, said: str, outcome: str) -> None:
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/containerd")
    monkeypatch.setattr(
        "subprocess.run", lambda *_, **__: subprocess.CompletedProcess([], 0, said.encode(), b"")
    )
    assert fail_open.version_gap().outcome == outcome
