"""A page of the documentation as a reader would follow it: its commands are run as they stand, their output compared.

A block of commands is a fence of ``console``. One that cannot be run here has a remark before it, which says why:
``<!-- lab: left out: REASON -->``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.typing_person import typed

_BLOCK = re.compile(
    r"(?:^<!-- lab: left out: ([^\n]+) -->\n)?^```console\n(.*?)^```$", re.DOTALL | re.MULTILINE
)
_SETTINGS = "set -a"
"""How the command begins that gives variables to those that follow it."""
_ANY = "…"
"""What a page has in the place of what is another each time."""
_SECONDS = 300


@dataclass(frozen=True)
class Step:
    """A command of a page with the output that is shown below it. ``left_out`` says why it is not run, empty if it is."""

    command: str
    shown: str
    left_out: str = ""

    def is_shown(self, printed: str) -> bool:
        """Tell whether that is what the page shows: word for word, however it is broken into lines."""
        words = re.split(r"\s+", self.shown.strip())
        pattern = r"\s+".join(".*".join(map(re.escape, word.split(_ANY))) for word in words)
        return re.fullmatch(pattern, printed.strip(), re.DOTALL) is not None


def section(page: Path, *titles: str) -> str:
    """Return the text of the sections below these titles of the second level."""
    parts = dict(
        re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    )
    return "\n".join(parts[title] for title in titles)


def steps(text: str) -> Iterator[Step]:
    """Yield the commands of a text, in their order."""
    for why, body in _BLOCK.findall(text):
        for command, shown in re.findall(
            r"^\$ ((?:[^\n]*\\\n)*[^\n]*)\n((?:(?!\$ )[^\n]*\n)*)", body, re.MULTILINE
        ):
            yield Step(command, shown, why)


@dataclass
class Reader:
    """Somebody who types a page's commands in a folder.

    Attributes:
        names: what stands on the page for what is here, by what is here.
        environment: of the commands.
    """

    folder: Path
    names: Mapping[str, str]
    environment: Mapping[str, str]
    _settings: list[str] = field(default_factory=list)

    def type(self, step: Step) -> str:
        """Run a command and return what it printed, under the page's names.

        Raises:
            AssertionError: that is not what the page shows.
        """
        if step.command.startswith(_SETTINGS):
            self._settings.append(step.command)
        environ = {"PATH": os.environ["PATH"], **self.environment}
        done = typed("\n".join([*self._settings, step.command]), self.folder, environ, _SECONDS)
        printed = done.stdout
        for here, there in self.names.items():
            printed = printed.replace(here, there)
        # kubectl 1.32 against a newer API server, and what has no last-applied-configuration: warnings are no output.
        printed = "".join(line for line in printed.splitlines(True) if not line.startswith("Warning: "))
        assert step.is_shown(printed), f"$ {step.command}\n{printed}\nbut the page shows\n{step.shown}"
        # A command whose failure is not shown has not done what the reader goes on from.
        assert ("Error from server" in step.shown) is (done.returncode != 0), f"$ {step.command}: {printed}"
        return printed
