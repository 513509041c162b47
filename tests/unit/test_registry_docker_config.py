"""Credentials from Docker's configuration: the file's forms, and helpers of every character."""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import DeadlineError, Reason, RegistryError
from slsa_verifier_plugin.registry.credentials import Credentials
from slsa_verifier_plugin.registry.credentials.docker import docker_config as docker
from slsa_verifier_plugin.registry.reference import Reference

IMAGE = Reference.parse("registry.example:5000/team/app")
HUB = Reference.parse("alpine")


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def find(
    tmp_path: Path,
    config: object,
    image: Reference = IMAGE,
    seconds: float = 5.0,
    environ: Mapping[str, str] | None = None,
) -> Credentials | None:
    (tmp_path / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    provider = docker.make({"name": "dockerConfig"}, {"DOCKER_CONFIG": str(tmp_path), **(environ or {})})
    return provider.credentials(image, Deadline(seconds))


def failure(tmp_path: Path, config: object, environ: Mapping[str, str] | None = None) -> RegistryError:
    with pytest.raises(RegistryError) as caught:
        find(tmp_path, config, environ=environ)
    assert caught.value.reason is Reason.REGISTRY_CREDENTIALS
    assert "dockerConfig" in caught.value.message
    assert "planted" not in caught.value.message
    return caught.value


def helper(tmp_path: Path, script: str, name: str = "test") -> dict[str, str]:
    """Write a helper; return an environment in which it is found."""
    directory = tmp_path / "bin"
    directory.mkdir(exist_ok=True)
    path = directory / f"docker-credential-{name}"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return {"PATH": f"{directory}:/usr/bin:/bin"}


@pytest.mark.parametrize(
    "entry",
    [
        {"auth": encoded("alice:planted")},
        {"username": "alice", "password": "planted"},
        {"auth": encoded("alice:planted\x00\x00")},
        {"auth": encoded("alice:planted"), "email": "a@example"},
    ],
)
@pytest.mark.parametrize(
    "key",
    [
        "registry.example:5000",
        "https://registry.example:5000",
        "https://registry.example:5000/v2/",
        "registry.example:5000/v1/",
    ],
)
def test_an_entry_is_found_in_every_form(tmp_path: Path, entry: dict[str, str], key: str) -> None:
    assert find(tmp_path, {"auths": {key: entry}}) == Credentials("alice", "planted")


def test_a_password_may_hold_colons_and_other_alphabets(tmp_path: Path) -> None:
    config = {"auths": {"registry.example:5000": {"auth": encoded("alice:pä:ss:wörd")}}}
    assert find(tmp_path, config) == Credentials("alice", "pä:ss:wörd")


def test_the_exact_name_counts_before_other_ways_to_write_it(tmp_path: Path) -> None:
    auths = {
        "https://registry.example:5000": {"auth": encoded("url:1")},
        "registry.example:5000": {"auth": encoded("exact:2")},
    }
    assert find(tmp_path, {"auths": auths}) == Credentials("exact", "2")


@pytest.mark.parametrize("key", ["https://index.docker.io/v1/", "index.docker.io", "docker.io"])
def test_docker_hub_is_found_under_its_names(tmp_path: Path, key: str) -> None:
    assert find(tmp_path, {"auths": {key: {"auth": encoded("a:b")}}}, HUB) == Credentials("a", "b")


@pytest.mark.parametrize(
    "key",
    [
        "registry.example",
        "other.example:5000",
        "https://registry.example:5000/team",
        "sub.registry.example:5000",
        "[",
    ],
)
def test_another_host_port_or_part_of_a_host_does_not_match(tmp_path: Path, key: str) -> None:
    assert find(tmp_path, {"auths": {key: {"auth": encoded("a:b")}}}) is None


def test_an_identity_token_is_told_apart_from_a_password(tmp_path: Path) -> None:
    config = {"auths": {IMAGE.registry: {"auth": encoded("<token>:"), "identitytoken": "planted"}}}
    found = find(tmp_path, config)
    assert found == Credentials("<token>", identity_token="planted")
    assert "planted" not in repr(found)


@pytest.mark.parametrize(
    "config", [{}, {"auths": {}}, {"auths": {IMAGE.registry: {}}}, {"auths": None}, "", "  \n"]
)
def test_nothing_means_anonymous(tmp_path: Path, config: object) -> None:
    assert find(tmp_path, config) is None


def test_a_missing_file_is_anonymous_by_default_and_an_error_where_it_was_named(tmp_path: Path) -> None:
    for environ in ({"DOCKER_CONFIG": str(tmp_path)}, {"HOME": str(tmp_path)}, {}):
        assert docker.make({}, environ).credentials(IMAGE, Deadline(1)) is None
    # As Go's decoder reads the name, without regard to case.
    for name in ("configPath", "configpath", "ConfigPath"):
        provider = docker.make({name: str(tmp_path / "missing.json")}, {})
        with pytest.raises(RegistryError, match="does not exist"):
            provider.credentials(IMAGE, Deadline(1))


def test_a_path_that_is_no_file_is_told_at_once(tmp_path: Path) -> None:
    """Who opens a pipe waits until somebody writes."""
    os.mkfifo(tmp_path / "pipe")
    for path in (str(tmp_path / "pipe"), str(tmp_path), "/dev/zero", "a\0b"):
        with pytest.raises(RegistryError) as caught:
            docker.make({"configPath": path}, {}).credentials(IMAGE, Deadline(5))
        assert caught.value.reason is Reason.REGISTRY_CREDENTIALS


def test_the_files_place(tmp_path: Path) -> None:
    def write(path: Path, user: str) -> str:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"auths": {IMAGE.registry: {"auth": encoded(f"{user}:x")}}}))
        return str(path)

    named = write(tmp_path / "named.json", "named")
    write(tmp_path / "config" / "config.json", "environment")
    write(tmp_path / "home" / ".docker" / "config.json", "home")
    environ = {"HOME": str(tmp_path / "home")}
    both = {**environ, "DOCKER_CONFIG": str(tmp_path / "config")}
    found = [
        docker.make(config, variables).credentials(IMAGE, Deadline(1))
        for config, variables in (({"configPath": named}, both), ({}, both), ({}, environ))
    ]
    assert [item.username for item in found if item] == ["named", "environment", "home"]


@pytest.mark.parametrize(
    "config",
    [
        "{planted",
        "[]",
        {"auths": "planted"},
        {"auths": {IMAGE.registry: "planted"}},
        {"auths": {IMAGE.registry: {"auth": "planted, no base64"}}},
        {"auths": {IMAGE.registry: {"auth": encoded("planted-without-colon")}}},
        {"auths": {IMAGE.registry: {"auth": base64.b64encode(b"\xff\xfe:planted").decode()}}},
        {"credHelpers": ["planted"]},
        '{"auths":{},"auths":{}}',
    ],
)
def test_a_broken_file_is_an_error_that_shows_none_of_it(tmp_path: Path, config: object) -> None:
    failure(tmp_path, config)


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    failure(tmp_path, " " * (5 * 1024 * 1024))


def test_a_changed_file_is_seen(tmp_path: Path) -> None:
    provider = docker.make({}, {"DOCKER_CONFIG": str(tmp_path)})
    for user in ("first", "second"):
        config = {"auths": {IMAGE.registry: {"auth": encoded(f"{user}:x")}}}
        (tmp_path / "config.json").write_text(json.dumps(config))
        assert provider.credentials(IMAGE, Deadline(1)) == Credentials(user, "x")


ANSWER = """read host; printf '{"ServerURL":"%s","Username":"%s","Secret":"planted"}' "$host" "$1-$host" """


@pytest.mark.parametrize(
    "config", [{"credHelpers": {"registry.example:5000": "test"}}, {"credsStore": "test"}]
)
def test_a_helper_is_asked_for_the_host(tmp_path: Path, config: dict[str, object]) -> None:
    environ = helper(tmp_path, ANSWER)
    assert find(tmp_path, config, environ=environ) == Credentials("get-registry.example:5000", "planted")


def test_a_helper_is_asked_for_docker_hub_by_its_url(tmp_path: Path) -> None:
    found = find(tmp_path, {"credsStore": "test"}, HUB, environ=helper(tmp_path, ANSWER))
    assert found is not None
    assert found.username == "get-https://index.docker.io/v1/"


def test_a_hosts_helper_counts_before_the_store_and_the_file_before_both(tmp_path: Path) -> None:
    environ = helper(tmp_path, """echo '{"Username":"own","Secret":"x"}'""", "own")
    helper(tmp_path, """echo '{"Username":"store","Secret":"x"}'""", "store")
    config: dict[str, object] = {"credsStore": "store", "credHelpers": {IMAGE.registry: "own"}}
    assert find(tmp_path, config, environ=environ) == Credentials("own", "x")
    config["auths"] = {IMAGE.registry: {"auth": encoded("file:x")}}
    assert find(tmp_path, config, environ=environ) == Credentials("file", "x")
    config["auths"] = {IMAGE.registry: {}}
    assert find(tmp_path, config, environ=environ) == Credentials("own", "x")


def test_a_helpers_identity_token(tmp_path: Path) -> None:
    environ = helper(tmp_path, """echo '{"Username":"<token>","Secret":"planted"}'""")
    assert find(tmp_path, {"credsStore": "test"}, environ=environ) == Credentials(
        "<token>", identity_token="planted"
    )


def test_a_helper_that_has_nothing_means_anonymous(tmp_path: Path) -> None:
    environ = helper(tmp_path, "echo 'credentials not found in native keychain'; exit 1")
    assert find(tmp_path, {"credsStore": "test"}, environ=environ) is None


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo planted; exit 1", "status 1"),
        ("echo planted >&2; exit 2", "status 2"),
        ("echo planted", "not a JSON object with Username"),
        ("echo '[]'", "not a JSON object with Username"),
        ("""echo '{"Username":7,"Secret":"planted"}'""", "not a JSON object with Username"),
        ("true", "not a JSON object with Username"),
        ("head -c 100000 /dev/zero", "more than"),
        ("kill -9 $$", "status -9"),
    ],
)
def test_a_helper_that_fails_is_an_error_without_its_output(tmp_path: Path, script: str, said: str) -> None:
    assert said in failure(tmp_path, {"credsStore": "test"}, environ=helper(tmp_path, script)).message


@pytest.mark.parametrize("name", ["../test", "a/b", "-x", "missing", "a b"])
def test_a_helper_that_has_no_proper_name_is_not_run(tmp_path: Path, name: str) -> None:
    failure(tmp_path, {"credHelpers": {IMAGE.registry: name}}, environ=helper(tmp_path, ANSWER))


def test_an_empty_name_is_no_helper(tmp_path: Path) -> None:
    config = {"credHelpers": {IMAGE.registry: ""}}
    assert find(tmp_path, config, environ=helper(tmp_path, ANSWER)) is None


def test_a_helper_that_cannot_be_run_is_an_error(tmp_path: Path) -> None:
    environ = helper(tmp_path, "")
    (tmp_path / "bin" / "docker-credential-test").write_text("#!/missing/interpreter\n")
    assert "cannot be run" in failure(tmp_path, {"credsStore": "test"}, environ=environ).message


def test_a_helper_that_hangs_ends_at_the_deadline_with_all_that_it_started(tmp_path: Path) -> None:
    marker = tmp_path / "child"
    environ = helper(tmp_path, f"sleep 60 & echo $! > {marker}; wait")
    begin = time.monotonic()
    with pytest.raises(DeadlineError):
        find(tmp_path, {"credsStore": "test"}, seconds=0.5, environ=environ)
    assert time.monotonic() - begin < 30, "the helper takes 60 s"
    assert _ended(int(marker.read_text()))


def test_a_helper_that_leaves_a_child_behind_does_not_hold_us(tmp_path: Path) -> None:
    marker = tmp_path / "child"
    answer = """echo '{"Username":"a","Secret":"b"}'"""
    environ = helper(tmp_path, f"sleep 60 > /dev/null & echo $! > {marker}; {answer}")
    begin = time.monotonic()
    assert find(tmp_path, {"credsStore": "test"}, environ=environ) == Credentials("a", "b")
    assert time.monotonic() - begin < 30, "its child takes 60 s"
    assert _ended(int(marker.read_text()))


def _ended(process: int) -> bool:
    """Return True once a process is gone or only waits to be collected by the system."""
    for _ in range(100):
        try:
            os.kill(process, 0)
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        except (ProcessLookupError, FileNotFoundError):
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


def test_a_path_that_is_no_string_is_an_error() -> None:
    with pytest.raises(RegistryError):
        docker.make({"configPath": 7}, {})


def test_a_helper_sees_of_the_environment_what_keys_the_verifier_and_nothing_else(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    environ = helper(tmp_path, f"env > {seen}; {ANSWER}")
    given = {
        "GOOGLE_APPLICATION_CREDENTIALS": "/g",
        "AWS_PROFILE": "p",
        "ECR_CACHE": "1",
        "OWN_TOKEN": "listed",
    }
    hidden = {"LANG": "C", "LD_PRELOAD_X": "x", "OWN_SECRET": "not listed", "RATIFY_VERIFIER_SUBJECT": "s"}
    every = {**environ, **given, **hidden, "SLSA_VERIFIER_PASS_ENV": "OWN_TOKEN,RATIFY_VERIFIER_SUBJECT"}
    assert find(tmp_path, {"credsStore": "test"}, environ=every) is not None
    got = dict(line.split("=", 1) for line in seen.read_text().splitlines())
    not_given = {"PWD", "OLDPWD", "SHLVL", "_", "DOCKER_CONFIG"}
    assert got.keys() - not_given == (environ.keys() | given.keys() | {"SLSA_VERIFIER_PASS_ENV"}) - not_given
    assert given.items() <= got.items()
