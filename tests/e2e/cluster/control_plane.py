"""etcd, kube-apiserver and kube-controller-manager as plain processes on loopback."""

from __future__ import annotations

import subprocess
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.cluster.kube import Client, Kubectl, certificate_user, kubeconfig
from tests.e2e.cluster.pki import CLIENT, SERVER, Authority, Pair
from tests.e2e.cluster.processes import Processes

API_HOST = "127.0.0.1"
API_PORT = 6443
_ETCD = "http://127.0.0.1:2379"
_ETCD_PEER = "http://127.0.0.1:2380"
_SERVICES = "127.96.0.0/24"
"""Cluster addresses are loopback ones: a program that listens on its Service's address needs no proxy."""
_CONTROLLERS = (
    "serviceaccount-controller",
    "namespace-controller",
    "deployment-controller",
    "replicaset-controller",
    "job-controller",
    "garbage-collector-controller",
    "clusterrole-aggregation-controller",
)


@dataclass(frozen=True)
class ControlPlane:
    """A running control plane, and the ways to talk to it."""

    folder: Path
    authority: Authority
    admin: Pair
    kubectl: Kubectl

    def client(self) -> Client:
        """Return a new connection as the cluster's administrator."""
        return Client(API_HOST, API_PORT, self.authority.certificate, self.admin)

    def config_with_token(self, name: str, token: str) -> Path:
        """Write a kubeconfig of a ServiceAccount."""
        file = self.folder / f"{name}.kubeconfig"
        return kubeconfig(file, _server(), self.authority.certificate, {"token": token})

    def developer(self) -> Kubectl:
        """Return kubectl as somebody who may do anything in the namespaces, and nothing above them."""
        pair = self.authority.issue("dev", CLIENT, organization="developers")
        file = self.folder / "dev.kubeconfig"
        return Kubectl(kubeconfig(file, _server(), self.authority.certificate, certificate_user(pair)))


def _server() -> str:
    return f"https://{API_HOST}:{API_PORT}"


def start(folder: Path, processes: Processes, programs: Mapping[str, Path]) -> ControlPlane:
    """Start the control plane, with a fresh state in ``folder``.

    Raises:
        ProcessDiedError: one of its programs did not come up.
    """
    folder.mkdir(parents=True)
    authority = Authority("kubernetes")
    admin = authority.issue("admin", CLIENT, organization="system:masters")
    config = kubeconfig(
        folder / "admin.kubeconfig", _server(), authority.certificate, certificate_user(admin)
    )
    plane = ControlPlane(folder, authority, admin, Kubectl(config))
    _write_keys(folder, authority)
    _start_etcd(folder, processes, programs["etcd"])
    _start_api_server(plane, processes, programs["kube-apiserver"])
    _start_controllers(plane, processes, programs["kube-controller-manager"])
    return plane


def _write_keys(folder: Path, authority: Authority) -> None:
    serving = authority.issue(
        "kube-apiserver", SERVER, names=(API_HOST, "localhost", "kubernetes.default.svc")
    )
    for name, content in {
        "ca.crt": authority.certificate,
        "apiserver.crt": serving.certificate,
        "apiserver.key": serving.key,
    }.items():
        (folder / name).write_text(content)
    service_account_key = ["openssl", "genrsa", "-out", str(folder / "sa.key"), "2048"]
    subprocess.run(service_account_key, check=True, capture_output=True)


def _start_etcd(folder: Path, processes: Processes, program: Path) -> None:
    options = {
        "name": "one",
        "data-dir": folder / "etcd",
        "log-level": "warn",
        "listen-client-urls": _ETCD,
        "advertise-client-urls": _ETCD,
        "listen-peer-urls": _ETCD_PEER,
        "initial-advertise-peer-urls": _ETCD_PEER,
        "initial-cluster": f"one={_ETCD_PEER}",
        "unsafe-no-fsync": "true",  # the state is thrown away with the test
    }
    processes.start("etcd", [program, *(f"--{key}={value}" for key, value in options.items())])
    processes.wait_until(_etcd_is_healthy, "etcd", "it is healthy")


def _etcd_is_healthy() -> bool:
    with urllib.request.urlopen(f"{_ETCD}/health", timeout=5) as answer:
        return bool(answer.status == 200)


def _start_api_server(plane: ControlPlane, processes: Processes, program: Path) -> None:
    folder = plane.folder
    options = {
        "etcd-servers": _ETCD,
        "bind-address": API_HOST,
        "advertise-address": API_HOST,
        "secure-port": API_PORT,
        "endpoint-reconciler-type": "none",  # Endpoints do not hold loopback addresses
        "service-cluster-ip-range": _SERVICES,
        "tls-cert-file": folder / "apiserver.crt",
        "tls-private-key-file": folder / "apiserver.key",
        "client-ca-file": folder / "ca.crt",
        "authorization-mode": "RBAC",
        "service-account-issuer": "https://kubernetes.default.svc",
        "service-account-signing-key-file": folder / "sa.key",
        "service-account-key-file": folder / "sa.key",
        "profiling": "false",
    }
    processes.start("kube-apiserver", [program, *(f"--{key}={value}" for key, value in options.items())])
    processes.wait_until(
        lambda: plane.kubectl.attempt("get", "--raw", "/readyz").admitted,
        "kube-apiserver",
        "it is ready",
        120,
    )


def _start_controllers(plane: ControlPlane, processes: Processes, program: Path) -> None:
    pair = plane.authority.issue("system:kube-controller-manager", CLIENT)
    config = kubeconfig(
        plane.folder / "kcm.kubeconfig", _server(), plane.authority.certificate, certificate_user(pair)
    )
    options: dict[str, object] = {
        "kubeconfig": config,
        "bind-address": API_HOST,
        "use-service-account-credentials": "true",
        "service-account-private-key-file": plane.folder / "sa.key",
        "root-ca-file": plane.folder / "ca.crt",
        "leader-elect": "false",
        "controllers": ",".join(_CONTROLLERS),
    }
    command = [str(program), *(f"--{key}={value}" for key, value in options.items())]
    processes.start("kube-controller-manager", command)
    processes.wait_until(
        lambda: plane.kubectl.exists("serviceaccount", "default", "-n", "default"),
        "kube-controller-manager",
        "it makes service accounts",
    )
