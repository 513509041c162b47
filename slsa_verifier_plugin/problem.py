"""One problem as a value; whoever shows it makes the sentence, and nobody takes a sentence apart again."""

from __future__ import annotations

from dataclasses import dataclass

from slsa_verifier_plugin.text import plain

Key = str | int
"""One step on the way to a value in a document: a member's name, or an item's index from 0."""

_MAX_KEY = 64
"""Characters of one name that a place shows; a document may have any."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, and what to do about it.

    Args:
        where: the way to the value in its document; empty for the document as a whole.
        found: what was found, safe to show.
        expected: what was expected instead, as it completes ", expected ..."; empty where ``found`` says it all.
        remedy: what to do next; empty where that is plain.
    """

    where: tuple[Key, ...]
    found: str
    expected: str = ""
    remedy: str = ""

    @property
    def place(self) -> str:
        """``where`` as people write it: ``trustedVerifiers[0].issuer``."""
        text = ""
        for key in self.where:
            # An index counts from 0, as in JSON Pointer and jsonpath.
            if isinstance(key, int):
                text += f"[{key}]"
            else:
                # The name of an unknown parameter is the caller's text: it may be anything, in any length.
                text += f".{plain(key, _MAX_KEY)}" if text else plain(key, _MAX_KEY)
        return text

    @property
    def what(self) -> str:
        """What was found and what was expected, without the place and the remedy."""
        return f"{self.found}, expected {self.expected}" if self.expected else self.found

    def __str__(self) -> str:
        """Return all of it as one sentence, without a full stop."""
        place = f"{self.place}: " if self.where else ""
        return f"{place}{self.what}{'; ' if self.remedy else ''}{self.remedy}"


PASSED, WARNING, FAILED, NOT_CHECKED = "passed", "warning", "failed", "not checked"


@dataclass(frozen=True, slots=True)
class DoctorFinding:
    """One thing that was looked at: its name, how it is (``PASSED`` ...), and what to do where that is not as it should be."""

    name: str
    outcome: str
    message: str
    remedy: str = ""
