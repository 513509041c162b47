/* Where the resident verifier of this user, build and environment is (docs/resident-protocol.md, "Where the socket is"). */
#ifndef LAUNCHER_PLACE_H
#define LAUNCHER_PLACE_H

#include <limits.h>
#include <stdbool.h>

struct place {
    char directory[PATH_MAX]; /* DIR/KEY */
    char socket[PATH_MAX];
    char lock[PATH_MAX];
    char claim[PATH_MAX];
};

/* Finds the place for a build identity and this process's environment, and makes its directories where they are missing.
 * Returns NULL, or what is wrong with it, without any foreign text. */
const char *place_find(const char *build, struct place *place);

/* Where a place cannot be used: has this process's environment name the next folder instead. False where there is none. */
bool place_move(void);

/* Writes DIR of folder `index` of those that are in every container; false where there are no more. */
bool place_elsewhere(unsigned index, char path[PATH_MAX]);

#endif
