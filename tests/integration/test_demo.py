"""The demonstration, as people run it: alone, through Ratify, and where something is not as it must be."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from slsa_verifier_plugin.checking.status import Status
from slsa_verifier_plugin.cli.commands import demo_command as demo
from slsa_verifier_plugin.cli.render import render_demo
from slsa_verifier_plugin.cli.render.painter import Painter
from slsa_verifier_plugin.cli.session import Session
from slsa_verifier_plugin.demo import scene
from slsa_verifier_plugin.demo.calls import DemoOutcome
from slsa_verifier_plugin.demo.demo_registry import DemoRegistry
from tests.support.command_line import LEVEL_1, Done, cli, process

COMMITS = {
    "level-1": "0c6a3d2f1b5e4987a6c8d0e2f4b6a8c0d1e3f507",
    "level-3": "5f2c8d1e9a7b4c3f60d2e8b19c4a7f5e3d6b8a90",
}
SIGNER = "https://github.com/slsa-framework/source-actions/.github/workflows/compute_slsa_source.yml@refs/heads/main"


def run_demo(*arguments: str, **environ: str) -> Done:
    return process("demo", *arguments, environ=environ)


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose path leaves room for a socket's, for everything that the demonstration makes."""
    with tempfile.TemporaryDirectory(prefix="d-") as folder:
        yield Path(folder)


def resident_verifiers(folder: Path) -> list[int]:
    """Return the processes whose environment names ``folder`` as the place of temporary files."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if f"TMPDIR={folder}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def test_one_denied_and_one_admitted(short: Path) -> None:
    done = run_demo("--without-ratify", TMPDIR=str(short))
    assert (done.status, done.err) == (Status.ADMITTED, "")
    denied, admitted = done.out.partition("ADMITTED")[::2]
    assert "X  DENIED      127.0.0.1:" in denied or "✗ DENIED      127.0.0.1:" in denied
    for expected in (
        "LEVEL_TOO_LOW",
        "found SLSA_SOURCE_LEVEL_1, expected SLSA_SOURCE_LEVEL_2",
        COMMITS["level-1"],
    ):
        assert expected in denied
    for expected in ("SLSA_SOURCE_LEVEL_3", scene.SOURCE, COMMITS["level-3"], SIGNER):
        assert expected in admitted
    assert done.out.endswith("The demo worked: one image denied, one admitted.\n")
    assert "\033" not in done.out
    assert resident_verifiers(short) == []
    assert list(short.iterdir()) == []


def test_a_folder_whose_path_is_too_long_for_a_socket(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 80)
    folder.mkdir()
    done = run_demo("--without-ratify", TMPDIR=str(folder))
    assert (done.status, done.err) == (Status.ADMITTED, "")
    assert resident_verifiers(folder) == []


def test_json_holds_the_plugins_own_results(short: Path) -> None:
    """By a resident verifier, which must answer here and has gone again at the end; proxies of the shell are not asked."""
    proxy = "http://127.0.0.1:9"
    done = run_demo(
        "--without-ratify",
        "--json",
        TMPDIR=str(short),
        SLSA_VERIFIER_RESIDENT="require",
        HTTP_PROXY=proxy,
        http_proxy=proxy,
        ALL_PROXY=proxy,
    )
    assert (done.status, done.err) == (Status.ADMITTED, "")
    document = json.loads(done.out)
    assert (document["asExpected"], document["ratify"]) == (True, None)
    for image, decision, tag in zip(document["images"], ("denied", "admitted"), COMMITS, strict=True):
        assert (image["expected"], image["decision"], image["tag"]) == (decision, decision, tag)
        extensions = image["result"]["extensions"]
        assert extensions["revision"] == COMMITS[tag]
        assert extensions["signer"]["identity"] == SIGNER
        assert extensions["verified"] is True
    assert resident_verifiers(short) == []


def fake_ratify(folder: Path, body: str) -> Path:
    path = folder / "ratify"
    path.write_text(f"#!{sys.executable}\nimport json, os, subprocess, sys\n{body}\n")
    path.chmod(0o755)
    return path


AS_RATIFY = """
config = json.load(open(sys.argv[sys.argv.index("-c") + 1]))
verifier = config["verifier"]["plugins"][0]
subject = sys.argv[sys.argv.index("-s") + 1]
assert sys.argv[1] == "verify"
plugin = os.path.join(os.environ["HOME"], ".ratify", "plugins", verifier["name"])
assert os.access(plugin, os.X_OK), plugin
print(json.dumps({"isSuccess": SUCCESS, "verifierReports": [{"subject": subject, "isSuccess": SUCCESS, "name": "slsla",
    "message": "as told", "extensions": {"reason": REASON}}]}))
"""


def test_ratify_on_the_path_is_gone_through(tmp_path: Path) -> None:
    body = AS_RATIFY.replace("SUCCESS", "True").replace("REASON", '"VERIFIED"')
    fake_ratify(tmp_path, body)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    done = run_demo("--json", PATH=path)
    document = json.loads(done.out)
    assert document["ratify"] == str(tmp_path / "ratify")
    # A Ratify that admits everything is not what must happen.
    assert (done.status, document["asExpected"]) == (Status.DENIED, False)
    assert run_demo("--json", "--without-ratify", PATH=path).status == Status.ADMITTED


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("sys.exit('no such command')", "ended with status 1 and no result: no such command"),
        ("print('[1]')", "ended with status 0 and no result: [1]"),
        ("print('no JSON')", "no result: no JSON"),
    ],
)
def test_a_program_that_is_no_ratify(tmp_path: Path, body: str, expected: str) -> None:
    done = run_demo("--ratify", str(fake_ratify(tmp_path, body)), TMPDIR=str(tmp_path))
    assert (done.status, done.out) == (Status.USAGE, "")
    assert expected in done.err
    assert resident_verifiers(tmp_path) == []


def test_a_ratify_and_none_exclude_each_other() -> None:
    done = run_demo("--ratify", "x", "--without-ratify")
    assert (done.status, "exclude each other" in done.err) == (Status.USAGE, True)


@pytest.fixture(scope="module")
def shown() -> render_demo.Show:
    """The demonstration, performed once."""
    return demo.perform(Session(), None)


def test_only_the_right_reason_is_as_expected(shown: render_demo.Show) -> None:
    assert shown.as_expected
    exhibit = shown.outcomes[0].exhibit
    cases: list[tuple[bool, dict[str, Any]]] = [
        (True, {"reason": "VERIFIED"}),
        (False, {"reason": "REGISTRY_UNREACHABLE"}),
        (False, {}),
    ]
    for admitted, extensions in cases:
        outcome = DemoOutcome(exhibit, admitted, {"extensions": extensions, "msg": "an error"})
        other = render_demo.Show((outcome, shown.outcomes[1]), shown.scene)
        assert not other.as_expected
        assert "This is not what must happen" in "\n".join(render_demo.text_of(other, Painter()))
    assert not render_demo.Show((), shown.scene).as_expected


def test_colours_and_width(shown: render_demo.Show) -> None:
    colored = "\n".join(render_demo.text_of(shown, Painter(color=True, symbols=True)))
    assert "\033[31;1mDENIED" in colored
    assert "\033[32;1mADMITTED" in colored
    narrow = list(render_demo.text_of(shown, Painter(width=60)))
    images = [line for line in narrow if "127.0.0.1:" in line]
    assert len(images) == 2
    assert [line for line in narrow if len(line) > 60 and line not in images] == []


def test_make_demo_needs_no_network(tmp_path: Path) -> None:
    """In a network of its own, where nothing but loopback is there."""
    command = ["unshare", "--net", "--map-root-user", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    probe = subprocess.run([*command, "true"], capture_output=True, timeout=30, check=False)
    if probe.returncode != 0:
        pytest.skip("no network namespaces here")
    done = process(
        "demo",
        "--without-ratify",
        command=[*command, sys.executable, "-m", "slsa_verifier_plugin"],
        environ={"TMPDIR": str(tmp_path)},
    )
    assert (done.status, done.err) == (Status.ADMITTED, "")
    assert resident_verifiers(tmp_path) == []


def test_a_port_is_for_the_registry_that_stays_and_must_be_free(tmp_path: Path) -> None:
    done = run_demo("--port", "5000")
    assert (done.status, "--port is for the registry of --serve" in done.err) == (Status.USAGE, True)
    with DemoRegistry("demo/app") as taken:
        port = taken.host.rpartition(":")[2]
        done = run_demo("--serve", str(tmp_path), "--port", port)
    assert (done.status, f"cannot listen on 127.0.0.1:{port}" in done.err) == (Status.USAGE, True)
    with DemoRegistry("demo/app", int(port)) as again:
        assert again.host == f"127.0.0.1:{port}"


def test_the_registry_answers_for_what_it_was_given_alone(tmp_path: Path) -> None:
    with DemoRegistry(scene.REPOSITORY) as registry:
        prepared = scene.prepare(registry, tmp_path)
        image = prepared.exhibits[0].image.partition("@")[2]
        base = f"http://{registry.host}/v2/"
        assert requests.get(base, timeout=5).status_code == 200
        assert requests.get(f"{base}_catalog", timeout=5).json() == {"repositories": ["demo/app"]}
        assert requests.get(f"{base}demo/app/tags/list", timeout=5).json()["tags"] == ["level-1", "level-3"]
        listed = requests.get(f"{base}demo/app/referrers/{image}", timeout=5).json()["manifests"]
        assert [item["artifactType"] for item in listed] == [scene.ARTIFACT_TYPE]
        for path in (
            "demo/app/manifests/latest",
            f"demo/app/blobs/{image}",
            "other/tags/list",
            "../etc/passwd",
        ):
            assert requests.get(base + path, timeout=5).status_code == 404
        head = requests.head(f"{base}demo/app/manifests/level-1", timeout=5)
        assert (head.headers["Docker-Content-Digest"], head.content) == (image, b"")
        # It takes nothing, and says to other clients in plain words what to do.
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            refused = requests.request(
                method, f"{base}demo/app/blobs/uploads/", data=b"x" * 100_000, timeout=5
            )
            (error,) = refused.json()["errors"]
            assert (refused.status_code, refused.headers["Allow"], error["code"]) == (
                405,
                "GET, HEAD",
                "UNSUPPORTED",
            )
            assert "'slsa-verifier-plugin demo --push REGISTRY'" in error["message"]
        done = cli("attach", f"{registry.host}/demo/app:level-1", LEVEL_1)
        assert (done.status, done.out) == (Status.UNDECIDED, "")
        assert "answered HTTP 405 (UNSUPPORTED); the registry takes no such request; for a push" in done.err
        assert "and the demo's own do not ('slsa-verifier-plugin demo --push REGISTRY' puts" in done.err
