"""The one boundary between what the libraries raise and what people read: no text of theirs is shown.

sigstore-python, pydantic, cryptography, rfc3161-client and python-tuf each raise types and sentences of their own, some with
parts of the input, some with advice for programmers. What happened is told here in this program's words: by the kind of error,
and by the words that a library's sentence is recognized by. What is not recognized, of a newer version say, is told in general.
"""

from __future__ import annotations

import re

from slsa_verifier_plugin.errors import VerifierError
from slsa_verifier_plugin.network.failures import causes
from slsa_verifier_plugin.problem import Problem
from slsa_verifier_plugin.signatures.libraries import (
    BadVersionNumberError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    ExpiredMetadataError,
    FieldsError,
    LengthOrHashMismatchError,
    UnsignedMetadataError,
)
from slsa_verifier_plugin.strict_json import JsonError
from slsa_verifier_plugin.text import plain


class MalformedError(ValueError):
    """Something in a file or bundle is not as it must be; the text says what, for people."""


UNREADABLE = "a part of it cannot be read"
"""What is said where nothing more is known."""

NO_CHAIN = (
    "the certificate does not chain to an authority of the trusted root that was in service when this was signed, or was not "
    "valid then"
)

_SAID = (
    ("expected exactly one log entry", "it does not have exactly one log entry"),
    ("unsupported dsse log entry type", "its log entry is not of a kind that attestations have"),
    ("expected log entry version", "its log entry is of a version that is not known here"),
    ("integrated time only supported", "its log entry is of a kind whose time does not count"),
    ("must contain an inclusion promise", "neither a log's promise nor a signed timestamp gives its time"),
    ("not enough sources of verified time", "no time that a trusted log or timestamp authority vouches for"),
    ("too many signed timestamp", "it has too many signed timestamps"),
    ("duplicate timestamp", "it has a signed timestamp twice"),
    ("invalid timestamp response", "a signed timestamp cannot be read"),
    ("failed to build timestamp certificate chain", NO_CHAIN),
    ("expired at time of signing", "the certificate was not valid when this was signed"),
    (
        "certificate does not contain a signed certificate timestamp",
        "the certificate was not logged: it has no SCT",
    ),
    ("expected one certificate timestamp", "the certificate does not have exactly one SCT"),
    (
        "failed to verify sct|sct verify",
        "the certificate's SCT does not verify: no CT log in service has logged this certificate",
    ),
    ("extended usage does not contain", "the certificate's key is not for signing code"),
    ("key usage is not of type", "the certificate's key is not for signing"),
    ("non-leaf certificate", "the first certificate is not one of a signer"),
    ("invalid inclusion promise", "the log's promise (signed entry timestamp) does not verify"),
    ("checkpoint: signature not found", "the log's checkpoint carries no signature of this log"),
    ("checkpoint: invalid signature", "the signature of the log's checkpoint does not verify"),
    ("logcheckpoint|malformed note|note must contain one blank line", "the log's checkpoint cannot be read"),
    ("root hash", "the inclusion proof does not lead to what the log's checkpoint says"),
    ("inclusion proof has wrong size", "the inclusion proof has a wrong number of hashes"),
    ("hash does not match", "the log entry is of another payload"),
    ("log entry signatures do not match", "the log entry is of another signature"),
    ("inconsistent with other materials", "the log entry is of something else"),
    ("signature must be non-empty", "its signature is empty"),
    ("exactly one signature", "the envelope does not have exactly one signature"),
    ("expected certificate in bundle", "a bundle of its version has one certificate, and there is none"),
    ("expected certificate chain", "a bundle of its version has a certificate chain, and there is none"),
    ("expected non-empty certificate chain", "its certificate chain is empty"),
    ("without a dsse envelope", "it has no DSSE envelope"),
    ("dsse|invalid signature", "the signature does not match the certificate's key and the content"),
    ("unsupported trusted root format", "its mediaType is not that of a trusted root"),
)
"""What is said of a sentence of sigstore-python 4.5's (in lower case) in which an expression is found; the first that fits."""

_KINDS = {
    "missing": "is missing",
    "extra_forbidden": "is not known here",
    "literal_error": "has a value that is not known here",
    "enum": "has a value that is not known here",
}
"""What is said of pydantic's error types."""

_TUF = (
    (DownloadLengthMismatchError, "it serves more than its own metadata allows"),
    (ExpiredMetadataError, "its metadata has expired"),
    (UnsignedMetadataError, "its metadata is not signed by the keys that it must be signed by"),
    (
        BadVersionNumberError,
        "its metadata is older than what was fetched before, or its versions contradict each other",
    ),
    (LengthOrHashMismatchError, "a file is not what its metadata says"),
)
_NAME = re.compile(r"[A-Za-z0-9_]{1,40}")


def reason_of(error: BaseException) -> str:
    """Return why something failed, in this program's words.

    Args:
        error: what this program or a library raised.
    """
    # The outermost one that is known: it is the nearest to what was being done.
    for cause in reversed([*causes(error)]):
        # One of ours has been worded already.
        if isinstance(cause, VerifierError):
            return cause.message
        # Sentences of this program, which may quote the input.
        if isinstance(cause, (MalformedError, JsonError)):
            return plain(str(cause), 240)
        if isinstance(cause, FieldsError):
            return _fields(cause)
        if isinstance(cause, DownloadHTTPError):
            return f"HTTP error {cause.status_code}"
        # By type: python-tuf's sentences repeat parts of the metadata.
        for kind, said in _TUF:
            if isinstance(cause, kind):
                return said
    # Only now by words, which a new version may change: what is not recognized is told in general, and never shown.
    text = str(error).lower()
    for words, said in _SAID:
        if re.search(words, text):
            return said
    return UNREADABLE


def _fields(error: FieldsError) -> str:
    """Return the first thing that pydantic finds wrong, and how many others there are."""
    # Without the input, which is the file's and may be anything.
    found = error.errors(include_url=False, include_context=False, include_input=False)
    what = _KINDS.get(found[0]["type"], "cannot be read, or has a value of another type")
    # The way to the field. Other names than those of fields come from the file, and may be anything.
    where = tuple(step for step in found[0]["loc"] if isinstance(step, int) or _NAME.fullmatch(step))
    more = f", and {len(found) - 1} more" if len(found) > 1 else ""
    return f"{Problem(where, what).place or 'it'} {what}{more}"
