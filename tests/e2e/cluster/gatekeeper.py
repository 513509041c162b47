"""Gatekeeper with the settings of ``deploy/gatekeeper/values.yaml``, as its own chart renders them."""

from __future__ import annotations

import base64
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.cluster import charts
from tests.e2e.cluster.control_plane import ControlPlane
from tests.e2e.cluster.kube import Object
from tests.e2e.cluster.pki import CLIENT, SERVER, Authority, Pair
from tests.e2e.cluster.processes import Processes

SECRET = "gatekeeper-webhook-server-cert"
_SERVICE = "gatekeeper-webhook-service"
_SETTINGS: Mapping[str, Any] = {
    "replicas": 1,
    "resourceQuota": False,  # no controller here counts what a quota has used
    "postInstall": {"labelNamespace": {"enabled": False}},  # a hook that runs in a Pod
}
_WEBHOOK = "gatekeeper"
_AUDIT = "gatekeeper-audit"


@dataclass(frozen=True)
class Gatekeeper:
    """Gatekeeper's objects in the cluster and its certificates; its programs are started by the methods."""

    plane: ControlPlane
    processes: Processes
    program: Path
    objects: list[Object]
    authority: Authority
    certificates: Path
    pair: Pair

    def start_webhook(self, **flags: str) -> None:
        """Start the controller and its webhooks; ``flags`` replace those of the chart.

        Raises:
            ProcessDiedError: it did not come up.
        """
        address = self.plane.kubectl.get("service", _SERVICE, "-n", charts.NAMESPACE)["spec"]["clusterIP"]
        own = {"host": address, "port": "443", "health-addr": "127.0.0.1:9090", "prometheus-port": "18888"}
        own |= {"cert-dir": str(self.certificates), "disable-cert-rotation": "true", "shutdown-delay": "0"}
        self._start(_WEBHOOK, "gatekeeper-controller-manager", own | _dashed(flags))
        self.processes.wait_until(lambda: _is_ready("9090"), _WEBHOOK, "it is ready")

    def stop_webhook(self) -> None:
        """End the controller; its webhooks stay registered."""
        self.processes.stop(_WEBHOOK)

    def start_audit(self, **flags: str) -> None:
        """Start the audit, which also makes the definitions of constraints; ``flags`` as above.

        Raises:
            ProcessDiedError: it did not come up.
        """
        own = {"health-addr": "127.0.0.1:9091", "prometheus-port": "18889"}
        own |= {"cert-dir": str(self.certificates), "disable-cert-rotation": "true"}
        scratch = self.certificates.with_name("audit")  # in place of the Pod's empty volume
        scratch.mkdir(exist_ok=True)
        own |= {"api-cache-dir": str(scratch), "shutdown-delay": "0"}
        self._start(_AUDIT, _AUDIT, own | _dashed(flags))
        self.processes.wait_until(lambda: _is_ready("9091"), _AUDIT, "it is ready")

    def stop_audit(self) -> None:
        """End the audit."""
        self.processes.stop(_AUDIT)

    def register_webhooks(self) -> None:
        """Register the chart's webhooks as they are, with the certificate that the rotator would put in."""
        bundle = base64.b64encode(self.authority.certificate.encode()).decode()
        configurations = [thing for thing in self.objects if thing["kind"].endswith("WebhookConfiguration")]
        for configuration in configurations:
            for webhook in configuration["webhooks"]:
                webhook["clientConfig"]["caBundle"] = bundle
        self.plane.kubectl.apply(configurations)

    def _start(self, name: str, deployment: str, own: Mapping[str, str]) -> None:
        """Run what the Deployment's Pod would, as the Pod that its ReplicaSet made."""
        shown = charts.container(charts.find(self.objects, "Deployment", deployment))
        kubectl = self.plane.kubectl
        selector = f"control-plane={'audit-controller' if deployment == _AUDIT else 'controller-manager'}"
        kubectl.until("gatekeeper", "get", "pods", "-n", charts.NAMESPACE, "-l", selector, "-o", "name")
        pod = kubectl.get("pods", "-n", charts.NAMESPACE, "-l", selector)["items"][0]["metadata"]["name"]
        token = kubectl.run("create", "token", "gatekeeper-admin", "-n", charts.NAMESPACE)
        command: list[str | Path] = [self.program, *shown["args"]]
        command.append(f"--kubeconfig={self.plane.config_with_token(name, token)}")
        command += [f"--{key}={value}" for key, value in own.items()]
        environment = {"POD_NAME": pod, "POD_NAMESPACE": charts.NAMESPACE, "CONTAINER_NAME": "manager"}
        self.processes.start(name, command, environment)


def install(
    plane: ControlPlane,
    processes: Processes,
    programs: Mapping[str, Path],
    chart: Path,
    values: Path,
    certificates: Path,
) -> Gatekeeper:
    """Put Gatekeeper's objects into the cluster, its webhooks not yet registered, and start its programs."""
    authority = Authority("gatekeeper-ca")
    service = f"{_SERVICE}.{charts.NAMESPACE}.svc"
    # Gatekeeper shows the certificate of its webhook to providers as well.
    serving = authority.issue(service, SERVER, CLIENT, names=(service,))
    certificates.mkdir()
    content = {"tls.crt": serving.certificate, "tls.key": serving.key, "ca.crt": authority.certificate}
    for name, text in content.items():
        (certificates / name).write_text(text)
    config = plane.folder / "admin.kubeconfig"
    objects = charts.render(programs["helm"], chart, "gatekeeper", [values], _SETTINGS, config)
    namespace: Object = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": charts.NAMESPACE}}
    plane.kubectl.apply([namespace])
    definitions = [thing for thing in objects if thing["kind"] == "CustomResourceDefinition"]
    plane.kubectl.apply(definitions)
    plane.kubectl.wait_for_definitions()
    plane.kubectl.apply(
        charts.without(
            _less_hooks(objects),
            "CustomResourceDefinition",
            "ValidatingWebhookConfiguration",
            "MutatingWebhookConfiguration",
        )
    )
    plane.kubectl.apply([_secret(content)])  # as the rotator fills it
    program = programs["gatekeeper"]
    gatekeeper = Gatekeeper(plane, processes, program, objects, authority, certificates, serving)
    gatekeeper.start_webhook()
    gatekeeper.start_audit()
    return gatekeeper


def _less_hooks(objects: list[Object]) -> list[Object]:
    """Return the objects that are no hooks: those run in Pods, of which there are none here."""
    return [thing for thing in objects if "helm.sh/hook" not in (thing["metadata"].get("annotations") or {})]


def _secret(content: Mapping[str, str]) -> Object:
    metadata = {"name": SECRET, "namespace": charts.NAMESPACE}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": dict(content)}


def _dashed(flags: Mapping[str, str]) -> dict[str, str]:
    return {key.replace("_", "-"): value for key, value in flags.items()}


def _is_ready(port: str) -> bool:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
        return bool(answer.status == 200)
