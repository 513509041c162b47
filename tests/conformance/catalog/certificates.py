"""What a summary's certificate says, and must not contradict (step 8)."""

from __future__ import annotations

from collections.abc import Iterator

from tests.conformance.case import Case, attested, signed
from tests.conformance.catalog.statements import OTHER_COMMIT, first_subject
from tests.support.sigstore import (
    github_source_actions,
    vsa,
)


def cases() -> Iterator[Case]:
    """Yield the cases."""
    yield from _certificates()


def _certificates() -> Iterator[Case]:
    source = github_source_actions()
    good = {
        "only-old": (
            source.only_old().having({11: "github-hosted"}),
            {},
            "Only the old extensions, and the runner.",
        ),
        "only-new": (source.only_new(), {}, "Only the new extensions."),
        "self-hosted-allowed": (
            github_source_actions(runner="self-hosted"),
            {"allowSelfHostedRunners": True},
            "A self-hosted runner where that is allowed.",
        ),
        "repository-case": (
            github_source_actions(repository="Example/source-demo"),
            {},
            "The repository's name in other letters: GitHub ignores their case.",
        ),
        "only-old-allowed": (
            source.only_old(),
            {"allowSelfHostedRunners": True},
            "The old extensions do not tell the runner.",
        ),
    }
    for name, (identity, parameters, why) in good.items():
        yield Case(
            f"certificate-{name}",
            why,
            "VERIFIED",
            parameters=parameters,
            blobs=attested(signed(identity=identity)),
        )
    bad = {
        "repository": (
            github_source_actions(repository="example/other"),
            "The run was another repository's.",
        ),
        "commit": (github_source_actions(commit=OTHER_COMMIT), "The run was for another commit."),
        "ref": (github_source_actions(ref="refs/heads/feature"), "The run was for another ref."),
        "self-hosted": (
            github_source_actions(runner="self-hosted"),
            "The run was on a machine of somebody's own.",
        ),
        "runner-unknown": (source.only_old(), "Nothing says which runner."),
        "no-repository": (source.without(5, 12), "Nothing says which repository."),
        "no-commit": (source.without(3, 13), "Nothing says which commit."),
        "no-ref": (source.without(6, 14), "Nothing says which ref, and the summary names some."),
        "contradiction-commit": (source.having({3: OTHER_COMMIT}), "Old and new extension name two commits."),
        "contradiction-repository": (
            source.having({5: "example/other"}),
            "Old and new extension name two repositories.",
        ),
        "contradiction-ref": (
            source.having({6: "refs/heads/feature"}),
            "Old and new extension name two refs.",
        ),
    }
    for name, (identity, why) in bad.items():
        yield Case(
            f"certificate-{name}",
            why,
            "CERTIFICATE_MISMATCH",
            blobs=attested(signed(identity=identity)),
            step=8,
        )
    yield Case(
        "certificate-no-refs-in-summary",
        "Where the summary names no refs, the certificate's need not be among them.",
        "VERIFIED",
        blobs=attested(signed(vsa(refs=None), github_source_actions(ref="refs/heads/feature"))),
    )
    yield Case(
        "certificate-second-subject",
        "Two commits in one summary; the certificate's is the second.",
        "VERIFIED",
        blobs=attested(signed(vsa(subjects=[{"digest": {"gitCommit": OTHER_COMMIT}}, first_subject()]))),
    )
    yield Case(
        "result-failed",
        "verificationResult FAILED, whatever the levels say.",
        "VERIFICATION_RESULT_FAILED",
        blobs=attested(signed(vsa(result="FAILED"))),
        step=9,
    )
    for result in ("passed", "PASSED ", "TRUE"):
        name = result.strip().lower() + ("-space" if result.endswith(" ") else "")
        yield Case(
            f"result-{name}",
            "Only PASSED is PASSED.",
            "VERIFICATION_RESULT_FAILED",
            blobs=attested(signed(vsa(result=result))),
            step=9,
        )
