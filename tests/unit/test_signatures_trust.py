"""Trusted roots: what is one, what it names, and which of two is the newer."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from slsa_verifier_plugin.errors import Reason, TrustRootError
from slsa_verifier_plugin.policy.parameters import RootSource
from slsa_verifier_plugin.signatures import sources
from slsa_verifier_plugin.signatures.sources import Copy, cache_folder, read_root, repository_of
from slsa_verifier_plugin.signatures.trust import (
    MAX_ROOT,
    SHIPPED,
    Window,
    load_root,
    read_root_file,
    shipped_file,
)
from slsa_verifier_plugin.signatures.verifier import RootVerifier
from tests.support.sigstore import VARIANTS, Lab
from tests.support.sigstore.certificates import CREATED, distinguished
from tests.support.sigstore.encoding import unb64

LAB = Lab()
NOWHERE = {"SLSA_VERIFIER_TUF_DIR": "/nonexistent"}


def changed(*path: Any, value: Any = None) -> bytes:
    """Return the lab's root with one thing replaced, or taken out."""
    root = json.loads(LAB.trusted_root())
    place = root
    for step in path[:-1]:
        place = place[step]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return json.dumps(root).encode()


def test_a_root_says_what_it_names() -> None:
    content = LAB.trusted_root()
    loaded = load_root(content, "here")
    assert loaded.info.source == "here"
    assert loaded.info.digest == hashlib.sha256(content).hexdigest()
    assert loaded.info.date == CREATED
    assert [(log.id, log.window) for log in loaded.parts.logs] == [
        (LAB.rekor_v1.log_id, Window(CREATED, None)),
        (LAB.rekor_v2.log_id, Window(CREATED, None)),
    ]
    assert [(log.id, log.window) for log in loaded.parts.ct_logs] == [
        (LAB.ct_log.key.key_id, Window(CREATED, None))
    ]
    (authority,) = loaded.parts.authorities
    assert authority.certificates == (LAB.authority.intermediate, LAB.authority.root)
    (stamping,) = loaded.parts.timestamp_authorities
    assert stamping.certificates == (LAB.timestamp_authority.certificate, LAB.timestamp_authority.root)


@pytest.mark.parametrize("name", sorted(set(VARIANTS) - {"empty", "no-authority"}))
def test_every_variant_is_a_root(name: str) -> None:
    loaded = load_root(LAB.trusted_root(**VARIANTS[name]), name)
    parts = VARIANTS[name].get("parts", {"ca", "ct", "v1", "v2", "tsa"})
    assert len(loaded.parts.logs) == len({"v1", "v2"} & set(parts))
    assert bool(loaded.parts.ct_logs) == ("ct" in parts)


def test_the_date_is_that_of_the_newest_part() -> None:
    later = datetime(2025, 5, 5, tzinfo=UTC)
    for part in ("ca", "ct", "v1", "v2", "tsa"):
        assert load_root(LAB.trusted_root(start=later, only_for={part}), "x").info.date == later


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "cannot be used"),
        (b"{", "cannot be used"),
        (b"[]", "cannot be used"),
        (b"null", "cannot be used"),
        (b"\xff\xfe", "cannot be used"),
        (b"{}", "cannot be used"),
        (LAB.trusted_root(**VARIANTS["empty"]), "has no certificate authority"),
        (LAB.trusted_root(**VARIANTS["no-authority"]), "has no certificate authority"),
        (LAB.trusted_root(parts={"ca"}), "neither a transparency log nor a timestamp authority"),
        (LAB.trusted_root(parts={"ca", "ct"}), "neither a transparency log nor a timestamp authority"),
        (changed("mediaType"), "cannot be used"),
        (
            changed("mediaType", value="application/vnd.dev.sigstore.trustedroot+json;version=9"),
            "cannot be used",
        ),
        (changed("tlogs", 0, "publicKey", "validFor"), "cannot be used"),
        (
            changed("tlogs", 0, "publicKey", "validFor", value={"end": "2030-01-01T00:00:00Z"}),
            "cannot be used",
        ),
        (changed("ctlogs", 0, "publicKey", "validFor"), "cannot be used"),
        (changed("tlogs", 0, "publicKey", "validFor", value={"start": "2024-01-01T00:00:00"}), "has no zone"),
        (
            changed("certificateAuthorities", 0, "validFor", value={"start": "2024-01-01T00:00:00"}),
            "has no zone",
        ),
        (LAB.trusted_root().replace(b"00:00:00Z", b"00:00:00"), "has no zone"),
        (changed("tlogs", 0, "logId"), "cannot be used"),
        (changed("certificateAuthorities", 0, "validFor"), "cannot be used"),
        (
            changed("certificateAuthorities", 0, "certChain", "certificates", value=[]),
            "an authority has no certificate",
        ),
        (
            changed("timestampAuthorities", 0, "certChain", "certificates", value=[]),
            "an authority has no certificate",
        ),
        (
            changed("certificateAuthorities", 0, "certChain", "certificates", 0, "rawBytes", value="AAAA"),
            "cannot be used",
        ),
        (
            changed("timestampAuthorities", 0, "certChain", "certificates", 0, "rawBytes", value="AAAA"),
            "cannot be used",
        ),
    ],
)
def test_what_is_no_usable_root_is_refused(content: bytes, says: str) -> None:
    with pytest.raises(TrustRootError, match=says) as caught:
        load_root(content, "the file\n{")
    assert caught.value.reason is Reason.TRUST_ROOT_UNAVAILABLE
    assert not set("{}\n") & set(caught.value.message)


@pytest.mark.parametrize(
    ("start", "end", "moment", "holds"),
    [
        (0, None, 0, True),
        (0, None, 99, True),
        (0, None, -1, False),
        (0, 5, 5, True),
        (0, 5, 6, False),
        (0, 5, -1, False),
    ],
)
def test_a_window_holds_its_ends(start: int, end: int | None, moment: int, holds: bool) -> None:
    def at(second: int) -> datetime:
        return CREATED + timedelta(seconds=second)

    assert Window(at(start), None if end is None else at(end)).holds(at(moment)) is holds


def test_an_issuer_is_recognized_by_name_and_key() -> None:
    content = LAB.sign(b"{}")
    leaf = x509.load_der_x509_certificate(
        unb64(json.loads(content)["verificationMaterial"]["certificate"]["rawBytes"])
    )
    assert load_root(LAB.trusted_root(), "x").parts.authority_of(leaf)
    assert load_root(Lab("other").trusted_root(), "x").parts.authority_of(leaf) == []
    (root,) = load_root(LAB.trusted_root(), "x").parts.authorities
    assert root.is_issuer_of(LAB.authority.intermediate)
    assert not root.is_issuer_of(LAB.timestamp_authority.certificate)


def certificate(issuer: str, key_id: bytes | None) -> x509.Certificate:
    """Return a certificate that names an issuer, and the issuer's key where there is one."""
    key = LAB.next_key.elliptic
    builder = (
        x509.CertificateBuilder(subject_name=x509.Name([]), issuer_name=distinguished(issuer))
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(CREATED)
        .not_valid_after(CREATED + timedelta(days=1))
    )
    if key_id is not None:
        builder = builder.add_extension(x509.AuthorityKeyIdentifier(key_id, None, None), critical=False)
    return builder.sign(key, LAB.next_key.digest)


def test_an_issuer_is_recognized_by_both_where_there_are_both() -> None:
    (authority,) = load_root(LAB.trusted_root(), "x").parts.authorities
    own = x509.SubjectKeyIdentifier.from_public_key(LAB.authority.key.elliptic.public_key()).digest
    name = "sigstore-intermediate"
    assert authority.is_issuer_of(certificate(name, own))
    assert authority.is_issuer_of(certificate(name, None))
    assert not authority.is_issuer_of(certificate(name, b"x" * 20))
    assert not authority.is_issuer_of(certificate("somebody", own))
    assert not authority.is_issuer_of(certificate("somebody", None))


# Where roots come from


@pytest.mark.parametrize("kind", SHIPPED)
def test_the_shipped_roots_are_used_at_once_and_without_a_network(kind: str) -> None:
    content, shown = read_root(RootSource(kind), NOWHERE)
    assert (content, shown) == (shipped_file(kind, sources.TARGET), kind)
    loaded = load_root(content, shown)
    RootVerifier(loaded)
    assert loaded.info.date is not None
    assert loaded.info.date > datetime(2021, 1, 1, tzinfo=UTC)


def test_what_the_package_does_not_carry_is_said() -> None:
    with pytest.raises(TrustRootError, match=r"carries no other\.json for staging; install it again"):
        shipped_file("staging", "other.json")


def test_a_root_may_be_a_file(tmp_path: Path) -> None:
    path = tmp_path / "root.json"
    path.write_bytes(LAB.trusted_root())
    assert read_root(RootSource("path", str(path)), {}) == (LAB.trusted_root(), str(path))
    assert repository_of(RootSource("path", str(path)), {}) is None


@pytest.mark.parametrize("name", ["missing.json", ".", "a\0b"])
def test_a_file_that_cannot_be_read_is_said(tmp_path: Path, name: str) -> None:
    with pytest.raises(TrustRootError, match=r"cannot be read: .*mount it or correct trustedRoot"):
        read_root(RootSource("path", f"{tmp_path}/{name}"), {})


def test_a_file_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "root.json"
    path.write_bytes(b" " * MAX_ROOT)
    assert len(read_root_file(str(path))) == MAX_ROOT
    path.write_bytes(b" " * (MAX_ROOT + 1))
    with pytest.raises(TrustRootError, match=r"larger than \d+ bytes; mount .* or correct trustedRoot"):
        read_root_file(str(path))


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({"SLSA_VERIFIER_TUF_DIR": "/a", "XDG_CACHE_HOME": "/b", "HOME": "/c"}, "/a"),
        ({"SLSA_VERIFIER_TUF_DIR": "", "XDG_CACHE_HOME": "/b", "HOME": "/c"}, "/b/slsa-verifier-plugin/tuf"),
        ({"HOME": "/c"}, "/c/.cache/slsa-verifier-plugin/tuf"),
        ({}, "/nonexistent/.cache/slsa-verifier-plugin/tuf"),
        ({"HOME": ""}, "/nonexistent/.cache/slsa-verifier-plugin/tuf"),
    ],
)
def test_where_the_cache_is(environ: dict[str, str], folder: str) -> None:
    assert cache_folder(environ) == Path(folder)


def test_repositories_of_other_roots_have_other_folders(tmp_path: Path) -> None:
    folders = set()
    for name in ("one", "two"):
        (tmp_path / name).write_text(name)
        for url in ("https://a.example", "https://b.example"):
            found = repository_of(RootSource("tuf", url, str(tmp_path / name)), NOWHERE)
            assert found is not None
            folders.add(found.folder)
    for kind in SHIPPED:
        found = repository_of(RootSource(kind), NOWHERE)
        assert found is not None
        folders.add(found.folder)
    assert len(folders) == 6


OLD, NEW = CREATED, CREATED + timedelta(days=100)


@pytest.mark.parametrize(
    ("refreshed", "expires", "shipped", "is_used"),
    [
        (NEW, NEW, OLD, True),
        (OLD, OLD, OLD, True),
        (OLD, NEW, NEW, True),
        (OLD, NEW - timedelta(seconds=1), NEW, False),
        (NEW, OLD, NEW, True),
    ],
)
def test_the_refreshed_root_is_used_unless_it_is_too_old_to_know_all_parts_of_the_shipped_one(
    monkeypatch: pytest.MonkeyPatch, refreshed: datetime, expires: datetime, shipped: datetime, is_used: bool
) -> None:
    """A package that was upgraded after the last refresh may know a log that the refreshed root is too old to know."""
    contents = {
        "TUF": Lab("refreshed").trusted_root(start=refreshed, only_for={"v1"}),
        "shipped": Lab("shipped").trusted_root(start=shipped, only_for={"v1"}),
    }
    monkeypatch.setattr(sources, "read_cached", lambda repository: Copy(contents["TUF"], expires))
    monkeypatch.setattr(sources, "shipped_file", lambda kind, name: contents["shipped"])
    expected = (contents["TUF"], "public-good (TUF)") if is_used else (contents["shipped"], "public-good")
    assert read_root(RootSource("public-good"), NOWHERE) == expected


def test_a_spoilt_cache_of_a_shipped_root_falls_back_to_it(tmp_path: Path) -> None:
    environ = {"SLSA_VERIFIER_TUF_DIR": str(tmp_path)}
    found = repository_of(RootSource("public-good"), environ)
    assert found is not None
    (found.folder / "copy-x").mkdir(parents=True, mode=0o700)
    found.folder.chmod(0o700)
    (found.folder / "copy-x" / "timestamp.json").write_bytes(b"{}")
    found.current.symlink_to("copy-x")
    with pytest.raises(TrustRootError):
        sources.read_cached(found)
    assert read_root(RootSource("public-good"), environ) == (
        shipped_file("public-good", sources.TARGET),
        "public-good",
    )
