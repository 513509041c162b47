"""What must be true of each parser for any bytes at all: its own error or a value, and the value holds together.

A target takes bytes and raises ``AssertionError``, or whatever the parser should not have raised. ``seeds`` has what to
begin with.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from functools import cache
from typing import Any

from slsa_verifier_plugin import ratify
from slsa_verifier_plugin.errors import ArtifactError, SignatureError, StatementError, TrustRootError
from slsa_verifier_plugin.model.digest import Digest
from slsa_verifier_plugin.model.envelope import Candidate, read_blob
from slsa_verifier_plugin.model.levels import Levels, is_nothing, track_level
from slsa_verifier_plugin.model.manifest import ARTIFACT_TYPES, IMAGE_TYPES, INDEX_TYPES, parse_manifest
from slsa_verifier_plugin.model.provenance import parse_provenance
from slsa_verifier_plugin.model.signer import Claim
from slsa_verifier_plugin.model.source_uri import SourceUri, same_repository
from slsa_verifier_plugin.model.statement import PAYLOAD_TYPE, parse_statement, predicate_type_in
from slsa_verifier_plugin.model.vsa import parse_time, parse_vsa
from slsa_verifier_plugin.policy.checks import Context, examine
from slsa_verifier_plugin.policy.matching import (
    IdentityPattern,
    PatternError,
    RefPattern,
    UriPattern,
    escaped,
)
from slsa_verifier_plugin.policy.parameters import ParameterError, parse_policy
from slsa_verifier_plugin.registry.reference import Reference
from slsa_verifier_plugin.resident import protocol
from slsa_verifier_plugin.signatures.certificate import ct_log_ids, load, signer_of
from slsa_verifier_plugin.signatures.keys import load_key, verify_with_keys
from slsa_verifier_plugin.signatures.timestamps import names_authority, verified_times
from slsa_verifier_plugin.signatures.trust import load_roots
from slsa_verifier_plugin.strict_json import MAX_DEPTH, JsonError, loads
from slsa_verifier_plugin.text import plain, quoted
from tests.fuzz import scenarios
from tests.fuzz.attestation_pool import KEY, pool
from tests.fuzz.oracle import depth_of, payload_of
from tests.fuzz.seeds import seeds
from tests.support.deciding import DecidingService
from tests.support.policies import BASE, policy, signer
from tests.support.sigstore import SIGNED_AT

Target = Callable[[bytes], None]
MANIFEST_TYPES = (*IMAGE_TYPES, *INDEX_TYPES, *ARTIFACT_TYPES)
UNSAFE = set("{}\n\r\x1b\x00\u2028\u202e")


def strict_json(data: bytes) -> None:
    """A value that Python's own reader agrees on and that can be written and read again, or ``JsonError``."""
    try:
        value = loads(data)
    except JsonError:
        return
    assert value == json.loads(data)
    assert loads(json.dumps(value).encode()) == value
    json.dumps(value, ensure_ascii=False).encode("utf-8")
    assert depth_of(value) <= MAX_DEPTH


def blob(data: bytes) -> None:
    """Candidates that are parts of the blob and say what an independent reading says, or ``ArtifactError``."""
    try:
        found = read_blob(data, 8)
    except ArtifactError as error:
        _assert_safe(error.message)
        return
    assert len(found.candidates) <= 8
    for candidate in found.candidates:
        assert candidate.content in data
        assert payload_of(candidate.content) is not None
        assert 1 <= candidate.line <= data.count(b"\n") + 1
    assert found.others <= data.count(b"\n") + data.count(b",") + data.count(b"{") + data.count(b"[") + 1


def manifest(data: bytes) -> None:
    """A manifest of one kind whose parts are well-formed, or ``ArtifactError``."""
    media_type = MANIFEST_TYPES[data[0] % len(MANIFEST_TYPES)] if data else IMAGE_TYPES[0]
    try:
        parsed = parse_manifest(data[1:], media_type)
    except ArtifactError as error:
        _assert_safe(error.message)
        return
    value = json.loads(data[1:])
    assert not (parsed.blobs and parsed.manifests)
    assert (parsed.subject is None) == (value.get("subject") is None)
    if parsed.subject is not None:
        assert str(parsed.subject.digest) == value["subject"]["digest"]
    for descriptor in (*parsed.blobs, *parsed.manifests):
        assert descriptor.size >= 0
        assert Digest.parse(str(descriptor.digest)) == descriptor.digest


def statement(data: bytes) -> None:
    """A statement that says what its JSON says, or ``StatementError``; and the checks end in one outcome for it."""
    examination = examine(Claim(PAYLOAD_TYPE, data, signer()), Context(policy(), Digest.of(b"")))
    _assert_safe(examination.message)
    try:
        parsed = parse_statement(PAYLOAD_TYPE, data)
    except StatementError as error:
        _assert_safe(error.message)
        assert examination.reason == "NO_VSA"
        return
    value = json.loads(data)
    assert parsed.predicate_type == predicate_type_in(value)
    assert [dict(subject.digests) for subject in parsed.subjects] == [
        one["digest"] for one in value["subject"]
    ]
    for parse in (parse_vsa, parse_provenance):
        with contextlib.suppress(StatementError):
            parse(parsed)
    if examination.reason is None:
        assert value["predicate"]["verificationResult"] == "PASSED"
        # GitHub ignores the case of owners and repositories.
        assert value["predicate"]["resourceUri"].lower() == BASE["expectedResourceUri"].lower()


def frames(data: bytes) -> None:
    """A frame's header and body that are written again as they were, or ``FrameError``."""
    header, body = data[: protocol.HEADER_BYTES], data[protocol.HEADER_BYTES :]
    if len(header) == protocol.HEADER_BYTES:
        with contextlib.suppress(protocol.FrameError):
            kind, length = protocol.parse_header(header, protocol.MAX_REPLY)
            assert length <= protocol.MAX_REPLY
            assert 0 <= kind <= 0xFFFF
    with contextlib.suppress(protocol.FrameError):
        elapsed, command, subject, version, stdin = protocol.decode_request(body)
        assert (
            protocol.encode_request((elapsed, command, subject, version, stdin))[protocol.HEADER_BYTES :]
            == body
        )
    with contextlib.suppress(protocol.FrameError):
        assert protocol.encode_answer(protocol.decode_answer(body))[protocol.HEADER_BYTES :] == body
    with contextlib.suppress(protocol.FrameError):
        assert protocol.encode_accepted(protocol.decode_accepted(body))[protocol.HEADER_BYTES :] == body


def reference(data: bytes) -> None:
    """A reference that is itself once written and read again, or ``ArtifactError``."""
    text = data.decode("utf-8", "surrogateescape")
    try:
        parsed = Reference.parse(text)
    except ArtifactError as error:
        _assert_safe(error.message)
        return
    assert str(parsed).isascii()
    again = Reference.parse(str(parsed))
    assert (again.registry, again.repository, again.digest) == (
        parsed.registry,
        parsed.repository,
        parsed.digest,
    )
    assert not set(parsed.registry + parsed.repository) & set(" @%?#\\\n")
    assert ".." not in parsed.repository.split("/")


def text(data: bytes) -> None:
    """One safe line of bounded length."""
    foreign = data.decode(
        "utf-8", "surrogateescape" if len(data) % 2 else "surrogatepass" if _is_wtf8(data) else "replace"
    )
    for shown in (plain(foreign), quoted(foreign), plain(data), plain([foreign], 40)):
        _assert_safe(shown)
        assert len(shown) <= 170
        assert len(f"x{shown}".splitlines()) == 1


def _is_wtf8(data: bytes) -> bool:
    try:
        data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return False
    return True


def small_texts(data: bytes) -> None:
    """Times, repositories, levels and patterns: a value that holds together, or none."""
    foreign = data.decode("utf-8", "replace")
    first, _, second = foreign.partition("|")
    with contextlib.suppress(StatementError):
        assert parse_time(foreign).utcoffset() is not None
    parsed = SourceUri.parse(foreign)
    assert (parsed is not None) is same_repository(foreign, foreign)
    if parsed is not None:
        assert same_repository(str(parsed), foreign)
    level = track_level(foreign)
    assert level is None or not is_nothing(foreign)
    assert Levels.of([first]).missing([first]) == ([first] if is_nothing(first) else [])
    assert not set(Levels.of([first]).missing([second])) - set(
        Levels.of([first]).capped([second]).missing([second])
    )
    with contextlib.suppress(PatternError):
        matched = UriPattern(first).matches(second)
        assert not matched or "*" in first or first.lower() == second.lower()
        assert not RefPattern(first).matches(second) or "*" in first or first == second
    assert UriPattern(escaped(foreign)).matches(foreign)
    assert RefPattern(escaped(foreign)).matches(foreign)
    with contextlib.suppress(PatternError):
        IdentityPattern(first).check()
        assert isinstance(IdentityPattern(first).matches(second), bool)


def certificate(data: bytes) -> None:
    """A signer, or ``SignatureError``."""
    try:
        loaded = load(data)
        named = signer_of(loaded)
    except SignatureError as error:
        _assert_safe(error.message)
        return
    assert 0 < len(named.identity) <= 2048
    assert not named.identity.startswith("key:")
    assert set(named.claims) <= set(range(2, 25))
    with contextlib.suppress(ValueError):
        assert all(len(log_id) == 32 for log_id in ct_log_ids(loaded))


def key(data: bytes) -> None:
    """A key that is accepted, or ``TrustRootError`` that does not show it."""
    pem = "-----BEGIN PUBLIC KEY-----\n" + data.decode("utf-8", "replace")
    try:
        trusted = load_key(pem)
    except TrustRootError as error:
        _assert_safe(error.message)
        return
    assert trusted.identity.startswith("key:")


def envelope(data: bytes) -> None:
    """A key's signature over what an independent reading says, or ``SignatureError``."""
    for candidate in _candidates(data):
        try:
            verified = verify_with_keys(candidate, [load_key(KEY.pem.decode())])
        except SignatureError as error:
            _assert_safe(error.message)
            continue
        assert verified.claim.payload == payload_of(candidate.content)
        assert verified.claim.payload in _genuine(), "a signature over something that was never signed"


def bundle(data: bytes) -> None:
    """A verified payload that really was signed by who is named, or ``SignatureError``."""
    for candidate in _candidates(data):
        verifier = scenarios.verifier_for(policy(), SIGNED_AT)
        with contextlib.suppress(SignatureError):
            verifier.claims(candidate)
        try:
            verified = verifier.verify(candidate)
        except SignatureError as error:
            _assert_safe(error.message)
            continue
        assert verified.claim.payload == payload_of(candidate.content)
        names = _genuine().get(verified.claim.payload, set())
        assert verified.claim.signer.identity in names, "a signature over something that was never signed"


def _candidates(data: bytes) -> tuple[Candidate, ...]:
    try:
        return read_blob(data, 4).candidates
    except ArtifactError:
        return ()


@cache
def _genuine() -> dict[bytes, set[str]]:
    """Return who really signed each payload of the pool."""
    names: dict[bytes, set[str]] = {}
    for made in pool():
        if made.signed is not None:
            name = made.signed.identity.san if made.signed.identity else f"key:{KEY.key_id.hex()}"
            names.setdefault(made.signed.payload, set()).add(name)
    return names


def timestamp(data: bytes) -> None:
    """The times of genuine tokens for the message, or ``SignatureError``."""
    authorities = scenarios.root_verifier().root.parts.timestamp_authorities
    try:
        times = verified_times([data], b"message", authorities)
    except SignatureError as error:
        _assert_safe(error.message)
        return
    assert times in ({}, {data: SIGNED_AT})
    with contextlib.suppress(SignatureError):
        # Whom a token names as its signer is not signed, so a genuine one may name nobody that is known.
        assert isinstance(names_authority([data], authorities), bool)


def trusted_root(data: bytes) -> None:
    """A root with an authority and a source of time, or ``TrustRootError``."""
    try:
        found = load_roots(data, "fuzzed")
    except TrustRootError as error:
        _assert_safe(error.message)
        return
    for root in found.roots:
        assert root.parts.authorities
        assert root.parts.logs or root.parts.timestamp_authorities


def parameters(data: bytes) -> None:
    """A policy that demands something of somebody, or ``ParameterError``."""
    try:
        value = loads(data)
    except JsonError:
        return
    if not isinstance(value, dict):
        return
    try:
        parsed = parse_policy({**BASE, **value})
    except ParameterError as error:
        for violation in error.violations:
            _assert_safe(str(violation))
        return
    assert parsed.levels
    assert parsed.resource_uris
    assert {entry.id for entry in parsed.verifiers} >= set(parsed.verifier_ids)
    for entry in (*parsed.verifiers, *parsed.builders):
        assert bool(entry.public_key) is not bool(entry.issuer)


def contract(data: bytes) -> None:
    """One line of JSON and exit status 0 or 1, never a success, whatever environment and standard input say."""
    parts = data.split(b"\0", 3)
    names = (ratify.COMMAND, ratify.SUBJECT, ratify.VERSION)
    environment = {
        name: value.decode("utf-8", "surrogateescape") for name, value in zip(names, parts, strict=False)
    }
    stdin = parts[3] if len(parts) == 4 else data

    def decide(*_: object) -> Any:
        raise ArtifactError("nothing is admitted here")

    assert 0 < ratify.Input.of(stdin).seconds <= 300
    response = DecidingService(decide).respond(environment, stdin)
    assert response.stdout.count(b"\n") == 1
    assert len(response.stdout) <= 60 * 1024 + 1
    value = json.loads(response.stdout)
    assert response.status == ("code" in value)
    assert value.get("isSuccess") is not True
    _assert_safe(value.get("message") or value["msg"])


def verification(data: bytes) -> None:
    """A whole verification whose success the oracle allows."""
    scenarios.check(scenarios.build(data))


def _assert_safe(shown: str) -> None:
    assert not set(shown) & UNSAFE, ascii(shown)


TARGETS: dict[str, Target] = {
    target.__name__: target
    for target in (
        strict_json,
        blob,
        manifest,
        statement,
        frames,
        reference,
        text,
        small_texts,
        certificate,
        key,
        envelope,
        bundle,
        timestamp,
        trusted_root,
        parameters,
        contract,
        verification,
    )
}
SLOWEST = 2.0
"""Seconds of the processor that one input may take; the whole of a verification has 4."""


def warm_up(name: str) -> None:
    """Run one target on its seeds, so that what is made once is made before any time is taken."""
    for seed in seeds(name):
        TARGETS[name](seed)


def run(name: str, data: bytes) -> None:
    """Run one target on one input, and hold it to its time: that of the processor, for others may be busy, too."""
    started = time.process_time()
    TARGETS[name](data)
    assert time.process_time() - started < SLOWEST, f"{name} took {time.process_time() - started:.1f} s"
