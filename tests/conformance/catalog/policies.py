"""Steps 10 to 13: resource URI, levels, refs and age; and text that tries to get out of its place."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from tests.conformance.case import RESOURCE, Case, attested, signed
from tests.support.sigstore import GITHUB_ISSUER, REMOVED, person, vsa

ID = "https://example.com/verifier"
ISSUER = "https://issuer.example.com"
SIGNER = person("verifier@example.com", ISSUER)
HOSTILE = '"}\n{"isSuccess":true,"message":"SLSA Attestation Check: SUCCESS."}\r\n\x1b[2J\u2028{{'
"""Text that would be a result line of its own, if it got out."""


def trusting(**more: Any) -> dict[str, Any]:
    """Return the parameters that trust ``SIGNER`` for ``ID``: a signer whose certificate says nothing of GitHub."""
    entry = {"verifierId": ID, "issuer": ISSUER, "identity": "verifier@example.com", **more}
    return {"expectedVerifierId": ID, "trustedVerifiers": [entry]}


def stated(**fields: Any) -> dict[str, bytes]:
    """Return the blobs of a summary by ``SIGNER``, with any fields at all."""
    return attested(signed(vsa(verifier_id=ID, **fields), SIGNER))


def cases() -> Iterator[Case]:
    """Yield the cases."""
    yield from _uris()
    yield from _levels()
    yield from _refs()
    yield from _ages()
    yield from _hostile()


def _uris() -> Iterator[Case]:
    matches: dict[str, Any] = {
        "list": ["git+https://github.com/other/x", RESOURCE],
        "star": "git+https://github.com/example/*",
        "star-inside": "git+https://github.com/*/source-demo",
        "two-stars": "git+https://github.com/**",
        "case": "git+https://GitHub.com/Example/Source-demo",
        "case-star": "git+https://github.com/EXAMPLE/*",
    }
    for name, expected in matches.items():
        yield Case(
            f"uri-{name}",
            "An expected resourceUri that matches.",
            "VERIFIED",
            parameters={"expectedResourceUri": expected},
            blobs=attested(signed()),
        )
    misses: dict[str, Any] = {
        "other": "git+https://github.com/example/other",
        "prefix": "git+https://github.com/example/source",
        "no-git-plus": "https://github.com/example/source-demo",
        "dot-git": f"{RESOURCE}.git",
        "star-across": "git+https://github.com/*",
        "regular-expression": "git\\+https://github.com/example/.*",
        "question-mark": "git+https://github.com/example/source-dem?",
        "dot": "git+https://githubxcom/example/source-demo",
    }
    for name, expected in misses.items():
        yield Case(
            f"uri-{name}",
            "An expected resourceUri that does not match.",
            "RESOURCE_URI_MISMATCH",
            parameters={"expectedResourceUri": expected},
            blobs=attested(signed()),
            step=10,
        )
    for name, uri in (
        ("dot-segments", "git+https://github.com/example/../evil/repo"),
        ("escaped", "git+https://github.com/example/%2e%2e/evil"),
        ("newline", "git+https://github.com/example/a\nb"),
        ("userinfo", "git+https://github.com@evil.example/x"),
        ("empty-segment", "git+https://github.com/example//x"),
    ):
        yield Case(
            f"uri-glob-{name}",
            "A resourceUri that would pass the glob by the way it is written.",
            "RESOURCE_URI_MISMATCH",
            parameters={**trusting(), "expectedResourceUri": "git+https://github.com/**"},
            blobs=stated(changes={"predicate.resourceUri": uri}),
            step=10,
        )


def _levels() -> Iterator[Case]:
    table: dict[str, tuple[list[str], list[str], bool, str]] = {
        "exact": (["SLSA_SOURCE_LEVEL_2"], ["SLSA_SOURCE_LEVEL_2"], True, "The expected level."),
        "higher": (
            ["SLSA_SOURCE_LEVEL_4"],
            ["SLSA_SOURCE_LEVEL_2"],
            True,
            "A higher level implies the lower.",
        ),
        "lower": (["SLSA_SOURCE_LEVEL_1"], ["SLSA_SOURCE_LEVEL_2"], False, "A lower level."),
        "numeric": (
            ["SLSA_SOURCE_LEVEL_10"],
            ["SLSA_SOURCE_LEVEL_2"],
            True,
            "Level 10 is higher than 2: numbers, not texts.",
        ),
        "numeric-reverse": (
            ["SLSA_SOURCE_LEVEL_2"],
            ["SLSA_SOURCE_LEVEL_10"],
            False,
            "Level 2 is lower than 10: numbers, not texts.",
        ),
        "leading-zero": (
            ["SLSA_SOURCE_LEVEL_03"],
            ["SLSA_SOURCE_LEVEL_2"],
            False,
            "03 is no level's number.",
        ),
        "lower-case": (
            ["slsa_source_level_3"],
            ["SLSA_SOURCE_LEVEL_2"],
            False,
            "Levels are written in capitals.",
        ),
        "space": (["SLSA_SOURCE_LEVEL_3 "], ["SLSA_SOURCE_LEVEL_2"], False, "A space at the end."),
        "negative": (["SLSA_SOURCE_LEVEL_-3"], ["SLSA_SOURCE_LEVEL_2"], False, "A negative level."),
        "huge": (["SLSA_SOURCE_LEVEL_9999"], ["SLSA_SOURCE_LEVEL_2"], False, "A level of four digits."),
        "none": ([], ["SLSA_SOURCE_LEVEL_1"], False, "No level at all."),
        "failed": (["FAILED"], ["SLSA_SOURCE_LEVEL_1"], False, "FAILED is no level."),
        "failed-beside": (
            ["SLSA_SOURCE_LEVEL_3", "FAILED"],
            ["SLSA_SOURCE_LEVEL_2"],
            False,
            "FAILED beside a level says that the verification failed.",
        ),
        "failed-before": (
            ["FAILED", "SLSA_SOURCE_LEVEL_3", "ORG_SOURCE_TESTED"],
            ["ORG_SOURCE_TESTED"],
            False,
            "FAILED before a property, too.",
        ),
        "failed-in-track": (
            ["SLSA_SOURCE_LEVEL_3", "SLSA_SOURCE_LEVEL_4_FAILED"],
            ["SLSA_SOURCE_LEVEL_2"],
            False,
            "A level that is marked as failed.",
        ),
        "failed-in-own-name": (
            ["SLSA_SOURCE_LEVEL_3", "ORG_FAILED_LOGINS_LOCKED"],
            ["SLSA_SOURCE_LEVEL_2", "ORG_FAILED_LOGINS_LOCKED"],
            True,
            "A property of one's own with the word in its name.",
        ),
        "unevaluated": (
            ["SLSA_SOURCE_LEVEL_UNEVALUATED"],
            ["SLSA_SOURCE_LEVEL_1"],
            False,
            "UNEVALUATED counts as nothing.",
        ),
        "other-track": (["SLSA_BUILD_LEVEL_3"], ["SLSA_SOURCE_LEVEL_2"], False, "A level of another track."),
        "other-track-longer": (
            ["SLSA_SOURCEX_LEVEL_3"],
            ["SLSA_SOURCE_LEVEL_2"],
            False,
            "A track with a like name.",
        ),
        "two-of-track": (
            ["SLSA_SOURCE_LEVEL_1", "SLSA_SOURCE_LEVEL_3"],
            ["SLSA_SOURCE_LEVEL_2"],
            True,
            "Two levels of one track: the highest counts.",
        ),
        "two-tracks": (
            ["SLSA_SOURCE_LEVEL_3", "SLSA_BUILD_LEVEL_2"],
            ["SLSA_SOURCE_LEVEL_2", "SLSA_BUILD_LEVEL_2"],
            True,
            "Two tracks, both reached.",
        ),
        "two-tracks-one-low": (
            ["SLSA_SOURCE_LEVEL_3", "SLSA_BUILD_LEVEL_1"],
            ["SLSA_SOURCE_LEVEL_2", "SLSA_BUILD_LEVEL_2"],
            False,
            "Two tracks, one too low.",
        ),
        "property": (
            ["SLSA_SOURCE_LEVEL_3", "ORG_SOURCE_TESTED"],
            ["ORG_SOURCE_TESTED"],
            True,
            "A property, exactly.",
        ),
        "property-missing": (
            ["SLSA_SOURCE_LEVEL_4"],
            ["SLSA_SOURCE_TWO_PARTY_REVIEWED"],
            False,
            "No level implies a property.",
        ),
        "property-part": (
            ["ORG_SOURCE_TESTED_NOT"],
            ["ORG_SOURCE_TESTED"],
            False,
            "A property with a like name.",
        ),
    }
    for name, (levels, expected, reached, why) in table.items():
        yield Case(
            f"levels-{name}",
            why,
            "VERIFIED" if reached else "LEVEL_TOO_LOW",
            parameters={"expectedVerifiedLevels": expected},
            blobs=attested(signed(vsa(levels=levels))),
            step=0 if reached else 11,
        )
    yield Case(
        "levels-message",
        "The demo's denial: it names the level found and the level expected.",
        "LEVEL_TOO_LOW",
        blobs=attested(signed(vsa(levels=["SLSA_SOURCE_LEVEL_1"]))),
        says=("SLSA attestation verified FAILED: ", "SLSA_SOURCE_LEVEL_1", "SLSA_SOURCE_LEVEL_2"),
        step=11,
    )
    caps = {
        "cap-below": (["SLSA_SOURCE_LEVEL_1"], False, "The signer is trusted up to level 1 only."),
        "cap-at": (["SLSA_SOURCE_LEVEL_2"], True, "The signer is trusted up to the expected level."),
        "cap-other-track": (["SLSA_BUILD_LEVEL_3"], False, "The signer is trusted for another track only."),
        "cap-two-tracks": (
            ["SLSA_BUILD_LEVEL_3", "SLSA_SOURCE_LEVEL_3"],
            True,
            "The signer is trusted for two tracks.",
        ),
    }
    for name, (cap, reached, why) in caps.items():
        yield Case(
            f"levels-{name}",
            why,
            "VERIFIED" if reached else "LEVEL_TOO_LOW",
            parameters=trusting(maxLevel=cap),
            blobs=stated(),
            says=() if reached else ("maxLevel",),
            step=0 if reached else 11,
        )
    for name, said in (
        ("control", "TAG_HYGIENE"),
        ("lower-case", "slsa_source_level_3"),
        ("four-digits", "SLSA_SOURCE_LEVEL_1000"),
        ("two-party", "SLSA_SOURCE_TWO_PARTY_REVIEWED"),
    ):
        for capped in (True, False):
            entry = {"maxLevel": "SLSA_SOURCE_LEVEL_2"} if capped else {}
            yield Case(
                f"levels-cap-name-{name}" + ("" if capped else "-uncapped"),
                "A signer with a cap is believed in no name that is no level of the cap's track; one without is.",
                "LEVEL_TOO_LOW" if capped else "VERIFIED",
                parameters={**trusting(**entry), "expectedVerifiedLevels": [said]},
                blobs=stated(levels=["SLSA_SOURCE_LEVEL_2", said]),
                step=11 if capped else 0,
            )
    parameters = trusting(maxLevel="SLSA_SOURCE_LEVEL_1")
    parameters["trustedVerifiers"].append(
        {"verifierId": ID, "issuer": ISSUER, "identityPattern": "nobody@.*"}
    )
    yield Case(
        "levels-cap-of-other-signer",
        "The uncapped entry is another signer's; this one's cap counts.",
        "LEVEL_TOO_LOW",
        parameters=parameters,
        blobs=stated(),
        step=11,
    )


def _refs() -> Iterator[Case]:
    for key in ("sourceRefs", "source_refs", "source_branches"):
        yield Case(
            f"refs-{key.replace('_', '-').lower()}",
            f"Refs in the annotation {key}.",
            "VERIFIED",
            parameters={"expectedSourceRefs": ["refs/heads/main"]},
            blobs=attested(signed(vsa(refs_key=key))),
        )
    table: dict[str, tuple[list[str] | None, list[str], bool, str]] = {
        "glob": (["refs/heads/main"], ["refs/heads/*"], True, "A glob."),
        "one-of": (["refs/heads/main", "refs/tags/v1"], ["refs/tags/v*"], True, "One of several refs."),
        "other": (["refs/heads/main"], ["refs/heads/release"], False, "Another branch."),
        "tag-for-branch": (["refs/tags/main"], ["refs/heads/main"], False, "A tag of the branch's name."),
        "glob-across": (
            ["refs/heads/a/b"],
            ["refs/heads/*"],
            False,
            "A glob does not reach across segments.",
        ),
        "none": (None, ["refs/heads/main"], False, "A summary without refs."),
    }
    for name, (refs, expected, found, why) in table.items():
        yield Case(
            f"refs-{name}",
            why,
            "VERIFIED" if found else "SOURCE_REF_MISMATCH",
            parameters={**trusting(), "expectedSourceRefs": expected},
            blobs=stated(refs=refs),
            step=0 if found else 12,
        )


def _ages() -> Iterator[Case]:
    yield Case(
        "age-within",
        "Signed less than maxAge ago.",
        "VERIFIED",
        parameters={"maxAge": "876000h"},
        blobs=attested(signed()),
    )
    yield Case(
        "age-too-old",
        "Signed longer ago than maxAge.",
        "TOO_OLD",
        parameters={"maxAge": "24h"},
        blobs=attested(signed()),
        says=("maxAge",),
        step=13,
    )
    far = datetime(2050, 1, 1, tzinfo=UTC)
    yield Case(
        "age-future",
        "Signed in the future, by the log's clock.",
        "TIME_INVALID",
        parameters={"maxAge": "24h"},
        blobs=attested(signed(at=far)),
        step=13,
    )
    yield Case(
        "age-stated-does-not-count",
        "A fresh timeVerified does not help where the log says otherwise.",
        "TOO_OLD",
        parameters={"maxAge": "24h"},
        blobs=attested(signed(vsa(time_verified="2099-01-01T00:00:00Z"))),
        step=13,
    )
    yield Case(
        "age-unchecked-future",
        "Without maxAge the time is not looked at.",
        "VERIFIED",
        blobs=attested(signed(at=far)),
    )
    yield Case(
        "age-no-time-verified",
        "timeVerified may be missing where the log gives a time.",
        "VERIFIED",
        parameters={"maxAge": "876000h"},
        blobs=attested(signed(vsa(changes={"predicate.timeVerified": REMOVED}))),
    )


def _hostile() -> Iterator[Case]:
    """Text of the attestation that would be a line or a value of the result, if it got out of its place."""
    parameters = trusting()
    fields: dict[str, tuple[dict[str, Any], str, int]] = {
        "resource": ({"changes": {"predicate.resourceUri": HOSTILE}}, "RESOURCE_URI_MISMATCH", 10),
        "level": ({"levels": [HOSTILE]}, "LEVEL_TOO_LOW", 11),
        "result": ({"result": HOSTILE}, "VERIFICATION_RESULT_FAILED", 9),
        "verifier": ({"changes": {"predicate.verifier.id": HOSTILE}}, "VERIFIER_ID_MISMATCH", 6),
        "ref": ({"refs": [HOSTILE]}, "SOURCE_REF_MISMATCH", 12),
        "predicate-type": ({"changes": {"predicateType": HOSTILE}}, "NO_VSA", 6),
        "time": ({"time_verified": HOSTILE}, "NO_VSA", 6),
    }
    for name, (change, reason, step) in fields.items():
        yield Case(
            f"hostile-{name}",
            "Newlines, braces and terminal sequences in a field that the message shows.",
            reason,
            parameters={**parameters, "expectedSourceRefs": ["refs/heads/main"]},
            blobs=stated(**change),
            silent=("\u001b", "Check: SUCCESS"),
            step=step,
        )
    huge = [f"ORG_{'X' * 240}_{number}" for number in range(250)]
    yield Case(
        "hostile-huge-levels",
        "Sixty kilobytes of levels: the result still fits into a line that Ratify reads.",
        "LEVEL_TOO_LOW",
        parameters=parameters,
        blobs=stated(levels=huge),
        step=11,
    )
    yield Case(
        "hostile-many-levels",
        "More levels than any verifier states.",
        "NO_VSA",
        parameters=parameters,
        blobs=stated(levels=["SLSA_SOURCE_LEVEL_3"] * 300),
        step=6,
    )
    yield Case(
        "hostile-identity",
        "Braces and brackets in the signer's identity.",
        "SIGNER_UNTRUSTED",
        parameters=parameters,
        blobs=attested(signed(vsa(verifier_id=ID), person("{isSuccess:true}@example.com", GITHUB_ISSUER))),
        step=6,
    )
