"""Wires stores, trusted roots, keys and caches together for one process.

One ``Service`` lives as long as its process: a single call in a process of its own, days in the resident verifier. It keeps
roots, verified signatures, registry content and tokens; it keeps no verdicts, and takes every setting from the call.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from itertools import chain
from typing import TYPE_CHECKING, Any

from slsa_verifier_plugin import ratify
from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import ContractError, TrustRootError, as_denial
from slsa_verifier_plugin.lru import LruCache
from slsa_verifier_plugin.policy.parameters import ParameterError, Policy, RootSource, parse_policy
from slsa_verifier_plugin.policy.verdict import Verdict, denial
from slsa_verifier_plugin.registry.memory_cache import ContentCache
from slsa_verifier_plugin.regular_files import stamp_of
from slsa_verifier_plugin.text import plain
from slsa_verifier_plugin.verification.capacity import Capacity
from slsa_verifier_plugin.verification.readings import Readings

if TYPE_CHECKING:
    from slsa_verifier_plugin.registry.store import RegistryStore
    from slsa_verifier_plugin.signatures.keys import TrustedKey
    from slsa_verifier_plugin.signatures.sharing import Ask
    from slsa_verifier_plugin.signatures.trust import LoadedRoot
    from slsa_verifier_plugin.signatures.verifier import AttestationVerifier, RootVerifier
    from slsa_verifier_plugin.verification.judged import ArtifactRequest
    from slsa_verifier_plugin.verification.ports import ArtifactStore

    RootsOfFile = tuple[list[RootVerifier], tuple[TrustRootError, ...]]
    """The verifiers for the trusted roots of one file, and why others of it cannot be used."""

SIGNATURE_CACHE = 16 << 20
"""Bytes of verified payloads that are kept."""
READINGS = 8 << 20
"""Bytes of parsed blobs that are kept, and of parsed payloads; a quarter of it of parsed manifests."""
_key_of = json.JSONEncoder(sort_keys=True).encode
"""Settings as a key; ``json.dumps`` would make a new encoder for each."""
MAX_STORES = 32
MAX_POLICIES = 64
MAX_ROOTS = 16


class Service:
    """Answers calls.

    Args:
        environ: the process's environment, for credentials, proxies and certificate authorities.
        follow: gets each trusted root that a policy asks for, at each call.
        ask: reaches a process that verifies signatures beside this one; None where there is none.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        follow: Callable[[RootSource], None] = lambda _: None,
        ask: Ask | None = None,
    ) -> None:
        self._environ = environ
        self._follow = follow
        self._ask = ask
        self._policies: LruCache[str, Policy] = LruCache(MAX_POLICIES)
        self._stores: LruCache[str, RegistryStore] = LruCache(MAX_STORES)
        self._roots: LruCache[tuple[object, ...], RootsOfFile] = LruCache(MAX_ROOTS)
        self._unusable: LruCache[tuple[RootSource, ...], tuple[str, ...]] = LruCache(MAX_ROOTS)
        self._links: LruCache[tuple[object, ...], str] = LruCache(MAX_ROOTS)
        self._keys: LruCache[tuple[object, ...], TrustedKey] = LruCache(MAX_POLICIES)
        self._content = ContentCache()
        self._readings = Readings(READINGS)
        self._signatures: Any = LruCache(SIGNATURE_CACHE)
        self._capacity = Capacity()
        self.calls = 0

    def respond(
        self, environment: Mapping[str, str], stdin: bytes | ratify.Input, elapsed: float = 0.0
    ) -> ratify.Response:
        """Return the plugin's answer to one call of Ratify: decode it, decide, encode.

        Args:
            environment: holds the three ``RATIFY_VERIFIER_*`` variables.
            stdin: all of standard input, or what was parsed of it before.
            elapsed: seconds of the time limit that are used already.
        """
        # Without a lock: the count is for the status alone, and one that is lost hurts nobody.
        self.calls += 1
        # The caller's time began when Ratify started the plugin, not when the call came here.
        started = time.monotonic() - elapsed
        try:
            call = ratify.parse_call(environment, stdin)
            policy = self.policy(call.config)  # step 1
            try:
                # Steps 2 to 14. The time limit is the policy's, so it begins only here, less what is used already.
                verdict = self.decide(call, policy, Deadline(policy.timeout, elapsed))
            except ContractError:
                # The store's settings are read only now; what is wrong with them is the contract's error 2, and no verdict.
                raise
            except Exception as error:  # noqa: BLE001 (the last boundary: Ratify must get one line in any case)
                artifact = str(call.artifact.digest)
                verdict = denial(str(call.image), artifact, as_denial(error), policy.source_binding)
        except ParameterError as error:
            # Ratify's contract has a code of its own for settings that are not valid (error 2).
            return ratify.contract_failure(ratify.invalid_parameters(error))
        except ContractError as error:
            return ratify.contract_failure(error)
        return ratify.answer(verdict, call.name, call.type, round((time.monotonic() - started) * 1000))

    def policy(self, config: Mapping[str, Any]) -> Policy:
        """Return the policy in a verifier's configuration.

        Raises:
            ParameterError: it is not valid.
        """
        # By the configuration's content: it comes with each call, and is nearly always the last one.
        return self._policies.get_or_make(_key_of(config), lambda: parse_policy(config))

    def decide(self, call: ratify.Call, policy: Policy, deadline: Deadline) -> Verdict:
        """Return the verdict on one artifact of one image.

        Raises:
            VerifierError: the store, a trusted root or a key cannot be set up.
            ContractError: the store's settings are not valid.
        """
        from slsa_verifier_plugin.verification.judged import ArtifactRequest

        # Imported late: a call that is refused for its settings needs none of it.
        request = ArtifactRequest(call.image, call.artifact, policy)
        store = self.store(call.store)
        with store.remarks.of_this_call() as remarks:
            verdict = self.verdict(request, store, deadline)
        # Remarks decide nothing; they say why an answer was late, for example.
        return replace(verdict, warnings=(*verdict.warnings, *remarks)) if remarks else verdict

    def verdict(
        self,
        request: ArtifactRequest,
        store: ArtifactStore,
        deadline: Deadline,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> Verdict:
        """Return the verdict on one artifact in ``store``, with what this process has read and verified before.

        Raises:
            VerifierError: a trusted root or a key cannot be set up.
        """
        from slsa_verifier_plugin.verification.verify import verify

        # Few calls at a time hold large content, so that memory stays bounded under a flood.
        with self._capacity.for_call(store) as guarded:
            # Inside: to load a root takes memory, too.
            verifier = self.verifier(request.policy)
            return verify(request, guarded, verifier, deadline, now, self._readings)

    def store(self, settings: Mapping[str, Any]) -> RegistryStore:
        """Return the store for Ratify's store settings.

        Raises:
            RegistryError: the settings name a credential provider that is unknown or not installed.
        """
        # Kept for the process, and with it its connections, tokens and what they have fetched.
        return self._stores.get_or_make(_key_of(settings), lambda: self._new_store(settings))

    def _new_store(self, settings: Mapping[str, Any]) -> RegistryStore:
        from slsa_verifier_plugin.registry.credentials.select import provider_for
        from slsa_verifier_plugin.registry.settings import StoreSettings
        from slsa_verifier_plugin.registry.store import RegistryStore

        parsed = StoreSettings.parse(settings)
        provider = provider_for(parsed.auth_provider, self._environ)
        return RegistryStore(parsed, provider, self._environ, cache=self._content)

    def verifier(self, policy: Policy) -> AttestationVerifier:
        """Return the verifier for a policy's trusted roots and keys.

        Raises:
            TrustRootError: none of its roots can be used, or a key cannot be read.
        """
        from slsa_verifier_plugin.signatures.verifier import AttestationVerifier

        roots: list[RootVerifier] = []
        failures: list[TrustRootError] = []
        # One root that cannot be used is a warning as long as another can: a policy may name one for the time after a move.
        for source in policy.roots:
            self._follow(source)
            try:
                verifiers, problems = self._root(source)
            except TrustRootError as error:
                # Collected, not raised: with a root that works the others are a warning.
                failures.append(error)
                continue
            failures += problems
            for root in verifiers:
                # Asked at each call, not when the root is loaded: its time may begin while this process lives.
                if (late := root.not_begun()) is not None:
                    failures.append(late)
                else:
                    roots.append(root)
        warnings = tuple(error.message for error in failures)
        # Kept for the status also where it is empty: a fault that has passed must go from there.
        self._unusable.put(policy.roots, warnings)
        # None at all: no certificate could verify, so this is the reason, and not each signature.
        if failures and not roots:
            raise failures[0]
        # A key that cannot be read is an error in any case: no other could take its place.
        keys = {configured: self._key(configured) for configured in policy.public_keys}
        return AttestationVerifier(roots, keys, self._signatures, warnings=warnings)

    def warm_up(self) -> None:
        """Do what the first call would wait for: import, and load the default trusted root."""
        import slsa_verifier_plugin.registry.store
        import slsa_verifier_plugin.verification.verify  # noqa: F401

        # Only the default one: which others policies name is not known before the first call.
        self._root(RootSource("public-good"))

    def usage(self) -> dict[str, object]:
        """Return what the caches hold and how often they helped, and the trusted roots in use, for the status."""
        return {
            "caches": {
                "content": self._content.usage(),
                "readings": self._readings.usage(),
                "signatures": self._signatures.usage(),
            },
            "loadedRoots": [
                {"source": plain(info.source), "digest": info.digest, "date": f"{info.date:%Y-%m-%d}"}
                for verifiers, _ in self._roots.values()
                for info in (verifier.root.info for verifier in verifiers)
            ],
            # Problems of one root come with each policy that names it; each is told once.
            "unusableRoots": [
                plain(problem, 512) for problem in dict.fromkeys(chain(*self._unusable.values()))
            ],
        }

    def trim(self) -> None:
        """Drop what is kept only for speed."""
        # Registry content first: it is the largest part, and each piece can be fetched again.
        self._content.clear()
        self._readings.clear()
        self._signatures.clear()
        self._policies.clear()
        self._stores.clear()

    def _root(self, source: RootSource) -> RootsOfFile:
        # The stamp is taken before the root is read: where that is replaced meanwhile, the next call finds another stamp.
        return self._roots.get_or_make(
            (source, *self._root_stamp(source)), lambda: self._loaded_roots(source)
        )

    def _loaded_roots(self, source: RootSource) -> RootsOfFile:
        from slsa_verifier_plugin.signatures.sources import read_root
        from slsa_verifier_plugin.signatures.trust import load_roots

        file = load_roots(*read_root(source, self._environ))
        # A file with several roots becomes several verifiers: each is tried by itself.
        return [self._root_verifier(root) for root in file.roots], file.problems

    def _root_verifier(self, root: LoadedRoot) -> RootVerifier:
        from slsa_verifier_plugin.signatures.verifier import RootVerifier

        # One processor or one worker: another process could only take turns with this one.
        if self._ask is None:
            return RootVerifier(root)
        from slsa_verifier_plugin.signatures.sharing import SharedVerifier

        return SharedVerifier(root, self._ask)

    def _root_stamp(self, source: RootSource) -> tuple[object, ...]:
        """Return what changes when a root's file or refreshed copy is replaced, by this process or another.

        Raises:
            TrustRootError: the root that a TUF repository's trust begins with cannot be read.
        """
        # A mounted file: it changes by being replaced, which its stamp shows.
        if source.kind == "path":
            return stamp_of([source.location])
        # The first root of a TUF repository may be replaced as well; it decides where the copy lies.
        key = (source, *stamp_of(filter(None, [source.bootstrap])))
        # Looked for once: where the copy lies depends on the repository and its first root alone.
        return (*key, _target(self._links.get_or_make(key, lambda: self._link(source))))

    def _link(self, source: RootSource) -> str:
        from slsa_verifier_plugin.signatures.sources import repository_of

        repository = repository_of(source, self._environ)
        # Only a file has no repository, and of that nobody asks this.
        assert repository is not None
        return str(repository.current)

    def _key(self, configured: str) -> TrustedKey:
        from slsa_verifier_plugin.signatures.keys import load_key

        # PEM is its own content; a path's file may be replaced while this process lives.
        key = (configured, *stamp_of([] if "-----BEGIN" in configured else [configured]))
        return self._keys.get_or_make(key, lambda: load_key(configured))


def _target(link: str) -> str:
    """Return where a link leads, which is new with every refresh; empty where there is none."""
    try:
        return os.readlink(link)  # noqa: PTH115 (pathlib costs on this path)
    except (OSError, ValueError):
        return ""
