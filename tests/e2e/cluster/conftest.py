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
from tests.e2e.cluster.pki import Authority
from tests.e2e.cluster.ratify import Setting
from tests.e2e.shared import demo_note

collect_ignore_glob = [] if sandbox.INSIDE in os.environ else ["test_*.py"]
"""The checks need the namespaces that ``python -m tests.e2e.cluster`` makes."""
if "SLSA_E2E_KYVERNO" not in os.environ:
    collect_ignore_glob.append("test_9_kyverno.py")

Say = Callable[[str], None]
_EVIDENCE = "evidence"
_LINE = 320


@pytest.fixture
def say(request: pytest.FixtureRequest) -> Say:
    """Add what was seen to the check's printed line."""

    def seen(text: str) -> None:
        # not record_property, which warns under the default form of junit's file
        request.node.user_properties.append((_EVIDENCE, " ".join(text.split())))

    return seen


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
        line = f"{report.outcome:7}{report.duration:6.1f} s  {title}{': ' if seen else ''}{seen}"
        reporter = item.config.pluginmanager.get_plugin("terminalreporter")
        assert isinstance(reporter, pytest.TerminalReporter)
        reporter.write_line(line if len(line) <= _LINE else f"{line[: _LINE - 3]}...")
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
def running_lab(bare_lab: Lab, setting: Setting, level_3: bytes) -> Lab:
    bare_lab.ratify.start(setting)
    for folder in ("ratify/demo", "gatekeeper/install", "gatekeeper/demo"):  # as the README has it
        bare_lab.apply(folder)
    bare_lab.first_yes = bare_lab.wait_for_a_yes(level_3)
    return bare_lab


@pytest.fixture
def lab(running_lab: Lab, setting: Setting, level_3: bytes) -> Lab:
    """The cluster as the demo sets it up, with Ratify as deploy/ has it."""
    running_lab.prepare(setting, level_3)
    return running_lab


@pytest.fixture(scope="session")
def level_3() -> bytes:
    return demo_note("fcf594d").read_bytes()


@pytest.fixture(scope="session")
def level_1() -> bytes:
    return demo_note("9bef61f").read_bytes()


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
