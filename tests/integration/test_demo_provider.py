"""``demo --provider``: the provider started on loopback, asked about both images, and asked again by the lines it prints."""

from __future__ import annotations

import json
import shlex
import signal
import ssl
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from slsa_verifier_plugin.checking.status import Status
from slsa_verifier_plugin.cli.render.painter import Painter
from slsa_verifier_plugin.cli.render.render_provider_demo import text_of
from slsa_verifier_plugin.demo.provider_calls import ProviderExchange, RunningProvider
from slsa_verifier_plugin.demo.scene import Exhibit
from slsa_verifier_plugin.errors import Reason
from slsa_verifier_plugin.model.digest import Descriptor, Digest
from tests.support.command_line import process
from tests.support.interrupts import heard


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose path leaves room for a socket's, for everything that the demonstration makes."""
    with tempfile.TemporaryDirectory(prefix="d-") as folder:
        yield Path(folder)


def test_request_and_answer_of_each_image_are_shown_and_nothing_stays(short: Path) -> None:
    done = process("demo", "--provider", environ={"TMPDIR": str(short)})
    assert (done.status, done.err) == (Status.ADMITTED, "")
    denied, admitted = done.out.partition("ADMITTED")[::2]
    for shown, word in ((denied, "LEVEL_TOO_LOW"), (admitted, "VERIFIED")):
        assert "POST /ratify/gatekeeper/v1/verify" in shown
        assert '"kind": "ProviderRequest"' in shown
        assert '"kind":"ProviderResponse"' in shown
        assert f'"reason":"{word}"' in shown
        assert "curl -s --cacert" in shown
    assert "The demo worked" in admitted
    assert list(short.iterdir()) == []


def test_as_json(short: Path) -> None:
    done = process("demo", "--provider", "--json", environ={"TMPDIR": str(short)})
    value = json.loads(done.out)
    assert value["asExpected"] is True
    assert [one["decision"] for one in value["exchanges"]] == ["denied", "admitted"]
    for one in value["exchanges"]:
        assert json.loads(one["request"])["request"]["keys"] == [one["image"]]
        assert one["answer"]["response"]["items"][0]["key"] == one["image"]


def test_with_a_folder_it_stays_and_its_lines_ask_again(short: Path) -> None:
    folder = short / "a folder"
    command = [sys.executable, "-m", "slsa_verifier_plugin", "demo", "--provider", "--serve", str(folder)]
    with heard():
        started = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL)
    with started as running:
        assert running.stdout is not None
        lines = []
        for line in running.stdout:
            lines.append(line.rstrip("\n"))
            if "Ctrl-C ends it." in line:
                break
        try:
            again = [line.split("again", 1)[1].strip() for line in lines if " again " in line]
            assert len(again) == 2
            admitted = []
            for line in again:
                curl, _, _, certificate, url, _, body = shlex.split(line)
                assert curl == "curl"
                context = ssl.create_default_context(cafile=certificate)
                with urllib.request.urlopen(url, body.encode(), context=context, timeout=60) as answer:
                    (item,) = json.load(answer)["response"]["items"]
                admitted.append(item["value"]["isSuccess"])
            assert admitted == [False, True]
            assert (folder / "server.key").stat().st_mode & 0o077 == 0
        finally:
            running.send_signal(signal.SIGINT)
        assert running.wait(60) == Status.ADMITTED


@pytest.mark.parametrize("option", ["--without-ratify", "--ratify=/nowhere"])
def test_there_is_no_ratify_in_it(option: str) -> None:
    done = process("demo", "--provider", option)
    assert done.status == Status.USAGE
    assert "--provider needs no Ratify" in done.err


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"response": None},
        {"response": {"items": []}},
        {"response": {"items": [{"key": "other", "value": {"isSuccess": True, "verifierReports": [{}]}}]}},
        {"response": {"items": [{"key": "image", "error": "KEY_INVALID: x"}]}},
        {
            "response": {
                "items": [{"key": "image", "value": {"isSuccess": "true", "verifierReports": [{"a": 1}]}}]
            }
        },
        {
            "response": {
                "items": [
                    {
                        "key": "image",
                        "value": {
                            "isSuccess": True,
                            "verifierReports": [{"extensions": {"reason": "LEVEL_TOO_LOW"}}],
                        },
                    }
                ]
            }
        },
    ],
)
def test_another_answer_is_not_as_expected(answer: dict[str, object]) -> None:
    artifact = Descriptor("a/b", Digest.of(b""), 0)
    exchange = ProviderExchange(Exhibit("level-3", "image", artifact, Reason.VERIFIED), "{}", answer, "curl")
    assert not exchange.as_expected
    running = RunningProvider(Path("folder"), "127.0.0.1:1", "127.0.0.1:2")
    assert "This is not what must happen" in "\n".join(text_of(running, [exchange], Painter(), stays=False))
