"""Signed timestamps (RFC 3161), and bundles that have nothing else to vouch for their time.

GitHub's own Sigstore (private repositories) has a timestamp authority and no transparency log. sigstore-python reads no bundle
without a log entry, so such bundles are verified here, by the same steps: time, chain, key usage, SCT where the root has CT logs,
signature. Only a trusted root that lists no log at all makes this way possible.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import verification
from cryptography.x509.oid import ExtendedKeyUsageOID
from rfc3161_client import TimeStampResponse, VerifierBuilder, decode_timestamp_response
from rfc3161_client.errors import VerificationError as TimestampError

from slsa_verifier_plugin.errors import SignatureError
from slsa_verifier_plugin.signatures.keys import is_valid, pre_authentication_encoding
from slsa_verifier_plugin.signatures.libraries import KeyringPurpose, bundle_v1, verify_sct
from slsa_verifier_plugin.signatures.trust import Authority, LoadedRoot

MAX_TIMESTAMPS = 32
"""Timestamps of one bundle, as sigstore-python and sigstore-go limit them."""


def verified_times(
    tokens: Sequence[bytes], message: bytes, authorities: Iterable[Authority]
) -> list[datetime]:
    """Return the times that a trusted authority signed for ``message``.

    Args:
        tokens: DER timestamp responses.
        message: what was stamped: the signature's bytes.
        authorities: the trusted timestamp authorities.

    Raises:
        SignatureError: too many tokens, a repeated one, or one that cannot be read.
    """
    if len(tokens) > MAX_TIMESTAMPS or len(set(tokens)) != len(tokens):
        raise SignatureError(f"the bundle has more than {MAX_TIMESTAMPS} timestamps, or one twice")
    known = list(authorities)
    try:
        responses = [decode_timestamp_response(token) for token in tokens]
        return [
            response.tst_info.gen_time
            for response in responses
            if any(_is_stamped_by(response, message, authority) for authority in known)
        ]
    except Exception as error:
        # The library reads some parts of a token only when it is asked for them, and raises what comes to hand.
        raise SignatureError("a signed timestamp cannot be read") from error


def is_known(tokens: Sequence[bytes], authorities: Iterable[Authority]) -> bool:
    """Return True if one of ``tokens`` names a trusted authority's certificate as its signer. This verifies nothing.

    Raises:
        SignatureError: one cannot be read.
    """
    try:
        signers = {
            (info.issuer, info.serial_number)
            for token in tokens[:MAX_TIMESTAMPS]
            for info in decode_timestamp_response(token).signed_data.signer_infos
        }
    except Exception as error:
        # As above.
        raise SignatureError("a signed timestamp cannot be read") from error
    leaves = [authority.certificates[0] for authority in authorities]
    return any((leaf.issuer, leaf.serial_number) in signers for leaf in leaves)


def _is_stamped_by(response: TimeStampResponse, message: bytes, authority: Authority) -> bool:
    chain = authority.certificates
    if len(chain) < 2:
        return False
    builder = (
        VerifierBuilder(intermediates=list(chain[1:-1]))
        .tsa_certificate(chain[0])
        .add_root_certificate(chain[-1])
    )
    try:
        builder.build().verify_message(response, message)
    except TimestampError:
        return False
    return authority.window.holds(response.tst_info.gen_time)


def verify_stamped_bundle(
    bundle: bundle_v1.Bundle, certificate: x509.Certificate, root: LoadedRoot
) -> datetime:
    """Verify a bundle by its signed timestamps alone, and return the earliest of their times.

    Args:
        bundle: the parsed bundle; its envelope's payload is what gets verified.
        certificate: its signing certificate.
        root: a trusted root that lists no transparency log.

    Raises:
        SignatureError: a step fails.
    """
    if root.logs:
        raise SignatureError("the trusted root has a transparency log, so a log entry is required")
    envelope = bundle.dsse_envelope
    if envelope is None or len(envelope.signatures) != 1:
        raise SignatureError("the bundle does not have exactly one signature in a DSSE envelope")
    signature = envelope.signatures[0].sig
    data = bundle.verification_material.timestamp_verification_data
    times = verified_times(
        [stamp.signed_timestamp for stamp in (data.rfc3161_timestamps if data else [])],
        signature,
        root.timestamp_authorities,
    )
    if not times:
        raise SignatureError("no signed timestamp of a trusted authority")
    for moment in times:
        chain = _chain(certificate, root, moment)
    _check_usage(certificate)
    if root.ct_logs:
        verify_sct(certificate, chain, root.root.ct_keyring(KeyringPurpose.VERIFY))
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise SignatureError("the certificate's key is not an elliptic curve key")
    if not is_valid(key, signature, pre_authentication_encoding(envelope.payload_type, envelope.payload)):
        raise SignatureError("the signature does not match the certificate's key and the content")
    return min(times)


def _chain(certificate: x509.Certificate, root: LoadedRoot, moment: datetime) -> list[x509.Certificate]:
    """Return the issuers of ``certificate`` up to a trusted root, valid at ``moment``."""
    trusted = [
        item
        for authority in root.authorities
        if authority.window.holds(moment)
        for item in authority.certificates
    ]
    if not trusted:
        raise SignatureError("no certificate authority of the trusted root was valid when this was signed")
    optional = verification.Criticality.NON_CRITICAL
    # Fulcio's certificates are for code signing, not for TLS clients; that usage is checked apart.
    ca = verification.ExtensionPolicy.webpki_defaults_ca().may_be_present(
        x509.ExtendedKeyUsage, optional, None
    )
    leaf = verification.ExtensionPolicy.webpki_defaults_ee().may_be_present(
        x509.ExtendedKeyUsage, optional, None
    )
    verifier = (
        verification.PolicyBuilder()
        .store(verification.Store(trusted))
        .time(moment)
        .extension_policies(ca_policy=ca, ee_policy=leaf)
        .build_client_verifier()
    )
    try:
        return list(verifier.verify(certificate, []).chain[1:])
    except verification.VerificationError as error:
        raise SignatureError(f"the certificate does not chain to the trusted root: {error}") from error


def _check_usage(certificate: x509.Certificate) -> None:
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
        extended = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound as error:
        raise SignatureError("the certificate does not say what its key is for") from error
    if not usage.digital_signature or ExtendedKeyUsageOID.CODE_SIGNING not in extended:
        raise SignatureError("the certificate's key is not for signing code")
