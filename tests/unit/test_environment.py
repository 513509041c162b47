"""The one list of variables that a verification may depend on: in Python, in C, in the document, in what is read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slsa_verifier_plugin import environment
from slsa_verifier_plugin.resident import spawn
from slsa_verifier_plugin.resident.place import build_identity, key_of

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "slsa_verifier_plugin"
C = (ROOT / "launcher/src/environment.c").read_text("utf-8")
BUILD = "0123456789abcdef" * 4
NAMES = [
    *sorted(environment.NAMES | environment.PER_CALL),
    *(f"{prefix}X" for prefix in environment.PREFIXES),
    *(environment.PASS_VARIABLE, *environment.LOADER),
    *("LANG", "LC_ALL", "PWD", "SSLKEYLOGFILE", "OWN_TOKEN", "OWN", "MALLOC_ARENA_MAX", "GITHUB_ENV", "home"),
]
ENVIRONMENTS = st.dictionaries(
    st.sampled_from(NAMES), st.sampled_from(["", "a", "b", "OWN", "OWN_TOKEN,OWN"])
)


def listed_in_c(name: str) -> list[str]:
    body = re.search(rf"{name}\[\] = \{{(.*?)\}};", C, re.DOTALL)
    assert body is not None
    return re.findall(r'"([^"]*)"', body[1])


def test_the_launcher_has_the_same_list() -> None:
    assert sorted(listed_in_c("RELEVANT_NAMES")) == sorted(environment.NAMES)
    assert sorted(listed_in_c("RELEVANT_PREFIXES")) == sorted(environment.PREFIXES)
    assert sorted(listed_in_c("IRRELEVANT_NAMES")) == sorted(environment.PER_CALL)
    assert f'PASS_VARIABLE[] = "{environment.PASS_VARIABLE}"' in C


def test_the_document_has_the_same_list() -> None:
    text = (ROOT / "docs/resident-protocol.md").read_text("utf-8")
    part = text[text.index("- Relevant variables (") : text.index("- An example:")]
    named = {word for word in re.findall(r"`([^`]+)`", part) if re.fullmatch(r"[A-Za-z_]+", word)}
    expected = {*environment.NAMES, *environment.PREFIXES, *environment.PER_CALL, *environment.LOADER}
    assert named == expected | {environment.PASS_VARIABLE, "MALLOC_ARENA_MAX", "PYTHONPATH"}


def test_whatever_the_package_reads_is_in_the_list() -> None:
    """A variable that is read and not listed would be one caller's in another caller's verification."""
    # One process for one person: the command line's own switches do not count.
    texts = [
        path.read_text("utf-8")
        for path in PACKAGE.rglob("*.py")
        if path.relative_to(PACKAGE).parts[0] not in ("cli", "demo")
        and path != PACKAGE / "registry" / "github.py"  # asked by ``attach --from github:`` alone
    ]
    constants = re.findall(r'^[A-Z_]+_VARIABLE = "([A-Z_]+)"', "\n".join(texts), re.MULTILINE)
    found = re.findall(r'environ(?:ment)?(?:\.get\(|\[)"([A-Za-z_]+)"', "\n".join(texts))
    # Every constant of that kind names a variable that is read somewhere, perhaps by a function that it is handed to.
    used = set(found) | set(constants)
    # Several that are read in a loop: ``environ.get(name) for name in (...)``, or ``names = (...)`` that is passed on.
    listed = re.findall(
        r"(?:for name in|names =) \(([^)]*)\)", "\n".join(text for text in texts if "environ" in text)
    )
    used.update(name for names in listed for name in re.findall(r'"([A-Z]+_[A-Z_]+)"', names))
    assert {
        "HOME",
        "DOCKER_CONFIG",
        "SSL_CERT_FILE",
        "AWS_ACCESS_KEY_ID",
        "SLSA_VERIFIER_REFRESH_HOURS",
    } <= used
    assert {name for name in used if not environment.is_relevant(name)} <= environment.PER_CALL


@pytest.mark.parametrize(
    "name",
    [
        *(
            "GOOGLE_APPLICATION_CREDENTIALS",
            "GOOGLE_CLOUD_PROJECT",
            "CLOUDSDK_CONFIG",
            "CLOUDSDK_AUTH_ACCESS_TOKEN",
        ),
        *(
            "AWS_ECR_DISABLE_CACHE",
            "AWS_SDK_LOAD_CONFIG",
            "ECR_CACHE_DIR",
            "ACR_ACCESS_TOKEN",
            "GCR_X",
            "DOCKER_HOST",
        ),
        *(
            "AZURE_CONFIG_DIR",
            "GNUPGHOME",
            "PASSWORD_STORE_DIR",
            "PYTHONPATH",
            "XDG_RUNTIME_DIR",
            "IMDS_ENDPOINT",
        ),
        *("VAULT_TOKEN", "GITHUB_TOKEN", "DBUS_SESSION_BUS_ADDRESS", "SLSA_VERIFIER_PASS_ENV"),
    ],
)
def test_what_helpers_read_keys_the_verifier(name: str) -> None:
    assert key_of(BUILD, {name: "one"}) != key_of(BUILD, {name: "other"})
    assert environment.passed_on({name: "one"}) == {name: "one"}


@pytest.mark.parametrize(
    "name", ["LANG", "LD_PRELOAD", "LD_AUDIT", "OWN_SECRET", "SSLKEYLOGFILE", "BASH_ENV", "TZ"]
)
def test_what_keys_nothing_is_not_passed_on(name: str) -> None:
    assert key_of(BUILD, {name: "one"}) == key_of(BUILD, {})
    assert environment.passed_on({name: "one"}) == {}


def test_further_names_are_passed_on_and_key() -> None:
    one = {"SLSA_VERIFIER_PASS_ENV": "OWN,OWN_SECRET", "OWN_SECRET": "a", "OWN_OTHER": "c"}
    assert environment.passed_on(one) == {name: one[name] for name in one if name != "OWN_OTHER"}
    assert key_of(BUILD, one) != key_of(BUILD, {**one, "OWN_SECRET": "b"})
    assert key_of(BUILD, one) == key_of(BUILD, {**one, "OWN_OTHER": "b"})


@pytest.mark.parametrize("name", sorted(environment.PER_CALL))
def test_what_is_of_one_call_is_passed_on_by_no_name(name: str) -> None:
    environ = {environment.PASS_VARIABLE: name, name: "x"}
    assert name not in environment.passed_on(environ)


@given(ENVIRONMENTS, ENVIRONMENTS)
def test_two_environments_share_a_verifier_only_if_helpers_see_the_same(
    one: dict[str, str], other: dict[str, str]
) -> None:
    same = environment.passed_on(one) == environment.passed_on(other)
    assert (key_of(BUILD, one) == key_of(BUILD, other)) == same


@given(ENVIRONMENTS)
def test_a_server_has_the_key_of_the_caller_that_starts_it(environ: dict[str, str]) -> None:
    server = spawn.server_environment(environ)
    assert build_identity(server) == build_identity(environ)
    assert key_of(BUILD, server) == key_of(BUILD, environ)
    kept = {environment.BUILD_VARIABLE, *environment.LOADER}
    expected = environment.passed_on(environ) | {name: environ[name] for name in kept & environ.keys()}
    assert server == expected | {"MALLOC_ARENA_MAX": "2"}
    # A foreground server scrubs its own environment in the same way: once more changes nothing.
    assert spawn.server_environment(server) == server


@pytest.mark.parametrize("name", environment.LOADER)
def test_the_libraries_under_pythons_interpreter_are_part_of_its_build(name: str) -> None:
    identities = {build_identity({name: value}) for value in ("", "a", "b")}
    assert len(identities) == 3
    assert build_identity({name: "a", environment.BUILD_VARIABLE: BUILD}) == BUILD
