"""A payload that is damaged, unpackers that are killed, and many callers at once: never half a runtime, never a false success."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import os
import shutil
import signal
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from launcher.tests.harness import (
    LOADER,
    Plugin,
    denial,
    standin_runtime,
    tar,
    told,
)
from slsa_verifier_plugin.resident.protocol import ENDED_LINE
from tests.support.processes import is_stopped, kill, wait_until
from tests.support.waiting import at_once
from tools.dist import archive

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


def test_a_stopped_unpacker_goes_on_for_the_next_call(large: bytes) -> None:
    with Plugin(large) as plugin, plugin.began(**OFF) as caller:
        wait_until((plugin.cache / f"{plugin.runtime.name}.part").exists)
        [stopped] = plugin.unpackers(but=caller.pid)
        os.kill(stopped, signal.SIGSTOP)
        wait_until(lambda: is_stopped(stopped))
        begin = time.monotonic()
        done = plugin.run(**OFF)
        assert time.monotonic() - begin < 5
        # A busy machine may leave too little time for the rest of it; nothing is stopped any more.
        if done.returncode == 0:
            assert denial(done)["extensions"]["transient"] is True
        wait_until((plugin.runtime / "complete").exists)
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
    assert (done.returncode, done.stdout) == (0, ENDED_LINE)


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
