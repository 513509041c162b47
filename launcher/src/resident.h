/* The client of the resident verifier (docs/resident-protocol.md, "The client"). */
#ifndef LAUNCHER_RESIDENT_H
#define LAUNCHER_RESIDENT_H

#include "frames.h"
#include "runtime.h"

enum outcome {
    OUTCOME_ANSWERED,
    OUTCOME_LATE,     /* accepted, and no answer in the time that the server named */
    OUTCOME_NOBODY,   /* nobody listens */
    OUTCOME_CLOSED,   /* closed before it accepted */
    OUTCOME_CUT,      /* closed after it had accepted */
    OUTCOME_UNUSABLE, /* whatever else: verify in a process of its own */
};

struct call {
    const char *variables[3]; /* RATIFY_VERIFIER_COMMAND, _SUBJECT and _VERSION; NULL where not set */
    struct bytes input;
    uint64_t started;    /* when this call began, on clock_ms */
    uint64_t end;        /* when waiting for anything but an accepted answer must end */
    const char *problem; /* set where no resident verifier answers: why, without any foreign text */
};

/* Asks the resident verifier, and starts one first where none listens: OUTCOME_ANSWERED, _LATE or _UNUSABLE. The answer's
 * parts stay valid until the next call. */
enum outcome resident_verify(struct call *call, struct runtime *runtime, struct answer *answer);

/* Milliseconds since the call began. */
uint32_t resident_elapsed(const struct call *call);

#endif
