"""``deploy/provider/certificates.sh`` with real openssl and a kubectl that keeps Secrets in a folder."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtensionOID

from tests.support.command_line import ROOT
from tests.support.interrupts import heard

SCRIPT = ROOT / "deploy" / "provider" / "certificates.sh"
KUBECTL = """\
import base64, os, pathlib, shutil, sys, time
here, arguments = pathlib.Path(os.environ["CLUSTER"]), sys.argv[1:]
namespace = here / (arguments[1] if arguments[0] == "--namespace" else "")
if arguments[0] == "--namespace":
    arguments = arguments[2:]
with (here / "calls").open("a") as calls:
    print(*arguments, file=calls)
if os.environ.get("FAILS", "\\n") in " ".join(arguments):
    sys.exit("The connection to the server was refused")
if os.environ.get("HANGS", "\\n") in " ".join(arguments):
    time.sleep(60)
if arguments[:2] == ["get", "secret"]:
    entry = namespace / arguments[2] / arguments[-1].split('"')[1]
    if entry.is_file():
        print(base64.b64encode(entry.read_bytes()).decode(), end="")
elif arguments[:2] == ["create", "secret"]:
    print(arguments[3], arguments[5], arguments[7], sep="\\n")
elif arguments[:2] == ["apply", "--server-side"]:
    name, certificate, key = sys.stdin.read().splitlines()
    (namespace / name).mkdir(parents=True, exist_ok=True)
    shutil.copyfile(certificate, namespace / name / "tls.crt")
    shutil.copyfile(key, namespace / name / "tls.key")
elif arguments[0] == "get" and os.environ.get("CERT_MANAGER"):
    print("certificate/there")
"""


@dataclass
class Cluster:
    """A cluster's Secrets, and the Providers' folder of manifests: its name has blanks."""

    home: Path
    namespace: str = "gatekeeper-system"

    @property
    def providers(self) -> Path:
        return self.home / "my manifests" / "gatekeeper"

    def environ(self, **more: str) -> dict[str, str]:
        return {
            "PATH": f"{self.home / 'bin'}:{os.environ['PATH']}",
            "CLUSTER": str(self.home / "cluster"),
            "TMPDIR": str(self.home / "tmp"),
            "NAMESPACE": self.namespace,
            "PROVIDERS": str(self.providers),
            **more,
        }

    def run(self, *options: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(SCRIPT), *options],
            env=self.environ(**more),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def secret(self, name: str) -> x509.Certificate:
        return x509.load_pem_x509_certificate(
            (self.home / "cluster" / self.namespace / name / "tls.crt").read_bytes()
        )

    def trusted(self) -> list[x509.Certificate]:
        return x509.load_pem_x509_certificates((self.providers / "ca.crt").read_bytes())

    def put(self, name: str, days: int) -> x509.Certificate:
        """Replace a Secret's certificate by one that ends in ``days``; only its end is looked at."""
        folder = self.home / "cluster" / self.namespace / name
        options = f"-x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days {days} -subj /CN=short"
        subprocess.run(
            ["openssl", "req", *options.split(), "-keyout", folder / "tls.key", "-out", folder / "tls.crt"],
            capture_output=True,
            check=True,
        )
        return self.secret(name)


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    made = Cluster(tmp_path)
    for folder in (tmp_path / "bin", tmp_path / "cluster", tmp_path / "tmp", made.providers):
        folder.mkdir(parents=True)
    kubectl = tmp_path / "bin" / "kubectl"
    kubectl.write_text(f"#!{sys.executable} -IS\n{KUBECTL}")
    kubectl.chmod(0o755)
    return made


def assert_made(done: subprocess.CompletedProcess[str], cluster: Cluster) -> None:
    assert done.returncode == 0, done
    assert list((cluster.home / "tmp").iterdir()) == [], "keys stay behind"


@pytest.mark.parametrize("namespace", ["slsa", "n" * 63])
def test_certificates_are_made_once_and_fit(cluster: Cluster, namespace: str) -> None:
    cluster.namespace = namespace
    assert_made(cluster.run(), cluster)
    authority, server = cluster.secret("slsa-verifier-ca"), cluster.secret("slsa-verifier-tls")
    server.verify_directly_issued_by(authority)
    names = server.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME).value
    assert isinstance(names, x509.SubjectAlternativeName)
    assert names.get_values_for_type(x509.DNSName) == [
        f"slsa-verifier.{namespace}",
        f"slsa-verifier.{namespace}.svc",
    ]
    assert server.not_valid_after_utc > datetime.now(UTC) + timedelta(days=364)
    assert cluster.trusted() == [authority]
    again = cluster.run()
    assert_made(again, cluster)
    assert "good until" in again.stdout
    assert cluster.secret("slsa-verifier-tls") == server
    assert cluster.secret("slsa-verifier-ca") == authority


def test_an_authority_that_is_replaced_is_trusted_until_the_next_time(cluster: Cluster) -> None:
    assert_made(cluster.run(), cluster)
    old, server = cluster.secret("slsa-verifier-ca"), cluster.secret("slsa-verifier-tls")
    assert_made(cluster.run("--renew-ca"), cluster)
    new = cluster.secret("slsa-verifier-ca")
    assert cluster.trusted() == [new, old]
    assert cluster.secret("slsa-verifier-tls") != server
    cluster.secret("slsa-verifier-tls").verify_directly_issued_by(new)
    assert_made(cluster.run(), cluster)
    assert cluster.trusted() == [new]


def test_what_is_in_its_last_third_is_replaced(cluster: Cluster) -> None:
    assert_made(cluster.run(), cluster)
    authority = cluster.secret("slsa-verifier-ca")
    cluster.put("slsa-verifier-tls", 100)
    assert_made(cluster.run(), cluster)
    assert cluster.secret("slsa-verifier-ca") == authority
    cluster.secret("slsa-verifier-tls").verify_directly_issued_by(authority)
    short = cluster.put("slsa-verifier-ca", 1000)
    assert_made(cluster.run(), cluster)
    assert cluster.trusted() == [cluster.secret("slsa-verifier-ca"), short]


def test_a_cluster_that_does_not_answer_is_no_cluster_without_an_authority(cluster: Cluster) -> None:
    """Otherwise another authority would be made, and trust in the one there is would end."""
    assert_made(cluster.run(), cluster)
    before = [cluster.secret(name) for name in ("slsa-verifier-ca", "slsa-verifier-tls")]
    for step in ("get crd", "secret slsa-verifier-ca", "secret slsa-verifier-tls"):
        done = cluster.run(FAILS=step)
        assert (done.returncode != 0, "was refused" in done.stderr) == (True, True), done
        assert [cluster.secret(name) for name in ("slsa-verifier-ca", "slsa-verifier-tls")] == before
        assert cluster.trusted() == before[:1]
        assert list((cluster.home / "tmp").iterdir()) == []


def test_cert_managers_certificates_are_left_to_it(cluster: Cluster) -> None:
    assert_made(cluster.run(), cluster)
    secrets = cluster.home / "cluster" / cluster.namespace
    shutil.copyfile(secrets / "slsa-verifier-ca" / "tls.crt", secrets / "slsa-verifier-tls" / "ca.crt")
    short = cluster.put("slsa-verifier-tls", 1)
    done = cluster.run(CERT_MANAGER="1")
    assert_made(done, cluster)
    assert cluster.secret("slsa-verifier-tls") == short
    assert cluster.trusted() == [cluster.secret("slsa-verifier-ca")]


def test_the_authority_is_printed_where_there_are_no_providers(cluster: Cluster) -> None:
    done = cluster.run(PROVIDERS="")
    assert_made(done, cluster)
    assert "BEGIN CERTIFICATE" in done.stdout
    assert "apply --kustomize" not in (cluster.home / "cluster" / "calls").read_text()


def test_providers_are_left_alone_where_that_is_asked_for(cluster: Cluster) -> None:
    assert_made(cluster.run("--keep-providers"), cluster)
    assert "apply --kustomize" not in (cluster.home / "cluster" / "calls").read_text()
    assert cluster.trusted() == [cluster.secret("slsa-verifier-ca")]
    assert cluster.run("--no-such").returncode == 2


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_no_key_stays_behind_where_it_is_ended(cluster: Cluster, end: signal.Signals) -> None:
    with heard():
        running = subprocess.Popen(
            [str(SCRIPT)],
            env=cluster.environ(HANGS="apply --kustomize"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    calls = cluster.home / "cluster" / "calls"
    until = time.monotonic() + 60
    while not calls.exists() or "apply --kustomize" not in calls.read_text():
        assert time.monotonic() < until
        time.sleep(0.02)
    assert [file for file in (cluster.home / "tmp").glob("*/ca.key") if file.read_bytes()]
    # As a terminal does: the whole group.
    os.killpg(running.pid, end)
    assert running.wait(30) != 0
    assert list((cluster.home / "tmp").iterdir()) == []
