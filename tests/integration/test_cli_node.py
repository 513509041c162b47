"""``install --containerd`` and ``doctor --containerd``: what they put where, and what they find."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from slsa_verifier_plugin import __version__
from slsa_verifier_plugin.checking.status import Status
from slsa_verifier_plugin.errors import UsageError
from slsa_verifier_plugin.node import fail_open, policy_folder
from slsa_verifier_plugin.node.call_arguments import PROGRAM
from slsa_verifier_plugin.node.placing import place_policies
from slsa_verifier_plugin.service.service import Service
from tests.support.command_line import ROOT, Done, cli, verifier, write_yaml


@pytest.fixture(autouse=True)
def _own_places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No command here may read or write this machine's own folders."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(policy_folder, "BASE", str(tmp_path / "etc"))
    monkeypatch.setattr(policy_folder.folder_of, "__defaults__", (str(tmp_path / "etc"),))
    monkeypatch.setattr(fail_open, "BIN_DIR", str(tmp_path / "verifiers" / "bin"))
    monkeypatch.setattr("slsa_verifier_plugin.node.surroundings.RUN", str(tmp_path / "run"))
    monkeypatch.setattr("slsa_verifier_plugin.node.surroundings.CACHE", str(tmp_path / "tuf"))


@pytest.fixture
def bin_dir(tmp_path: Path) -> Path:
    return tmp_path / "verifiers" / "bin"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Policies as a ConfigMap is mounted: links to links, and files that everybody may read."""
    folder = tmp_path / "mounted"
    (folder / "..1").mkdir(parents=True)
    (folder / "..data").symlink_to("..1")
    write_yaml(folder / "..1" / "verifier.yaml", verifier())
    (folder / "..1" / "exempt").write_text("quay.io/cilium/*\n")
    (folder / "..1" / "config.json").write_text('{"auths": {}}')
    (folder / "..1" / "timeout").write_text("8s\n")
    for name in ("verifier.yaml", "exempt", "config.json", "timeout"):
        (folder / name).symlink_to(f"..data/{name}")
    return folder


def node_service() -> Service:
    return Service({})


def doctor(config: Path) -> tuple[Done, list[dict[str, Any]]]:
    done = cli("doctor", "--containerd", config, "--json")
    return done, json.loads(done.out)


def test_it_is_put_there_and_answers_containerd(bin_dir: Path, tmp_path: Path) -> None:
    done = cli("install", "--containerd")
    assert (done.status, str(bin_dir / PROGRAM) in done.out) == (Status.ADMITTED, True), done
    assert "pulls nothing on this node" in done.err
    # containerd runs whatever lies there, so nothing else may, not even for a moment; nor stay beside it.
    assert [file.name for file in bin_dir.iterdir()] == [PROGRAM]
    assert [file.name for file in bin_dir.parent.iterdir()] == ["bin"]
    ran = subprocess.run([bin_dir / PROGRAM, "--version"], env={}, capture_output=True, text=True, check=True)
    assert __version__ in ran.stdout
    assert cli("install", "--containerd").out == ""


def test_a_profile_gets_a_file_of_its_own(bin_dir: Path) -> None:
    assert cli("install", "--containerd", "--profile", "strict").status == Status.ADMITTED
    assert [file.name for file in bin_dir.iterdir()] == [f"{PROGRAM}-strict"]
    for profile in ("..", "Strict", "a/b", "a b", "-a"):
        assert cli("install", "--containerd", f"--profile={profile}").status == Status.USAGE


def test_a_directory_that_others_may_write_to_is_no_place_for_it(bin_dir: Path) -> None:
    bin_dir.mkdir(parents=True)
    bin_dir.chmod(0o777)
    # The second time the file is there already.
    for _ in range(2):
        done = cli("install", "--containerd")
        assert (done.status, "chmod go-w" in done.err) == (Status.USAGE, True), done
    bin_dir.chmod(0o755)
    assert cli("install", "--containerd").status == Status.ADMITTED
    (bin_dir / PROGRAM).chmod(0o777)
    assert "may be written to by others" in cli("install", "--containerd").err


def test_another_directory(tmp_path: Path) -> None:
    assert cli("install", "--containerd", "--bin-dir", tmp_path / "other" / "bin").status == Status.ADMITTED
    assert (tmp_path / "other" / "bin" / PROGRAM).is_file()


@pytest.mark.parametrize(
    "options",
    [
        ["--bin-dir", "/nonexistent"],
        ["--policies", "/nonexistent"],
        ["--profile", "a"],
        ["--follow"],
        ["--containerd", "--plugins-dir", "/nonexistent"],
    ],
)
def test_options_that_do_not_go_together(options: list[str]) -> None:
    assert cli("install", *options).status == Status.USAGE


def test_policies_are_put_into_place_before_the_verifier(source: Path, bin_dir: Path, tmp_path: Path) -> None:
    done = cli("install", "--containerd", "--policies", source)
    assert done.status == Status.ADMITTED, done
    assert "pulls nothing" not in done.err
    placed = tmp_path / "etc"
    assert sorted(file.name for file in placed.iterdir()) == [
        "config.json",
        "exempt",
        "timeout",
        "verifier.yaml",
    ]
    assert not any(file.is_symlink() for file in placed.iterdir())
    modes = {file.name: file.stat().st_mode & 0o777 for file in placed.iterdir()}
    assert modes == {"config.json": 0o600, "exempt": 0o644, "timeout": 0o644, "verifier.yaml": 0o644}
    policy_folder.owned_files(str(placed))
    assert (bin_dir / PROGRAM).is_file()


def test_policies_that_cannot_decide_replace_nothing_and_install_nothing(
    source: Path, bin_dir: Path, tmp_path: Path
) -> None:
    target = tmp_path / "etc"
    place_policies(source, target, node_service())
    before = {file.name: file.read_bytes() for file in target.iterdir()}
    for name, content in (
        ("verifier.yaml", "kind: Verifier\n"),
        ("exempt", "pause:3.10\n"),
        ("verifier.yaml", "{"),
        ("timeout", "soon"),
        ("config.json", '{"auths": '),
        ("config.json", "[]"),
    ):
        kept = (source / name).read_text()
        (source / name).write_text(content)
        done = cli("install", "--containerd", "--policies", source)
        assert (done.status, "are not put into place" in done.err) == (Status.USAGE, True), done
        assert str(source / name) in done.err
        (source / name).write_text(kept)
    assert {file.name: file.read_bytes() for file in target.iterdir()} == before
    assert not bin_dir.exists()


def test_an_empty_or_missing_folder_of_policies_replaces_nothing(tmp_path: Path, source: Path) -> None:
    target = tmp_path / "etc"
    place_policies(source, target, node_service())
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "missing"):
        with pytest.raises(UsageError):
            place_policies(folder, target, node_service())
    assert (target / "verifier.yaml").is_file()
    assert not [file for file in target.iterdir() if file.name.startswith(".")]


def test_what_decides_is_placed_before_what_is_exempt(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    placed: list[str] = []
    replace = Path.replace

    def replaced(file: Path, to: Path) -> Path:
        placed.append(file.name)
        return replace(file, to)

    monkeypatch.setattr(Path, "replace", replaced)
    place_policies(source, tmp_path / "etc", node_service())
    assert placed == ["verifier.yaml", "config.json", "exempt", "timeout"]


def test_what_is_gone_goes_and_profiles_stay(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "etc"
    assert place_policies(source, target, node_service()) == [
        "config.json",
        "exempt",
        "timeout",
        "verifier.yaml",
    ]
    assert place_policies(source, target, node_service()) == []
    (target / "strict").mkdir()
    (target / "old.yaml").write_text("kind: Verifier\n")
    (source / "exempt").unlink()
    assert place_policies(source, target, node_service()) == ["exempt", "old.yaml"]
    assert sorted(file.name for file in target.iterdir()) == [
        "config.json",
        "strict",
        "timeout",
        "verifier.yaml",
    ]


def test_a_place_that_others_may_write_to_gets_no_policies(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "etc"
    target.mkdir()
    target.chmod(0o777)
    with pytest.raises(UsageError, match="written to by others"):
        place_policies(source, target, node_service())
    assert list(target.iterdir()) == []


def test_it_follows_policies_until_it_is_told_to_end(source: Path, tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from slsa_verifier_plugin.cli.commands import install_command\n"
        "from slsa_verifier_plugin.cli.main import run\n"
        "from slsa_verifier_plugin.node import fail_open, policy_folder\n"
        "install_command.FOLLOW_SECONDS = 0.1\n"
        "policy_folder.folder_of.__defaults__ = (sys.argv[1],)\n"
        "fail_open.BIN_DIR = sys.argv[2]\n"
        "sys.exit(run(['install', '--containerd', '--follow', '--policies', sys.argv[3]]))\n"
    )
    target, bin_dir = tmp_path / "etc", tmp_path / "verifiers" / "bin"
    running = subprocess.Popen(
        [sys.executable, "-c", program, target, bin_dir, source],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        _wait((bin_dir / PROGRAM).is_file)
        (source / "exempt").write_text("quay.io/calico/*\n")
        _wait(lambda: "calico" in (target / "exempt").read_text())
        (source / "exempt").write_text("broken\n")
        (bin_dir / PROGRAM).unlink()
        (source / "exempt").write_text("quay.io/flannel/*\n")
        _wait(lambda: "flannel" in (target / "exempt").read_text())
        _wait((bin_dir / PROGRAM).is_file)
    finally:
        running.send_signal(signal.SIGTERM)
        out, err = running.communicate(timeout=30)
    assert running.returncode == 0, (out, err)


def _wait(condition: Any) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_the_daemonsets_policies_decide_and_its_command_is_one(tmp_path: Path) -> None:
    """``deploy/node`` as its Pods see it: the files of its ConfigMap, put into place by its arguments."""
    folder = ROOT / "deploy" / "node"
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    mounted = tmp_path / "policies"
    mounted.mkdir()
    for name in kustomization["configMapGenerator"][0]["files"]:
        (mounted / name).write_bytes((folder / name).read_bytes())
    daemonset = yaml.safe_load((folder / "daemonset.yaml").read_text())
    spec = daemonset["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    arguments = [item for item in container["args"] if item != "--follow"]
    assert len(arguments) == len(container["args"]) - 1
    done = cli(*(item.replace("/policies", str(mounted)) for item in arguments))
    assert done.status == Status.ADMITTED, done
    assert sorted(file.name for file in (tmp_path / "etc").iterdir()) == [
        "exempt",
        "policy.yaml",
        "store.yaml",
        "verifier.yaml",
    ]
    # What is mounted where the verifier looks on a node: bin_dir's parent, for nothing unfinished may lie in bin_dir itself.
    paths = {volume["name"]: volume["hostPath"]["path"] for volume in spec["volumes"] if "hostPath" in volume}
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert {mounts[name] for name in paths} == set(paths.values())
    assert set(paths.values()) == {"/etc/slsa-verifier-plugin", "/opt/containerd/image-verifier"}
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert "privileged" not in container["securityContext"]
    assert not spec["automountServiceAccountToken"]


def test_doctor_finds_a_node_in_order(source: Path, bin_dir: Path, tmp_path: Path) -> None:
    assert cli("install", "--containerd", "--policies", source).status == Status.ADMITTED
    config = tmp_path / "config.toml"
    config.write_text("version = 3\n")
    done, found = doctor(config)
    assert done.status == Status.ADMITTED, found
    outcomes = {
        item["name"]: item["outcome"]
        for item in found
        if item["name"] not in ("containerd", "resident verifier")
    }
    assert set(outcomes.values()) == {"passed"}
    assert {
        "configuration",
        "image verifier",
        "pull path",
        "verifier directory",
        "verifier limits",
        "policies",
    } <= set(outcomes)
    assert str(config) in next(item["message"] for item in found if item["name"] == "configuration")
    assert "1 entries are exempt" in next(item["message"] for item in found if item["name"] == "policies")


def test_doctor_warns_of_passwords_that_others_may_read(source: Path, tmp_path: Path) -> None:
    assert cli("install", "--containerd", "--policies", source).status == Status.ADMITTED
    config = tmp_path / "config.toml"
    config.write_text("version = 3\n")
    placed = tmp_path / "etc" / "config.json"
    for content, mode, expected in (
        ('{"auths": {"r.example": {"auth": "dXNlcjpw"}}}', 0o644, ["warning"]),
        ('{"auths": {"r.example": {"auth": "dXNlcjpw"}}}', 0o600, []),
        ('{"credHelpers": {"r.example": "ecr-login"}}', 0o644, []),
    ):
        placed.write_text(content)
        placed.chmod(mode)
        done, found = doctor(config)
        said = [item for item in found if item["name"] == "credentials"]
        assert ([item["outcome"] for item in said], done.status) == (expected, Status.ADMITTED)
        assert "dXNlcjpw" not in done.out


def test_doctor_finds_what_is_open_and_what_is_broken(source: Path, bin_dir: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('version = 3\n[plugins."io.containerd.cri.v1.images"]\nmax_concurrent_downloads = 5\n')
    done, found = doctor(config)
    assert done.status == Status.DENIED
    failed = {item["name"]: item for item in found if item["outcome"] == "failed"}
    assert set(failed) == {"pull path", "verifier directory", "policies"}
    assert "every image is pulled" in failed["verifier directory"]["message"]
    assert all(item["remedy"] for item in failed.values())
    text = cli("doctor", "--containerd", config)
    assert (text.status, "max_concurrent_downloads" in text.out) == (Status.DENIED, True)


@pytest.mark.parametrize("content", ["soon", "0s", "90s", "\xff"])
def test_doctor_finds_a_time_that_blocks_every_pull(source: Path, tmp_path: Path, content: str) -> None:
    assert cli("install", "--containerd", "--policies", source).status == Status.ADMITTED
    (tmp_path / "etc" / "timeout").write_bytes(content.encode("latin-1"))
    config = tmp_path / "config.toml"
    config.write_text("version = 3\n")
    done, found = doctor(config)
    failed = [item for item in found if item["outcome"] == "failed"]
    assert [(item["name"], "timeout" in item["message"]) for item in failed] == [("policies", True)]
    assert done.status == Status.DENIED


def test_doctor_names_the_file_that_is_no_toml(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("version =\n")
    done = cli("doctor", "--containerd", config)
    assert (done.status, "config.toml" in done.err, "Traceback" in done.err) == (Status.USAGE, True, False)
    assert cli("doctor", "--containerd", tmp_path / "none.toml").status == Status.USAGE
