"""The names of sigstore and tuf that this room uses: the one place where they are imported (``lean`` says how)."""
# ruff: noqa: E402, F401  # the first import decides what the others bring along; every name is for the other modules

from slsa_verifier_plugin.signatures import lean

lean.load("sigstore.verify")

from pydantic import ValidationError as FieldsError
from sigstore._internal.sct import verify_sct
from sigstore._internal.trust import (
    CertificateAuthority,
    CTKeyring,
    Key,
    Keyring,
    KeyringPurpose,
    RekorKeyring,
)
from sigstore._utils import KeyID
from sigstore.errors import VerificationError as SigstoreError
from sigstore.models import Bundle, TrustedRoot
from sigstore.verify import Verifier
from sigstore_models.bundle import v1 as bundle_v1
from sigstore_models.trustroot import v1 as trustroot
from tuf.api.exceptions import (
    BadVersionNumberError,
    DownloadError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    ExpiredMetadataError,
    LengthOrHashMismatchError,
    RepositoryError,
    UnsignedMetadataError,
)
from tuf.ngclient._internal.trusted_metadata_set import TrustedMetadataSet
from tuf.ngclient.config import EnvelopeType
from tuf.ngclient.fetcher import FetcherInterface
from tuf.ngclient.updater import Updater
