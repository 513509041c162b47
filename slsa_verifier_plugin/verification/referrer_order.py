"""In which order an image's referrers are looked at for build provenance: by chance, so that nobody can choose it."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable
from itertools import zip_longest

from slsa_verifier_plugin.model.digest import Descriptor
from slsa_verifier_plugin.model.envelope import PREDICATE_TYPE_ANNOTATION
from slsa_verifier_plugin.model.provenance import PREDICATE_TYPES

_PROVENANCE_TYPES = ("application/vnd.dev.sigstore.bundle", "application/vnd.in-toto+json")


def by_chance(listed: Iterable[Descriptor]) -> list[Descriptor]:
    """Return the referrers, each once: in turn one that says that it is provenance, one that may be, and one of the others.

    Args:
        listed: as the registry lists them; their types and annotations are the word of whoever attached them.
    """
    # The system's randomness: a seeded sequence could be guessed, and the junk put before what counts.
    chance = random.SystemRandom()
    kinds: dict[int, list[Descriptor]] = defaultdict(list)
    # Whoever writes the fallback tag's index may list one a thousand times, or with another type beside the right one.
    for descriptor in {(item.digest, item.media_type, item.size): item for item in listed}.values():
        kinds[_kind(descriptor)].append(descriptor)
    for kind in kinds.values():
        chance.shuffle(kind)
    # In turn, however many there are of a kind: whoever attaches a thousand of one kind pushes no other kind back.
    turns = zip_longest(*(kinds[kind] for kind in sorted(kinds)))
    return [descriptor for turn in turns for descriptor in turn if descriptor is not None]


def _kind(descriptor: Descriptor) -> int:
    """Return what a referrer says that it is: provenance, something that may hold it, or something else."""
    told = descriptor.annotations.get(PREDICATE_TYPE_ANNOTATION)
    if told is not None:
        # The annotation says more than the type: cosign and GitHub attach everything under one artifact type.
        return 0 if told in PREDICATE_TYPES else 2
    # Without the annotation nobody knows: under these types provenance is attached, and summaries and other things, too.
    return 1 if (descriptor.artifact_type or "").startswith(_PROVENANCE_TYPES) else 2
