"""Each reason code in one sentence, for reports that explain themselves; ``docs/reasons.md`` says more."""

from __future__ import annotations

from slsa_verifier_plugin.errors import Reason

DOCUMENTATION = "docs/reasons.md"

SUMMARIES: dict[Reason, str] = {
    Reason.VERIFIED: "A verification summary passed every step.",
    Reason.ARTIFACT_INVALID: "The attestation's manifest is not what its descriptor says.",
    Reason.SUBJECT_MISMATCH: "The attestation is about another image.",
    Reason.LIMIT_EXCEEDED: "The attestation is larger than the policy allows.",
    Reason.REGISTRY_UNREACHABLE: "The registry cannot be reached.",
    Reason.REGISTRY_TLS: "The registry's certificate is not trusted.",
    Reason.REGISTRY_UNAUTHORIZED: "The registry wants credentials.",
    Reason.REGISTRY_FORBIDDEN: "The credentials may not read this repository.",
    Reason.REGISTRY_NOT_FOUND: "The registry has no such image or artifact.",
    Reason.REGISTRY_THROTTLED: "The registry refuses more requests for now.",
    Reason.REGISTRY_ERROR: "The registry failed.",
    Reason.REGISTRY_INVALID_RESPONSE: "The registry answered with something else than was asked for.",
    Reason.REGISTRY_CREDENTIALS: "No credentials could be had for the registry.",
    Reason.NO_ATTESTATION: "No attestation is attached to the image.",
    Reason.SIGNATURE_INVALID: "The attestation's signature does not verify.",
    Reason.UNKNOWN_LOG: "The signature's log or certificate authority is in no trusted root.",
    Reason.TRUST_ROOT_UNAVAILABLE: "The trusted root cannot be used.",
    Reason.NO_VSA: "What is attached holds no verification summary.",
    Reason.SIGNER_UNTRUSTED: "The attestation is signed by somebody who is not trusted for it.",
    Reason.VERIFIER_ID_MISMATCH: "The summary is by another verifier than expected.",
    Reason.CERTIFICATE_MISMATCH: "The certificate and the summary contradict each other.",
    Reason.VERIFICATION_RESULT_FAILED: "The source did not meet its own policy.",
    Reason.RESOURCE_URI_MISMATCH: "The summary is about another repository.",
    Reason.LEVEL_TOO_LOW: "The source level is lower than expected.",
    Reason.SOURCE_REF_MISMATCH: "The commit is on no expected branch or tag.",
    Reason.TOO_OLD: "The attestation is older than the policy allows.",
    Reason.TIME_INVALID: "The attestation's time is missing or in the future.",
    Reason.SOURCE_NOT_BOUND: "Nothing binds the image to the commit.",
    Reason.SOURCE_REVISION_MISMATCH: "The image was built from another commit.",
    Reason.DEADLINE_EXCEEDED: "The time limit was reached.",
    Reason.INTERNAL_ERROR: "The verifier itself failed.",
}
