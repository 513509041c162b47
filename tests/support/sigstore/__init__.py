"""The tests' own Sigstore: signs anything as anyone, properly or wrong in exactly one way.

    lab = Lab()
    bundle = lab.sign(vsa(commit, levels=["SLSA_SOURCE_LEVEL_3"]), github_source_actions(commit=commit))
    trusted_root = lab.trusted_root()

``TAMPERINGS`` holds the ways to be wrong, ``VARIANTS`` the trusted roots, by name.
"""

from types import MappingProxyType

from tests.support.sigstore.edits import EDITS
from tests.support.sigstore.envelope import IN_TOTO, keyed_envelope, sign_envelope
from tests.support.sigstore.forgeries import FORGERIES
from tests.support.sigstore.identity import (
    COMMIT,
    GITHUB_ISSUER,
    LEVEL_1_COMMIT,
    MAIN,
    REPOSITORY,
    Identity,
    attest_build_provenance,
    generic_generator,
    github_actions,
    github_source_actions,
    person,
    slsa_framework_actions,
)
from tests.support.sigstore.keys import Key, Scheme, derive_key
from tests.support.sigstore.lab import LOGGED_AFTER, SEED, SIGNED_AT, Departures, Lab
from tests.support.sigstore.log_edits import LOG_EDITS
from tests.support.sigstore.provenance import provenance_v02, provenance_v1
from tests.support.sigstore.statements import (
    IMAGE_DIGEST,
    REMOVED,
    build_vsa,
    changed,
    source_provenance,
    statement,
    tag_provenance,
    vsa,
)
from tests.support.sigstore.tampering import Stage, Tampering
from tests.support.sigstore.trusted_root import VARIANTS, trusted_root

__all__ = [
    "ACCEPTED_BY_COSIGN",
    "COMMIT",
    "GITHUB_ISSUER",
    "IMAGE_DIGEST",
    "IN_TOTO",
    "LEVEL_1_COMMIT",
    "LOGGED_AFTER",
    "MAIN",
    "REMOVED",
    "REPOSITORY",
    "SEED",
    "SIGNED_AT",
    "TAMPERINGS",
    "VARIANTS",
    "Departures",
    "Identity",
    "Key",
    "Lab",
    "Scheme",
    "Stage",
    "Tampering",
    "attest_build_provenance",
    "build_vsa",
    "changed",
    "derive_key",
    "generic_generator",
    "github_actions",
    "github_source_actions",
    "keyed_envelope",
    "person",
    "provenance_v02",
    "provenance_v1",
    "sign_envelope",
    "slsa_framework_actions",
    "source_provenance",
    "statement",
    "tag_provenance",
    "trusted_root",
    "vsa",
]

TAMPERINGS = MappingProxyType({**EDITS, **LOG_EDITS, **FORGERIES})
"""All the ways to be wrong, by name."""

ACCEPTED_BY_COSIGN = frozenset(
    {
        "certificate-is-an-authority",
        "certificate-without-digital-signature",
        "log-kind-changed",
        "log-version-unknown",
        "timestamp-twice",
        "v2-log-body-flipped",
    }
)
"""Where cosign v3.1.3 is laxer than sigstore-python 4.5.1: it verifies these tampered bundles, and no others."""
