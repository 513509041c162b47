"""Credentials for registries, found as Ratify's own ORAS store would find them.

One module a provider (``authProvider.name`` of the store's settings, Ratify v1.4.4
``pkg/common/oras/authprovider``), each behind ``CredentialProvider``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.registry.reference import Reference


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a registry or its token server is shown. Secrets stay out of ``repr``.

    ``identity_token`` is an OAuth2 refresh token (docker's ``identitytoken``); with it ``password`` is empty.
    ``expires_at`` is in seconds since the epoch, None where the provider does not say.
    """

    username: str
    password: str = field(repr=False, default="")
    identity_token: str = field(repr=False, default="")
    expires_at: float | None = None


class CredentialProvider(Protocol):
    """Finds the credentials for an image's registry."""

    def credentials(self, image: Reference, deadline: Deadline) -> Credentials | None:
        """Return the credentials, or None for anonymous access.

        Raises:
            RegistryError: reason ``REGISTRY_CREDENTIALS``; names the provider and the step, never the secret.
            DeadlineError: out of time.
        """
