"""Kyverno's own code asks the same Ratify. Its command line takes 10 minutes to build: SLSA_E2E_KYVERNO=1 asks for it."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from tests.e2e.cluster import charts
from tests.e2e.cluster.builds import program
from tests.e2e.cluster.conftest import Say
from tests.e2e.cluster.lab import Lab
from tests.e2e.cluster.pki import SERVER, Authority
from tests.e2e.cluster.ratify import Setting

_SERVICE = "ratify.ratify-system:6001"
_DIRECT_SERVICE = "slsa-verifier.slsa-verifier"
_LOOPBACK_ALLOWED = "169.254.169.254/32"
"""In place of Kyverno's list of addresses it does not call, which has loopback: where Ratify is in this test."""


@pytest.fixture
def ratify_without_client_certificates(bare_lab: Lab, setting: Setting, level_3: bytes) -> Lab:
    bare_lab.prepare(bare_lab.ratify, level_3, replace(setting, arguments=("--ca-cert-file=",)))
    return bare_lab


def _apply(
    lab: Lab,
    folder: Path,
    image: str,
    address: str = "ratify.gatekeeper-system:6001",
    authority: Path | None = None,
    manifests: str = "kyverno",
) -> subprocess.CompletedProcess[str]:
    """Apply the policy to a Pod of the image, with Ratify, or what stands in for it, at that address."""
    policy = folder / "policy.yaml"
    (thing,) = [one for one in lab.kustomize(manifests) if one["kind"] == "ValidatingPolicy"]
    # the certificate of this run is for the name of the chart's Service
    text = yaml.safe_dump(thing, width=1000)
    assert _SERVICE in text or _DIRECT_SERVICE in text
    policy.write_text(text.replace(_SERVICE, address).replace(_DIRECT_SERVICE, address))
    pod = folder / "pod.yaml"
    body = lab.pod(image)
    body["metadata"]["namespace"] = "default"
    pod.write_text(yaml.safe_dump(body))
    return subprocess.run(
        [
            str(program("kyverno")),
            *("apply", str(policy), "--resource", str(pod)),
            "--policy-report",
        ],
        env={
            "HOME": str(folder),
            "PATH": os.environ["PATH"],
            "FLAG_HTTP_BLOCKLIST": _LOOPBACK_ALLOWED,
            "SSL_CERT_FILE": str(authority or lab.manifests / "gatekeeper" / "provider" / "ca.crt"),
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_kyverno_asks_ratify(
    ratify_without_client_certificates: Lab, tmp_path: Path, level_1: bytes, level_3: bytes, say: Say
) -> None:
    """Kyverno's ValidatingPolicy admits level 3, denies level 1 with the plugin's reason, and what Ratify does not know"""
    lab = ratify_without_client_certificates
    good = _apply(lab, tmp_path, lab.image("level-3", level_3))
    assert good.returncode == 0, good.stdout + good.stderr
    assert "pass: 1" in good.stdout
    bad = _apply(lab, tmp_path, lab.image("level-1", level_1))
    assert bad.returncode != 0
    assert "SLSA_SOURCE_LEVEL_1" in bad.stdout + bad.stderr
    bare = _apply(lab, tmp_path, lab.image("bare"))
    assert bare.returncode != 0
    lab.ratify.pause()
    try:
        away = _apply(lab, tmp_path, lab.image("level-3", level_3))
    finally:
        lab.ratify.resume()
        lab.wait_for_a_yes(level_3)
    assert away.returncode != 0
    say(next(line.strip() for line in bad.stdout.splitlines() if "SLSA_SOURCE_LEVEL_1" in line))


@pytest.fixture
def provider_without_client_certificates(bare_lab: Lab, level_3: bytes) -> Iterator[Lab]:
    """The provider with the arguments that deploy/kyverno/provider gives it."""
    bare_lab.prepare(bare_lab.provider, level_3)
    (deployment,) = [
        one for one in bare_lab.kustomize("kyverno/provider/server") if one["kind"] == "Deployment"
    ]
    bare_lab.provider.kill()
    bare_lab.provider.arguments = charts.container(deployment)["args"]
    bare_lab.provider.resume()
    yield bare_lab
    bare_lab.provider.kill()
    bare_lab.provider.arguments = None
    bare_lab.provider.resume()


def test_kyverno_asks_the_provider(
    provider_without_client_certificates: Lab, tmp_path: Path, level_1: bytes, level_3: bytes, say: Say
) -> None:
    """Kyverno's ValidatingPolicy asks the provider itself: level 3 admitted, level 1 denied with the reason, none away"""
    lab = provider_without_client_certificates
    authority = lab.manifests / "provider" / "gatekeeper" / "ca.crt"

    def apply(image: str) -> subprocess.CompletedProcess[str]:
        return _apply(lab, tmp_path, image, "slsa-verifier.gatekeeper-system", authority, "kyverno/provider")

    good, bad = apply(lab.image("level-3", level_3)), apply(lab.image("level-1", level_1))
    assert good.returncode == 0, good.stdout + good.stderr
    assert "pass: 1" in good.stdout
    assert bad.returncode != 0
    assert "SLSA_SOURCE_LEVEL_1" in bad.stdout + bad.stderr
    assert apply(lab.image("bare")).returncode != 0
    lab.provider.kill()
    try:
        away = apply(lab.image("level-3", level_3))
    finally:
        lab.provider.resume()
    assert away.returncode != 0
    say(next(line.strip() for line in bad.stdout.splitlines() if "SLSA_SOURCE_LEVEL_1" in line))


@contextmanager
def _answering(folder: Path, status: int, extra: dict[str, object], verdicts: list[bool]) -> Iterator[str]:
    """Serve one answer about whatever is asked, over TLS; yields host and port."""
    authority = Authority("answers")
    pair = authority.issue("localhost", SERVER, names=("localhost",))
    (folder / "answers.crt").write_text(authority.certificate)
    (folder / "answers.pem").write_text(pair.certificate + pair.key)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            keys = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["request"]["keys"]
            items = [{"key": key, "value": {"isSuccess": verdict}} for key in keys for verdict in verdicts]
            body = json.dumps({"response": {"items": items, **extra}}).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name it has there
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "answers.pem")
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"localhost:{server.server_port}"
        server.shutdown()


@pytest.mark.through("ratify")
def test_kyverno_reads_the_whole_answer(lab: Lab, tmp_path: Path, say: Say) -> None:
    """Kyverno's ValidatingPolicy denies a success in an answer with status 500, with a system error, or beside a no"""
    image = f"registry.example/app@sha256:{'a' * 64}"
    yes: dict[str, object] = {"key": image, "value": {"isSuccess": True}}
    broken: dict[str, tuple[int, dict[str, object], list[bool], str]] = {
        "status 500": (500, {}, [True], "status 500"),
        "a system error": (200, {"systemError": "the store is broken"}, [True], "the store is broken"),
        "a no beside it": (200, {}, [True, False], "is not admitted"),
        "an error that is no text": (200, {"items": [{**yes, "error": 5}]}, [], ""),
        "an item that is text": (200, {"items": [yes, "no"]}, [], ""),
        "an item without a key": (200, {"items": [yes, {"error": "no"}]}, [], ""),
        "an error for another name": (
            200,
            {"items": [yes, {"key": f" {image}", "error": "no"}]},
            [],
            "about no image",
        ),
        "a system error that is no text": (200, {"systemError": {"text": ""}}, [True], ""),
        "a verdict that is text": (200, {"items": [{"key": image, "value": {"isSuccess": "true"}}]}, [], ""),
    }
    with _answering(tmp_path, 200, {}, [True]) as address:
        good = _apply(lab, tmp_path, image, address, tmp_path / "answers.crt")
        elsewhere = _apply(lab, tmp_path, f"[other]{image}", address, tmp_path / "answers.crt")
    assert "pass: 1" in good.stdout, good.stdout + good.stderr
    assert elsewhere.returncode != 0, elsewhere.stdout
    for what, (status, extra, verdicts, words) in broken.items():
        with _answering(tmp_path, status, extra, verdicts) as address:
            denied = _apply(lab, tmp_path, image, address, tmp_path / "answers.crt")
        assert denied.returncode != 0, what
        assert words in denied.stdout, f"{what}: {denied.stdout}"
    say(", ".join(broken))
