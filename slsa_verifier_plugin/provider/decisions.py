"""Decides about keys. A kept decision is answered at once; images that were seen before and new ones have a lane each.

All methods of ``Decisions`` run on the event loop; the work itself is done in threads (``resident.server.permit_pool``). A
decision is kept for as long as the Store resource allows (Ratify keeps its own the same way), never one that a retry may change.

What must be true before a key is answered with a success: the policies that count now (their generation is part of the key
under which a decision is kept) decided about this very image, and ``Decider.image`` said that it is admitted.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace

from slsa_verifier_plugin.checking.status import Decision
from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import ArtifactError, Reason, as_denial
from slsa_verifier_plugin.lru import LruCache
from slsa_verifier_plugin.provider.answers import Decided, decided, refused
from slsa_verifier_plugin.provider.decision_log import DecisionLog
from slsa_verifier_plugin.provider.external_data import RequestKey, read_key
from slsa_verifier_plugin.provider.policy_sets import CLUSTER, PolicyScope, PolicySet
from slsa_verifier_plugin.provider.provider_metrics import ProviderMetrics
from slsa_verifier_plugin.provider.provider_settings import LaneLimits, ProviderSettings
from slsa_verifier_plugin.registry.reference import Reference
from slsa_verifier_plugin.resident.server.fair_queue import Assignment
from slsa_verifier_plugin.resident.server.permit_pool import SHARE_OF_ONE_REGISTRY, PermitPool
from slsa_verifier_plugin.resources.ratify_resources import PLUGIN_TYPES

KEY_INVALID, NAMESPACE_REFUSED, PROVIDER_BUSY = "KEY_INVALID", "NAMESPACE_REFUSED", "PROVIDER_BUSY"
"""Reasons beside those of ``errors.Reason``: for keys about which no verification began."""
GRACE_SECONDS = 0.25
"""Time after a key's deadline in which its work still says itself what it was waiting for."""
LATE_SECONDS = 30.0
"""Time after its deadline at which a key's work counts as stuck."""

KeptUnder = tuple[str, int, str, str]
"""What a decision is kept under: verify or mutate, the policies' generation, their namespace, the image."""


class KeyWork(Assignment):
    """One image to decide about.

    Args:
        registry: the image's.
        deadline: the end of it.
        look: decides.
    """

    __slots__ = ("future", "look")

    def __init__(self, registry: str, deadline: Deadline, look: Callable[[], Decided]) -> None:
        # No bytes: while it waits, it holds nothing but an image's name.
        super().__init__(registry.encode(), 0, deadline.remaining())
        self.look = look
        self.future: concurrent.futures.Future[Decided] = concurrent.futures.Future()


class KeyPool(PermitPool[KeyWork]):
    """One lane of images. ``working`` counts those under way.

    A thread of its own hands images to the threads that work: to start one takes milliseconds where others want the interpreter,
    and a flood starts a hundred. The event loop waits for none of that, nor for a lock.
    """

    def __init__(
        self, limits: LaneLimits, log: DecisionLog, working: Callable[[], AbstractContextManager[None]]
    ) -> None:
        super().__init__(limits, log.add)
        self.limits = limits
        self._most = limits.queue + limits.threads
        self._busy = working
        self._unfinished = 0
        self._of_registry: Counter[bytes] = Counter()
        self._handing: queue.SimpleQueue[KeyWork | None] = queue.SimpleQueue()
        threading.Thread(target=self._hand_on, name="lane", daemon=True).start()

    def has_room(self, registry: str) -> bool:
        """Return True where one more image of ``registry`` may wait; on the event loop, as the next two."""
        # One that hangs must leave room to the others, here as among the threads.
        of_one = self._of_registry.get(registry.encode(), 0)
        return self._unfinished < self._most and of_one < self._most * SHARE_OF_ONE_REGISTRY

    def begin(self, job: KeyWork) -> None:
        """Have an image decided about."""
        self._unfinished += 1
        self._of_registry[job.registry] += 1
        self._handing.put(job)

    def ended(self, job: KeyWork) -> None:
        """Note that one has been."""
        self._unfinished -= 1
        self._of_registry[job.registry] -= 1
        # Whoever may create a Pod names registries: those that are done with are forgotten.
        if not self._of_registry[job.registry]:
            del self._of_registry[job.registry]

    def close(self) -> None:
        """Let the threads end, each after its work."""
        # Ends the thread behind all that was handed to it before.
        self._handing.put(None)
        super().close()

    def _hand_on(self) -> None:
        while (job := self._handing.get()) is not None:
            self.submit(job)

    def _process(self, job: KeyWork) -> None:
        with self._busy():
            job.future.set_result(job.look())

    def _abandon(self, job: KeyWork) -> None:
        # A thread that died of what nobody foresaw: whoever waits must get an answer.
        if not job.future.done():
            job.future.set_result(
                refused(str(Reason.INTERNAL_ERROR), "the verification broke off", transient=True)
            )


class Decisions:
    """Decides about keys.

    Args:
        settings: limits, and the time for each key.
        policies: returns the policies that count now.
        working: a context that counts a verification as under way.
        log: gets a line a decision.
        metrics: counts them.
    """

    def __init__(
        self,
        settings: ProviderSettings,
        policies: Callable[[], PolicySet],
        working: Callable[[], AbstractContextManager[None]],
        log: DecisionLog,
        metrics: ProviderMetrics,
    ) -> None:
        self._settings = settings
        self._policies = policies
        self._log = log
        self._metrics = metrics
        limits = {"seen": settings.seen, "new": settings.unseen}
        self._lanes = {name: KeyPool(limit, log, working) for name, limit in limits.items()}
        # Each with the time at which it was made (``time.monotonic``).
        self._kept: LruCache[KeptUnder, tuple[Decided, float]] = LruCache(settings.limits.kept_bytes)
        self._seen: LruCache[tuple[str, str, str], bool] = LruCache(settings.limits.seen)
        self._under_way: dict[KeptUnder, asyncio.Future[Decided]] = {}

    async def answer(self, path: str, key: str) -> Decided:
        """Return what is decided about a key; never raises.

        Args:
            path: such as ``v1/verify``. Its last part says what is asked: ``mutate`` for the image with its digest, as JSON text
                in ``pinned``; ``verify`` whether it is admitted, and why.
            key: ``image`` or ``[namespace]image``.
        """
        started = time.monotonic()
        kind = path.rpartition("/")[2]
        asked: RequestKey | None = None
        lane = "none"
        try:
            asked = read_key(key)
            # Asked for each key: policies may have been replaced between two keys of one request.
            scope = self._scope_of(asked.namespace)
            if isinstance(scope, str):
                found = refused(NAMESPACE_REFUSED, scope)
            else:
                found, lane = await self._found(kind, scope, asked.image)
        except ArtifactError as error:
            found = refused(KEY_INVALID, error.message)
        except Exception as error:  # noqa: BLE001 (the last boundary: what nobody foresaw is an error of this key)
            self._log.add(f"an unforeseen {type(error).__name__} while a key was answered")
            found = _failed(error)
        self._tell(path, kind, asked, found, lane, time.monotonic() - started)
        return found

    def reinforce(self) -> None:
        """Let others work in the place of those that take long; called now and then."""
        for lane in self._lanes.values():
            lane.reinforce()

    def is_stuck(self) -> bool:
        """Return True where half of a lane's threads are long past their deadline: only a new process helps."""
        return any(lane.late(LATE_SECONDS) * 2 >= lane.limits.threads for lane in self._lanes.values())

    def trim(self) -> None:
        """Forget every decision: they are kept only for speed."""
        self._kept.clear()

    def close(self) -> None:
        """Let the threads end, each after its work."""
        for lane in self._lanes.values():
            lane.close()

    def _scope_of(self, namespace: str) -> PolicyScope | str:
        """Return what decides for a key's namespace, or the sentence that says why nothing does."""
        # The cluster's policies are not what the key asks for: they are no answer to it.
        if namespace and not self._settings.namespaced:
            return "keys with a namespace are not answered here; start the provider with --namespaced, or leave [namespace] out"
        policies = self._policies()
        # Ratify would ask the namespace's own verifiers alone: the cluster's do not speak for them.
        if namespace in policies.foreign:
            return (
                f"the namespace {namespace} has Verifiers of its own, none of which is evaluated here; add one of type "
                f"{' or '.join(PLUGIN_TYPES)} to --policy"
            )
        if scope := policies.scopes.get(namespace) or policies.scopes.get(CLUSTER):
            return scope
        return (
            f"neither the namespace {namespace or '(none)'} nor the cluster has a Verifier that is evaluated here; add "
            "one to --policy"
        )

    async def _found(self, kind: str, scope: PolicyScope, image: Reference) -> tuple[Decided, str]:
        """Return what is decided about an image, and the lane that it took."""
        deadline = Deadline(self._settings.seconds)
        # A new generation finds nothing kept: what older policies decided counts no more.
        under = (kind, scope.generation, scope.namespace, str(image))
        kept = self._kept.get(under)
        if kept is not None:
            found, made = kept
            age = time.monotonic() - made
            # Older ones stay in the cache until they are replaced, and count for nothing.
            if age < scope.keep_seconds:
                # Looked at again behind the answer: an image that is asked for all the time never waits for its registry.
                if (
                    age > scope.keep_seconds / 2
                    and under not in self._under_way
                    and self._lanes["seen"].has_room(image.registry)
                ):
                    self._begin(under, scope, image, deadline)
                return found, "kept"
        lane = self._lane_of(under)
        # Begun anew only where a key has time left and the work that it joined had none.
        while True:
            work = self._under_way.get(under)
            # Whoever begins it is judged by its end; others that join may have more time left.
            is_own = work is None
            if work is None:
                # Refused at once: in a flood a late answer is as good as none, for the API server has given up.
                if not self._lanes[lane].has_room(image.registry):
                    words = "too many images wait to be verified; try again, or run more replicas"
                    return refused(PROVIDER_BUSY, words, scope.name, transient=True), lane
                work = self._begin(under, scope, image, deadline)
            # Not cancelled with this request: others wait for it, and what comes of it is kept.
            await asyncio.wait({work}, timeout=deadline.remaining() + GRACE_SECONDS)
            # A registry or a computation that outlasts its limit: the work ends by itself, later.
            if not work.done():
                return _failed(deadline.error("verifying the image"), scope.name), lane
            found = work.result()
            # Whoever began it had less time left than this key has: its end is not this one's.
            if is_own or found.reason != Reason.DEADLINE_EXCEEDED or deadline.expired():
                return found, lane

    def _lane_of(self, under: KeptUnder) -> str:
        return "seen" if self._seen.get(_seen_as(under)) else "new"

    def _begin(
        self, under: KeptUnder, scope: PolicyScope, image: Reference, deadline: Deadline
    ) -> asyncio.Future[Decided]:
        """Have an image looked at; whoever asks for the same meanwhile waits for the same."""

        def guarded() -> Decided:
            try:
                deadline.check("waiting for its turn behind other images")
                return (_pin if under[0] == "mutate" else _look)(scope, image, deadline)
            # An exception in a future would be raised into every request that waits for it.
            except Exception as error:  # noqa: BLE001 (the last boundary of the thread: a denial with a word)
                return _failed(error, scope.name)

        job = KeyWork(image.registry, deadline, guarded)
        work = asyncio.wrap_future(job.future)
        self._under_way[under] = work
        lane = self._lanes[self._lane_of(under)]
        work.add_done_callback(lambda done: self._ended(under, scope, (lane, job), done))
        lane.begin(job)
        return work

    def _ended(
        self,
        under: KeptUnder,
        scope: PolicyScope,
        begun: tuple[KeyPool, KeyWork],
        work: asyncio.Future[Decided],
    ) -> None:
        """Keep what came of an image, where asking again would not change it."""
        lane, job = begun
        lane.ended(job)
        # Another may have begun meanwhile, for a later request.
        if self._under_way.get(under) is work:
            del self._under_way[under]
        # Only the end of the event loop cancels it.
        if work.cancelled():
            return
        found = work.result()
        if found.reason.startswith("REGISTRY_"):
            self._metrics.registry_errors.labels(found.reason).inc()
        # A fault that may pass is asked for again by the next key: kept, it would deny good images for seconds.
        if found.error or found.transient:
            return
        self._seen.put(_seen_as(under), True)
        # A Store may switch keeping off.
        if scope.keep_seconds > 0:
            self._kept.put(under, (found, time.monotonic()), found.size)

    def _tell(
        self, path: str, kind: str, asked: RequestKey | None, found: Decided, lane: str, seconds: float
    ) -> None:
        # Nothing is decided there: a tag became a digest, or did not.
        if kind == "mutate":
            decision = "failed" if found.error else "pinned"
        else:
            decision = "undecided" if found.error else str(found.decision)
        self._metrics.decisions.labels(path, decision, found.reason, found.policy).inc()
        self._metrics.seconds.labels(lane).observe(seconds)
        # A key that cannot be read is not logged: whatever was typed in the place of an image may be a password.
        self._log.event(
            "decision",
            path=path,
            image=str(asked.image)[:1200] if asked else None,
            digest=found.digest or None,
            namespace=(asked.namespace if asked else None) or None,
            decision=decision,
            reason=found.reason,
            policy=found.policy or None,
            lane=lane,
            ms=round(seconds * 1000, 1),
            **({"error": found.error} if found.error and asked else {}),
        )


def _look(scope: PolicyScope, image: Reference, deadline: Deadline) -> Decided:
    """Return the decision of all verifiers of a scope about one image."""
    report = replace(scope.checker, within=deadline).image(str(image))
    return decided(report, image, scope.name)


def _pin(scope: PolicyScope, image: Reference, deadline: Deadline) -> Decided:
    """Return an image with its digest instead of its tag (Ratify v1.4.4, ``httpserver/handlers.go``, ``mutate``)."""
    # A reference with a digest is pinned already, and no registry is asked.
    digest = image.digest or scope.checker.store.resolve(image, deadline).digest
    # As JSON already: it is put into the answer as it is.
    text = json.dumps(f"{image.name}@{digest}").encode()
    return Decided(Decision.ADMITTED, "PINNED", scope.name, str(digest), pinned=text)


def _failed(error: Exception, policy: str = "") -> Decided:
    """Return the error of a key that nothing could be decided about."""
    failure = as_denial(error)
    return refused(str(failure.reason), failure.message, policy, failure.transient)


def _seen_as(under: KeptUnder) -> tuple[str, str, str]:
    """Return what an image is remembered by, whatever the policies' generation: its content is in memory all the same."""
    kind, _, namespace, image = under
    return (kind, namespace, image)
