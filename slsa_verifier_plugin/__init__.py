"""Ratify verifier plugin that admits an image only if its source met its SLSA level.

What ``__all__`` names is the public interface (``docs/python.md``). It is imported when it is first asked for: the thin client
imports this package first of all, and has a few milliseconds for everything.
"""

__version__ = "0.1.0"

TYPE_CHECKING = False  # importing typing for it would cost the thin client more than all else
if TYPE_CHECKING:
    from slsa_verifier_plugin.deadline import Deadline
    from slsa_verifier_plugin.errors import (
        DeadlineError,
        Reason,
        RegistryError,
        SignatureError,
        TrustRootError,
        VerifierError,
    )
    from slsa_verifier_plugin.policy.parameters import ParameterError, Policy, parse_policy
    from slsa_verifier_plugin.policy.verdict import Verdict, result
    from slsa_verifier_plugin.problem import Problem
    from slsa_verifier_plugin.registry.reference import Reference
    from slsa_verifier_plugin.service.service import Service
    from slsa_verifier_plugin.verification.judged import ArtifactRequest, FileRequest
    from slsa_verifier_plugin.verification.ports import ArtifactStore, SignatureVerifier
    from slsa_verifier_plugin.verification.verify import verify, verify_file
else:
    _MODULES = {
        "deadline": ("Deadline",),
        "errors": (
            *("DeadlineError", "Reason", "RegistryError", "SignatureError", "TrustRootError"),
            "VerifierError",
        ),
        "policy.parameters": ("ParameterError", "Policy", "parse_policy"),
        "policy.verdict": ("Verdict", "result"),
        "problem": ("Problem",),
        "registry.reference": ("Reference",),
        "service.service": ("Service",),
        "verification.judged": ("ArtifactRequest", "FileRequest"),
        "verification.ports": ("ArtifactStore", "SignatureVerifier"),
        "verification.verify": ("verify", "verify_file"),
    }

    def __getattr__(name: str) -> object:
        for module, names in _MODULES.items():
            if name in names:
                from importlib import import_module

                return getattr(import_module(f"{__name__}.{module}"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "ArtifactRequest",
    "ArtifactStore",
    "Deadline",
    "DeadlineError",
    "FileRequest",
    "ParameterError",
    "Policy",
    "Problem",
    "Reason",
    "Reference",
    "RegistryError",
    "Service",
    "SignatureError",
    "SignatureVerifier",
    "TrustRootError",
    "Verdict",
    "VerifierError",
    "__version__",
    "parse_policy",
    "result",
    "verify",
    "verify_file",
]
