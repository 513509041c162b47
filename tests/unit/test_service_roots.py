"""The trusted root that a service which lives for long uses: the one in the cache, whoever refreshed it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from slsa_verifier_plugin.errors import SignatureError, TrustRootError
from slsa_verifier_plugin.model.envelope import read_blob
from slsa_verifier_plugin.policy.parameters import Policy
from slsa_verifier_plugin.service.resident_service import ResidentService
from slsa_verifier_plugin.service.service import Service
from slsa_verifier_plugin.signatures import sources
from slsa_verifier_plugin.signatures.refresh import refresh
from tests.support.policies import policy
from tests.support.sigstore import Lab, vsa
from tests.support.tuf import TufRepository

FIRST = Lab().trusted_root()
SECOND = Lab().trusted_root(end=datetime(2025, 1, 1, tzinfo=UTC), only_for={"v1"})
"""Says that the log had been closed before the lab signed anything."""
(CANDIDATE,) = read_blob(Lab().sign(vsa()), 1).candidates


class Place:
    """A TUF repository that serves the first root, a cache that has it, and a policy that trusts it."""

    def __init__(self, repository: TufRepository, folder: Path) -> None:
        self.repository = repository
        self.environ = {"SLSA_VERIFIER_TUF_DIR": str(folder / "cache"), "SLSA_VERIFIER_WORKERS": "1"}
        self.refresh(FIRST)

    @property
    def policy(self) -> Policy:
        source = self.repository.source
        return policy(trustedRoot={"tufUrl": source.location, "rootPath": source.bootstrap})

    def refresh(self, content: bytes) -> None:
        """Publish a root and fetch it as ``slsa-verifier-plugin trust refresh`` does, whose process is not the service's."""
        self.repository.publish(content)
        refresh(self.repository.source, self.environ)

    def judge(self, service: Service) -> str:
        """Return what ``service`` says of the candidate."""
        try:
            service.verifier(self.policy).verify(CANDIDATE)
        except SignatureError as error:
            return error.message
        return "verified"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with TufRepository(tmp_path) as repository:
        yield Place(repository, tmp_path)


def refresh_all(resident: ResidentService) -> None:
    for source in list(resident._followed):
        resident._refresh_once(source)


CLOSED = "the trusted root says that a log was not in service when this was signed"


def test_a_root_that_another_process_refreshed_counts_from_the_next_call_on(place: Place) -> None:
    """What was verified under the root before is verified again."""
    service = Service(place.environ)
    assert place.judge(service) == "verified"
    assert place.judge(service) == "verified"
    place.refresh(SECOND)
    assert place.judge(service) == place.judge(Service(place.environ)) == CLOSED


def test_a_resident_verifiers_own_refresh_finds_what_another_process_brought_already(place: Place) -> None:
    resident = ResidentService(place.environ)
    assert place.judge(resident.service) == "verified"
    place.refresh(SECOND)
    refresh_all(resident)
    assert place.judge(resident.service) == CLOSED


def test_a_resident_verifiers_own_refresh_counts_from_the_next_call_on(place: Place) -> None:
    resident = ResidentService(place.environ)
    assert place.judge(resident.service) == "verified"
    place.repository.publish(SECOND)
    refresh_all(resident)
    assert place.judge(resident.service) == CLOSED
    place.repository.publish(FIRST)
    refresh_all(resident)
    assert place.judge(resident.service) == "verified"


def test_a_root_is_read_once_for_each_refresh(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    service = Service(place.environ)
    first = service.verifier(place.policy)._roots[0]
    with monkeypatch.context() as patched:
        for name in ("read_root", "repository_of"):
            patched.setattr(sources, name, None)
        assert service.verifier(place.policy)._roots[0] is first
    place.refresh(FIRST)
    assert service.verifier(place.policy)._roots[0] is not first


def test_a_cache_that_appears_or_goes_counts_from_the_next_call_on(place: Place) -> None:
    service = Service(place.environ)
    cache = Path(place.environ["SLSA_VERIFIER_TUF_DIR"])
    away = cache.with_name("away")
    cache.rename(away)
    with pytest.raises(TrustRootError, match="has not been fetched yet"):
        service.verifier(place.policy)
    away.rename(cache)
    assert place.judge(service) == "verified"
    cache.rename(away)
    with pytest.raises(TrustRootError, match="has not been fetched yet"):
        service.verifier(place.policy)


def test_a_root_that_trust_begins_with_counts_from_the_next_call_on(place: Place, tmp_path: Path) -> None:
    service = Service(place.environ)
    assert place.judge(service) == "verified"
    other = tmp_path / "other"
    other.mkdir()
    with TufRepository(other) as stranger:
        stranger.bootstrap.replace(place.repository.bootstrap)
    with pytest.raises(TrustRootError, match="has not been fetched yet"):
        service.verifier(place.policy)
    place.repository.bootstrap.unlink()
    with pytest.raises(TrustRootError, match="cannot be read"):
        service.verifier(place.policy)
