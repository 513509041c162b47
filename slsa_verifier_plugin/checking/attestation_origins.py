"""Where ``attach --from`` gets an attestation: a commit's git note, GitHub's attestation API, or an artifact of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from slsa_verifier_plugin.checking.reports import ImageReport
from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import StatementError, UsageError, VerifierError
from slsa_verifier_plugin.model.digest import Descriptor
from slsa_verifier_plugin.model.documents_in_text import MAX_LINES
from slsa_verifier_plugin.model.envelope import Candidate, read_blob
from slsa_verifier_plugin.model.statement import parse_statement
from slsa_verifier_plugin.policy.binding import ImageLabels
from slsa_verifier_plugin.policy.checks import Examination
from slsa_verifier_plugin.policy.matching import UriPattern
from slsa_verifier_plugin.text import nearest, plain, quoted

WAIT_PAUSE = 15.0
"""Seconds between two looks for what is not there yet; the source workflow takes a minute or so."""
WAIT_STEP = 120.0
"""Time for one look."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What ``--from`` names: ``kind`` is ``notes``, ``github`` or ``artifact``; ``target`` is the rest, empty where left out."""

    kind: str
    target: str


@dataclass(frozen=True, slots=True)
class Found:
    """An attestation file and where it came from, for people."""

    content: bytes
    name: str


def parse_origin(text: str) -> Origin:
    """Return what a person wrote after ``--from``.

    Raises:
        UsageError: a repository is missing, or it is none of the sources.
    """
    kind, colon, target = text.partition(":")
    if kind == "notes":
        # A variable that is empty in a workflow: the label would be taken without anybody noticing.
        if colon and not target:
            raise UsageError(
                "--from notes: names no repository; leave the colon out to take it from the image's label"
            )
        return Origin("notes", target)
    if kind == "github":
        # There is no default: GitHub keeps attestations by repository.
        if not target:
            raise UsageError("--from github names no repository; expected github:OWNER/NAME")
        return Origin("github", target)
    # No attestation is an image of Docker's own: it is a misspelt word, and nobody is asked for it.
    if "/" not in text:
        near = nearest(kind, ("notes", "github"))
        expected = "expected notes[:REPOSITORY], github:OWNER/NAME, or a REFERENCE with its registry"
        raise UsageError(f"--from {quoted(text)}: {expected}{f'; is {near} meant?' if near else ''}")
    # Anything else is an artifact's reference; parse_image says where it is none.
    return Origin("artifact", text)


@dataclass(frozen=True, slots=True)
class ImageSource:
    """What an image says of its source, as far as it is known: its labels, and what the policy expects.

    ``resource_uris`` are the policy's ``expectedResourceUri``.
    """

    labels: Sequence[ImageLabels]
    resource_uris: Sequence[UriPattern] = ()

    def commit(self) -> str:
        """Return the commit in the image's revision labels.

        Raises:
            UsageError: there is none, or platforms differ.
        """
        return self._agreed([item.revision for item in self.labels], "revision", "--commit COMMIT")

    def repository(self) -> tuple[str, bool]:
        """Return the repository that the policy expects, else that in the image's source labels; True where the image says it.

        The policy goes first: the label is the word of whoever built the image.

        Raises:
            UsageError: there is none.
        """
        # Of several, or of a pattern, none is the repository.
        if len(self.resource_uris) == 1 and not self.resource_uris[0].has_wildcard:
            return self.resource_uris[0].pattern, False
        return self._agreed([item.source for item in self.labels], "source", "--from notes:REPOSITORY"), True

    @staticmethod
    def _agreed(values: Sequence[str | None], label: str, remedy: str) -> str:
        # An index has labels for each platform; all must name one commit.
        named = {value for value in values if value}
        # A platform without the label may be of another commit.
        if len(named) == 1 and None not in values:
            return named.pop()
        shown = ", ".join(sorted(quoted(item, 80) for item in named))
        found = f"platforms that disagree ({shown})" if named else "none"
        raise UsageError(
            f"the image's label org.opencontainers.image.{label} is missing or not the same on every platform: found {found}; "
            f"give {remedy}"
        )


def from_notes(
    origin: Origin, commit: str, source: ImageSource, environ: Mapping[str, str], deadline: Deadline
) -> Found:
    """Return a commit's git note.

    Args:
        origin: where its repository is.
        commit: its name.
        source: where the repository is, if ``origin`` does not say it.
        environ: git sees a part of it.
        deadline: the end of it.

    Raises:
        UsageError: the repository or the commit is none, or there is no git.
        VerifierError: the note cannot be had.
    """
    # Imported here: whoever verifies a file loads this module, and has no use for git.
    from slsa_verifier_plugin.checking.git_notes import asked_repository, fetch_note, told_repository

    # What a person typed may be a folder or a host of their own; what an image says may not.
    if origin.target:
        repository = asked_repository(origin.target)
    else:
        told, by_image = source.repository()
        named = told_repository(told, by_image=by_image)
        if named is None:
            raise UsageError(
                f"{quoted(told)}, which the image or the policy names as its source, is no repository that is fetched from "
                "without being asked for; give --from notes:REPOSITORY"
            )
        repository = named
    content = fetch_note(repository, commit, environ, deadline)
    return Found(about_commit(content, commit), f"git note of {commit} in {plain(repository)}")


def about_commit(content: bytes, commit: str) -> bytes:
    """Return a note without the attestations of other commits, where it has some of ``commit`` as well; else as it is.

    A rebase may copy notes together (``git notes`` with ``notes.rewriteMode``). Others' lines would let the image pass as theirs.
    """
    kept, own, others = [], False, False
    for candidate in read_blob(content, MAX_LINES).candidates:
        # What it claims, unverified: the policy verifies what is kept.
        commits = _commits_of(candidate)
        own |= commit in commits
        # A line that names no commit is kept: it may be the provenance of the image.
        if commits and commit not in commits:
            others = True
        else:
            kept.append(candidate.content)
    # Nothing is left out unless something of this commit is kept: else the policy names what is wrong.
    return b"".join(item + b"\n" for item in kept) if own and others else content


def _commits_of(candidate: Candidate) -> set[str]:
    """Return the commits that an attestation claims to be about."""
    try:
        statement = parse_statement(candidate.payload_type, candidate.payload)
    # Not a statement: whatever it is, the policy decides about it.
    except StatementError:
        return set()
    # Subjects of other kinds, such as images, have no commit.
    return {subject.digests.get("gitCommit", "") for subject in statement.subjects} - {""}


def from_github(
    origin: Origin, commit: str, image: Descriptor, environ: Mapping[str, str], deadline: Deadline
) -> Found:
    """Return what GitHub's API has about a commit, else about the image.

    Args:
        origin: the repository.
        commit: its name.
        image: the image.
        environ: token, proxies and certificates.
        deadline: the end of it.

    Raises:
        UsageError: the repository is none.
        VerifierError: GitHub has nothing, or does not answer.
    """
    from slsa_verifier_plugin.registry.github import GitHubAttestations

    # GitHub stores attestations of commits under either algorithm name.
    digests = [f"sha1:{commit}", f"gitCommit:{commit}", str(image.digest)]
    content = GitHubAttestations(origin.target, environ).bundles(digests, deadline)
    return Found(content, f"attestations of {plain(origin.target)} at GitHub")


def patiently(
    look: Callable[[Deadline], Found], wait: float, pause: Callable[[float], None] = time.sleep
) -> Found:
    """Return what ``look`` finds, looking again until ``wait`` seconds are over while it is not there yet.

    Raises:
        VerifierError: as ``look``, at the end.
    """
    end = Deadline(wait)
    while True:
        try:
            # Each look has a limit of its own: a repository that hangs must not take the whole wait.
            return look(Deadline(WAIT_STEP))
        except VerifierError as error:
            # A note that is not there yet is transient; a repository that may not be read is not.
            if not error.transient or end.remaining() <= 0.0:
                raise
        # Never past the end, and never a wait of nothing that would turn in circles.
        pause(min(WAIT_PAUSE, max(end.remaining(), 0.01)))


def check_commit(content: bytes, commit: str, report: ImageReport | None) -> None:
    """Check that an attestation file is about ``commit``: what the policy admitted it by, or without one what it claims.

    Raises:
        UsageError: it is about something else.
    """
    known: set[str] = set()
    if report is not None:
        # What the policy verified; claims of lines that failed count for nothing here.
        examinations = [item.verdict.best.examination for item in report.artifacts if item.verdict.best]
        # Each of them: under "any" one that passes could be about another commit than the one that is attached for.
        if examinations and all(item is not None and _is_about(item, commit) for item in examinations):
            return
        known = {source.commit for item in examinations if item is not None for source in item.sources}
    else:
        # Without a policy there is no more to go by than what the lines claim.
        for candidate in read_blob(content, MAX_LINES).candidates:
            known |= _commits_of(candidate)
        if commit in known:
            return
    shown = ", ".join(sorted(plain(item, 64) for item in known)[:4]) or "no commit"
    raise UsageError(
        f"the attestation is about {shown}, expected commit {plain(commit, 64)}; nothing was attached. Take the attestation of "
        "that commit"
    )


def _is_about(examination: Examination, commit: str) -> bool:
    """Return True where a summary that passed is about the commit, or about no commit at all but the image itself."""
    # Bound by the digest, it is about this very image, which is closer than any commit.
    if not examination.sources:
        return examination.bound_by_digest
    return any(source.commit == commit for source in examination.sources)
