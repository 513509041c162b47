"""What of an answer lets an image be pulled, and what is asked about it: the two ends between which the verifiers decide."""

from __future__ import annotations

import json
from typing import Any

import pytest

from slsa_verifier_plugin.checking.reports import ArtifactReport, ImageReport
from slsa_verifier_plugin.checking.status import Decision
from slsa_verifier_plugin.errors import ArtifactError, Reason
from slsa_verifier_plugin.node.call import judged
from slsa_verifier_plugin.node.decision import image_of, reported
from slsa_verifier_plugin.policy.verdict import FAILURE_PREFIX, Verdict
from slsa_verifier_plugin.resident import protocol

DIGEST = "sha256:" + "0" * 64
OTHER = "sha256:" + "1" * 64


@pytest.mark.parametrize(
    "answer",
    [
        (0, protocol.DEADLINE_LINE, b""),
        (0, protocol.INTERNAL_LINE, b""),
        (0, protocol.REQUIRED_LINE, b""),
        (0, protocol.NO_TURN_LINE, b""),
        (0, protocol.ENDED_LINE, b""),
        (0, protocol.lack_line(12), b""),
        (0, b"", b""),
        (0, b"{}", b""),
        (0, b"null", b""),
        (0, b"SLSA Attestation Check: SUCCESS.", b""),
        (0, b'{"isSuccess":true}', b""),
        (0, b'{"isSuccess":true,"message":"m"}', b""),
        (0, b'{"isSuccess":true,"message":"m","extensions":{"digest":"sha256:1"}}', b""),
        (0, b'{"isSuccess":1,"message":"m","extensions":{"digest":"%b"}}' % DIGEST.encode(), b""),
        (0, b'{"isSuccess":"true","message":"m","extensions":{"digest":"%b"}}' % DIGEST.encode(), b""),
        (1, b'{"isSuccess":true,"message":"m","extensions":{"digest":"%b"}}' % DIGEST.encode(), b""),
        (0, b'{"isSuccess":true,"message":"","extensions":{"digest":"%b"}}' % DIGEST.encode(), b""),
        (
            0,
            b'{"isSuccess":false,"isSuccess":true,"message":"m","extensions":{"digest":"%b"}}'
            % DIGEST.encode(),
            b"",
        ),
        (0, b'{"isSuccess":true,"message":"m","extensions":{"digest":"%b"}} {}' % DIGEST.encode(), b""),
    ],
)
def test_no_answer_but_a_whole_yes_to_this_digest_allows(answer: protocol.Answer) -> None:
    is_allowed, said = judged(answer, DIGEST)
    assert not is_allowed
    assert said


def test_a_whole_yes_allows() -> None:
    said: dict[str, Any] = {
        "isSuccess": True,
        "message": "m\x1b",
        "extensions": {"digest": DIGEST, "notes": ["n\n"]},
    }
    assert judged((0, json.dumps(said).encode(), b""), DIGEST) == (True, "m?\nn?")


@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("r.example/app", f"r.example/app@{DIGEST}"),
        ("r.example/app:v1", f"r.example/app:v1@{DIGEST}"),
        (f"r.example/app@{DIGEST}", f"r.example/app@{DIGEST}"),
        (f"r.example/app:v1@{DIGEST}", f"r.example/app:v1@{DIGEST}"),
        ("localhost/app", f"localhost/app@{DIGEST}"),
        ("docker.io/library/app:v1", f"docker.io/library/app:v1@{DIGEST}"),
    ],
)
def test_the_digest_that_is_pulled_is_asked_about(name: str, image: str) -> None:
    assert str(image_of(name, DIGEST)) == image


@pytest.mark.parametrize(
    "name",
    [
        f"r.example/app@{OTHER}",
        f"r.example/app:v1@{OTHER}",
        "app",
        "library/app",
        "r.example/../app",
        "r.example/App",
        "",
    ],
)
def test_a_name_that_says_something_else_is_not_asked_about(name: str) -> None:
    with pytest.raises(ArtifactError):
        image_of(name, DIGEST)


def report(decision: Decision, digest: str = DIGEST, success: bool = True) -> ImageReport:
    verdict = Verdict(success, Reason.VERIFIED, "all is well", "s", "a", (), "none")
    artifact = ArtifactReport("v", "slsa", "slsla/attestation", verdict, 1)
    return ImageReport(
        "asked", f"r.example/app@{digest}", decision, Reason.VERIFIED, "all is well.", (artifact,)
    )


def undecided() -> ImageReport:
    verdict = Verdict(False, Reason.DEADLINE_EXCEEDED, "no time is left", "s", "a", (), "none")
    artifact = ArtifactReport("v", "slsa", "slsla/attestation", verdict, 1)
    name = f"r.example/app@{DIGEST}"
    return ImageReport("asked", name, Decision.UNDECIDED, Reason.DEADLINE_EXCEEDED, "no time.", (artifact,))


def test_a_report_that_admits_this_digest_is_a_yes() -> None:
    is_allowed, said = judged(reported(report(Decision.ADMITTED), DIGEST), DIGEST)
    assert (is_allowed, said) == (True, "SLSA Attestation Check: SUCCESS. all is well")


@pytest.mark.parametrize(
    "of",
    [
        report(Decision.DENIED),
        report(Decision.UNDECIDED),
        undecided(),
        report(Decision.ADMITTED, OTHER),
        report(Decision.ADMITTED, success=False),
        ImageReport("asked", f"r.example/app@{DIGEST}", Decision.ADMITTED, Reason.VERIFIED, "m."),
    ],
)
def test_no_other_report_is(of: ImageReport) -> None:
    is_allowed, said = judged(reported(of, DIGEST), DIGEST)
    assert not is_allowed
    assert said.startswith(FAILURE_PREFIX)
