"""Keeps an entry in the index under a fallback tag, though others write it at the same time (OCI distribution 1.1,
"Referrers Tag Schema").

A tag is written whole: who reads, adds and writes takes away what another has written in between. A condition (``If-Match``)
prevents that where the registry keeps to it; most ignore it, some although they send an ``ETag``. So whoever writes stays and
looks until the tag has held the entry for a while and nobody has changed it meanwhile, and writes again where it has not.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import RegistryError
from slsa_verifier_plugin.model.digest import Digest
from slsa_verifier_plugin.network import faults
from slsa_verifier_plugin.registry.manifests import INDEX_TYPE

MAX_INDEX = 4 << 20
"""Bytes of an index, as for any manifest."""
QUIET_SECONDS = 1.0
"""Time for which the tag must hold the entry unchanged: others' reading and writing takes less, unless they are slower than
``QUIET_TIMES`` of our own."""
QUIET_TIMES = 4.0
MAX_PAUSE = 2.0
"""Seconds between two attempts of one of many writers."""
MAX_REFUSALS = 3
"""Refused conditions on an index that nobody has changed, after which the registry is taken for one that refuses them all."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What stands under a tag: its bytes, and its entity tag ("" for none)."""

    content: bytes
    etag: str = ""


class Tag(Protocol):
    """One tag of a repository; ``doing`` says for messages what is being done with it."""

    doing: str

    def read(self) -> Kept | None:
        """Return what stands under the tag, None for nothing. Raises ``RegistryError``."""

    def write(self, content: bytes, condition: Mapping[str, str]) -> bool:
        """Put ``content`` there; False where the condition did not hold. Raises ``RegistryError``."""


def keep_entry(
    tag: Tag,
    entry: Mapping[str, Any],
    subject: Digest,
    deadline: Deadline,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Add ``entry`` to the index under ``tag``, and return once it stays there.

    Args:
        tag: where the index is.
        entry: a descriptor.
        subject: the image's digest. Some registries resolve the tag to the image itself, which means that nothing is attached.
        deadline: the end of all attempts.
        pause: waits for some seconds.

    Raises:
        RegistryError: the registry does not take it, or what stands there is no index.
        DeadlineError: out of time.
    """
    writer = _Writer(tag, entry, subject, QUIET_SECONDS)
    attempts = 0
    while True:
        deadline.check(tag.doing)
        try:
            left = writer.attempt()
        except RegistryError as error:
            # Distribution answers 500 to whoever reads a tag that another is just writing to its disk.
            if not error.transient or deadline.remaining() <= MAX_PAUSE:
                raise
            left = 0.0
        # It stayed: nobody has written for a while.
        if left is None:
            return
        if left > 0.0:
            # Others poll too: at random moments, or all would write at once again.
            pause(random.uniform(0.2, 0.5) * left)  # noqa: S311  (no secret)
            continue
        attempts += 1
        # Longer each time, for there may be many writers; at random, so that they do not meet again.
        most = min(MAX_PAUSE, 0.02 * 2**attempts)
        pause(random.uniform(0.0, most))  # noqa: S311


@dataclass(slots=True)
class _Writer:
    """One entry on its way into an index."""

    tag: Tag
    own: Mapping[str, Any]
    subject: Digest
    quiet: float
    seen: dict[str, dict[str, Any]] = field(default_factory=dict)
    unchanged: tuple[Digest, float] | None = None
    is_absent: bool = False
    refused: dict[Digest | None, int] = field(default_factory=dict)

    def attempt(self) -> float | None:
        """Look once, and write where the entry is missing. Return None once it stays, 0 to look again, else the time to wait."""
        began = time.monotonic()
        # Each time anew: what was read a moment ago may be overwritten by now.
        kept = self.tag.read()
        if kept is None and not self.is_absent:
            # A new index would take away what others have attached: once more, in case the answer came between two writes.
            self.is_absent = True
            return 0.0
        index = self._parsed(kept)
        entries = index["manifests"]
        there = {str(item.get("digest")): item for item in entries}
        # Whoever overwrote ours, overwrote what others had written too, which they need not write again.
        missing = [item for digest, item in self.seen.items() if digest not in there]
        # The index holds our entry, and all that others had there.
        if there.get(self.own["digest"]) == self.own and not missing:
            assert kept is not None
            return self._time_left(Digest.of(kept.content))
        # Remembered: whoever overwrites ours next takes these away, too.
        self.seen |= there
        self.seen.pop(self.own["digest"], None)
        # Ours is taken out first: an older description of the same manifest must not stand beside the new one.
        others = [item for item in entries if item.get("digest") != self.own["digest"]]
        content = json.dumps({**index, "manifests": [*others, *missing, self.own]}).encode()
        # No registry would have to take it, and no verifier would read it.
        if len(content) > MAX_INDEX:
            raise faults.too_large(self.tag.doing, len(content), MAX_INDEX)
        self._write(content, kept)
        # What was just written has yet to stay for a while.
        self.unchanged = None
        # A slow registry makes others slow as well: wait in its own measure.
        self.quiet = max(self.quiet, QUIET_TIMES * (time.monotonic() - began))
        return 0.0

    def _time_left(self, digest: Digest) -> float | None:
        now = time.monotonic()
        # Somebody wrote: the time starts anew.
        if self.unchanged is None or self.unchanged[0] != digest:
            self.unchanged = (digest, now)
        left = self.unchanged[1] + self.quiet - now
        return left if left > 0.0 else None

    def _write(self, content: bytes, kept: Kept | None) -> None:
        """Write, on condition that nobody has written since, where the registry offers one that holds."""
        before = Digest.of(kept.content) if kept else None
        # Only if it is still absent (RFC 9110, 13.1.2).
        condition = {"If-None-Match": "*"} if kept is None else {}
        # A weak one never matches (RFC 9110, 13.1.1).
        if kept is not None and kept.etag and not kept.etag.startswith("W/"):
            condition = {"If-Match": kept.etag}
        # A registry that refuses every condition: without one, the quiet time alone guards the others' entries.
        if self.refused.get(before, 0) >= MAX_REFUSALS:
            condition = {}
        if not self.tag.write(content, condition):
            # Counted by what stood there: if somebody else wrote in between, the refusal was right.
            self.refused = {before: self.refused.get(before, 0) + 1}

    def _parsed(self, kept: Kept | None) -> dict[str, Any]:
        """Return the index, a new one where there is none."""
        new: dict[str, Any] = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": []}
        if kept is None or self.subject.matches(kept.content):
            # Some registries resolve the tag to the image itself (GitLab); that is no index, and nobody's entry is lost.
            return new
        try:
            # Not the strict parser: what another client wrote loosely must not keep ours from being attached.
            value = json.loads(kept.content) if len(kept.content) <= MAX_INDEX else None
        except ValueError:
            # No JSON: refused below, like any other content that is no index.
            value = None
        index = value if isinstance(value, dict) else {}
        manifests = index.get("manifests", "none")
        # An empty list is null where Go has written it.
        if manifests is None:
            manifests = []
        # Overwriting it could take away an image.
        if not isinstance(manifests, list) or not all(isinstance(item, dict) for item in manifests):
            raise faults.invalid_response(self.tag.doing, "what stands under that tag is no index")
        # What others put beside ``manifests`` stays, as annotations of the index.
        return {**new, **index, "manifests": manifests}
