"""Decides about whole images by the policies in a node's folder. Runs where verification is warm, for many calls at once.

True before an image is let through: the folder and all that decides in it belong to root or this user alone; the name and the
digest are those that containerd pulls; and either an entry of the folder exempts exactly that, or the Verifiers of the folder
admit what is attached to that digest, as ``verify`` would.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from slsa_verifier_plugin.checking.decider import Decider
from slsa_verifier_plugin.checking.reports import ImageReport
from slsa_verifier_plugin.checking.status import Decision
from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import ArtifactError, UsageError, VerifierError
from slsa_verifier_plugin.lru import LruCache
from slsa_verifier_plugin.model.digest import Digest
from slsa_verifier_plugin.node.exemptions import ExemptionError, Exemptions, names_registry, parse_exemptions
from slsa_verifier_plugin.node.policy_folder import (
    CREDENTIALS,
    ENDINGS,
    EXEMPT,
    FolderError,
    check_owned,
    owned_files,
    read_small,
    seconds_of_call,
)
from slsa_verifier_plugin.policy.verdict import FAILURE_PREFIX, encode
from slsa_verifier_plugin.problem import FAILED, PASSED, DoctorFinding
from slsa_verifier_plugin.provider.policy_sets import CLUSTER, load_policies
from slsa_verifier_plugin.registry.credentials.docker.docker_config import DockerConfig
from slsa_verifier_plugin.registry.reference import Reference
from slsa_verifier_plugin.resident.protocol import CHECK, Answer, Request, asked_seconds
from slsa_verifier_plugin.service.service import Service
from slsa_verifier_plugin.text import plain, quoted

MAX_FOLDERS = 16
"""Folders of policies that are kept, one a profile."""
MAX_MESSAGE = 8192
"""Characters of a reason; containerd takes 32 KiB of all that is said."""
MAX_NOTES = 4
_UNUSABLE = (FolderError, ExemptionError, UsageError)
"""What a folder may be refused for; ``str()`` is the sentence that says why."""


@dataclass(frozen=True, slots=True)
class NodePolicies:
    """What a folder says: the images that are exempt, and what decides about all others.

    ``files`` tell it from what the folder says later. Without a ``checker``, ``problem`` says why nothing can be decided.
    """

    files: Mapping[str, tuple[int, ...]]
    exemptions: Exemptions
    checker: Decider | None = None
    problem: str = ""


class ImageDecider:
    """Answers a CHECK of the resident verifier's protocol; safe under threads.

    What a folder says is kept for as long as none of its files changes, so that a pull parses no policy.
    """

    def __init__(self) -> None:
        self._kept: LruCache[tuple[object, ...], NodePolicies] = LruCache(MAX_FOLDERS)

    def answer(self, service: Service, request: Request, elapsed: float) -> Answer:
        """Return the answer about one image; whatever keeps it from being decided is in the answer, which then denies.

        Args:
            service: makes policies, signature verifiers and stores.
            request: of a CHECK.
            elapsed: seconds of the call's time that are used already.
        """
        # The call's own limit, less what starting and waiting have used.
        deadline = Deadline(asked_seconds(CHECK, request), elapsed)
        # Encoded by the caller (os.fsencode): a path may hold bytes that are no UTF-8.
        folder, name, digest = (os.fsdecode(field or b"") for field in request[1:4])
        try:
            image = image_of(name, digest)
            policies = self.policies(folder, service)
            # Before the policies: what must start first must not depend on them.
            entry = policies.exemptions.entry_for(name, digest)
            if entry is not None:
                return _allowed(f"not verified: {os.path.join(folder, EXEMPT)} exempts {entry}", digest)  # noqa: PTH118
            # The folder has no policy that can decide, so everything that is not exempt is denied.
            if policies.checker is None:
                return _refused(policies.problem)
            _check_references(policies.checker)
            report = replace(policies.checker, within=deadline, hints=True).image(str(image))
        except _UNUSABLE as error:
            return _refused(str(error))
        # Undecided is a no with transient, so that whoever reads it knows that a retry may help.
        except VerifierError as error:
            return _refused(error.message, error.reason, transient=error.transient)
        return reported(report, digest)

    def policies(self, folder: str, service: Service) -> NodePolicies:
        """Return what a folder says now.

        Raises:
            FolderError: others may change it, or it is not there.
            ExemptionError: its list of exemptions cannot be understood.
        """
        files = owned_files(folder)
        # By all of them: an added, a removed and a replaced file are all a change.
        return self._kept.get_or_make((folder, *files.items()), lambda: _load(folder, files, service))


def policies_gap(folder: str, service: Service) -> DoctorFinding:
    """Return whether a folder's policies can decide, for ``doctor``: where they cannot, nothing but what is exempt is pulled."""
    name, remedy = "policies", "correct it: until then nothing but what is exempt is pulled on this node"
    try:
        # A time that is not understood blocks every call before a policy is read.
        seconds_of_call(folder)
        policies = ImageDecider().policies(folder, service)
        if policies.checker is None:
            raise UsageError(policies.problem)
        _check_references(policies.checker)
        for check in policies.checker.verifiers:
            # Loads roots and keys, as a call would: a missing file shows here and not at the first pull.
            service.verifier(check.policy)
        # A slip in it would show only at the first pull that needs a password.
        if CREDENTIALS in policies.files:
            DockerConfig(Path(folder) / CREDENTIALS, {}).read()
    except (*_UNUSABLE, VerifierError) as error:
        return DoctorFinding(name, FAILED, str(error), remedy)
    verifiers = ", ".join(check.resource.shown() for check in policies.checker.verifiers)
    exempt = len(policies.exemptions.exact) + len(policies.exemptions.paths)
    return DoctorFinding(name, PASSED, f"{folder}: {plain(verifiers)}; {exempt} entries are exempt")


def _load(folder: str, files: Mapping[str, tuple[int, ...]], service: Service) -> NodePolicies:
    text = read_small(folder, EXEMPT) if EXEMPT in files else None
    exemptions = parse_exemptions(text or "", os.path.join(folder, EXEMPT))  # noqa: PTH118
    resources = [os.path.join(folder, name) for name in files if name.endswith(ENDINGS)]  # noqa: PTH118
    # Exemptions alone are a folder that decides nothing else.
    if not resources:
        problem = (
            f"{folder} has no policy (a file that ends with {' or '.join(ENDINGS)}); put a Verifier resource there, as "
            "'slsa-verifier-plugin policy init IMAGE' writes it"
        )
        return NodePolicies(files, exemptions, problem=problem)
    # What is exempt starts even where the policies are broken: the network that would bring better ones may depend on it.
    try:
        # Without namespaces: containerd does not say for whose Pod it pulls. So what is loaded is all the cluster's.
        scopes = load_policies(resources, False, service).scopes
    except (UsageError, VerifierError) as error:
        return NodePolicies(files, exemptions, problem=f"the policies cannot be used: {error}")
    return NodePolicies(files, exemptions, scopes[CLUSTER].checker)


def image_of(name: str, digest: str) -> Reference:
    """Return the image that is verified: the name that is pulled, with the digest that containerd has found for it.

    Raises:
        ArtifactError: the name is none, or says another digest, or leaves the registry to the reader.
    """
    # Docker and Ratify would complete it to Docker Hub's: another image than the one that is pulled.
    if not names_registry(name):
        raise ArtifactError(f"{quoted(name)} names no registry; expected registry/repository:tag")
    image = Reference.parse(name)
    wanted = Digest.parse(digest)
    # containerd resolves the name by itself: another digest than the name's is not the image that is meant.
    if image.digest is not None and image.digest != wanted:
        raise ArtifactError(f"{quoted(name)} is about to be pulled as {wanted}, which is another digest")
    return image.with_digest(wanted)


def _check_references(checker: Decider) -> None:
    """Raise ``FolderError`` where others may write to a file outside of the folder that a policy names."""
    for check in checker.verifiers:
        for path in check.policy.files:
            check_owned(path)


def _allowed(message: str, digest: str) -> Answer:
    return 0, encode({"isSuccess": True, "message": message, "extensions": {"digest": digest}}) + b"\n", b""


def _refused(message: str, reason: str = "", transient: bool = False, notes: tuple[str, ...] = ()) -> Answer:
    code = f" ({reason})" if reason else ""
    said = {
        "isSuccess": False,
        "message": f"{FAILURE_PREFIX}{plain(message.removesuffix('.'), MAX_MESSAGE)}.{code}",
        "extensions": {
            "reason": reason,
            "transient": transient,
            "notes": [plain(note, 1024) for note in notes[:MAX_NOTES]],
        },
    }
    # Status 0, for a denial is an answer; the pull is blocked because isSuccess is not true (``call.judged``).
    return 0, encode(said) + b"\n", b""


def reported(report: ImageReport, digest: str) -> Answer:
    """Return the answer for a report: undecided is no, as in Ratify."""
    deciding = report.deciding
    resolved = report.resolved.rpartition("@")[2]
    # Once more: admitted, by an artifact, and of this digest.
    if report.decision is Decision.ADMITTED and deciding is not None and resolved == digest:
        return _allowed(deciding.verdict.message, digest)
    return _refused(report.message, str(report.reason), report.transient, report.notes)
