"""Changes to a finished bundle: envelope, certificate and shape; each of one thing."""

from __future__ import annotations

from collections.abc import Callable

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.support.sigstore.encoding import b64, unb64
from tests.support.sigstore.identity import person
from tests.support.sigstore.keys import derive_key
from tests.support.sigstore.tampering import (
    Bundle,
    Maker,
    Registry,
    Request,
    Stage,
    certificate,
    edited,
    entry,
    flip,
    material,
    parsed,
    register,
)

EDITS: Registry = {}


def _edit(name: str, stage: Stage) -> Callable[[Callable[[Bundle], object]], Maker]:
    """Enter an edit of an honest bundle that Rekor v1 logged, without a timestamp."""

    def enter(edit: Callable[[Bundle], object]) -> Maker:
        return register(EDITS, name, stage)(lambda request: edited(request.sign(), edit))

    return enter


@_edit("signature-flipped", Stage.SIGNATURE)
def _(bundle: Bundle) -> None:
    flip(bundle["dsseEnvelope"]["signatures"][0], "sig")


@_edit("signature-emptied", Stage.SHAPE)
def _(bundle: Bundle) -> None:
    bundle["dsseEnvelope"]["signatures"][0]["sig"] = ""


@_edit("signatures-none", Stage.SHAPE)
def _(bundle: Bundle) -> None:
    bundle["dsseEnvelope"]["signatures"] = []


@_edit("signature-twice", Stage.SHAPE)
def _(bundle: Bundle) -> None:
    bundle["dsseEnvelope"]["signatures"] *= 2


@register(EDITS, "signature-of-another-bundle", Stage.SIGNATURE)
def _(request: Request) -> bytes:
    """The signature is the same key's, over another payload."""
    other = parsed(request.sign(payload=b"{}"))["dsseEnvelope"]["signatures"]

    def edit(bundle: Bundle) -> None:
        bundle["dsseEnvelope"]["signatures"] = other

    return edited(request.sign(), edit)


@_edit("payload-flipped", Stage.SIGNATURE)
def _(bundle: Bundle) -> None:
    flip(bundle["dsseEnvelope"], "payload", len(unb64(bundle["dsseEnvelope"]["payload"])) // 2)


@_edit("payload-extended", Stage.SIGNATURE)
def _(bundle: Bundle) -> None:
    bundle["dsseEnvelope"]["payload"] = b64(unb64(bundle["dsseEnvelope"]["payload"]) + b" ")


@_edit("payload-type-changed", Stage.SIGNATURE)
def _(bundle: Bundle) -> None:
    bundle["dsseEnvelope"]["payloadType"] = "application/vnd.in-toto.other+json"


@_edit("certificate-signature-flipped", Stage.CERTIFICATE)
def _(bundle: Bundle) -> None:
    flip(certificate(bundle), "rawBytes")


@_edit("certificate-key-flipped", Stage.CERTIFICATE)
def _(bundle: Bundle) -> None:
    raw = unb64(certificate(bundle)["rawBytes"])
    flip(certificate(bundle), "rawBytes", raw.index(_point(raw)) + 64)


@_edit("certificate-key-replaced", Stage.CERTIFICATE)
def _(bundle: Bundle) -> None:
    raw = unb64(certificate(bundle)["rawBytes"])
    other = derive_key("somebody else", "key").spki[-65:]
    certificate(bundle)["rawBytes"] = b64(raw.replace(_point(raw), other))


@_edit("certificate-extension-changed", Stage.CERTIFICATE)
def _(bundle: Bundle) -> None:
    """A letter of the name that the certificate is about: it is in the same place in any identity."""
    raw = unb64(certificate(bundle)["rawBytes"])
    name = x509.load_der_x509_certificate(raw).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    text = str(name.value[0].value).encode()
    flip(certificate(bundle), "rawBytes", raw.index(text) + len(text) - 1)


@register(EDITS, "certificate-of-another-signer", Stage.SIGNATURE)
def _(request: Request) -> bytes:
    """A genuine certificate that was issued in the same minute, for another key and name."""
    lab = request.lab()
    lab.sign(b"{}")
    other = certificate(parsed(lab.sign(request.payload, person(), **request.options)))["rawBytes"]

    def edit(bundle: Bundle) -> None:
        certificate(bundle)["rawBytes"] = other

    return edited(request.sign(), edit)


@_edit("certificate-garbage", Stage.SHAPE)
def _(bundle: Bundle) -> None:
    certificate(bundle)["rawBytes"] = b64(b"0\x03\x02\x01\x01")


@_edit("certificate-removed", Stage.SHAPE)
def _(bundle: Bundle) -> None:
    for name in ("certificate", "x509CertificateChain"):
        material(bundle).pop(name, None)


@_edit("certificate-replaced-by-hint", Stage.SHAPE)
def _(bundle: Bundle) -> None:
    key = x509.load_der_x509_certificate(unb64(certificate(bundle)["rawBytes"])).public_key()
    for name in ("certificate", "x509CertificateChain"):
        material(bundle).pop(name, None)
    material(bundle)["publicKey"] = {
        "hint": b64(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    }


@_edit("media-type-unknown", Stage.SHAPE)
def _(bundle: Bundle) -> None:
    bundle["mediaType"] = "application/vnd.dev.sigstore.bundle.v0.9+json"


@_edit("envelope-removed", Stage.SHAPE)
def _(bundle: Bundle) -> None:
    del bundle["dsseEnvelope"]


@_edit("message-signature-added", Stage.SHAPE)
def _(bundle: Bundle) -> None:
    bundle["messageSignature"] = {"signature": bundle["dsseEnvelope"]["signatures"][0]["sig"]}


@_edit("log-entry-removed", Stage.SHAPE)
def _(bundle: Bundle) -> None:
    material(bundle)["tlogEntries"] = []


@_edit("log-entry-twice", Stage.SHAPE)
def _(bundle: Bundle) -> None:
    material(bundle)["tlogEntries"].append(entry(bundle))


def _point(raw: bytes) -> bytes:
    """Return the uncompressed point of a P-256 certificate's key."""
    key = x509.load_der_x509_certificate(raw).public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
