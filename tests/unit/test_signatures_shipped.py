"""Sigstore's own instances: of the root that the package carries and the one that TUF brought, which counts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from slsa_verifier_plugin.errors import Reason, SignatureError
from slsa_verifier_plugin.model.envelope import read_blob
from slsa_verifier_plugin.policy.parameters import RootSource
from slsa_verifier_plugin.service.service import Service
from slsa_verifier_plugin.signatures import sources
from slsa_verifier_plugin.signatures.refresh import refresh
from slsa_verifier_plugin.signatures.sources import read_root, repository_of
from tests.support.policies import policy
from tests.support.sigstore import VARIANTS, Lab, vsa
from tests.support.tuf import TufRepository

SOURCE = RootSource("public-good")
SHIPPED = Lab().trusted_root(start=datetime(2025, 9, 1, tzinfo=UTC), only_for={"v2"})
"""Knows a log that no root before it knew."""
SHIPPED_LATER = Lab().trusted_root(start=datetime(2054, 1, 1, tzinfo=UTC), only_for={"v2"})
"""Came with a package that is newer than anything TUF has brought so far."""
WITHOUT_IT = Lab().trusted_root(**VARIANTS["v1-only"])


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TufRepository]:
    """A repository in place of Sigstore's own, whose shipped root is ``SHIPPED``."""
    with TufRepository(tmp_path) as served:
        monkeypatch.setattr(sources, "SHIPPED", {SOURCE.kind: served.source.location})
        files = {"root.json": served.bootstrap.read_bytes(), sources.TARGET: SHIPPED}
        monkeypatch.setattr(sources, "shipped_file", lambda kind, name: files[name])
        yield served


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"SLSA_VERIFIER_TUF_DIR": str(tmp_path / "cache")}


def test_the_shipped_root_counts_until_there_is_another(
    repository: TufRepository, environ: dict[str, str]
) -> None:
    assert read_root(SOURCE, environ) == (SHIPPED, "public-good")


def test_a_copy_from_before_the_shipped_root_does_not_hide_what_that_knows(
    repository: TufRepository, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.publish(WITHOUT_IT)
    refresh(SOURCE, environ)
    files = {"root.json": repository.bootstrap.read_bytes(), sources.TARGET: SHIPPED_LATER}
    monkeypatch.setattr(sources, "shipped_file", lambda kind, name: files[name])
    assert read_root(SOURCE, environ) == (SHIPPED_LATER, "public-good")
    repository.publish(SHIPPED_LATER + b" ")
    refresh(SOURCE, environ)
    assert read_root(SOURCE, environ) == (SHIPPED_LATER + b" ", "public-good (TUF)")


def test_what_the_repository_withdrew_is_trusted_no_more(
    repository: TufRepository, environ: dict[str, str]
) -> None:
    """Although the shipped root still has it, and everything that is left is older."""
    (candidate,) = read_blob(Lab().sign(vsa(), log="v2", timestamp=True), 1).candidates
    service = Service(environ)
    asked = policy(trustedRoot=SOURCE.kind)
    service.verifier(asked).verify(candidate)
    repository.publish(WITHOUT_IT)
    refresh(SOURCE, environ)
    assert read_root(SOURCE, environ) == (WITHOUT_IT, "public-good (TUF)")
    with pytest.raises(SignatureError) as caught:
        service.verifier(asked).verify(candidate)
    assert caught.value.reason is Reason.UNKNOWN_LOG


def test_a_clock_that_was_wrong_at_the_refresh_brings_nothing_back(
    repository: TufRepository, environ: dict[str, str]
) -> None:
    repository.publish(WITHOUT_IT)
    refresh(SOURCE, environ)
    found = repository_of(SOURCE, environ)
    assert found is not None
    for fetched in (datetime(2020, 1, 1, tzinfo=UTC), datetime(1970, 1, 2, tzinfo=UTC)):
        os.utime(found.current / "timestamp.json", (fetched.timestamp(), fetched.timestamp()))
        assert read_root(SOURCE, environ) == (WITHOUT_IT, "public-good (TUF)")
