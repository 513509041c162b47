"""Finds the build provenance that binds an image to a commit (step 14) among all that anybody has attached to the image.

Whoever may push can attach any number of artifacts, say of each what they like, and choose their digests. So nothing that an
attacker writes decides what is looked at: the order is chance, what does not say that it is provenance takes turns with what
does, and each referrer may use little of the time before all others had as much. Whatever an honest referrer costs, it is
reached by the time that each other one has used some four times that at the most.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from itertools import chain

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import (
    ArtifactError,
    DeadlineError,
    Reason,
    RegistryError,
    SignatureError,
    StatementError,
)
from slsa_verifier_plugin.model.digest import Descriptor
from slsa_verifier_plugin.model.envelope import Candidate, candidates_about
from slsa_verifier_plugin.model.manifest import parse_manifest
from slsa_verifier_plugin.model.provenance import PREDICATE_TYPES, Provenance, parse_provenance
from slsa_verifier_plugin.model.signer import Claim
from slsa_verifier_plugin.model.statement import parse_statement
from slsa_verifier_plugin.policy.binding import (
    Bound,
    Demand,
    PassedOver,
    Shortfall,
    SignedProvenance,
    check_provenance,
    shortfall,
)
from slsa_verifier_plugin.policy.checks import Examination
from slsa_verifier_plugin.policy.parameters import Policy
from slsa_verifier_plugin.registry.reference import Reference
from slsa_verifier_plugin.text import plain, quoted
from slsa_verifier_plugin.verification.evidence import EMPTY
from slsa_verifier_plugin.verification.ports import ArtifactStore, CountingStore, SignatureVerifier
from slsa_verifier_plugin.verification.prefetch import prefetched
from slsa_verifier_plugin.verification.referrer_order import by_chance

MAX_REFERRERS = 1024
"""Referrers that are searched for provenance; of more, so many that chance picks."""
MAX_AWAY = 3
"""Referrers that the registry may fail to deliver for now; one more, and it is the registry that fails: no more are asked for."""
MAX_REPORTED = 8
"""Provenances that bind nothing whose signatures are checked all the same, to say what the image was built from."""
MAX_COMPARED = 64
"""Provenances that bind nothing among which those to be reported are chosen."""
FETCHERS = 8
"""Referrers that are fetched at a time."""

FIRST_BYTES, FIRST_BLOBS, FIRST_SECONDS = 64 << 10, 4, 0.005
"""What one referrer may use in the first round: bytes and number of its blobs, and time that is spent on its content. A bundle of
GitHub's has 12 KiB and takes 3 ms; each round later allows four times as much."""
GROWTH = 4
OWN_SECONDS = 0.25
"""Time for the judged artifact's own provenance in the first round: nobody but whoever attached it can fill it with junk."""
AHEAD_BYTES = 4 << 20
"""Bytes that are fetched ahead: fewer referrers at a time where they may be large."""
FETCH_SHARE = 0.25
"""Share of the time that one referrer may take to arrive in the first round; each round later allows all of it."""
_DOING = "looking for build provenance"
_NO_KEY = Shortfall(
    -1, Reason.SOURCE_NOT_BOUND, "found provenance by a key, and no key is configured", "", ""
)


@dataclass(slots=True)
class _Source:
    """A referrer, and how far it has been looked at: blobs by their number, and the place in the next (``candidates_about``)."""

    descriptor: Descriptor
    blobs: tuple[Descriptor, ...] | None = None
    number: int = 0
    place: int = 0
    lookalikes: int = 0


@dataclass(slots=True, eq=False)
class _Lookalike:
    """What claims to be provenance about the image; ``verified`` is None until its signature was checked."""

    candidate: Candidate
    claimed: Provenance
    claims: Sequence[Claim]
    verified: list[SignedProvenance] | None = field(default=None)

    def closest(self, demand: Demand) -> Shortfall | None:
        """Return what keeps it from binding the image by its claims, None for nothing; of several signers the best."""
        # A key's signature claims every configured key; without a key there is no claim, and none that could bind.
        best = _NO_KEY
        for claim in self.claims:
            found = shortfall(SignedProvenance(self.claimed, claim.signer), demand)
            if found is None:
                return None
            best = max(best, found, key=lambda item: item.rank)
        return best


class ProvenanceSearch:
    """``sourceBinding: provenance``: searches the image's referrers, each fetched and read once for all summaries that ask.

    Args:
        store: where manifests and blobs come from; used by several threads at once.
        image: the admitted image, with its digest.
        own: the candidates of the artifact that is judged.
        verifier: verifies their signatures, and those among the image's referrers.
        policy: its limits hold for each referrer.
        deadline: the time for all of it.
    """

    def __init__(
        self,
        store: ArtifactStore,
        image: Reference,
        own: Sequence[Candidate],
        verifier: SignatureVerifier,
        policy: Policy,
        deadline: Deadline,
    ) -> None:
        assert image.digest is not None
        self._store = store
        self._image = image
        self._digest = image.digest
        # What does not name the image cannot bind it, and is not worth parsing.
        self._own = [item for item in own if image.digest.hex.encode() in item.payload]
        # The judged artifact is one of the referrers, too.
        self._known = frozenset(candidate.content for candidate in own)
        self._verifier = verifier
        self._policy = policy
        self._deadline = deadline
        self._seen: list[_Lookalike] = []
        self._by_commit: dict[str, list[_Lookalike]] = defaultdict(list)
        self._kept = 0
        self._away = 0
        self._failures: list[RegistryError] = []
        self._left: list[_Source] = []
        self._first, self._later = self._first_round(), self._later_rounds()
        self.passed_over = PassedOver()
        """What was looked at for provenance so far, and does not count."""

    def bind(self, examination: Examination, *, thorough: bool = False) -> Bound:
        """Return step 14 as passed if a provenance binds the image to a commit of the summary's.

        Args:
            examination: a summary that passed all steps before.
            thorough: False to end with the first round, True to read on until nothing is left.

        Raises:
            CheckError: as ``check_provenance``, for what was found so far.
            RegistryError: nothing binds the image, and the referrers or one of them cannot be had.
            DeadlineError: out of time.
        """
        demand = Demand(examination, self._digest, self._policy, self._verifier.key_identities)
        # By commit, so that a summary asks only for what could bind it and not for a thousand lookalikes of other commits.
        known = [item for commit in demand.commits for item in self._by_commit.get(commit, ())]
        for item in known:
            if bound := self._bound(item, demand):
                return bound
        # Both go on where the search for the summary before ended, for they are the same iterators.
        for found in chain(self._first, self._later if thorough else ()):
            # Kept before it is held against this summary: one that does not bind it may bind the next.
            self._keep(found, found.closest(demand))
            if bound := self._bound(found, demand):
                return bound
        # Nothing binds, and something could not be read: what was not seen may have bound it, so the registry is the
        # reason.
        if self._failures:
            # Where a retry may help, that is what to say.
            # Not as SOURCE_NOT_BOUND, which says that the image is wrong: the registry may have kept the proof back.
            raise next((item for item in self._failures if item.transient), self._failures[-1])
        return check_provenance(demand, self._reported(demand), self.passed_over)

    def close(self) -> None:
        """Fetch nothing more."""
        self._first.close()
        self._later.close()

    def _bound(self, item: _Lookalike, demand: Demand) -> Bound | None:
        """Return the step where ``item`` binds the image. What it claims is looked at first, for that costs the least."""
        if item.closest(demand) is not None:
            return None
        for signed in self._signed(item):
            # Asked once more of what was verified: up to here only a claim had passed.
            if shortfall(signed, demand) is None:
                return check_provenance(demand, [signed])
        return None

    def _signed(self, item: _Lookalike) -> list[SignedProvenance]:
        """Return what is verified of ``item``, once for each signer; nothing where its signature is wrong."""
        # A signature is looked at once for all summaries that ask.
        if item.verified is None:
            self._deadline.check("verifying build provenance")
            item.verified = []
            try:
                # A millisecond each. Everything before this line was reading, which costs microseconds.
                verified = self._verifier.verify(item.candidate)
                claim = verified.claim
                # Only what was verified counts, whatever was claimed before.
                provenance = parse_provenance(parse_statement(claim.payload_type, claim.payload))
                item.verified = [SignedProvenance(provenance, one.signer) for one in verified.claims]
            except (SignatureError, StatementError) as error:
                self.passed_over.add("that do not verify", plain(error.message))
        return item.verified

    def _reported(self, demand: Demand) -> list[SignedProvenance]:
        """Return verified provenance of trusted builders that does not bind the image, those first that come closest."""
        some = self._seen[:MAX_COMPARED]
        near = [(found.rank, item) for item in some if (found := item.closest(demand))]
        # By rank: the check that failed last is the nearest to binding, and the one that people can mend.
        near.sort(key=lambda pair: -pair[0])
        for _, item in near[:MAX_REPORTED]:
            self._signed(item)
        return [signed for item in some for signed in item.verified or ()]

    def _keep(self, item: _Lookalike, closest: Shortfall | None) -> None:
        """Remember ``item`` for other summaries, as far as there is room, but for what no trusted builder says."""
        if closest and not closest.is_of_trusted:
            signer = f" signed by {quoted(item.claims[0].signer.identity)}" if item.claims else ""
            example = f"builder {quoted(item.claimed.builder_id)}{signer}, not verified"
            # Named as not verified: whoever may push could otherwise have the message name a builder that built nothing.
            self.passed_over.add("by others", example)
            return
        self._kept += len(item.candidate.content)
        # What is not kept was held against the summary that is asking; only later summaries miss it.
        if self._kept <= self._policy.max_bytes:
            self._seen.append(item)
            for commit in {material.commit for material in item.claimed.built}:
                self._by_commit[commit].append(item)

    # Rounds

    def _first_round(self) -> Generator[_Lookalike]:
        """Yield what claims to be provenance about the image: the artifact's own first, then a little of each referrer."""
        limit = time.monotonic() + OWN_SECONDS
        while self._own and time.monotonic() < limit:
            if item := self._lookalike(self._own.pop(0)):
                yield item
        self._left = yield from self._round(self._sources(), 1)

    def _later_rounds(self) -> Generator[_Lookalike]:
        """Yield the rest: what the first round left of the artifact's own, then of the referrers, each round with more."""
        yield from filter(None, map(self._lookalike, self._own))
        growth = 1
        while self._left:
            growth *= GROWTH
            self._left = yield from self._round(self._left, growth)

    def _sources(self) -> list[_Source]:
        """Return the referrers to look at, in an order that nobody can choose."""
        try:
            listed = self._store.referrers(self._image, self._deadline)
        except RegistryError as error:
            self._failures.append(error)
            return []
        ordered = by_chance(listed)
        # Cut by chance, not by place: whoever fills the list cannot choose what is left out. The message says so.
        if len(ordered) > MAX_REFERRERS:
            what = f"of {len(ordered)} referrers, of which {MAX_REFERRERS} are looked at"
            self.passed_over.add(what, count=len(ordered) - MAX_REFERRERS)
        return [_Source(descriptor) for descriptor in ordered[:MAX_REFERRERS]]

    def _round(self, sources: Sequence[_Source], growth: int) -> Generator[_Lookalike, None, list[_Source]]:
        """Yield what is found in one round, and return the sources that have more than this round allows.

        Args:
            sources: the referrers to look at.
            growth: how many times as much as the first round this one allows.
        """
        rest: list[_Source] = []
        size, blobs, seconds = FIRST_BYTES * growth, FIRST_BLOBS * growth, FIRST_SECONDS * growth

        def fetch(source: _Source) -> list[bytes] | None:
            # What is slow to come is waited for once the others have been looked at.
            allowed = self._deadline.within(self._deadline.seconds * FETCH_SHARE * growth)
            return self._contents(source, size, blobs, allowed)

        workers = max(1, min(FETCHERS, AHEAD_BYTES // size))
        for source, contents in prefetched(sources, fetch, workers, self._deadline, _DOING):
            self._deadline.check(_DOING)
            if contents is None or isinstance(contents, DeadlineError):
                # More than this round allows, or slow to come: looked at again once all others had as much.
                rest.append(source)
            elif isinstance(contents, ArtifactError):
                # Broken content stays broken. Anybody may attach such a thing, so it counts against nobody.
                self.passed_over.add("referrers that cannot be read", plain(contents.message))
            elif isinstance(contents, RegistryError):
                # One that is not to be had, which anyone who may push can attach, must not hide the others.
                self._failures.append(contents)
                self._away += contents.transient
                # A registry that is overloaded would be asked a thousand times more, by each of the calls that wait for it.
                if self._away > MAX_AWAY:
                    return []
            elif isinstance(contents, Exception):
                # No verdict: what is not an error of ours is a defect, which must not read like a denial of this image.
                raise contents
            else:
                # What was kept of the contents is still held, so only the rest is told to ``capacity`` as dropped.
                kept = self._kept
                try:
                    is_done = yield from self._look(source, contents, seconds)
                except ArtifactError as error:
                    self.passed_over.add("referrers that cannot be read", plain(error.message))
                else:
                    rest += [] if is_done else [source]
                # Of hundreds of referrers a few are held at a time, so a call waits for no room because of them.
                self._drop(sum(map(len, contents)) - (self._kept - kept))
        return rest

    def _contents(self, source: _Source, size: int, blobs: int, deadline: Deadline) -> list[bytes] | None:
        """Return the blobs of a referrer that are still to be looked at; None where they are more than the round allows.

        Raises:
            RegistryError, ArtifactError, DeadlineError: the referrer is not delivered, malformed or over the policy's limits.
        """
        # The first round that allows the manifest reads it; later rounds only read blobs.
        if source.blobs is None:
            # By its descriptor, so a large one costs no request in this round.
            if source.descriptor.size > size:
                return None
            content = self._store.manifest(self._image, source.descriptor, deadline)
            manifest = parse_manifest(content, source.descriptor.media_type)
            # The registry's list is no proof (OCI distribution 1.1, "Referrers Tag Schema"): only the manifest's own subject
            # is.
            hangs_here = manifest.subject is not None and manifest.subject.digest == self._digest
            self._drop(len(content))
            source.blobs = (
                tuple(item for item in manifest.blobs if item.digest != EMPTY) if hangs_here else ()
            )
            # The same limit as for the judged artifact: what would be refused there must not bind here.
            if sum(item.size for item in source.blobs) > self._policy.max_bytes:
                raise ArtifactError(
                    f"its blobs have more than {self._policy.max_bytes} bytes",
                    "raise maxAttestationBytes",
                    reason=Reason.LIMIT_EXCEEDED,
                )
        left = source.blobs[source.number :]
        # Asked of all its blobs together, so that a referrer is fetched in one round as a whole.
        if sum(item.size for item in left) > size or len(left) > blobs:
            return None
        return [self._store.blob(self._image, item, item.size, deadline) for item in left]

    def _drop(self, size: int) -> None:
        if isinstance(self._store, CountingStore):
            self._store.dropped(size)

    def _look(
        self, source: _Source, contents: Sequence[bytes], seconds: float
    ) -> Generator[_Lookalike, None, bool]:
        """Yield what looks like provenance in a referrer, and return True once all was looked at."""
        limit = time.monotonic() + seconds
        for content in contents:
            for place, candidate in candidates_about(content, self._digest.hex, source.place):
                self._deadline.check(_DOING)
                # Noted before it is looked at: if this turn ends here, the next begins behind it.
                source.place = place
                # The judged artifact is among the image's own referrers, and its candidates were looked at first.
                item = None
                if candidate and candidate.content not in self._known:
                    item = self._lookalike(candidate)
                if item:
                    source.lookalikes += 1
                    # ``maxBundles`` bounds signatures of one artifact; a referrer is one.
                    if source.lookalikes > self._policy.max_bundles:
                        self.passed_over.add("referrers with more provenance than maxBundles allows")
                        return True
                    # The caller verifies it before it goes on here, so that is counted as well.
                    yield item
                if time.monotonic() > limit:
                    return False
            source.number, source.place = source.number + 1, 0
        return True

    def _lookalike(self, candidate: Candidate) -> _Lookalike | None:
        """Return what ``candidate`` claims where it may count; others are passed over, and unverified, for that takes time."""
        try:
            statement = parse_statement(candidate.payload_type, candidate.payload, is_claim=True)
            # A statement about the image of another kind (SBOM, summary): no failure, and nothing to tell.
            if statement.predicate_type not in PREDICATE_TYPES:
                return None
            claims = self._verifier.claims(candidate)
            claimed = parse_provenance(statement)
        except (SignatureError, StatementError) as error:
            self.passed_over.add("that do not verify", plain(error.message))
            return None
        # The payload mentions the digest somewhere, but not as its subject (a dependency, say).
        if str(self._digest) not in claimed.digests:
            return None
        return _Lookalike(candidate, claimed, claims)
