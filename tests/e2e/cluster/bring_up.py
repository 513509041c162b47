"""Brings the whole admission path up: a registry with its images, the control plane, Gatekeeper, Ratify's objects."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from tests.e2e.cluster import charts, control_plane, gatekeeper
from tests.e2e.cluster import provider as providers
from tests.e2e.cluster.control_plane import ControlPlane
from tests.e2e.cluster.gatekeeper import Gatekeeper
from tests.e2e.cluster.images import Crane, Images, build, push_base, push_ratify
from tests.e2e.cluster.lab import REGISTRY_HOST, SECOND_REGISTRY_HOST, TLS_REGISTRY_HOST, Lab
from tests.e2e.cluster.pki import SERVER, Authority
from tests.e2e.cluster.processes import Processes
from tests.e2e.cluster.provider import Provider
from tests.e2e.cluster.ratify import Ratify
from tests.e2e.cluster.sandbox import Hosts
from tests.e2e.oras import Oras
from tests.e2e.servers import in_memory_registry
from tests.e2e.shared import REPOSITORY


def start(
    work: Path,
    programs: Mapping[str, Path],
    chart: Mapping[str, Path],
    plugin: Path,
    authorities: bytes,
    stack: ExitStack,
) -> Lab:
    """Bring up a registry, the images in it, the control plane, Gatekeeper and Ratify's objects.

    Ratify itself is started by the checks, with the image they are about.

    Args:
        plugin: the one-file plugin that goes into the image.
        authorities: what the image has as its CA certificates.
        stack: ends it all.
    """
    processes = Processes(work / "logs")
    stack.callback(processes.stop_all)
    hosts = Hosts(work / "hosts", REGISTRY_HOST, SECOND_REGISTRY_HOST, TLS_REGISTRY_HOST)
    folder = work / "registry"
    folder.mkdir()
    running = stack.enter_context(in_memory_registry("ociregistry", folder))
    registry = f"{REGISTRY_HOST}:{running.address.rpartition(':')[2]}"
    home = work / "home"
    home.mkdir()
    images = Images(Crane(programs["crane"], home), work / "images")

    def push_images() -> tuple[str, str, str]:
        base = push_ratify(images.crane, f"{registry}/ratify:v1.4.4", programs["ratify"], authorities, work)
        script = REPOSITORY / "deploy" / "image" / "build.sh"
        ours = build(script, images.crane, base, f"{registry}/ratify-slsa:v1.4.4", plugin)
        images.unpack(ours)
        bare = push_base(images.crane, f"{registry}/static:nonroot", authorities, work)
        alone = build(script, images.crane, bare, f"{registry}/slsa-verifier:v0.1.0", plugin)
        images.unpack(alone)
        return base, ours, alone

    with ThreadPoolExecutor(1) as aside:
        pushing = aside.submit(push_images)
        plane = control_plane.start(work / "control-plane", processes, programs)
        manifests = work / "deploy"
        shutil.copytree(REPOSITORY / "deploy", manifests, symlinks=True)
        for file in manifests.rglob("*.yaml"):
            file.write_text(file.read_text().replace(f"{REGISTRY_HOST}/", f"{registry}/"))
        fit(manifests)
        for address in providers.ADDRESSES:
            hosts.add(address, f"{providers.NAME}.{charts.NAMESPACE}")
        keeper = gatekeeper.install(
            plane,
            processes,
            programs,
            chart["gatekeeper"],
            manifests / "gatekeeper" / "values.yaml",
            work / "gatekeeper-certificates",
        )
        ratify = _install_ratify(work, plane, processes, programs, chart["ratify"], manifests, keeper, images)
        services = plane.kubectl.get("service", "ratify", "-n", charts.NAMESPACE)
        hosts.add(services["spec"]["clusterIP"], f"ratify.{charts.NAMESPACE}")
        keeper.register_webhooks()
        plane.kubectl.run(
            "create", "rolebinding", "dev", "-n", "default", "--clusterrole=edit", "--group=developers"
        )
        base_image, ratify_image, alone_image = pushing.result()
    folder = work / "provider"
    folder.mkdir()
    return Lab(
        work,
        programs,
        processes,
        plane,
        keeper,
        ratify,
        images.crane,
        Oras(home, {"HOME": str(home), "PATH": "/usr/bin:/bin"}),
        registry,
        manifests,
        plane.developer(),
        base_image,
        ratify_image,
        Provider(plane, processes, images, alone_image, folder, hosts),
    )


def fit(manifests: Path) -> None:
    """Change what the machine of the test dictates: the registry speaks plain HTTP, and the Service has its address by hand."""
    server = manifests / "provider" / "server"
    store = server / "store.yaml"
    store.write_text(store.read_text().replace("useHttp: false", "useHttp: true"))
    service = server / "service.yaml"
    text = service.read_text().replace("\nspec:\n", f"\nspec:\n  clusterIP: {providers.ADDRESSES[0]}\n")
    service.write_text(text)


def _install_ratify(
    work: Path,
    plane: ControlPlane,
    processes: Processes,
    programs: Mapping[str, Path],
    chart: Path,
    manifests: Path,
    keeper: Gatekeeper,
    images: Images,
) -> Ratify:
    """Put the objects of Ratify's chart into the cluster, with the certificates of an authority of ours."""
    authority = Authority("ratify-ca")
    name = f"ratify.{charts.NAMESPACE}"
    serving = authority.issue(name, SERVER, names=(name,))
    (manifests / "gatekeeper" / "provider" / "ca.crt").write_text(authority.certificate)
    tls = {
        "crt": serving.certificate,
        "key": serving.key,
        "caCert": authority.certificate,
        "caKey": authority.key,
        "cabundle": base64.b64encode(authority.certificate.encode()).decode(),
    }
    settings = {
        "provider": {"tls": tls},
        "featureFlags": {"RATIFY_CERT_ROTATION": False},  # its Secret would have to be mounted by a kubelet
        "upgradeCRDs": {"enabled": False},  # a hook that runs in a Pod
        "replicaCount": 1,
    }
    values = manifests / "ratify" / "values-image.yaml"
    config = plane.folder / "admin.kubeconfig"
    objects = charts.render(programs["helm"], chart, "ratify", [values], settings, config)
    definitions = [thing for thing in objects if thing["kind"] == "CustomResourceDefinition"]
    plane.kubectl.apply(definitions)
    plane.kubectl.wait_for_definitions()
    plane.kubectl.apply(charts.without(objects, "CustomResourceDefinition"), "-n", charts.NAMESPACE)
    folder = work / "ratify"
    folder.mkdir()
    return Ratify(plane, processes, objects, images, folder, keeper.authority.certificate)
