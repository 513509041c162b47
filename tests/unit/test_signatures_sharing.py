"""A bundle that another process verifies: the same word as here, and nothing believed that is no word about that bundle."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from slsa_verifier_plugin.errors import Reason, SignatureError
from slsa_verifier_plugin.model.envelope import Candidate, read_blob
from slsa_verifier_plugin.model.signer import Verified
from slsa_verifier_plugin.signatures.certificate import load
from slsa_verifier_plugin.signatures.sharing import Answerer, Ask, SharedVerifier
from slsa_verifier_plugin.signatures.trust import load_root
from slsa_verifier_plugin.signatures.verifier import RootVerifier
from tests.support.sigstore import TAMPERINGS, VARIANTS, Lab, vsa
from tests.support.sigstore.envelope import payload_bytes
from tests.support.sigstore.lab import BundleVersion, Log

PAYLOAD = payload_bytes(vsa())
ROOT = load_root(Lab().trusted_root(), "full")
HERE = RootVerifier(ROOT)
HONEST = Lab().sign(PAYLOAD)
FORGED = TAMPERINGS["signature-flipped"](Lab(), PAYLOAD)
GOOD_WORD = {"signedAt": "2025-12-02T00:00:00+00:00", "logIndex": 7}


def verify(verifier: RootVerifier, content: bytes) -> Verified:
    (candidate,) = read_blob(content, 1).candidates
    assert candidate.certificate is not None
    return verifier.verify(candidate, load(candidate.certificate))


def outcome(verifier: RootVerifier, content: bytes) -> Verified | tuple[str, Reason]:
    try:
        return verify(verifier, content)
    except SignatureError as error:
        return error.message, error.reason


class Elsewhere(SharedVerifier):
    """Fails where it would verify by itself."""

    def __init__(self, ask: Ask) -> None:
        super().__init__(ROOT, ask)
        self._in_service = None  # type: ignore[method-assign,assignment]


@pytest.mark.parametrize(
    ("version", "log", "timestamp"), [("0.1", "v1", False), ("0.3", "v1", True), ("0.3", "v2", True)]
)
def test_honest_bundles_verify_elsewhere_as_here(version: BundleVersion, log: Log, timestamp: bool) -> None:
    content = Lab().sign(PAYLOAD, bundle_version=version, log=log, timestamp=timestamp)
    assert verify(Elsewhere(Answerer()), content) == verify(HERE, content)


NOT_SENT = {"certificate-removed", "certificate-replaced-by-hint", "envelope-removed", "media-type-unknown"}
"""Tampered bundles that cannot be read any more, or have no certificate."""


@pytest.mark.parametrize("name", sorted(NOT_SENT))
def test_what_has_no_certificate_that_can_be_read_is_not_sent(name: str) -> None:
    content = TAMPERINGS[name](Lab(), PAYLOAD, bundle_version="0.3")
    assert [one.certificate for one in read_blob(content, 1).candidates if one.certificate is not None] == []


@pytest.mark.parametrize("name", [name for name in TAMPERINGS if name not in NOT_SENT])
def test_tampered_bundles_fail_elsewhere_as_here(name: str) -> None:
    content = TAMPERINGS[name](Lab(), PAYLOAD, bundle_version="0.3")
    expected = outcome(HERE, content)
    assert isinstance(expected, tuple)
    assert outcome(SharedVerifier(ROOT, Answerer()), content) == expected


def test_a_root_without_logs_verifies_elsewhere_too() -> None:
    root = load_root(Lab().trusted_root(**VARIANTS["timestamps-only"]), "timestamps-only")
    content = Lab().sign(PAYLOAD, log=None, timestamp=True)
    answerer = Answerer()
    assert verify(SharedVerifier(root, answerer), content) == verify(RootVerifier(root), content)
    # The same process goes by the root that it is told, not by the one it had before.
    assert outcome(SharedVerifier(ROOT, answerer), content) == outcome(HERE, content)
    assert isinstance(outcome(HERE, content), tuple)


def test_the_work_is_done_elsewhere() -> None:
    asked = []

    def ask(request: bytes) -> bytes:
        asked.append(request)
        return Answerer()(request)

    verify(SharedVerifier(ROOT, ask), HONEST)
    assert len(asked) == 1


def about(request: bytes, **word: object) -> bytes:
    """Return a reply that says ``word`` about ``request``, in the form of an honest one."""
    honest = json.loads(Answerer()(request))
    return json.dumps({"request": honest["request"], **word}).encode()


def reply_about_another(request: bytes) -> bytes:
    other: list[bytes] = []

    def keep(request: bytes) -> None:
        other.append(request)

    verify(SharedVerifier(ROOT, keep), HONEST)
    return Answerer()(other[0])


def with_one_bit_of_the_name_changed(request: bytes) -> bytes:
    reply = json.loads(about(request, **GOOD_WORD))
    reply["request"] = ("0" if reply["request"][0] != "0" else "1") + reply["request"][1:]
    return json.dumps(reply).encode()


NO_WORD: dict[str, Callable[[bytes], bytes | None]] = {
    "none": lambda request: None,
    "nothing": lambda request: b"",
    "no JSON": lambda request: b"\xff{",
    "deep JSON": lambda request: b"[" * 60_000,
    "no object": lambda request: b'["request"]',
    "no name": lambda request: json.dumps(GOOD_WORD).encode(),
    "another's name": with_one_bit_of_the_name_changed,
    "about another bundle": reply_about_another,
    "no index": lambda request: about(request, signedAt=None),
    "no time": lambda request: about(request, logIndex=1),
    "a time that is none": lambda request: about(request, signedAt="noon", logIndex=1),
    "a time that is a number": lambda request: about(request, signedAt=7, logIndex=1),
    "a reason that is none": lambda request: about(request, error="x", remedy="", reason="NONE"),
    "an error without a reason": lambda request: about(request, error="x", remedy=""),
    "an error without a remedy": lambda request: about(request, error="x", reason="UNKNOWN_LOG"),
}


@pytest.mark.parametrize("reply", NO_WORD.values(), ids=NO_WORD)
def test_what_is_no_word_about_the_bundle_counts_as_none(reply: Ask) -> None:
    assert outcome(SharedVerifier(ROOT, reply), FORGED) == outcome(HERE, FORGED)
    if reply is not reply_about_another:
        assert verify(SharedVerifier(ROOT, reply), HONEST) == verify(HERE, HONEST)


def test_an_error_elsewhere_is_the_error() -> None:
    error = {"error": "no such log", "remedy": "add it", "reason": "UNKNOWN_LOG"}
    verifier = SharedVerifier(ROOT, lambda request: about(request, **error))
    with pytest.raises(SignatureError, match="no such log; add it") as caught:
        verify(verifier, HONEST)
    assert caught.value.problem.remedy == "add it"
    assert caught.value.reason is Reason.UNKNOWN_LOG


@pytest.mark.parametrize("cut", [1, 3, 100, 5000])
def test_a_request_that_is_cut_short_is_not_answered(cut: int) -> None:
    sent: list[bytes] = []
    verify(SharedVerifier(ROOT, sent.append), HONEST)
    with pytest.raises(Exception):  # noqa: B017, PT011 (whatever it is: the asker does the work itself then)
        Answerer()(sent[0][:-cut])


def test_two_bundles_in_a_request_are_not_answered() -> None:
    (candidate,) = read_blob(HONEST, 1).candidates
    double = Candidate(
        HONEST + b"\n" + HONEST, 1, True, candidate.payload_type, PAYLOAD, candidate.certificate
    )
    sent: list[bytes] = []
    assert candidate.certificate is not None
    with pytest.raises(SignatureError):
        SharedVerifier(ROOT, sent.append).verify(double, load(candidate.certificate))
    with pytest.raises(Exception):  # noqa: B017, PT011 (as above)
        Answerer()(sent[0])
