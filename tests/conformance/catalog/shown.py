"""What is shown of attested text: nothing that a CI system's log would take for a command, and nothing unseen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.conformance.case import Case
from tests.conformance.catalog.policies import stated, trusting

COMMANDS = (
    "##vso[task.setvariable variable=x]y",
    "##[set-env name=PATH]/evil",
    "##teamcity[buildStatus text='x']",
    "::set-output name=a::b",
    "::add-mask::x",
    "section_start:1700000000:x",
    "travis_fold:start:x",
)
BEGINNINGS = (
    "##vso[",
    "##[",
    "##teamcity[",
    "::set-output ",
    "::add-mask::",
    "section_start:",
    "travis_fold:",
)
UNSEEN = "a\u202eb\u200bc\ufeffd\u3164e\u2028f\x9b31mg"
ALL = " ".join((*COMMANDS, UNSEEN))
SILENT = (*BEGINNINGS, "\u202e", "\\u202e", "\\u200b", "\\ufeff", "\\u3164", "\\u2028", "\\u009b", "\u009b")


def cases() -> Iterator[Case]:
    """Yield the cases."""
    fields: dict[str, tuple[dict[str, Any], str, int]] = {
        "resource": ({"changes": {"predicate.resourceUri": ALL}}, "RESOURCE_URI_MISMATCH", 10),
        "level": ({"levels": [*COMMANDS, UNSEEN]}, "LEVEL_TOO_LOW", 11),
        "result": ({"result": ALL}, "VERIFICATION_RESULT_FAILED", 9),
        "verifier": ({"changes": {"predicate.verifier.id": ALL}}, "VERIFIER_ID_MISMATCH", 6),
        "ref": ({"refs": ["refs/heads/main", ALL]}, "SOURCE_REF_MISMATCH", 12),
        "predicate-type": ({"changes": {"predicateType": ALL}}, "NO_VSA", 6),
        "time": ({"time_verified": ALL}, "NO_VSA", 6),
    }
    for name, (change, reason, step) in fields.items():
        yield Case(
            f"shown-commands-{name}",
            "Commands to a CI system's log, and characters that are not seen, in a field that the message shows.",
            reason,
            parameters={**trusting(), "expectedSourceRefs": ["refs/heads/release"]},
            blobs=stated(**change),
            silent=SILENT,
            step=step,
        )
    yield Case(
        "shown-commands-admitted",
        "The same among the levels and refs of a summary that passes: admitted, and shown as harmlessly.",
        "VERIFIED",
        parameters={**trusting(), "expectedSourceRefs": ["refs/heads/main"]},
        blobs=stated(levels=["SLSA_SOURCE_LEVEL_3", *COMMANDS, UNSEEN], refs=["refs/heads/main", ALL]),
        silent=SILENT,
    )
    harmless = "refs/heads/std::vector-##-::1-section_started"
    yield Case(
        "shown-no-command",
        "A ref that only looks like a command is shown as it is.",
        "SOURCE_REF_MISMATCH",
        parameters={**trusting(), "expectedSourceRefs": [harmless.replace("std", "abc")]},
        blobs=stated(refs=[harmless, "refs/heads/main"]),
        says=(harmless,),
        step=12,
    )
