"""Patterns of the policy: globs for URIs and refs, regular expressions for identities.

Both run on RE2, whose time is linear in the text: what is matched comes from outside.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

_DOT_SEGMENT = re.compile(r"(^|[/@])\.{0,2}(?=/|$)|%|\\")


class PatternError(ValueError):
    """A regular expression that RE2 cannot compile."""


@dataclass(frozen=True, slots=True)
class Glob:
    """A text where ``*`` stands for any characters of one path segment and ``**`` for any at all."""

    pattern: str

    def matches(self, text: str) -> bool:
        """Return True if the whole ``text`` matches.

        A text with empty or dot segments, a backslash or a percent sign never matches a wildcard: it may name something
        else than it seems to.
        """
        if "*" not in self.pattern:
            return text == self.pattern
        rest = text.partition("://")[2] if "://" in text else text
        return not _DOT_SEGMENT.search(rest) and _fullmatch(_translated(self.pattern), text)


@dataclass(frozen=True, slots=True)
class IdentityPattern:
    """A regular expression that must match an identity in full (RE2 syntax, as cosign's)."""

    pattern: str

    def check(self) -> None:
        """Raise ``PatternError`` if RE2 cannot compile the pattern."""
        _compiled(self.pattern)

    def matches(self, text: str) -> bool:
        """Return True if the whole ``text`` matches."""
        return _fullmatch(self.pattern, text)


def _translated(glob: str) -> str:
    parts = re.split(r"(\*\*|\*)", glob)
    return "".join({"*": "[^/]*", "**": ".*"}.get(part) or re.escape(part) for part in parts)


def _fullmatch(pattern: str, text: str) -> bool:
    return "\n" not in text and _compiled(pattern).fullmatch(text) is not None


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> Any:
    import re2

    options = re2.Options()
    options.log_errors = False
    options.max_mem = 4 << 20
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        detail = error.args[0] if error.args else error
        text = detail.decode("utf-8", "replace") if isinstance(detail, bytes) else str(detail)
        raise PatternError(text) from error
