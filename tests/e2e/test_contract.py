"""The installed executable as Ratify runs it, for the calls that Ratify itself never makes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping

import pytest

from tests.e2e.conftest import DEMO
from tests.e2e.ratify import Ratify

DIGEST = "sha256:" + "0" * 64
SUBJECT = f"127.0.0.1:1/app@{DIGEST}"
CALL = {
    "RATIFY_VERIFIER_COMMAND": "VERIFY",
    "RATIFY_VERIFIER_SUBJECT": SUBJECT,
    "RATIFY_VERIFIER_VERSION": "1.0.0",
}
STDIN = {
    "config": {"name": "slsla", "artifactTypes": "slsla/attestation", **DEMO},
    "storeConfig": {"version": "1.0.0", "pluginBinDirs": None, "store": {"name": "oras", "useHttp": True}},
    "referenceDesc": {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": DIGEST,
        "size": 753,
        "artifactType": "slsla/attestation",
    },
}

ERRORS: dict[str, tuple[dict[str, str], bytes, int]] = {
    "standard input is empty": (CALL, b"", 1),
    "standard input is no JSON": (CALL, b"{", 1),
    "standard input is a list": (CALL, b"[]", 1),
    "no parameters": (CALL, json.dumps({**STDIN, "config": {"name": "slsla"}}).encode(), 2),
    "another command": ({**CALL, "RATIFY_VERIFIER_COMMAND": "SIGN"}, json.dumps(STDIN).encode(), 3),
    "no environment": ({}, json.dumps(STDIN).encode(), 4),
    "no subject": ({**CALL, "RATIFY_VERIFIER_SUBJECT": ""}, json.dumps(STDIN).encode(), 4),
    "another version": ({**CALL, "RATIFY_VERIFIER_VERSION": "9.9.9"}, json.dumps(STDIN).encode(), 6),
    "subject with a tag": (
        {**CALL, "RATIFY_VERIFIER_SUBJECT": "127.0.0.1:1/app:latest"},
        json.dumps(STDIN).encode(),
        7,
    ),
}
"""Environment, standard input, and the contract's code."""


def called(
    ratify: Ratify, environment: Mapping[str, str], stdin: bytes
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [ratify.home / ".ratify" / "plugins" / "slsla"],
        env={**ratify.environment, **environment},
        input=stdin,
        capture_output=True,
        timeout=60,
        check=False,
    )


def one_object(done: subprocess.CompletedProcess[bytes]) -> dict[str, object]:
    """Return the one JSON object among all lines that Ratify would read, standard error first."""
    lines = [line for line in (done.stderr + done.stdout).splitlines() if b"{" in line]
    assert len(lines) == 1, done
    assert len(lines[0]) < 64 * 1024
    value = json.loads(lines[0])
    assert isinstance(value, dict)
    return value


@pytest.mark.parametrize("name", ERRORS)
def test_contract_error(ratify: Ratify, name: str) -> None:
    environment, stdin, code = ERRORS[name]
    done = called(ratify, environment, stdin)
    assert done.returncode == 1
    error = one_object(done)
    assert error["code"] == code, error
    assert error["msg"]
    assert b"Traceback" not in done.stderr


def test_registry_that_is_down_is_a_denial(ratify: Ratify) -> None:
    """Nothing listens on port 1: not a contract error but a verdict, so that Ratify keeps its reason."""
    done = called(ratify, CALL, json.dumps(STDIN).encode())
    assert done.returncode == 0
    verdict = one_object(done)
    assert verdict["isSuccess"] is False
    assert isinstance(verdict["extensions"], dict)
    assert verdict["extensions"]["reason"] == "REGISTRY_UNREACHABLE"
    assert verdict["extensions"]["transient"] is True
