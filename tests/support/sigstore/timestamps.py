"""A timestamp authority (RFC 3161), with tokens as Sigstore's and GitHub's authorities make them."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta

from asn1crypto import algos, cms, core, tsp
from asn1crypto import x509 as asn1
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.support.sigstore.certificates import CREATED, EXPIRES, authority_certificate, distinguished
from tests.support.sigstore.keys import Scheme, derive_key, derived

POLICY = "1.3.6.1.4.1.57264.2"
"""Sigstore's own timestamp policy."""


class TimestampAuthority:
    """A root and the P-384 certificate that signs tokens.

    Args:
        seed: what both keys come from.
        label: tells this authority from others of the same seed.
        embed: put the signing certificate into each token, as a request with ``certReq`` would have it.
    """

    def __init__(self, seed: str, label: str = "tsa", *, embed: bool = False) -> None:
        self._seed, self._label, self._embed = seed, label, embed
        root_key = derive_key(seed, f"{label}/root", Scheme.ECDSA_P384)
        self.key = derive_key(seed, f"{label}/leaf", Scheme.ECDSA_P384)
        self.root = authority_certificate(
            root_key,
            root_key,
            name="sigstore-tsa-selfsigned",
            issuer="sigstore-tsa-selfsigned",
            validity=(CREATED, EXPIRES),
            path_length=None,
        )
        self.certificate = (
            x509.CertificateBuilder(
                subject_name=distinguished("sigstore-tsa"),
                issuer_name=distinguished("sigstore-tsa-selfsigned"),
            )
            .public_key(self.key.elliptic.public_key())
            .serial_number(int.from_bytes(derived(seed, f"{label}/serial", 19), "big") | 1)
            .not_valid_before(CREATED)
            .not_valid_after(EXPIRES - timedelta(days=1))
            .add_extension(_signing_only(), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(self.key.elliptic.public_key()), critical=False
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.elliptic.public_key()),
                critical=False,
            )
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING]), critical=True)
            .sign(root_key.elliptic, root_key.digest, ecdsa_deterministic=True)
        )

    @property
    def _own(self) -> asn1.Certificate:
        return asn1.Certificate.load(self.certificate.public_bytes(Encoding.DER))

    def stamp(self, message: bytes, at: datetime) -> bytes:
        """Return a DER TimeStampResp over ``message``, whole seconds of ``at`` being its time."""
        moment = at.replace(microsecond=0)
        info = tsp.TSTInfo(
            {
                "version": "v1",
                "policy": POLICY,
                "message_imprint": {
                    "hash_algorithm": {"algorithm": "sha256"},
                    "hashed_message": hashlib.sha256(message).digest(),
                },
                "serial_number": int.from_bytes(
                    derived(self._seed, f"{self._label}/{message.hex()}", 19), "big"
                ),
                "gen_time": moment,
                "accuracy": {"seconds": 1},
                "tsa": asn1.GeneralName("directory_name", self._own.subject),
            }
        ).dump()
        attributes = self._attributes(info, moment)
        signer = {
            "version": "v1",
            "sid": cms.SignerIdentifier(
                "issuer_and_serial_number",
                {"issuer": self._own.issuer, "serial_number": self._own.serial_number},
            ),
            "digest_algorithm": {"algorithm": "sha384"},
            "signed_attrs": attributes,
            "signature_algorithm": {"algorithm": "sha384_ecdsa"},
            # Signed is the SET OF attributes, not what stands under the implicit tag (RFC 5652 section 5.4).
            "signature": self.key.sign(attributes.dump()),
        }
        signed = cms.SignedData(
            {
                "version": "v3",
                "digest_algorithms": [{"algorithm": "sha384"}],
                "encap_content_info": {"content_type": "tst_info", "content": core.ParsableOctetString(info)},
                "signer_infos": [signer],
            }
        )
        if self._embed:
            signed["certificates"] = cms.CertificateSet([cms.CertificateChoices("certificate", self._own)])
        response = tsp.TimeStampResp(
            {
                "status": {"status": "granted"},
                "time_stamp_token": cms.ContentInfo({"content_type": "signed_data", "content": signed}),
            }
        )
        dumped: bytes = response.dump()
        return dumped

    def _attributes(self, info: bytes, moment: datetime) -> cms.CMSAttributes:
        own_id = tsp.ESSCertIDv2(
            {
                "hash_algorithm": algos.DigestAlgorithm({"algorithm": "sha256"}),
                "cert_hash": hashlib.sha256(self._own.dump()).digest(),
                "issuer_serial": {
                    "issuer": [asn1.GeneralName("directory_name", self._own.issuer)],
                    "serial_number": self._own.serial_number,
                },
            }
        )
        values = {
            "content_type": cms.ContentType("tst_info"),
            "signing_time": cms.Time("utc_time", moment),
            "message_digest": core.OctetString(hashlib.sha384(info).digest()),
            "signing_certificate_v2": tsp.SigningCertificateV2({"certs": [own_id]}),
        }
        return cms.CMSAttributes(
            [cms.CMSAttribute({"type": name, "values": [value]}) for name, value in values.items()]
        )


def _signing_only() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
