"""``docs/tour.md`` as a reader would follow it: every command is run, every line of its output compared.

``SLSA_UPDATE_DOCS=1`` writes what the commands print now into the document, and the picture of it.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from tests.support import interrupts
from tests.support.command_line import ROOT
from tests.support.terminal import run_on_terminal
from tests.support.typing_person import installed, typed

TOUR = ROOT / "docs" / "tour.md"
UPDATE = bool(os.environ.get("SLSA_UPDATE_DOCS"))
BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)
REGISTRY, FOLDER = "127.0.0.1:5000", "/tour"
SERVE = "slsa-verifier-plugin demo --serve"
SECONDS = 60
COLUMNS = 140
"""Of the terminal that the pictures show."""
_LOW, _HIGH = f"{REGISTRY}/demo/app:level-1", f"{REGISTRY}/demo/app:level-3"
PICTURES = {
    "verify": f"slsa-verifier-plugin verify {_LOW} {_HIGH} --policy demo/verifier.yaml --plain-http",
    "inspect": f"slsa-verifier-plugin inspect {_HIGH} --plain-http",
}


@dataclass
class Reader:
    """Somebody who types the tour's commands in a folder of their own."""

    folder: Path
    environ: dict[str, str]
    host: str = ""

    def type(self, command: str) -> str:
        """Return what a command prints, with the names that the document has for what differs."""
        done = typed(command.replace(REGISTRY, self.host), self.folder, self.environ, SECONDS)
        return self.named(done.stdout)

    def named(self, text: str) -> str:
        return text.replace(self.host, REGISTRY).replace(str(self.folder), FOLDER)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Reader, str]]:
    """A reader, while the demonstration's registry runs; and what it said when it began."""
    folder = tmp_path_factory.mktemp("tour")
    environ = installed(folder, folder / "home")
    program = folder / "bin" / "slsa-verifier-plugin"
    found = Reader(folder, environ)
    with interrupts.heard():
        served = subprocess.Popen(
            [program, "demo", "--serve", "demo"], cwd=folder, env=environ, stdout=subprocess.PIPE, text=True
        )
    assert served.stdout is not None
    try:
        lines: list[str] = []
        while not lines or "Ctrl-C" not in lines[-1]:
            lines.append(served.stdout.readline())
            assert lines[-1], "the demonstration ended"
        found.host = lines[0].split()[1]
        yield found, found.named("".join(lines))
    finally:
        served.send_signal(signal.SIGINT)
        said, _ = served.communicate(timeout=SECONDS)
        assert (said, served.returncode) == ("ended\n", 0)


def test_the_tour(reader: tuple[Reader, str]) -> None:
    somebody, served = reader
    document = TOUR.read_text("utf-8")

    def replayed(block: re.Match[str]) -> str:
        text = ""
        for command in re.findall(r"^\$ (.*)$", block[1], re.MULTILINE):
            said = served if command.startswith(SERVE) else somebody.type(command)
            text += f"$ {command}\n{said}"
        return f"```console\n{text}```"

    now = BLOCK.sub(replayed, document)
    if UPDATE:
        TOUR.write_text(now, "utf-8")
    assert now == document or UPDATE


def test_the_denial_is_in_the_plugins_words(reader: tuple[Reader, str]) -> None:
    somebody, _ = reader
    said = somebody.type(
        f"slsa-verifier-plugin verify {REGISTRY}/demo/app:level-1 --policy demo/verifier.yaml --plain-http --json"
    )
    (image,) = json.loads(said)["images"]
    text = TOUR.read_text("utf-8").partition("```text\n")[2].partition("```")[0]
    assert image["artifacts"][0]["result"]["message"] in text
    assert f"{REGISTRY}/demo/app@{image['resolved'].partition('@')[2]} is not admitted" in text.replace(
        "\n", " "
    )


_THEME = TerminalTheme(
    (13, 17, 23),
    (230, 237, 243),
    [
        (13, 17, 23),
        (255, 139, 128),
        (86, 211, 100),
        (227, 179, 65),
        (121, 192, 255),
        (210, 168, 255),
        (86, 212, 221),
        (230, 237, 243),
    ],
)
_FORMAT = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="LABEL">
<style>.{unique_id}-matrix {{ font: {char_height}px monospace; white-space: pre; }} {styles}</style>
<defs><clipPath id="{unique_id}-clip-terminal"><rect width="{terminal_width}" height="{terminal_height}"/></clipPath>
{lines}</defs>
<rect width="{width}" height="{height}" rx="8" fill="#0d1117"/>
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">{backgrounds}
<g class="{unique_id}-matrix">{matrix}</g></g>
</svg>
"""


def on_a_terminal(reader: Reader, command: str, columns: int) -> str:
    """Return what a command writes to a terminal of that width, colours and all."""
    program = ["bash", "-c", command.replace(REGISTRY, reader.host)]
    _, written = run_on_terminal(program, columns, reader.folder, {**reader.environ, "TERM": "xterm"})
    return reader.named(written)


def picture(text: str, label: str) -> str:
    """Return coloured terminal output as SVG, without a font or anything else from elsewhere."""
    with Path(os.devnull).open("w") as nowhere:
        console = Console(
            record=True, width=COLUMNS, file=nowhere, color_system="standard", force_terminal=True
        )
        console.print(Text.from_ansi(text))
        style = _FORMAT.replace("LABEL", label)
        return console.export_svg(title=label, theme=_THEME, code_format=style, unique_id="t")


@pytest.mark.parametrize("name", PICTURES)
def test_the_pictures_show_what_the_commands_print(reader: tuple[Reader, str], name: str) -> None:
    somebody, _ = reader
    said = on_a_terminal(somebody, PICTURES[name], COLUMNS)
    # Free ports have five digits, so lines are broken at the same places each time.
    svg = picture(said, f"Output of {name}")
    path = ROOT / "docs" / "images" / f"{name}.svg"
    if UPDATE:
        path.write_text(svg, "utf-8")
    assert "\033[31" in said or "\033[32" in said
    assert not re.search(r"url\((?!#t-)|href|@import|<image", svg), "it loads something"
    assert path.read_text("utf-8") == svg
