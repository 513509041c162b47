"""The schema of the parameters describes them all, and any configuration is a policy or an error."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from slsa_verifier_plugin.policy.parameters import (
    MAX_VIOLATIONS,
    ParameterError,
    parse_policy,
    schema,
)
from tests.support.policies import BASE, policy


def test_the_schema_describes_every_parameter() -> None:
    document = schema()
    assert document["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert document["additionalProperties"] is False
    for name, item in document["properties"].items():
        assert item.get("description"), name


def test_the_schemas_defaults_are_the_policys() -> None:
    defaults = {key: item["default"] for key, item in schema()["properties"].items() if "default" in item}
    assert parse_policy({**BASE, **defaults}) == policy()
    assert {"timeout", "maxBundles", "maxAttestationBytes", "sourceBinding", "trustedRoot"} <= set(defaults)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from([*schema()["properties"], "expectedverifiedlevels", "x"])


@given(
    st.dictionaries(
        KEYS,
        JSON | st.sampled_from(["annotation", "4s", "-----BEGIN PUBLIC KEY-----", "staging"]),
        max_size=8,
    )
)
def test_any_configuration_is_a_policy_or_an_error(changes: dict[str, Any]) -> None:
    config = {**copy.deepcopy(BASE), **changes}
    violated: list[str] = []
    try:
        parsed = parse_policy(config)
    except ParameterError as error:
        violated = [str(problem) for problem in error.violations]
    if violated:
        assert len(violated) <= MAX_VIOLATIONS + 1
        assert not set("{}\n\r\x1b") & set("".join(violated))
        return
    # What was accepted demands something of somebody.
    assert parsed.levels
    assert parsed.resource_uris
    assert parsed.verifier_ids
    assert {entry.id for entry in parsed.verifiers} >= set(parsed.verifier_ids)
    assert 0.1 <= parsed.timeout <= 300
    assert json.dumps(config)
