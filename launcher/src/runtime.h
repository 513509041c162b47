/* The unpacked runtime: where it is kept, how it gets there once, and how it is run. */
#ifndef LAUNCHER_RUNTIME_H
#define LAUNCHER_RUNTIME_H

#include "slot.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

struct runtime {
    const struct payload *payload;
    unsigned candidate; /* the one in use; those before it did not do */
    char directory[PATH_MAX];
    char report[1024];
};

/* Finds the runtime, or unpacks it, in the first directory that does: SLSA_VERIFIER_CACHE, XDG_CACHE_HOME, HOME/.cache,
 * TMPDIR, /tmp, /var/tmp, /dev/shm (docs/one-file.md). One caller unpacks, in a process that outlives it, and the others
 * wait until the clock shows `until`. Where `thorough`, every file is looked at: for callers that go on to run it. */
enum runtime_state runtime_find(struct runtime *runtime, bool thorough, uint64_t until);

/* Gives up the directory in use, whose runtime could not be executed because of `error`. */
void runtime_reject(struct runtime *runtime, int error);

/* Says in a sentence why there is no runtime. */
void runtime_describe(const struct runtime *runtime, enum runtime_state state, char *text, size_t size);

/* Replaces this process by `python -I -m slsa_verifier_plugin ARGUMENTS...`, with `changes` to the environment (see
 * environment_with) beside SLSA_VERIFIER_BUILD. Returns only where that failed, with the error's number. */
int runtime_run(const struct runtime *runtime, char *const *arguments, char *const *changes);

#endif
