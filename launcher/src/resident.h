/* The way to the resident verifier (docs/resident-protocol.md, "The client"). */
#ifndef LAUNCHER_RESIDENT_H
#define LAUNCHER_RESIDENT_H

#include "exchange.h"
#include "place.h"
#include "runtime.h"

/* Asks the resident verifier, starts one where none listens, and another where one does not live any more, until the call's
 * time is over. Where `turns`, a turn for a process of the call's own is taken as well once that takes long.
 *
 * Returns OUTCOME_ANSWERED or OUTCOME_LATE; OUTCOME_UNUSABLE: none will answer this call; OUTCOME_NOBODY: none did, with a
 * turn in `*turn` (see turn_take), or -1 where the time is over. The answer's parts stay valid until the next exchange. */
enum outcome resident_verify(const struct place *place, struct call *call, struct runtime *runtime, bool turns, int *turn,
                             struct answer *answer);

#endif
