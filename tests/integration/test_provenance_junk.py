"""Build provenance among junk, from a registry that takes its time: bounded by the policy's own deadline."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import timedelta

import pytest

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import Reason
from slsa_verifier_plugin.model.digest import Descriptor
from slsa_verifier_plugin.model.envelope import PREDICATE_TYPE_ANNOTATION
from slsa_verifier_plugin.policy.parameters import Policy
from slsa_verifier_plugin.policy.verdict import Verdict
from slsa_verifier_plugin.registry.reference import Reference
from slsa_verifier_plugin.registry.settings import StoreSettings
from slsa_verifier_plugin.registry.store import RegistryStore
from slsa_verifier_plugin.signatures.trust import load_root
from slsa_verifier_plugin.signatures.verifier import AttestationVerifier, RootVerifier
from slsa_verifier_plugin.verification.capacity import Capacity
from slsa_verifier_plugin.verification.judged import ArtifactRequest
from slsa_verifier_plugin.verification.provenances import FETCHERS
from slsa_verifier_plugin.verification.verify import verify
from tests.support.policies import policy
from tests.support.registries import RecordingRegistry, Seen
from tests.support.registry_handler import RegistryHandler
from tests.support.sigstore import SIGNED_AT, Lab, attest_build_provenance, provenance_v1, vsa

pytestmark = pytest.mark.server("a registry with hundreds of referrers that answers slowly")

REPOSITORY = "team/app"
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
SAID = {PREDICATE_TYPE_ANNOTATION: "https://slsa.dev/provenance/v1"}
JUNK = 200


class SlowRegistry(RecordingRegistry):
    """Answers after twice ``latency``, and counts how many requests wait at once; ``hangs`` holds digests never served."""

    def __init__(self, latency: float) -> None:
        super().__init__(latency=latency)
        self.hangs: set[str] = set()
        self.most = self._now = 0
        self._guard = threading.Lock()

    def intercept(self, handler: RegistryHandler) -> bool:
        with self._guard:
            self._now += 1
            self.most = max(self.most, self._now)
        try:
            self.over.wait(self.latency)
            return super().intercept(handler)
        finally:
            with self._guard:
                self._now -= 1

    def respond(self, handler: RegistryHandler, seen: Seen) -> bool:
        if any(digest in seen.path for digest in self.hangs):
            self.over.wait(60)
        return False


class Scene:
    """An image with a summary in one artifact, in a registry."""

    def __init__(self, registry: SlowRegistry) -> None:
        self.registry = registry
        self.lab = Lab()
        self.image = registry.push_image(REPOSITORY, "1")
        self.artifact = self.attach(self.lab.sign(vsa()), "slsla/attestation", said=False)

    def attach(self, content: bytes, artifact_type: str = BUNDLE, said: bool = True) -> Descriptor:
        return self.registry.attach(
            REPOSITORY, self.image, artifact_type, [content], annotations=SAID if said else None
        )

    def provenance(self, lab: Lab | None = None, number: int = 0) -> bytes:
        statement = provenance_v1(self.image.digest.hex, changes={"predicate.n": number})
        return (lab or self.lab).sign(statement, attest_build_provenance())

    def junk(self, number: int) -> bytes:
        """Return junk: half of it claims all that the honest provenance says, and was signed by strangers."""
        return self.provenance(Lab("strangers"), number) if number % 2 else b"junk %d" % number

    def verdict(self, wanted: Policy) -> Verdict:
        reference = Reference.parse(f"{self.registry.host}/{REPOSITORY}").with_digest(self.image.digest)
        verifier = AttestationVerifier([RootVerifier(load_root(self.lab.trusted_root(), "the lab"))], {})
        with (
            RegistryStore(StoreSettings(use_http=True), None, {}) as store,
            Capacity().for_call(store) as held,
        ):
            request = ArtifactRequest(reference, self.artifact, wanted)
            return verify(
                request, held, verifier, Deadline(wanted.timeout), lambda: SIGNED_AT + timedelta(hours=1)
            )


@pytest.fixture
def registry() -> Iterator[SlowRegistry]:
    with SlowRegistry(latency=0.0) as registry:
        yield registry


def wanting(timeout: str) -> Policy:
    return policy(sourceBinding="provenance", timeout=timeout)


def test_the_honest_one_among_200_is_found_within_the_deadline(registry: SlowRegistry) -> None:
    """One after the other, 400 answers of 50 ms and 100 signatures would take more than 20 s."""
    scene = Scene(registry)
    for number in range(JUNK):
        scene.attach(scene.junk(number))
    scene.attach(scene.provenance(), said=False)
    registry.latency = 0.05
    verdict = scene.verdict(wanting("15s"))
    assert verdict.success, verdict.message
    assert 1 < registry.most <= FETCHERS


def test_where_there_is_no_honest_one_each_referrer_is_asked_once(registry: SlowRegistry) -> None:
    scene = Scene(registry)
    for number in range(60):
        scene.attach(scene.junk(number))
    registry.seen.clear()
    verdict = scene.verdict(wanting("60s"))
    assert verdict.reason is Reason.SOURCE_NOT_BOUND
    assert "30 that do not verify" in verdict.message
    counted = Counter(registry.paths())
    assert set(counted.values()) == {1}, counted.most_common(3)


def test_referrers_that_never_arrive_hold_up_no_other(registry: SlowRegistry) -> None:
    """As many as are fetched at a time, less one: with that many, the registry hangs."""
    scene = Scene(registry)
    for number in range(FETCHERS - 1):
        registry.hangs.add(str(scene.attach(b"never %d" % number).digest))
    for number in range(20):
        scene.attach(scene.junk(number))
    scene.attach(scene.provenance())
    verdict = scene.verdict(wanting("20s"))
    assert verdict.success, verdict.message


@pytest.mark.parametrize("large", [1, 3])
def test_large_referrers_leave_the_time_to_small_ones(registry: SlowRegistry, large: int) -> None:
    """60,000 lines that hold the image's digest and are nothing."""
    scene = Scene(registry)
    line = scene.provenance(Lab("strangers"))[:300].replace(b"{", b"[", 1)
    filler = scene.image.digest.hex.encode()
    for number in range(large):
        scene.attach(b"%d\n" % number + (line + filler + b"\n") * 20_000)
    scene.attach(scene.provenance())
    verdict = scene.verdict(wanting("20s"))
    assert verdict.success, verdict.message


def _lines(items: Sequence[bytes]) -> bytes:
    return b"\n".join(items)


def test_one_artifact_of_60_000_lines_has_it_anywhere(registry: SlowRegistry) -> None:
    for place in (0, 30_000, 59_999):
        scene = Scene(registry)
        junk = [b'{"payload":"%d"}' % number for number in range(59_999)]
        scene.attach(_lines([*junk[:place], scene.provenance(), *junk[place:]]))
        verdict = scene.verdict(wanting("20s"))
        assert verdict.success, verdict.message
