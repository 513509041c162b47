"""The scripts of the composite action and of the reusable workflow, as a runner runs them: hostile steps before them included."""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.command_line import LEVEL_1, LEVEL_3, ROOT, SOURCE, TRUSTED_ROOT, Done, cli
from tests.support.embedded_registry import EmbeddedRegistry
from tests.support.git_repository import GitRepository, GitServer, served

ACTION = ROOT / ".github" / "actions" / "attach-source-attestation" / "action.yml"
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
WORKFLOW = ROOT / ".github" / "workflows" / "build-and-attest.yml"
SHELL = "/usr/bin/bash --noprofile --norc -p -euo pipefail {0}"
REPOSITORY = "team/app"
TOKEN = "a-token-of-a-job"
SECONDS = 120


def document(path: Path) -> dict[Any, Any]:
    loaded: dict[Any, Any] = yaml.safe_load(path.read_text("utf-8"))
    return loaded


STEPS: dict[str, dict[str, Any]] = {step["id"]: step for step in document(ACTION)["runs"]["steps"]}


@dataclass(frozen=True)
class Runner:
    """A runner's machine: a folder for a step's files, and what earlier steps have put into the environment."""

    folder: Path
    environ: Mapping[str, str]
    workspace: Path

    def run(self, step: Mapping[str, Any], **variables: str | Path) -> tuple[Done, dict[str, str]]:
        """Run a step's script as the runner does; returns what it printed, and its outputs.

        The step's own ``env`` goes before what earlier steps wrote to GITHUB_ENV; ``variables`` are its expressions' values.
        """
        files = {"GITHUB_OUTPUT": self.folder / "outputs", "GITHUB_STEP_SUMMARY": self.folder / "summary.md"}
        for file in files.values():
            file.write_text("")
        script = self.folder / "script.sh"
        script.write_text(step["run"])
        own = {key: str(value) for key, value in step.get("env", {}).items() if "${{" not in str(value)}
        assert set(variables) <= set(step.get("env", {})), "a variable that the step does not have"
        given = {key: str(value) for key, value in {**files, **variables}.items()}
        command = shlex.split(step.get("shell", SHELL))
        assert command[0].startswith("/"), "the runner looks for other shells in the PATH"
        done = subprocess.run(
            [*command[:-1], str(script)],
            cwd=self.workspace,
            env={**self.environ, **own, **given},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        lines = files["GITHUB_OUTPUT"].read_text().splitlines()
        return Done(done.returncode, done.stdout, done.stderr), dict(line.split("=", 1) for line in lines)


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    workspace, folder = tmp_path / "workspace", tmp_path / "runner"
    workspace.mkdir()
    folder.mkdir()
    return Runner(folder, {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}, workspace)


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    """The interpreter with the program, which trusts the tests' Sigstore and talks to registries without TLS."""
    options = shlex.join(["--plain-http", "--trusted-root", str(TRUSTED_ROOT)])
    file = tmp_path / "python"
    start = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); from slsa_verifier_plugin.cli.main import run; "
        "sys.exit(run(sys.argv[1:]))"
    )
    file.write_text(
        f'#!/bin/sh\n[ "$1 $2 $3 $4" = "-I -m slsa_verifier_plugin attach" ] || exit 99\nshift 4\n'
        f'exec {shlex.quote(sys.executable)} -I -c {shlex.quote(start)} attach {options} "$@"\n'
    )
    file.chmod(0o755)
    return file


@pytest.fixture
def registry() -> Iterator[EmbeddedRegistry]:
    with EmbeddedRegistry() as running:
        yield running


def revision_of(bundle: Path) -> str:
    """Return the commit that a bundle of the test data is about."""
    options = ("--level", "SLSA_SOURCE_LEVEL_1", "--resource-uri", SOURCE, "--trusted-root", TRUSTED_ROOT)
    said = json.loads(cli("verify", "--bundle", bundle, *options, "--json").out)
    found: str = said["images"][0]["artifacts"][0]["result"]["extensions"]["revision"]
    return found


@dataclass(frozen=True)
class Attached:
    """What the step that attaches did, and how many artifacts the image has then."""

    done: Done
    outputs: dict[str, str]
    count: int


def attach(registry: EmbeddedRegistry, plugin: Path, runner: Runner, **changes: str | Path) -> Attached:
    image = registry.push_image(REPOSITORY, "v1")
    name = f"{registry.host}/{REPOSITORY}"
    usual: dict[str, str | Path] = {
        "WORK": runner.folder,
        "PYTHON": plugin,
        "IMAGE": name,
        "DIGEST": str(image.digest),
        "LEVELS": "SLSA_SOURCE_LEVEL_2\n",
        "RESOURCE_URI": SOURCE,
        "VERIFIER_ID": "",
        "COMMIT": "7" * 40,
        "FROM": "notes",
        "BUNDLE": "",
        "MINUTES": "0",
        "SERVER": "https://git.example",
        "API": "https://api.git.example",
        "WORKSPACE": runner.workspace,
        "TOKEN": TOKEN,
    }
    done, outputs = runner.run(STEPS["attach"], **{**usual, **changes})
    shown = json.loads(cli("inspect", f"{name}@{image.digest}", "--plain-http", "--json").out)
    return Attached(done, outputs, len(shown["artifacts"]))


def test_the_commits_own_attestation_is_attached(
    registry: EmbeddedRegistry, plugin: Path, runner: Runner
) -> None:
    found = attach(registry, plugin, runner, BUNDLE=LEVEL_3, COMMIT=revision_of(LEVEL_3))
    assert (found.done.status, found.count) == (0, 1), found
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", found.outputs["attestation"])
    assert "admitted" in (runner.folder / "summary.md").read_text()


def test_a_bundle_is_named_from_the_workspace(
    registry: EmbeddedRegistry, plugin: Path, runner: Runner
) -> None:
    shutil.copy(LEVEL_3, runner.workspace / "bundle.jsonl")
    found = attach(registry, plugin, runner, BUNDLE="bundle.jsonl", COMMIT=revision_of(LEVEL_3))
    assert (found.done.status, found.count) == (0, 1), found


def test_a_good_attestation_of_another_commit_is_not_attached(
    registry: EmbeddedRegistry, plugin: Path, runner: Runner
) -> None:
    commit = "9" * 40
    found = attach(registry, plugin, runner, BUNDLE=LEVEL_3, COMMIT=commit)
    assert (found.done.status, found.outputs, found.count) == (1, {}, 0), found
    assert "::error::" in found.done.out
    assert revision_of(LEVEL_3) in found.done.err
    assert commit in found.done.err


def test_an_attestation_below_the_level_is_not_attached(
    registry: EmbeddedRegistry, plugin: Path, runner: Runner
) -> None:
    found = attach(registry, plugin, runner, BUNDLE=LEVEL_1, COMMIT=revision_of(LEVEL_1))
    assert (found.done.status, found.outputs, found.count) == (1, {}, 0), found
    assert "nothing was attached" in found.done.out
    assert "denied" in (runner.folder / "summary.md").read_text()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DIGEST", "sha256:x"),
        ("DIGEST", "sha512:" + "a" * 64),
        ("COMMIT", "HEAD"),
        ("MINUTES", "-1"),
        ("MINUTES", "x"),
    ],
)
def test_inputs_have_a_form(
    registry: EmbeddedRegistry, plugin: Path, runner: Runner, name: str, value: str
) -> None:
    changes: dict[str, str | Path] = {"BUNDLE": LEVEL_3, name: value}
    found = attach(registry, plugin, runner, **changes)
    assert (found.done.status, found.count, found.done.out[:9]) == (1, 0, "::error::"), found


@pytest.fixture
def source(tmp_path: Path) -> Iterator[tuple[GitRepository, GitServer]]:
    repository = GitRepository.new(tmp_path / "served" / "app")
    with served(repository) as server:
        yield repository, server


def test_the_commits_note_is_fetched_with_the_token_alone(
    registry: EmbeddedRegistry, plugin: Path, runner: Runner, source: tuple[GitRepository, GitServer]
) -> None:
    repository, server = source
    commit = revision_of(LEVEL_3)
    repository.commit()
    repository.note(repository.commit("Two"), LEVEL_3.read_bytes())
    address = server.url.rpartition("/")[0]
    (Path(runner.environ["HOME"]) / ".gitconfig").write_text(
        f'[http "{address}/"]\n\textraheader = Authorization: basic bGVmdA==\n'
    )
    places: dict[str, str | Path] = {"FROM": f"notes:{server.url}", "SERVER": address, "COMMIT": commit}
    found = attach(registry, plugin, runner, **places)
    assert (found.done.status, found.count) == (1, 0), found
    assert f"commit {commit} has no git note" in found.done.err
    said = base64.b64encode(f"x-access-token:{TOKEN}".encode()).decode()
    assert server.authorizations, "the repository was asked"
    assert all(shown == [f"basic {said}"] for shown in server.authorizations), (
        "not beside what a checkout left"
    )
    assert TOKEN not in found.done.out + found.done.err
    assert said not in found.done.out + found.done.err


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


def test_an_old_interpreter_is_told(runner: Runner, tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    done, _ = runner.run(STEPS["install"], ACTION=ACTION.parent, TEMPORARY=runner.folder, PYTHON=old)
    assert (done.status, "::error::" in done.out, "3.11" in done.out) == (1, True, True), done


def test_what_builds_the_plugin_is_pinned() -> None:
    install = STEPS["install"]["run"]
    installs = [line for line in install.splitlines() if '"${pip[@]}" install' in line]
    assert len(installs) == 3
    for line in installs:
        assert "--no-deps" in line
        assert "--require-hashes" in line or "--no-build-isolation" in line
    lock, development = ((ROOT / "requirements" / f"{name}.txt").read_text() for name in ("build", "dev"))
    pins = re.findall(r"^\S+==\S+", lock, re.MULTILINE)
    assert "hatchling" in {pin.partition("==")[0] for pin in pins}
    assert [pin for pin in pins if f"\n{pin} " not in development] == []


# The workflows


def jobs() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in WORKFLOWS:
        for name, job in document(path)["jobs"].items():
            yield f"{path.name}: {name}", job


def checks_out_the_caller(job: dict[str, Any]) -> bool:
    return any("actions/checkout@" in str(step.get("uses", "")) for step in job["steps"])


def test_every_shell_is_named_by_its_path_and_reads_no_startup_file() -> None:
    for path in WORKFLOWS:
        assert document(path)["defaults"]["run"]["shell"] == SHELL, path
    scripts = [step for step in STEPS.values() if "run" in step]
    scripts += [step for _, job in jobs() for step in job["steps"] if "run" in step and "shell" in step]
    for step in scripts:
        assert step["shell"] == SHELL, step["name"]
    for step in STEPS.values():
        for name in ("LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "GCONV_PATH", "GLIBC_TUNABLES"):
            assert step["env"][name] == "", f"{name} reaches {step['name']} before its first line"
        assert step["env"]["LC_ALL"] == "C", "a locale of the caller's is read before the first line"


def test_the_job_that_signs_has_nothing_of_the_callers() -> None:
    job = document(WORKFLOW)["jobs"]
    assert set(job) == {"build", "attest"}
    assert "id-token" not in job["build"]["permissions"]
    assert checks_out_the_caller(job["build"])
    signing = job["attest"]
    assert signing["permissions"]["id-token"] == "write"
    assert not checks_out_the_caller(signing)
    text = json.dumps(signing)
    assert "inputs.context" not in text
    assert "build-push-action" not in text
    # Nothing of the other job's but the digest, and that only where its form is checked.
    assert re.findall(r"needs\.[a-z.]+", text) == ["needs.build.outputs.digest"]
    assert "needs." in json.dumps(signing["steps"][0])


def test_no_job_that_may_sign_builds_what_the_caller_wrote() -> None:
    signing = {name: job for name, job in jobs() if "id-token" in job["permissions"]}
    assert len(signing) > 1
    builders = [name for name, job in signing.items() if checks_out_the_caller(job)]
    assert set(builders) <= {"release.yml: publish"}


def test_passwords_fall_back_to_nothing() -> None:
    for path in WORKFLOWS:
        text = path.read_text("utf-8")
        assert "|| github.token" not in text, path
        assert "|| secrets.GITHUB_TOKEN" not in text, path
    for name in ("build", "attest"):
        steps = document(WORKFLOW)["jobs"][name]["steps"]
        logins = [step for step in steps if "login-action" in str(step.get("uses", ""))]
        assert len(logins) == 2
        own, others = logins
        assert own["with"]["registry"] == "ghcr.io", "the run's token goes nowhere else"
        assert own["if"] == "inputs.ghcr-token && startsWith(inputs.image, 'ghcr.io/')"
        assert others["with"]["password"] == "${{ secrets.registry-password }}"
        assert others["if"] == "env.HAS_PASSWORD == 'true'"
    inputs = document(WORKFLOW)[True]["workflow_call"]["inputs"]  # YAML 1.1 reads "on" as true
    assert inputs["ghcr-token"]["default"] is False


@pytest.mark.parametrize(
    ("image", "digest", "is_good"),
    [
        ("ghcr.io/owner/app", "sha256:" + "a" * 64, True),
        ("registry.example:5000/a/b_c", "sha256:" + "0" * 64, True),
        ("ghcr.io/owner/app", "sha256:" + "A" * 64, False),
        ("ghcr.io/owner/app", "", False),
        ("ghcr.io/owner/app", "sha256:" + "a" * 64 + "\nhost=evil.example", False),
        ("ghcr.io/owner/app:tag", "sha256:" + "a" * 64, False),
        ("ghcr.io/owner/app\nhost=evil.example", "sha256:" + "a" * 64, False),
        ("--help", "sha256:" + "a" * 64, False),
        ("", "sha256:" + "a" * 64, False),
    ],
)
def test_what_the_signing_job_is_told_has_a_form(
    runner: Runner, image: str, digest: str, is_good: bool
) -> None:
    step = document(WORKFLOW)["jobs"]["attest"]["steps"][0]
    done, outputs = runner.run(step, IMAGE=image, DIGEST=digest)
    if not is_good:
        assert (done.status, outputs, "::error::" in done.out) == (1, {}, True)
        return
    assert outputs == {"host": image.partition("/")[0], "image": image, "digest": digest}, done


def test_the_signing_job_begins_in_an_empty_directory(runner: Runner) -> None:
    (runner.workspace / ".hidden").write_text("x")
    step = document(WORKFLOW)["jobs"]["attest"]["steps"][0]
    done, _ = runner.run(step, IMAGE="ghcr.io/owner/app", DIGEST="sha256:" + "a" * 64)
    assert (done.status, "not empty" in done.out) == (1, True)


def test_the_workflow_hands_the_actions_inputs_on() -> None:
    action, workflow = document(ACTION), document(WORKFLOW)
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    (step,) = [step for step in steps if str(step.get("uses", "")).startswith("$/")]
    assert {"image", "digest", "level", "resource-uri", "verifier-id", "bundle"} == set(step["with"])
    assert set(step["with"]) <= set(action["inputs"])
    inputs = set(workflow[True]["workflow_call"]["inputs"])
    named = set(re.findall(r"inputs\.([a-z-]+)", json.dumps(workflow["jobs"])))
    assert named == inputs


@pytest.mark.parametrize("signed", [True, False])
def test_release_builds_on_an_image_only_if_its_signer_signed_it(
    runner: Runner, tmp_path: Path, signed: bool
) -> None:
    release = document(ROOT / ".github" / "workflows" / "release.yml")
    (step,) = [step for step in release["jobs"]["publish"]["steps"] if step.get("id") == "base"]
    programs, digest, asked = tmp_path / "bin", "sha256:" + "a" * 64, tmp_path / "asked"
    programs.mkdir()
    for name, script in (
        ("docker", f"echo {digest}"),
        ("cosign", f'echo "$@" >{asked}; exit {int(not signed)}'),
    ):
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    environ = {**release["env"], "PATH": f"{programs}:{os.environ['PATH']}"}
    done, outputs = Runner(runner.folder, environ, runner.workspace).run(step)
    name = release["env"]["RATIFY"]
    assert (done.status == 0, outputs) == (signed, {"reference": f"{name}@{digest}"} if signed else {})
    version, signer = release["env"]["RATIFY_VERSION"], release["env"]["RATIFY_SIGNER"]
    assert asked.read_text().split() == [
        *("verify", "--certificate-identity", f"{signer}@refs/tags/{version}"),
        *("--certificate-oidc-issuer", "https://token.actions.githubusercontent.com", f"{name}@{digest}"),
    ]


def test_whatever_is_used_is_pinned_by_its_commit() -> None:
    texts = [path.read_text("utf-8") for path in (*WORKFLOWS, ACTION)]
    used = [name for text in texts for name in re.findall(r"uses: (\S+)", text)]
    foreign = [name for name in used if not name.startswith("$/") and "OWNER/" not in name]
    assert len(foreign) > 3
    pinned = re.compile(r"[\w.-]+/[\w.-]+(?:/[\w.-]+)*@[0-9a-f]{40}")
    assert [name for name in foreign if not pinned.fullmatch(name)] == []
