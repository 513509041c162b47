"""Mutants that no test can tell from the code, and why.

A name that is no mutant any more, or that a test does notice, is an error, so the list stays true.
"""

from __future__ import annotations

EQUIVALENT: dict[str, str] = {
    "verification/provenances.py:ProvenanceSearch.__init__: no filter: image.digest.hex.encode() in item.payload": (
        "what is about another image is passed over once it is read, which takes a hundred times as long"
    ),
    "verification/provenances.py:ProvenanceSearch._look: boundary: time.monotonic() > limit": (
        "no clock is read at the very end of a turn"
    ),
    'policy/matching.py:_fullmatch: without "\\n" not in text: "\\n" not in text and '
    "_compiled(pattern).fullmatch(text) is not None": (
        "what is matched has been looked through for characters that names do not have, the end of a line among them"
    ),
    "policy/checks.py:aged: without examination.summary is None: examination.reason is not None or "
    "examination.summary is None": ("where there is no summary there is a reason"),
    "policy/matching.py:_located: without found is None: found is None or not _is_plain(text, _LOCATED)": (
        "what is plain has that form"
    ),
    "policy/trusted.py:TrustedSigner.unlisted_commit: without self.public_key: self.public_key or commit in "
    "self.workflow_digests or not _COMMIT.fullmatch(commit)": (
        "without the identities of keys no signer is a key's, whatever the commit"
    ),
    "signatures/keys.py:is_valid: without len(signature) == _ED25519_BYTES: len(signature) == _ED25519_BYTES and "
    "_verifies(partial(key.verify, signature, message.cont": (
        "OpenSSL looks at the length as well, before anything else"
    ),
    "signatures/verifier.py:RootVerifier._by_log: without logged is None: logged is None and time == moment": (
        "a timestamp of the log's own time, verified before, is verified once more, which takes a millisecond"
    ),
    "model/documents_in_text.py:_Splitter.next_look: boundary: self._long < start": (
        "a line that begins where the search begins is found again"
    ),
    "model/documents_in_text.py:_Splitter.next_look: boundary: self._open < start": (
        "a line that begins where the search begins is found again"
    ),
    "model/documents_in_text.py:_Splitter.next_look: boundary: again < found": (
        "no marked line is looked for that begins before the other one"
    ),
    "model/documents_in_text.py:_Splitter.next_look: boundary: self._marked < again": (
        "a line that begins where the search begins is found again"
    ),
    "model/documents_in_text.py:_Splitter.next_look: boundary: place < 0": (
        "the file's first byte has been looked at before"
    ),
}
