/* Whether the process that listens lives: its processor time moves. A stopped or frozen one, or one held by a debugger, uses
 * none, while one that only waits for its own turn uses some as often as those who watch it. */
#ifndef LAUNCHER_WATCH_H
#define LAUNCHER_WATCH_H

#include "place.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum {
    LOOK_MS = 100,          /* between two looks */
    HUNG_MS = 1000,         /* without any processor time, though a call waits to be accepted */
    HUNG_AT_WORK_MS = 2000, /* the same for a call that was accepted: a server that waits looks around once a second */
};

struct watch {
    pid_t process; /* 0: not known */
    uint64_t used; /* nanoseconds of processor time at the last look */
    uint64_t since;
    unsigned looks;     /* since it moved: so many turns the one who watches had */
    bool hung;          /* at the last look */
    bool gone_is_still; /* it is named in a lock that is held: where it is gone, somebody holds that who does not do his part */
};

/* Begins to watch a process, or goes on where it is the one that was watched before. */
void watch_process(struct watch *watch, pid_t process);

/* The number of the process that a lock file of a directory names; 0 for none. Who holds the lock is another question. */
pid_t watch_named_in(int directory, const char *path);

/* Looks once, and returns whether nothing has moved for `patience` milliseconds and ten looks. */
bool watch_looks_hung(struct watch *watch, unsigned patience);

/* Ends a process that is still, if it is the server that has claimed `place`; for the holder of the place's lock. Where it
 * does not end at once, since it is frozen, its place is cleared for another. False where it is left alone. */
bool watch_end_hung(const struct watch *watch, const struct place *place);

#endif
