"""What of a call's surroundings counts at containerd's door: nothing of the environment, and the folder's credentials alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from slsa_verifier_plugin.node.surroundings import PATH, surroundings
from tests.support.command_line import verifier, write_yaml
from tests.support.http_server import AnsweringHandler, listening
from tests.support.node import DIGEST, Images, Node, assert_blocked


def test_the_callers_environment_decides_nothing(node: Node, images: Images, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    write_yaml(theirs / "verifier.yaml", verifier(level=1))
    marker = tmp_path / "ran"
    evil = tmp_path / "evil"
    evil.write_text(f"#!/bin/sh\ntouch {marker}\nexit 0\n")
    evil.chmod(0o755)
    (tmp_path / "sitecustomize.py").write_text(f"open({str(marker)!r}, 'w').close()\n")
    node.environ = {
        "RATIFY_VERIFIER_COMMAND": "VERIFY",
        "RATIFY_VERIFIER_SUBJECT": f"{images.repository}/app@{images.level_3}",
        "RATIFY_VERIFIER_VERSION": "1.0.0",
        "_SLSA_VERIFIER_PLUGIN_COMPLETE": "bash_source",
        "SLSA_VERIFIER_EXECUTABLE": str(evil),
        "SLSA_VERIFIER_BUILD": "0" * 64,
        "SLSA_VERIFIER_DIR": str(theirs),
        "SLSA_VERIFIER_TUF_DIR": str(theirs),
        "SLSA_VERIFIER_ELAPSED_MS": "100000",
        "DOCKER_CONFIG": str(theirs),
        "HOME": str(theirs),
        "KUBECONFIG": str(theirs),
        "SLSA_VERIFIER_RESIDENT": "auto",
    }
    assert node.pull(images.name, images.level_3).is_allowed
    assert_blocked(node.pull(images.name, images.level_1), "(LEVEL_TOO_LOW)")
    assert not marker.exists()
    assert not (theirs / "tuf").exists()


def test_what_of_the_environment_counts() -> None:
    environ = {
        "HTTPS_PROXY": "http://proxy.example",
        "no_proxy": "r.example",
        "SSL_CERT_FILE": "/ca.pem",
        "AWS_REGION": "eu-north-1",
        "PATH": "/evil",
        "LD_PRELOAD": "/evil.so",
        "PYTHONPATH": "/evil",
        "DOCKER_CONFIG": "/evil",
        "SLSA_VERIFIER_PASS_ENV": "LD_PRELOAD",
        "SLSA_VERIFIER_BUILD": "x",
        "RATIFY_VERIFIER_COMMAND": "VERIFY",
        "KUBECONFIG": "/evil",
    }
    kept = surroundings(environ, "/etc/p", is_launched=False)
    assert {name: kept[name] for name in ("HTTPS_PROXY", "no_proxy", "SSL_CERT_FILE", "AWS_REGION")} == {
        name: environ[name] for name in ("HTTPS_PROXY", "no_proxy", "SSL_CERT_FILE", "AWS_REGION")
    }
    assert (kept["PATH"], kept["DOCKER_CONFIG"]) == (PATH, "/etc/p")
    assert not {"LD_PRELOAD", "PYTHONPATH", "SLSA_VERIFIER_PASS_ENV", "KUBECONFIG"} & set(kept)
    assert not [name for name in kept if name.startswith("RATIFY_")]
    assert "SLSA_VERIFIER_BUILD" not in kept
    assert surroundings(environ, "/etc/p", is_launched=True)["SLSA_VERIFIER_BUILD"] == "x"
    assert surroundings({}, "/etc/p", is_launched=False)["PATH"] == PATH


@pytest.fixture
def guarded() -> Iterator[tuple[str, list[str]]]:
    """The address of a registry that wants a password and has nothing, and what it was told."""
    told: list[str] = []

    class Handler(AnsweringHandler):
        def asked(self) -> None:
            told.append(self.headers.get("Authorization", ""))
            self.answer(404 if told[-1] else 401, headers=[("WWW-Authenticate", 'Basic realm="r"')])

    with listening(Handler) as host:
        yield host, told


def test_credentials_come_from_the_folder_alone(
    alone: Node, guarded: tuple[str, list[str]], tmp_path: Path
) -> None:
    address, told = guarded
    theirs = tmp_path / ".docker"
    theirs.mkdir()
    (theirs / "config.json").write_text(json.dumps({"auths": {address: {"auth": "ZXZpbDpldmls"}}}))
    alone.environ = {"HOME": str(tmp_path), "DOCKER_CONFIG": str(theirs)}
    assert_blocked(alone.pull(f"{address}/team/app:v1", DIGEST), "REGISTRY_UNAUTHORIZED")
    assert set(told) == {""}
    alone.put("config.json", json.dumps({"auths": {address: {"auth": "dXNlcjpzZWNyZXQ="}}})).chmod(0o600)
    pulled = alone.pull(f"{address}/team/app:v1", DIGEST)
    assert_blocked(pulled)
    assert "Basic dXNlcjpzZWNyZXQ=" in told
    assert "secret" not in pulled.stdout + pulled.stderr
    alone.put("config.json", "not JSON")
    assert_blocked(alone.pull(f"{address}/team/app:v1", DIGEST), "is not JSON", "REGISTRY_CREDENTIALS")
