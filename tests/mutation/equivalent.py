"""Mutants that no test can tell from the code, and why: mostly a second check of what an earlier one has refused.

A name that is no mutant any more, or that a test does notice, is an error, so the list stays true.
"""

from __future__ import annotations

_TWICE = "protobuf's JSON mapping, as in-toto's own library uses it today, has refused it by then"

EQUIVALENT: dict[str, str] = {
    "signatures/verifier.py:_parsed: never: b'\"tlogEntries\"' in candidate.content": (
        "a bundle that has log entries is read the same way round, only slower"
    ),
    "model/envelope.py:_candidate: never: b'\"payload\"' not in line": (
        "a line without a payload is parsed and then passed over, only slower"
    ),
    "model/envelope.py:_document: never: not newline": (
        "a blob of one line that is no JSON is no document either; it is parsed once more"
    ),
    'strict_json.py:loads: boundary: content.count(b"[") + content.count(b"{") >= MAX_DEPTH': (
        "a document with exactly as many brackets cannot be deeper than allowed"
    ),
    "model/statement.py:_check_shape: without not isinstance(digests, dict): not isinstance(digests, dict) or "
    "not all(isinstance(text, str) for text in digests.values(": _TWICE,
    "model/statement.py:_check_shape: without not all(isinstance(text, str) for text in digests.values()): "
    "not isinstance(digests, dict) or not all(isinstance(text, str) for text in digests.values(": _TWICE,
    'model/statement.py:_check_shape: no raise: raise StatementError("a subject\'s digest is not an object of strings")': _TWICE,
    'model/statement.py:_check_shape: no raise: raise StatementError("a subject\'s annotations are not an object")': _TWICE,
}
