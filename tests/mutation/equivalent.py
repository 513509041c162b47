"""Mutants that no test can tell from the code, and why.

A name that is no mutant any more, or that a test does notice, is an error, so the list stays true.
"""

from __future__ import annotations

EQUIVALENT: dict[str, str] = {
    "evidence.py:ImageEvidence._signed: never: predicate_type_of(candidate.payload_type, candidate.payload) not in "
    "PREDICATE_TYPES": "a statement of another type is refused when it is read in full, which takes ten times as long",
}
