"""What producers sign today and signed before, each row from both sides: ids, signers, tag runs, names of controls and of
repositories; and what a denial says of the nearest miss.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.conformance.case import Case, attested, lines, signed
from tests.support.sigstore import (
    COMMIT,
    GITHUB_ISSUER,
    MAIN,
    Identity,
    Lab,
    github_actions,
    github_source_actions,
    slsa_framework_actions,
    vsa,
)

ACTIONS = "https://github.com/slsa-framework/actions"
EARLIER = "https://github.com/slsa-framework/source-actions"
FIRST = "https://github.com/slsa-framework/slsa-source-poc"
WORKFLOW = ".github/workflows/compute_slsa_source.yml"
RELEASE = "dea965cdca5e0cb422bf7b2653c9d15f678ad01c"
"""The commit of v0.1.0 of slsa-framework/actions."""
UNLISTED = "ab" * 20
TAG = "refs/tags/v1.2.3"
REVISION = "org.opencontainers.image.revision"


def cases() -> Iterator[Case]:
    """Yield the cases."""
    yield from _ids()
    yield from _commits()
    yield from _parameters()
    yield from _tag_runs()
    yield from _controls()
    yield from _low_summaries()
    yield from _another_producer()


def _by(verifier_id: str, identity: Identity, **fields: Any) -> dict[str, bytes]:
    return attested(signed(vsa(verifier_id=verifier_id, **fields), identity))


def _ids() -> Iterator[Case]:
    current = slsa_framework_actions(RELEASE)
    first = github_actions(f"slsa-framework/slsa-source-poc/{WORKFLOW}@refs/heads/main")
    good: dict[str, tuple[Any, dict[str, bytes], str]] = {
        "current": (None, _by(ACTIONS, current), "With no expectedVerifierId the moved workflow is known."),
        "current-asked": (ACTIONS, _by(ACTIONS, current), "The moved workflow, asked for."),
        "current-tag": (None, _by(ACTIONS, slsa_framework_actions("v0.1.0")), "The moved workflow at a release's tag."),
        "earlier": (None, _by(EARLIER, github_source_actions()), "With no expectedVerifierId the workflow before is known."),
        "earlier-asked": (EARLIER, _by(EARLIER, github_source_actions()), "The workflow before the move, asked for."),
        "between": (None, _by(EARLIER, current), "source-tool 0.7.0: the moved workflow under the id from before."),
        "between-asked": (EARLIER, _by(EARLIER, current), "source-tool 0.7.0, the id from before asked for."),
        "both-asked": ([EARLIER, ACTIONS], _by(ACTIONS, current), "Both ids, as the denial of one alone says."),
        "first-asked": (FIRST, _by(FIRST, first), "The first workflow, asked for."),
    }  # fmt: skip
    for name, (asked, blobs, why) in good.items():
        yield Case(
            f"producer-id-{name}", why, "VERIFIED", parameters={"expectedVerifierId": asked}, blobs=blobs
        )
    moved = ("moved to slsa-framework/actions", f'expectedVerifierId: ["{EARLIER}", "{ACTIONS}"]')
    bad: dict[str, tuple[Any, dict[str, bytes], str, tuple[str, ...], str]] = {
        "moved": (
            EARLIER,
            _by(ACTIONS, current),
            "VERIFIER_ID_MISMATCH",
            moved,
            "The id from before alone is expected, and the workflow moved.",
        ),
        "not-moved": (
            ACTIONS,
            _by(EARLIER, github_source_actions()),
            "VERIFIER_ID_MISMATCH",
            ("before it moved", f'expectedVerifierId: ["{ACTIONS}", "{EARLIER}"]'),
            "The current id alone is expected, and the summary is of the time before.",
        ),
        "first": (
            None,
            _by(FIRST, first),
            "VERIFIER_ID_MISMATCH",
            (),
            "The first workflow counts only where asked for.",
        ),
        "borrowed": (
            None,
            _by(ACTIONS, github_source_actions()),
            "SIGNER_UNTRUSTED",
            (),
            "The workflow from before never wrote the current id.",
        ),
        "first-by-current": (
            FIRST,
            _by(FIRST, current),
            "SIGNER_UNTRUSTED",
            (),
            "Nor the moved one the first id.",
        ),
    }
    for name, (asked, blobs, reason, says, why) in bad.items():
        yield Case(
            f"producer-id-{name}",
            why,
            reason,
            parameters={"expectedVerifierId": asked},
            blobs=blobs,
            says=says,
            step=6,
        )


def _commits() -> Iterator[Case]:
    listed = {"allowedWorkflowDigests": [UNLISTED]}
    good: dict[str, tuple[dict[str, Any], str, str]] = {
        "listed": (listed, UNLISTED, "A commit that allowedWorkflowDigests lists; no trustedVerifiers is needed."),
        "listed-twice": ({"allowedWorkflowDigests": [UNLISTED, UNLISTED]}, UNLISTED, "Listed twice is listed."),
        "known-beside-listed": (listed, RELEASE, "The list adds to the known releases and replaces none."),
    }  # fmt: skip
    for name, (parameters, commit, why) in good.items():
        yield Case(
            f"producer-commit-{name}",
            why,
            "VERIFIED",
            parameters=parameters,
            blobs=_by(ACTIONS, slsa_framework_actions(commit)),
        )
    yield Case(
        "producer-commit-unlisted",
        "A commit of no known release may be one of a fork: the denial has the parameter ready to paste.",
        "SIGNER_UNTRUSTED",
        blobs=_by(ACTIONS, slsa_framework_actions(UNLISTED)),
        says=(f'allowedWorkflowDigests: ["{UNLISTED}"]', "fork", f"git ls-remote --tags {ACTIONS}"),
        step=6,
    )
    current = f"slsa-framework/actions/{WORKFLOW}"
    bad: dict[str, tuple[dict[str, Any], str, str]] = {
        "other-listed": ({"allowedWorkflowDigests": ["cd" * 20]}, f"{current}@{UNLISTED}", "Another is listed."),
        "upper-case": ({}, f"{current}@{RELEASE.upper()}", "Commits are in lower case."),
        "branch-like-it": ({}, f"{current}@refs/heads/x@{RELEASE}", "A branch that ends like a known commit."),
        "branch-named-so": ({}, f"{current}@refs/heads/{RELEASE}", "A branch named like a known commit."),
        "fork": (listed, f"slsa-framework-evil/actions/{WORKFLOW}@{UNLISTED}", "It counts for that repository alone."),
        "other-workflow": ({}, f"slsa-framework/actions/.github/workflows/other.yml@{RELEASE}", "And for that workflow alone."),
        "earlier-workflow": (listed, f"slsa-framework/source-actions/{WORKFLOW}@{UNLISTED}", "And not for the earlier one."),
        "rest": ({}, f"{current}@{RELEASE}/x", "A known commit with something behind it."),
    }  # fmt: skip
    for name, (parameters, signer, why) in bad.items():
        verifier_id = EARLIER if name == "earlier-workflow" else ACTIONS
        yield Case(
            f"producer-commit-{name}",
            why,
            "SIGNER_UNTRUSTED",
            parameters=parameters,
            blobs=_by(verifier_id, github_actions(signer)),
            step=6,
        )


def _parameters() -> Iterator[Case]:
    entry = {
        "verifierId": ACTIONS,
        "issuer": GITHUB_ISSUER,
        "identity": f"{ACTIONS}/{WORKFLOW}@refs/heads/main",
    }
    table: dict[str, tuple[dict[str, Any], str]] = {
        "upper-case": ({"allowedWorkflowDigests": [UNLISTED.upper()]}, "lower case"),
        "64-digits": ({"allowedWorkflowDigests": ["ab" * 32]}, "40 hexadecimal digits"),
        "short": ({"allowedWorkflowDigests": [UNLISTED[:12]]}, "40 hexadecimal digits"),
        "empty": ({"allowedWorkflowDigests": []}, "must not be empty"),
        "text": ({"allowedWorkflowDigests": UNLISTED}, "expected a list"),
        "tag": ({"allowedWorkflowDigests": ["v0.1.0"]}, "40 hexadecimal digits"),
        "beside-own-table": (
            {"allowedWorkflowDigests": [UNLISTED], "trustedVerifiers": [entry]},
            "no effect with trustedVerifiers",
        ),
    }
    for name, (parameters, says) in table.items():
        yield Case(
            f"producer-digests-{name}",
            "allowedWorkflowDigests that is none.",
            code=2,
            parameters=parameters,
            blobs=attested(signed()),
            says=(says,),
        )


def _tag_run(refs: list[str], ref: str = TAG) -> dict[str, bytes]:
    return attested(signed(vsa(refs=refs), github_source_actions(ref=ref)))


def _tag_runs() -> Iterator[Case]:
    good: dict[str, tuple[list[str], dict[str, Any], str]] = {
        "before": ([TAG], {"expectedSourceRefs": ["refs/tags/v*"]}, "Until 0.6.2: the summary names the tag."),
        "since": ([MAIN], {}, "From 0.7 on: the summary names the default branch, the certificate the tag."),
        "since-tag-expected": ([MAIN], {"expectedSourceRefs": ["refs/tags/v*"]}, "And the tag is what counts."),
        "since-branches": ([MAIN, "refs/heads/release/1"], {}, "Several branches are branches, too."),
    }  # fmt: skip
    for name, (refs, parameters, why) in good.items():
        yield Case(f"producer-tag-{name}", why, "VERIFIED", parameters=parameters, blobs=_tag_run(refs))
    yield Case(
        "producer-tag-since-branch-expected",
        "The branch that the summary of a tag's run names does not count.",
        "SOURCE_REF_MISMATCH",
        parameters={"expectedSourceRefs": [MAIN]},
        blobs=_tag_run([MAIN]),
        says=(f"found {TAG}", f"the summary names {MAIN}"),
        step=12,
    )
    yield Case(
        "producer-tag-since-bound",
        "A tag's run binds the image to its commit as any other.",
        "VERIFIED",
        parameters={"sourceBinding": "annotation", "expectedSourceRefs": [TAG]},
        blobs=_tag_run([MAIN]),
        image={"annotations": {REVISION: COMMIT}},
    )
    bad: dict[str, tuple[list[str], str, str]] = {
        "other-tag": (["refs/tags/v9"], TAG, "The summary names another tag."),
        "branch-and-other-tag": ([MAIN, "refs/tags/v9"], TAG, "The summary names a branch, and another tag."),
        "unknown-kind": (["refs/pull/7/merge"], TAG, "The summary names neither branch nor tag."),
        "for-branch": ([TAG], MAIN, "The certificate names a branch, the summary a tag."),
        "other-branch": (["refs/heads/dev"], MAIN, "The certificate names another branch."),
        "pull-request": ([MAIN], "refs/pull/7/merge", "The run was for a pull request."),
        "nameless": ([MAIN], "refs/tags/", "A tag without a name is none."),
    }
    for name, (refs, ref, why) in bad.items():
        yield Case(
            f"producer-tag-{name}",
            why,
            "CERTIFICATE_MISMATCH",
            blobs=_tag_run(refs, ref),
            says=("source ref",),
            step=8,
        )


def _controls() -> Iterator[Case]:
    names = {
        "tags": ("TAG_HYGIENE", "SLSA_SOURCE_SCS_PROTECTED_REFS"),
        "review": ("REVIEW_ENFORCED", "SLSA_SOURCE_SCS_TWO_PARTY_REVIEW"),
        "review-specified": ("REVIEW_ENFORCED", "SLSA_SOURCE_TWO_PARTY_REVIEWED"),
        "review-specified-new": ("SLSA_SOURCE_SCS_TWO_PARTY_REVIEW", "SLSA_SOURCE_TWO_PARTY_REVIEWED"),
        "continuity": ("CONTINUITY_ENFORCED", "SLSA_SOURCE_SCS_CONTINUITY"),
        "provenance": ("PROVENANCE_AVAILABLE", "SLSA_SOURCE_SCS_PROVENANCE"),
    }
    for name, pair in names.items():
        for way, (expected, found) in (("old-new", pair), ("new-old", pair[::-1])):
            yield Case(
                f"producer-control-{name}-{way}",
                f"{expected} is expected, {found} is stated: one control, shown as stated.",
                "VERIFIED",
                parameters={"expectedVerifiedLevels": ["SLSA_SOURCE_LEVEL_2", expected]},
                blobs=attested(signed(vsa(levels=("SLSA_SOURCE_LEVEL_3", found)))),
                says=(found,),
                silent=(expected,),
            )
    others = {
        "tags": "TAG_HYGIENE",
        "review": "SLSA_SOURCE_TWO_PARTY_REVIEWED",
        "provenance": "PROVENANCE_AVAILABLE",
    }
    for name, expected in others.items():
        yield Case(
            f"producer-control-{name}-other",
            "Another control is another control.",
            "LEVEL_TOO_LOW",
            parameters={"expectedVerifiedLevels": [expected]},
            blobs=attested(signed(vsa(levels=("SLSA_SOURCE_LEVEL_4", "SLSA_SOURCE_SCS_CONTINUITY")))),
            says=(f"expected {expected}",),
            step=11,
        )
    yield Case(
        "producer-control-misspelt",
        "A misspelt control is stated by nobody; the denial names the one that is meant.",
        "LEVEL_TOO_LOW",
        parameters={"expectedVerifiedLevels": ["TAG_HYGEINE"]},
        blobs=attested(signed(vsa(levels=("SLSA_SOURCE_LEVEL_3", "TAG_HYGIENE")))),
        says=("TAG_HYGEINE is no name that is known here; is TAG_HYGIENE meant?",),
        step=11,
    )


def _low_summaries() -> Iterator[Case]:
    lab, by = Lab(), slsa_framework_actions(RELEASE)
    low = lab.sign(vsa(verifier_id=ACTIONS, levels=("SLSA_SOURCE_LEVEL_1",)), by)
    high = lab.sign(vsa(verifier_id=ACTIONS, levels=("SLSA_SOURCE_LEVEL_3",)), by)
    yield Case(
        "producer-low-beside-high",
        "From 0.7 on a commit below the policy's target has a summary, too: the low one hides no good one.",
        "VERIFIED",
        blobs=attested(lines(low, low, high)),
    )
    yield Case(
        "producer-low-alone",
        "And admits nothing by itself.",
        "LEVEL_TOO_LOW",
        blobs=attested(lines(low, low)),
        step=11,
    )
    for level, reason in ((0, "LEVEL_TOO_LOW"), (4, "VERIFIED")):
        yield Case(
            f"producer-level-{level}",
            "SLSA v1.2 has the levels 0 to 3, source-tool 4 as well.",
            reason,
            blobs=_by(ACTIONS, by, levels=(f"SLSA_SOURCE_LEVEL_{level}",)),
            step=0 if reason == "VERIFIED" else 11,
        )


def _another_producer() -> Iterator[Case]:
    """A lab's verifier: its own id, the specification's sourceRefs, the repository's name in lower case."""
    own = "https://verify.lab.example/source"
    workflow = "lab/verifier/.github/workflows/verify.yml@refs/tags/v2.0.0"
    parameters = {
        "expectedVerifierId": own,
        "expectedResourceUri": "git+https://github.com/Example/Source-Demo",
        "expectedSourceRefs": ["refs/heads/release/*"],
        "trustedVerifiers": [
            {"verifierId": own, "issuer": GITHUB_ISSUER, "identity": f"https://github.com/{workflow}"}
        ],
    }
    ref = "refs/heads/release/1"
    for name, repository, reason in (
        ("lower-case", "Example/Source-Demo", "VERIFIED"),
        ("other", "Example/Other", "CERTIFICATE_MISMATCH"),
    ):
        yield Case(
            f"producer-lab-{name}",
            "Another producer's summary: sourceRefs, and the repository's name in lower case.",
            reason,
            parameters=parameters,
            blobs=_by(own, github_actions(workflow, repository=repository, ref=ref), refs=[ref], refs_key="sourceRefs"),
            step=0 if reason == "VERIFIED" else 8,
        )  # fmt: skip
