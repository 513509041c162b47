"""Ratify's contract: what is asked in which order, and one line of JSON whatever comes of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slsa_verifier_plugin import ratify
from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import (
    ContractCode,
    ContractError,
    DeadlineError,
    Reason,
    RegistryError,
    TrustRootError,
)
from slsa_verifier_plugin.model.digest import Descriptor
from slsa_verifier_plugin.policy.parameters import Policy, parse_policy
from slsa_verifier_plugin.policy.verdict import MAX_RESULT, Verdict
from slsa_verifier_plugin.ratify import Call, Response
from slsa_verifier_plugin.service.service import Service
from tests.support.deciding import Decide, DecidingService
from tests.support.policies import BASE
from tests.support.scene import Scene
from tests.support.sigstore import vsa

DIGEST = "sha256:" + "ab" * 32
SUBJECT = f"registry.example/app@{DIGEST}"
ENVIRONMENT = {ratify.COMMAND: "VERIFY", ratify.SUBJECT: SUBJECT, ratify.VERSION: "1.0.0"}
STDIN: dict[str, Any] = {
    "config": BASE,
    "storeConfig": {"version": "1.0.0", "pluginBinDirs": None, "store": {"name": "oras", "useHttp": True}},
    "referenceDesc": {"mediaType": "a/b", "digest": DIGEST, "size": 3, "artifactType": "slsla/attestation"},
}
VERDICT = Scene().judge(b"junk")


def encoded(value: object = STDIN) -> bytes:
    return json.dumps(value).encode()


def ask(
    stdin: bytes | None = None,
    environment: Mapping[str, str | None] | None = None,
    decide: Decide = lambda call, policy, deadline: VERDICT,
    elapsed: float = 0.0,
) -> Response:
    chosen = {
        name: value for name, value in {**ENVIRONMENT, **(environment or {})}.items() if value is not None
    }
    return DecidingService(decide).respond(chosen, encoded() if stdin is None else stdin, elapsed)


def body(response: Response) -> Any:
    assert response.stdout.endswith(b"\n")
    assert response.stdout.count(b"\n") == 1
    assert len(response.stdout) <= MAX_RESULT + 1
    return json.loads(response.stdout)


def assert_contract_error(response: Response, code: int, *says: str) -> None:
    assert response.status == 1
    value = body(response)
    assert value["code"] == code
    assert set(value) <= {"code", "msg", "details"}
    for text in says:
        assert text in f"{value['msg']} {value.get('details')}"


def test_a_call_reaches_the_verifier_as_it_was_made() -> None:
    seen: list[tuple[Call, Policy, Deadline]] = []

    def decide(call: Call, policy: Policy, deadline: Deadline) -> Verdict:
        seen.append((call, policy, deadline))
        return VERDICT

    response = ask(decide=decide, elapsed=1.0)
    assert response.status == 0
    ((call, policy, deadline),) = seen
    assert str(call.image) == SUBJECT
    assert call.artifact == Descriptor.parse(STDIN["referenceDesc"])
    assert call.store == {"name": "oras", "useHttp": True}
    assert (call.config, call.name, call.type) == (BASE, "slsla", "")
    assert policy == parse_policy(BASE)
    assert deadline.seconds == 4.0
    assert 2.5 < deadline.remaining() <= 3.0
    assert body(response)["extensions"]["durationMs"] >= 1000


def test_a_verdict_is_one_line_and_exit_status_0() -> None:
    scene = Scene()
    for verdict in (scene.judge(scene.notary.sign()), scene.judge(scene.notary.sign(vsa(levels=[])))):
        response = ask(
            encoded({**STDIN, "config": {**BASE, "type": "slsa"}}), decide=lambda *_, answer=verdict: answer
        )
        value = body(response)
        assert (response.status, response.stderr) == (0, b"")
        assert (value["isSuccess"], value["name"], value["type"]) == (verdict.success, "slsla", "slsa")


def test_warnings_are_log_lines_without_braces() -> None:
    verdict = replace(VERDICT, warnings=('one {"isSuccess":true}\nroot', "two"))
    response = ask(decide=lambda *_: verdict)
    assert response.stderr == b'warn: one ("isSuccess":true)?root\nwarn: two\n'


def test_settings_of_the_store_are_not_shown() -> None:
    assert "secret" not in repr(
        Call(
            ratify._subject(SUBJECT),
            Descriptor.parse(STDIN["referenceDesc"]),
            {"a": "secret"},
            {"b": "secret"},
        )
    )


@pytest.mark.parametrize("name", [ratify.COMMAND, ratify.SUBJECT, ratify.VERSION])
@pytest.mark.parametrize("value", [None, ""])
def test_code_4_a_missing_variable(name: str, value: str | None) -> None:
    assert_contract_error(ask(environment={name: value}), 4, name)


def test_code_4_names_all_that_are_missing() -> None:
    response = ask(b"", dict.fromkeys(ENVIRONMENT))
    assert_contract_error(
        response, 4, "COMMAND, RATIFY_VERIFIER_VERSION, RATIFY_VERIFIER_SUBJECT", "verify IMAGE"
    )


@pytest.mark.parametrize(
    "subject",
    [
        "registry.example/app",
        "registry.example/app:1",
        "registry.example/app@sha256:ab",
        f"registry.example/app@{DIGEST.upper()}",
        f"https://registry.example/app@{DIGEST}",
        f"registry.example/App@{DIGEST}",
        f"registry.example/../app@{DIGEST}",
        f"user:pw@registry.example/app@{DIGEST}",
        f"{SUBJECT} ",
        f"{SUBJECT}\n",
        "{}",
        "\udcff",
        "a" * 2000,
    ],
)
def test_code_7_a_subject_that_is_no_reference_with_a_digest(subject: str) -> None:
    assert_contract_error(ask(environment={ratify.SUBJECT: subject}), 7, "the subject")


@pytest.mark.parametrize("version", ["1", "1.0", "1.0.1", "2.0.0", " 1.0.0", "1.0.0\n"])
def test_code_6_another_version(version: str) -> None:
    assert_contract_error(ask(environment={ratify.VERSION: version}), 6, "supported: 1.0.0")


@pytest.mark.parametrize("command", ["verify", "VERIFY ", "LIST", "{}"])
def test_code_3_another_command(command: str) -> None:
    assert_contract_error(ask(environment={ratify.COMMAND: command}), 3, "unknown command", "expected VERIFY")


def without(*path: str, value: Any = None) -> bytes:
    """Return standard input with one property replaced, or taken out where ``value`` is None."""
    copied = json.loads(encoded())
    place = copied
    for step in path[:-1]:
        place = place[step]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return encoded(copied)


@pytest.mark.parametrize(
    ("stdin", "says"),
    [
        (b"", "standard input is empty"),
        (b" \n", "standard input is empty"),
        (b"{", "not the expected JSON"),
        (b"\xff", "not UTF-8"),
        (encoded() * 2, "Extra data"),
        (b"[" * 100 + b"]" * 100, "nested deeper"),
        (b"null", "no config object"),
        (b"[]", "no config object"),
        (b"{}", "no config object"),
        (without("config", value=[]), "no config object"),
        (without("storeConfig"), "no storeConfig.store object"),
        (without("storeConfig", "store"), "no storeConfig.store object"),
        (without("storeConfig", "store", value="oras"), "no storeConfig.store object"),
        (without("referenceDesc"), "referenceDesc"),
        (without("referenceDesc", "digest"), "referenceDesc"),
        (without("referenceDesc", "size", value="3"), "referenceDesc"),
        (without("referenceDesc", "digest", value="md5:ab"), "referenceDesc"),
    ],
)
def test_code_1_what_is_not_the_expected_json(stdin: bytes, says: str) -> None:
    assert_contract_error(ask(stdin), 1, says, "as Ratify writes it")


def test_code_5_more_than_can_be_meant() -> None:
    padded = encoded() + b" " * (ratify.MAX_STDIN - len(encoded()))
    assert ask(padded).status == 0
    assert_contract_error(ask(padded + b" "), 5, "more than 4194304 bytes")


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({}, "no name"),
        ({**BASE, "name": ""}, "no name"),
        ({**BASE, "name": 7}, "no name"),
        ({"name": "n"}, "expectedVerifiedLevels and expectedResourceUri are required"),
        ({**BASE, "maxage": "1h"}, "did you mean maxAge?"),
        ({**BASE, "maxAge": "x", "timeout": "y"}, "maxAge: found"),
    ],
)
def test_code_2_parameters(config: dict[str, Any], says: str) -> None:
    assert_contract_error(ask(encoded({**STDIN, "config": config})), 2, says)


@pytest.mark.parametrize(
    ("environment", "stdin", "code"),
    [
        ({ratify.COMMAND: "", ratify.SUBJECT: "x", ratify.VERSION: "2"}, b"", 4),
        ({ratify.COMMAND: "X", ratify.SUBJECT: "x", ratify.VERSION: "2"}, b"", 7),
        ({ratify.COMMAND: "X", ratify.VERSION: "2"}, b"", 6),
        ({ratify.COMMAND: "X"}, b"", 1),
        ({ratify.COMMAND: "X"}, encoded({**STDIN, "config": {}}), 2),
        ({ratify.COMMAND: "X"}, encoded({**STDIN, "config": {"name": "n"}}), 3),
        ({}, encoded({**STDIN, "config": {"name": "n"}}), 2),
    ],
)
def test_of_several_mistakes_the_first_in_ratifys_order_is_reported(
    environment: dict[str, str | None], stdin: bytes, code: int
) -> None:
    assert_contract_error(ask(stdin, environment), code)


def test_a_contract_error_fits_whatever_is_in_it() -> None:
    for char in ("\U0001f600", '"', "\\", "\n", "{"):
        config = {**BASE, **{char * 60 + str(number): 1 for number in range(2000)}}
        value = body(ask(encoded({**STDIN, "config": config})))
        assert value["code"] == 2
        assert "{" not in value["msg"]
    huge = ratify.contract_failure(
        ContractError(ContractCode.IO, "\U0001f600" * 99_999, "\U0001f600" * 99_999)
    )
    assert body(huge)["code"] == 5
    assert "details" not in body(ratify.contract_failure(ContractError(ContractCode.IO, "x")))


# What the verification raises


@pytest.mark.parametrize(
    ("error", "reason", "transient"),
    [
        (
            RegistryError("away", reason=Reason.REGISTRY_UNREACHABLE, transient=True),
            Reason.REGISTRY_UNREACHABLE,
            True,
        ),
        (TrustRootError("no root"), Reason.TRUST_ROOT_UNAVAILABLE, False),
        (DeadlineError("late"), Reason.DEADLINE_EXCEEDED, True),
        (MemoryError(), Reason.INTERNAL_ERROR, True),
        (ValueError("secret"), Reason.INTERNAL_ERROR, False),
        (RecursionError("secret"), Reason.INTERNAL_ERROR, False),
        (KeyError("secret"), Reason.INTERNAL_ERROR, False),
        (AssertionError("secret"), Reason.INTERNAL_ERROR, False),
        (OSError(5, "secret", "secret"), Reason.INTERNAL_ERROR, False),
    ],
)
def test_whatever_is_raised_is_a_denial_without_its_text(
    error: Exception, reason: Reason, transient: bool
) -> None:
    def decide(*_: object) -> Verdict:
        raise error

    response = ask(encoded({**STDIN, "config": {**BASE, "sourceBinding": "annotation"}}), decide=decide)
    value = body(response)
    assert response.status == 0
    assert value["isSuccess"] is False
    assert (value["extensions"]["reason"], value["extensions"]["transient"]) == (reason, transient)
    assert b"secret" not in response.stdout + response.stderr
    assert {step["outcome"] for step in value["extensions"]["steps"]} == {"not checked"}


@pytest.mark.parametrize("key", ["useHttp", "cosignEnabled", "ttl", "localCachePath", "authProvider"])
def test_a_wrong_type_in_the_stores_settings_is_the_contracts_error(key: str) -> None:
    """What reads the settings says so while the verdict is being made, and must be heard."""
    store = {"name": "oras", "useHttp": True, key: [] if key == "localCachePath" else "true"}
    stdin = encoded({**STDIN, "storeConfig": {"store": store}})
    response = Service({"HOME": "/nonexistent"}).respond(ENVIRONMENT, stdin)
    assert_contract_error(response, 2, f"storeConfig.store.{key}")
    assert response.status == 1


# The time that a call may take


@pytest.mark.parametrize(
    ("config", "seconds"),
    [
        ({"timeout": "2s"}, 2.0),
        ({"timeout": "1m30s"}, 90.0),
        ({"timeout": "999h"}, 300.0),
        ({"timeout": "0s"}, 4.0),
        ({"timeout": ""}, 4.0),
        ({"timeout": "x"}, 4.0),
        ({"timeout": 7}, 4.0),
        ({"timeout": None}, 4.0),
        ({"timeout": ["2s"]}, 4.0),
        ({"timeout": "1" * 3_000_000}, 4.0),
        ({}, 4.0),
        ([], 4.0),
        ("timeout", 4.0),
    ],
)
def test_the_time_of_a_call_is_known_before_it_is_parsed(config: object, seconds: float) -> None:
    assert ratify.Input.of(encoded({"config": config})).seconds == seconds


@pytest.mark.parametrize("stdin", [b"", b"[]", b"7", b"{", b"\xff", b"[" * 9999])
def test_the_default_time_where_it_cannot_be_told(stdin: bytes) -> None:
    assert ratify.Input.of(stdin).seconds == 4.0


def test_standard_input_is_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = ratify.Input.of(encoded())
    monkeypatch.setattr(ratify, "loads", lambda _: pytest.fail("it was parsed before"))
    assert parsed.seconds == 4.0
    assert ratify.Input.of(parsed) is parsed
    response = DecidingService(lambda *_: VERDICT).respond(ENVIRONMENT, parsed)
    assert "code" not in body(response)


TEXT = st.text(max_size=30)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=10,
)
ENVIRONMENTS = st.fixed_dictionaries(
    {},
    optional={
        ratify.COMMAND: st.sampled_from(["VERIFY", "X"]) | TEXT,
        ratify.SUBJECT: st.just(SUBJECT) | TEXT,
        ratify.VERSION: st.just("1.0.0") | TEXT,
    },
)
INPUTS = st.one_of(
    st.binary(max_size=60),
    JSON.map(encoded),
    st.fixed_dictionaries(
        {},
        optional={
            "config": st.just(BASE) | JSON,
            "storeConfig": st.just(STDIN["storeConfig"]) | JSON,
            "referenceDesc": st.just(STDIN["referenceDesc"]) | JSON,
        },
    ).map(encoded),
)


@given(ENVIRONMENTS, INPUTS)
def test_any_call_is_one_line_and_an_exit_status(environment: dict[str, str], stdin: bytes) -> None:
    response = DecidingService(lambda *_: VERDICT).respond(environment, stdin)
    value = body(response)
    assert response.status == ("code" in value)
    assert value.get("isSuccess") is not True
    assert 0 < ratify.Input.of(stdin).seconds <= 300
