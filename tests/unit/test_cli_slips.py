"""Slips at the command line: an image's name, a file that cannot be read or written, a word that is nearly the right one."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from slsa_verifier_plugin.checking.image_names import parse_image
from slsa_verifier_plugin.checking.status import Status
from slsa_verifier_plugin.cli.arguments import usual
from slsa_verifier_plugin.errors import ArtifactError, UsageError
from slsa_verifier_plugin.registry.reference import Reference
from slsa_verifier_plugin.resources.kubectl import KubectlError, run_kubectl
from tests.support.command_line import LEVEL_3, SOURCE, TRUSTED_ROOT, cli, parameters, verifier, write_yaml

HEX = "a1" * 32
POLICY = ("--level", "SLSA_SOURCE_LEVEL_2", "--resource-uri", SOURCE, "--trusted-root", TRUSTED_ROOT)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "name an image"),
        ("r.example/a@", "take away the @ at the end"),
        ("r.example/a:1@", "take away the @ at the end"),
        ("r.example/a:", "take away the : at the end"),
        ("r.example/a:1,", "take away the , at the end"),
        ("'r.example/a:1'", "take away the quotation marks"),
        ('"r.example/a:1"', "take away the quotation marks"),
        ("r.example//a", "a part between two slashes is empty"),
        ("r.example/a:1:2", "it has two tags"),
        (f"r.example/a@sha256:{HEX}@sha256:{HEX}", "it has two @"),
        ("r.example/a@v1", "a tag stands behind a colon; is r.example/a:v1 meant?"),
        (f"r.example/a:sha256:{HEX}", f"is r.example/a@sha256:{HEX} meant?"),
        (f"r.example/a@{HEX}", f"is r.example/a@sha256:{HEX} meant?"),
        ("r.example/a@sha256:abc", "the digits of a sha256 digest are 64"),
        ("r.example/a@sha512:abc", "the digits of a sha512 digest are 128"),
        (f"r.example/a@sha256:{HEX.upper()}", "write the digest in lower case"),
        (f"r.example/a@SHA256:{HEX}", "write the digest in lower case"),
        ("r.example/a@sha1:abc", "what stands behind the @ is no digest"),
        ("r.example:99999/a", "a port is at most 65535"),
        ("r.example:65536/a:1", "a port is at most 65535"),
        ("r.example/my app", 'nothing in it may be " "'),
        ("r.example/a?x=1", 'nothing in it may be "?"'),
    ],
)
def test_what_keeps_a_name_from_being_an_image_is_told(text: str, expected: str) -> None:
    with pytest.raises(ArtifactError) as caught:
        Reference.parse(text)
    assert f": {expected}; expected registry/repository@sha256:..." in caught.value.message


@pytest.mark.parametrize("text", [f"r.example/a:1@sha256:{HEX}", "r.example:65535/a", f"a@sha512:{HEX * 2}"])
def test_the_nearest_names_are_images(text: str) -> None:
    assert text in str(Reference.parse(text))


@pytest.mark.parametrize(
    "text",
    [
        "robot:s3cret@r.example/a",
        "https://robot:s3cret@r.example/a",
        "https://robot:s3c/ret@r.example",
        "s3cret@r.example/a:1",
    ],
)
def test_a_password_in_a_name_is_not_repeated(text: str) -> None:
    with pytest.raises(ArtifactError, match="log in with 'docker login'") as caught:
        Reference.parse(text)
    assert "s3c" not in caught.value.message


@pytest.mark.parametrize(
    "text", ["ghcr.io", "localhost:5000", "127.0.0.1:5000", "127.0.0.1:5000/", "[::1]:5000"]
)
def test_a_registry_alone_is_no_image_of_docker_hub(text: str) -> None:
    with pytest.raises(UsageError, match=r"names a registry alone; expected .*[^/]/REPOSITORY$"):
        parse_image(text)


@pytest.mark.parametrize("text", ["oci:lay", "oci:lay:1", "docker-archive:a.tar", "containers-storage:a"])
def test_an_image_on_this_machine_is_told_from_one_in_a_registry(text: str) -> None:
    with pytest.raises(UsageError, match="is no image in a registry; copy it to one"):
        parse_image(text)


@pytest.mark.parametrize("text", ["localhost/a", "my.app:1.2", "docker.io/library/oci:lay", "app:1.json"])
def test_names_that_only_look_like_a_registry_or_a_folder_are_images(text: str) -> None:
    assert text in str(parse_image(text))


def test_a_folder_is_no_image(tmp_path: Path) -> None:
    done = cli("inspect", f"{tmp_path}/")
    assert (done.status, "is a folder, no image; give a layout as --layout" in done.err) == (
        Status.USAGE,
        True,
    )


def test_a_slip_is_told_before_doctor_prints_a_line() -> None:
    done = cli("doctor", "https://r.example/a")
    assert (done.status, done.out) == (Status.USAGE, "")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["help", "help"], ["--help"]),
        (["help", "version"], ["--help"]),
        (["policy", "help"], ["policy", "--help"]),
        (["policy", "help", "check"], ["policy", "check", "--help"]),
        (["verify", "help"], ["verify", "--help"]),
        (["inspect", "a", "--format", "json"], ["inspect", "a", "--json"]),
        (["inspect", "a", "--format=json"], ["inspect", "a", "--json"]),
        (["policy", "check", "a", "--format", "json"], ["policy", "check", "a", "--json"]),
        (["verify", "a", "--format", "json"], ["verify", "a", "--format", "json"]),
        (["audit", "--format=json", "a"], ["audit", "--format=json", "a"]),
        (["verify", "a", "--color"], ["--color"]),
    ],
)
def test_habits_from_other_programs(typed: list[str], meant: list[str]) -> None:
    assert usual(typed) == meant


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["verify", "a", "--format", "jsn"], "is json meant?"),
        (["verify", "a", "--source-binding", "Anotation"], "is annotation meant?"),
        (["verify", "a", "--color", "alwys"], "is always meant?"),
        (["audit", "a", "--fail-on", "deneid"], "is denied meant?"),
        (["verify", "a", "--trusted-root", "publicgood"], "is public-good meant?"),
        (["inspect", "a", "--trusted-root", "stagng"], "is staging meant?"),
        (["policy", "init", "a", "--trusted-root", "none.json"], "there is no file 'none.json'; name a trusted_root.json"),
        (["trust", "export", "-o", "x", "--root", "public-god"], "is public-good meant?"),
        (["completion", "powershell"], "is not one of 'bash', 'zsh', 'fish'; see"),
    ],
)  # fmt: skip
def test_misspelt_values_get_the_nearest_word(arguments: list[str], expected: str) -> None:
    done = cli(*arguments)
    assert (done.status, expected in done.err) == (Status.USAGE, True), done.err


def test_the_variable_is_named_where_it_names_no_policy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for value in ("nofile.yaml", str(tmp_path), "a.yaml:b.yaml"):
        monkeypatch.setenv("SLSA_VERIFIER_POLICY", value)
        for command in (
            ["verify", "r.example/a"],
            ["trust", "list"],
            ["attach", "r.example/a", str(LEVEL_3)],
        ):
            done = cli(*command)
            assert done.status == Status.USAGE
            assert f"SLSA_VERIFIER_POLICY'): it names '{value}', which is no file" in done.err
    # The option goes before it, and an empty variable is none.
    policy = write_yaml(tmp_path / "p.yaml", verifier())
    assert cli("trust", "list", "--policy", policy).status == Status.ADMITTED
    monkeypatch.setenv("SLSA_VERIFIER_POLICY", "")
    assert cli("trust", "list").status == Status.ADMITTED


@pytest.mark.parametrize(
    "command",
    [
        ["verify", "r.example/a", "--policy"],
        ["verify", *POLICY, "--bundle"],
        ["policy", "check"],
        ["audit", *POLICY, "--pods"],
        ["audit", *POLICY, "--images"],
        ["audit", *POLICY, "--manifests"],
        ["registry", "check", "r.example/a", "--store"],
    ],
)
def test_an_empty_name_and_a_folder_are_told_as_such(command: list[str], tmp_path: Path) -> None:
    done = cli(*command, "")
    assert (done.status, " is empty" in done.err) == (Status.USAGE, True), done.err
    # These read a folder whole.
    if command[0] != "policy" and "--manifests" not in command:
        done = cli(*command, tmp_path)
        assert (done.status, "is a folder; name a file" in done.err) == (Status.USAGE, True), done.err


@pytest.mark.parametrize(
    "command",
    [
        ["policy", "init", "r.example/a", "-o"],
        ["trust", "export", "--force", "-o"],
        ["audit", "r.example/a", *POLICY, "-o"],
        ["attach", "r.example/a", str(LEVEL_3), "--report"],
    ],
)
def test_a_folder_is_no_file_to_write(command: list[str], tmp_path: Path) -> None:
    done = cli(*command, tmp_path)
    assert (done.status, f"{tmp_path} is a folder; name a file in it" in done.err) == (Status.USAGE, True), (
        done.err
    )
    done = cli(*command, tmp_path / "no" / "file")
    assert (done.status, f"there is no folder {tmp_path / 'no'};" in done.err) == (Status.USAGE, True), (
        done.err
    )
    assert ".part" not in done.err


def test_a_place_that_takes_no_files_is_told_by_the_name_that_was_typed() -> None:
    done = cli("audit", "r.example/a", *POLICY, "-o", "/proc/report.html")
    assert (done.status, "/proc/report.html cannot be written: " in done.err) == (Status.USAGE, True), (
        done.err
    )


def test_a_file_that_is_no_state_of_an_audit_is_told_as_such(tmp_path: Path) -> None:
    junk, empty = tmp_path / "junk", tmp_path / "empty"
    junk.write_text("junk" * 300)
    empty.write_text("")
    for path in (junk, empty):
        done = cli("audit", "merge", path)
        assert (done.status, "is no state that an audit wrote" in done.err) == (Status.USAGE, True), done.err
    done = cli("audit", "r.example/a", *POLICY, "--state", tmp_path / "no" / "x.db")
    assert (done.status, "there is no folder for it" in done.err) == (Status.USAGE, True), done.err


def test_an_audit_of_a_registry_without_a_name_asks_nobody() -> None:
    for name, expected in (
        ("", "is empty"),
        ("https://r.example", "take away the https://"),
        ("r.example/", "take away the slash at the end"),
    ):
        done = cli("audit", *POLICY, "--registry", name)
        assert (done.status, expected in done.err) == (Status.USAGE, True), done.err


def test_what_is_no_list_of_pods_is_told_in_peoples_words(tmp_path: Path) -> None:
    path = tmp_path / "pods"
    for text, expected in (
        ("No resources found", "found something else, expected Pods"),
        ("", "is empty, expected Pods"),
    ):
        path.write_text(text)
        assert expected in cli("audit", *POLICY, "--pods", path).err


def test_kubectls_words_come_with_what_to_look_at(tmp_path: Path) -> None:
    program = tmp_path / "kubectl"
    program.write_text("#!/bin/sh\necho 'Error from server (Forbidden): pods is forbidden' >&2\nexit 1\n")
    program.chmod(0o755)
    with pytest.raises(KubectlError) as caught:
        run_kubectl(["get", "pods"], {"PATH": str(tmp_path)}, 5)
    assert str(caught.value) == (
        "kubectl get pods: Error from server (Forbidden): pods is forbidden; check the context, the kubeconfig, and what its "
        "user may read"
    )


@pytest.mark.parametrize(
    "command",
    [
        ["install", "--plugins-dir", ""],
        ["install", "--containerd", "--bin-dir", ""],
        ["fetch", "r.example/a", "-o", ""],
        ["verify", "r.example/a", *POLICY, "--layout", ""],
        ["trust", "export", "--output="],
        ["audit", *POLICY, "--images="],
    ],
)
def test_an_unset_variable_does_not_name_the_folder_that_one_is_in(command: list[str]) -> None:
    done = cli(*command)
    assert (done.status, "is empty, expected the name of a file or folder" in done.err) == (
        Status.USAGE,
        True,
    ), done.err


def test_a_slip_in_the_name_of_an_artifact_is_told() -> None:
    for text, expected in (
        ("https://r.example/a:1", "take away the https://"),
        ("r.example/A:1", "is r.example/a meant?"),
        ("r.example/none.json", "cannot be read"),
    ):
        done = cli("verify", *POLICY, "--bundle", text)
        assert (done.status, expected in done.err) == (Status.USAGE, True), done.err


def test_a_layout_is_a_folder(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    done = cli("fetch", "r.example/a", "-o", file)
    assert (done.status, "is a file; a layout is a folder" in done.err) == (Status.USAGE, True), done.err


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--max-age", "30d"], '--max-age: found "30d", expected a duration'),
        (
            ["--source-ref", "main"],
            '--source-ref: found "main", expected a whole ref; is refs/heads/main meant?',
        ),
        (["--level", "SLSA SOURCE LEVEL 2"], "is SLSA_SOURCE_LEVEL_2 meant?"),
        (["--level", ""], "--level: must not be empty"),
        (["--verifier-id", "https://github.com/slsa-framework/source-action"], "--verifier-id: nobody"),
        (["--artifact-type", ""], "--artifact-type: must not be empty"),
    ],
)
def test_what_is_typed_is_not_blamed_on_a_file(options: list[str], expected: str, tmp_path: Path) -> None:
    policy = write_yaml(tmp_path / "p.yaml", verifier())
    done = cli("verify", "--bundle", LEVEL_3, "--policy", policy, *options)
    assert (done.status, expected in done.err) == (Status.USAGE, True), done.err
    assert str(policy) not in done.err


def test_what_is_wrong_in_the_file_is_told_with_its_place(tmp_path: Path) -> None:
    policy = write_yaml(tmp_path / "p.yaml", verifier(spec={"parameters": parameters(maxAge="30d")}))
    done = cli("verify", "--bundle", LEVEL_3, "--policy", policy, "--source-ref", "refs/heads/main")
    assert f"{policy}:" in done.err
    assert "maxAge" in done.err


def _policy_file(folder: Path) -> Path:
    return write_yaml(
        folder / "policy.yaml",
        verifier(spec={"parameters": parameters(trustedRoot={"path": str(TRUSTED_ROOT)})}),
    )


@pytest.mark.parametrize("lines", [1, 2])
def test_a_bundle_as_the_policy_is_told_as_such(lines: int, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.jsonl"
    bundle.write_bytes((LEVEL_3.read_bytes().strip() + b"\n") * lines)
    done = cli("verify", "--bundle", LEVEL_3, "--policy", bundle)
    assert (done.status, done.out) == (Status.USAGE, "")
    assert f"{bundle} is a Sigstore bundle, as --bundle takes it" in done.err


def test_other_files_as_the_policy_are_told_as_such(tmp_path: Path) -> None:
    packed = tmp_path / "policy.yaml.gz"
    packed.write_bytes(gzip.compress(_policy_file(tmp_path).read_bytes()))
    done = cli("verify", "--bundle", LEVEL_3, "--policy", packed)
    assert done.status == Status.USAGE
    assert "gzip data; unpack it with: gunzip <FILE >OTHER-FILE" in done.err
    done = cli("verify", "--bundle", LEVEL_3, "--policy", TRUSTED_ROOT)
    assert done.status == Status.USAGE
    assert f"{TRUSTED_ROOT} is a trusted root, as --trusted-root takes it" in done.err


def test_a_policy_and_a_trusted_root_as_the_bundle_are_told_as_such(tmp_path: Path) -> None:
    policy = _policy_file(tmp_path)
    as_json = tmp_path / "policy.json"
    as_json.write_text(json.dumps({"apiVersion": "config.ratify.deislabs.io/v1beta1", "kind": "Verifier"}))
    for file, kind in (
        (policy, "a Kubernetes resource, as --policy takes it where it is a Verifier"),
        (as_json, "a Kubernetes resource, as --policy takes it where it is a Verifier"),
        (TRUSTED_ROOT, "a trusted root, as --trusted-root takes it"),
    ):
        done = cli("verify", "--bundle", file, "--policy", policy)
        assert (done.status, f"(seen: {kind})" in done.out) == (Status.DENIED, True), done
    done = cli("verify", "--bundle", LEVEL_3, "--policy", policy)
    assert done.status == Status.ADMITTED, done


def test_a_resource_that_has_a_media_type_of_its_own_is_one(tmp_path: Path) -> None:
    policy = _policy_file(tmp_path)
    policy.write_text(
        f"{policy.read_text()}\n---\napiVersion: example.com/v1\nkind: App\nmediaType: text/plain\n"
    )
    done = cli("verify", "--bundle", LEVEL_3, "--policy", policy)
    assert done.status == Status.ADMITTED, done


def test_a_slip_in_a_policy_of_json_is_told_and_not_its_kind(tmp_path: Path) -> None:
    slip = tmp_path / "policy.json"
    slip.write_text(
        '{"apiVersion": "config.ratify.deislabs.io/v1beta1",\n "kind": "Verifier" "metadata": {}}'
    )
    done = cli("verify", "--bundle", LEVEL_3, "--policy", slip)
    assert done.status == Status.USAGE
    assert f"{slip}:2:" in done.err
    assert "not YAML" in done.err
