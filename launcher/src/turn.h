/* Turns of verifications in processes of their own: each takes a hundred megabytes and a second of a processor. */
#ifndef LAUNCHER_TURN_H
#define LAUNCHER_TURN_H

#include "place.h"

/* Processors that this process may use at once: of its mask, and of its control group's quota. At least 1. */
unsigned usable_processors(void);

/* Takes a turn, if one is free: DIR/KEY/own-N, one a usable processor, two at most; without a place (NULL), or where it takes no
 * files, in a folder that is in every container. Where no file can be made at all there is one turn, the lock of `file`. Returns
 * a descriptor that holds it until all its copies are closed; -1 where none is free; -2 where there are none to take. */
int turn_take(const struct place *place, int file);

#endif
