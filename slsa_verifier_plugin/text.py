"""Text from outside, made safe to show.

What an attestation or a registry says may end in a message, a log line or a terminal. There it must
neither start a line of its own, nor look like JSON to Ratify, nor move a cursor, nor fill the screen, nor
read like a success.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache

MAX_SHOWN = 160
"""Characters of one foreign value that a message shows."""

SUCCESS = "SLSA Attestation Check: SUCCESS."
"""What the message of a success begins with. Dashboards match it, some of them anywhere in a message."""

_KEPT = re.compile(r"[\x20-\x7e]*")
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
"""What shows nothing though its category is a letter's, mark's or symbol's (Unicode ``Default_Ignorable_Code_Point``,
and the blank of Braille). What else shows nothing is of category C or Z."""
_COMMANDS = re.compile(
    # Azure Pipelines' "##vso[" and "##[", TeamCity's "##teamcity[" and GitHub's older "##[" are looked for anywhere in a line.
    r"(?<=#)#(?=[\w.-]{0,32}\[)"
    # GitHub's, Gitea's and Forgejo's "::name ...::"; an IPv6 address is none.
    r"|(?<=:):(?=(?![0-9A-Fa-f]+ )[A-Za-z][\w-]{0,64}(?: |::))"
    # GitLab's and Travis's folds.
    r"|(?<=section)_(?=(?:start|end):)|(?<=travis)_(?=(?:fold|time):)",
    re.ASCII,
)
"""One character of each command that a CI system would take from a log; without it there is no command."""


def plain(value: object, limit: int = MAX_SHOWN) -> str:
    """Return ``value`` as one printable line of at most ``limit`` characters, without braces.

    Control, format, surrogate, line separator and invisible characters become ``?``, braces become parentheses, so
    that no line can be taken for JSON (Ratify v1.4.4, ``parsePluginOutput``) or for a terminal sequence. A success's
    words lose their colon, a CI system's commands one character: a denial is printed by ``kubectl`` in pipelines, too.
    """
    # JSON from outside may have a number or a list where a text is expected; it is shown as it is.
    text = value if isinstance(value, str) else repr(value)
    shown = text[:limit]
    # Cut first: a megabyte of foreign text would be searched through for every message.
    safe = _safe_again(shown) if len(shown) <= _MAX_AGAIN else _safe(shown)
    return safe + "..." if len(text) > limit else safe


def _safe(text: str) -> str:
    text = inert(text.replace("{", "(").replace("}", ")"))
    return text.replace(SUCCESS[:-1], SUCCESS[:-1].replace(":", ""))


_MAX_AGAIN = 256
"""Characters of a text that is kept with what it became: a report has some forty, nearly all of them the last report's, too."""
_safe_again = lru_cache(maxsize=1024)(_safe)


def inert(text: str) -> str:
    """Return ``text`` with ``?`` for every character that is not seen, and for one of each command of a CI system."""
    # Nearly all text is printable ASCII, for which one search is enough.
    if not _KEPT.fullmatch(text):
        text = "".join(
            "?" if unicodedata.category(char)[0] in "CZ" and char != " " else char for char in text
        )
        text = _INVISIBLE.sub("?", text)
    return without_commands(text, lambda _: "?")


def without_commands(text: str, instead: Callable[[str], str]) -> str:
    """Return ``text`` with ``instead`` of one character of each command that a CI system would take from a log."""
    # Four searches for a word cost a hundredth of the pattern.
    if not ("##" in text or "::" in text or "section_" in text or "travis_" in text):
        return text
    return _COMMANDS.sub(lambda found: instead(found[0]), text)


def quoted(value: object, limit: int = MAX_SHOWN) -> str:
    """Return ``plain(value)`` in double quotes; None becomes ``nothing``."""
    # Nothing, and not "None", which people would look for in their files.
    if value is None:
        return "nothing"
    return '"' + plain(value, limit).replace('"', "'") + '"'


def counted(number: int, what: str) -> str:
    """Return a number with what it counts: ``1 file``, ``2 files``, ``2 files of values``, ``2 patches``."""
    if number == 1:
        return f"1 {what}"
    # The first noun takes the plural: "2 files of values", "2 images without a digest".
    head, space, rest = what.partition(" of ") if " of " in what else what.partition(" without ")
    ending = "es" if head.endswith(("s", "x", "ch", "sh")) else "s"
    # "entry" becomes "entries", "key" becomes "keys".
    if head.endswith("y") and head[-2:-1] not in "aeiou":
        head, ending = head[:-1], "ies"
    return f"{number} {head}{ending}{space}{rest}"


def some_of(names: Sequence[str], most: int) -> str:
    """Return the first ``most`` of ``names`` with commas between them, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"


def nearest(text: str, known: Iterable[str], likeness: float = 0.6) -> str:
    """Return the one of ``known`` that ``text`` is a misspelling of, empty where none is near.

    Args:
        text: as it was written, in whatever case.
        known: what it may be.
        likeness: from 0 to 1, from which on two are near (``difflib``).
    """
    # Imported here: only who has found a slip needs it.
    from difflib import get_close_matches

    # Without case: "FailurePolicy" is as near as "failurepolicy".
    folded = {item.lower(): item for item in known}
    # Cut: comparing takes the product of the lengths, and a key may be a megabyte.
    near = get_close_matches(text.lower()[:256], list(folded), 1, likeness)
    return folded[near[0]] if near else ""


def ascii_only(text: str) -> str:
    """Return ``text`` with ``?`` for whatever is not ASCII, which JSON would write in 6 to 12 bytes."""
    return text.encode("ascii", "replace").decode("ascii")
