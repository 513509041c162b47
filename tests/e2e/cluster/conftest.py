"""One cluster a run, and one printed line a check."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.cluster import bring_up, builds, sandbox
from tests.e2e.cluster.kube import Object
from tests.e2e.cluster.lab import Lab
from tests.e2e.cluster.page import Reader
from tests.e2e.cluster.pki import Authority
from tests.e2e.cluster.ratify import Setting
from tests.e2e.cluster.reading import new_reader
from tests.e2e.shared import demo_note

collect_ignore_glob = [] if sandbox.INSIDE in os.environ else ["test_*.py"]
"""The checks need the namespaces that ``python -m tests.e2e.cluster`` makes."""
if "SLSA_E2E_DOORS" not in os.environ:
    collect_ignore_glob.append("test_8_doors.py")
if "SLSA_E2E_KYVERNO" not in os.environ:
    collect_ignore_glob.append("test_9_kyverno.py")

Say = Callable[[str], None]
_EVIDENCE, _TOLD = "evidence", "told"
_LINE = 320


DOORS = ("provider", "ratify")
"""What Gatekeeper asks, in the order of the run: the provider is installed into a cluster that has nothing but Gatekeeper."""
_MARK = "through"


def pytest_configure(config: pytest.Config) -> None:
    """Register the mark by which a check says that it is about one door alone."""
    config.addinivalue_line(
        "markers", f"{_MARK}(door): of {', '.join(DOORS)}; without it a check is run through each"
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each check of ``lab`` through each door."""
    if "door" in metafunc.fixturenames:
        mark = metafunc.definition.get_closest_marker(_MARK)
        metafunc.parametrize("door", mark.args if mark else DOORS)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run all checks through one door before those through the next: changing it takes seconds."""

    def place(item: pytest.Item) -> int:
        call = getattr(item, "callspec", None)
        return DOORS.index(call.params["door"]) if call and "door" in call.params else len(DOORS)

    items.sort(key=place)


@pytest.fixture
def say(request: pytest.FixtureRequest) -> Say:
    """Add what was seen to the check's printed line."""

    def seen(text: str) -> None:
        # not record_property, which warns under the default form of junit's file
        request.node.user_properties.append((_EVIDENCE, " ".join(text.split())))

    return seen


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Say:
    """Print a line of its own below the check's."""
    return lambda text: request.node.user_properties.append((_TOLD, " ".join(text.split())))


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    """Print no dots; the lines below say more."""
    return (report.outcome, "", "") if report.when == "call" or report.failed else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Print one line a check: its outcome, its time, what it is about and what was seen."""
    report = yield
    if report.when == "call" or (report.when == "setup" and not report.passed):
        words = getattr(item, "function", item).__doc__ or item.name
        title = words.strip().splitlines()[0].rstrip(".")
        seen = "; ".join(str(value) for key, value in report.user_properties if key == _EVIDENCE)
        call = getattr(item, "callspec", None)
        door = f"[{call.params['door']}] " if call and "door" in call.params else ""
        line = f"{report.outcome:7}{report.duration:6.1f} s  {door}{title}{': ' if seen else ''}{seen}"
        reporter = item.config.pluginmanager.get_plugin("terminalreporter")
        assert isinstance(reporter, pytest.TerminalReporter)
        reporter.write_line(line if len(line) <= _LINE else f"{line[: _LINE - 3]}...")
        for key, value in report.user_properties:
            if key == _TOLD:
                reporter.write_line(f"                  {value}")
    return report


@pytest.fixture(scope="session")
def scratch() -> Iterator[Path]:
    """A folder with a short path: sockets in it must fit into 107 bytes. Kept, on disk, where SLSA_E2E_KEEP asks for it."""
    folder = Path(tempfile.mkdtemp(prefix="slsa-cluster-"))
    folder.chmod(0o755)  # Ratify's user has to get through it
    if "SLSA_E2E_KEEP" in os.environ:
        yield folder
    else:
        with sandbox.in_memory(folder):
            yield folder
        folder.rmdir()


@pytest.fixture(scope="session")
def programs() -> dict[str, Path]:
    return {name: builds.program(name) for name in (*builds.SHARED, *builds.PROGRAMS)}


@pytest.fixture(scope="session")
def registry_authority() -> Authority:
    """The authority of the registries that speak TLS."""
    return Authority("registries")


@pytest.fixture(scope="session")
def plugin() -> Path:
    """The one-file plugin, which was built before the network was left."""
    return Path(os.environ[builds.PLUGIN])


@pytest.fixture(scope="session")
def bare_lab(
    scratch: Path, programs: dict[str, Path], plugin: Path, registry_authority: Authority
) -> Iterator[Lab]:
    """The cluster, without a Ratify that runs."""
    sandbox.raise_loopback()
    authorities = registry_authority.certificate.encode()
    with ExitStack() as stack:
        yield bring_up.start(scratch, programs, builds.charts(), plugin, authorities, stack)


@pytest.fixture(scope="session")
def setting(bare_lab: Lab) -> Setting:
    """Ratify as deploy/ has it."""
    return Setting(bare_lab.ratify_image)


@pytest.fixture(scope="session")
def reader(bare_lab: Lab) -> Reader:
    """Somebody who follows docs/operations."""
    return new_reader(bare_lab)


@pytest.fixture
def lab(bare_lab: Lab, door: str, setting: Setting, level_3: bytes) -> Lab:
    """The cluster as the demo sets it up, with Ratify or the provider as deploy/ has it."""
    if door == "ratify":
        bare_lab.prepare(bare_lab.ratify, level_3, setting)
    else:
        bare_lab.prepare(bare_lab.provider, level_3)
    return bare_lab


@pytest.fixture(scope="session")
def level_3() -> bytes:
    return demo_note("fcf594d").read_bytes()


@pytest.fixture(scope="session")
def level_1() -> bytes:
    return demo_note("9bef61f").read_bytes()


@pytest.fixture(scope="session")
def agent_images(bare_lab: Lab, level_1: bytes, level_3: bytes) -> dict[str, str]:
    """The two images that deploy/kagent names, under the tags it names."""
    images = {}
    for tag, attestation in {"level-1": level_1, "level-3": level_3}.items():
        repository = f"{bare_lab.registry}/slsa-demo"
        image = bare_lab.oras.push_image(repository, annotations={"example.level": tag})
        bare_lab.oras.attach(image, attestation)
        bare_lab.crane.run("tag", image, tag)
        images[tag] = image
    return images


@pytest.fixture
def elsewhere(lab: Lab) -> Iterator[str]:
    """A namespace that the demo's Constraint says nothing about."""
    name = lab.unique("elsewhere")
    namespace: Object = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    lab.kubectl.apply([namespace])
    lab.kubectl.until("default", "get", "serviceaccount", "-n", name, "-o", "name")
    lab.kubectl.run("create", "rolebinding", "dev", "-n", name, "--clusterrole=edit", "--group=developers")
    yield name
    lab.kubectl.run("delete", "namespace", name, "--wait=false")
