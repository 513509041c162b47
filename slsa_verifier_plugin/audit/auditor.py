"""Audits images: each once, many at a time, against the policy as it stands and at every level.

Workers ask and decide; the caller's thread alone writes the state and shows progress.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace

from slsa_verifier_plugin.audit.audit_row import Row, Seen
from slsa_verifier_plugin.audit.audit_state import AuditState
from slsa_verifier_plugin.checking.decider import Decider, ReadyVerifier
from slsa_verifier_plugin.checking.reports import ImageReport, failure
from slsa_verifier_plugin.checking.status import LISTING_SECONDS, Decision
from slsa_verifier_plugin.checking.stores import Store
from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import as_denial
from slsa_verifier_plugin.lru import LruCache
from slsa_verifier_plugin.model.digest import Descriptor
from slsa_verifier_plugin.model.levels import track_level
from slsa_verifier_plugin.policy.parameters import Policy
from slsa_verifier_plugin.policy.steps import StepOutcome
from slsa_verifier_plugin.registry.reference import Reference
from slsa_verifier_plugin.regular_files import read_regular
from slsa_verifier_plugin.verification.prefetch import prefetched

REMEMBERED = 20_000
"""Decided digests that are kept in memory, a kilobyte or two each."""
MAX_LISTS = 256
"""Lists of what is attached to one image that are kept while it is looked at: one for each artifact type that is asked for."""
MAX_NAMED_FILE = 64 << 20
"""Bytes of a file named by a policy that stand for it; none that is accepted is larger."""
NO_END = 31_536_000.0
"""Seconds, a year: an audit has no time limit of its own, each of its images has."""
SOURCE_TRACK = "SOURCE"
HIGHEST = {"SOURCE": 4, "BUILD": 3}
"""The highest level of each track (SLSA v1.2 "Tracks"); of other tracks four are asked for."""

Show = Callable[[int, int, Mapping[Decision, int]], None]


class Auditor:
    """Decides about images.

    Args:
        checker: checks one image against the policy as it stands.
    """

    def __init__(self, checker: Decider) -> None:
        self._checker = checker
        self._track = _track(checker.verifiers)
        self._decided: LruCache[str, Row] = LruCache(REMEMBERED)
        # A lock an image: threads with the same one wait for each other, and for no other image's registry. One that is dropped
        # while it is held costs a second look at its image, and changes no decision.
        self._turns: LruCache[str, threading.Lock] = LruCache(REMEMBERED)
        # A track of somebody's own: as many levels as the longest track of the specification has.
        count = HIGHEST.get(self._track, 4)
        self.levels = tuple(f"SLSA_{self._track}_LEVEL_{number}" for number in range(1, count + 1))

    @property
    def fingerprint(self) -> str:
        """What stands for the policy and the files that it names: an audit may only be resumed with the same ones."""
        # As they are written, with the names: a message quotes them.
        configs = [check.resource.config for check in self._checker.verifiers]
        files = {path: _digest(path) for check in self._checker.verifiers for path in check.policy.files}
        told = [configs, dict(self._checker.rules), self.levels, files]
        # Sorted, so that the order of a YAML file's keys is not another policy.
        text = json.dumps(told, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()

    def audit(self, image: str) -> Row:
        """Return what becomes of ``image``. Whatever fails is in the row; only an interrupt gets out."""
        try:
            return self._audit(image)
        # What is no image name starts no container either; Ratify denies it.
        except Exception as error:  # noqa: BLE001 (one image must not end an audit of thousands)
            report = failure(image, "", as_denial(error))
        return _row(report, dict.fromkeys(self.levels, report.decision))

    def _audit(self, image: str) -> Row:
        """Return the row of an image; one digest of one repository is looked at once."""
        reference = Reference.parse(image)
        # The tag is resolved before the lock: images that share a digest are then looked at once, whatever their tags.
        if reference.digest is None:
            # Ratify resolves a tag before it calls the plugin, so this is not part of the policy's time.
            deadline = Deadline(LISTING_SECONDS)
            reference = reference.with_digest(self._checker.store.resolve(reference, deadline).digest)
        # With the repository: an attestation hangs on a digest in one repository, not on the digest everywhere.
        key = f"{reference.name}@{reference.digest}"
        with self._turns.get_or_make(key, threading.Lock):
            # Inside the lock: whoever waited finds what the first has decided.
            row = self._decided.get(key)
            if row is None:
                row = self._look(key)
                # An image whose registry failed is asked for again under its other names: the fault may have passed.
                if row.decision is not Decision.UNDECIDED:
                    self._decided.put(key, row)
        return replace(row, image=image, resolved=str(reference))

    def _look(self, image: str) -> Row:
        # A memory for this image alone: what is attached to ten thousand images would fill the process.
        checker = replace(self._checker, store=_Remembering(self._checker.store))
        report = checker.image(image)
        # No level is tried: the registry that did not answer once would be asked again for each.
        if report.decision is Decision.UNDECIDED:
            return _row(report, dict.fromkeys(self.levels, report.decision))
        return _row(report, dict(self._by_level(checker, report)))

    def _by_level(self, checker: Decider, report: ImageReport) -> Iterator[tuple[str, Decision]]:
        """Yield each level's decision, lowest first: what one level denies, every higher one denies."""
        # Before the lowest level nothing is denied yet.
        decision = Decision.ADMITTED
        # A verifier without a level of the track stays as it is, if another verifier demands one.
        asked = [_demands_track(check, self._track) for check in checker.verifiers]
        # A policy that names no level of the track has one added: the question was what each level would mean.
        if not any(asked):
            asked = [True] * len(asked)
        for number, name in enumerate(self.levels, 1):
            # A higher level demands all that a lower one does, so the rest need not be asked.
            if decision is Decision.ADMITTED:
                checks = tuple(
                    _at_level(check, self._track, number) if is_asked else check
                    for check, is_asked in zip(checker.verifiers, asked, strict=True)
                )
                # The level that the policy demands was judged already, as the policy stands.
                same = all(a.policy == b.policy for a, b in zip(checks, checker.verifiers, strict=True))
                decision = (
                    report.decision
                    if same
                    else replace(checker, verifiers=checks).image(report.asked).decision
                )
            yield name, decision


def run(auditor: Auditor, state: AuditState, jobs: int, show: Show) -> None:
    """Decide about every image of ``state`` that has no decision yet.

    Args:
        auditor: decides.
        state: says what is to be done, and keeps what became of it.
        jobs: images at once.
        show: called after each: how many images there are, how many are done, and how many of those with each decision.
    """
    # A resumed audit begins with what earlier runs have decided.
    total, done = state.counts()
    decisions = dict.fromkeys(Decision, 0)
    # Read before it is written to: the state is one connection.
    pending: Sequence[str] = list(state.pending())
    show(total, done, decisions)
    # Closed where an interrupt ends the loop: an interrupted program waits for no registry that does not answer.
    with closing(prefetched(pending, auditor.audit, jobs, Deadline(NO_END), "auditing")) as rows:
        for _, row in rows:
            # Whatever fails in an image is in its row; this is a fault of the audit itself.
            if isinstance(row, Exception):
                raise row
            state.put(row)
            # Undecided ones count as done here, too: the bar ends where the run ends.
            done += 1
            decisions[row.decision] += 1
            show(total, done, decisions)


def in_shard(image: str, index: int, count: int) -> bool:
    """Return True if ``image`` belongs to shard ``index`` (from 0) of ``count``; every image does to exactly one."""
    # By the name's hash, so that shards agree without talking to each other, wherever the list comes from.
    return int.from_bytes(hashlib.sha256(image.encode()).digest()[:8], "big") % count == index


def _row(report: ImageReport, levels: Mapping[str, Decision]) -> Row:
    row = Row(report.asked, report.resolved, report.decision, str(report.reason), report.message, levels)
    # Without an attestation there is no verdict, and nothing was seen.
    if report.deciding is None:
        return row
    verdict = report.deciding.verdict
    # Steps that the policy does not ask for, or that were not reached, tell a reader nothing.
    steps = tuple(step for step in verdict.steps if step.outcome is not StepOutcome.NOT_CHECKED)
    row = replace(row, seen=Seen(verdict.artifact, steps, verdict.roots))
    best = verdict.best
    # No candidate was examined, so neither signer nor level is known.
    if best is None or best.examination is None:
        return row
    examination = best.examination
    return replace(
        row,
        found=examination.levels,
        signer=examination.signer.identity,
        revision=examination.revision,
        repository=examination.summary.resource_uri if examination.summary else "",
    )


def _track(checks: Sequence[ReadyVerifier]) -> str:
    for check in checks:
        # The first level that names a track decides; the resources say which comes first.
        for name in check.policy.levels:
            level = track_level(name)
            # A property such as ORG_SOURCE_... has no track: it says nothing about levels.
            if level is not None:
                return level[0]
    return SOURCE_TRACK


def _digest(path: str) -> str:
    """Return the digest of a file, empty where it cannot be read: then every image says so."""
    try:
        return hashlib.sha256(read_regular(path, MAX_NAMED_FILE)).hexdigest()
    except (OSError, ValueError):
        return ""


def _demands_track(check: ReadyVerifier, track: str) -> bool:
    # A property has no track; the empty text equals no track that is asked for.
    return any((track_level(name) or ("", 0))[0] == track for name in check.policy.levels)


def _at_level(check: ReadyVerifier, track: str, number: int) -> ReadyVerifier:
    """Return ``check`` with another level of one track demanded; whatever else it demands stays."""
    others = tuple(name for name in check.policy.levels if (track_level(name) or ("", 0))[0] != track)
    policy: Policy = replace(check.policy, levels=(*others, f"SLSA_{track}_LEVEL_{number}"))
    # The same object is returned, so that who compares policies sees that nothing changed.
    if set(policy.levels) == set(check.policy.levels):
        return check
    return replace(check, policy=policy)


class _Remembering:
    """A store that lists once what is attached to an image. Whatever else is kept, the store behind it keeps."""

    def __init__(self, store: Store) -> None:
        self._store = store
        # Of this one look: by the image, and the artifact type that was asked for.
        self._listed: LruCache[tuple[str, str], list[Descriptor]] = LruCache(MAX_LISTS)

    def resolve(self, image: Reference, deadline: Deadline) -> Descriptor:
        return self._store.resolve(image, deadline)

    def manifest(self, image: Reference, descriptor: Descriptor, deadline: Deadline) -> bytes:
        return self._store.manifest(image, descriptor, deadline)

    def blob(self, image: Reference, descriptor: Descriptor, limit: int, deadline: Deadline) -> bytes:
        return self._store.blob(image, descriptor, limit, deadline)

    def referrers(self, image: Reference, deadline: Deadline) -> list[Descriptor]:
        # The empty type stands for the whole list.
        key = (str(image), "")
        return self._listed.get_or_make(key, lambda: self._store.referrers(image, deadline))

    def matching_referrers(
        self, image: Reference, artifact_type: str, deadline: Deadline
    ) -> list[Descriptor]:
        key = (str(image), artifact_type)
        return self._listed.get_or_make(
            key, lambda: self._store.matching_referrers(image, artifact_type, deadline)
        )
