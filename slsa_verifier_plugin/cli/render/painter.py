"""How text looks: colour, symbols and width, decided once for a stream. Nothing here knows what is shown."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass

from slsa_verifier_plugin.text import plain

MAX_LINE = 4096
"""Characters of one foreign text that is shown in full."""

_CODES = {"red": 31, "green": 32, "yellow": 33, "blue": 34, "cyan": 36, "bold": 1, "dim": 2}
_COLORS = re.compile(r"\033\[[0-9;]*m")
_SYMBOLS = {"passed": "✓", "failed": "✗", "not checked": "·", "warning": "!"}
_LETTERS = {"passed": "ok", "failed": "X", "not checked": "-", "warning": "!"}
_STYLES = {"passed": "green", "failed": "red", "not checked": "dim", "warning": "yellow"}
DECISION_STYLES = {"admitted": "green", "denied": "red", "undecided": "yellow"}
"""The colour of each decision, and of what is counted by it."""


@dataclass(frozen=True, slots=True)
class Painter:
    """Paints text for one stream.

    ``symbols`` is False where the encoding has no check marks; ``width`` is None where lines are not broken.
    """

    color: bool = False
    symbols: bool = False
    width: int | None = None

    def paint(self, text: str, *styles: str) -> str:
        """Return ``text`` in these styles: colour names, ``bold``, ``dim``."""
        # No sequence at all: NO_COLOR asks for text without any, not for a reset.
        if not self.color or not styles or not text:
            return text
        return f"\033[{';'.join(str(_CODES[style]) for style in styles)}m{text}\033[0m"

    def mark(self, outcome: str) -> str:
        """Return the sign for an outcome, two columns wide where there are no symbols."""
        # A terminal without UTF-8 would show an escape for each mark.
        if self.symbols:
            return self.paint(_SYMBOLS[outcome], _STYLES[outcome])
        return self.paint(f"{_LETTERS[outcome]:<2}", _STYLES[outcome])

    def lines(self, text: str, first: str = "", indent: int = 0) -> list[str]:
        """Return foreign ``text`` made safe and broken to the width.

        Args:
            text: what to show.
            first: what the first line begins with, painted already.
            indent: columns that ``first`` takes, and that further lines are indented by.
        """
        # Made safe before it is measured: what is not seen has no width.
        shown = plain(text, MAX_LINE)
        # A pipe or a file: a broken line could not be searched for.
        if self.width is None:
            # A label without a text would leave blanks at the end of the line.
            return [(first + shown).rstrip()]
        # Not at hyphens, which images and signers have; a word that is wider than the terminal is broken all the same.
        broken = textwrap.wrap(shown, max(self.width - indent, 16), break_on_hyphens=False) or [""]
        return [first + broken[0], *(" " * indent + line for line in broken[1:])]

    def broken(self, painted: str, columns: int) -> list[str]:
        """Return painted text broken to the width at blanks; words stay whole, so that they can be copied.

        Args:
            painted: text that may hold colours.
            columns: taken by what stands before each line.
        """
        if self.width is None:
            return [painted]
        lines = [""]
        # 16 columns at least: deep in the tree a narrow terminal would show one letter a line.
        room = max(self.width - columns, 16)
        # At blanks alone; colours are not counted, for they take no column.
        for word in painted.split(" "):
            longer = f"{lines[-1]} {word}" if lines[-1] else word
            # A word that is too long for any line is not helped by one of its own.
            if lines[-1] and len(_COLORS.sub("", longer)) > room >= len(_COLORS.sub("", word)):
                lines.append(word)
            else:
                lines[-1] = longer
        return lines


def short(digest: object) -> str:
    """Return a digest cut to the twelve characters that people compare."""
    algorithm, colon, value = str(digest).partition(":")
    # A commit has no algorithm in front.
    return f"{algorithm}:{value[:12]}" if colon else algorithm[:12]
