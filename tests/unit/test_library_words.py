"""No library's own text reaches a user: every loader is fed what is broken, and its words are looked through."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from sigstore_models.bundle import v1 as bundle_v1

from slsa_verifier_plugin.errors import UsageError, VerifierError
from slsa_verifier_plugin.model.envelope import read_blob
from slsa_verifier_plugin.model.statement import PAYLOAD_TYPE, parse_statement
from slsa_verifier_plugin.policy.parameters import ParameterError, parse_policy
from slsa_verifier_plugin.resources.documents import parse_documents
from slsa_verifier_plugin.signatures.keys import load_key
from slsa_verifier_plugin.signatures.trust import load_root, load_roots
from slsa_verifier_plugin.signatures.verifier import AttestationVerifier, RootVerifier
from slsa_verifier_plugin.signatures.wording import UNREADABLE, reason_of
from tests.support.command_line import parameters
from tests.support.sigstore import TAMPERINGS, Lab, Tampering, derive_key, vsa
from tests.support.sigstore.encoding import compact
from tests.support.sigstore.envelope import payload_bytes
from tests.support.stamped import root as stamped_root
from tests.support.stamped import sign as sign_stamped

WORDS = re.compile(
    r"""pydantic|validation\ error|Input\ should|Field\ required|For\ further\ information|\[type=|input_value|extra_forbidden
    |sigstore[._]models|sigstore-python|keyring|LogCheckpoint|malformed\ Note|Rekor\w*Signature|inclusion\ promise:
    |jsonschema|Failed\ validating|is\ not\ of\ type|is\ not\ valid\ under|on\ instance
    |ASN\.1|asn1|ParseError|Invalid(Base64|Tag|Length|Value|Version)|EncodedDefault|UnexpectedTag|ShortData|ExtraData|candidate
    |Unable\ to\ load|MalformedFraming|could\ not\ deserialize|unsupported\ algorithm|openssl|cryptography[.]
    |protobuf|google\.|Failed\ to\ parse|_pb2|in_toto_attestation|Statement\ message
    |yaml\.(?!org)|while\ (scanning|parsing)|could\ not\ find|did\ not\ find|mapping\ values|block\ (mapping|end)
    |unicode\ (?:error|codec)|codec\ can|Traceback|0x[0-9a-f]{6}|<class|object\ at|\w+Error\b|\w+Exception\b
    |Expected\ protobuf|uint64
    |dict|NoneType
    |securesystemslib|rfc3161[_-]client|pkcs7|TimeStampResp|tuf[.]""",
    re.VERBOSE,
)

LAB = Lab()
ROOT = json.loads(LAB.trusted_root())
VERIFIER = AttestationVerifier(
    [RootVerifier(load_root(Lab().trusted_root(), "full"))],
    {"k": load_key(derive_key("a", "b").pem.decode())},
)
STAMPED = AttestationVerifier([RootVerifier(stamped_root("ca", "tsa", "ct"))], {})
JUNK: tuple[Any, ...] = (
    None,
    True,
    7,
    -1,
    1.5,
    "",
    "x",
    "AAAA",
    "\u00e9\U0001f600",
    "2024-13-01T00:00:00Z",
    [],
    {},
    [None],
    {"x": 1},
    "9" * 40,
)


def check(text: str) -> None:
    found = WORDS.search(text)
    assert found is None, f"{found[0]!r} in {text!r}"
    assert text.isprintable()


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value in decoded JSON."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from places(item, (*path, key))


def broken(value: Any) -> Iterator[Any]:
    """Yield copies of decoded JSON in each of which one value is another, is gone, or has a neighbour that is not known."""
    text = json.dumps(value)
    for path in places(value):
        if not path:
            continue
        for junk in (*JUNK, KeyError):
            copy = json.loads(text)
            place = copy
            for step in path[:-1]:
                place = place[step]
            if junk is KeyError:
                del place[path[-1]]
            else:
                place[path[-1]] = junk
            yield copy
        copy = json.loads(text)
        place = copy
        for step in path:
            place = place[step]
        if isinstance(place, dict):
            place["unknown\nname"] = "x"
            yield copy


def raised(loader: Callable[..., object], *arguments: object) -> list[str]:
    """Return what ``loader`` says where it refuses; anything but a refusal of ours fails the test."""
    try:
        loader(*arguments)
    except ParameterError as error:
        return [str(problem) for problem in error.violations]
    except (VerifierError, UsageError) as error:
        return [getattr(error, "message", str(error))]
    return []


def spoilt(content: bytes, seed: int) -> Iterator[bytes]:
    """Yield ``content`` cut off, and with bytes changed, the same way at each run."""
    chance = random.Random(seed)
    for _ in range(60):
        changed = bytearray(content)
        for _ in range(chance.choice((1, 1, 2, 8))):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        yield bytes(changed[: chance.choice((len(changed), chance.randrange(len(changed))))])


def test_trusted_roots() -> None:
    said = set()
    contents = [json.dumps(value).encode() for value in broken(ROOT)]
    for content in (
        *contents,
        *spoilt(LAB.trusted_root(), 1),
        b"",
        b"[]",
        b"[1",
        b"null",
        b"\xff",
        b"{}{",
        b"7 8",
    ):
        for text in raised(load_roots, content, "root.json"):
            check(text)
            said.add(text.partition("cannot be used: ")[2].partition(";")[0])
    assert any(text.startswith("tlogs[0].publicKey") for text in said)
    assert "certificateAuthorities[0].validFor is missing" in said
    assert len(said) > 20


@pytest.mark.parametrize("how", [{}, {"log": "v2", "timestamp": True}, {"bundle_version": "0.2"}])
def test_bundles(how: dict[str, Any]) -> None:
    said = set()
    value = json.loads(Lab().sign(payload_bytes(vsa()), **how))
    value["verificationMaterial"]["tlogEntries"][0]["kindVersion"].setdefault("version", "")
    for changed in broken(value):
        said.update(refusals(compact(changed), VERIFIER))
    assert len(said) > 20


def test_bundles_with_timestamps_alone() -> None:
    said = set()
    for changed in broken(json.loads(sign_stamped())):
        said.update(refusals(compact(changed), STAMPED))
    assert len(said) > 10


def refusals(content: bytes, verifier: AttestationVerifier) -> list[str]:
    said: list[str] = []
    for candidate in read_blob(content, 4).candidates:
        for loader in (verifier.verify, verifier.claims):
            said += raised(loader, candidate)
    for text in said:
        check(text)
    return said


@pytest.mark.parametrize("tampering", TAMPERINGS.values(), ids=TAMPERINGS)
def test_tampered_bundles_are_told_by_what_is_wrong(tampering: Tampering) -> None:
    content = tampering(Lab(), payload_bytes(vsa()))
    for text in refusals(content, VERIFIER):
        # Each is recognized: what is said in general is for what nobody has met yet.
        assert UNREADABLE not in text


def test_keys(tmp_path: Path) -> None:
    pem = derive_key("a", "b").pem
    path = tmp_path / "key.pem"
    for content in (*spoilt(pem, 2), b"", b"x", pem + pem[:40], pem.replace(b"PUBLIC", b"PRIVATE")):
        path.write_bytes(content)
        for text in raised(load_key, str(path)):
            check(text.replace(str(path), ""))
    assert raised(load_key, str(path))


def test_statements() -> None:
    statement = json.loads(payload_bytes(vsa()))
    statement["subject"][0].setdefault("name", "x")
    said = set()
    for changed in broken(statement):
        said.update(raised(parse_statement, PAYLOAD_TYPE, compact(changed)))
    for text in said:
        check(text)
    assert len(said) > 8


def test_parameters() -> None:
    value = {**parameters(), "name": "x", "trustedRoot": [{"path": "/r"}], "maxAge": "1h"}
    said = set()
    for changed in broken(value):
        said.update(raised(parse_policy, changed))
    for text in said:
        check(text)
    assert len(said) > 20


@pytest.mark.parametrize(
    "text",
    [
        "a: [1",
        "a: {b: 1",
        "a: b: c",
        "a:\n\t- 1\n",
        "a: 'x",
        'a: "\\z"',
        'a: "\\x4"',
        "a: *b",
        "a: &b 1\nc: &b 2\nd: *e",
        "- a\nb: c",
        "a: 1\n b: 2",
        "a: |\n  x\n y",
        "%YAML 9\n---\na: 1",
        "a: !foo 1",
        "a: !!python/object:os.system 1",
        "a: !!int x",
        "a: !!binary '*'",
        "? [a]\n: 1",
        "a: \x07",
        "@a: 1",
        "`a`: 1",
        "a: @b",
        "{a: 1]",
        "[a, b}",
        "---\na: 1\n...\nb",
        "a: 1\na: 2",
        "\u2028a: 'b",
        "<<: 1",
        "a: ''b",
    ],
)
def test_yaml(text: str) -> None:
    (said,) = raised(parse_documents, text.encode(), "f.yaml")
    check(said)


def test_yaml_that_was_spoilt() -> None:
    content = b"""apiVersion: config.ratify.deislabs.io/v1beta1
kind: Verifier
metadata: {name: slsla, labels: {a: 'b', c: "d\\u0065"}}
spec:
  artifactTypes: slsla/attestation
  parameters:
    expectedVerifiedLevels: [SLSA_SOURCE_LEVEL_2, *x]
    trustedVerifiers:
      - verifierId: &x https://example.com
"""
    said = [
        text
        for seed in range(10)
        for changed in spoilt(content, seed)
        for text in raised(parse_documents, changed, "f.yaml")
    ]
    assert len(said) > 100
    for text in said:
        check(text)


def test_the_boundary_recognizes_what_it_is_there_for() -> None:
    """A test of the test: without the boundary, these words would be shown."""
    with pytest.raises(ValidationError) as caught:
        bundle_v1.Bundle.from_json(b'{"mediaType":7}')
    assert WORDS.search(str(caught.value))
    assert reason_of(caught.value) == "mediaType has a value that is not known here, and 1 more"
    assert reason_of(RuntimeError("keyring: something new of the library's")) == UNREADABLE
