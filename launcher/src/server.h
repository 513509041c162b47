/* Starting a resident verifier that keeps nothing of its caller. */
#ifndef LAUNCHER_SERVER_H
#define LAUNCHER_SERVER_H

#include "runtime.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Starts it from the first runtime that can be executed: its own session, `/` as directory, no file of this process.
 * Returns its process number, or -1 where there is none. */
pid_t server_start(struct runtime *runtime, uint64_t until);

/* True once the process `server` has ended. */
bool server_has_ended(pid_t server);

#endif
