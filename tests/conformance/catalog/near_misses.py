"""Near misses of honest producers: letters, texts and members that differ a little, and what is missing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.conformance.case import RESOURCE, Case, attested, signed
from tests.conformance.catalog.policies import stated, trusting
from tests.conformance.catalog.producers import REVISION
from tests.support.sigstore import (
    COMMIT,
    MAIN,
    REMOVED,
    vsa,
)


def cases() -> Iterator[Case]:
    """Yield the cases."""
    yield from _letters()
    yield from _near_misses()
    yield from _near_texts()
    yield from _what_is_missing()


def _letters() -> Iterator[Case]:
    hosts = {
        "github.com": True,
        "tenant.ghe.com": True,
        "gitlab.com": True,
        "git.example": False,
        "evilghe.com": False,
    }
    for host, ignores in hosts.items():
        for name, expected in (("", "Owner/App"), ("-star", "Owner/*")):
            yield Case(
                f"producer-letters-{host}{name}",
                f"{host} {'ignores case' if ignores else 'may tell letters apart'}.",
                "VERIFIED" if ignores else "RESOURCE_URI_MISMATCH",
                parameters={**trusting(), "expectedResourceUri": f"git+https://{host}/{expected}"},
                blobs=stated(changes={"predicate.resourceUri": f"git+https://{host}/owner/aPP"}),
                says=() if ignores else ("only in the case of letters",),
                step=0 if ignores else 10,
            )
    yield Case(
        "producer-letters-other-name",
        "Another name is another name, in any letters.",
        "RESOURCE_URI_MISMATCH",
        parameters={"expectedResourceUri": "git+https://github.com/Example/Source-Dem0"},
        blobs=attested(signed()),
        step=10,
    )
    label = {REVISION: COMMIT, "org.opencontainers.image.source": "https://github.com/Example/Source-Demo"}
    yield Case(
        "producer-letters-label",
        "The image's label names the repository in other letters.",
        "VERIFIED",
        parameters={"sourceBinding": "annotation"},
        blobs=attested(signed()),
        image={"annotations": label},
    )
    elsewhere = "git+https://git.example/example/app"
    yield Case(
        "producer-letters-label-elsewhere",
        "Where the host may tell letters apart, they count, and the denial says that nothing else differs.",
        "SOURCE_REVISION_MISMATCH",
        parameters={**trusting(), "expectedResourceUri": elsewhere, "sourceBinding": "annotation"},
        blobs=stated(changes={"predicate.resourceUri": elsewhere}),
        image={
            "annotations": {**label, "org.opencontainers.image.source": "https://git.example/Example/app"}
        },
        says=("only in the case of letters",),
        step=14,
    )


def _near_misses() -> Iterator[Case]:
    table = {
        "git-plus": (RESOURCE.removeprefix("git+"), "the git+ at the start"),
        "dot-git": (f"{RESOURCE}.git", "the .git at the end"),
        "slash": (f"{RESOURCE}/", "the slash at the end"),
        "scheme": (RESOURCE.replace("https", "http"), "the scheme (http and https)"),
        "several": (
            "https://github.com/example/source-demo.git",
            "the git+ at the start and the .git at the end",
        ),
        "star": ("https://github.com/example/*", "the git+ at the start"),
    }
    for name, (expected, says) in table.items():
        yield Case(
            f"producer-near-{name}",
            "The expected URI names the same repository in another form: the denial says what alone differs.",
            "RESOURCE_URI_MISMATCH",
            parameters={"expectedResourceUri": expected},
            blobs=attested(signed()),
            says=(f"only in {says}",),
            step=10,
        )


def _near_texts() -> Iterator[Case]:
    yield Case(
        "producer-near-ref",
        "The expected ref differs in letters alone, which count in refs: the denial says so.",
        "SOURCE_REF_MISMATCH",
        parameters={"expectedSourceRefs": ["refs/heads/Main"]},
        blobs=attested(signed()),
        says=("differs from refs/heads/Main only in the case of letters",),
        step=12,
    )
    yield Case(
        "producer-near-ref-kind",
        "The expected ref is no branch and no tag, so that nobody pushes it: the denial says what is meant.",
        "SOURCE_REF_MISMATCH",
        parameters={"expectedSourceRefs": ["refs/head/main"]},
        blobs=attested(signed()),
        says=("refs/head/main is neither a branch nor a tag; is refs/heads/ meant?",),
        step=12,
    )
    own = "https://example.com/verifier"
    yield Case(
        "producer-near-verifier-id",
        "The summary's verifier.id has a slash more: the denial says so.",
        "VERIFIER_ID_MISMATCH",
        parameters=trusting(),
        blobs=stated(changes={"predicate.verifier.id": f"{own}/"}),
        says=(f"differs from {own} only in the slash at the end",),
        step=6,
    )
    yield Case(
        "producer-near-identity",
        "The signer's identity differs in letters alone: the denial says so.",
        "SIGNER_UNTRUSTED",
        parameters=trusting(identity="Verifier@example.com"),
        blobs=stated(),
        says=("differs from Verifier@example.com only in the case of letters",),
        step=6,
    )


def _what_is_missing() -> Iterator[Case]:
    yield Case(
        "producer-failed-without-levels",
        "A FAILED summary leaves its levels out: the result is what to say.",
        "VERIFICATION_RESULT_FAILED",
        blobs=attested(signed(vsa(result="FAILED", changes={"predicate.verifiedLevels": REMOVED}))),
        step=9,
    )
    sha1 = [{"digest": {"sha1": COMMIT}, "annotations": {"source_refs": [MAIN]}}]
    yield Case(
        "producer-sha1-subject",
        "A subject with a sha1 digest alone: the denial names what was found.",
        "SUBJECT_MISMATCH",
        blobs=attested(signed(vsa(subjects=sha1))),
        says=("known by sha1 alone", "expected a gitCommit"),
        step=7,
    )
    missing: dict[str, tuple[dict[str, Any], str]] = {
        "type": ({"_type": REMOVED}, "has no _type"),
        "subject": ({"subject": REMOVED}, "has no subject"),
        "predicate": ({"predicate": REMOVED}, "no predicate object"),
        "time": ({"predicate.timeVerified": None}, "timeVerified is missing"),
        "resource": ({"predicate.resourceUri": REMOVED}, "has no resourceUri"),
    }
    for name, (changes, says) in missing.items():
        yield Case(
            f"producer-missing-{name}",
            "What is missing is said to be missing.",
            "NO_VSA",
            blobs=attested(signed(vsa(changes=changes))),
            says=(says,),
            step=6,
        )
