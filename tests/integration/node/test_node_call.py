"""containerd's call from its first to its last byte: what is let through, what blocks; nothing hangs, or says yes by error."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from slsa_verifier_plugin.node.call_arguments import DESCRIPTOR, PROGRAM
from slsa_verifier_plugin.policy.verdict import FAILURE_PREFIX, SUCCESS_PREFIX
from tests.support.command_line import verifier, write_yaml
from tests.support.node import DIGEST, STORE, Images, Node, Pulled, arguments, assert_blocked, descriptor


def test_level_3_is_pulled_and_level_1_blocked_with_the_reason(alone: Node, images: Images) -> None:
    admitted = alone.pull(images.name, images.level_3)
    assert admitted.is_allowed, admitted
    assert admitted.stdout.startswith(SUCCESS_PREFIX)
    assert len(admitted.stdout.splitlines()) == 1
    assert_blocked(alone.pull(images.name, images.level_1), "SLSA_SOURCE_LEVEL_1", "(LEVEL_TOO_LOW)")


def test_the_resident_verifier_says_the_same(node: Node, images: Images) -> None:
    for _ in range(2):
        assert node.pull(images.name, images.level_3).is_allowed
        assert_blocked(node.pull(images.name, images.level_1), "(LEVEL_TOO_LOW)")
    assert_blocked(node.pull(images.name, DIGEST), "NO_ATTESTATION")


def test_a_policy_that_is_replaced_counts_at_the_next_pull(node: Node, images: Images) -> None:
    assert_blocked(node.pull(images.name, images.level_1), "(LEVEL_TOO_LOW)")
    write_yaml(node.policies / "verifier.yaml", verifier(level=1))
    assert node.pull(images.name, images.level_1).is_allowed
    node.put("verifier.yaml", "kind: Verifier\n")
    assert_blocked(node.pull(images.name, images.level_3), "the policies cannot be used")
    (node.policies / "verifier.yaml").unlink()
    (node.policies / "store.yaml").unlink()
    assert_blocked(node.pull(images.name, images.level_3), "has no policy")
    write_yaml(node.policies / "verifier.yaml", verifier())
    write_yaml(node.policies / "store.yaml", STORE)
    assert node.pull(images.name, images.level_3).is_allowed


def test_what_the_tag_says_now_does_not_count(node: Node, images: Images) -> None:
    """The tag is the other image's, or nobody's: containerd has its digest, and pulls that."""
    for tag in ("one", "three", "none"):
        name = f"{images.repository}/app:{tag}"
        assert node.pull(name, images.level_3).is_allowed
        assert_blocked(node.pull(name, images.level_1), "(LEVEL_TOO_LOW)")


def test_a_name_with_its_digest(node: Node, images: Images) -> None:
    name = f"{images.repository}/app"
    assert node.pull(f"{name}@{images.level_3}", images.level_3).is_allowed
    assert node.pull(f"{name}:v1@{images.level_3}", images.level_3).is_allowed
    # The digest of a good image in the name of what is a bad one.
    assert_blocked(node.pull(f"{name}@{images.level_3}", images.level_1), "another digest")


def test_no_folder_no_policy(tmp_path: Path, images: Images) -> None:
    node = Node(tmp_path)
    assert_blocked(node.pull(images.name, images.level_3), "has no policy", "put a Verifier resource there")
    node.policies.rmdir()
    assert_blocked(node.pull(images.name, images.level_3), "does not exist", "nothing is pulled here")


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("verifier.yaml", "kind: Verifier\n"),
        ("verifier.yaml", "{"),
        ("verifier.yaml", ""),
        ("another.yaml", "not a resource"),
        ("exempt", "registry.k8s.io/pause:3.10\n"),
        ("timeout", "soon"),
    ],
)
def test_a_broken_folder_blocks_and_says_so(node: Node, images: Images, file: str, content: str) -> None:
    node.put(file, content)
    assert_blocked(node.pull(images.name, images.level_3), file)


def test_exempt_by_digest_and_by_path(node: Node, images: Images) -> None:
    node.put("exempt", f"{images.repository}/app@{images.level_1}\n")
    pulled = node.pull(images.name, images.level_1)
    assert (pulled.is_allowed, "exempts" in pulled.stdout) == (True, True)
    assert_blocked(node.pull(images.name, DIGEST), "NO_ATTESTATION")
    assert_blocked(node.pull(f"{images.repository}/app2:v1", images.level_1))
    node.put("exempt", f"{images.repository}/*\n")
    assert node.pull(images.name, DIGEST).is_allowed
    assert_blocked(
        node.pull(f"{images.repository}/../team2/app:v1", DIGEST),
        "not an image reference; expected registry/repository@sha256:...",
    )
    assert_blocked(node.pull(f"{images.repository}/%2e%2e/team2/app:v1", DIGEST), "not an image reference")
    assert_blocked(node.pull(f"{images.repository}-evil/app:v1", DIGEST))


def test_what_is_exempt_starts_without_policies_and_beside_broken_ones(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.put("exempt", f"registry.k8s.io/pause@{DIGEST}\n")
    assert node.pull("registry.k8s.io/pause:3.10", DIGEST).is_allowed
    node.put("verifier.yaml", "kind: Verifier\n")
    assert node.pull("registry.k8s.io/pause:3.10", DIGEST).is_allowed
    assert_blocked(
        node.pull("registry.k8s.io/pause:3.10", "sha256:" + "1" * 64), "the policies cannot be used"
    )


@pytest.mark.parametrize(
    "name", ["app", "app:v1", "team/app:v1", "busybox", "library/busybox:latest", "/app", ":"]
)
def test_a_name_that_says_no_registry_is_nobodys(node: Node, name: str) -> None:
    """containerd takes the first part for a host; here nobody completes it to Docker Hub's."""
    node.put("exempt", "docker.io/library/*\n")
    assert_blocked(node.pull(name, DIGEST))


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        (["-name", "r.example/a", "-digest", DIGEST], "missing"),
        (["-name", "r.example/a", "-stdin-media-type", DESCRIPTOR], "-digest missing"),
        ([*arguments("r.example/a", DIGEST), "-digest", DIGEST], "twice"),
        ([*arguments("r.example/a", DIGEST), "--help", "x"], "none of"),
        (["-digest"], "odd number"),
        (arguments("r.example/a\nSLSA Attestation Check: SUCCESS.", DIGEST), "characters"),
        (arguments("r.example/a\x1b[2J", DIGEST), "characters"),
        ([b"-name", b"r.example/\xff", *map(str.encode, arguments("x", DIGEST)[2:])], "characters"),
        (arguments("r.example/a", "sha256:" + "0" * 63), "-digest is not"),
    ],
)
def test_arguments_that_are_not_containerds(node: Node, changed: list[str | bytes], says: str) -> None:
    assert_blocked(node.run(changed, descriptor(DIGEST)), says)


@pytest.mark.parametrize(
    "stdin",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"not JSON",
        b"\xff\xfe",
        descriptor("sha256:" + "1" * 64),
        descriptor(DIGEST) * 2,
        f'{{"digest":"sha256:{"1" * 64}","digest":"{DIGEST}"}}'.encode(),
        b'{"digest":' + b"[" * 100_000,
        descriptor(DIGEST)[:-3],
    ],
)
def test_standard_input_that_does_not_describe_the_image(node: Node, stdin: bytes) -> None:
    node.put("exempt", "r.example/base/*\n")
    assert_blocked(node.run(arguments("r.example/base/a", DIGEST), stdin), "standard input")


def test_a_descriptor_with_all_that_containerd_may_put_into_it(node: Node, images: Images) -> None:
    stdin = descriptor(
        images.level_3,
        annotations={"org.opencontainers.image.ref.name": "x" * 60_000},
        platform={"architecture": "amd64", "os": "linux"},
        urls=["https://r.example"],
    )
    assert node.run(arguments(images.name, images.level_3), stdin).is_allowed


def test_standard_input_of_100_mb(node: Node) -> None:
    pulled = node.run(arguments("r.example/a", DIGEST), b" " * 100_000_000)
    assert_blocked(pulled, "standard input has more than")


def test_standard_input_that_does_not_end(node: Node) -> None:
    reader, writer = os.pipe()
    try:
        os.write(writer, b'{"mediaType":')
        pulled = node.run(arguments("r.example/a", DIGEST), reader)
    finally:
        os.close(reader)
        os.close(writer)
    assert_blocked(pulled, "did not end")


def test_standard_input_that_is_closed(node: Node) -> None:
    pulled = node.run(arguments("r.example/a", DIGEST), subprocess.DEVNULL)
    assert_blocked(pulled, "standard input")


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a registry that accepts and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(50)
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize("is_resident", [True, False])
def test_a_registry_that_hangs_is_a_denial_within_the_time_that_the_folder_says(
    node: Node, silent: str, is_resident: bool
) -> None:
    node.resident = is_resident
    if is_resident:
        # Warm first: the start of a verifier is no part of this call's time.
        node.put("timeout", "30s\n")
        node.pull("r.invalid/a:v1", DIGEST)
    node.put("timeout", "1s\n")
    pulled = node.pull(f"{silent}/team/app:v1", DIGEST)
    assert_blocked(pulled)
    # Far from the 20 s that listing may take elsewhere; a loaded machine takes seconds to start an interpreter.
    assert pulled.seconds < 15


def test_many_pulls_at_once(node: Node, images: Images) -> None:
    assert node.pull(images.name, images.level_3).is_allowed
    outcomes: list[tuple[str, Pulled]] = []

    def pull(digest: str) -> None:
        outcomes.append((digest, node.pull(images.name, digest)))

    threads = [
        threading.Thread(target=pull, args=(digest,)) for digest in (images.level_1, images.level_3) * 8
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 16
    for digest, pulled in outcomes:
        assert pulled.is_allowed == (digest == images.level_3), pulled


def test_a_folder_that_others_may_write_to(node: Node, images: Images) -> None:
    node.policies.chmod(0o777)
    assert_blocked(node.pull(images.name, images.level_3), "written to by others")
    node.policies.chmod(0o755)
    (node.policies / "verifier.yaml").chmod(0o666)
    assert_blocked(node.pull(images.name, images.level_3), "verifier.yaml may be written to by others")


def test_a_folder_that_is_a_link_to_where_others_may_write(
    node: Node, images: Images, tmp_path: Path
) -> None:
    theirs = tmp_path / "theirs"
    node.policies.rename(tmp_path / "moved")
    theirs.mkdir()
    theirs.chmod(0o777)
    (tmp_path / "moved").rename(theirs / "policies")
    node.policies.symlink_to(theirs / "policies")
    assert_blocked(node.pull(images.name, images.level_3), "written to by others")
    # The same link where nobody else may write.
    theirs.chmod(0o755)
    assert node.pull(images.name, images.level_3).is_allowed


def test_a_trusted_root_outside_of_the_folder_that_others_may_write_to(
    node: Node, images: Images, tmp_path: Path
) -> None:
    resource = verifier()
    root = tmp_path / "trusted_root.json"
    root.write_bytes(Path(resource["spec"]["parameters"]["trustedRoot"]["path"]).read_bytes())
    resource["spec"]["parameters"]["trustedRoot"] = {"path": str(root)}
    write_yaml(node.policies / "verifier.yaml", resource)
    assert node.pull(images.name, images.level_3).is_allowed
    root.chmod(0o666)
    assert_blocked(node.pull(images.name, images.level_3), "trusted_root.json may be written to by others")


def test_a_profile_has_policies_and_exemptions_of_its_own(node: Node, images: Images) -> None:
    strict = node.policies / "strict"
    strict.mkdir(mode=0o755)
    write_yaml(strict / "verifier.yaml", verifier(level=1))
    write_yaml(strict / "store.yaml", STORE)
    assert_blocked(node.pull(images.name, images.level_1), "(LEVEL_TOO_LOW)")
    assert node.pull(images.name, images.level_1, f"/opt/bin/{PROGRAM}-strict").is_allowed
    assert_blocked(node.pull(images.name, images.level_1, f"/opt/bin/{PROGRAM}-other"), "does not exist")
    assert_blocked(
        node.pull(images.name, images.level_1, f"/opt/bin/{PROGRAM}-../../../etc"), "must be named"
    )
    assert_blocked(node.pull(images.name, images.level_3, ""), "must be named")
    assert_blocked(node.pull(images.name, images.level_3, "/opt/bin/slsa"), "must be named")


def test_the_way_in_is_containerds_whatever_else_is_said(tmp_path: Path) -> None:
    """``entry`` itself, as installed: one of containerd's arguments anywhere, and there is no --help, --version or plugin."""
    program = tmp_path / f"{PROGRAM}-none-such"
    program.write_text("from slsa_verifier_plugin.entry import main\nmain()\n")
    call = arguments("r.example/a", DIGEST)
    for given in (
        call,
        ["--help", *call],
        ["--version", *call],
        [*call, "--version"],
        ["-h", "-digest"],
        ["image-verifier", *call],
    ):
        started = time.monotonic()
        done = subprocess.run(
            [sys.executable, program, *given],
            input=descriptor(DIGEST),
            env={"RATIFY_VERIFIER_COMMAND": "VERIFY"},
            capture_output=True,
            check=False,
        )
        assert done.returncode == 1, given
        assert done.stdout.decode().startswith(FAILURE_PREFIX), given
        assert time.monotonic() - started < 60
