"""Each reason code in one sentence, for reports that explain themselves; ``docs/reasons.md`` says more."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, metadata

from slsa_verifier_plugin.errors import Reason

SPECIFICATION = "https://slsa.dev/spec/v1.2/verifying-source"
"""What is verified, and why: what every code is about."""

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
    Reason.UNKNOWN_LOG: "The signature's log is in no trusted root.",
    Reason.UNKNOWN_AUTHORITY: "The signature's certificate or timestamp authority is in no trusted root.",
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

REMEDIES: dict[Reason, str] = {
    Reason.VERIFIED: "Nothing.",
    Reason.ARTIFACT_INVALID: "Attach the bundle again with 'slsa-verifier-plugin attach'.",
    Reason.SUBJECT_MISMATCH: "Attach the attestation to the digest that is admitted: the index, or the platform's manifest.",
    Reason.LIMIT_EXCEEDED: "Attach only attestations, or raise maxAttestationBytes or maxBundles.",
    Reason.REGISTRY_UNREACHABLE: "Check name resolution, network policy and proxy with 'slsa-verifier-plugin registry check'.",
    Reason.REGISTRY_TLS: "Mount the company's CA and name it in SSL_CERT_FILE or SSL_CERT_DIR.",
    Reason.REGISTRY_UNAUTHORIZED: "Give the Store an authProvider, or correct its credentials.",
    Reason.REGISTRY_FORBIDDEN: "Let these credentials pull from the repository.",
    Reason.REGISTRY_NOT_FOUND: "Check the reference; attach again what was deleted.",
    Reason.REGISTRY_THROTTLED: "Try again later, raise the registry's quota, or use a pull-through cache.",
    Reason.REGISTRY_ERROR: "Try again; look at the registry's health.",
    Reason.REGISTRY_INVALID_RESPONSE: "Find what changes the content on its way; do not trust this artifact.",
    Reason.REGISTRY_CREDENTIALS: "Correct the authProvider's settings or the workload's identity.",
    Reason.NO_ATTESTATION: "Attach the file that the source workflow wrote: 'slsa-verifier-plugin attach IMAGE FILE'.",
    Reason.SIGNATURE_INVALID: "Attach the original bundle, or have the commit attested again.",
    Reason.UNKNOWN_LOG: "Run 'slsa-verifier-plugin trust refresh', or name the signer's own Sigstore in trustedRoot.",
    Reason.UNKNOWN_AUTHORITY: "Run 'slsa-verifier-plugin trust refresh', or name the signer's own Sigstore in trustedRoot.",
    Reason.TRUST_ROOT_UNAVAILABLE: "Mount the file that trustedRoot names, or let the TUF repository be fetched.",
    Reason.NO_VSA: "Attach the source workflow's bundle, which holds the summary beside the provenance.",
    Reason.SIGNER_UNTRUSTED: "Find out who attached it; add the signer to trustedVerifiers if it is to be trusted.",
    Reason.VERIFIER_ID_MISMATCH: "Set expectedVerifierId if that verifier is to be trusted.",
    Reason.CERTIFICATE_MISMATCH: "Do not trust it; have the commit attested anew.",
    Reason.VERIFICATION_RESULT_FAILED: "Look at the source workflow's run for this commit.",
    Reason.RESOURCE_URI_MISMATCH: "Attach the summary of this image's repository, or add the URI to expectedResourceUri.",
    Reason.LEVEL_TOO_LOW: "Raise the repository's source level and build from a newer commit, or lower expectedVerifiedLevels.",
    Reason.SOURCE_REF_MISMATCH: "Build from an expected branch or tag, or add the ref to expectedSourceRefs.",
    Reason.TOO_OLD: "Rebuild from a newer commit, or raise maxAge.",
    Reason.TIME_INVALID: "Check the node's clock; where nothing gives a time, have the commit attested anew.",
    Reason.SOURCE_NOT_BOUND: "Build the image with the label of its commit, or attach its build provenance.",
    Reason.SOURCE_REVISION_MISMATCH: "Attach the attestation of the commit that the image was built from.",
    Reason.DEADLINE_EXCEEDED: "Try again; look at the registry's latency.",
    Reason.INTERNAL_ERROR: "Give the verifier more memory or processes; report what 'slsa-verifier-plugin verify --debug' shows.",
}
"""What helps against each, in one sentence; the denial itself says it with the names and values of its case."""


def reasons_page() -> str:
    """Return the page on all codes: of the repository that the package names (``Project-URL``), else the specification.

    A page that is nowhere would be worse than none; ``explain`` needs no network.
    """
    try:
        urls = metadata("slsa-verifier-plugin").get_all("Project-URL") or []
    # The one-file plugin carries no metadata of its own.
    except PackageNotFoundError:
        urls = []
    # A Project-URL is a label, a comma and the address (core metadata specification).
    named = dict(url.split(", ", 1) for url in urls if ", " in url)
    repository = named.get("Repository", "").rstrip("/")
    # Reports open it in a browser, so nothing but https counts.
    return f"{repository}/blob/main/docs/reasons.md" if repository.startswith("https://") else SPECIFICATION
