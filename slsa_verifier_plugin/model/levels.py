"""SLSA levels (SLSA v1.2 "Verification Summary Attestation", "verifiedLevels" and "SlsaResult").

A track's level implies all lower ones; every other name stands for itself alone, or for a control that has several names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

_TRACK_LEVEL = re.compile(r"SLSA_([A-Z][A-Z0-9]{0,31})_LEVEL_(0|[1-9][0-9]{0,2})")
_WORDS = re.compile(r"[^\W_]+")
_NOTHING = re.compile(r"FAILED|SLSA_[A-Z][A-Z0-9]{0,31}_LEVEL_UNEVALUATED")

_SAME = (
    ("TAG_HYGIENE", "SLSA_SOURCE_SCS_PROTECTED_REFS"),
    ("REVIEW_ENFORCED", "SLSA_SOURCE_SCS_TWO_PARTY_REVIEW", "SLSA_SOURCE_TWO_PARTY_REVIEWED"),
    ("CONTINUITY_ENFORCED", "SLSA_SOURCE_SCS_CONTINUITY"),
    ("PROVENANCE_AVAILABLE", "SLSA_SOURCE_SCS_PROVENANCE"),
)
"""Names of one control each: source-tool's until 0.6.2, its from 0.7 on, and SLSA v1.2's own where it has one."""

CONTROLS = {name: frozenset(names) for names in _SAME for name in names}
"""Each known name of a control, to all its names."""


def track_level(name: str) -> tuple[str, int] | None:
    """Return track and number of a name such as ``SLSA_SOURCE_LEVEL_3``; None for any other name."""
    # Three digits at most, and no leading zero: one number has one name, and none is too large to compare.
    match = _TRACK_LEVEL.fullmatch(name)
    return (match[1], int(match[2])) if match else None


def is_failure(name: str) -> bool:
    """Return True for a result that says that a verification failed (SLSA v1.2 "SlsaResult": ``FAILED``).

    ``FAILED`` is written in capitals; in other letters, or as a part of a reserved name (``SLSA_SOURCE_LEVEL_3_FAILED``), it can
    mean nothing better. In a name of one's own (``ORG_FAILED_LOGINS_LOCKED``) it is a word like any other.
    """
    # Signs between words do not matter: ``FAILED!`` fails as well.
    words = _WORDS.findall(name.upper())
    return "FAILED" in words and (len(words) == 1 or "SLSA" in words)


def is_nothing(name: str) -> bool:
    """Return True for the results that attest nothing: ``FAILED`` and ``SLSA_*_LEVEL_UNEVALUATED``."""
    return _NOTHING.fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class Levels:
    """The highest level of each track, and all other names."""

    tracks: dict[str, int] = field(default_factory=dict)
    names: frozenset[str] = frozenset()

    @classmethod
    def of(cls, results: Iterable[str]) -> Levels:
        """Return the levels in ``results``; of two levels of one track the highest counts."""
        tracks: dict[str, int] = {}
        names: set[str] = set()
        for name in results:
            # Says that nothing was reached, which is no name of a control.
            if is_nothing(name):
                continue
            level = track_level(name)
            if level is None:
                names.add(name)
            else:
                tracks[level[0]] = max(level[1], tracks.get(level[0], 0))
        return cls(tracks, frozenset(names))

    def capped(self, caps: Iterable[str]) -> Levels:
        """Return these levels as far as a signer with ``caps`` may attest them.

        Args:
            caps: the highest trusted level of each track, such as ``SLSA_SOURCE_LEVEL_2``; no caps at all
                leave the levels as they are. With caps, whatever they do not explain counts as not said: the levels of other
                tracks, and all names that are no track's level (a control such as ``TAG_HYGIENE``, but also
                ``slsa_source_level_3`` and ``SLSA_SOURCE_LEVEL_1000``, by which a level could be said past its cap). Of two caps
                of one track the lowest counts.
        """
        given = list(caps)
        # No cap configured: the signer may say whatever it is trusted for.
        if not given:
            return self
        limits: dict[str, int] = {}
        for name in given:
            # A cap that is no track's level limits nothing; the schema lets none through.
            if level := track_level(name):
                limits[level[0]] = min(level[1], limits.get(level[0], level[1]))
        # Tracks without a cap, and all names, fall away: a signer with a cap is trusted for the capped tracks alone.
        return Levels(
            {track: min(number, limits[track]) for track, number in self.tracks.items() if track in limits}
        )

    def missing(self, expected: Iterable[str]) -> list[str]:
        """Return the names in ``expected`` that these levels do not reach."""
        return [name for name in expected if not self._reaches(name)]

    def _reaches(self, name: str) -> bool:
        level = track_level(name)
        if level is None:
            # A control has other names in other versions of source-tool; any of them is the same control.
            return not self.names.isdisjoint(CONTROLS.get(name, (name,)))
        # A track that is not named has no level, which is less than level 0.
        return self.tracks.get(level[0], -1) >= level[1]

    def shown(self) -> list[str]:
        """Return the names, levels first, in a stable order."""
        levels = [f"SLSA_{track}_LEVEL_{number}" for track, number in sorted(self.tracks.items())]
        return levels + sorted(self.names)
