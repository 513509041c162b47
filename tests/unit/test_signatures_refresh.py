"""Trusted roots through TUF: what a refresh brings into the cache, what is read from it, and what neither believes."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined]  # exported, but not by __all__

from slsa_verifier_plugin.errors import TrustRootError
from slsa_verifier_plugin.policy.parameters import RootSource
from slsa_verifier_plugin.signatures import refresh as refreshing
from slsa_verifier_plugin.signatures.refresh import Refreshed, refresh
from slsa_verifier_plugin.signatures.sources import read_root, repository_of
from slsa_verifier_plugin.signatures.trust import MAX_ROOT
from tests.support.refreshing import FIRST, SECOND, current, digest
from tests.support.tuf import TufRepository


def test_nothing_is_read_before_the_first_refresh(repository: TufRepository, environ: dict[str, str]) -> None:
    with pytest.raises(TrustRootError, match="has not been fetched yet") as caught:
        read_root(repository.source, environ)
    assert caught.value.transient
    assert repository.asked.total() == 0


def test_a_refresh_brings_the_root_and_reading_needs_no_network(
    repository: TufRepository, environ: dict[str, str]
) -> None:
    url = repository.source.location
    assert refresh(repository.source, environ) == Refreshed(url, digest(FIRST), changed=True)
    asked = repository.asked.total()
    assert read_root(repository.source, environ) == (FIRST, f"{url} (TUF)")
    assert repository.asked.total() == asked


def test_a_newer_root_replaces_the_one_before(
    repository: TufRepository, environ: dict[str, str], cache: Path
) -> None:
    refresh(repository.source, environ)
    assert refresh(repository.source, environ) == Refreshed(
        repository.source.location, digest(FIRST), changed=False
    )
    repository.publish(SECOND)
    assert refresh(repository.source, environ) == Refreshed(
        repository.source.location, digest(SECOND), changed=True
    )
    assert read_root(repository.source, environ)[0] == SECOND
    assert sorted(item.name for item in cache.iterdir()) == sorted(["lock", "current", current(cache).name])


def test_the_time_of_the_latest_refresh_is_kept_though_nothing_changed(
    repository: TufRepository, environ: dict[str, str], cache: Path
) -> None:
    """Metadata is held against it, for as long as there is no network."""
    refresh(repository.source, environ)
    os.utime(current(cache) / "timestamp.json", (1, 1))
    for _ in range(2):
        began = time.time()
        refresh(repository.source, environ)
        assert abs((current(cache) / "timestamp.json").stat().st_mtime - began) < 30


def test_what_cannot_be_read_back_does_not_become_the_current_copy(
    repository: TufRepository, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    refresh(repository.source, environ)
    repository.publish(SECOND)

    def refuse(*_: object) -> bytes:
        raise TrustRootError("cannot be read back")

    with monkeypatch.context() as patched:
        patched.setattr(refreshing, "verified_copy", refuse)
        with pytest.raises(TrustRootError, match="cannot be read back"):
            refresh(repository.source, environ)
    assert read_root(repository.source, environ)[0] == FIRST


def test_a_root_is_bounded_before_it_is_downloaded(
    repository: TufRepository, environ: dict[str, str]
) -> None:
    largest = FIRST + b" " * (MAX_ROOT - len(FIRST))
    repository.publish(largest)
    refresh(repository.source, environ)
    assert read_root(repository.source, environ)[0] == largest
    repository.publish(largest + b" ")
    repository.asked.clear()
    with pytest.raises(TrustRootError, match="serves no trusted_root"):
        refresh(repository.source, environ)
    assert not [path for path in repository.asked if path.startswith("/targets/")]


def test_a_file_has_nothing_to_refresh(environ: dict[str, str], tmp_path: Path) -> None:
    assert refresh(RootSource("path", str(tmp_path / "root.json")), environ) is None


@pytest.mark.parametrize("role", ["root", "timestamp", "snapshot", "targets"])
def test_keys_rotate(repository: TufRepository, environ: dict[str, str], role: str) -> None:
    refresh(repository.source, environ)
    repository.rotate(role)
    repository.rotate(role)
    repository.publish(SECOND)
    refresh(repository.source, environ)
    assert read_root(repository.source, environ)[0] == SECOND


def test_a_root_that_the_one_before_did_not_sign_is_refused(
    repository: TufRepository, environ: dict[str, str]
) -> None:
    refresh(repository.source, environ)
    repository.rotate("root", by=CryptoSigner.generate_ed25519())
    repository.publish(SECOND)
    with pytest.raises(TrustRootError, match="could not be refreshed") as caught:
        refresh(repository.source, environ)
    assert caught.value.transient
    assert read_root(repository.source, environ)[0] == FIRST


def rolled_back_timestamp(repository: TufRepository) -> None:
    old = repository.files["/timestamp.json"]
    repository.publish(SECOND)
    repository.files["/timestamp.json"] = old


def rolled_back_snapshot(repository: TufRepository) -> None:
    """A timestamp of a newer version that names an older snapshot, properly signed."""
    repository.publish(SECOND)
    repository._versions["snapshot"] = repository._versions["targets"] = 0
    repository.publish(SECOND)


@pytest.mark.parametrize("roll_back", [rolled_back_timestamp, rolled_back_snapshot])
def test_a_rolled_back_repository_is_refused(
    repository: TufRepository, environ: dict[str, str], roll_back: Callable[[TufRepository], None]
) -> None:
    repository.publish(FIRST)
    repository.publish(FIRST)
    if roll_back is rolled_back_timestamp:
        # What was seen last must be newer than what is then served.
        old = repository.files["/timestamp.json"]
        repository.publish(FIRST)
        refresh(repository.source, environ)
        repository.files["/timestamp.json"] = old
    else:
        refresh(repository.source, environ)
        roll_back(repository)
    with pytest.raises(TrustRootError, match="could not be refreshed"):
        refresh(repository.source, environ)
    assert read_root(repository.source, environ)[0] == FIRST


def tampered_target(repository: TufRepository) -> None:
    for path in repository.files:
        if path.startswith("/targets/"):
            repository.files[path] = repository.files[path].replace(b"trustedroot", b"trustedroos")


def lengthened_target(repository: TufRepository) -> None:
    for path in repository.files:
        if path.startswith("/targets/"):
            repository.files[path] += b" "


def tampered_metadata(name: str) -> Callable[[TufRepository], None]:
    def tamper(repository: TufRepository) -> None:
        for path in repository.files:
            if path.endswith(f"{name}.json"):
                repository.files[path] = repository.files[path].replace(b'"version": 2', b'"version": 3')
                repository.files[path] = repository.files[path].replace(b'"version":2', b'"version":3')

    return tamper


def emptied(repository: TufRepository) -> None:
    repository.files.update(dict.fromkeys(repository.files, b""))


def removed(repository: TufRepository) -> None:
    repository.files.clear()


def foreign(repository: TufRepository) -> None:
    """All of it signed by somebody else."""
    for role in ("timestamp", "snapshot", "targets"):
        repository.signers[role] = CryptoSigner.generate_ed25519()
    repository.publish(SECOND)


def another_target(repository: TufRepository) -> None:
    repository.publish(SECOND, name="other.json")


def no_trusted_root(repository: TufRepository) -> None:
    repository.publish(b'{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}')


def too_large(repository: TufRepository) -> None:
    repository.publish(b" " * ((4 << 20) + 1))


def expired(repository: TufRepository) -> None:
    repository.publish(SECOND, life=timedelta(seconds=-1))


@pytest.mark.parametrize("is_first", [True, False], ids=["nothing-cached", "cached"])
@pytest.mark.parametrize(
    "spoil",
    [
        tampered_target,
        lengthened_target,
        tampered_metadata("timestamp"),
        tampered_metadata("snapshot"),
        tampered_metadata("targets"),
        emptied,
        removed,
        foreign,
        another_target,
        no_trusted_root,
        too_large,
        expired,
    ],
)
def test_what_does_not_verify_is_refused_and_the_copy_before_stays(
    tmp_path: Path, environ: dict[str, str], spoil: Callable[[TufRepository], None], is_first: bool
) -> None:
    with TufRepository(tmp_path) as repository:
        repository.publish(FIRST)
        if not is_first:
            refresh(repository.source, environ)
        repository.publish(SECOND)
        spoil(repository)
        with pytest.raises(TrustRootError):
            refresh(repository.source, environ)
        if is_first:
            with pytest.raises(TrustRootError, match="has not been fetched yet"):
                read_root(repository.source, environ)
        else:
            assert read_root(repository.source, environ)[0] == FIRST
        found = repository_of(repository.source, environ)
        assert found is not None
        assert len(list(found.folder.glob("copy-*"))) == (0 if is_first else 1)


def test_a_lock_that_is_never_given_up_is_not_waited_for_for_ever(
    repository: TufRepository, environ: dict[str, str], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refresh(repository.source, environ)
    monkeypatch.setattr(refreshing, "LOCK_SECONDS", 0.1)
    with (cache / "lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(TrustRootError, match=r"another refresh has held .*; try again, or end") as caught:
            refresh(repository.source, environ)
    assert caught.value.transient
    refresh(repository.source, environ)


def test_an_expired_copy_counts_as_of_the_time_it_was_fetched(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    """Where there is no network, the root serves on: metadata is held against when it was fetched, not against now."""
    with TufRepository(tmp_path, life=timedelta(seconds=2)) as repository:
        repository.publish(FIRST)
        refresh(repository.source, environ)
        found = repository_of(repository.source, environ)
        assert found is not None
        time.sleep(2.1)
        assert read_root(repository.source, environ)[0] == FIRST
        with pytest.raises(TrustRootError, match="could not be refreshed"):
            refresh(repository.source, environ)
        timestamp = current(found.folder) / "timestamp.json"
        now = datetime.now(UTC).timestamp()
        os.utime(timestamp, (now, now))
        with pytest.raises(TrustRootError, match="does not verify"):
            read_root(repository.source, environ)
