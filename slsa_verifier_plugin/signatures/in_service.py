"""The parts of a trusted root that were in service at a moment, as a root that sigstore-python takes.

sigstore-python 4.5 looks at no windows of logs and certificate authorities, and finds a log's key by the id that a bundle claims;
where no key has that id, it tries every one. So a retired key would verify under another's name. Here it gets a root that holds
only what was in service when the bundle was signed: whatever verifies with it, was verified by a key within its own window.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

from cryptography.exceptions import InvalidSignature

from slsa_verifier_plugin.signatures.libraries import (
    CertificateAuthority,
    CTKeyring,
    KeyID,
    Keyring,
    KeyringPurpose,
    RekorKeyring,
    SigstoreError,
    TrustedRoot,
    Verifier,
    trustroot,
)
from slsa_verifier_plugin.signatures.trust import Log, Parts


class LogKeyring(Keyring):
    """Keys of logs, each found by the id that the trusted root declares for it, and no other tried in its place."""

    def __init__(self, logs: Iterable[Log]) -> None:
        super().__init__()
        self._logs = tuple(logs)

    def verify(self, *, key_id: KeyID, signature: bytes, data: bytes) -> None:
        """Return if ``signature`` over ``data`` was made with a key of the log ``key_id``.

        Raises:
            SigstoreError: it was not; the type that sigstore-python's callers of this expect.
        """
        for log in self._logs:
            # Two logs may share an id, where a key was declared twice with two windows: each is tried, and no log of
            # another id.
            if log.id == key_id and log.key is not None:
                try:
                    log.key.verify(signature, data)
                except InvalidSignature:
                    # A key declared anew for the same log: the other declaration's key may be the one.
                    continue
                return
        # Not another log's key: sigstore-python would try all of them, and a retired one could verify.
        raise SigstoreError("keyring: invalid signature")


class InService(TrustedRoot):
    """A trusted root of nothing but ``parts``, which reads its keys and certificates once, not for every bundle."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(
            # Not validated once more: the models come from a root that was.
            trustroot.TrustedRoot.model_construct(
                media_type=TrustedRoot.TrustedRootType.TRUSTED_ROOT_0_1.value,
                tlogs=[log.model for log in parts.logs],
                certificate_authorities=[authority.model for authority in parts.authorities],
                ctlogs=[log.model for log in parts.ct_logs],
                timestamp_authorities=[authority.model for authority in parts.timestamp_authorities],
            )
        )
        self.parts = parts

    @cached_property
    def verifier(self) -> Verifier:
        """sigstore-python's verifier for this root, whose set-up takes as long as a verification."""
        return Verifier(trusted_root=self)

    def rekor_keyring(self, purpose: KeyringPurpose) -> RekorKeyring:
        """Return the keys of the transparency logs; there are none to sign with."""
        # Asked for signing, it gets none: nothing is ever signed here.
        return RekorKeyring(LogKeyring(self.parts.logs if purpose is KeyringPurpose.VERIFY else ()))

    def ct_keyring(self, purpose: KeyringPurpose) -> CTKeyring:
        """Return the keys of the CT logs; there are none to sign with."""
        return CTKeyring(LogKeyring(self.parts.ct_logs if purpose is KeyringPurpose.VERIFY else ()))

    def get_timestamp_authorities(self) -> list[CertificateAuthority]:
        """Return the timestamp authorities."""
        # sigstore-python asks for each bundle, and would parse the certificates each time.
        return self._timestamp_authorities

    @cached_property
    def _timestamp_authorities(self) -> list[CertificateAuthority]:
        return super().get_timestamp_authorities()
