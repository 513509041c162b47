"""What ``doctor`` looks at: this installation, the machine, a registry, a cluster. Each finding has its remedy."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import Any

from slsa_verifier_plugin import __version__
from slsa_verifier_plugin.cli.plugin_file import BUILD_VARIABLE, EXECUTABLE_VARIABLE, NAMES, asked_version
from slsa_verifier_plugin.errors import TrustRootError, UsageError, VerifierError
from slsa_verifier_plugin.members import list_at, objects_at
from slsa_verifier_plugin.policy.parameters import RootSource
from slsa_verifier_plugin.policy.releases import known_releases
from slsa_verifier_plugin.problem import FAILED, NOT_CHECKED, PASSED, WARNING, DoctorFinding
from slsa_verifier_plugin.resources.documents import parse_documents
from slsa_verifier_plugin.resources.kubectl import KubectlError, run_kubectl
from slsa_verifier_plugin.resources.policy_lint import lint
from slsa_verifier_plugin.resources.problems import ERROR
from slsa_verifier_plugin.resources.ratify_resources import flattened
from slsa_verifier_plugin.text import plain

DEPENDENCIES = ("sigstore", "oras", "cryptography", "tuf", "jsonschema", "click")
REFRESH_DAYS = 90
"""Age of the copy in the cache from which a warning is given: Sigstore changes its root a few times a year."""
RELEASES_DAYS = 180
"""Age of the list of the source workflow's releases from which a warning is given: upstream has had a few a year."""
KUBECTL_SECONDS = 20
# With their groups: a kind of another operator may have the same short name.
KINDS = (
    "verifiers.config.ratify.deislabs.io",
    "stores.config.ratify.deislabs.io",
    "policies.config.ratify.deislabs.io",
    "providers.externaldata.gatekeeper.sh",
    "constrainttemplates.templates.gatekeeper.sh",
    "validatingwebhookconfigurations.admissionregistration.k8s.io",
)


# A finding on each of what is looked at: its outcome, a message, and the remedy unless all is well.
on_version = partial(DoctorFinding, "version")
on_directory = partial(DoctorFinding, "plugin directory")
on_resident = partial(DoctorFinding, "resident verifier")
on_root = partial(DoctorFinding, "trusted root")
on_producers = partial(DoctorFinding, "producers")
on_registry = partial(DoctorFinding, "registry")
on_cluster = partial(DoctorFinding, "cluster")


def findings(
    environ: Mapping[str, str], plugins: Path, image: str | None, plain_http: bool
) -> Iterator[DoctorFinding]:
    """Yield everything that was found, each as soon as it is known.

    Args:
        environ: the process's environment.
        plugins: Ratify's plugin directory.
        image: to fetch the attestation of; None to leave registries alone.
        plain_http: as the store's ``useHttp``.
    """
    # From the machine outward: what fails first explains what follows.
    yield _installation(environ)
    yield _plugins(plugins)
    yield from _resident(environ)
    yield _trusted_root(environ)
    yield producers(datetime.now(UTC).date())
    yield _registry(environ, image, plain_http)
    yield from _cluster(environ)


def node_findings(environ: Mapping[str, str], config: Path) -> Iterator[DoctorFinding]:
    """Yield what lets a node pull images unverified, and whether its policies can decide.

    Args:
        environ: the process's environment.
        config: containerd's configuration file.

    Raises:
        UsageError: the file, or one that it imports, cannot be read as containerd would.
    """
    from slsa_verifier_plugin.node import policy_folder
    from slsa_verifier_plugin.node.containerd_config import read_config
    from slsa_verifier_plugin.node.decision import policies_gap
    from slsa_verifier_plugin.node.fail_open import credentials_gap, gaps, profiles
    from slsa_verifier_plugin.node.surroundings import surroundings
    from slsa_verifier_plugin.service.service import Service

    # A configuration that cannot be read is an error of usage: containerd itself would not start with it.
    read = read_config(config)
    yield from gaps(read, policy_folder.BASE)
    for profile in profiles(read):
        folder = policy_folder.folder_of(profile)
        # A call of containerd has this environment, and a resident verifier belongs to one environment.
        seen = surroundings(environ, folder, is_launched=EXECUTABLE_VARIABLE in environ)
        yield policies_gap(folder, Service(seen))
        yield from credentials_gap(folder)
        yield from _resident(seen)


def _installation(environ: Mapping[str, str]) -> DoctorFinding:
    versions, missing = [], []
    for name in DEPENDENCIES:
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        # A one-file plugin that was built without it, or a broken environment.
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    python = f"Python {sys.version.split()[0]}"
    kind = "one-file plugin" if environ.get(BUILD_VARIABLE) else python
    shown = f"{__version__} ({kind}), {', '.join(versions)}"
    if missing:
        return on_version(FAILED, f"{shown}; missing: {', '.join(missing)}", "install the package again")
    return on_version(PASSED, shown)


def _plugins(folder: Path) -> DoctorFinding:
    # On a laptop there is none; that is no failure.
    if not folder.is_dir():
        shown = f"{folder} does not exist: Ratify does not run here, or has another one"
        remedy = "name it with --plugins-dir, or run 'slsa-verifier-plugin install'"
        return on_directory(NOT_CHECKED, shown, remedy)
    problems = []
    for name in NAMES:
        path = folder / name
        # Ratify starts the file named as the Verifier's type: one that cannot be run is an error for each image.
        if not os.access(path, os.X_OK):
            problems.append(f"{name} is missing or not executable")
            continue
        version = _version_of(path)
        # Another version than this one: an upgrade that stopped half-way.
        if version != __version__:
            problems.append(f"{name} is of version {version or 'unknown'}")
    if problems:
        remedy = f"run 'slsa-verifier-plugin install --plugins-dir {folder}'"
        return on_directory(FAILED, f"{folder}: {'; '.join(problems)}", remedy)
    return on_directory(PASSED, f"{folder}: {' and '.join(NAMES)}, version {__version__}")


def _version_of(path: Path) -> str:
    try:
        done = asked_version(path)
    # Something else lies there under the plugin's name; what it is is not found out by running it longer.
    except (OSError, subprocess.TimeoutExpired):
        return ""
    # "--version" prints the name and then the version.
    return plain(done.stdout.decode("utf-8", "replace").strip().rpartition(" ")[2], 32)


def _resident(environ: Mapping[str, str]) -> Iterator[DoctorFinding]:
    from slsa_verifier_plugin.resident.client import manage

    status = manage.status(environ)
    # No answer is either nobody there, or a process that hangs: the socket tells them apart.
    if status.report is None:
        # It accepted and did not answer: calls go on in processes of their own, slower.
        if status.listens:
            yield on_resident(FAILED, status.problem, "run 'slsa-verifier-plugin resident stop'")
            return
        shown = f"{status.problem} for this shell's settings ({status.directory})"
        remedy = "the first call starts it; a place that is not private is named here"
        yield on_resident(NOT_CHECKED, shown, remedy)
        return
    errors = list_at(status.report, "latestErrors")
    message = f"process {status.pid}, version {plain(status.report.get('version', '?'))}"
    # The latest only: "resident status" shows the others.
    if errors:
        yield on_resident(
            WARNING, f"{message}; {plain(errors[-1], 256)}", "see 'slsa-verifier-plugin resident status'"
        )
    else:
        yield on_resident(PASSED, message)
    yield from _roots_of_resident(status.report)


def _roots_of_resident(report: Mapping[str, Any]) -> Iterator[DoctorFinding]:
    """Yield the trusted roots that the resident verifier could not use, or not refresh, for the policies it has seen."""
    # A resident verifier of another version may say less.
    unusable = [(problem, "correct trustedRoot") for problem in list_at(report, "service", "unusableRoots")]
    roots = objects_at(report, "service", "trustedRoots")
    failed = [
        (root["error"], "see 'slsa-verifier-plugin resident status'") for root in roots if root.get("error")
    ]
    for problem, otherwise in (*unusable, *failed):
        # One text over the wire; what stands behind the first "; " is what to do.
        what, _, remedy = plain(str(problem), 512).partition("; ")
        yield on_root(WARNING, what, remedy or otherwise)


def _trusted_root(environ: Mapping[str, str]) -> DoctorFinding:
    from slsa_verifier_plugin.resources.trust_roots import look_at
    from slsa_verifier_plugin.signatures.sources import repository_of

    source = RootSource("public-good")
    (state,) = look_at(source, environ)
    if state.problem:
        return on_root(FAILED, state.problem, "install the sigstore package again")
    shown = f"{state.source}, newest part of {state.date:%Y-%m-%d}" if state.date else state.source
    try:
        repository = repository_of(source, environ)
        # Only a plain file has no TUF repository, and public-good is none.
        assert repository is not None
        # TUF renews this file at each refresh, even where the root stays the same.
        stamp = (repository.current / "timestamp.json").stat().st_mtime
    # No copy has ever been fetched here, or it cannot be read.
    except (OSError, TrustRootError):
        remedy = "run 'slsa-verifier-plugin trust refresh'; the resident verifier does it by itself"
        found = f"{shown}; never refreshed here: new logs of Sigstore's would be unknown"
        return on_root(WARNING, found, remedy)
    days = (datetime.now(UTC) - datetime.fromtimestamp(stamp, tz=UTC)).days
    # Beyond it signatures by a new log would be UNKNOWN_LOG.
    if days > REFRESH_DAYS:
        return on_root(
            WARNING, f"{shown}, refreshed {days} days ago", "run 'slsa-verifier-plugin trust refresh'"
        )
    return on_root(PASSED, f"{shown}, refreshed {days} days ago")


def producers(today: date) -> DoctorFinding:
    """Return how old the knowledge of the source workflow's releases is."""
    known = known_releases()
    days = max(0, (today - known.as_of).days)
    newest = known.releases[-1].version
    shown = f"{known.repository} up to {newest}, known on {known.as_of} ({days} days ago)"
    # Upstream has had a few releases a year: an older list may lack one.
    if days <= RELEASES_DAYS:
        return on_producers(PASSED, shown)
    found = f"{shown}: a summary signed at the commit of a newer release is denied"
    more = "'slsa-verifier-plugin policy producers' shows what is known"
    remedy = f"update the plugin, or list the commits in allowedWorkflowDigests; {more}"
    return on_producers(WARNING, found, remedy)


def _registry(environ: Mapping[str, str], image: str | None, plain_http: bool) -> DoctorFinding:
    from slsa_verifier_plugin.checking.image_names import parse_image
    from slsa_verifier_plugin.cli.commands.registry_command import settings_of
    from slsa_verifier_plugin.deadline import Deadline
    from slsa_verifier_plugin.registry.probe.probe import Probe

    # Without an image there is no repository to ask; most registries let nobody list them.
    if image is None:
        return on_registry(NOT_CHECKED, "no image was named", "run 'slsa-verifier-plugin doctor IMAGE'")
    settings = settings_of(None, plain_http)
    steps = list(Probe(parse_image(image), settings, environ, Deadline(30.0)).steps())
    # Some registries answer the ping with 404 and serve everything else.
    failed = [step for step in steps if step.outcome == "failed" and step.name != "ping"]
    if failed:
        remedy = f"run 'slsa-verifier-plugin registry check {image}'; 'slsa-verifier-plugin explain {failed[0].reason}' says more"
        return on_registry(FAILED, f"{failed[0].name}: {failed[0].message}", remedy)
    seconds = sum(step.seconds for step in steps)
    return on_registry(PASSED, f"the attestation of {image} was fetched in {seconds * 1000:.0f} ms")


def _cluster(environ: Mapping[str, str]) -> Iterator[DoctorFinding]:
    config = environ.get("KUBECONFIG") or str(Path(environ.get("HOME", "/")) / ".kube" / "config")
    kubectl = shutil.which("kubectl", path=environ.get("PATH"))
    in_cluster = "KUBERNETES_SERVICE_HOST" in environ
    # KUBECONFIG may list several files; one that exists is enough for kubectl.
    if kubectl is None or not (in_cluster or any(Path(part).is_file() for part in config.split(os.pathsep))):
        missing = "kubectl" if kubectl is None else f"kubeconfig ({config})"
        yield on_cluster(
            NOT_CHECKED, f"there is no {missing}", "set KUBECONFIG to look at Ratify and Gatekeeper"
        )
        return
    # All kinds in one stream: what they say of each other is checked, too.
    content = b""
    # Half of the time, so that kubectl still says what failed before it is ended.
    limit = f"--request-timeout={KUBECTL_SECONDS // 2}s"
    for kind in KINDS:
        try:
            found = run_kubectl(["get", kind, "-o", "json", limit], environ, KUBECTL_SECONDS)
        except KubectlError as error:
            # kubectl's own words for a kind whose definition is not installed.
            if "doesn't have a resource type" not in str(error):
                yield on_cluster(FAILED, str(error), "check the kubeconfig and your rights")
                # The API server does not answer: the other kinds would take as long to fail.
                return
            owner = "Gatekeeper" if "gatekeeper" in kind else "Ratify"
            yield on_cluster(WARNING, f"the cluster knows no {kind}", f"install {owner} there")
        else:
            content += b"---\n" + found + b"\n"
    yield from _resources(content)


def _resources(content: bytes) -> Iterator[DoctorFinding]:
    try:
        resources = list(flattened(parse_documents(content, "cluster")))
    except (UsageError, VerifierError) as error:
        yield on_cluster(FAILED, f"kubectl's output cannot be read: {error}", "check kubectl's version")
        return
    problems = lint(resources, allow_empty=True).problems
    counts = Counter(resource.kind for resource in resources)
    # Ratify without a Verifier denies every image.
    if not any(kind.endswith("Verifier") for kind in counts):
        yield on_cluster(
            WARNING, "there is no Verifier", "apply one; 'slsa-verifier-plugin policy init IMAGE' writes it"
        )
    for problem in problems:
        outcome = FAILED if problem.severity == ERROR else WARNING
        yield on_cluster(outcome, problem.message, problem.remedy)
    if not problems:
        shown = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
        yield on_cluster(PASSED, shown or "nothing of Ratify or Gatekeeper there")
