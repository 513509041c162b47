from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import slsa_verifier_plugin
from slsa_verifier_plugin import __version__
from slsa_verifier_plugin.environment import PER_CALL
from slsa_verifier_plugin.resident.place import (
    MAX_SOCKET_PATH,
    NobodyListensError,
    Place,
    PlaceError,
    build_identity,
    check_directories,
    connect,
    find_place,
    key_of,
)

DOCUMENT = Path(__file__).parents[2] / "docs" / "resident-protocol.md"
BUILD = "0123456789abcdef" * 4


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder whose path leaves room for a socket's, which pytest's own may not."""
    with tempfile.TemporaryDirectory(prefix="h-") as folder:
        yield Path(folder)


def test_key_is_the_documented_one() -> None:
    environ = {
        "PATH": "/bin",
        "HOME": "/home/v",
        "AWS_REGION": "eu-north-1",
        "SLSA_VERIFIER_DIR": "/run/v",
        "LANG": "C",
        "RATIFY_VERIFIER_SUBJECT": "a/b@sha256:0",
    }
    key = key_of(BUILD, environ)
    preimage = f"{BUILD}\0AWS_REGION=eu-north-1\0HOME=/home/v\0PATH=/bin\0SLSA_VERIFIER_DIR=/run/v\0"
    assert key == hashlib.sha256(preimage.encode()).hexdigest()[:16]
    assert f"`{key}`" in DOCUMENT.read_text()


def test_key_sorts_whole_entries_bytewise() -> None:
    # By name alone AWS_A would come before AWS_A0; but "0" is smaller than "=".
    environ = {"AWS_A": "1", "AWS_A0": "2", "AWS_\udcff": "3"}
    preimage = BUILD.encode() + b"\0AWS_A0=2\0AWS_A=1\0AWS_\xff=3\0"
    assert key_of(BUILD, environ) == hashlib.sha256(preimage).hexdigest()[:16]


@pytest.mark.parametrize(
    "name",
    [
        *("HOME", "PATH", "TMPDIR", "DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "SSL_CERT_FILE", "SSL_CERT_DIR"),
        *(
            "REQUESTS_CA_BUNDLE",
            "XDG_CACHE_HOME",
            "XDG_CONFIG_HOME",
            "HTTP_PROXY",
            "https_proxy",
            "all_proxy",
        ),
        *("no_proxy", "NO_PROXY", "ALL_PROXY", "http_proxy", "HTTPS_PROXY", "AWS_PROFILE", "AZURE_TENANT_ID"),
        *("ALIBABA_CLOUD_ROLE_ARN", "KUBERNETES_SERVICE_HOST", "SLSA_VERIFIER_WORKERS", "RATIFY_CONFIG"),
    ],
)
def test_settings_of_a_caller_are_part_of_the_key(name: str) -> None:
    keys = {key_of(BUILD, environ) for environ in ({}, {name: "a"}, {name: "b"}, {name: ""})}
    assert len(keys) == 4


@pytest.mark.parametrize("name", [*sorted(PER_CALL), "LANG", "Path", "MY_AWS_REGION", "PWD"])
def test_what_differs_from_call_to_call_is_not(name: str) -> None:
    assert key_of(BUILD, {name: "a"}) == key_of(BUILD, {})


def test_keys_of_shifted_entries_differ() -> None:
    assert key_of(BUILD, {"AWS_A": "AWS_B="}) != key_of(BUILD, {"AWS_A": "", "AWS_B": ""})
    assert key_of(BUILD, {}) != key_of(BUILD[:-1], {})


def test_identity_is_the_payload_where_there_is_one() -> None:
    assert build_identity({"SLSA_VERIFIER_BUILD": BUILD}) == BUILD


@pytest.mark.parametrize("value", ["", "abc", BUILD[:-1], BUILD.upper(), BUILD[:-1] + "g"])
def test_identity_is_the_package_otherwise(value: str) -> None:
    identity = build_identity({"SLSA_VERIFIER_BUILD": value})
    version, newest, interpreter, package = identity.split(":")
    directory = Path(slsa_verifier_plugin.__file__).parent
    changes = (directory.stat().st_mtime_ns, (directory / "__init__.py").stat().st_mtime_ns)
    assert (version, int(newest)) == (__version__, max(changes))
    assert (interpreter, package) == (sys.executable, str(directory))


@pytest.mark.parametrize(
    ("environ", "parent"),
    [
        ({"SLSA_VERIFIER_DIR": "/a", "XDG_RUNTIME_DIR": "HOME", "TMPDIR": "/t"}, "/a"),
        ({"XDG_RUNTIME_DIR": "HOME", "TMPDIR": "/t"}, "HOME/slsa-verifier-plugin"),
        ({"SLSA_VERIFIER_DIR": "", "XDG_RUNTIME_DIR": "HOME"}, "HOME/slsa-verifier-plugin"),
        ({"XDG_RUNTIME_DIR": "HOME/none", "TMPDIR": "/t"}, "/t/slsa-verifier-plugin-UID"),
        ({"XDG_RUNTIME_DIR": "HOME/wide", "TMPDIR": "/t"}, "/t/slsa-verifier-plugin-UID"),
        ({"XDG_RUNTIME_DIR": "HOME/link", "TMPDIR": "/t"}, "/t/slsa-verifier-plugin-UID"),
        ({"XDG_RUNTIME_DIR": ".", "TMPDIR": "relative"}, "/tmp/slsa-verifier-plugin-UID"),
        ({}, "/tmp/slsa-verifier-plugin-UID"),
    ],
)
def test_where_the_directory_is(home: Path, environ: dict[str, str], parent: str) -> None:
    (home / "wide").mkdir()
    (home / "wide").chmod(0o755)
    (home / "link").symlink_to(home)
    environ = {name: value.replace("HOME", str(home)) for name, value in environ.items()}
    expected = parent.replace("HOME", str(home)).replace("UID", str(os.geteuid()))
    place = find_place(environ)
    assert place.parent == expected
    assert place.socket == f"{expected}/{key_of(build_identity(environ), environ)}/socket"


def test_relative_and_long_paths_are_refused() -> None:
    with pytest.raises(PlaceError, match="relative"):
        find_place({"SLSA_VERIFIER_DIR": "here"})
    fits = "/" + "d" * (MAX_SOCKET_PATH - len("//0123456789abcdef/socket"))
    assert len(find_place({"SLSA_VERIFIER_DIR": fits}).socket) == MAX_SOCKET_PATH
    with pytest.raises(PlaceError, match="107 bytes"):
        find_place({"SLSA_VERIFIER_DIR": fits + "d"})


def test_directories_are_made_private_whatever_is_missing(home: Path) -> None:
    place = Place(str(home / "a" / "b"), "0" * 16)
    before = os.umask(0)
    try:
        check_directories(place, make=True)
    finally:
        os.umask(before)
    for path in (place.parent, place.directory):
        assert Path(path).stat().st_mode & 0o7777 == 0o700


def test_missing_directories_are_not_made_unasked(home: Path) -> None:
    with pytest.raises(PlaceError):
        check_directories(Place(str(home / "a"), "0" * 16), make=False)
    assert not (home / "a").exists()


@pytest.mark.parametrize("mode", [0o701, 0o710, 0o720, 0o777, 0o1777])
@pytest.mark.parametrize("which", ["parent", "directory"])
def test_wider_modes_are_refused(home: Path, mode: int, which: str) -> None:
    place = Place(str(home / "a"), "0" * 16)
    check_directories(place, make=True)
    Path(getattr(place, which)).chmod(mode)
    with pytest.raises(PlaceError, match="not private"):
        check_directories(place, make=True)


def test_symbolic_links_and_files_are_refused(home: Path) -> None:
    (home / "real").mkdir(0o700)
    (home / "link").symlink_to("real")
    (home / "file").touch(0o700)
    for name in ("link", "file"):
        with pytest.raises(PlaceError):
            check_directories(Place(str(home / name), "0" * 16), make=True)
    assert not list((home / "real").iterdir())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_other_owners_are_refused(home: Path) -> None:
    place = Place(str(home / "a"), "0" * 16)
    check_directories(place, make=True)
    os.chown(place.directory, 12345, -1)
    with pytest.raises(PlaceError, match="not private"):
        check_directories(place, make=False)


def test_nobody_listens_where_there_is_no_socket(home: Path) -> None:
    place = Place(str(home / "a"), "0" * 16)
    with pytest.raises(NobodyListensError):
        connect(place, 1)
    check_directories(place, make=True)
    Path(place.socket).touch()
    with pytest.raises(NobodyListensError):
        connect(place, 1)
