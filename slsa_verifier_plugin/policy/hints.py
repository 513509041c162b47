"""What a denial says to do where the reason is a well-known one: a workflow that moved, an unlisted commit, a near miss.

Nothing here decides. What is compared comes from outside, so everything takes time linear in its length.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from slsa_verifier_plugin.model.levels import CONTROLS, track_level
from slsa_verifier_plugin.model.signer import Signer
from slsa_verifier_plugin.model.vsa import VerificationSummary
from slsa_verifier_plugin.policy.matching import IdentityPattern, PatternError, RefPattern, UriPattern
from slsa_verifier_plugin.policy.releases import known_releases
from slsa_verifier_plugin.policy.trusted import (
    CURRENT_VERIFIER_ID,
    EARLIER_VERIFIER_ID,
    FIRST_VERIFIER_ID,
    TrustedSigner,
)
from slsa_verifier_plugin.text import nearest, plain

MAX_COMPARED = 4
"""Expected values that are compared for near misses, of up to 256: candidates have messages before signatures are checked."""

NAME_THE_IMAGE = "name that IMAGE beside the file, as registry/repository@sha256:..."
CASE = "the case of letters, which that host may tell apart"
_SCHEME = "the scheme"
_REF = "the @ and the ref at the end, which expectedSourceRefs is for"

READS_LIKE_EXPRESSION = re.compile(r"[*\\^]|\.\+")
"""What stands in regular expressions and globs, and in no ref (git "check-ref-format") or path of a workflow."""

_BESIDE = (
    ("the www.", re.compile(r"www\.(github\.com/[^@]*|gitlab\.com/[^@]*)")),
    ("the port", re.compile(r"([^/:]+):443(/[^@]*)")),
    ("the path", re.compile(r"(github\.com/[^/]+/[^/]+)/(?:tree|blob|commit)/.*")),
)
"""What people copy along with a repository's name."""

_ONE_WORKFLOW = (CURRENT_VERIFIER_ID, EARLIER_VERIFIER_ID, FIRST_VERIFIER_ID)
_TRACKS = ("SOURCE", "BUILD")
_KNOWN_LEVELS = frozenset(
    [*CONTROLS, *(f"SLSA_{track}_LEVEL_{number}" for track in _TRACKS for number in range(5))]
)
HIGHEST_SOURCE_LEVEL = 4
"""SLSA v1.2 "Source: Requirements for producing source"."""
_OWN_PREFIX = re.compile(r"SLSA_SOURCE_(?:SCS_)?")
_LIKENESS = 0.8
# Texts are cut to these lengths before they are compared: difflib takes the product of two lengths in time.
_LONGEST_TYPE = 128
_LONGEST_NAME = 64
"""Characters of an expected name that is compared; the longest known one has 32."""
_NUMBERED = re.compile(r"([^0-9]*)0*([0-9]{1,2})")
_NO_LETTERS = re.compile(r"[^a-z]")
_LEVEL_WORDS = {
    **dict.fromkeys(("", "l", "level", "slsa", "slsal", "slsalevel"), "SOURCE"),
    **dict.fromkeys(
        ("slsasourcelevel", "slsasourcel", "slsasource", "slsasrclevel", "sourcelevel", "source"), "SOURCE"
    ),
    **dict.fromkeys(("slsabuildlevel", "slsabuildl", "slsabuild", "buildlevel", "build"), "BUILD"),
}
"""The letters of what people write for a level, without signs and number, and the track that they mean."""
_REF_KINDS = ("refs/heads/", "refs/tags/")
_VERSION = re.compile(r"v?[0-9]+(\.[0-9]+)+")
_LONGEST_KIND = 32


def for_verifier_id(found: str, expected: Sequence[str], trusted: Iterable[TrustedSigner]) -> str:
    """Return what to do about a summary of another verifier than the expected ones.

    Args:
        found: the summary's ``verifier.id``.
        expected: ``expectedVerifierId``.
        trusted: who may sign.
    """
    # Another verifier altogether: whether it is to be trusted is nothing that a hint may suggest.
    if found not in _ONE_WORKFLOW or not set(expected) & set(_ONE_WORKFLOW):
        return "if that verifier is to be trusted, set expectedVerifierId"
    moved = (
        "the SLSA source workflow moved to slsa-framework/actions and writes this id since"
        if found == CURRENT_VERIFIER_ID
        else "the SLSA source workflow wrote this id before it moved to slsa-framework/actions"
    )
    ids = ", ".join(f'"{item}"' for item in [*expected, found][:8])
    # The built-in table has all four ids; a trustedVerifiers list of one's own may lack this one's signer.
    entry = "" if any(signer.id == found for signer in trusted) else ", and its signer to trustedVerifiers"
    return f"{moved}; to accept both, set expectedVerifierId: [{ids}]{entry}"


def for_signer(signer: Signer, known: Iterable[TrustedSigner]) -> str:
    """Return what to do about a signer that is none of ``known``, those that may sign for the summary's verifier."""
    for entry in known:
        commit = entry.unlisted_commit(signer)
        if not commit:
            continue
        parameter = f'allowedWorkflowDigests: ["{commit}"]'
        # The commit must be looked up in the repository's own tags: GitHub shows a fork's commit under its parent's name,
        # too.
        if entry.is_current_workflow:
            repository = known_releases().repository
            return (
                f"{commit} is no release of that workflow known to this version, and may be a commit of a fork; check that "
                f"'git ls-remote --tags {repository}' lists it, then add {parameter} to the parameters"
            )
        if not entry.is_built_in:
            return (
                f"{commit} is a bare commit, which may be one of a fork; check that it is a release of the workflow's own "
                f"repository, then add {parameter} to the entry of {entry.id} in trustedVerifiers"
            )
    return "check who attached this, or add the signer to trustedVerifiers"


def near_signer(known: Iterable[TrustedSigner], signer: Signer) -> str:
    """Return a remark on the first of ``known`` that has ``signer``'s issuer or identity in another spelling; empty for none."""
    for entry in list(known)[:MAX_COMPARED]:
        # A key has neither issuer nor identity that somebody could write otherwise.
        if entry.public_key or not signer.issuer:
            continue
        if bare_url(entry.issuer) == bare_url(signer.issuer) and entry.issuer != signer.issuer:
            # Only where the issuer alone is wrong: with two differences nobody can say what was meant.
            if replace(entry, issuer=signer.issuer).is_signer(signer, {}):
                return f" (the issuer {plain(entry.issuer)} is not written as the certificate has it)"
        elif entry.issuer != signer.issuer or not entry.identity:
            continue
        elif bare_url(entry.identity) == bare_url(signer.identity):
            near = near_text([entry.identity], [signer.identity])
            return (
                near
                or f" (it differs from {plain(entry.identity)} only in the scheme or a slash, which count)"
            )
        elif READS_LIKE_EXPRESSION.search(entry.identity) and _is_expression_of(
            entry.identity, signer.identity
        ):
            return f" ({plain(entry.identity)} reads like a regular expression; identityPattern takes one)"
    return ""


def bare_url(text: str) -> str:
    """Return a URL without what people leave out or add: its scheme, its case, a slash at the end."""
    return text.lower().removeprefix("https://").removeprefix("http://").rstrip("/")


def _is_expression_of(pattern: str, identity: str) -> bool:
    try:
        return IdentityPattern(pattern).matches(identity)
    except PatternError:
        return False


@lru_cache(maxsize=256)
def near_level(name: str) -> str:
    """Return the known level or control that the expected ``name`` misspells; empty for none."""
    track = track_level(name)
    # Spelt right, so not reached: no remark.
    if name in _KNOWN_LEVELS or (track and track[0] in _TRACKS):
        return ""
    # The short forms of people (L3, SLSA3) are too far from the whole name for a measure of likeness.
    if as_level := _near_track_level(name):
        return as_level
    written = name.upper()[:_LONGEST_NAME]
    if near := nearest(written, sorted(_KNOWN_LEVELS), _LIKENESS):
        return near
    # A control's name without the prefix that all of them have since source-tool 0.7.
    bare = {_OWN_PREFIX.sub("", control): control for control in sorted(CONTROLS)}
    return bare.get(nearest(_OWN_PREFIX.sub("", written), bare, _LIKENESS), "")


def _near_track_level(name: str) -> str:
    """Return the level that a name such as ``SLSA_LEVEL_3``, ``L3`` or ``slsa-source-l3`` is meant for; empty for none.

    Letters and number are compared apart: as a whole, a name without its track would be nearest to the track with the shorter
    name.
    """
    # A level is what has one number at its end; a name of one's own seldom has.
    found = _NUMBERED.fullmatch(name[:_LONGEST_NAME].lower())
    if found is None or len(name) > _LONGEST_NAME:
        return ""
    letters = _NO_LETTERS.sub("", found[1])
    near = nearest(letters, _LEVEL_WORDS, _LIKENESS)
    # A number alone is a level of the source; letters that are near nothing are something else.
    return f"SLSA_{_LEVEL_WORDS[near]}_LEVEL_{int(found[2])}" if near or not letters else ""


def other_track(name: str) -> str:
    """Return the source track's level of the same number where ``name`` is of another track; empty for other names."""
    level = track_level(name)
    return f"SLSA_SOURCE_LEVEL_{level[1]}" if level and level[0] != "SOURCE" else ""


def above_highest(name: str) -> str:
    """Return the source track's highest level where ``name`` is one above it, which nobody states; empty for other names."""
    level = track_level(name)
    is_above = level is not None and level[0] == "SOURCE" and level[1] > HIGHEST_SOURCE_LEVEL
    return f"SLSA_SOURCE_LEVEL_{HIGHEST_SOURCE_LEVEL}" if is_above else ""


def near_levels(missing: Sequence[str], stated: Sequence[str]) -> str:
    """Return a remark on missing levels that nobody states because they are misspelt, or written in other letters."""
    pairs = [(name, near) for name in missing if (near := near_level(name))]
    if pairs:
        return "".join(
            f" ({name} is no name that is known here; is {near} meant?)" for name, near in pairs[:2]
        )
    # By what the summary itself states: one of a build track may well have build levels.
    tracks = {level[0] for text in stated if (level := track_level(text))}
    for name in missing:
        # A level of another track is no misspelling, unless the summary is about the source alone.
        if tracks == {"SOURCE"} and (near := other_track(name)):
            return f" ({name} is of another track than the source's; is {near} meant?)"
        if tracks == {"SOURCE"} and (near := above_highest(name)):
            return f" (the source track ends with {near}, and {name} is above it; is that meant?)"
    return near_text(missing, stated)


def for_levels(missing: Sequence[str], summary: VerificationSummary) -> tuple[str, str]:
    """Return a remark on levels that ``summary`` does not state, empty where there is none, and what to do."""
    if near := near_levels(missing, summary.levels):
        # No protection leads to a level that nobody states.
        return near, "correct expectedVerifiedLevels"
    return "", (
        f"raise the protection of {plain(summary.resource_uri)} and build from a commit attested since, or lower "
        "expectedVerifiedLevels"
    )


def near_text(expected: Sequence[str], found: Sequence[str]) -> str:
    """Return a remark on the first expected text, or pattern of a ref, that would match if case did not count; empty for none."""
    for pattern in expected[:MAX_COMPARED]:
        in_lower_case = RefPattern(pattern.lower())
        if any(in_lower_case.matches(text.lower()) for text in found[:MAX_COMPARED]):
            return f" (it differs from {pattern} only in the case of letters, which counts)"
    return ""


def near_ref(expected: Sequence[str], found: Sequence[str]) -> str:
    """Return a remark on an expected ref, or a pattern of one, that nobody pushes: misspelt, or in other letters."""
    for pattern in expected[:MAX_COMPARED]:
        if kind := near_ref_kind(pattern):
            return f" ({pattern} is neither a branch nor a tag; is {kind} meant?)"
    return near_text(expected, found)


def full_ref(name: str) -> str:
    """Return the ref that a short name is meant for, as people call a branch or tag (git "gitrevisions")."""
    # "^" and "$" of who takes it for a regular expression; "refs/" in other letters, or misspelt.
    name = name.strip().removeprefix("^").removesuffix("$")
    head, slash, rest = name.partition("/")
    if slash and nearest(head[:_LONGEST_KIND], ["refs"], _LIKENESS):
        name = rest
    kind, slash, rest = name.partition("/")
    if slash and kind.lower() in ("head", "heads", "tag", "tags"):
        return f"refs/{'tags' if kind.lower().startswith('tag') else 'heads'}/{rest}"
    short = name.removeprefix("origin/")
    return f"refs/{'tags' if _VERSION.fullmatch(short) else 'heads'}/{short}"


def near_ref_kind(ref: str) -> str:
    """Return ``refs/heads/`` or ``refs/tags/`` where a ref's first two parts misspell it; empty for none."""
    head = "/".join(ref.split("/", 2)[:2]) + "/"
    # Spelt right, or a short name, which has no kind that could be misspelt.
    if head in _REF_KINDS or ref.count("/") < 2:
        return ""
    return nearest(head[:_LONGEST_KIND], _REF_KINDS, _LIKENESS)


def near_type(expected: Iterable[str], present: Iterable[str]) -> str:
    """Return the artifact type that is there and nearly an expected one; empty for none."""
    known = sorted(item[:_LONGEST_TYPE] for item in present)[:MAX_COMPARED]
    wanted = [item[:_LONGEST_TYPE] for item in expected][:MAX_COMPARED]
    others = [item for item in known if item not in wanted]
    return next(filter(None, (nearest(item, others, _LIKENESS) for item in wanted)), "")


def near_uri(expected: Iterable[str], found: str) -> str:
    """Return a remark on the first of ``expected`` that names the repository of ``found`` in another form; empty for none."""
    for pattern in list(expected)[:MAX_COMPARED]:
        # OWNER/NAME, as people call a repository.
        if pattern.count("/") == 1 and found.lower().endswith(f"/{pattern.lower()}") and "@" not in pattern:
            return f" ({pattern} has no host; write it as the summary has it)"
        if differences := differences_of(pattern, found):
            return f" (it differs from {pattern} only in {' and '.join(differences)}; write it as the summary has it)"
    return ""


def near_repository(one: str | None, other: str) -> str:
    """Return a remark where only case or scheme keeps two texts from naming one repository; empty where more differs."""
    differences = differences_of(one or "", other)
    if any(item == _REF or item.endswith("not the repository's") for item in differences):
        return ""
    # These two alone keep repositories apart (``SourceUri``): .git, git+ and a slash at the end do not.
    counted = [item for item in differences if item == CASE or item.startswith(_SCHEME)]
    return f" (they differ only in {' and '.join(counted)})" if counted else ""


def differences_of(expected: str, found: str) -> tuple[str, ...]:
    """Return in what two forms of one repository differ; nothing where the two URIs are the same or name two repositories.

    Args:
        expected: a URI, or a pattern of one.
        found: the other URI.
    """
    one, other = _form(expected), _form(found)
    # Another ref, or another name in any letters: these are two repositories, and there is nothing to hint at.
    if (one.ref and other.ref and one.ref != other.ref) or not _is_like(one.name.lower(), other.name.lower()):
        return ()
    differs = {
        "the git+ at the start": one.has_git != other.has_git,
        f"{_SCHEME} ({one.scheme} and {other.scheme})": one.scheme != other.scheme,
        CASE: not _is_like(one.name, other.name),
        "the .git at the end": one.has_dot_git != other.has_dot_git,
        "the slash at the end": one.has_slash != other.has_slash,
        _REF: one.ref != other.ref,
        **{f"{part} that is not the repository's": True for part in {*one.beside} ^ {*other.beside}},
    }
    return tuple(item for item, does in differs.items() if does)


def usual_form(uri: str) -> str:
    """Return ``uri``, or a pattern, as the SLSA source workflow writes a repository: ``git+https://HOST/PATH``."""
    form = _form(uri)
    return f"git+https://{form.name}{'@' if form.ref else ''}{form.ref}"


def _is_like(pattern: str, name: str) -> bool:
    # A scheme that is none, so that only the names are compared.
    return pattern == name or UriPattern(f"x://{pattern}").matches(f"x://{name}")


@dataclass(frozen=True, slots=True)
class _Form:
    """How a URI writes a repository: ``name`` is host and path, the rest is form."""

    has_git: bool
    scheme: str
    name: str
    has_dot_git: bool
    has_slash: bool
    ref: str
    beside: tuple[str, ...] = ()
    """What a browser's address has and a repository's name has not."""


@lru_cache(maxsize=64)
def _form(text: str) -> _Form:
    has_git = text.startswith("git+")
    scheme, located, rest = text.removeprefix("git+").partition("://")
    # A URI, whose user name ``git`` belongs to SSH and not to the repository's name.
    if located:
        rest = rest.removeprefix("git@")
    else:
        # git's own short form of ssh: git@host:owner/name
        user, _, rest = scheme.partition("@")
        scheme, rest = ("ssh", rest.replace(":", "/", 1)) if user == "git" else ("none", scheme)
    name, _, ref = rest.partition("@")
    bare = name.rstrip("/")
    beside = []
    for part, pattern in _BESIDE:
        if found := pattern.fullmatch(bare):
            bare = "".join(found.groups())
            beside.append(part)
    return _Form(
        has_git,
        # A message shows the scheme, so foreign text of any length stays out of it.
        scheme if scheme.isalnum() and len(scheme) <= 16 else "another",
        bare.removesuffix(".git"),
        bare.endswith(".git"),
        name.endswith("/"),
        ref,
        tuple(beside),
    )


def algorithms(summary: VerificationSummary) -> str:
    """Say what a summary is about where none of its digests is one that counts."""
    found = alternatives(summary.algorithms)
    return f"something known by {found} alone" if found else "nothing that has a digest"


def alternatives(names: Sequence[str]) -> str:
    """Return names as a message lists them: the first eight, and how many more."""
    shown = [plain(name) for name in names[:8]]
    return f"{', '.join(shown)} and {len(names) - 8} more" if len(names) > 8 else " or ".join(shown)


def days(seconds: float) -> str:
    """Return a time in the unit that people would use for it."""
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
