"""Whole verifications: an image, a policy and an artifact full of genuine, tampered, foreign and mangled attestations.

Bytes decide which. The verdict must be one line of the contract, in time, and a success only where the oracle allows it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from slsa_verifier_plugin import ratify
from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.lru import LruCache
from slsa_verifier_plugin.model.digest import Descriptor
from slsa_verifier_plugin.policy.parameters import Policy
from slsa_verifier_plugin.policy.verdict import Verdict
from slsa_verifier_plugin.signatures.keys import load_key
from slsa_verifier_plugin.signatures.trust import load_root
from slsa_verifier_plugin.signatures.verifier import AttestationVerifier, RootVerifier
from slsa_verifier_plugin.verification.judged import ArtifactRequest
from slsa_verifier_plugin.verification.ports import SignatureVerifier
from slsa_verifier_plugin.verification.verify import verify
from tests.fuzz.attestation_pool import (
    ACTIONS,
    BUILDER,
    KEY,
    KEYED,
    OWN,
    RESOURCE,
    REVISION,
    SOURCE,
    SOURCE_ACTIONS,
    TAG,
    pool,
)
from tests.fuzz.choices import Choices
from tests.fuzz.oracle import World
from tests.support.deciding import DecidingService
from tests.support.sigstore import (
    COMMIT,
    LEVEL_1_COMMIT,
    MAIN,
    SIGNED_AT,
    Lab,
    github_source_actions,
    slsa_framework_actions,
)
from tests.support.simulators import MemoryStore, as_json, reference

SECONDS = 4.0


@dataclass
class Scenario:
    """What is asked, what there is (``untouched`` are the lines that nothing was changed in), and the truth about it."""

    config: dict[str, Any]
    lines: list[bytes]
    untouched: list[bytes]
    world: World
    store: MemoryStore
    image: Descriptor
    artifact: Descriptor


def build(data: bytes) -> Scenario:
    """Return the scenario that ``data`` decides."""
    choices = Choices(data)
    labels: dict[str, str] = {}
    if choices.chance(3):
        labels = {REVISION: choices.one_of([COMMIT, COMMIT, LEVEL_1_COMMIT, ""])}
        if choices.chance(2):
            labels[SOURCE] = choices.one_of(
                [RESOURCE.removeprefix("git+"), "https://github.com/example/other", ""]
            )
    store = MemoryStore()
    image = store.put_image(labels or None)
    config = _config(choices)
    capped = "maxLevel" in json.dumps(config)
    world = World(
        image=image.digest.hex,
        now=SIGNED_AT + timedelta(hours=1),
        parameters=config,
        signers=_signers(config),
        builders={BUILDER if "trustedBuilders" in config else OWN.san: [OWN.san]},
        caps={KEYED: 1} if capped else {},
        labels=labels,
    )
    lines, untouched = [], []
    for _ in range(1 + choices.number(8)):
        line = _drawn(choices, world)
        mangled = _mangled(choices, line)
        lines.append(mangled)
        if mangled == line:
            untouched.append(line)
    artifact = store.attach(image, *_blobs(choices, lines))
    return Scenario(config, lines, untouched, world, store, image, artifact)


def _config(choices: Choices) -> dict[str, Any]:
    levels = [
        ["SLSA_SOURCE_LEVEL_2"],
        ["SLSA_SOURCE_LEVEL_2"],
        ["SLSA_SOURCE_LEVEL_3"],
        ["ORG_SOURCE_X"],
        ["TAG_HYGIENE"],
        ["SLSA_SOURCE_SCS_PROTECTED_REFS"],
        ["SLSA_SOURCE_LEVEL_4"],
    ]
    config: dict[str, Any] = {
        "name": "slsla",
        "expectedVerifiedLevels": choices.one_of(levels),
        "expectedResourceUri": choices.one_of(
            [RESOURCE] * 6
            + [
                "git+https://github.com/example/other",
                "git+https://github.com/EXAMPLE/*",
                "git+https://*/example/**",
            ]
        ),
    }
    verifiers = choices.one_of(
        [[SOURCE_ACTIONS], [SOURCE_ACTIONS], [ACTIONS], [SOURCE_ACTIONS, ACTIONS], [KEYED], [KEYED]]
    )
    if verifiers == [KEYED]:
        entry = {"verifierId": KEYED, "publicKey": KEY.pem.decode()}
        config["trustedVerifiers"] = [
            {**entry, "maxLevel": "SLSA_SOURCE_LEVEL_1"} if choices.chance(4) else entry
        ]
    config["expectedVerifierId"] = verifiers
    if choices.chance(6):
        config["expectedSourceRefs"] = choices.one_of(
            [[MAIN], [MAIN], ["refs/heads/dev"], ["refs/tags/*"], [TAG]]
        )
    if choices.chance(6):
        config["maxAge"] = choices.one_of(["24h", "72h"])
    if choices.chance(6):
        config["allowSelfHostedRunners"] = True
    binding = choices.one_of(["none", "none", "none", "annotation", "provenance", "provenance"])
    if binding != "none":
        config["sourceBinding"] = binding
    if binding == "provenance" and choices.chance(2):
        config["trustedBuilders"] = [{"builderId": BUILDER, "issuer": OWN.extensions[8], "identity": OWN.san}]
    return config


def _signers(config: Mapping[str, Any]) -> dict[str, list[str]]:
    if "trustedVerifiers" in config:
        return {KEYED: ["key"]}
    current = slsa_framework_actions().san
    known = {SOURCE_ACTIONS: [github_source_actions().san, current], ACTIONS: [current]}
    return {name: known[name] for name in config["expectedVerifierId"]}


def _drawn(choices: Choices, world: World) -> bytes:
    made = choices.one_of(pool())
    if made.signed is not None:
        world.add(made.signed)
    return made.line


def _mangled(choices: Choices, line: bytes) -> bytes:
    """Return ``line`` as it is in most cases, else with something changed, in the JSON or in the bytes."""
    how = choices.number(8)
    if how == 1:
        return _with_byte_changed(choices, line)
    if how in (2, 3):
        return json.dumps(_with_value_changed(choices, json.loads(line))).encode()
    return line


def _with_byte_changed(choices: Choices, line: bytes) -> bytes:
    at = choices.number(len(line))
    how = choices.number(3)
    if how == 0:
        return line[:at] + bytes([line[at] ^ (1 + choices.number(255))]) + line[at + 1 :]
    if how == 1:
        return line[:at] + choices.bytes(8) + line[at:]
    return line[:at] + line[at + 1 + choices.number(8) :]


def _with_value_changed(choices: Choices, value: Any, depth: int = 0) -> Any:
    """Return a JSON value with one value somewhere in it replaced, removed, doubled or swapped for another line's."""
    if depth < 9 and isinstance(value, dict) and value and not choices.chance(8):
        name = choices.one_of(sorted(value))
        if choices.chance(6):
            return {key: item for key, item in value.items() if key != name}
        return {**value, name: _with_value_changed(choices, value[name], depth + 1)}
    if depth < 9 and isinstance(value, list) and value and not choices.chance(8):
        at = choices.number(len(value))
        if choices.chance(4):
            return [*value, value[at]]
        return [
            _with_value_changed(choices, item, depth + 1) if index == at else item
            for index, item in enumerate(value)
        ]
    donor = json.loads(choices.one_of(pool()).line)
    donated = donor.get("verificationMaterial") or donor.get("signatures")
    options: list[Any] = [
        None,
        0,
        -1,
        1.5,
        "",
        "x",
        True,
        [],
        {},
        [value],
        {"a": value},
        donated,
        donor.get("dsseEnvelope"),
    ]
    if isinstance(value, str):
        options += [value + "A", value[:-1], value.swapcase(), value[::-1]]
    if isinstance(value, int):
        options += [value + 1, -value, str(value)]
    return choices.one_of(options)


def _blobs(choices: Choices, lines: list[bytes]) -> list[bytes]:
    junk = [b"junk", b"", b'{"payload":1}', b"\xff\x00"]
    blobs: list[list[bytes]] = [[]]
    for line in lines:
        if choices.chance(4):
            blobs.append([])
        blobs[-1] += [*choices.some_of(junk, 2), line]
    return [b"\n".join(blob) for blob in blobs]


@cache
def root_verifier() -> RootVerifier:
    """Return the verifier for the lab's trusted root."""
    return RootVerifier(load_root(Lab().trusted_root(), "the lab"))


_cache: LruCache[Any, Any] = LruCache(16 << 20)


def verifier_for(policy: Policy, now: datetime) -> SignatureVerifier:
    """Return the real verifier for the lab's root and the policy's keys."""
    keys = {configured: load_key(configured) for configured in policy.public_keys}
    return AttestationVerifier([root_verifier()], keys, _cache, now)


VerifierFor = Callable[[Policy, datetime], SignatureVerifier]


def check(scenario: Scenario, make_verifier: VerifierFor = verifier_for) -> Verdict:
    """Run a scenario as the plugin would, and assert what must be true of any answer.

    Raises:
        AssertionError: an answer that breaks the contract, comes late, or admits what the oracle does not.
    """
    verdicts: list[Verdict] = []

    def decide(call: ratify.Call, policy: Policy, deadline: Deadline) -> Verdict:
        request = ArtifactRequest(call.image, call.artifact, policy)
        verifier = make_verifier(policy, scenario.world.now)
        verdicts.append(verify(request, scenario.store, verifier, deadline, lambda: scenario.world.now))
        return verdicts[0]

    # The processor's time: on a busy machine a second may pass without any. One that waits for ever ends by INPUT_SECONDS.
    started = time.process_time()
    stdin = {
        "config": scenario.config,
        "storeConfig": {"store": {}},
        "referenceDesc": as_json(scenario.artifact),
    }
    environment = {
        ratify.COMMAND: "VERIFY",
        ratify.SUBJECT: str(reference(scenario.image.digest)),
        ratify.VERSION: "1.0.0",
    }
    response = DecidingService(decide).respond(environment, json.dumps(stdin).encode())
    assert time.process_time() - started < SECONDS + 2, "late"
    assert response.status == 0
    assert response.stderr == b""
    assert response.stdout.endswith(b"\n")
    assert response.stdout.count(b"\n") == 1
    assert len(response.stdout) <= 60 * 1024 + 1
    result = json.loads(response.stdout)
    assert b"Traceback" not in response.stdout
    assert result["extensions"]["reason"] != "INTERNAL_ERROR", result["message"]
    (verdict,) = verdicts
    assert result["isSuccess"] is verdict.success
    if verdict.success:
        assert scenario.world.may_admit(scenario.lines), (
            f"admitted: {result['message']} under {scenario.config}"
        )
        assert verdict.best is not None
        assert verdict.best.verified is not None
    else:
        assert not scenario.world.may_admit(scenario.untouched), (
            f"denied: {result['message']} under {scenario.config}"
        )
    return verdict
