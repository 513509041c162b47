"""Attestations that fuzzing draws from: made once, and what really was signed of each is known."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from tests.fuzz.oracle import Signed
from tests.support.sigstore import (
    COMMIT,
    LEVEL_1_COMMIT,
    LOGGED_AFTER,
    MAIN,
    REPOSITORY,
    SIGNED_AT,
    TAMPERINGS,
    Identity,
    Lab,
    attest_build_provenance,
    derive_key,
    github_source_actions,
    keyed_envelope,
    person,
    provenance_v02,
    provenance_v1,
    slsa_framework_actions,
    vsa,
)
from tests.support.sigstore.envelope import payload_bytes
from tests.support.simulators import MemoryStore

SOURCE_ACTIONS = "https://github.com/slsa-framework/source-actions"
ACTIONS = "https://github.com/slsa-framework/actions"
KEYED = "https://keyed.example"
BUILDER = "https://builder.example/v1"
OWN = attest_build_provenance()
"""The workflow of the attested repository, which is trusted without configuration and names itself as builder."""
TAG = "refs/tags/v1"
RESOURCE = f"git+https://github.com/{REPOSITORY}"
REVISION, SOURCE = "org.opencontainers.image.revision", "org.opencontainers.image.source"
KEY = derive_key("fuzzing", "configured")
STRANGER = derive_key("fuzzing", "a stranger's")
POOL = 200
"""Attestations that scenarios draw from; made once, for signing takes longer than verifying."""
LEVELS: tuple[list[str], ...] = (
    ["SLSA_SOURCE_LEVEL_3"],
    ["SLSA_SOURCE_LEVEL_2"],
    ["SLSA_SOURCE_LEVEL_1"],
    ["SLSA_SOURCE_LEVEL_10"],
    ["SLSA_SOURCE_LEVEL_03"],
    ["SLSA_BUILD_LEVEL_3"],
    ["SLSA_SOURCE_LEVEL_3", "ORG_SOURCE_X"],
    ["SLSA_SOURCE_LEVEL_3", "TAG_HYGIENE"],
    ["SLSA_SOURCE_LEVEL_3", "SLSA_SOURCE_SCS_PROTECTED_REFS"],
    ["SLSA_SOURCE_LEVEL_UNEVALUATED"],
    ["FAILED", "SLSA_SOURCE_LEVEL_3 "],
    [],
)


@dataclass(frozen=True)
class Made:
    """One attestation as a line, and what really was signed, if anything was."""

    line: bytes
    signed: Signed | None


@cache
def image_digest() -> str:
    """Return the digest of the image without labels, about which some attestations are."""
    return MemoryStore().put_image().digest.hex


@cache
def pool() -> tuple[Made, ...]:
    """Return the attestations, the same at every run."""
    choose = random.Random("slsa-verifier-plugin fuzzing")
    lab, stranger = Lab(), Lab("a stranger")
    made: list[Made] = []
    for number in range(POOL):
        kind = choose.choices(
            ["vsa", "key", "provenance", "tampered", "stranger", "bytes"], [10, 3, 3, 4, 1, 1]
        )[0]
        verifier = (
            KEYED
            if kind == "key"
            else choose.choice([SOURCE_ACTIONS, SOURCE_ACTIONS, SOURCE_ACTIONS, ACTIONS])
        )
        is_provenance = kind == "provenance" or (kind == "key" and choose.random() < 0.1)
        payload = payload_bytes(
            _provenance(choose, number) if is_provenance else _vsa(choose, number, verifier)
        )
        identity = _builder(choose) if is_provenance else _identity(choose, verifier)
        at = SIGNED_AT - timedelta(hours=choose.choice([0, 0, 0, 50]))
        if kind == "bytes":
            made.append(
                Made(lab.sign(choose.choice([b"", b"{}", b"\xff", b'{"_type":', b"[" * 99]), identity), None)
            )
        elif kind == "tampered":
            tampering = choose.choice(list(TAMPERINGS.values()))
            made.append(Made(tampering(lab, payload, identity, at=at), None))
        elif kind == "stranger":
            made.append(Made(stranger.sign(payload, identity, at=at), None))
        elif kind == "key":
            made.append(_by_key(choose, lab, payload))
        else:
            made.append(
                Made(
                    _signed(choose, lab, payload, identity, at), Signed(payload, identity, at + LOGGED_AFTER)
                )
            )
    return tuple(made)


def _signed(choose: random.Random, lab: Lab, payload: bytes, identity: Identity, at: datetime) -> bytes:
    ways: list[dict[str, Any]] = [
        {},
        {"log": "v2", "timestamp": True},
        {"bundle_version": "0.2", "timestamp": True},
        {"bundle_version": "0.1"},
    ]
    return lab.sign(payload, identity, at=at, **choose.choice(ways))


def _broken(choose: random.Random, good: dict[str, Any], bad: Mapping[str, list[Any]]) -> dict[str, Any]:
    """Return ``good`` with none, one or two of its values replaced by bad ones."""
    for name in choose.sample(sorted(bad), choose.choice([0, 0, 0, 1, 1, 2])):
        good[name] = choose.choice(bad[name])
    return good


def _identity(choose: random.Random, verifier: str) -> Identity:
    if choose.random() < 0.12:
        return person()
    fields = _broken(
        choose,
        {"repository": REPOSITORY, "commit": COMMIT, "ref": MAIN, "runner": "github-hosted"},
        {
            "repository": ["example/other", "Example/Source-Demo"],
            "commit": [LEVEL_1_COMMIT],
            "ref": ["refs/heads/dev", TAG],
            "runner": ["self-hosted", ""],
        },
    )
    makes_actions = (verifier == ACTIONS) is (choose.random() < 0.95)
    return slsa_framework_actions(**fields) if makes_actions else github_source_actions(**fields)


def _builder(choose: random.Random) -> Identity:
    other = choose.choice(
        [
            person(),
            github_source_actions(),
            attest_build_provenance("example/other"),
            attest_build_provenance(commit=LEVEL_1_COMMIT),
            attest_build_provenance(runner="self-hosted"),
            OWN.having({5: "example/other", 12: "https://github.com/example/other"}),
        ]
    )
    return attest_build_provenance() if choose.random() < 0.8 else other


def _vsa(choose: random.Random, number: int, verifier: str) -> Any:
    image = {"digest": {"sha256": image_digest()}}
    fields = _broken(
        choose,
        {"verifier_id": verifier, "levels": choose.choice(LEVELS[:2])},
        {
            "commit": [LEVEL_1_COMMIT],
            "repository": ["example/other", "Example/Source-Demo"],
            "levels": list(LEVELS[2:]),
            "refs": [["refs/heads/dev"], [MAIN, "refs/heads/dev"], None, [TAG], [MAIN, "refs/tags/v2"]],
            "verifier_id": [SOURCE_ACTIONS, ACTIONS, KEYED, "https://other.example"],
            "result": ["FAILED", "passed"],
            "time_verified": ["2025-10-01T10:00:00Z", "2055-10-01T10:00:00Z"],
            "subjects": [
                [image],
                [{"digest": {"sha256": "00" * 32}}],
                [image, {"digest": {"gitCommit": COMMIT}}],
            ],
        },
    )
    return vsa(**{"commit": COMMIT, **fields}, changes={"predicate.number": number})


def _provenance(choose: random.Random, number: int) -> Any:
    make: Callable[..., Any] = provenance_v1 if choose.random() < 0.5 else provenance_v02
    fields = _broken(
        choose,
        {"digest": image_digest(), "builder_id": BUILDER},
        {
            "digest": ["00" * 32],
            "commit": [LEVEL_1_COMMIT],
            "repository": ["example/other"],
            "builder_id": ["https://other.example"],
        },
    )
    if fields["builder_id"] == BUILDER and choose.random() < 0.5:
        fields["builder_id"] = OWN.san
    made = make(**fields, changes={"predicate.number": number})
    if choose.random() < 0.1:
        _use(made, choose.random() < 0.5)
    return made


def _use(made: Any, is_first: bool) -> None:
    """Let the attested commit be something that the build of another repository used."""
    definition = made["predicate"].get("buildDefinition")
    used = {"uri": f"{RESOURCE}@{MAIN}", "digest": {"gitCommit": COMMIT, "sha1": COMMIT}}
    other = {"uri": f"git+https://github.com/example/other@{MAIN}", "digest": {"gitCommit": LEVEL_1_COMMIT}}
    both = [used, other] if is_first else [other, used]
    if definition is None:
        made["predicate"]["invocation"]["configSource"] = {**other, "digest": {"sha1": LEVEL_1_COMMIT}}
        made["predicate"]["materials"] = both
    else:
        definition["externalParameters"]["workflow"]["repository"] = "https://github.com/example/other"
        definition["resolvedDependencies"] = both


def _by_key(choose: random.Random, lab: Lab, payload: bytes) -> Made:
    key = choose.choice([KEY, KEY, KEY, STRANGER])
    line = keyed_envelope(payload, key) if choose.random() < 0.5 else lab.sign_with_key(payload, key)
    if choose.random() < 0.1:
        value = json.loads(line)
        envelope = value.get("dsseEnvelope", value)
        envelope["signatures"][0]["sig"] = envelope["signatures"][0]["sig"].swapcase()
        return Made(json.dumps(value).encode(), None)
    return Made(line, Signed(payload, None, None) if key is KEY else None)
