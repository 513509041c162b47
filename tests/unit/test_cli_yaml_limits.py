"""YAML from charts and from elsewhere: limits on size, documents, depth, aliases and merge keys, and what passes below them."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from slsa_verifier_plugin.audit import image_sources as images
from slsa_verifier_plugin.errors import UsageError
from slsa_verifier_plugin.resources import documents
from slsa_verifier_plugin.resources.documents import FREELY_REPEATED, MAX_REPEATED, parse_documents
from slsa_verifier_plugin.resources.ratify_resources import flattened
from tests.support.command_line import LEVEL_1, LEVEL_3, cli, parameters, verifier

FACTOR = 60
"""Processor seconds that a megabyte may cost, which is 40 times what one of small values costs: for bombs cost thousands."""


def parsed(text: str) -> list[Any]:
    return [document.value for document in parse_documents(text.encode(), "f.yaml")]


def bomb(width: int, height: int, entry: str) -> str:
    """Return anchors, each of which repeats the one before ``width`` times."""
    lines = ["a0: &a0 [x, y]" if entry.startswith("[") else "a0: &a0 {x: 1, y: 2}"]
    for number in range(1, height):
        repeated = ", ".join([f"*a{number - 1}"] * width)
        lines.append(f"a{number}: &a{number} " + entry.format(repeated, number))
    return "\n".join(lines)


GROWING = "\n".join(["k0: &k0 {x0: v}", *(f"k{n}: &k{n} {{<<: *k{n - 1}, x{n}: v}}" for n in range(1, 1000))])
WIDE = "a: &a {" + ", ".join(f"k{number}: 1" for number in range(2000)) + "}\n"
REPEATING = {
    "aliases of lists": bomb(9, 9, "[{0}]"),
    "aliases of lists, two by two": bomb(2, 60, "[{0}]"),
    "aliases in objects": bomb(9, 9, "{{l: [{0}]}}"),
    "aliases below merge keys": bomb(9, 9, "{{<<: [{0}], l: [{0}]}}"),
    "merge keys that grow": GROWING,
    "one wide merge key, again and again": WIDE + "\n".join(f"b{n}: {{<<: *a}}" for n in range(1500)),
    "one merge key of very many": WIDE + "b: {<<: [" + ", ".join(["*a"] * 3000) + "]}",
    "one list, again and again": "a: &a ["
    + "1, " * 1000
    + "1]\n"
    + "\n".join(f"b{n}: *a" for n in range(3000)),
}


@pytest.mark.parametrize("name", REPEATING)
def test_what_repeats_too_much_is_refused(name: str) -> None:
    text = REPEATING[name]
    started = time.process_time()
    with pytest.raises(
        UsageError, match=r"^f\.yaml:\d+:\d+: aliases \(\*name\) or merge keys \(<<\) that repeat too much"
    ):
        parsed(text)
    assert time.process_time() - started < 1 + FACTOR * len(text) / (1 << 20)


def test_merging_the_same_again_adds_nothing() -> None:
    levels = "{k: v}"
    for number in range(9):
        levels = f"{{<<: [&a{number} {levels}{f', *a{number}' * 9}]}}"
    assert parsed(f"x: {levels}") == [{"x": {"k": "v"}}]


def values_in(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + len(value) + sum(map(values_in, value.values()))
    return 1 + sum(map(values_in, value)) if isinstance(value, list) else 1


ENTRIES = st.lists(
    st.tuples(st.sampled_from(["[", "{", "<<"]), st.lists(st.integers(0, 30), max_size=6)), max_size=40
)


@given(ENTRIES)
def test_no_file_has_many_more_values_than_are_written_in_it(entries: list[tuple[str, list[int]]]) -> None:
    """Whatever its aliases refer to, itself too."""
    lines = ["a0: &a0 {x: 1}"]
    for number, (kind, referred) in enumerate(entries, 1):
        named = [f"*a{other}" for other in referred if other <= number] or ["y"]
        inner = {
            "[": f"[{', '.join(named)}]",
            "{": "{" + ", ".join(f"k{n}: {name}" for n, name in enumerate(named)) + "}",
            "<<": f"{{<<: [{', '.join(name for name in named if name != 'y')}], k{number}: 1}}",
        }
        lines.append(f"a{number}: &a{number} {inner[kind]}")
    text = "\n".join(lines)
    written = sum(1 for event in yaml.parse(text) if isinstance(event, yaml.NodeEvent))
    try:
        (value,) = parsed(text)
    except UsageError:
        return
    assert values_in(value) <= MAX_REPEATED * written + FREELY_REPEATED


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("---\n" * 100_000, "more than 50000 documents"),
        ("---\na\n" * 100_000, "more than 50000 documents"),
        ("[" * 100_000, "too deeply nested"),
        ("[" * 100_000 + "]" * 100_000, "too deeply nested"),
        ("{a: " * 100_000, "too deeply nested"),
        ("- " * 100_000, "too deeply nested"),
        ("? " * 100_000, "too deeply nested"),
        ("".join(" " * number + "a:\n" for number in range(500)), "too deeply nested"),
        ("a: " + "9" * 1_000_000, "f.yaml:1:4: a number of 1000000 characters"),
        ("a: 0x" + "f" * 1_000_000, "a number of 1000002 characters"),
        ("a: 0b" + "1" * 1_000_000, "a number of 1000002 characters"),
        ("a: 1" + "0" * 1_000_000 + ".0", "a number of 1000003 characters"),
        ("a: .inf", '".inf" is no number that JSON can hold'),
        ("a: -.inf", "is no number that JSON can hold"),
        ("a: .NaN", "is no number that JSON can hold"),
        ("a: 1.0e+999", "is no number that JSON can hold"),
        ("a: !!float x", '"x" is no value'),
        ("a: !!binary aGk=", 'a value of type "tag:yaml.org,2002:binary"'),
        ("a: !!set {x, y}", "which Kubernetes does not know"),
        ("a: !!omap [x: 1]", "which Kubernetes does not know"),
        ("a: !!python/object:os.system x", "which Kubernetes does not know"),
        ("a: !!python/object/apply:os.system [x]", "which Kubernetes does not know"),
        ("a: !mine {x: 1}", 'a value of type "!mine"'),
        ("a: 1\nb: 2\na: 3", 'the key "a" occurs twice'),
        ("1: a\n'1': b", 'the key "1" occurs twice'),
        ("[a]: b", "a key that is not text"),
        ("a: *b", "an alias (*name) without its anchor"),
    ],
    ids=lambda text: text[:24],
)  # fmt: skip
def test_what_is_refused_at_once(text: str, problem: str) -> None:
    started = time.process_time()
    with pytest.raises(UsageError, match=r"^f\.yaml:") as raised:
        parsed(text)
    assert problem in str(raised.value)
    assert len(str(raised.value)) < 500
    assert time.process_time() - started < 1 + FACTOR * len(text) / (1 << 20)


def test_a_file_that_is_too_large_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "MAX_FILE", 1 << 20)
    assert len(parsed("a: " + "x" * ((1 << 20) - 3))) == 1
    with pytest.raises(UsageError, match="larger than 1 MiB"):
        parsed("a: " + "x" * ((1 << 20) - 2))


def test_too_many_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "MAX_NODES", 1_000)
    assert parsed("[" + "1," * 999 + "]") == [[1] * 999]
    for text in ("[" + "1," * 1000 + "]", "---\n[1, 1]\n" * 400):
        with pytest.raises(UsageError, match="too large or too deeply nested"):
            parsed(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12:30", "12:30"),
        ("59:59:59.5", "59:59:59.5"),
        ("2001-12-14", "2001-12-14"),
        ("2001-12-14t21:59:43.10-05:00", "2001-12-14t21:59:43.10-05:00"),
        ("9223372036854775807", 9223372036854775807),
        ("-0.5", -0.5),
        ("1.5e+300", 1.5e300),
        ("0644", 0o644),
        ("true", True),
        ("~", None),
        ("'9" + "9" * 100 + "'", "9" + "9" * 100),
        ("!!str 12", "12"),
        ("!!int '12'", 12),
        ("!!map {x: 1}", {"x": 1}),
        ("!!seq [1]", [1]),
        ('"\\u00e4"', "\u00e4"),
        ("|\n  - x\n  - y", "- x\n- y\n"),
    ],
)
def test_what_kubernetes_reads(text: str, value: Any) -> None:
    assert parsed(f"a: {text}\n") == [{"a": value}]


POD = """\
- apiVersion: v1
  kind: Pod
  metadata:
    annotations:
      kubectl.kubernetes.io/last-applied-configuration: |
        {{"apiVersion":"v1","kind":"Pod"}}
    creationTimestamp: "2025-11-03T10:00:00Z"
    labels:
      app: shop
      pod-template-hash: 5d4f8c7b9
    name: shop-{0}
    namespace: team-{1}
    ownerReferences:
    - {{apiVersion: apps/v1, blockOwnerDeletion: true, controller: true, kind: ReplicaSet, name: shop}}
    resourceVersion: "{0}"
  spec:
    containers:
    - image: registry.example/shop:{0}
      imagePullPolicy: IfNotPresent
      name: shop
      resources: {{limits: {{cpu: 500m, memory: 1Gi}}}}
      volumeMounts:
      - {{mountPath: /var/run/secrets/kubernetes.io/serviceaccount, name: kube-api-access, readOnly: true}}
    tolerations:
    - {{effect: NoExecute, key: node.kubernetes.io/not-ready, operator: Exists, tolerationSeconds: 300}}
  status:
    containerStatuses:
    - {{image: "registry.example/shop:{0}", name: shop, ready: true, restartCount: 0}}
    phase: Running
    startTime: "2025-11-03T10:00:00Z"
"""


def test_what_kubectl_prints_of_thousands_of_resources_passes() -> None:
    text = "apiVersion: v1\nitems:\n" + "".join(POD.format(n, n % 7) for n in range(2000)) + "kind: List\n"
    found = parse_documents(text.encode(), "pods.yaml")
    assert len(list(flattened(found))) == 2000
    assert str(found[0].position(("items", 1999, "spec", "containers", 0, "image"))).startswith("pods.yaml:")


def test_a_chart_of_very_many_documents_passes() -> None:
    text = "".join(
        f"---\n# Source: chart/templates/{n}.yaml\nkind: ConfigMap\ndata: {{n: '{n}'}}\n" for n in range(3000)
    )
    assert len(parsed(text)) == 3000


HANDWRITTEN = """\
apiVersion: v1
kind: List
items:
- &base
  apiVersion: config.ratify.deislabs.io/v1beta1
  kind: Verifier
  metadata: &metadata
    name: first
    labels: &labels {{team: shop, tier: "1"}}
  spec: &spec
    name: slsla
    artifactTypes: slsla/attestation
    parameters: &parameters {parameters}
- <<: *base
  metadata: {{<<: *metadata, name: second}}
  spec:
    <<: *spec
    parameters:
      <<: *parameters
      expectedVerifiedLevels: [SLSA_SOURCE_LEVEL_3]
"""


def test_anchors_in_a_handwritten_policy_pass(tmp_path: Any) -> None:
    path = tmp_path / "policy.yaml"
    flow = yaml.safe_dump(parameters(), default_flow_style=True, width=10_000).strip()
    path.write_text(HANDWRITTEN.format(parameters=flow))
    for name, level in (("first", "SLSA_SOURCE_LEVEL_2"), ("second", "SLSA_SOURCE_LEVEL_3")):
        assert cli("verify", "--bundle", LEVEL_3, "--policy", path, "--verifier", name).status == 0
        done = cli("verify", "--bundle", LEVEL_1, "--policy", path, "--verifier", name)
        assert (done.status, f"expected {level}" in done.out) == (1, True), done.out + done.err


def test_many_resources_that_share_their_labels_pass() -> None:
    text = "common: &common {team: shop, tier: '1', zone: b}\nitems:\n"
    text += "".join(
        f"- {{name: n{n}, labels: *common, annotations: {{<<: *common, own: x}}}}\n" for n in range(3000)
    )
    (value,) = parsed(text)
    assert value["items"][2999]["annotations"] == {"own": "x", "team": "shop", "tier": "1", "zone": "b"}


def test_no_command_is_slow_over_what_repeats(tmp_path: Any) -> None:
    """That each reads its files through the parser with the limits, whose kinds of repeating are tried above."""
    path = tmp_path / "f.yaml"
    path.write_text(f"{REPEATING['aliases of lists']}\nkind: Pod\n")
    policy = tmp_path / "policy.yaml"
    policy.write_text(yaml.safe_dump(verifier()))
    for arguments in (
        ["policy", "check", path],
        ["verify", "--bundle", LEVEL_3, "--policy", path],
        ["audit", "--policy", policy, "--manifests", path],
        ["audit", "--policy", policy, "--pods", path],
        ["registry", "check", "127.0.0.1:1/a", "--store", path],
    ):
        started = time.process_time()
        done = cli(*arguments)
        assert done.status == 2, arguments
        assert "repeat too much" in done.err
        assert time.process_time() - started < 10
    with pytest.raises(UsageError):
        list(images.from_manifests(str(path), Counter()))
