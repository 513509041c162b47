/* Starting the runtime in a process that keeps nothing of this one's. */
#ifndef LAUNCHER_PROGRAM_H
#define LAUNCHER_PROGRAM_H

#include "runtime.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct program {
    char *const *arguments;
    char *const *changes; /* to the environment (see environment_with) */
    int input;            /* its standard input; -1 for none */
    bool is_bound;        /* it is killed when this process ends */
    bool is_resident;     /* it sees nothing of the environment but what its KEY was made of */
};

enum ended { STILL_RUNS, ENDED_BY_ITSELF, WAS_KILLED };

/* Starts it from the first runtime that can be executed: its own session, `/` as directory, no other file of this process.
 * Returns its process number, or -1: with `*state` other than RUNTIME_READY where there is no runtime, else with errno. */
pid_t program_start(struct runtime *runtime, const struct program *program, enum runtime_state *state, uint64_t until);

/* Whether it has ended, and how; it is waited for only once. */
enum ended program_look(pid_t process);

/* Kills it with all of its group, and waits a moment for its end. */
void program_end(pid_t process);

#endif
