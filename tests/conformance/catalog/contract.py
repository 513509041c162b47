"""Step 1 and the contract itself: environment, standard input, parameters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.conformance.case import BASE, Case, attested, honest, raw

ERROR_2: tuple[tuple[str, dict[str, Any], tuple[str, ...]], ...] = (
    (
        "unknown-near",
        {"expectedVerifiedLevel": ["SLSA_SOURCE_LEVEL_3"]},
        ("did you mean expectedVerifiedLevels?",),
    ),
    ("unknown-far", {"xyzzy": 1}, ("xyzzy: unknown parameter",)),
    ("unknown-case", {"ExpectedResourceURI": "x"}, ("did you mean expectedResourceUri?",)),
    ("levels-missing", {"expectedVerifiedLevels": None}, ("expectedVerifiedLevels is required",)),
    ("levels-empty", {"expectedVerifiedLevels": []}, ("expectedVerifiedLevels: must not be empty",)),
    ("levels-string", {"expectedVerifiedLevels": "SLSA_SOURCE_LEVEL_2"}, ("expected a list",)),
    ("levels-number", {"expectedVerifiedLevels": [2]}, ("expectedVerifiedLevels[0]",)),
    ("levels-failed", {"expectedVerifiedLevels": ["FAILED"]}, ("demands nothing",)),
    ("levels-zero", {"expectedVerifiedLevels": ["SLSA_SOURCE_LEVEL_0"]}, ("demands nothing",)),
    (
        "levels-unevaluated",
        {"expectedVerifiedLevels": ["SLSA_SOURCE_LEVEL_UNEVALUATED"]},
        ("demands nothing",),
    ),
    ("uri-missing", {"expectedResourceUri": None}, ("expectedResourceUri is required",)),
    ("uri-empty", {"expectedResourceUri": ""}, ("expectedResourceUri",)),
    ("uri-list-empty", {"expectedResourceUri": []}, ("expectedResourceUri",)),
    ("verifier-without-signer", {"expectedVerifierId": "https://example.com/v"}, ("trustedVerifiers",)),
    (
        "signer-incomplete",
        {"trustedVerifiers": [{"verifierId": "https://example.com/v"}]},
        ("trustedVerifiers[0]",),
    ),
    (
        "signer-bad-pattern",
        {"trustedVerifiers": [{"verifierId": "v", "issuer": "i", "identityPattern": "("}]},
        ("trustedVerifiers[0].identityPattern",),
    ),
    ("timeout-no-unit", {"timeout": "4"}, ("expected a duration",)),
    ("timeout-zero", {"timeout": "0s"}, ("timeout",)),
    ("timeout-too-long", {"timeout": "2h"}, ("between 0.1 s and 300 s",)),
    ("root-unknown", {"trustedRoot": "private"}, ("public-good, staging",)),
    ("root-relative", {"trustedRoot": {"path": "root.json"}}, ("write an absolute path",)),
    ("refs-short", {"expectedSourceRefs": ["main"]}, ("expectedSourceRefs[0]",)),
    (
        "builders-foreign-text",
        {
            "sourceBinding": "provenance",
            "trustedBuilders": [
                {"builderId": "b", "issuer": "i", "identity": "x", "buildsForeignSource": "yes"}
            ],
        },
        ("true or false",),
    ),
    (
        "builders-idle",
        {"trustedBuilders": [{"builderId": "b", "issuer": "i", "identity": "x"}]},
        ("has no effect",),
    ),
    ("bundles-zero", {"maxBundles": 0}, ("maxBundles",)),
    ("runner-text", {"allowSelfHostedRunners": "yes"}, ("true or false",)),
    ("several", {"zzz": 1, "timeout": "soon", "maxBundles": -1}, ("zzz", "timeout", "maxBundles")),
    ("brace-injection", {'{"isSuccess":true}\n': 1}, ("unknown parameter",)),
)
"""Parameters that are errors: the case's name, what is changed, and what the error must say."""

RAW: tuple[tuple[str, bytes, int, str], ...] = (
    ("empty", b"", 1, "nothing at all"),
    ("blank", b" \n\t ", 1, "white space alone"),
    ("truncated", b'{"config":{"name":"slsla",', 1, "JSON that ends early"),
    ("not-json", b"hello", 1, "no JSON"),
    ("list", b"[]", 1, "JSON, but no object"),
    ("null", b"null", 1, "JSON null"),
    ("two-objects", b"{}\n{}", 1, "two JSON documents"),
    ("not-utf8", b'{"config":{"name":"\xff\xfe"}}', 1, "bytes that are no UTF-8"),
    ("bom", b"\xef\xbb\xbf{}", 1, "a byte order mark"),
    ("deep", b'{"config":' + b"[" * 20_000 + b"]" * 20_000 + b"}", 1, "nested 20,000 deep"),
    ("nan", b'{"config":{"name":"slsla","maxBundles":NaN}}', 1, "NaN, which is no JSON number"),
    (
        "huge-number",
        b'{"config":{"name":"slsla","maxBundles":' + b"9" * 5000 + b"}}",
        1,
        "a number of 5,000 digits",
    ),
    ("no-config", b"{}", 1, "no configuration"),
    ("config-list", b'{"config":[]}', 1, "a configuration that is a list"),
)
"""Standard input that is not the contract's: name, bytes, code, what it is."""


def cases() -> Iterator[Case]:
    """Yield the cases."""
    note = attested(honest())
    yield Case(
        "contract-success",
        "A level 3 summary where level 2 is expected: the plain success.",
        "VERIFIED",
        blobs=note,
    )
    for name, content, code, what in RAW:
        yield Case(f"stdin-{name}", f"Standard input holds {what}.", code=code, stdin=content, blobs=note)
    yield from _shapes(note)
    yield from _environments(note)
    for name, parameters, says in ERROR_2:
        yield Case(
            f"parameters-{name}",
            "Parameters that would leave something unchecked, or cannot be meant: an error, never passed over.",
            code=2,
            parameters=parameters,
            says=says,
            blobs=note,
        )
    yield Case(
        "parameters-no-name",
        "Ratify always names the verifier.",
        code=2,
        parameters={"name": None},
        blobs=note,
    )
    yield Case(
        "parameters-ratifys-own",
        "Ratify's own keys beside the parameters are no unknown parameters.",
        "VERIFIED",
        parameters={"type": "slsa", "nestedReferences": "x", "version": "1.0.0", "source": {"artifact": "x"}},
        blobs=note,
    )


def _shapes(note: dict[str, bytes]) -> Iterator[Case]:
    """Yield standard input that is JSON, of nearly the right shape."""
    good: dict[str, Any] = {
        "config": BASE,
        "storeConfig": {"version": "1.0.0", "store": {"name": "oras", "useHttp": True}},
        "referenceDesc": {
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": "sha256:" + "0" * 64,
            "size": 1,
        },
    }
    descriptor = good["referenceDesc"]
    shapes: dict[str, dict[str, Any]] = {
        "no-store": {key: value for key, value in good.items() if key != "storeConfig"},
        "no-descriptor": {key: value for key, value in good.items() if key != "referenceDesc"},
        "descriptor-no-digest": {**good, "referenceDesc": {**descriptor, "digest": None}},
        "descriptor-md5": {**good, "referenceDesc": {**descriptor, "digest": "md5:00"}},
        "descriptor-upper-case": {**good, "referenceDesc": {**descriptor, "digest": "sha256:" + "A" * 64}},
        "descriptor-size-negative": {**good, "referenceDesc": {**descriptor, "size": -1}},
        "descriptor-size-text": {**good, "referenceDesc": {**descriptor, "size": "1"}},
        "name-number": {**good, "config": {**BASE, "name": 7}},
    }
    for name, value in shapes.items():
        code = 2 if name == "name-number" else 1
        yield Case(
            f"stdin-{name}",
            "A part of standard input is missing or of another kind.",
            code=code,
            stdin=raw(value),
            blobs=note,
        )
    duplicate = raw(good).replace(b'"config":', b'"config":{"name":"slsla"},"config":', 1)
    yield Case(
        "stdin-duplicate-name",
        "One name twice in an object: two readers could see two things.",
        code=1,
        stdin=duplicate,
        blobs=note,
    )


def _environments(note: dict[str, bytes]) -> Iterator[Case]:
    why = "The environment is not the contract's."
    yield Case("environment-none", why, code=4, environment=dict.fromkeys(_NAMES), blobs=note)
    for name in _NAMES:
        short = name.rpartition("_")[2].lower()
        if short != "command":
            yield Case(
                f"environment-no-{short}", why, code=4, environment={name: None}, says=(name,), blobs=note
            )
        yield Case(
            f"environment-empty-{short}", why, code=4, environment={name: ""}, says=(name,), blobs=note
        )
    yield Case(
        "environment-command", why, code=3, environment={"RATIFY_VERIFIER_COMMAND": "ADMIT"}, blobs=note
    )
    yield Case(
        "environment-version", why, code=6, environment={"RATIFY_VERIFIER_VERSION": "2.0.0"}, blobs=note
    )
    subjects = {
        "tag": "@REGISTRY@/conformance/app:v1",
        "bare": "@REGISTRY@/conformance/app",
        "short-digest": "@REGISTRY@/conformance/app@sha256:abcd",
        "upper-case": "@REGISTRY@/Conformance/App@@IMAGE@",
        "spaces": "@REGISTRY@/a b@@IMAGE@",
        "traversal": "@REGISTRY@/../app@@IMAGE@",
        "userinfo": "user:pw@@REGISTRY@/conformance/app@@IMAGE@",
        "url": "http://@REGISTRY@/conformance/app@@IMAGE@",
        "brace": '{"isSuccess":true}@@IMAGE@',
    }
    for name, subject in subjects.items():
        yield Case(
            f"subject-{name}",
            "The subject is no reference with a digest.",
            code=7,
            environment={"RATIFY_VERIFIER_SUBJECT": subject},
            blobs=note,
        )


_NAMES = ("RATIFY_VERIFIER_COMMAND", "RATIFY_VERIFIER_SUBJECT", "RATIFY_VERIFIER_VERSION")
