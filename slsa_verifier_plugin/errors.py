"""Every error of this package.

The tree::

    VerifierError                     has a reason code; ``transient`` says whether a retry may help
    |-- ArtifactError                 steps 2 to 4: the artifact is not what its descriptor says
    |-- RegistryError                 step 3: a registry did not give what was asked for
    |-- SignatureError                step 5: a signature that does not verify
    |-- TrustRootError                step 5: no usable trusted root
    |-- StatementError                step 6: a payload that cannot be read as what it must be
    |-- CheckError                    steps 6 to 14: a check that did not pass (``policy.steps``)
    |-- DeadlineError                 out of time
    `-- InternalError                 a defect of ours; still a denial
    ContractError                     the call itself is wrong: no verdict, a code of Ratify's contract
    UsageError                        a person's mistake at the command line

A ``VerifierError`` becomes a denying verdict, a ``ContractError`` exit status 1 of the plugin.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum

from slsa_verifier_plugin import lacks
from slsa_verifier_plugin.problem import Problem


class Reason(StrEnum):
    """Stable reason codes, as in ``extensions.reason`` of a result; ``docs/reasons.md`` explains each."""

    VERIFIED = "VERIFIED"
    ARTIFACT_INVALID = "ARTIFACT_INVALID"
    SUBJECT_MISMATCH = "SUBJECT_MISMATCH"
    LIMIT_EXCEEDED = "LIMIT_EXCEEDED"
    REGISTRY_UNREACHABLE = "REGISTRY_UNREACHABLE"
    REGISTRY_TLS = "REGISTRY_TLS"
    REGISTRY_UNAUTHORIZED = "REGISTRY_UNAUTHORIZED"
    REGISTRY_FORBIDDEN = "REGISTRY_FORBIDDEN"
    REGISTRY_NOT_FOUND = "REGISTRY_NOT_FOUND"
    REGISTRY_THROTTLED = "REGISTRY_THROTTLED"
    REGISTRY_ERROR = "REGISTRY_ERROR"
    REGISTRY_INVALID_RESPONSE = "REGISTRY_INVALID_RESPONSE"
    REGISTRY_CREDENTIALS = "REGISTRY_CREDENTIALS"
    NO_ATTESTATION = "NO_ATTESTATION"
    SIGNATURE_INVALID = "SIGNATURE_INVALID"
    UNKNOWN_LOG = "UNKNOWN_LOG"
    UNKNOWN_AUTHORITY = "UNKNOWN_AUTHORITY"
    TRUST_ROOT_UNAVAILABLE = "TRUST_ROOT_UNAVAILABLE"
    NO_VSA = "NO_VSA"
    SIGNER_UNTRUSTED = "SIGNER_UNTRUSTED"
    VERIFIER_ID_MISMATCH = "VERIFIER_ID_MISMATCH"
    CERTIFICATE_MISMATCH = "CERTIFICATE_MISMATCH"
    VERIFICATION_RESULT_FAILED = "VERIFICATION_RESULT_FAILED"
    RESOURCE_URI_MISMATCH = "RESOURCE_URI_MISMATCH"
    LEVEL_TOO_LOW = "LEVEL_TOO_LOW"
    SOURCE_REF_MISMATCH = "SOURCE_REF_MISMATCH"
    TOO_OLD = "TOO_OLD"
    TIME_INVALID = "TIME_INVALID"
    SOURCE_NOT_BOUND = "SOURCE_NOT_BOUND"
    SOURCE_REVISION_MISMATCH = "SOURCE_REVISION_MISMATCH"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    INTERNAL_ERROR = "INTERNAL_ERROR"


class VerifierError(Exception):
    """A failure that ends a verification with a denial.

    Args:
        found: what was found and what was expected, for a person. Never holds a secret.
        remedy: what to do next.
        reason: the stable reason code.
        transient: True where the same call may succeed later.
    """

    default_reason = Reason.INTERNAL_ERROR

    def __init__(
        self, found: str, remedy: str = "", *, reason: Reason | None = None, transient: bool = False
    ) -> None:
        self.problem = Problem((), found, remedy=remedy)
        self.message = str(self.problem)
        super().__init__(self.message)
        self.reason = reason or self.default_reason
        self.transient = transient


class ArtifactError(VerifierError):
    """The artifact's manifest or one of its blobs is not what it must be (steps 2 to 4)."""

    default_reason = Reason.ARTIFACT_INVALID


class RegistryError(VerifierError):
    """A registry did not deliver (step 3); the reason is one of ``REGISTRY_*`` or ``LIMIT_EXCEEDED``."""

    default_reason = Reason.REGISTRY_ERROR


class SignatureError(VerifierError):
    """A signature, certificate, log entry or timestamp that does not verify (step 5)."""

    default_reason = Reason.SIGNATURE_INVALID


class TrustRootError(VerifierError):
    """A trusted root that is missing, unreadable or unfit (step 5)."""

    default_reason = Reason.TRUST_ROOT_UNAVAILABLE


class StatementError(VerifierError):
    """A payload that is not the statement it must be (step 6)."""

    default_reason = Reason.NO_VSA


class DeadlineError(VerifierError):
    """The time given to this verification is over."""

    default_reason = Reason.DEADLINE_EXCEEDED

    def __init__(self, found: str, remedy: str = "") -> None:
        # The same call may have more luck with the time: nothing is known against the image.
        super().__init__(found, remedy, transient=True)


class InternalError(VerifierError):
    """A defect of this program, or a shortage of the machine's, reported as a denial."""


def as_denial(error: Exception) -> VerifierError:
    """Return a typed error as it is, and for an exception that nobody foresaw one with its kind and nothing of its content."""
    if isinstance(error, VerifierError):
        return error
    # An attestation may need more than the Pod has; the next call may be a smaller one.
    if isinstance(error, MemoryError):
        remedy = "give the Pod more, or lower maxAttestationBytes"
        return InternalError("out of memory", remedy, transient=True)
    # A limit of files or processes passes; whoever asks again in a moment may be served.
    if number := lacks.number_of(error):
        found = f"the verification could not go on: {lacks.sentence(number)}"
        return InternalError(found, "try again, or raise the limit", transient=True)
    # Its text may be anything, a secret too.
    found = f"an unforeseen {type(error).__name__}"
    return InternalError(found, "please report it with 'slsa-verifier-plugin --debug'")


class ContractCode(IntEnum):
    """Error codes of Ratify's plugin contract (Ratify v1.4.4, ``pkg/verifier/types``)."""

    CONFIG_PARSING = 1
    INVALID_CONFIG = 2
    UNKNOWN_COMMAND = 3
    MISSING_ENVIRONMENT = 4
    IO = 5
    VERSION_NOT_SUPPORTED = 6
    BAD_ARGUMENTS = 7
    COMMAND_FAILURE = 8
    INTERNAL = 999


class ContractError(Exception):
    """The call breaks Ratify's plugin contract, so there is no verdict: exit status 1.

    Args:
        code: the contract's error code.
        message: what is wrong, in one sentence.
        details: what was found, what was expected and what to do.
    """

    def __init__(self, code: ContractCode, message: str, details: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details


class UsageError(Exception):
    """Something a person at the command line must put right (exit status 2)."""
