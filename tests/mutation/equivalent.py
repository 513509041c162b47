"""Mutants that no test can tell from the code, and why.

A name that is no mutant any more, or that a test does notice, is an error, so the list stays true.
"""

from __future__ import annotations

EQUIVALENT: dict[str, str] = {}
