"""Finds values in a Verifier's parameters that fit the schema and match no summary: misspelt ones, and impossible patterns."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from slsa_verifier_plugin.members import objects_at, text_at, texts_below
from slsa_verifier_plugin.model.levels import Levels, track_level
from slsa_verifier_plugin.policy.hints import (
    HIGHEST_SOURCE_LEVEL,
    above_highest,
    differences_of,
    near_level,
    near_ref_kind,
    other_track,
    usual_form,
)
from slsa_verifier_plugin.policy.matching import RefPattern, UriPattern
from slsa_verifier_plugin.policy.trusted import BUILT_IN_VERIFIERS, DEFAULT_VERIFIER_IDS
from slsa_verifier_plugin.resources.kinds import kind_of
from slsa_verifier_plugin.resources.lint_signers import near_host, signer_slips, texts
from slsa_verifier_plugin.resources.problems import Remark, error, warning
from slsa_verifier_plugin.resources.ratify_resources import Resource
from slsa_verifier_plugin.text import nearest, plain, quoted

# 40 or 64 of them, and no digit beside: git writes forty for "no commit".
_ZEROS = re.compile(r"(?<![0-9a-zA-Z])0{40}(?:0{24})?(?![0-9a-zA-Z])")

_OWNER_AND_NAME = re.compile(r"[A-Za-z0-9_-]+/[A-Za-z0-9._-]+")
_REPOSITORY = re.compile(r"git\+https://[A-Za-z0-9.-]+(?::[0-9]+)?(?:/[A-Za-z0-9._~-]+){2,}(?:@.+)?")
"""What the SLSA source workflow writes for a repository, perhaps with a ref."""


USUAL_TYPES = {
    "slsla/attestation": "the guides attach",
    "application/vnd.dev.sigstore.bundle.v0.3+json": "cosign and gh attach",
    "application/vnd.dev.sigstore.bundle+json;version=0.3": "cosign and gh attached until 2024",
    "application/vnd.in-toto+json": "BuildKit and oras attach",
}
"""Artifact types that attestations have, and who gives them; ``slsa/attestation`` is the usual slip."""


def type_slips(artifact_types: Sequence[str]) -> Iterator[Remark]:
    """Yield what is wrong with a Verifier's artifact types."""
    for kind in artifact_types:
        if not kind:
            yield error((), "a type between two commas is empty: it never matches", "take away the comma")
        elif kind != kind.strip():
            what = f"{quoted(kind)} has blanks, which Ratify does not take away: it never matches"
            yield error((), what, "write types with commas and no blanks")
        # It makes each signature and bill of materials a denial.
        elif kind == "*":
            what = "* hands every artifact to this verifier, also signatures and bills of materials, and denies for them"
            yield warning((), what, "write slsla/attestation")
        elif kind not in USUAL_TYPES and (near := nearest(kind, tuple(USUAL_TYPES), 0.8)):
            what = f"{quoted(kind)} is not {near}, which {USUAL_TYPES[near]}; Ratify compares them exactly"
            remedy = (
                "write the type that your attestations have; 'slsa-verifier-plugin inspect IMAGE' shows it"
            )
            yield warning((), what, remedy)


def unmatchable(config: Mapping[str, Any]) -> Iterator[Remark]:
    """Yield what can match no summary. What does not fit the schema is passed over.

    Args:
        config: the parameters as they are written, whatever else is wrong with them.
    """
    is_known = _by_known_workflow(config)
    for path, name in texts(config, "expectedVerifiedLevels"):
        if remark := _level_remark(name, is_known):
            yield warning(path, *remark)
        # Such a policy is valid and denies everything: each summary's level is cut down to the cap.
        elif not _is_within_caps(name, config):
            yield warning(
                path,
                f"maxLevel keeps every signer in trustedVerifiers from attesting {quoted(name)}: with a cap only the levels up "
                "to it count, and no controls",
                "raise maxLevel, or lower expectedVerifiedLevels",
            )
    yield from signer_slips(config)
    for path, uri in texts(config, "expectedResourceUri"):
        if remark := _uri_remark(uri, is_known):
            yield warning(path, *remark)
    for path, ref in texts(config, "expectedSourceRefs"):
        near_kind = near_ref_kind(ref)
        # git check-ref-format(1) rules out some names: a pattern of one matches nothing.
        if not RefPattern(ref).can_match:
            what = f"{quoted(ref)} matches no ref: git allows no such name"
            yield warning(path, what, "write refs/heads/NAME or refs/tags/NAME")
        elif near_kind:
            yield warning(path, f"{quoted(ref)} is neither a branch nor a tag", f"is {near_kind} meant?")


def _level_remark(name: str, by_known_workflow: bool) -> tuple[str, str] | None:
    """Return what is wrong with an expected level and what to do, None where some summary may state it."""
    level = track_level(name)
    if near := near_level(name):
        what = f"no summary states {quoted(name)}, as far as is known here"
    # Names of other verifiers may be anything; only of the known one its levels are known.
    elif level is None or not by_known_workflow:
        return None
    elif near := other_track(name):
        what = f"the SLSA source workflow states levels of the source track alone, and {quoted(name)} is of another"
    elif near := above_highest(name):
        what = f"the source track has the levels 1 to {HIGHEST_SOURCE_LEVEL} (SLSA v1.2), and {quoted(name)} is none of them"
    else:
        return None
    return what, f"is {near} meant?"


def _uri_remark(uri: str, by_known_workflow: bool) -> tuple[str, str] | None:
    """Return what is wrong with an expected URI and what to do, None where some summary may have it."""
    if not UriPattern(uri).can_match:
        return (
            f"{quoted(uri)} matches no resourceUri: wildcards match the names in a URI, and neither its scheme, nor across the "
            "host, nor in a URI with a query, a fragment, a user name or escapes",
            "write host and path, such as git+https://github.com/OWNER/*; docs/parameters.md has all of it",
        )
    # It matches names that begin with a dot alone; people who write it mean any name.
    if "/.*" in uri:
        what = f"{quoted(uri)} has .*, which is no regular expression here: a dot, and any name"
        return what, "write * alone for any name"
    if near := near_host(uri.removeprefix("git+")):
        return f"{quoted(uri)} is on no host that is known here", f"is {near} meant?"
    # Of other verifiers is not known how they write a repository.
    if not by_known_workflow or uri == "**":
        return None
    nothing = f"{quoted(uri)} matches no resourceUri of the SLSA source workflow"
    # As people write a repository of GitHub's in a workflow.
    if _OWNER_AND_NAME.fullmatch(uri):
        return f"{nothing}: it has no host", f"write git+https://github.com/{uri}"
    # Compared to the byte (step 10), so ".git" or an upper-case letter at the end denies all.
    form = usual_form(uri)
    # The usual form is told only where the workflow could write it: else one mistake would be put in another's place.
    is_usable = _REPOSITORY.fullmatch(form) is not None or "*" in form
    if form != uri and is_usable and (differs := differences_of(uri, form)):
        return f"{nothing}: it differs only in {' and '.join(differs)}", f"write {plain(form, 512)}"
    # * stands for one name: in "https://github.com/*" it is an owner's, and no repository ends there.
    if "**" not in uri and not _REPOSITORY.fullmatch(uri.replace("\\*", "x").replace("*", "x")):
        return f"{nothing}, which is that of a repository", "write git+https://HOST/OWNER/REPOSITORY"
    return None


def zero_digests(resource: Resource) -> Iterator[Remark]:
    """Yield a remark on each text of a resource that has a digest or commit id of zeros, as placeholders have."""
    # Anywhere: a placeholder may have been left in any field. Of kinds that nobody looks at here nothing is known.
    for path, text in texts_below(resource.spec, ("spec",)) if kind_of(resource) else ():
        if _ZEROS.search(text):
            what = f"{quoted(text, 120)} has a digest of zeros, which nothing has"
            yield warning(path, what, "write the digest or commit that is meant")


def _is_within_caps(name: str, config: Mapping[str, Any]) -> bool:
    """Return True where a signer may attest ``name``, or where that is not known, of what does not fit the schema."""
    entries, ids = config.get("trustedVerifiers"), [text for _, text in texts(config, "expectedVerifierId")]
    # Not the schema's form: the parser of parameters says that, with the place.
    if not isinstance(entries, list) or not all(isinstance(entry, Mapping) for entry in entries):
        return True
    # Only signers for an expected verifier id count (step 7).
    known = [entry for entry in entries if not ids or entry.get("verifierId") in ids]
    # Without a signer for the ids there is nothing to compare; that is a problem of its own (``parameters``). One
    # signer is enough.
    return not known or any(
        # A cap that is no level is told by the schema.
        not all(map(track_level, caps := [cap for _, cap in texts(entry, "maxLevel")]))
        or not Levels.of([name]).capped(caps).missing([name])
        for entry in known
    )


def _by_known_workflow(config: Mapping[str, Any]) -> bool:
    """Return True where only the built-in table's workflow signs, of which is known how it writes a repository."""
    named = {text_at(entry, "verifierId") for entry in objects_at(config, "trustedVerifiers")}
    # Without expectedVerifierId those of the default ids count that the configured table has.
    usual = [item for item in DEFAULT_VERIFIER_IDS if item in named] if named else DEFAULT_VERIFIER_IDS
    # A pattern is a problem of its own; what was meant by it are the usual ids.
    ids = [text for _, text in texts(config, "expectedVerifierId") if "*" not in text] or usual
    # One id of another verifier is enough to know nothing: nobody here knows how that one writes a repository.
    return bool(ids) and {signer.id for signer in BUILT_IN_VERIFIERS} >= set(ids)
