from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from slsa_verifier_plugin.node.exemptions import (
    MAX_ENTRIES,
    ExemptionError,
    Exemptions,
    names_registry,
    parse_exemptions,
    without_tag,
)

TEMPLATE = Path(__file__).parents[2] / "deploy" / "gatekeeper" / "template" / "ratify-verification.yaml"
ONE, OTHER = "sha256:" + "1" * 64, "sha256:" + "2" * 64
PAUSE = f"registry.k8s.io/pause@{ONE}"
LIST = f"""
# The sandbox of every Pod.
{PAUSE}
  quay.io/cilium/*

docker.io/library/*
registry.example:5000/base/*
"""


@pytest.fixture
def exempt() -> Exemptions:
    return parse_exemptions(LIST, "exempt")


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("registry.k8s.io/pause:3.10", ONE),
        ("registry.k8s.io/pause", ONE),
        (PAUSE, ONE),
        (f"registry.k8s.io/pause:3.10@{ONE}", ONE),
        ("quay.io/cilium/cilium:v1", OTHER),
        ("quay.io/cilium/deep/er:v1", OTHER),
        (f"quay.io/cilium/cilium@{OTHER}", OTHER),
        ("docker.io/library/busybox:latest", OTHER),
        ("registry.example:5000/base/os", OTHER),
        ("registry.example:5000/base/os:1", OTHER),
    ],
)
def test_what_is_exempt(exempt: Exemptions, name: str, digest: str) -> None:
    assert exempt.entry_for(name, digest)


@pytest.mark.parametrize(
    "name",
    [
        # Another digest under the tag of an exempt one; the digest in a name is not what is pulled.
        "registry.k8s.io/pause:3.10",
        PAUSE,
        # Other images and hosts that only look alike.
        "registry.k8s.io/pause2:3.10",
        "registry.k8s.io/team/pause:3.10",
        "registry.k8s.io.evil.example/pause:3.10",
        "quay.io/cilium:v1",
        "quay.io/cilium-evil/app:v1",
        "quay.io/ciliu/app",
        "evil.example/quay.io/cilium/app",
        "quay.io.evil.example/cilium/app",
        "quay.io:443/cilium/app",
        "quay.io:@evil.example/cilium/app",
        "evil.example:80/quay.io/cilium/app",
        "evil.example/app:quay.io/cilium/app",
        "registry.example/base/os",
        "registry.example:5001/base/os",
        # Ways to write a path that is read as another one.
        "quay.io/cilium/../evil/app",
        "quay.io/cilium/./../evil/app",
        "quay.io/cilium/%2e%2e/evil/app",
        "quay.io/cilium//app",
        "quay.io/cilium/",
        "quay.io/cilium/app/",
        "quay.io//cilium/app",
        "/quay.io/cilium/app",
        "https://quay.io/cilium/app",
        "quay.io/cilium/*",
        "quay.io/cilium/app?x=/",
        "quay.io/cilium/app#x",
        "user:password@quay.io/cilium/app",
        # Upper case: a host is the same in either, and still not what is listed.
        "QUAY.IO/cilium/app",
        "Quay.io/cilium/app",
        "quay.io/Cilium/app",
        "quay.io/cilium/APP",
        # Short names, which containerd takes for hosts, and others complete to Docker Hub's.
        "busybox",
        "busybox:latest",
        "library/busybox",
        "docker.io/busybox",
        "index.docker.io/library/busybox",
        "registry-1.docker.io/library/busybox",
        "cilium/app",
        "",
        "@",
        ":",
        "/",
    ],
)
def test_what_is_not_exempt(exempt: Exemptions, name: str) -> None:
    assert exempt.entry_for(name, OTHER) is None
    if name not in ("registry.k8s.io/pause:3.10", PAUSE):
        assert exempt.entry_for(name, ONE) is None


@pytest.mark.parametrize(
    "entry",
    [
        "registry.k8s.io/pause:3.10",
        "registry.k8s.io/pause",
        "registry.k8s.io/*",
        "registry.k8s.io",
        "*",
        "/*",
        "quay.io/cilium*",
        "quay.io/*/app",
        "quay.io/cilium/*/*",
        "quay.io/cilium/../*",
        "quay.io/cilium//*",
        "quay.io/cilium/../evil/*",
        "quay.io//cilium/*",
        # Never a name that is pulled: whoever wrote them means another image.
        "docker.io/busybox@" + ONE,
        "docker.io/l@" + ONE,
        "index.docker.io/library/*",
        "registry.example:99999/base/*",
        "quay.io/cilium/*\u2028quay.io/evil/*",
        "quay.io/cilium/*\x0bquay.io/evil/*",
        "pause@" + ONE,
        "library/pause@" + ONE,
        "library/*",
        "team/base/*",
        "registry.k8s.io/pause@sha256:1",
        "registry.k8s.io/pause@" + ONE.upper(),
        "registry.k8s.io/pause:3.10@" + ONE,
        ONE,
        PAUSE + " # the sandbox",
        PAUSE + "," + PAUSE,
        "https://registry.k8s.io/base/*",
        "- quay.io/cilium/*",
        "exemptImages: [quay.io/cilium/*]",
    ],
)
def test_an_entry_that_is_none_is_named_with_its_line(entry: str) -> None:
    with pytest.raises(ExemptionError, match=r"^exempt:3: "):
        parse_exemptions(f"# first\nquay.io/cilium/*\n{entry}\n", "exempt")


@pytest.mark.parametrize("end", ["\u2028", "\u0085", "\x0b", "\x0c", "\x1c", "\r"])
def test_no_entry_hides_in_a_comment(end: str) -> None:
    assert parse_exemptions(f"# the sandbox{end}quay.io/evil/*\n", "exempt") == Exemptions()
    assert parse_exemptions("# the sandbox\r\nquay.io/cilium/*\r\n", "exempt").paths == ("quay.io/cilium/",)


def test_nothing_is_exempt_by_default() -> None:
    assert parse_exemptions("", "exempt") == Exemptions()
    assert parse_exemptions("\n# all\n", "exempt").entry_for("quay.io/cilium/app", ONE) is None


def test_no_more_entries_than_can_be_meant() -> None:
    with pytest.raises(ExemptionError, match="more than"):
        parse_exemptions("".join(f"r.example/x{n}/*\n" for n in range(MAX_ENTRIES + 1)), "exempt")


def test_the_constraint_would_take_every_entry() -> None:
    """What is listed here can be listed there: its schema has the same pattern in mind."""
    template = yaml.safe_load(TEMPLATE.read_text())
    properties = template["spec"]["crd"]["spec"]["validation"]["openAPIV3Schema"]["properties"]
    pattern = re.compile(properties["exemptImages"]["items"]["pattern"])
    entries = [line.strip() for line in LIST.splitlines() if line.strip() and not line.startswith("#")]
    assert all(pattern.search(entry) for entry in entries)
    assert not pattern.search("registry.k8s.io/*")


@pytest.mark.parametrize(
    ("name", "bare"),
    [
        ("r.example/a:1", "r.example/a"),
        ("r.example:5000/a", "r.example:5000/a"),
        ("r.example:5000/a:1@sha256:0", "r.example:5000/a"),
        ("r.example/a@sha256:0", "r.example/a"),
        ("a:1", "a:1"),
    ],
)
def test_without_tag(name: str, bare: str) -> None:
    assert without_tag(name) == bare


@pytest.mark.parametrize("name", ["r.example/a", "localhost/a", "r:5000/a", "[::1]:5000/a"])
def test_a_name_with_its_registry(name: str) -> None:
    assert names_registry(name)


@pytest.mark.parametrize("name", ["", "a", "a/b", "a.b", "a:b", "library/a.b", "/a.b"])
def test_a_name_without_one(name: str) -> None:
    assert not names_registry(name)
