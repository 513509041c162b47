"""Real containerd 2.4: what its image verifier lets be pulled, through ``ctr`` and the CRI, and all that opens the door."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from slsa_verifier_plugin.node.call_arguments import PROGRAM
from slsa_verifier_plugin.node.containerd_config import BINDIR, IMAGES, read_config
from slsa_verifier_plugin.node.fail_open import LOCAL_PULL
from tests.e2e import plugin
from tests.e2e.containerd import Containerd, NodeFiles, containerd
from tests.e2e.lab_cases import honest
from tests.e2e.oras import ATTESTATION, Oras
from tests.e2e.peers import peer
from tests.e2e.ratify import Parameters
from tests.e2e.servers import Registry
from tests.support.sigstore import Lab, source_provenance, vsa

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="containerd on a node of its own takes root")

KINDS = ("python", "one-file")
OWN = f'version = 3\n[plugins."{BINDIR}"]\n'
CRI = f'version = 3\n[plugins."{IMAGES}"]\n'
REGISTRY = f'version = 3\n[plugins."{IMAGES}".registry'


@dataclass(frozen=True)
class Images:
    """Digest references of two images, by tag as well: ``good`` has source level 3, ``bad`` level 1."""

    good: str
    bad: str


@pytest.fixture(scope="module")
def images(plain_registry: Registry, oras: Oras, lab: Lab) -> Images:
    good = oras.push_image(f"{plain_registry.address}/node/good")
    oras.attach(good, honest(lab))
    bad = oras.push_image(f"{plain_registry.address}/node/bad")
    low = b"\n".join((lab.sign(source_provenance()), lab.sign(vsa(levels=["SLSA_SOURCE_LEVEL_1"])))) + b"\n"
    oras.attach(bad, low)
    return Images(good, bad)


def command_of(kind: str, request: pytest.FixtureRequest) -> Path:
    """Return what a person runs; the one-file plugin is built only for those tests that need it."""
    if kind == "python":
        return plugin.COMMAND
    built: Path = request.getfixturevalue("built")
    return built / "dist" / "slsa"


def tagged(image: str) -> str:
    return image.partition("@")[0] + ":v1"


def put_policies(files: NodeFiles, lab: Lab, parameters: Parameters) -> None:
    """Put the policies onto a node: the trusted root lies beside the Verifier that names it."""
    files.put("trusted_root.json", lab.trusted_root())
    verifier = {
        "name": "slsla",
        "artifactTypes": ATTESTATION,
        "parameters": {**parameters, "trustedRoot": {"path": "trusted_root.json"}},
    }
    store = {"name": "oras", "parameters": {"useHttp": True}}
    files.put(
        "policies.yaml",
        yaml.safe_dump_all(
            {
                "apiVersion": "config.ratify.deislabs.io/v1beta1",
                "kind": kind,
                "metadata": {"name": f"the-{kind.lower()}"},
                "spec": spec,
            }
            for kind, spec in (("Verifier", verifier), ("Store", store))
        ),
    )


def install(files: NodeFiles, command: Path, *more: str) -> None:
    done = files.run(command, "install", "--containerd", "--bin-dir", files.bin_dir, *more)
    assert done.returncode == 0, done


def doctor(files: NodeFiles) -> list[dict[str, Any]]:
    done = files.run(plugin.COMMAND, "doctor", "--containerd", files.config, "--json")
    found: list[dict[str, Any]] = json.loads(done.stdout)
    assert done.returncode == (1 if failures(found) else 0), done
    return found


def failures(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [item for item in found if item["outcome"] == "failed"]


@pytest.fixture
def files(scratch: Path, request: pytest.FixtureRequest) -> Iterator[NodeFiles]:
    made = NodeFiles(scratch / f"node-{abs(hash(request.node.nodeid)):x}")
    yield made
    made.stop_residents()


@pytest.fixture
def ready(files: NodeFiles, lab: Lab, lab_parameters: Parameters) -> NodeFiles:
    """A node with policies and the verifier, as a Python installation."""
    put_policies(files, lab, lab_parameters)
    install(files, plugin.COMMAND)
    return files


def assert_blocked(running: Containerd, image: str, *says: str) -> None:
    done = running.pull(image)
    assert done.returncode != 0, done
    for text in ("image verifier bindir blocked pull", *says):
        assert text in done.stderr, done
    assert image not in running.names()


def assert_pulled(running: Containerd, image: str) -> None:
    done = running.pull(image)
    assert done.returncode == 0, done
    assert image in running.names()


@pytest.mark.parametrize("kind", KINDS)
def test_level_3_is_pulled_and_level_1_blocked_with_the_reason(
    files: NodeFiles,
    lab: Lab,
    lab_parameters: Parameters,
    images: Images,
    kind: str,
    request: pytest.FixtureRequest,
) -> None:
    put_policies(files, lab, lab_parameters)
    install(files, command_of(kind, request))
    assert failures(doctor(files)) == []
    with containerd(files) as running:
        for image in (images.good, tagged(images.good)):
            assert_pulled(running, image)
        for image in (images.bad, tagged(images.bad)):
            assert_blocked(
                running, image, "SLSA attestation verified FAILED", "SLSA_SOURCE_LEVEL_1", "(LEVEL_TOO_LOW)"
            )
        # containerd's control group has one resident verifier, which answered the later calls.
        assert len(list((files.home / "run" / "slsa-verifier-plugin").glob("*/socket"))) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_no_policy_blocks_and_says_so_and_what_is_exempt_is_pulled(
    files: NodeFiles, images: Images, kind: str, request: pytest.FixtureRequest
) -> None:
    install(files, command_of(kind, request))
    with containerd(files) as running:
        assert_blocked(running, images.good, "this node's policies cannot be used", "does not exist")
        files.put("exempt", f"{images.bad}\n")
        assert_blocked(running, images.good, "has no policy")
        assert_pulled(running, tagged(images.bad))
        files.put("policies.yaml", "kind: Verifier\n")
        assert_blocked(running, images.good, "the policies cannot be used")
        assert_pulled(running, images.bad)
        files.put("exempt", f"{images.bad.partition('@')[0].rpartition('/')[0]}/*\n")
        assert_pulled(running, images.good)
        (files.policies / "exempt").chmod(0o666)
        assert_blocked(running, tagged(images.good), "exempt may be written to by others")
    assert [item["name"] for item in failures(doctor(files))] == ["policies"]


def test_through_the_cri(ready: NodeFiles, images: Images) -> None:
    with containerd(ready) as running:
        done = running.cri_pull(tagged(images.good))
        assert done.returncode == 0, done
        assert tagged(images.good) in running.names("k8s.io")
        done = running.cri_pull(tagged(images.bad))
        assert done.returncode != 0, done
        assert "(LEVEL_TOO_LOW)" in done.stderr
        assert tagged(images.bad) not in running.names("k8s.io")


def test_an_image_that_is_there_is_asked_about_again_only_when_it_is_pulled(
    ready: NodeFiles, images: Images
) -> None:
    verifier = ready.bin_dir / PROGRAM
    away = ready.home / "away"
    verifier.rename(away)
    with containerd(ready) as running:
        assert_pulled(running, images.bad)
        away.rename(verifier)
        # It stays, and may run; whoever pulls it again, as imagePullPolicy Always does, is told no.
        assert images.bad in running.names()
        done = running.pull(images.bad)
        assert (done.returncode != 0, "(LEVEL_TOO_LOW)" in done.stderr) == (True, True), done


def test_the_environment_of_containerd_decides_nothing(ready: NodeFiles, images: Images) -> None:
    environment = {
        "RATIFY_VERIFIER_COMMAND": "VERIFY",
        "HOME": "/nonexistent",
        "SLSA_VERIFIER_DIR": str(ready.home / "elsewhere"),
        "SLSA_VERIFIER_EXECUTABLE": "/bin/true",
        "SLSA_VERIFIER_BUILD": "0" * 64,
        "DOCKER_CONFIG": "/nonexistent",
        "PYTHONPATH": "/nonexistent",
        "_SLSA_VERIFIER_PLUGIN_COMPLETE": "bash_source",
    }
    with containerd(ready, environment) as running:
        assert_pulled(running, images.good)
        assert_blocked(running, images.bad, "(LEVEL_TOO_LOW)")
    assert not (ready.home / "elsewhere").exists()


def test_a_profile_beside_the_default(
    ready: NodeFiles, lab: Lab, lab_parameters: Parameters, images: Images
) -> None:
    """All files of the folder must admit: one that knows no policy blocks what the other admits."""
    install(ready, plugin.COMMAND, "--profile", "strict")
    with containerd(ready) as running:
        assert_blocked(
            running, images.good, f"verifier {PROGRAM}-strict rejected image", "strict does not exist"
        )
    assert [item["name"] for item in failures(doctor(ready))] == ["policies"]


OPEN = {
    "bin_dir is missing": (OWN + 'bin_dir = "/nonexistent/verifiers"\n', "does not exist"),
    "bin_dir is empty": (OWN + 'bin_dir = "{home}/empty"\n', "is empty"),
    "bin_dir is no text": (OWN + 'bin_dir = ""\n', "sets bin_dir"),
    "no verifier is asked": (OWN + "max_verifiers = 0\n", "is never asked"),
    "the plugin is disabled": (f'version = 3\ndisabled_plugins = ["{BINDIR}"]\n', "disables"),
}
"""What opens the door for whoever pulls: a later file of the configuration, and what ``doctor`` says of it."""


@pytest.mark.parametrize("what", OPEN)
def test_doctor_finds_what_really_opens_the_door(ready: NodeFiles, images: Images, what: str) -> None:
    text, says = OPEN[what]
    (ready.home / "empty").mkdir()
    ready.configure(text.format(home=ready.home), "20-open.toml")
    found = failures(doctor(ready))
    assert [says in item["message"] for item in found] == [True], found
    assert found[0]["remedy"]
    with containerd(ready) as running:
        assert_pulled(running, images.bad)
    (ready.home / "conf.d" / "20-open.toml").unlink()
    assert failures(doctor(ready)) == []


OPEN_CRI = {
    "use_local_image_pull": CRI + "use_local_image_pull = true\n",
    "disable_snapshot_annotations": CRI + "disable_snapshot_annotations = false\n",
    "discard_unpacked_layers": CRI + "discard_unpacked_layers = true\n",
    "max_concurrent_downloads": CRI + "max_concurrent_downloads = 4\n",
    "image_pull_with_sync_fs": CRI + "image_pull_with_sync_fs = true\n",
    "registry.mirrors": f'{REGISTRY}.mirrors."r.example"]\nendpoint = ["http://127.0.0.1:1"]\n',
    "registry.configs": f'{REGISTRY}.configs."r.example".tls]\ninsecure_skip_verify = true\n',
    "registry.auths": f'{REGISTRY}.auths."http://r.example"]\nusername = "u"\npassword = "p"\n',
    "version 2: max_concurrent_downloads": 'version = 2\n[plugins."io.containerd.grpc.v1.cri"]\nmax_concurrent_downloads = 4\n',
    # Where version 2 had it, in a file that says that it is newer: containerd 2.4 moves it all the same.
    # containerd reads keys in any case.
    "upper case: max_concurrent_downloads": CRI + "Max_Concurrent_Downloads = 4\n",
    "upper case: registry.mirrors": f'{REGISTRY.replace("registry", "Registry")}.MIRRORS."r.example"]\n',
    "version 3: max_concurrent_downloads": (
        'version = 3\n[plugins."io.containerd.grpc.v1.cri"]\nmax_concurrent_downloads = 4\n'
    ),
    "version 2: registry.mirrors": (
        'version = 2\n[plugins."io.containerd.grpc.v1.cri".registry.mirrors."r.example"]\nendpoint = ["http://127.0.0.1:1"]\n'
    ),
}
"""What has the CRI pull past all verifiers."""


def test_every_setting_that_is_looked_for_is_tried_here() -> None:
    assert {reason.key for reason in LOCAL_PULL} <= set(OPEN_CRI)


@pytest.mark.parametrize("what", OPEN_CRI)
def test_doctor_finds_what_really_opens_the_door_for_the_kubelet(
    ready: NodeFiles, images: Images, what: str
) -> None:
    ready.configure(OPEN_CRI[what], "20-open.toml")
    found = failures(doctor(ready))
    assert [what.rpartition(": ")[2] in item["message"] for item in found] == [True], found
    assert "20-open.toml" in found[0]["message"]
    with containerd(ready) as running:
        done = running.cri_pull(tagged(images.bad))
        assert done.returncode == 0, done
        # The other way in is still shut.
        assert_blocked(running, images.bad, "(LEVEL_TOO_LOW)")


def test_doctor_finds_what_opens_the_door_in_a_hidden_file(ready: NodeFiles, images: Images) -> None:
    """A star in containerd's imports stands for a leading dot, too."""
    ready.configure(CRI + "use_local_image_pull = true\n", ".hidden.toml")
    assert [".hidden.toml" in item["message"] for item in failures(doctor(ready))] == [True]
    with containerd(ready) as running:
        assert running.cri_pull(tagged(images.bad)).returncode == 0


@pytest.mark.parametrize(
    "text",
    [
        CRI + "max_concurrent_downloads = 3\nuse_local_image_pull = false\n",
        f'{REGISTRY}]\nconfig_path = "/etc/containerd/certs.d"\n',
        'version = 4\n[plugins."io.containerd.grpc.v1.cri"]\nmax_concurrent_downloads = 4\n',
        'version = 2\n[plugins."io.containerd.grpc.v1.cri"]\nsandbox_image = "registry.k8s.io/pause:3.10"\n',
    ],
)
def test_doctor_passes_what_leaves_the_door_shut(ready: NodeFiles, images: Images, text: str) -> None:
    ready.configure(text, "20-more.toml")
    assert failures(doctor(ready)) == []
    with containerd(ready) as running:
        done = running.cri_pull(tagged(images.bad))
        assert (done.returncode != 0, "(LEVEL_TOO_LOW)" in done.stderr) == (True, True), done


def test_the_configuration_is_merged_as_containerd_merges_it(ready: NodeFiles) -> None:
    """``containerd config dump`` of files that contradict each other, in two versions, against what is read here."""
    ready.configure(f'{OWN}max_verifiers = 5\nper_verifier_timeout = "30s"\n', "20.toml")
    ready.configure(f"{CRI}max_concurrent_downloads = 7\nimage_pull_with_sync_fs = true\n", "21.toml")
    ready.configure(OPEN_CRI["version 2: registry.mirrors"], "22.toml")
    ready.configure(
        f'{CRI}max_concurrent_downloads = 0\nimage_pull_with_sync_fs = false\n[plugins."{BINDIR}"]\nmax_verifiers = 0\n',
        "23.toml",
    )
    ready.configure('version = 3\ndisabled_plugins = ["x.y"]\n', "24.toml")
    done = ready.run(peer("containerd"), "--config", ready.config, "config", "dump")
    dumped = tomllib.loads(done.stdout)
    ours = read_config(ready.config)
    assert ours.disabled.keys() == set(dumped["disabled_plugins"])
    compared = 0
    for path, setting in ours.settings.items():
        if path[0] in (BINDIR, IMAGES):
            value: Any = dumped["plugins"]
            for part in path:
                value = value[part]
            assert value == setting.value, path
            compared += 1
    assert compared >= 6


@pytest.mark.parametrize("kind", KINDS)
def test_the_daemonset_needs_no_privilege(
    files: NodeFiles,
    lab: Lab,
    lab_parameters: Parameters,
    images: Images,
    kind: str,
    request: pytest.FixtureRequest,
) -> None:
    """``install --policies`` as ``deploy/node`` runs it: user 0 with no capability, not even that to pass over permissions."""
    mounted = files.home / "mounted"
    put_policies(files, lab, lab_parameters)
    files.policies.rename(mounted)
    without = ("setpriv", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all")
    own = command_of(kind, request)
    given = ("--bin-dir", files.bin_dir, "--policies", mounted)
    done = files.run(*without, own, "install", "--containerd", *given)
    assert done.returncode == 0, done
    assert failures(doctor(files)) == []
    with containerd(files) as running:
        assert_pulled(running, images.good)
        assert_blocked(running, images.bad, "(LEVEL_TOO_LOW)")


def test_a_running_containerd_never_meets_half_a_verifier(
    ready: NodeFiles, images: Images, request: pytest.FixtureRequest
) -> None:
    """The verifier is installed again and again while images are pulled: each pull is decided."""
    with containerd(ready) as running:
        for kind in (*KINDS, *KINDS):
            install(ready, command_of(kind, request))
            assert [file.name for file in ready.bin_dir.iterdir()] == [PROGRAM]
            assert_pulled(running, images.good)
            assert_blocked(running, images.bad, "(LEVEL_TOO_LOW)")
