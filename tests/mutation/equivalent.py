"""Mutants that no test can tell from the code, or only by what it does worse, and why.

A name that is no mutant any more, or that a test does notice, is an error, so the list stays true.
"""

from __future__ import annotations

EQUIVALENT: dict[str, str] = {
    "signatures/verifier.py:_parsed: never: b'\"tlogEntries\"' in candidate.content": (
        "a bundle that has log entries is read the same way round, only slower; one that has none, and this text elsewhere, is "
        "refused by the code and read by the mutant as if the text were not there"
    ),
    "model/envelope.py:_document: never: not newline": (
        "a blob of one line that is no JSON is no document either; it is parsed once more"
    ),
}
