"""The names of sigstore and tuf that this room uses: the one place where they are imported (``lean`` says how)."""
# ruff: noqa: E402  # the first import decides what the others bring along

from slsa_verifier_plugin.signatures import lean

lean.load("sigstore.verify")

from sigstore._internal.sct import verify_sct
from sigstore._internal.trust import CertificateAuthority, CTKeyring, KeyringPurpose, RekorKeyring
from sigstore.errors import Error as SigstoreError
from sigstore.models import Bundle, TrustedRoot
from sigstore.verify import Verifier
from sigstore_models.bundle import v1 as bundle_v1
from sigstore_models.trustroot import v1 as trustroot
from tuf.api.exceptions import DownloadError, DownloadHTTPError, RepositoryError
from tuf.ngclient._internal.trusted_metadata_set import TrustedMetadataSet
from tuf.ngclient.config import EnvelopeType
from tuf.ngclient.fetcher import FetcherInterface
from tuf.ngclient.updater import Updater

__all__ = [
    "Bundle",
    "CTKeyring",
    "CertificateAuthority",
    "DownloadError",
    "DownloadHTTPError",
    "EnvelopeType",
    "FetcherInterface",
    "KeyringPurpose",
    "RekorKeyring",
    "RepositoryError",
    "SigstoreError",
    "TrustedMetadataSet",
    "TrustedRoot",
    "Updater",
    "Verifier",
    "bundle_v1",
    "trustroot",
    "verify_sct",
]
