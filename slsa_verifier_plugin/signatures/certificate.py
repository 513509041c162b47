"""A signing certificate to the signer it names (Fulcio certificate specification; ``docs/oid-info.md``)."""

from __future__ import annotations

from functools import lru_cache

from cryptography import x509
from cryptography.hazmat import asn1

from slsa_verifier_plugin.errors import SignatureError
from slsa_verifier_plugin.model.signer import KEY_PREFIX, Signer
from slsa_verifier_plugin.text import quoted

FULCIO_ARC = "1.3.6.1.4.1.57264.1."
_OLD_ARCS = range(1, 7)
"""Extensions whose value is the bare string; from 8 on it is a DER UTF8String."""
_ARCS = {f"{FULCIO_ARC}{arc}": arc for arc in (*_OLD_ARCS, *range(8, 25))}
_ISSUER, _ISSUER_V2 = 1, 8
_MAX_IDENTITY = 2048
MAX_CERTIFICATE = 32 << 10
"""Bytes of a signing certificate; Fulcio's have less than two thousand."""
_KEPT = 64
"""Certificates that are kept parsed, for each is looked at twice: for what it claims, and to verify it."""


@lru_cache(_KEPT)
def load(der: bytes) -> x509.Certificate:
    """Return the certificate in ``der``.

    Raises:
        SignatureError: it is not a certificate, or a huge one.
    """
    # Before it is parsed: nobody has vouched for these bytes yet.
    if len(der) > MAX_CERTIFICATE:
        raise SignatureError(
            f"the signing certificate has {len(der)} bytes, expected at most {MAX_CERTIFICATE}",
            "attach the original bundle",
        )
    try:
        return x509.load_der_x509_certificate(der)
    except Exception as error:
        # The parser has several error types, and panics of its Rust side are no ValueErrors.
        raise SignatureError(
            "the signing certificate cannot be read: it is no X.509 certificate in DER",
            "attach the original bundle, unchanged",
        ) from error


def ct_log_ids(certificate: x509.Certificate) -> list[bytes]:
    """Return the ids of the certificate transparency logs whose timestamps ``certificate`` carries."""
    try:
        value = certificate.extensions.get_extension_for_class(
            x509.PrecertificateSignedCertificateTimestamps
        ).value
    # Not logged. Whether that matters is the trusted root's to say, which may have no CT logs.
    except x509.ExtensionNotFound:
        return []
    # By id alone: whether one verifies is looked at once the time is known.
    return [timestamp.log_id for timestamp in value]


@lru_cache(_KEPT)
def signer_of(certificate: x509.Certificate) -> Signer:
    """Return whom ``certificate`` names. This verifies nothing.

    Raises:
        SignatureError: no single identity, or extensions that contradict each other or cannot be read.
    """
    try:
        claims = _claims(certificate)
        identity = _identity(certificate)
    # Said in our own words already.
    except SignatureError:
        raise
    # As in ``load``: cryptography raises several types.
    except Exception as error:
        raise SignatureError(
            "the certificate's extensions cannot be read: one is not encoded as X.509 or Fulcio has it",
            "attach the original bundle, unchanged",
        ) from error
    # Fulcio writes both: the first as a bare string, the second as DER (``docs/oid-info.md``, 1.3.6.1.4.1.57264.1.1 and
    # .8).
    issuer, issuer_v2 = claims.pop(_ISSUER, None), claims.pop(_ISSUER_V2, None)
    if issuer is not None and issuer_v2 is not None and issuer != issuer_v2:
        # Fulcio writes the same into both; a certificate that does not was made to be read in two ways.
        raise SignatureError(f"the certificate names two issuers: {quoted(issuer)} and {quoted(issuer_v2)}")
    # The DER form counts first; certificates older than it have the bare string alone.
    return Signer(identity, issuer_v2 or issuer or "", claims)


def _claims(certificate: x509.Certificate) -> dict[int, str]:
    claims: dict[int, str] = {}
    for extension in certificate.extensions:
        arc = _ARCS.get(extension.oid.dotted_string)
        # Not one of Fulcio's: key usages, identifiers, and whatever comes later.
        if arc is None:
            continue
        # cryptography keeps what it does not know as bytes: Fulcio's extensions are such.
        value = extension.value.public_bytes()
        # Not both ways tried in turn: a bare string that happens to be DER would then say something else.
        claims[arc] = value.decode("utf-8") if arc in _OLD_ARCS else asn1.decode_der(str, value)
    return claims


def _identity(certificate: x509.Certificate) -> str:
    names = list(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    # With two names one could be the trusted one and the other the true one. Names of other kinds (DNS) nobody compares
    # here.
    if len(names) != 1 or not isinstance(names[0], (x509.UniformResourceIdentifier, x509.RFC822Name)):
        raise SignatureError("the certificate does not name exactly one URI or e-mail address")
    identity: str = names[0].value
    # ``key:`` identities stand for configured keys; a certificate with such a name would pass for one.
    if identity.startswith(KEY_PREFIX):
        raise SignatureError("the certificate names a key, which only the configuration may")
    # It ends in patterns, messages and logs; a workflow's URL has a few hundred characters.
    if len(identity) > _MAX_IDENTITY:
        raise SignatureError(
            f"the certificate's identity has {len(identity)} characters, more than {_MAX_IDENTITY}"
        )
    return identity
