"""The runtime that the launcher carries: unpacked once, whole or not at all, and only where nobody else can write."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import os
import shutil
import signal
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from launcher.tests.harness import (
    LOADER,
    Completed,
    Plugin,
    as_nonroot,
    can_mount,
    denial,
    standin_runtime,
    tar,
    told,
)
from tests.support.resident import kill, wait_until
from tests.support.waiting import at_once
from tools.dist import archive

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be two users")
MOUNTS = pytest.mark.skipif(not can_mount(), reason="needs to mount file systems in a namespace of its own")
OFF: dict[str, Any] = {"SLSA_VERIFIER_RESIDENT": "off"}
MIB = 1 << 20


@pytest.fixture
def plugin() -> Iterator[Plugin]:
    with Plugin() as plugin:
        yield plugin


@pytest.fixture(scope="module")
def large() -> bytes:
    """A runtime that takes a moment to unpack: 96 MiB in four files, which do not compress."""
    return standin_runtime(**{f"part{number}": os.urandom(24 * MIB) for number in range(4)})


def test_it_is_unpacked_once(plugin: Plugin) -> None:
    value = told(plugin.run(**OFF))
    assert value["arguments"] == [
        "--inhibit-cache",
        "--library-path",
        f"{plugin.runtime}/lib",
        "--argv0",
        f"{plugin.runtime}/bin/python3",
        f"{plugin.runtime}/libexec/python3",
        "-I",
        "-m",
        "slsa_verifier_plugin",
    ]
    before = (plugin.runtime / LOADER).stat()
    told(plugin.run(**OFF))
    assert (plugin.runtime / LOADER).stat().st_ino == before.st_ino
    modes = {
        path.stat().st_mode & 0o777 for path in (plugin.cache, *plugin.cache.rglob("*")) if path.is_dir()
    }
    assert modes == {0o700}
    assert before.st_mode & 0o777 == 0o700
    assert sorted(path.name for path in plugin.cache.iterdir()) == [
        plugin.runtime.name,
        plugin.runtime.name + ".lock",
    ]


def test_with_arguments_it_is_the_command_line(plugin: Plugin) -> None:
    done = plugin.run("trust", "status", "--json", "ü {x}", stdin=b"for the command")
    value = told(done)
    assert done.returncode == 7
    assert value["called"] == ["trust", "status", "--json", "ü {x}"]
    assert value["environment"]["SLSA_VERIFIER_BUILD"] == plugin.digest
    assert value["environment"]["SLSA_VERIFIER_EXECUTABLE"] == str(plugin.path)
    assert "SLSA_VERIFIER_RESIDENT" not in value["environment"]


def test_without_ratifys_variables_the_runtime_decides(plugin: Plugin) -> None:
    del plugin.environ["RATIFY_VERIFIER_COMMAND"]
    value = told(plugin.run(stdin=b"in"))
    assert value["called"] == []
    assert bytes.fromhex(value["stdin"]) == b"in"
    assert "SLSA_VERIFIER_RESIDENT" not in value["environment"]


def test_an_older_and_a_newer_build_live_side_by_side(plugin: Plugin) -> None:
    newer = plugin.home / "newer"
    digest = plugin.write(standin_runtime(version=b"2"), newer)
    for _ in range(2):
        assert told(plugin.run(**OFF))["environment"]["SLSA_VERIFIER_BUILD"] == plugin.digest
        assert told(plugin.run_in([str(newer)], **OFF))["environment"]["SLSA_VERIFIER_BUILD"] == digest
    one, other = plugin.run(), plugin.run_in([str(newer)])
    assert [done.stdout for done in (one, other)] == [b"resident %d\n" % pid for pid in plugin.pids()]
    assert len({*plugin.pids()}) == 2


def test_a_replaced_plugin_meets_no_older_server(plugin: Plugin) -> None:
    first = plugin.run().stdout
    plugin.write(standin_runtime(version=b"2"))
    assert plugin.run().stdout not in (first, b"")
    assert len(plugin.pids()) == 2


# Where it is unpacked.


def _candidates(plugin: Plugin) -> dict[str, Any]:
    return {
        "SLSA_VERIFIER_CACHE": str(plugin.home / "a"),
        "XDG_CACHE_HOME": str(plugin.home / "b"),
        "HOME": str(plugin.home / "c"),
        "TMPDIR": str(plugin.home / "d"),
        **OFF,
    }


def test_directories_are_tried_in_order(plugin: Plugin) -> None:
    settings = _candidates(plugin)
    below = [
        "a",
        "b/slsa-verifier-plugin",
        "c/.cache/slsa-verifier-plugin",
        f"d/slsa-verifier-plugin-{os.geteuid()}/runtime",
    ]
    for expected in below:
        place = told(plugin.run(**settings))["arguments"][2]
        assert place == f"{plugin.home}/{expected}/{plugin.runtime.name}/lib"
        # The next round finds a file in its way.
        top = plugin.home / expected.split("/")[0]
        top.rename(plugin.home / f"old-{top.name}")
        top.touch()


@pytest.mark.parametrize(
    "kind", ["wide", "readable", pytest.param("foreign", marks=ROOT_ONLY), "link", "dangling", "file"]
)
def test_a_directory_that_is_not_private_is_passed_over(plugin: Plugin, kind: str) -> None:
    directory, outside = plugin.home / "a", plugin.home / "outside"
    outside.mkdir(mode=0o700)
    if kind == "link":
        directory.symlink_to(outside)
    elif kind == "dangling":
        directory.symlink_to("nowhere")
    elif kind == "file":
        directory.touch(mode=0o700)
    else:
        directory.mkdir(mode=0o700)
        directory.chmod({"wide": 0o777, "readable": 0o750, "foreign": 0o700}[kind])
        os.chown(directory, 65532 if kind == "foreign" else -1, -1)
    done = plugin.run(**_candidates(plugin))
    assert told(done)["arguments"][2].startswith(f"{plugin.home}/b/")
    assert list(outside.iterdir()) == []


@ROOT_ONLY
@pytest.mark.parametrize("kind", ["wide", "foreign", "link"])
def test_an_unpacked_directory_that_is_not_private_is_made_anew(plugin: Plugin, kind: str) -> None:
    told(plugin.run(**OFF))
    before = plugin.runtime.stat().st_ino
    if kind == "wide":
        plugin.runtime.chmod(0o777)
    elif kind == "foreign":
        os.chown(plugin.runtime, 65532, 65532)
    else:
        plugin.runtime.rename(plugin.home / "moved")
        plugin.runtime.symlink_to(plugin.home / "moved")
    told(plugin.run(**OFF))
    after = plugin.runtime.lstat()
    assert (after.st_ino != before, after.st_uid, after.st_mode & 0o7777) == (True, os.geteuid(), 0o700)


def test_a_relative_directory_is_passed_over(plugin: Plugin) -> None:
    settings: dict[str, Any] = _candidates(plugin) | {"SLSA_VERIFIER_CACHE": "a"}
    assert told(plugin.run(**settings))["arguments"][2].startswith(f"{plugin.home}/b/")
    assert not (plugin.home / "a").exists()


def _run_on(plugin: Plugin, options: str, then: str = "true") -> tuple[Completed, list[str]]:
    """Run the plugin with a file system of its own as its first directory; return the files on it as well."""
    point, listing = plugin.home / "a", plugin.home / "listing"
    point.mkdir(mode=0o700)
    script = f'mount -t tmpfs -o {options} tmpfs "$1" && chmod 700 "$1" && {then} && "$2"'
    script += '; status=$?; find "$1" -mindepth 1 > "$3"; exit $status'
    command = ["unshare", "--mount", "sh", "-c", script, "sh", str(point), str(plugin.path), str(listing)]
    done = plugin.run_in(command, **_candidates(plugin))
    return done, [line.removeprefix(f"{point}/") for line in listing.read_text().splitlines()]


@MOUNTS
@pytest.mark.parametrize(
    ("options", "then", "locked"),
    [
        ("noexec", "true", False),
        ("size=16k", "true", True),
        ("nr_inodes=4", "true", True),
        ("size=64m", 'mount -o remount,ro "$1"', False),
    ],
    ids=["noexec", "no space", "no inodes", "read-only"],
)
def test_a_file_system_that_does_not_do_is_passed_over(
    plugin: Plugin, options: str, then: str, locked: bool
) -> None:
    done, left = _run_on(plugin, options, then)
    assert told(done)["arguments"][2].startswith(f"{plugin.home}/b/")
    assert left == ([f"{plugin.runtime.name}.lock"] if locked else [])


@MOUNTS
def test_a_disk_that_fills_up_meanwhile_is_left_clean(large: bytes) -> None:
    with Plugin(large) as plugin:
        # Too few inodes for the last files: the space itself is looked at before unpacking.
        done, left = _run_on(plugin, "nr_inodes=9")
        assert told(done)["arguments"][2].startswith(f"{plugin.home}/b/")
        assert left == [f"{plugin.runtime.name}.lock"]


@ROOT_ONLY
def test_a_directory_that_cannot_be_written_is_passed_over(plugin: Plugin) -> None:
    plugin.home.chmod(0o755)
    for name in "ab":
        (plugin.home / name).mkdir(mode=0o755)
    os.chown(plugin.home / "b", 65532, 65532)
    settings = {**plugin.environ, **_candidates(plugin), "SLSA_VERIFIER_CACHE": str(plugin.home / "a" / "x")}

    def call() -> None:
        subprocess.run([plugin.path], input=b"", capture_output=True, env=settings, timeout=20, check=False)

    assert as_nonroot(call) == 0
    assert (plugin.home / "b/slsa-verifier-plugin" / plugin.runtime.name).is_dir()
    assert not (plugin.home / "a" / "x").exists()


def _in_jail(plugin: Plugin, jail: Path, **environ: Any) -> Completed:
    """Run the plugin with ``jail`` as the root directory, read-only, and the plugin as its only file."""
    (jail / "slsa").write_bytes(plugin.path.read_bytes())
    (jail / "slsa").chmod(0o755)
    script = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && exec chroot "$1" /slsa'
    return plugin.run_in(["unshare", "--mount", "sh", "-c", script, "sh", str(jail)], **environ)


@MOUNTS
def test_with_no_directory_at_all_it_denies_and_says_why(plugin: Plugin) -> None:
    jail = plugin.home / "jail"
    (jail / "cache{}").mkdir(parents=True)
    settings: dict[str, Any] = {"SLSA_VERIFIER_CACHE": "/cache{}/x", "HOME": "/home", "TMPDIR": "/", **OFF}
    for mode in ("off", "auto", "require"):
        value = denial(_in_jail(plugin, jail, **settings | {"SLSA_VERIFIER_RESIDENT": mode}))
        assert value["extensions"] == {"reason": "INTERNAL_ERROR", "transient": True}
        if mode != "require":
            assert (
                "/cache()/x: Read-only file system; /home/.cache/slsa-verifier-plugin: " in value["message"]
            )
            assert "SLSA_VERIFIER_CACHE" in value["message"]


# Damage.


def _spoiled(plugin: Plugin, change: str) -> bytes:
    content = bytearray(plugin.path.read_bytes())
    size = len(content)
    begin = len(plugin.program.read_bytes())
    payload = size - begin - archive.TRAILER.size
    if change.startswith("byte"):
        content[begin + payload * int(change[4:]) // 100] ^= 1
    elif change == "last byte":
        content[begin + payload - 1] ^= 1
    elif change == "digest":
        content[size - 1] ^= 1
    elif change == "unpacked size":
        content[-41] ^= 1
    elif change == "length":
        content[-49] ^= 1
    elif change == "begin":
        # A byte of the program goes into the payload: right trailer, wrong place.
        del content[begin]
    return bytes(content)


CHANGES = [
    "byte0",
    "byte1",
    "byte25",
    "byte50",
    "byte75",
    "byte99",
    "last byte",
    "digest",
    "unpacked size",
    "length",
    "begin",
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_damaged_payload_is_never_run(plugin: Plugin, change: str) -> None:
    plugin.path.write_bytes(_spoiled(plugin, change))
    for mode in ("off", "auto"):
        value = denial(plugin.run(SLSA_VERIFIER_RESIDENT=mode))
        assert value["extensions"] == {"reason": "INTERNAL_ERROR", "transient": False}
        assert "damaged" in value["message"]
    assert [path for path in plugin.cache.rglob("*") if not path.name.endswith(".lock")] == []
    done = plugin.run("--version")
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"damaged" in done.stderr
    assert plugin.pids() == []


@pytest.mark.parametrize("left", [0, 1, 63, 64, 1000, -1, -64, -65])
def test_a_file_that_was_cut_is_never_run(plugin: Plugin, left: int) -> None:
    content = plugin.path.read_bytes()
    begin = len(plugin.program.read_bytes())
    plugin.path.write_bytes(content[: begin + left] if left >= 0 else content[:left])
    value = denial(plugin.run(**OFF))
    assert value["extensions"] == {"reason": "INTERNAL_ERROR", "transient": False}
    assert not plugin.cache.exists()


def _special(kind: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as file:
        info = tarfile.TarInfo(
            {"above": "../escaped", "absolute": "/escaped", "dots": "a/../../escaped"}.get(kind, "escaped")
        )
        if kind in ("link", "hard link"):
            info.type, info.linkname = (tarfile.SYMTYPE if kind == "link" else tarfile.LNKTYPE), "/etc/passwd"
        elif kind == "device":
            info.type = tarfile.CHRTYPE
        elif kind == "twice":
            file.addfile(info)
        elif kind == "list":
            info.name = "complete"
        elif kind == "no parent":
            info.name = "lib/escaped"
        file.addfile(info)
    content = buffer.getvalue()
    if kind == "no end":
        return content[:512]
    if kind == "after the end":
        return content + tar({"more": b""})
    return content


def _nowhere_else(plugin: Plugin) -> dict[str, Any]:
    """Return variables that leave only the plugin's own cache and the system's shared directories."""
    (plugin.home / "file").touch()
    return {name: str(plugin.home / "file") for name in ("XDG_CACHE_HOME", "HOME", "TMPDIR")}


def _clean_shared(plugin: Plugin) -> None:
    """Remove what a test that uses every directory has left of this plugin in the shared ones."""
    for base in ("/tmp", "/var/tmp", "/dev/shm"):
        for path in Path(base).glob(f"slsa-verifier-plugin-*/runtime/{plugin.runtime.name}*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
            with contextlib.suppress(OSError):  # another plugin's runtime is there as well
                path.parent.rmdir()
                path.parent.parent.rmdir()


REFUSED = ["above", "absolute", "dots", "link", "hard link", "device", "list", "no end", "after the end"]


@pytest.mark.parametrize("kind", REFUSED)
def test_what_a_payload_must_not_hold_is_refused(kind: str) -> None:
    with Plugin(_special(kind)) as plugin:
        value = denial(plugin.run(**OFF))
        assert "damaged" in value["message"]
        names = {path.name for path in plugin.home.rglob("*")} | {
            path.name for path in plugin.home.parent.iterdir()
        }
        assert "escaped" not in names
        assert [path.name for path in plugin.cache.iterdir()] == [plugin.runtime.name + ".lock"]


@pytest.mark.parametrize("kind", ["twice", "no parent"])
def test_a_file_that_cannot_be_made_fails_the_directory(kind: str) -> None:
    with Plugin(_special(kind)) as plugin:
        value = denial(plugin.run(**_nowhere_else(plugin), **OFF))
        assert f"{plugin.cache}: " in value["message"]
        assert value["extensions"]["reason"] == "INTERNAL_ERROR"
        _clean_shared(plugin)


def test_another_frame_behind_the_payload_is_refused(plugin: Plugin) -> None:
    runtime = standin_runtime()
    for payload in (
        archive.compress(runtime, 1) * 2,
        archive.compress(runtime, 1) + b"\0",
        archive.compress(runtime, 1)[:-4],
    ):
        archive.write_one_file(plugin.program, runtime, payload, plugin.path)
        assert "damaged" in denial(plugin.run(**OFF))["message"]


@pytest.mark.parametrize("unpacked", [0, 512, -1, 1])
def test_a_payload_of_another_size_is_refused(plugin: Plugin, unpacked: int) -> None:
    runtime = standin_runtime()
    payload = archive.compress(runtime, 1)
    size = unpacked if unpacked in (0, 512) else len(runtime) + unpacked
    trailer = archive.TRAILER.pack(archive.MAGIC, len(payload), size, 0, hashlib.sha256(payload).digest())
    plugin.path.write_bytes(plugin.program.read_bytes() + payload + trailer)
    assert "damaged" in denial(plugin.run(**OFF))["message"]


def test_no_more_is_written_than_the_trailer_says(plugin: Plugin) -> None:
    runtime = standin_runtime(bomb=bytes(8 * MIB))
    payload = archive.compress(runtime, 1)
    trailer = archive.TRAILER.pack(archive.MAGIC, len(payload), 4096, 0, hashlib.sha256(payload).digest())
    plugin.path.write_bytes(plugin.program.read_bytes() + payload + trailer)
    # Writing further would end the unpacker by SIGXFSZ, and be no damage but a kill.
    done = plugin.run_in(["prlimit", f"--fsize={MIB}", str(plugin.path)], **OFF)
    assert "damaged" in denial(done)["message"]


@pytest.mark.parametrize("damage", ["missing", "empty", "short", "list", "list of another"])
def test_a_directory_that_lost_something_is_made_anew(damage: str) -> None:
    with Plugin(standin_runtime(data=b"x" * 1000)) as plugin:
        told(plugin.run(**OFF))
        victim = plugin.runtime / "more" / "data"
        marker = plugin.runtime / "complete"
        if damage == "missing":
            victim.unlink()
        elif damage == "empty":
            victim.write_bytes(b"")
        elif damage == "short":
            victim.write_bytes(b"x" * 999)
        elif damage == "list":
            marker.unlink()
        else:
            marker.write_text("0" * 64 + "\n")
        told(plugin.run(**OFF))
        assert victim.read_bytes() == b"x" * 1000
        assert marker.read_text().startswith(plugin.digest + "\n")


# Many callers, and kills.


def test_sixty_four_first_callers_unpack_once(large: bytes) -> None:
    with Plugin(large) as plugin:
        results = at_once(64, lambda number: plugin.run(stdin=b"%d" % number, timeout=60, **OFF))
        for number, done in enumerate(results):
            # On a machine that is loaded enough, a caller may give up waiting; that is an honest answer.
            if done.returncode == 0:
                assert denial(done)["extensions"]["transient"] is True
            else:
                assert bytes.fromhex(told(done)["stdin"]) == b"%d" % number
        assert sum(done.returncode == 3 for done in results) > 32
        assert sorted(path.name for path in plugin.cache.iterdir()) == [
            plugin.runtime.name,
            plugin.runtime.name + ".lock",
        ]


def test_a_killed_unpacker_is_followed_by_another(large: bytes) -> None:
    with Plugin(large) as plugin, plugin.began(**OFF) as caller:
        wait_until((plugin.cache / f"{plugin.runtime.name}.part").exists)
        for pid in plugin.unpackers(but=caller.pid):
            kill(pid)
        output, _ = caller.communicate(timeout=30)
        assert caller.returncode in (0, 3)
        assert b'"isSuccess":true' not in output
        assert told(plugin.run(**OFF))["called"] == []
        assert not (plugin.cache / f"{plugin.runtime.name}.part").exists()


def test_what_was_left_by_a_killed_unpacker_is_removed(plugin: Plugin) -> None:
    part = plugin.cache / f"{plugin.runtime.name}.part"
    (part / "lib" / "deep").mkdir(parents=True)
    (part / "lib" / "deep" / "left").touch()
    (part / "link").symlink_to("/etc")
    plugin.cache.chmod(0o700)
    told(plugin.run(**OFF))
    assert not part.exists()
    assert not (plugin.runtime / "link").is_symlink()


def test_unpacking_goes_on_when_its_caller_is_killed(large: bytes) -> None:
    with Plugin(large) as plugin, plugin.began(**OFF) as caller:
        wait_until((plugin.cache / f"{plugin.runtime.name}.part").exists)
        [unpacker] = plugin.unpackers(but=caller.pid)
        os.kill(unpacker, signal.SIGSTOP)
        caller.send_signal(signal.SIGKILL)
        # Ratify waits for the end of the caller's output: returns only if the unpacker does not hold it.
        caller.communicate(timeout=20)
        assert not (plugin.runtime / "complete").exists()
        os.kill(unpacker, signal.SIGCONT)
        wait_until((plugin.runtime / "complete").exists)
        assert told(plugin.run(**OFF))["called"] == []


def test_a_stopped_unpacker_is_waited_for_within_the_deadline(large: bytes) -> None:
    with Plugin(large) as plugin, plugin.began(**OFF) as caller:
        wait_until((plugin.cache / f"{plugin.runtime.name}.part").exists)
        stopped = plugin.unpackers(but=caller.pid)
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        try:
            begin = time.monotonic()
            done = plugin.run(**OFF)
            assert time.monotonic() - begin < 5
            value = denial(done)
            assert "still being unpacked" in value["message"]
            assert value["extensions"]["transient"] is True
        finally:
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)
        caller.communicate(timeout=30)
        assert told(plugin.run(**OFF))["called"] == []


def test_a_lock_that_is_held_is_waited_for_within_the_deadline(plugin: Plugin) -> None:
    plugin.cache.mkdir(mode=0o700)
    with (plugin.cache / f"{plugin.runtime.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        begin = time.monotonic()
        assert "still being unpacked" in denial(plugin.run(**OFF))["message"]
        assert 3 < time.monotonic() - begin < 5
    assert told(plugin.run(**OFF))["called"] == []


def test_a_runtime_that_fails_is_no_success(plugin: Plugin) -> None:
    done = plugin.run(**OFF, TEST_LAUNCHER_RUNTIME_FAILS="1")
    assert (done.returncode, done.stdout) == (9, b"")


def test_a_loader_that_cannot_be_executed_is_reported() -> None:
    with Plugin(tar({LOADER: b"#!/nowhere/interpreter\n"})) as plugin:
        for mode in ("off", "auto"):
            value = denial(plugin.run(**_nowhere_else(plugin), SLSA_VERIFIER_RESIDENT=mode))
            assert "No such file or directory" in value["message"]
        _clean_shared(plugin)


@pytest.mark.parametrize("kind", ["call", "first", "damaged", "garbage"])
def test_the_sanitizers_find_nothing(kind: str) -> None:
    with Plugin(program="sanitized/launcher") as plugin:
        # They look for leaks at exit, which execve never reaches, and would report by standard error.
        plugin.environ["ASAN_OPTIONS"] = "detect_leaks=0"
        if kind == "damaged":
            plugin.path.write_bytes(_spoiled(plugin, "byte50"))
        done = plugin.run(stdin=b"{}", SLSA_VERIFIER_RESIDENT="off" if kind == "first" else "auto")
        if kind == "call":
            done = plugin.run(stdin=b"{}")
        assert b"Sanitizer" not in done.stderr
        assert b"runtime error" not in done.stderr
        assert done.stdout
