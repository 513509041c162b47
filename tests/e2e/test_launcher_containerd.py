"""containerd calls the one-file plugin: the launcher hands the call on as it is, and whatever keeps it from that blocks."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest

from launcher.tests.harness import Plugin, told
from slsa_verifier_plugin import entry
from slsa_verifier_plugin.policy.verdict import FAILURE_PREFIX
from tests.support.node import arguments

CALL = arguments("registry.example/app:v1", "sha256:" + "0" * 64)


@pytest.fixture
def plugin() -> Iterator[Plugin]:
    with Plugin() as plugin:
        yield plugin


@pytest.mark.parametrize(
    "given",
    [
        CALL,
        [*CALL, "--help"],
        ["--version", *CALL],
        ["-digest"],
        ["-h", "-stdin-media-type", ""],
        ["x", "-name"],
    ],
)
def test_the_call_and_the_executed_path_reach_python(plugin: Plugin, given: list[str]) -> None:
    strict = plugin.path.with_name("slsa-verifier-plugin-strict")
    strict.symlink_to(plugin.path)
    told_by = told(
        plugin.run_in(
            [str(strict), *given],
            RATIFY_VERIFIER_COMMAND="VERIFY",
            SLSA_VERIFIER_ELAPSED_MS="3000",
            SLSA_VERIFIER_EXECUTABLE="/bin/true",
            SLSA_VERIFIER_BUILD="0" * 64,
        )
    )
    assert told_by["called"] == [entry.IMAGE_VERIFIER, str(strict), *given]
    # What names the build is the launcher's own word, whatever the caller's environment says.
    assert told_by["environment"]["SLSA_VERIFIER_BUILD"] == plugin.digest
    assert told_by["environment"]["SLSA_VERIFIER_EXECUTABLE"] == str(plugin.path)
    assert "SLSA_VERIFIER_ELAPSED_MS" not in told_by["environment"]


@pytest.mark.parametrize(
    "given", [["verify", "name"], ["-names"], ["--name"], ["-Name"], ["-digest=x"], ["--help"]]
)
def test_what_is_no_call_of_containerds_is_the_command_line(plugin: Plugin, given: list[str]) -> None:
    assert told(plugin.run(*given))["called"] == given


def test_the_launcher_knows_the_names_that_python_knows(plugin: Plugin) -> None:
    for name in sorted(entry.CONTAINERD):
        assert told(plugin.run("x", name))["called"][:1] == [entry.IMAGE_VERIFIER]


def test_more_arguments_than_containerd_gives(plugin: Plugin) -> None:
    most = [*CALL, *["x"] * 58]
    assert told(plugin.run(*most))["called"] == [entry.IMAGE_VERIFIER, str(plugin.path), *most]
    done = plugin.run(*most, "x")
    assert (done.returncode, done.stdout.decode().startswith(FAILURE_PREFIX)) == (1, True)
    assert plugin.run(*CALL, *["x"] * 20_000).returncode == 1


def test_the_executed_path_is_what_the_caller_says_and_nothing_else(plugin: Plugin) -> None:
    """It need not be where the file is: Python takes its last part alone, and no default for one that it does not know."""
    reader, writer = os.pipe()
    child = os.posix_spawn(
        plugin.path, ["-name/../x", *CALL], plugin.environ, file_actions=[(os.POSIX_SPAWN_DUP2, writer, 1)]
    )
    os.close(writer)
    with os.fdopen(reader, "rb") as output:
        said = json.loads(output.read())
    os.waitpid(child, 0)
    assert said["called"] == [entry.IMAGE_VERIFIER, "-name/../x", *CALL]


@pytest.mark.parametrize("left", [-1, -100, -1000])
def test_a_damaged_file_blocks_and_says_so(plugin: Plugin, left: int) -> None:
    content = plugin.path.read_bytes()
    plugin.path.write_bytes(content[:left])
    done = plugin.run(*CALL, RATIFY_VERIFIER_COMMAND="VERIFY")
    assert done.returncode == 1
    assert done.stdout.decode().startswith(FAILURE_PREFIX + "the plugin's file is damaged")


def test_nowhere_to_unpack_blocks_and_says_so(plugin: Plugin) -> None:
    content = bytearray(plugin.path.read_bytes())
    content[len(content) - 200] ^= 1
    plugin.path.write_bytes(content)
    done = plugin.run(*CALL)
    assert done.returncode == 1
    assert done.stdout.decode().startswith(FAILURE_PREFIX)
    assert len(done.stdout.splitlines()) == 1
