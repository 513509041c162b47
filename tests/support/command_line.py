"""Runs the command line in this process or in one of its own, and makes what it reads."""

from __future__ import annotations

import base64
import io
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import yaml

from slsa_verifier_plugin.cli.main import run

ROOT = Path(__file__).resolve().parents[2]
TESTDATA = ROOT / "testdata"
TRUSTED_ROOT = TESTDATA / "trusted_root.json"
SOURCE = "git+https://github.com/example/source-demo"
LEVEL_1, LEVEL_3 = TESTDATA / "level-1.intoto.jsonl", TESTDATA / "level-3.intoto.jsonl"
ARTIFACT_TYPE = "slsla/attestation"
SECONDS = 60
CA_BUNDLE = base64.b64encode(b"-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n").decode()
"""As a Provider has it; nobody here looks into the certificate."""


@dataclass(frozen=True)
class Done:
    """What a run printed, and its exit status."""

    status: int
    out: str
    err: str


class _Text(io.TextIOWrapper):
    """Standard output that is kept; a terminal if told so."""

    def __init__(self, encoding: str, terminal: bool) -> None:
        self.kept = io.BytesIO()
        super().__init__(self.kept, encoding=encoding, write_through=True)
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal

    def text(self) -> str:
        return self.kept.getvalue().decode(self.encoding)


def cli(
    *arguments: str | Path,
    stdin: bytes = b"",
    environ: Mapping[str, str] | None = None,
    encoding: str = "utf-8",
    terminal: bool = False,
) -> Done:
    """Run the program with ``arguments`` in this process.

    Args:
        arguments: without the program's name.
        stdin: standard input.
        environ: variables beside those of the tests.
        encoding: of standard output and error.
        terminal: whether they say that they are one (its width cannot be asked for, and is 80).
    """
    out, err = _Text(encoding, terminal), _Text(encoding, terminal)
    source = io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8")
    with (
        redirect_stdout(out),
        redirect_stderr(err),
        mock.patch.object(sys, "stdin", source),
        mock.patch.dict(os.environ, environ or {}),
    ):
        status = run([str(argument) for argument in arguments])
    return Done(status, out.text(), err.text())


def process(
    *arguments: str | Path,
    stdin: bytes = b"",
    environ: Mapping[str, str] | None = None,
    command: Sequence[str | Path] = (sys.executable, "-m", "slsa_verifier_plugin"),
) -> Done:
    """Run the program in a process of its own."""
    done = subprocess.run(
        [*command, *arguments],
        input=stdin,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **(environ or {})},
        timeout=SECONDS,
        check=False,
    )
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


def parameters(level: int = 2, **changes: Any) -> dict[str, Any]:
    """Return parameters that fit ``testdata/``; a change to None takes one out."""
    usual = {
        "expectedVerifiedLevels": [f"SLSA_SOURCE_LEVEL_{level}"],
        "expectedResourceUri": SOURCE,
        "trustedRoot": {"path": str(TRUSTED_ROOT)},
    }
    return {key: value for key, value in {**usual, **changes}.items() if value is not None}


def verifier(name: str = "verifier-slsa", level: int = 2, **changes: Any) -> dict[str, Any]:
    """Return a Verifier resource; ``spec`` and ``metadata`` in ``changes`` are merged into its own."""
    spec = {"name": "slsla", "artifactTypes": ARTIFACT_TYPE, "parameters": parameters(level)}
    resource = {
        "apiVersion": "config.ratify.deislabs.io/v1beta1",
        "kind": "Verifier",
        "metadata": {"name": name, **changes.pop("metadata", {})},
        "spec": {**spec, **changes.pop("spec", {})},
    }
    return {**resource, **changes}


def write_yaml(path: Path, *documents: object) -> Path:
    """Write YAML documents to ``path`` and return it."""
    path.write_text(yaml.safe_dump_all(documents, sort_keys=False))
    return path
