"""The composite action after hostile steps of the same job: nothing that they have left runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.command_line import LEVEL_3
from tests.support.embedded_registry import EmbeddedRegistry
from tests.support.git_repository import GitRepository, GitServer
from tests.support.workflow_runner import (
    SECONDS,
    STEPS,
    Runner,
    attach,
    revision_of,
)

SHADOWED = [
    "bash",
    "sh",
    "dash",
    "env",
    "python",
    "python3",
    "pip",
    "pip3",
    "git",
    "git-remote-https",
    "ssh",
    "mktemp",
    "tee",
    "sed",
    "cat",
    "base64",
    "id",
    "cut",
    "tr",
    "printf",
    "echo",
    "eval",
    "test",
    "[",
    "cd",
    "exec",
    "export",
    "compgen",
    "read",
    "sudo",
    "getent",
    "grep",
    "awk",
    "rm",
    "cp",
    "mv",
    "ls",
    "chmod",
    "dirname",
    "basename",
    "docker-credential-x",
    "curl",
    "tar",
    "gzip",
    "gcc",
    "uv",
    "node",
    "slsa-verifier-plugin",
]


@pytest.fixture
def hostile(runner: Runner, tmp_path: Path) -> Runner:
    """A job whose earlier steps left a shadow for everything, in the checkout and through GITHUB_ENV and GITHUB_PATH."""
    witness = tmp_path / "witness"
    programs, modules = tmp_path / "programs", runner.workspace
    programs.mkdir()
    for name in SHADOWED:
        (programs / name).write_text(f'#!/bin/sh\necho "program {name}" >>{witness}\nexit 0\n')
        (programs / name).chmod(0o755)
        shutil.copy(programs / name, modules / name)
    own = {
        "slsa_verifier_plugin",
        "click",
        "yaml",
        "requests",
        "pip",
        "hatchling",
        "sitecustomize",
        "usercustomize",
    }
    for name in sorted(set(sys.stdlib_module_names) | own):
        (modules / f"{name}.py").write_text(f"open({str(witness)!r}, 'a').write('module {name}\\n')\n")
    startup = tmp_path / "startup"
    startup.write_text(f'/bin/echo "startup file" >>{witness}\n')
    (modules / "pip.conf").write_text("[global]\nindex-url = http://127.0.0.1:9/\nno-index = true\n")
    (modules / "pyvenv.cfg").write_text(f"home = {programs}\n")
    library = tmp_path / "preloaded.so"
    code = (
        f'__attribute__((constructor)) static void run(void) {{ FILE *f = fopen("{witness}", "a"); '
        'fputs("library\\n", f); fclose(f); }'
    )
    built = subprocess.run(
        ["gcc", "-shared", "-fPIC", "-x", "c", "-o", str(library), "-"],
        input=f"#include <stdio.h>\n{code}\n".encode(),
        check=False,
        capture_output=True,
    )
    assert built.returncode == 0, built.stderr
    environ = {
        "PATH": f"{programs}:{modules}:{os.environ['PATH']}",
        "HOME": str(modules),
        "BASH_ENV": str(startup),
        "POSIXLY_CORRECT": "1",
        "BASH_COMPAT": "3.1",
        "ENV": str(startup),
        "SHELLOPTS": "xtrace",
        "PS4": f"$(echo ps4 >>{witness})",
        "PROMPT_COMMAND": f"echo prompt >>{witness}",
        "CDPATH": str(modules),
        "IFS": "/",
        "TMPDIR": str(modules),
        "LD_PRELOAD": str(library),
        "LD_AUDIT": str(library),
        "LD_LIBRARY_PATH": str(modules),
        "GCONV_PATH": str(modules),
        "LOCPATH": str(modules),
        "LC_ALL": "en_US.UTF-8",
        "PYTHONPATH": str(modules),
        "PYTHONHOME": str(modules),
        "PYTHONSTARTUP": str(modules / "site.py"),
        "PYTHONUSERBASE": str(modules),
        "PYTHONINSPECT": "1",
        "PYTHONBREAKPOINT": "os.system",
        "PYTHON": str(programs / "python3"),
        "PIP_CONFIG_FILE": str(modules / "pip.conf"),
        "PIP_INDEX_URL": "http://127.0.0.1:9/",
        "PIP_REQUIRE_VIRTUALENV": "1",
        "PIP_PREFIX": str(modules),
        "VIRTUAL_ENV": str(modules),
        "GIT_DIR": str(modules),
        "GIT_EXEC_PATH": str(programs),
        "GIT_SSH_COMMAND": str(programs / "ssh"),
        "GIT_ASKPASS": str(programs / "echo"),
        "GIT_TRACE": str(witness),
        "GIT_CONFIG_GLOBAL": str(modules / "gitconfig"),
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "core.fsmonitor",
        "GIT_CONFIG_VALUE_0": str(programs / "sh"),
        "GIT_PROXY_COMMAND": str(programs / "sh"),
        "DOCKER_CONFIG": str(modules),
        "SSL_CERT_FILE": "/nowhere",
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "HTTP_PROXY": "http://127.0.0.1:9",
        "http_proxy": "http://127.0.0.1:9",
        "GITHUB_API_URL": "http://127.0.0.1:9",
    }
    for name in ("echo", "printf", "cd", "export", "compgen", "exec", "eval", "fail", "alone", "[", "read"):
        environ[f"BASH_FUNC_{name}%%"] = f"() {{ /bin/echo 'function {name}' >>{witness}; }}"
    (modules / "gitconfig").write_text(f"[core]\n\thooksPath = {programs}\n\tfsmonitor = {programs}/sh\n")
    return Runner(runner.folder, environ, modules)


def seen(runner: Runner) -> str:
    witness = runner.folder.parent / "witness"
    return witness.read_text() if witness.exists() else ""


def test_the_shadows_would_run(hostile: Runner) -> None:
    """What the next tests find untouched is no decoy: a step with GitHub's own default shell runs into all of it."""
    ordinary = {
        "run": "python3 -c 'import json'\necho x\n",
        "shell": "/usr/bin/bash --noprofile --norc -eo pipefail {0}",
    }
    environ = {name: value for name, value in hostile.environ.items() if name != "POSIXLY_CORRECT"}
    Runner(hostile.folder, environ, hostile.workspace).run(ordinary)
    witnessed = seen(hostile)
    for kind in ("startup file", "library", "program python3", "function echo"):
        assert kind in witnessed
    subprocess.run(
        [sys.executable, "-c", "import json"],
        cwd=hostile.workspace,
        capture_output=True,
        check=False,
        timeout=SECONDS,
    )
    assert "module " in seen(hostile)


def test_nothing_of_an_earlier_step_runs_when_it_is_installed(hostile: Runner, tmp_path: Path) -> None:
    """Up to the end, with a package in the plugin's place that needs no network."""
    place = tmp_path / "actions" / "owner"
    action = place / ".github" / "actions" / "attach-source-attestation"
    action.mkdir(parents=True)
    (place / "requirements").mkdir()
    for name in ("runtime", "build"):
        (place / "requirements" / f"{name}.txt").write_text("")
    (place / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        '[project]\nname = "slsa-verifier-plugin"\nversion = "1"\n'
    )
    (place / "backend.py").write_text(
        "import zipfile\n"
        "NAME = 'slsa_verifier_plugin-1.dist-info'\n"
        "def build_wheel(folder, settings=None, metadata=None):\n"
        "    name = 'slsa_verifier_plugin-1-py3-none-any.whl'\n"
        "    with zipfile.ZipFile(f'{folder}/{name}', 'w') as wheel:\n"
        "        wheel.writestr('slsa_verifier_plugin/__init__.py', '')\n"
        "        wheel.writestr('slsa_verifier_plugin/__main__.py', 'print(\"the plugin\")')\n"
        "        wheel.writestr(f'{NAME}/METADATA', 'Metadata-Version: 2.1\\nName: slsa-verifier-plugin\\nVersion: 1\\n')\n"
        "        wheel.writestr(f'{NAME}/WHEEL', 'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')\n"
        "        wheel.writestr(f'{NAME}/RECORD', '')\n"
        "    return name\n"
    )
    python = os.path.realpath(sys._base_executable)  # type: ignore[attr-defined]  # not in the types
    done, outputs = hostile.run(STEPS["install"], ACTION=action, TEMPORARY=hostile.folder, PYTHON=python)
    assert done.status == 0, done
    assert seen(hostile) == ""
    ran = subprocess.run(
        [outputs["python"], "-I", "-m", "slsa_verifier_plugin"],
        capture_output=True,
        check=True,
        timeout=SECONDS,
    )
    assert ran.stdout == b"the plugin\n"
    assert Path(outputs["work"]).parent == hostile.folder


def test_nothing_of_an_earlier_step_runs_when_it_is_attached(
    hostile: Runner, registry: EmbeddedRegistry, plugin: Path, source: tuple[GitRepository, GitServer]
) -> None:
    repository, server = source
    repository.commit()
    commit = revision_of(LEVEL_3)
    found = attach(registry, plugin, hostile, BUNDLE=LEVEL_3, COMMIT=commit)
    assert (found.done.status, found.count) == (0, 1), found
    # And with git, which the plugin starts.
    places: dict[str, str | Path] = {
        "FROM": f"notes:{server.url}",
        "SERVER": server.url.rpartition("/")[0],
        "COMMIT": commit,
    }
    found = attach(registry, plugin, hostile, **places)
    assert (found.done.status, "has no git notes" in found.done.err) == (1, True), found
    assert server.authorizations, "the repository was asked"
    assert seen(hostile) == ""
