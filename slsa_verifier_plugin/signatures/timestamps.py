"""Signed timestamps (RFC 3161), and what a certificate must be at the times that they say.

GitHub's own Sigstore (private repositories) has a timestamp authority and no transparency log. sigstore-python reads no bundle
without a log entry, so such bundles are verified by code of this room (``RootVerifier``), by the same steps: signature, time,
chain, SCT where the root has CT logs, key usage. Only a trusted root that lists no log at all makes this way possible.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime

from cryptography import x509
from cryptography.x509 import verification
from cryptography.x509.oid import ExtendedKeyUsageOID
from rfc3161_client import TimeStampResponse, VerifierBuilder, decode_timestamp_response
from rfc3161_client.errors import VerificationError as TimestampError

from slsa_verifier_plugin.errors import SignatureError
from slsa_verifier_plugin.signatures.trust import Authority
from slsa_verifier_plugin.signatures.wording import NO_CHAIN

_DIGESTS = {
    "2.16.840.1.101.3.4.2.1": hashlib.sha256,
    "2.16.840.1.101.3.4.2.2": hashlib.sha384,
    "2.16.840.1.101.3.4.2.3": hashlib.sha512,
}
"""Digests by their object identifiers (RFC 8017, appendix B.1): those that rfc3161-client verifies."""

MAX_TIMESTAMPS = 32
"""Timestamps of one bundle, as sigstore-python and sigstore-go limit them."""


def verified_times(
    tokens: Sequence[bytes], message: bytes, authorities: Iterable[Authority]
) -> dict[bytes, datetime]:
    """Return the times that a trusted authority signed for ``message``, by their tokens.

    Args:
        tokens: DER timestamp responses.
        message: what was stamped: the signature's bytes.
        authorities: the trusted timestamp authorities; each counts in its own window.

    Raises:
        SignatureError: too many tokens, a repeated one, or one that cannot be read.
    """
    # One twice could pass for two witnesses where a policy of somebody's counts them.
    if len(tokens) > MAX_TIMESTAMPS or len(set(tokens)) != len(tokens):
        raise SignatureError(f"the bundle has more than {MAX_TIMESTAMPS} timestamps, or one twice")
    known = list(authorities)
    try:
        responses = {token: decode_timestamp_response(token) for token in tokens}
        return {
            token: response.tst_info.gen_time
            for token, response in responses.items()
            # One that verifies under no trusted authority is left out, not refused: a bundle may carry others' stamps as
            # well.
            if any(_is_stamped_by(response, message, authority) for authority in known)
        }
    except Exception as error:
        # The library reads some parts of a token only when it is asked for them, and raises what comes to hand.
        raise SignatureError("a signed timestamp cannot be read") from error


def names_authority(tokens: Sequence[bytes], authorities: Iterable[Authority]) -> bool:
    """Return True if one of ``tokens`` names a trusted authority's certificate as its signer. This verifies nothing.

    Raises:
        SignatureError: one cannot be read.
    """
    try:
        # ``verified_times`` refuses a bundle with more.
        responses = [decode_timestamp_response(token) for token in tokens[:MAX_TIMESTAMPS]]
        # The first certificate of an authority is the one that signs timestamps; the others are its issuers.
        leaves = [authority.certificates[0] for authority in authorities]
        return any(_names(response, leaf) for response in responses for leaf in leaves)
    except Exception as error:
        # As in ``verified_times``: the library raises what comes to hand.
        raise SignatureError("a signed timestamp cannot be read") from error


def _names(response: TimeStampResponse, leaf: x509.Certificate) -> bool:
    """Return True if the token says that ``leaf``'s key signed it."""
    return any(
        info.serial_number == leaf.serial_number and info.issuer == leaf.issuer
        for info in response.signed_data.signer_infos
    )


def _is_about(response: TimeStampResponse, message: bytes) -> bool:
    """Return True if the token is about ``message`` (RFC 3161, 2.4.2: messageImprint)."""
    imprint = response.tst_info.message_imprint
    digest = _DIGESTS.get(imprint.hash_algorithm.dotted_string)
    # An unknown digest is nobody's that is trusted here: the token is left out.
    return digest is not None and digest(message).digest() == imprint.message


def _is_stamped_by(response: TimeStampResponse, message: bytes, authority: Authority) -> bool:
    chain = authority.certificates
    # What is cheap to see goes first: many tokens of strangers, or of another signature, would cost a signature each.
    if len(chain) < 2 or not _names(response, chain[0]) or not _is_about(response, message):
        return False
    builder = (
        # The signer stands first and the root last (protobuf-specs, ``CertificateAuthority``).
        VerifierBuilder(intermediates=list(chain[1:-1]))
        .tsa_certificate(chain[0])
        .add_root_certificate(chain[-1])
    )
    try:
        builder.build().verify_message(response, message)
    # Left out and not refused (``verified_times``).
    except TimestampError:
        return False
    # Last: the time is the authority's own word, which counts only once the signature has verified.
    return authority.window.holds(response.tst_info.gen_time)


def chain_at(
    certificate: x509.Certificate, authorities: Iterable[Authority], moment: datetime
) -> list[x509.Certificate]:
    """Return the issuers of ``certificate`` up to a certificate of ``authorities``, valid at ``moment``."""
    trusted = [item for authority in authorities for item in authority.certificates]
    # An empty store would be an error of the library's own.
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
        # Intermediates are anchors as well: all of them come from the trusted root.
        .store(verification.Store(trusted))
        .time(moment)
        .extension_policies(ca_policy=ca, ee_policy=leaf)
        # A client's: the verifier for servers would ask for a host name.
        .build_client_verifier()
    )
    try:
        # No intermediates from the bundle: all issuers come from the trusted root.
        return list(verifier.verify(certificate, []).chain[1:])
    except verification.VerificationError as error:
        raise SignatureError(NO_CHAIN) from error


def require_code_signing(certificate: x509.Certificate) -> None:
    """Raise ``SignatureError`` unless the certificate's key is for signing code."""
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
        extended = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound as error:
        raise SignatureError("the certificate does not say what its key is for") from error
    # What sigstore-python asks of a bundle with a log entry, too.
    if not usage.digital_signature or ExtendedKeyUsageOID.CODE_SIGNING not in extended:
        raise SignatureError("the certificate's key is not for signing code")
