"""The run of a pushed tag, whose summary names the default branch and whose certificate names the tag."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from slsa_verifier_plugin.model.signer import COMMIT, REF, Signer
from slsa_verifier_plugin.model.vsa import SourceSubject

# git's own folders of refs (gitrevisions).
_TAGS, _BRANCHES = "refs/tags/", "refs/heads/"


def tag_run(signer: Signer, sources: Iterable[SourceSubject]) -> SourceSubject | None:
    """Return the certified commit with the certified tag as its one ref, where the run was a tag's and names only branches.

    Since source-tool 0.7 the summary of a pushed tag names the default branch (``source_refs``), while the certificate names
    the tag. What was certified counts: the tag, and no branch. Anything else that differs is None.
    """
    # The new extension goes before the old one. Step 8 has refused certificates in which the two differ.
    commit, ref = (
        next((signer.claims[arc] for arc in arcs if arc in signer.claims), None) for arcs in (COMMIT, REF)
    )
    own = [source for source in sources if source.commit == commit]
    refs = [known for source in own for known in source.refs]
    # Not a tag's run, or a tag without a name: nothing that source-tool does.
    if ref is None or not ref.startswith(_TAGS) or ref == _TAGS:
        return None
    # A summary that names a tag itself and not this one contradicts its certificate, which step 8 then says.
    if not refs or not all(known.startswith(_BRANCHES) for known in refs):
        return None
    # The branch that the summary names goes: nothing certifies that the tag's commit was on it.
    return replace(own[0], refs=(ref,))
