/* One call over one connection (docs/resident-protocol.md, "The client", steps 3 to 5): to the resident verifier, or to a
 * process of the call's own, which answers by the same frames. */
#ifndef LAUNCHER_EXCHANGE_H
#define LAUNCHER_EXCHANGE_H

#include "frames.h"
#include "watch.h"

#include <stdint.h>

enum {
    CALL_MS = 4000,    /* for a call, where nobody says */
    GRACE_MS = 200,    /* beyond it, in which the verifier's own word is waited for */
    SILENCE_MS = 1250, /* without ACCEPTED, after which other ways are tried as well */
};

enum outcome {
    OUTCOME_ANSWERED,
    OUTCOME_LATE,      /* accepted, and no answer in the time that the server named */
    OUTCOME_NOBODY,    /* nobody listens */
    OUTCOME_BUSY,      /* too many calls wait there */
    OUTCOME_SILENT,    /* not accepted in time */
    OUTCOME_HUNG,      /* the server does not live any more, though it has not ended */
    OUTCOME_LOST,      /* the same, and it was ended */
    OUTCOME_CLOSED,    /* closed before it accepted */
    OUTCOME_CUT,       /* closed after it had accepted */
    OUTCOME_UNUSABLE,  /* whatever else: no resident verifier for this call */
    OUTCOME_ELSEWHERE, /* the place cannot be used; another one may do */
};

struct call {
    const char *variables[3]; /* RATIFY_VERIFIER_COMMAND, _SUBJECT and _VERSION; NULL where not set */
    struct bytes input;
    uint64_t started;    /* when this call began, on clock_ms */
    uint64_t end;        /* when its time is over, where nobody says otherwise */
    const char *problem; /* set where no resident verifier answers: why, without any foreign text */
};

/* Milliseconds since the call began. */
uint32_t call_elapsed(const struct call *call);

/* Sends the call and returns what becomes of it; where the other side has accepted, waits as long as it said. `watch`, where
 * there is one, is watched meanwhile. The answer's parts stay valid until the next exchange. */
enum outcome exchange(int fd, struct call *call, struct watch *watch, uint64_t accept_until, struct answer *answer);

/* Sets the problem. */
enum outcome unusable(struct call *call, const char *problem);

#endif
