"""What users of such programs expect around it: kubectl's plugin, a default policy, man pages, completions, a hook."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from slsa_verifier_plugin.audit.pod_images import Cluster, from_cluster
from slsa_verifier_plugin.checking.status import Status
from slsa_verifier_plugin.cli.kubectl_entry import translated
from slsa_verifier_plugin.errors import UsageError
from tests.support.command_line import LEVEL_1, LEVEL_3, ROOT, cli, parameters, verifier, write_yaml
from tools import manuals


@pytest.mark.parametrize(
    ("typed", "meant", "kubeconfig"),
    [
        (["audit"], ["audit", "--cluster"], None),
        (
            ["audit", "-n", "shop", "--policy", "v"],
            ["audit", "--namespace", "shop", "--cluster", "--policy", "v"],
            None,
        ),
        (
            ["-n", "shop", "--context=prod", "audit"],
            ["audit", "--namespace", "shop", "--context", "prod", "--cluster"],
            None,
        ),
        (["audit", "--namespace=shop"], ["audit", "--namespace", "shop", "--cluster"], None),
        # kubectl: "Namespace in current context is ignored even if specified with --namespace".
        (["audit", "--namespace=shop", "-A"], ["audit", "--cluster"], None),
        (["-A", "--context=prod", "audit", "-n", "shop"], ["audit", "--context", "prod", "--cluster"], None),
        (["--kubeconfig", "/k", "audit"], ["audit", "--cluster"], "/k"),
        (["--kubeconfig=/k", "doctor"], ["doctor"], "/k"),
        (["audit", "--images", "l"], ["audit", "--images", "l"], None),
        (["audit", "merge", "a.db"], ["audit", "merge", "a.db"], None),
        (["verify", "image", "--policy", "v"], ["verify", "image", "--policy", "v"], None),
        (["verify", "--", "-n"], ["verify", "--", "-n"], None),
        ([], [], None),
    ],
)
def test_kubectls_options_go_where_they_belong(
    typed: list[str], meant: list[str], kubeconfig: str | None
) -> None:
    environ: dict[str, str] = {}
    assert translated(typed, environ) == meant
    assert environ.get("KUBECONFIG") == kubeconfig


def kubectl(folder: Path, script: str) -> dict[str, str]:
    program = folder / "bin" / "kubectl"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f'#!/bin/sh\necho "$@" >>{shlex.quote(str(folder))}/asked\n{script}\n')
    program.chmod(0o755)
    return {"PATH": f"{program.parent}:/usr/bin:/bin"}


PODS = {"kind": "List", "items": [{"kind": "Pod", "metadata": {"name": "p", "namespace": "shop"}, "spec": {"containers": [{"image": "a:1"}]}}]}  # fmt: skip # noqa: E501


def test_the_pods_of_a_cluster_are_read_through_kubectl(tmp_path: Path) -> None:
    (tmp_path / "pods.json").write_text(json.dumps(PODS))
    environ = kubectl(tmp_path, f"cat {tmp_path}/pods.json")
    (use,) = from_cluster(Cluster("prod", "shop"), environ)
    assert (use.image, use.namespace, use.source) == ("a:1", "shop", "cluster (context prod, namespace shop)")
    assert (
        tmp_path / "asked"
    ).read_text() == "get pods,replicasets.apps,jobs.batch -o json -n shop --context prod\n"
    assert [use.source for use in from_cluster(Cluster(), environ)] == ["cluster (the current context)"]
    assert (tmp_path / "asked").read_text().endswith(" -o json -A\n")


@pytest.mark.parametrize(
    ("script", "source"),
    [
        ("echo prod", "cluster (context prod)"),
        ("echo 'error: current-context is not set' >&2; exit 1", "cluster (the current context)"),
    ],
)
def test_a_report_names_the_cluster(tmp_path: Path, script: str, source: str) -> None:
    (tmp_path / "pods.json").write_text(json.dumps(PODS).replace("a:1", "127.0.0.1:9/a:1"))
    environ = kubectl(tmp_path, f'case "$1" in config) {script};; *) cat {tmp_path}/pods.json;; esac')
    policy = write_yaml(tmp_path / "v.yaml", verifier())
    done = cli(
        "audit",
        "--cluster",
        "--policy",
        policy,
        "--plain-http",
        "--timeout",
        "100ms",
        "--json",
        environ=environ,
    )
    (run,) = json.loads(done.out)["evidence"]["runs"]
    assert run["sources"] == [source]
    asked = (tmp_path / "asked").read_text().splitlines()
    # Every request names the context that the report names.
    assert all(line.endswith("--context prod") is ("context prod" in source) for line in asked[1:])


def test_who_may_list_pods_alone_gets_their_images(tmp_path: Path) -> None:
    (tmp_path / "pods.json").write_text(json.dumps(PODS))
    script = f'case "$2" in pods) cat {tmp_path}/pods.json;; *) echo "Error from server (Forbidden)" >&2; exit 1;; esac'
    assert [use.image for use in from_cluster(Cluster(), kubectl(tmp_path, script))] == ["a:1"]


def test_a_cluster_that_cannot_be_read_is_a_usage_error(tmp_path: Path) -> None:
    log = 'E1128 13:00:01.000001   12345 memcache.go:265] "Unhandled Error"'
    environ = kubectl(tmp_path, f"echo {shlex.quote(log)} >&2; echo 'The connection was refused' >&2; exit 1")
    with pytest.raises(UsageError, match=r"kubectl get pods: The connection was refused; check the context"):
        list(from_cluster(Cluster(), environ))
    with pytest.raises(UsageError, match="no kubectl on the PATH"):
        list(from_cluster(Cluster(), {"PATH": str(tmp_path)}))


@pytest.mark.parametrize("option", ["--namespace", "--context"])
def test_a_namespace_without_a_cluster_is_refused(option: str, tmp_path: Path) -> None:
    policy = write_yaml(tmp_path / "v.yaml", verifier())
    done = cli("audit", "a/b", "--policy", policy, option, "shop")
    assert (done.status, "they need --cluster" in done.err) == (Status.USAGE, True)


def test_a_variable_names_the_policy(tmp_path: Path) -> None:
    policy = write_yaml(tmp_path / "v.yaml", verifier())
    environ = {"SLSA_VERIFIER_POLICY": str(policy)}
    assert cli("verify", "--bundle", LEVEL_3, environ=environ).status == Status.ADMITTED
    assert cli("verify", "--bundle", LEVEL_1, environ=environ).status == Status.DENIED
    # What is typed goes before it.
    low = write_yaml(tmp_path / "low.yaml", verifier(level=1))
    assert cli("verify", "--bundle", LEVEL_1, "--policy", low, environ=environ).status == Status.ADMITTED
    missing = cli("verify", "--bundle", LEVEL_1, environ={"SLSA_VERIFIER_POLICY": "/nowhere.yaml"})
    assert (missing.status, "it names '/nowhere.yaml', which is no file" in missing.err) == (
        Status.USAGE,
        True,
    )
    assert "SLSA_VERIFIER_POLICY" in cli("verify", "--help").out


def test_man_pages_and_completions_are_those_of_the_commands() -> None:
    # "python -m tools.manuals" writes them.
    assert [path for path, text in manuals.files() if path.read_text("utf-8") != text] == []


def test_the_man_page_is_read_by_man() -> None:
    page = manuals.SHARE / "man" / "man1" / "slsa-verifier-plugin.1"
    try:
        done = subprocess.run(
            ["man", "-l", page],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={"PATH": "/usr/bin:/bin", "MANWIDTH": "100"},
        )
    except FileNotFoundError:
        pytest.skip("there is no man on this machine")
    if done.returncode == 0 and done.stdout:
        assert "policy check FILE..." in done.stdout
    for name in ("slsa", "slsla"):
        assert (page.parent / f"{name}.1").read_text() == ".so man1/slsa-verifier-plugin.1\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_name_of_the_program_is_completed(shell: str) -> None:
    done = cli("completion", shell)
    for name in ("slsa-verifier-plugin", "slsa", "slsla"):
        assert f"{name}" in done.out
    if shell == "bash":
        assert (
            subprocess.run(["/bin/bash", "-n"], input=done.out.encode(), timeout=30, check=False).returncode
            == 0
        )


def test_the_pre_commit_hook_checks_what_it_is_handed(tmp_path: Path) -> None:
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    program, *arguments = shlex.split(hook["entry"])
    assert (program, hook["require_serial"]) == ("slsa-verifier-plugin", True)
    unrelated = tmp_path / "compose.yaml"
    unrelated.write_text("services: {}\n")
    pod = write_yaml(tmp_path / "pod.yaml", {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}})
    assert cli(*arguments, unrelated, pod).status == Status.ADMITTED
    assert cli(*arguments, unrelated).status == Status.ADMITTED
    good = write_yaml(
        tmp_path / "v.yaml", verifier(spec={"parameters": parameters(sourceBinding="annotation")})
    )
    assert cli(*arguments, unrelated, good).status == Status.ADMITTED
    bad = write_yaml(tmp_path / "w.yaml", verifier(spec={"parameters": parameters(expectedLevels=["x"])}))
    assert cli(*arguments, unrelated, pod, bad).status == Status.DENIED
    near = write_yaml(tmp_path / "n.yaml", {**verifier(), "kind": "Verifer"})
    assert cli(*arguments, near).status == Status.DENIED
