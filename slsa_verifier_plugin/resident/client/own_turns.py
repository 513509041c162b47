"""Limits the verifications in processes of their own: each takes a hundred megabytes and a second of a processor.

Loaded only where one is due. The launcher takes its turns by the same files.
"""

import os
import sys
import time

from slsa_verifier_plugin.locks import try_lock, try_lock_of
from slsa_verifier_plugin.resident.place import Place, PlaceError, check_directories, pause
from slsa_verifier_plugin.resident.processors import usable_processors

MOST_TURNS = 2
TURN_SECONDS = 0.6
"""The last part of a call's time, in which no process of its own is started any more."""
NO_PLACE = -1
"""In place of a descriptor: not even one turn can be taken here, so nobody waits for one."""
ELSEWHERE = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 (a directory of our own in it, checked at every use)
"""Where to go if the verifier's own place cannot be used: one of them is in every container."""


def folders_elsewhere() -> list[str]:
    """Return the folders that stand in for ``DIR`` where that cannot be used, in the order in which they are tried."""
    return [f"{folder}/slsa-verifier-plugin-{os.geteuid()}" for folder in ELSEWHERE]


def take_turn(place: Place | None) -> int | None:
    """Return a descriptor that holds a turn until all its copies are closed; None while none is free.

    Turns are ``DIR/KEY/own-N``, one a usable processor, two at most. Without a place, or where it takes no files, they are in the
    first folder of ``ELSEWHERE`` that does. Where no file can be made at all, there is one turn: the lock of the interpreter's.
    """
    # Step 7 of docs/resident-protocol.md, "The client".
    places = [] if place is None else [place]
    for one in (
        *places,
        *(Place(folder, "turns") for folder in folders_elsewhere()),
    ):
        try:
            check_directories(one, make=True)
            for number in range(min(usable_processors(), MOST_TURNS)):
                turn = try_lock(f"{one.directory}/own-{number}")
                if turn is not None:
                    return turn
        except (OSError, PlaceError):
            # A read-only file system, a full disk, another user's directory: a burst must not take the memory of all the same.
            continue
        return None
    try:
        return try_lock_of(os.open(sys.executable, os.O_RDONLY | os.O_CLOEXEC))
    except OSError:
        return NO_PLACE


def await_turn(place: Place | None, end: float) -> int | None:
    """Return a turn once one is free; None where that takes too long for a call that must end at ``end``.

    The first look is taken however late it is: the process itself says best what time was left.
    """
    begun = time.monotonic()
    while True:
        turn = take_turn(place)
        # A process that begins later than this could not answer in time, and would keep its turn from one that can.
        if turn is not None or time.monotonic() + TURN_SECONDS >= end:
            return turn
        pause(begun, end)
