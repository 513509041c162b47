"""Text from outside, made safe to show.

What an attestation or a registry says may end in a message, a log line or a terminal. There it must
neither start a line of its own, nor look like JSON to Ratify, nor move a cursor, nor fill the screen, nor
read like a success.
"""

from __future__ import annotations

import re
import unicodedata

MAX_SHOWN = 160
"""Characters of one foreign value that a message shows."""

SUCCESS = "SLSA Attestation Check: SUCCESS."
"""What the message of a success begins with. Dashboards match it, some of them anywhere in a message."""

_KEPT = re.compile(r"[\x20-\x7e]*")


def plain(value: object, limit: int = MAX_SHOWN) -> str:
    """Return ``value`` as one printable line of at most ``limit`` characters, without braces.

    Control, format, surrogate and line separator characters become ``?``, braces become parentheses, so
    that no line can be taken for JSON (Ratify v1.4.4, ``parsePluginOutput``) or for a terminal sequence. A success's
    words lose their colon.
    """
    text = value if isinstance(value, str) else repr(value)
    cut = len(text) > limit
    text = text[:limit].replace("{", "(").replace("}", ")")
    if not _KEPT.fullmatch(text):
        text = "".join(
            "?" if unicodedata.category(char)[0] in "CZ" and char != " " else char for char in text
        )
    text = text.replace(SUCCESS[:-1], SUCCESS[:-1].replace(":", ""))
    return text + "..." if cut else text


def quoted(value: object, limit: int = MAX_SHOWN) -> str:
    """Return ``plain(value)`` in double quotes; None becomes ``nothing``."""
    if value is None:
        return "nothing"
    return '"' + plain(value, limit).replace('"', "'") + '"'


def ascii_only(text: str) -> str:
    """Return ``text`` with ``?`` for whatever is not ASCII, which JSON would write in 6 to 12 bytes."""
    return text.encode("ascii", "replace").decode("ascii")
