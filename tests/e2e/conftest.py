"""One set of registries and images a run; one home directory, plugin and resident verifier a mode."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e import one_file, plugin
from tests.e2e.lab_cases import LEVELS
from tests.e2e.oras import Oras
from tests.e2e.ratify import Parameters, Ratify
from tests.e2e.servers import Registry, docker_registry, in_memory_registry
from tests.e2e.shared import demo_note
from tests.support.sigstore import REPOSITORY, Lab

REGISTRIES = {
    "ociregistry": "Ratify and ociregistry, referrers API",
    "ggcr": "Ratify and go-containerregistry, wrong artifactType",
    "docker-registry": "Ratify and docker-registry, fallback tag",
}
NOTES = ("fcf594d", "9bef61f", "4be84a6")
MODES = {"own-process": "off", "resident": "require"}
"""With ``require``, a resident verifier that does not answer is a denial: these runs prove it answers."""

DEMO: Parameters = {
    "expectedResourceUri": "git+https://github.com/DahuK/slsa-attestation-action-demo",
    "expectedVerifierId": "https://github.com/slsa-framework/source-actions",
    "expectedVerifiedLevels": ["SLSA_SOURCE_LEVEL_2"],
}
"""The parameters of the demo's Verifier resource."""


def clean_environment(home: Path) -> dict[str, str]:
    """Return an environment without this machine's credentials, settings and proxies."""
    return {"HOME": str(home), "PATH": os.defpath, "TMPDIR": str(home), "LANG": "C.UTF-8"}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI nothing here may be skipped: a skip is a failure that keeps its reason."""
    report = yield
    if report.skipped and os.environ.get("CI") == "true" and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI does not allow here: {report.longrepr}"
    return report


@pytest.fixture(scope="session")
def scratch() -> Iterator[Path]:
    # not pytest's own: a Unix socket's path may have no more than 107 bytes
    folder = Path(tempfile.mkdtemp(prefix="slsa-e2e-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of one build of everything (``python -m tools.dist``)."""
    return one_file.build(tmp_path_factory.mktemp("built"))


@pytest.fixture(scope="session")
def oras(scratch: Path) -> Oras:
    folder = scratch / "oras"
    folder.mkdir()
    return Oras(folder, clean_environment(folder))


@pytest.fixture(scope="session")
def registries(scratch: Path) -> Iterator[dict[str, Registry]]:
    folder = scratch / "registries"
    folder.mkdir()
    with ExitStack() as running:
        yield {
            "ociregistry": running.enter_context(in_memory_registry("ociregistry", folder)),
            "ggcr": running.enter_context(in_memory_registry("ggcr", folder)),
            "docker-registry": running.enter_context(docker_registry(folder, clean_environment(folder))),
        }


@pytest.fixture(
    params=[pytest.param(kind, marks=pytest.mark.server(what)) for kind, what in REGISTRIES.items()]
)
def registry(request: pytest.FixtureRequest, registries: dict[str, Registry]) -> Registry:
    return registries[request.param]


@pytest.fixture(scope="session")
def plain_registry(registries: dict[str, Registry]) -> Registry:
    """The registry that reports artifact types as OCI 1.1 says, for tests that are not about registries."""
    return registries["ociregistry"]


@pytest.fixture(scope="session")
def all_demo_images(registries: dict[str, Registry], oras: Oras) -> dict[str, dict[str, str]]:
    """In each registry an image for each of the demo's commits, its attestations attached with ``oras attach``."""
    images: dict[str, dict[str, str]] = {}
    for kind, registry in registries.items():
        images[kind] = {}
        for commit in NOTES:
            image = oras.push_image(f"{registry.address}/demo/{commit}")
            oras.attach(image, demo_note(commit).read_bytes())
            images[kind][commit] = image
    return images


@pytest.fixture
def demo_images(registry: Registry, all_demo_images: dict[str, dict[str, str]]) -> dict[str, str]:
    """The demo's images in one registry, by commit."""
    return all_demo_images[registry.kind]


@pytest.fixture(scope="session")
def ratifies(scratch: Path) -> Iterator[dict[str, Ratify]]:
    """Ratify with the plugin installed, once with and once without the resident verifier."""
    made = {}
    for mode, setting in MODES.items():
        home = scratch / mode
        (home / "run").mkdir(parents=True, mode=0o700)
        environment = clean_environment(home) | {
            "SLSA_VERIFIER_RESIDENT": setting,
            "SLSA_VERIFIER_DIR": str(home / "run"),
        }
        plugin.install(home / ".ratify" / "plugins", environment)
        made[mode] = Ratify(home, environment)
    yield made
    left = {mode: plugin.stop_resident(ratify.environment) for mode, ratify in made.items()}
    assert not any(left.values()), f"processes of the plugin that did not end when told to: {left}"


@pytest.fixture(params=MODES)
def ratify(request: pytest.FixtureRequest, ratifies: dict[str, Ratify]) -> Ratify:
    return ratifies[request.param]


@pytest.fixture(scope="session")
def lab() -> Lab:
    return Lab()


@pytest.fixture(scope="session")
def lab_parameters(scratch: Path, lab: Lab) -> Parameters:
    """Parameters that admit exactly what the lab's source workflow says of its repository at level 3."""
    root = scratch / "trusted_root.json"
    root.write_bytes(lab.trusted_root())
    return {
        "expectedResourceUri": f"git+https://github.com/{REPOSITORY}",
        "expectedVerifiedLevels": list(LEVELS),
        "trustedRoot": {"path": str(root)},
    }
