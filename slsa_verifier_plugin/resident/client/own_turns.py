"""Limits the verifications in processes of their own: each takes a hundred megabytes and a second of a processor.

Loaded only where one is due. The launcher takes its turns by the same files.
"""

import time

from slsa_verifier_plugin.resident.locks import try_lock
from slsa_verifier_plugin.resident.place import Place, pause
from slsa_verifier_plugin.resident.processors import usable_processors

MOST_TURNS = 2
TURN_SECONDS = 0.6
"""The last part of a call's time, in which no process of its own is started any more."""
NO_PLACE = -1
"""In place of a descriptor: turns cannot be taken here, so nobody waits for one."""


def take_turn(place: Place) -> int | None:
    """Return a descriptor that holds a turn until all its copies are closed; None while none is free.

    Turns are ``DIR/KEY/own-N``, one a usable processor, two at most.
    """
    # Step 7 of docs/resident-protocol.md, "The client".
    for number in range(min(usable_processors(), MOST_TURNS)):
        try:
            turn = try_lock(f"{place.directory}/own-{number}")
        except OSError:
            # A full disk or a directory that is gone: turns save memory, and are no reason to deny.
            return NO_PLACE
        if turn is not None:
            return turn
    return None


def await_turn(place: Place, end: float) -> int | None:
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
