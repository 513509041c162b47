"""The runtime that the launcher carries: unpacked once, whole or not at all, and only where nobody else can write."""

from __future__ import annotations

import os
import subprocess
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
    told,
)

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
        "own-process",
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


@pytest.mark.parametrize(
    ("kind", "does"),
    [
        *(
            ("wide", False),
            ("group", False),
            ("sticky", True),
            ("private", True),
            ("link", True),
            ("link-to-wide", False),
        ),
        *(("up-and-down", True), ("missing", True)),
        pytest.param("foreign", False, marks=ROOT_ONLY),
        pytest.param("foreign-sticky", False, marks=ROOT_ONLY),
        pytest.param("foreign-link", False, marks=ROOT_ONLY),
    ],
)
def test_every_directory_above_is_looked_at(plugin: Plugin, kind: str, does: bool) -> None:
    """Whoever may write to one of them could exchange the runtime between the launcher's look and what it executes."""
    above, other = plugin.home / "above", plugin.home / "other"
    above.mkdir()
    other.mkdir(0o700)
    cache = above / "between" / "cache"
    if kind != "missing":
        cache.parent.mkdir()
    if kind == "wide":
        above.chmod(0o777)
    elif kind == "group":
        above.chmod(0o770)
    elif kind == "sticky":
        above.chmod(0o1777)
    elif kind.startswith("foreign") and kind != "foreign-link":
        above.chmod(0o1777 if kind == "foreign-sticky" else 0o755)
        os.chown(above, 65532, 65532)
    elif kind == "up-and-down":
        cache = Path(f"{above}/between/../between/./cache")
    elif "link" in kind:
        cache.parent.rmdir()
        (other / "between").mkdir()
        cache.parent.symlink_to("../other/between")
        if kind == "link-to-wide":
            other.chmod(0o777)
        elif kind == "foreign-link":
            os.chown(cache.parent, 65532, 65532, follow_symlinks=False)
    value = told(plugin.run(SLSA_VERIFIER_CACHE=str(cache), HOME=str(plugin.home / "home"), **OFF))
    used = Path(value["arguments"][2]).resolve().is_relative_to(plugin.home / "home")
    assert used is not does, value["arguments"]


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


@MOUNTS
def test_a_full_disk_is_named_with_what_it_has_and_what_is_needed(plugin: Plugin) -> None:
    jail = plugin.home / "jail"
    (jail / "full").mkdir(parents=True)
    (jail / "slsa").write_bytes(plugin.path.read_bytes())
    (jail / "slsa").chmod(0o755)
    script = (
        'mount --bind "$1" "$1" && mount -t tmpfs -o size=3m tmpfs "$1/full" && mount -o remount,bind,ro "$1"'
    )
    command = ["unshare", "--mount", "sh", "-c", f'{script} && exec chroot "$1" /slsa', "sh", str(jail)]
    settings: dict[str, Any] = {"SLSA_VERIFIER_CACHE": "/full/x", "HOME": "", "TMPDIR": "", **OFF}
    message = denial(plugin.run_in(command, **settings))["message"]
    # The stand-in's archive has some kilobytes; 16 MiB more must be free.
    assert "(/full/x: No space left on device (3 MiB free, 17 MiB needed); /tmp/" in message


@MOUNTS
@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        ("wide", "not a directory of this user with mode 0700"),
        ("foreign", "not a directory of this user with mode 0700"),
        ("link", "Not a directory"),
    ],
)
def test_a_private_directory_in_one_that_is_not_is_passed_over(
    plugin: Plugin, kind: str, problem: str
) -> None:
    # Two levels in a temporary directory are the plugin's own: whoever has the upper one can exchange the lower.
    jail = plugin.home / "jail"
    upper = jail / "shared" / f"slsa-verifier-plugin-{os.geteuid()}"
    (upper / "runtime").mkdir(mode=0o700, parents=True)
    upper.chmod(0o777 if kind == "wide" else 0o700)
    if kind == "foreign":
        os.chown(upper, 65532, 65532)
    elif kind == "link":
        upper.rename(jail / "moved")
        upper.symlink_to("/moved")
    settings: dict[str, Any] = {"SLSA_VERIFIER_CACHE": "", "HOME": "", "TMPDIR": "/shared", **OFF}
    message = denial(_in_jail(plugin, jail, **settings))["message"]
    assert f"(/shared/{upper.name}: {problem}; /tmp/" in message


@MOUNTS
@pytest.mark.parametrize(
    ("mode", "mounted", "does"), [("0777", True, True), ("0777", False, False), ("01777", False, True)]
)
def test_a_pods_volume_is_open_to_all_and_does(plugin: Plugin, mode: str, mounted: bool, does: bool) -> None:
    """Kubernetes makes an ``emptyDir`` in mode 0777, without the sticky bit; only the Pod's own processes see it."""
    volume = plugin.home / "volume"
    volume.mkdir()
    mount = 'mount -t tmpfs -o mode="$2" tmpfs "$1"' if mounted else 'chmod "$2" "$1"'
    command = [
        "unshare",
        "--mount",
        "sh",
        "-c",
        f'{mount} && exec "$3"',
        "sh",
        str(volume),
        mode,
        str(plugin.path),
    ]
    settings = {"SLSA_VERIFIER_CACHE": f"{volume}/slsa", "HOME": str(plugin.home / "home"), **OFF}
    value = told(plugin.run_in(command, **settings))
    assert Path(value["arguments"][2]).is_relative_to(volume) is does


@MOUNTS
def test_what_is_open_to_others_is_named(plugin: Plugin) -> None:
    jail = plugin.home / "jail"
    (jail / "shared" / "own").mkdir(parents=True)
    (jail / "shared" / "own").chmod(0o700)
    (jail / "shared").chmod(0o777)
    settings: dict[str, Any] = {"SLSA_VERIFIER_CACHE": "/shared/own", "HOME": "", "TMPDIR": "", **OFF}
    message = denial(_in_jail(plugin, jail, **settings))["message"]
    assert (
        "(/shared: another user owns it or may write to it; take that away, or set the sticky bit (chmod +t); /tmp/"
        in message
    )
