"""Our signature verdict against that of cosign v3.1.3, on real bundles, on our own, and on tampered ones.

Where the two differ the difference is listed here with its reason. Only refusals of ours may be listed: on whatever
we accept, cosign must agree, and agree on the signer too.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from slsa_verifier_plugin.errors import TrustRootError
from slsa_verifier_plugin.signatures.trust import load_root, shipped_file
from tests.e2e.conftest import NOTES
from tests.e2e.differential import Opinion, Trust, one_leaf_changed
from tests.e2e.lab_cases import with_flipped_byte
from tests.e2e.shared import REPOSITORY, demo_note
from tests.support.sigstore import (
    TAMPERINGS,
    VARIANTS,
    Lab,
    Scheme,
    derive_key,
    github_source_actions,
    vsa,
)
from tests.support.sigstore.lab import BundleVersion

REAL_BUNDLES = 8
"""Bundles in the demo's three notes."""

LOG_ENTRY_TYPE = (
    "cosign reads the entry's type from the body, and does not look at the type that the bundle names"
)
EVERY_TIMESTAMP = (
    "cosign needs one good source of time, sigstore-python wants each one that is there to be good"
)
LEAF_DIFFERENCES = {
    "verificationMaterial.tlogEntries.0.kindVersion.kind": LOG_ENTRY_TYPE,
    "verificationMaterial.tlogEntries.0.kindVersion.version": LOG_ENTRY_TYPE,
    "verificationMaterial.timestampVerificationData.rfc3161Timestamps.0.signedTimestamp": EVERY_TIMESTAMP,
}
"""Leaves of a real bundle whose change we refuse and cosign does not."""

TAMPERING_DIFFERENCES = {
    "certificate-without-digital-signature": "cosign looks at the extended key usage alone",
    "certificate-is-an-authority": "cosign takes a certificate authority's certificate for a signer's",
    "certificate-expired-at-timestamp-not-at-log": EVERY_TIMESTAMP,
    "v2-log-body-flipped": "cosign ignores bytes of the body that do not change what it decodes to",
    "log-kind-changed": LOG_ENTRY_TYPE,
    "log-version-unknown": LOG_ENTRY_TYPE,
    "timestamp-twice": EVERY_TIMESTAMP,
}
"""Tamperings that we refuse and cosign does not."""
OLD_BUNDLE_DIFFERENCES = {
    **{
        name: why
        for name, why in TAMPERING_DIFFERENCES.items()
        if name not in {"v2-log-body-flipped", "timestamp-twice"}
    },
    "proof-removed": "cosign takes a bundle 0.1 that has a promise and no proof of inclusion; sigstore-python wants both",
}
"""As above, for bundles 0.1, which Rekor v2 cannot be used with."""

SIGNATURES: dict[str, Any] = {
    "v1": {},
    "v1, timestamp": {"timestamp": True},
    "v1, intoto entry": {"entry": "intoto"},
    "v1, bundle 0.1": {"bundle_version": "0.1"},
    "v1, bundle 0.2": {"bundle_version": "0.2"},
    "v1, first media type of 0.3": {"bundle_version": "0.3-old"},
    "v1, no SCT": {"sct": False},
    "v2": {"log": "v2"},
    "v2, timestamp": {"log": "v2", "timestamp": True},
    "v2, timestamp, bundle 0.2": {"log": "v2", "timestamp": True, "bundle_version": "0.2"},
    "no log, timestamp": {"log": None, "timestamp": True},
    "no log, timestamp, no SCT": {"log": None, "timestamp": True, "sct": False},
    "neither log nor timestamp": {"log": None},
}
"""Ways to make a bundle, as arguments of ``Lab.sign``."""

UNUSABLE_ROOTS = {"no-authority", "empty", "not-yet-valid"}
"""Trusted roots that verify nothing here, whatever is to be verified."""

ROOT_DIFFERENCES = {
    (
        "v2-expired",
        "v2, timestamp",
    ): "cosign does not look at the service time of a log that gives no time itself",
    ("v2-expired", "v2, timestamp, bundle 0.2"): "as above",
}
"""Pairs of trusted root and bundle that we refuse and cosign does not."""
INTOTO_ENTRY = "v1, intoto entry"
"""sigstore-python takes the time of dsse and hashedrekord entries alone: we refuse these bundles everywhere."""

OTHER_SCHEMES = {Scheme.ECDSA_P384, Scheme.RSA_PSS}
"""Key schemes that we accept and cosign does not know: it wants SHA-256 with P-384, and PKCS #1 v1.5 with RSA."""


@pytest.fixture
def real_trust(tmp_path: Path) -> Trust:
    return Trust(tmp_path, shipped_file("public-good", "trusted_root.json"))


def refused_here_alone(opinions: tuple[Opinion, Opinion] | None) -> bool:
    return opinions is not None and not opinions[0].accepted and opinions[1].accepted


def lines_of(file: Path) -> list[bytes]:
    return [line for line in file.read_bytes().splitlines() if line.strip()]


def test_real_bundles(real_trust: Trust) -> None:
    bundles = [bundle for commit in NOTES for bundle in lines_of(demo_note(commit))]
    assert len(bundles) == REAL_BUNDLES
    for bundle in bundles:
        ours = real_trust.ours(bundle)
        assert ours.accepted, ours
        assert ours.signer is not None
        assert ours.signer.identity.startswith("https://github.com/slsa-framework/source-actions/")
        assert real_trust.theirs(bundle, ours.signer).accepted


def test_signers_are_compared(real_trust: Trust) -> None:
    """The comparison above could not fail on the signer if cosign did not look at it."""
    bundle = lines_of(demo_note("fcf594d"))[0]
    signer = real_trust.ours(bundle).signer
    assert signer is not None
    assert not real_trust.theirs(bundle, replace(signer, identity=signer.identity + "x")).accepted
    assert not real_trust.theirs(bundle, replace(signer, issuer=signer.issuer + "x")).accepted


@pytest.mark.parametrize("commit", NOTES)
def test_real_bundles_with_one_leaf_changed(real_trust: Trust, commit: str) -> None:
    refused = set()
    bundles = lines_of(demo_note(commit))
    for path, bundle in itertools.chain.from_iterable(map(one_leaf_changed, bundles)):
        opinions = real_trust.disagreement(bundle)
        if path in LEAF_DIFFERENCES and refused_here_alone(opinions):
            refused.add(path)
        else:
            assert opinions is None, path
    assert refused == set(LEAF_DIFFERENCES), "a difference that is listed was not seen"


def test_testdata(tmp_path: Path) -> None:
    folder = REPOSITORY / "testdata"
    trust = Trust(tmp_path, (folder / "trusted_root.json").read_bytes())
    files = {file.name: lines_of(file) for file in folder.glob("*.intoto.jsonl")}
    assert {"level-1.intoto.jsonl", "level-3.intoto.jsonl", "tampered.intoto.jsonl"} <= set(files)
    for name, bundles in files.items():
        assert bundles
        assert [bundle for bundle in bundles if trust.disagreement(bundle)] == []
        assert any(trust.ours(bundle).accepted for bundle in bundles) == (name != "tampered.intoto.jsonl")


@pytest.mark.parametrize("version", ["0.3", "0.1"])
@pytest.mark.parametrize("name", sorted(TAMPERINGS))
def test_tampered_bundles(tmp_path: Path, name: str, version: BundleVersion) -> None:
    lab = Lab()
    bundle = TAMPERINGS[name](lab, vsa(), bundle_version=version)
    opinions = Trust(tmp_path, lab.trusted_root()).disagreement(bundle)
    listed = TAMPERING_DIFFERENCES if version == "0.3" else OLD_BUNDLE_DIFFERENCES
    if name in listed:
        assert refused_here_alone(opinions), "a difference that is listed was not seen"
    else:
        assert opinions is None, opinions


@pytest.mark.parametrize("root", sorted(set(VARIANTS) - UNUSABLE_ROOTS))
def test_trusted_roots(tmp_path: Path, root: str) -> None:
    lab = Lab()
    trust = Trust(tmp_path, lab.trusted_root(**VARIANTS[root]))
    for name, options in SIGNATURES.items():
        bundle = lab.sign(vsa(), github_source_actions(), **options)
        opinions = trust.disagreement(bundle)
        if name == INTOTO_ENTRY:
            assert opinions is None or refused_here_alone(opinions), (name, opinions)
        elif (root, name) in ROOT_DIFFERENCES:
            assert refused_here_alone(opinions), (name, opinions)
        else:
            assert opinions is None, (name, opinions)


@pytest.mark.parametrize("root", sorted(UNUSABLE_ROOTS))
def test_unusable_roots(tmp_path: Path, root: str) -> None:
    """What verifies nothing here verifies nothing for cosign either."""
    lab = Lab()
    content = lab.trusted_root(**VARIANTS[root])
    with pytest.raises(TrustRootError):
        # The second is asked at each call, for a root is kept while time goes on.
        raise load_root(content, root).not_begun(datetime.now(UTC)) or AssertionError("it can be used")
    trust = Trust(tmp_path, content)
    assert not [
        name for name, options in SIGNATURES.items() if trust.theirs(lab.sign(vsa(), **options)).accepted
    ]


@pytest.mark.parametrize("scheme", Scheme)
def test_keys(tmp_path: Path, scheme: Scheme) -> None:
    lab = Lab()
    key, other = derive_key("differential", "key", scheme), derive_key("differential", "other", scheme)
    trust = Trust(tmp_path, lab.trusted_root(), key.pem.decode())
    for log in (None, "v1"):
        bundle = lab.sign_with_key(vsa(), key, log=log)
        opinions = trust.disagreement(bundle)
        if scheme in OTHER_SCHEMES:
            assert opinions is not None
            assert opinions[0].accepted
        else:
            assert opinions is None, opinions
            assert trust.ours(bundle).accepted
        for wrong in (with_flipped_byte(bundle), lab.sign_with_key(vsa(), other, log=log)):
            assert not trust.ours(wrong).accepted
            assert not trust.theirs(wrong).accepted
