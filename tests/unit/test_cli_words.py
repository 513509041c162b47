"""What people meet first: habits from other programs, slips in names, and errors that say what to do."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from slsa_verifier_plugin import __version__
from slsa_verifier_plugin.checking.image_names import parse_image
from slsa_verifier_plugin.checking.status import Status
from slsa_verifier_plugin.cli.arguments import usual
from slsa_verifier_plugin.errors import UsageError
from slsa_verifier_plugin.registry.loopback import is_plain_http
from slsa_verifier_plugin.registry.settings import LOOPBACK_HTTP, StoreSettings
from slsa_verifier_plugin.resources.kubectl import said
from slsa_verifier_plugin.strict_json import JsonError, loads
from slsa_verifier_plugin.text import counted
from tests.support.command_line import (
    ARTIFACT_TYPE,
    LEVEL_1,
    LEVEL_3,
    SOURCE,
    TRUSTED_ROOT,
    cli,
    parameters,
    verifier,
    write_yaml,
)
from tests.support.embedded_registry import EmbeddedRegistry
from tests.support.sigstore import Lab, github_source_actions, vsa

POLICY = ("--level", "SLSA_SOURCE_LEVEL_2", "--resource-uri", SOURCE, "--trusted-root", TRUSTED_ROOT)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["version"], ["--version"]),
        (["help"], ["--help"]),
        (["help", "policy", "check"], ["policy", "check", "--help"]),
        (["verify", "a", "--debug"], ["--debug", "verify", "a"]),
        (["verify", "--color", "never", "a"], ["--color", "never", "verify", "a"]),
        (["verify", "--color=never", "a"], ["--color=never", "verify", "a"]),
        (["verify", "a", "-o", "json"], ["verify", "a", "--json"]),
        (["verify", "a", "-ojson"], ["verify", "a", "--json"]),
        (["verify", "a", "--output=json"], ["verify", "a", "--json"]),
        (["audit", "a", "--output", "json"], ["audit", "a", "--json"]),
        (["audit", "a", "-o", "html"], ["audit", "a", "--format", "html"]),
        (["policy", "check", "f", "-o", "json"], ["policy", "check", "f", "--json"]),
        # Files, and what stands behind --, are left alone.
        (["audit", "a", "-o", "json.html"], ["audit", "a", "-o", "json.html"]),
        (["fetch", "a", "-o", "json"], ["fetch", "a", "-o", "json"]),
        (["policy", "init", "a", "-o", "json"], ["policy", "init", "a", "-o", "json"]),
        (["trust", "export", "-o", "json"], ["trust", "export", "-o", "json"]),
        (["verify", "--", "--debug", "-o", "json"], ["verify", "--", "--debug", "-o", "json"]),
        (["verify", "version"], ["verify", "version"]),
        (["audit", "-o"], ["audit", "-o"]),
        (["--color"], ["--color"]),
        ([], []),
    ],
)
def test_habits_of_other_programs_are_understood(typed: list[str], meant: list[str]) -> None:
    assert usual(typed) == meant


def test_version_and_help_are_commands_too() -> None:
    assert cli("version").out == f"slsa-verifier-plugin {__version__}\n"
    assert cli("help", "verify").out == cli("verify", "--help").out
    done = cli("policy", "producers", "-o", "json", "--color", "never")
    assert (done.status, bool(json.loads(done.out))) == (Status.ADMITTED, True)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--debug", "verify"],
        ["verify", "--debug"],
        ["--debug", "vrify"],
        ["--debug", "verify", "NO IMAGE", "--level", "x", "--resource-uri", "y"],
        ["--debug", "verify", "a", "--policy", "/nowhere.yaml"],
        ["--debug", "policy", "check", "/nowhere.yaml"],
    ],
)
def test_debug_shows_no_traceback_for_what_the_person_must_put_right(arguments: list[str]) -> None:
    done = cli(*arguments)
    assert (done.status, done.err.count("\n"), "Traceback" in done.err) == (Status.USAGE, 1, False)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["verify", "a", "--policy", "x.yaml", "--policy", "y.yaml"], "--policy is given twice"),
        (["verify", "a", "-p", "x.yaml", "--policy", "y.yaml"], "--policy is given twice"),
        (["verify", "a", "--timeout", "1s", "--timeout", "2s"], "--timeout is given twice"),
        (["verify", "a", "--json", "--format", "sarif"], "--format or --json is given twice"),
        (["verify", "a", "--any", "--all"], "--any or --all is given twice"),
        (["--color", "always", "explain", "--color", "never"], "--color is given twice"),
        (["audit", "a", "--state", "x", "--state", "y"], "--state is given twice"),
        (["audit", "merge", "a", "-o", "x", "-o", "y"], "--output is given twice"),
        (["registry", "check", "a", "--store", "x", "--store", "y"], "--store is given twice"),
    ],
)
def test_an_option_of_which_one_counts_is_not_given_twice(arguments: list[str], expected: str) -> None:
    done = cli(*arguments)
    assert (done.status, expected in done.err) == (Status.USAGE, True), done.err


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ("nots", "is notes meant?"),
        ("Notes", "is notes meant?"),
        ("githubb", "is github meant?"),
        ("latest", ""),
    ],
)
def test_a_misspelt_place_of_attestations_asks_no_registry(origin: str, expected: str) -> None:
    done = cli("attach", "r.example/a:1", "--from", origin, "--timeout", "1s")
    said = "expected notes[:REPOSITORY], github:OWNER/NAME, or a REFERENCE with its registry"
    assert (done.status, said in done.err, expected in done.err) == (Status.USAGE, True, True), done.err


def test_a_verifier_without_a_file_to_choose_it_from_is_told() -> None:
    done = cli("verify", "a", *POLICY, "--verifier", "slsla")
    assert (done.status, "--verifier chooses a Verifier of a file" in done.err) == (Status.USAGE, True)


def test_the_same_twice_and_several_levels_are_fine() -> None:
    done = cli(
        "verify", "NO IMAGE", *POLICY, "--timeout", "1s", "--timeout", "1s", "--level", "SLSA_SOURCE_LEVEL_1"
    )
    assert "is not an image reference" in done.err


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://ghcr.io/a/b:1", ": take away the https:// at the start"),
        ("oci://ghcr.io/a/b:1", ": take away the oci:// at the start"),
        # A digest is no registry behind a password.
        (f"https://ghcr.io/a/b@sha256:{'0' * 64}", ": take away the https:// at the start"),
        (f"ghcr.io//b@sha256:{'0' * 64}", ": a part between two slashes is empty"),
        ("docker://ghcr.io/a/b:1", ": take away the docker:// at the start"),
        ("ghcr.io/Owner/App:1", ": a repository's name has no upper case; is ghcr.io/owner/app meant?"),
        ("Nginx", ": a repository's name has no upper case; is nginx meant?"),
        (" ghcr.io/a/b", ": take away the blanks around it"),
        ("ghcr.io/a/b/", ": take away the slash at the end"),
        ("ghcr.io/a_-b", "is not an image reference; expected registry/repository@sha256:..."),
        ("nofile.jsonl", "is no image, and no file here; check its name and folder"),
        ("./nofile", "is no image, and no file here"),
        ("/tmp/none.json", "is no image, and no file here"),
        (str(LEVEL_1), f"is a file, no image; give it as --bundle {LEVEL_1}"),
    ],
)  # fmt: skip
def test_slips_in_an_images_name_are_told(text: str, expected: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_image(text)
    assert expected in str(caught.value)
    if "blanks" not in expected:
        assert (
            expected
            in cli(
                "inspect" if "file" not in expected else "verify",
                text,
                *(() if "file" not in expected else POLICY),
            ).err
        )


def test_no_registry_is_asked_for_a_file_that_is_not_there() -> None:
    done = cli("inspect", "nofile.jsonl")
    assert (done.status, "docker.io" in done.err) == (Status.USAGE, False)


@pytest.mark.parametrize(
    "text", ["registry.example/app.json:1", "app.d/x", f"a/b.json@sha256:{'a' * 64}", "nginx"]
)
def test_images_that_only_look_like_files_are_images(text: str) -> None:
    assert text in str(parse_image(text))


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    done = cli("trust", "export", "-o", tmp_path / "no" / "root.json")
    assert done.status == Status.USAGE
    assert f"there is no folder {tmp_path / 'no'}; create it, or name another" in done.err


def test_a_missing_folder_is_told_before_anything_is_asked_or_attached(
    registry: EmbeddedRegistry, tmp_path: Path
) -> None:
    image = image_with(registry)
    missing = tmp_path / "no" / "file"
    done = cli("attach", image, LEVEL_3, "--report", missing)
    assert (done.status, f"there is no folder {missing.parent}" in done.err) == (Status.USAGE, True)
    assert cli("inspect", image, "--json").out.count("slsla/attestation") == 0
    asked = cli("policy", "init", "registry.invalid/app:1", "-o", missing)
    assert (asked.status, f"there is no folder {missing.parent}" in asked.err) == (Status.USAGE, True)


def test_an_audit_of_a_file_that_is_not_there_asks_no_registry(tmp_path: Path) -> None:
    done = cli("audit", "nofile.jsonl", "--policy", write_yaml(tmp_path / "v.yaml", verifier()))
    assert (done.status, "no image, and no file here" in done.err) == (Status.USAGE, True)


@pytest.mark.parametrize("text", ['{"a": "\x01"}', '{"a": "x', '{"a" 1}'])
def test_no_word_of_the_json_parser_stands_twice(text: str) -> None:
    with pytest.raises(JsonError) as caught:
        loads(text.encode())
    assert " at at " not in str(caught.value)
    assert " at character " in str(caught.value)


def test_kubectls_log_lines_are_not_its_error() -> None:
    log = b'E1128 13:00:01.000001   12345 memcache.go:265] "Unhandled Error" err="couldn\'t get current server API group list"\n'
    assert (
        said(log * 3 + b"The connection to the server was refused\n")
        == "The connection to the server was refused"
    )
    assert said(log).startswith('"Unhandled Error" err=')
    assert said(b"error: no such base\nmore\n") == "error: no such base"
    assert said(b"") == "it failed without a word"


@pytest.mark.parametrize(
    ("number", "what", "expected"),
    [(1, "bundle", "1 bundle"), (2, "bundle", "2 bundles"), (0, "line of other kinds", "0 lines of other kinds"),
     (2, "patch of a kustomization", "2 patches of a kustomization"), (3, "policy", "3 policies"), (2, "key", "2 keys"),
     (2, "file without a resource", "2 files without a resource")],
)  # fmt: skip
def test_counts_agree_with_what_they_count(number: int, what: str, expected: str) -> None:
    assert counted(number, what) == expected


def test_one_line_that_is_no_bundle_fails_at_step_4(tmp_path: Path) -> None:
    for number, content in enumerate((b"", b"hello\n", b"{}", b"\x1f\x8b" + bytes(20), b"[", b"\xff\xfe")):
        path = tmp_path / f"{number}"
        path.write_bytes(content)
        done = cli("verify", "--bundle", path, *POLICY, "--json")
        (artifact,) = json.loads(done.out)["images"][0]["artifacts"]
        failed = [
            step["number"]
            for step in artifact["result"]["extensions"]["steps"]
            if step["outcome"] == "failed"
        ]
        assert (done.status, failed) == (Status.DENIED, [4]), content
    assert "found 1 line of other kinds" in cli("verify", "--bundle", tmp_path / "1", *POLICY).out


def test_a_trusted_root_of_the_cluster_asks_for_a_copy(tmp_path: Path) -> None:
    resource = verifier(spec={"parameters": parameters(trustedRoot={"path": "/etc/in-cluster/root.json"})})
    done = cli("verify", "--bundle", LEVEL_3, "--policy", write_yaml(tmp_path / "v.yaml", resource))
    assert done.status == Status.UNDECIDED
    assert 'the trusted root "/etc/in-cluster/root.json" is not on this machine' in done.out
    assert "--trusted-root FILE" in done.out
    with_copy = cli(
        "verify", "--bundle", LEVEL_3, "--policy", tmp_path / "v.yaml", "--trusted-root", TRUSTED_ROOT
    )
    assert (with_copy.status, "not on this machine" in with_copy.out) == (Status.ADMITTED, False)


def test_a_summary_about_an_image_asks_for_the_image(tmp_path: Path) -> None:
    lab, digest = Lab(), "a" * 64
    root = tmp_path / "root.json"
    root.write_bytes(lab.trusted_root())
    bundle = tmp_path / "b.jsonl"
    bundle.write_bytes(lab.sign(vsa(subjects=[{"digest": {"sha256": digest}}]), github_source_actions()))
    policy = ("--level", "SLSA_SOURCE_LEVEL_1", "--resource-uri", SOURCE, "--trusted-root", root)
    done = cli("verify", "--bundle", bundle, *policy)
    assert "name that IMAGE beside the file, as registry/repository@sha256:..." in " ".join(done.out.split())
    named = cli("verify", "--bundle", bundle, *policy, f"registry.example/app@sha256:{digest}")
    assert "SUBJECT_MISMATCH" not in named.out


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedRegistry]:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with EmbeddedRegistry() as running:
        yield running


def image_with(registry: EmbeddedRegistry, *contents: bytes) -> str:
    image = registry.push_image("team/app", "v1")
    for content in contents:
        registry.attach("team/app", image, ARTIFACT_TYPE, [content])
    return f"{registry.host}/team/app:v1"


def test_a_registry_on_loopback_needs_no_word(registry: EmbeddedRegistry) -> None:
    image = image_with(registry, LEVEL_3.read_bytes())
    assert cli("verify", image, *POLICY).status == Status.ADMITTED
    assert cli("registry", "check", image).status == Status.ADMITTED
    assert cli("inspect", image).status == Status.ADMITTED


def test_under_all_what_any_would_say_is_told(registry: EmbeddedRegistry) -> None:
    image = image_with(registry, LEVEL_3.read_bytes(), LEVEL_1.read_bytes())
    done = cli("verify", image, *POLICY)
    assert done.status == Status.DENIED
    assert "1 of 2 attestations passes, and the rule is 'all'; --any" in " ".join(done.out.split())
    assert "1 of 2" not in cli("verify", image, *POLICY, "--any").out
    neither = image_with(registry, LEVEL_1.read_bytes())
    assert cli("verify", neither, *POLICY, "--any").status == Status.ADMITTED


def test_a_layout_lists_its_images(registry: EmbeddedRegistry, tmp_path: Path) -> None:
    image, layout = image_with(registry, LEVEL_3.read_bytes()), tmp_path / "layout"
    assert ": 1 artifact\n" in cli("fetch", image, "-o", layout).out
    assert cli("inspect", "--layout", layout).out == f"{image}\n"
    nameless = cli("verify", "--layout", layout, *POLICY)
    assert (
        nameless.status,
        f"an IMAGE is missing; {layout} is a layout: it holds {image}" in nameless.err,
    ) == (
        Status.USAGE,
        True,
    )
    other = cli("verify", "--layout", layout, *POLICY, "registry.example/other:1")
    assert f"it holds {image}" in " ".join(other.out.split())


LOOPBACK = StoreSettings.parse({LOOPBACK_HTTP: True})


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", True),
        (b"HTTP/1.1 401 Unauthorized\r\n\r\n", True),
        (b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n", False),
        (b"", False),
        (b"\x15\x03\x03\x00\x02\x02\x46", False),
    ],
)
def test_what_listens_on_loopback_is_asked_which_it_speaks(answer: bytes, expected: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        assert is_plain_http(LOOPBACK, f"127.0.0.1:{server.getsockname()[1]}") is expected
        thread.join(10)


@pytest.mark.parametrize(
    "registry", ["registry.example", "10.0.0.1:5000", "localhost.example:5000", "[::1", "127.0.0.1.example"]
)
def test_only_loopback_is_ever_asked(registry: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise AssertionError("a connection")

    monkeypatch.setattr(socket, "create_connection", refused)
    assert is_plain_http(LOOPBACK, registry) is False


def test_the_plugin_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "create_connection", lambda *_: pytest.fail("a connection"))
    assert is_plain_http(StoreSettings.parse({}), "127.0.0.1:1") is False
    assert is_plain_http(StoreSettings.parse({"useHttp": True}), "registry.example") is True


def test_a_host_that_is_not_found_is_named_as_it_is() -> None:
    done = cli("registry", "check", "nope.invalid/app:1")
    assert "the host of https://nope.invalid has no address" in " ".join(done.out.split())
    assert " ://" not in done.out
