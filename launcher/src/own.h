/* A verification in a process of the call's own, beside which this one stays: it holds the deadline. */
#ifndef LAUNCHER_OWN_H
#define LAUNCHER_OWN_H

#include "exchange.h"
#include "runtime.h"

/* Has the call verified by a process of its own, prints an answer whatever becomes of that, and returns the exit status. */
int own_process(struct runtime *runtime, struct call *call);

/* Prints an answer, and returns the exit status. */
int print_answer(const struct answer *answer);

#endif
