"""What ``python -m tools.dist`` builds: the real plugin, alone in an empty container, and the same bytes every time."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from launcher.tests.harness import ROOT
from slsa_verifier_plugin import __version__
from tests.e2e.one_file import build
from tests.support.embedded_registry import EmbeddedRegistry
from tests.support.processes import kill
from tests.support.waiting import at_once
from tools.dist import elf, stage, zipped
from tools.dist.__main__ import MAX_PLUGIN_BYTES

TESTDATA = ROOT / "testdata"
NONROOT = 65532
REPOSITORY = "source-demo"
IMAGE_TYPE = "application/vnd.oci.image.manifest.v1+json"
ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to change its root directory and user")


MAX_FILES = 700
"""Of the unpacked runtime; a slow disk takes a millisecond for each."""


class Jail:
    """An empty container: the plugin, ``/tmp``, a trusted root and CA certificates, nothing else; not even ``/proc``."""

    def __init__(self, root: Path, plugin: Path) -> None:
        self.root = root
        for name in ("tmp", "testdata", "etc/ssl/certs"):
            (root / name).mkdir(parents=True)
        (root / "tmp").chmod(0o1777)
        shutil.copy(TESTDATA / "trusted_root.json", root / "testdata")
        shutil.copy("/etc/ssl/certs/ca-certificates.crt", root / "etc/ssl/certs")
        shutil.copy(plugin, root / "slsa")

    def run(
        self, *command: str, stdin: bytes = b"", uid: int = NONROOT, **environ: Any
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a program in it, as a user without a name."""
        enter = ["chroot", f"--userspec={uid}:{uid}", "--groups=", str(self.root)]
        environment = {"PATH": os.environ["PATH"], "HOME": "/home/nonroot", **environ}
        return subprocess.run(
            [*enter, *command], input=stdin, capture_output=True, env=environment, timeout=60, check=False
        )

    def verify(self, level: int, registry: EmbeddedRegistry, **environ: Any) -> dict[str, Any]:
        """Verify an image of ``testdata/`` as Ratify asks for it, and return the result."""
        subject = f"{registry.host}/{REPOSITORY}@{_digest(TESTDATA / f'manifest-image-level-{level}.json')}"
        variables: dict[str, Any] = {
            "RATIFY_VERIFIER_COMMAND": "VERIFY",
            "RATIFY_VERIFIER_SUBJECT": subject,
            "RATIFY_VERIFIER_VERSION": "1.0.0",
        }
        stdin = (TESTDATA / f"stdin-level-{level}.json").read_bytes()
        done = self.run("/slsa", stdin=stdin, **variables, **environ)
        assert done.returncode == 0, done
        assert done.stderr == b""
        assert done.stdout.count(b"\n") == 1
        result = json.loads(done.stdout)
        assert isinstance(result, dict)
        return result

    def runtime(self) -> Path:
        """Where the plugin has unpacked itself, seen from inside."""
        [path] = self.root.glob(f"tmp/slsa-verifier-plugin-{NONROOT}/runtime/runtime-*[0-9a-f]/")
        return Path("/") / path.relative_to(self.root)

    def processes(self) -> list[int]:
        """What runs in it."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                is_inside = entry.name.isdigit() and (entry / "root").readlink() == self.root
            except OSError:
                continue
            if is_inside:
                found.append(int(entry.name))
        return found

    def servers(self) -> list[int]:
        """The resident verifiers, without the process that verifies signatures for each."""
        found = {pid: _parent_of(pid) for pid in self.processes()}
        return [pid for pid, parent in found.items() if parent not in found]


def _parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.fixture
def jail(built: Path, tmp_path: Path) -> Iterator[Jail]:
    tmp_path.chmod(0o755)
    jail = Jail(tmp_path / "jail", built / "dist" / "slsa")
    yield jail
    for pid in jail.processes():
        kill(pid)


@pytest.fixture(scope="module")
def registry() -> Iterator[EmbeddedRegistry]:
    """The images and attestations of ``testdata/``."""
    with EmbeddedRegistry() as registry:
        registry.storage.put_blob(REPOSITORY, b"{}")
        for level in (1, 3):
            registry.storage.put_blob(REPOSITORY, (TESTDATA / f"level-{level}.intoto.jsonl").read_bytes())
            for kind in (f"image-level-{level}", f"level-{level}"):
                registry.storage.put_manifest(REPOSITORY, (TESTDATA / f"manifest-{kind}.json").read_bytes())
        yield registry


def _digest(path: Path) -> str:
    return "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()


@ROOT_ONLY
def test_alone_in_a_container_it_admits_and_denies(jail: Jail, registry: EmbeddedRegistry) -> None:
    for mode in ("auto", "off"):
        good = jail.verify(3, registry, SLSA_VERIFIER_RESIDENT=mode)
        assert good["isSuccess"] is True, good
        assert good["message"].startswith("SLSA Attestation Check: SUCCESS.")
        bad = jail.verify(1, registry, SLSA_VERIFIER_RESIDENT=mode)
        assert (bad["isSuccess"], bad["extensions"]["reason"]) == (False, "LEVEL_TOO_LOW")
    # Both calls of the first round were answered by one resident verifier, which is the user's own.
    [server] = jail.servers()
    assert Path(f"/proc/{server}").stat().st_uid == NONROOT


@ROOT_ONLY
def test_answers_are_the_same_with_and_without_a_resident_verifier(
    jail: Jail, registry: EmbeddedRegistry
) -> None:
    def without_times(result: dict[str, Any]) -> dict[str, Any]:
        del result["extensions"]["durationMs"]
        return result

    for level in (1, 3):
        warm = without_times(jail.verify(level, registry))
        assert warm == without_times(jail.verify(level, registry, SLSA_VERIFIER_RESIDENT="off"))
        assert warm == without_times(jail.verify(level, registry, SLSA_VERIFIER_RESIDENT="require"))


@ROOT_ONLY
def test_many_first_callers_each_get_one_honest_verdict(jail: Jail, registry: EmbeddedRegistry) -> None:
    results = at_once(24, lambda number: (number % 2, jail.verify(3 if number % 2 else 1, registry)))
    for good, result in results:
        if not good:
            assert result["isSuccess"] is False
        elif not result["isSuccess"]:
            # Out of time on a loaded machine; never anything else.
            assert result["extensions"]["reason"] == "DEADLINE_EXCEEDED", result
    assert len(jail.servers()) == 1
    assert jail.verify(3, registry)["isSuccess"] is True


@ROOT_ONLY
def test_two_users_share_nothing(jail: Jail, registry: EmbeddedRegistry) -> None:
    assert jail.verify(3, registry)["isSuccess"] is True
    done = jail.run("/slsa", "--version", uid=1234)
    assert done.stdout.decode() == f"slsa-verifier-plugin {__version__}\n"
    owners = {path.name: path.stat().st_uid for path in (jail.root / "tmp").iterdir()}
    assert owners == {"slsa-verifier-plugin-65532": 65532, "slsa-verifier-plugin-1234": 1234}


@ROOT_ONLY
def test_the_command_line_finds_the_plugins_resident_verifier(jail: Jail, registry: EmbeddedRegistry) -> None:
    jail.verify(3, registry)
    [server] = jail.servers()
    status = jail.run("/slsa", "resident", "status", "--json")
    assert json.loads(status.stdout)["pid"] == server, status
    assert jail.run("/slsa", "resident", "stop").returncode == 0
    assert jail.processes() == []
    assert jail.run("/slsa", "resident", "start").returncode == 0
    [started] = jail.servers()
    assert jail.verify(3, registry, SLSA_VERIFIER_RESIDENT="require")["isSuccess"] is True
    assert jail.servers() == [started]


@ROOT_ONLY
def test_it_installs_itself(jail: Jail) -> None:
    # It tries out what it has installed, as a process without input.
    (jail.root / "dev").mkdir()
    os.mknod(jail.root / "dev/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    (jail.root / "dev/null").chmod(0o666)
    done = jail.run("/slsa", "install", "--plugins-dir", "/tmp/plugins")
    assert done.returncode == 0, done
    for name in ("slsa", "slsla"):
        assert (jail.root / "tmp/plugins" / name).read_bytes() == (jail.root / "slsa").read_bytes()
    assert jail.run("/tmp/plugins/slsla", "--version").stdout == jail.run("/slsa", "--version").stdout


@ROOT_ONLY
def test_in_a_container_the_interpreter_is_complete(jail: Jail) -> None:
    (jail.root / "etc" / "hosts").write_text("127.0.0.9 registry.test\n")
    assert jail.run("/slsa", "--version").stdout.decode() == f"slsa-verifier-plugin {__version__}\n"
    code = """
import json, os, socket, ssl, subprocess, sys, sysconfig, time
again = subprocess.run([sys.executable, "-I", "-c", "print(6 * 7)"], capture_output=True, text=True)
print(json.dumps({
    "again": again.stdout.strip(),
    "address": socket.getaddrinfo("127.0.0.1", 80)[0][4][0],
    "name": socket.getaddrinfo("registry.test", 80)[0][4][0],
    "prefix": sys.prefix,
    "foreign": [path for path in sys.path if not path.startswith(sys.prefix)],
    "mapped": open("/proc/self/maps").read() if os.path.exists("/proc/self/maps") else "",
    "tls": ssl.HAS_TLSv1_3,
    "encoding": sys.getfilesystemencoding(),
}))
"""
    done = jail.run(str(jail.runtime() / "bin/python3"), "-I", "-c", code)
    assert done.returncode == 0, done
    assert json.loads(done.stdout) == {
        "again": "42",
        "address": "127.0.0.1",
        "name": "127.0.0.9",
        "prefix": str(jail.runtime()),
        "foreign": [],
        "mapped": "",
        "tls": True,
        "encoding": "utf-8",
    }


@ROOT_ONLY
def test_a_failing_module_still_shows_where(jail: Jail) -> None:
    assert jail.run("/slsa", "--version").returncode == 0
    code = "from slsa_verifier_plugin import deadline; deadline.Deadline(None)"
    done = jail.run(str(jail.runtime() / "bin/python3"), "-I", "-c", code)
    assert b'File "slsa_verifier_plugin/deadline.py", line ' in done.stderr


def test_it_is_one_static_file_under_both_names(built: Path) -> None:
    plugin, other = built / "dist" / "slsa", built / "dist" / "slsla"
    assert plugin.stat().st_size <= MAX_PLUGIN_BYTES
    assert plugin.samefile(other) or plugin.read_bytes() == other.read_bytes()
    assert plugin.stat().st_mode & 0o111 == 0o111
    assert elf.read_dynamic(plugin).needed == ()
    headers = subprocess.run(["readelf", "-lWd", plugin], capture_output=True, text=True, check=True).stdout
    assert "INTERP" not in headers
    assert "GNU_RELRO" in headers
    assert "There is no dynamic section" in headers
    assert " RWE " not in headers
    assert "Elf file type is EXEC" in headers


def test_it_unpacks_into_few_files(built: Path) -> None:
    runtime = built / "work" / "runtime"
    assert sum(path.is_file() for path in runtime.rglob("*")) < MAX_FILES
    with zipfile.ZipFile(runtime / "lib" / zipped.NAME) as archive:
        names = archive.namelist()
        assert all(info.compress_type == zipfile.ZIP_STORED for info in archive.infolist())
    assert {
        "json/decoder.pyc",
        "slsa_verifier_plugin/verification/verify.pyc",
        "msal/__init__.pyc",
    } <= {*names}
    assert not [name for name in names if name.endswith((".so", ".py"))]


def test_what_it_carries_needs_nothing_of_the_machine(built: Path) -> None:
    runtime = built / "work" / "runtime"
    carried = {path.name for path in (runtime / "lib").iterdir() if path.is_file()}
    files = [path for path in stage.elf_files(runtime) if path.name != "python3" or path.parent.name != "bin"]
    assert len(files) > 40
    for path in files:
        dynamic = elf.read_dynamic(path)
        beside = {name for run_path in dynamic.run_paths for name in _names(run_path, path)}
        assert set(dynamic.needed) <= carried | beside, path
        assert all(run_path.startswith("$ORIGIN") for run_path in dynamic.run_paths), path
    assert list(runtime.rglob("*.py")) == []
    assert [
        path
        for path in runtime.rglob("*")
        if path.name in ("test", "tests", ".mypy_cache", "pygments", "tkinter")
    ] == []


def _names(run_path: str, path: Path) -> set[str]:
    directory = Path(run_path.replace("$ORIGIN", str(path.parent)))
    return {entry.name for entry in directory.iterdir()} if directory.is_dir() else set()


def test_a_second_build_has_the_same_bytes(built: Path, tmp_path: Path) -> None:
    settings = {"PYTHONHASHSEED": "12345", "TZ": "Asia/Kathmandu", "LC_ALL": "C", "HOME": str(tmp_path)}
    second = build(tmp_path, built / "source", **settings)
    names = sorted(path.name for path in (built / "dist").iterdir())
    assert names == [
        "slsa",
        "slsa.cdx.json",
        "slsa_verifier_plugin-" + __version__ + "-py3-none-any.whl",
        "slsa_verifier_plugin-" + __version__ + ".tar.gz",
        "slsla",
    ]
    digests = [{name: _digest(directory / "dist" / name) for name in names} for directory in (built, second)]
    assert digests[0] == digests[1]


def test_the_bill_names_what_is_carried(built: Path) -> None:
    bill = json.loads((built / "dist" / "slsa.cdx.json").read_text())
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert bill["metadata"]["component"]["version"] == __version__
    assert bill["metadata"]["component"]["hashes"] == [
        {"alg": "SHA-256", "content": _digest(built / "dist" / "slsa").removeprefix("sha256:")}
    ]
    components = {component["name"]: component for component in bill["components"]}
    assert {"sigstore", "cryptography", "oras", "cpython"} <= components.keys()
    assert not {"markdown-it-py", "pygments", "pip", "pytest"} & {name.lower() for name in components}
    # Every library of the system is in it, with the digest of the file as it is carried.
    files = {
        file["name"]: file["hashes"][0]["content"]
        for c in bill["components"]
        for file in c.get("components", ())
    }
    runtime = built / "work" / "runtime"
    libraries = {
        f"lib/{path.name}"
        for path in (runtime / "lib").iterdir()
        if path.is_file() and path.name != zipped.NAME
    }
    assert files.keys() == libraries | {"libexec/python3"}
    assert all(_digest(runtime / name) == f"sha256:{digest}" for name, digest in files.items())
    # So is every package.
    with zipfile.ZipFile(runtime / "lib" / zipped.NAME) as archive:
        tops = {name.partition("/")[0] for name in archive.namelist()}
    packages = {name.split("-")[0].lower().replace("_", "-") for name in tops if name.endswith(".dist-info")}
    assert len(packages) > 50
    named = {name.lower().replace("_", "-") for name in components} | {bill["metadata"]["component"]["name"]}
    assert packages <= named
    references = {component["bom-ref"] for component in bill["components"]} | {
        bill["metadata"]["component"]["bom-ref"]
    }
    assert {entry["ref"] for entry in bill["dependencies"]} == references


def test_packages_hold_the_package(built: Path) -> None:
    [wheel] = (built / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert "slsa_verifier_plugin/entry.py" in names
    assert "slsa_verifier_plugin/policy/parameters.schema.json" in names
    assert not [name for name in names if "/." in name or name.endswith(".pyc") or name.startswith("tests/")]
    [source] = (built / "dist").glob("*.tar.gz")
    with tarfile.open(source) as file:
        members = {member.name.partition("/")[2] for member in file.getmembers()}
    assert {"pyproject.toml", "slsa_verifier_plugin/entry.py", "README.md"} <= members
    assert not [name for name in members if "/." in name or name.endswith(".pyc")]
