"""Ratify verifier plugin that admits an image only if its source met its SLSA level.

What ``__all__`` names is the public interface (``docs/python.md``). It is imported when it is first asked for: the thin client
imports this package first of all, and has a few milliseconds for everything. A name more stands in both lists below.
"""

__version__ = "0.1.0"

TYPE_CHECKING = False  # importing typing for it would cost the thin client more than all else
if TYPE_CHECKING:
    # As themselves: that is how a type checker is told that they are public.
    from slsa_verifier_plugin.deadline import Deadline as Deadline
    from slsa_verifier_plugin.errors import DeadlineError as DeadlineError
    from slsa_verifier_plugin.errors import Reason as Reason
    from slsa_verifier_plugin.errors import RegistryError as RegistryError
    from slsa_verifier_plugin.errors import SignatureError as SignatureError
    from slsa_verifier_plugin.errors import TrustRootError as TrustRootError
    from slsa_verifier_plugin.errors import VerifierError as VerifierError
    from slsa_verifier_plugin.policy.parameters import ParameterError as ParameterError
    from slsa_verifier_plugin.policy.parameters import Policy as Policy
    from slsa_verifier_plugin.policy.parameters import parse_policy as parse_policy
    from slsa_verifier_plugin.policy.verdict import Verdict as Verdict
    from slsa_verifier_plugin.policy.verdict import result as result
    from slsa_verifier_plugin.problem import Problem as Problem
    from slsa_verifier_plugin.registry.reference import Reference as Reference
    from slsa_verifier_plugin.service.service import Service as Service
    from slsa_verifier_plugin.verification.judged import ArtifactRequest as ArtifactRequest
    from slsa_verifier_plugin.verification.judged import FileRequest as FileRequest
    from slsa_verifier_plugin.verification.ports import ArtifactStore as ArtifactStore
    from slsa_verifier_plugin.verification.ports import SignatureVerifier as SignatureVerifier
    from slsa_verifier_plugin.verification.verify import verify as verify
    from slsa_verifier_plugin.verification.verify import verify_file as verify_file

    __all__: list[str]
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

    __all__ = ["__version__", *(name for names in _MODULES.values() for name in names)]  # noqa: PLE0604 (all of them texts)

    def __getattr__(name: str) -> object:
        for module, names in _MODULES.items():
            if name in names:
                from importlib import import_module

                return getattr(import_module(f"{__name__}.{module}"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
