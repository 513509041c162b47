/* One private directory that may hold unpacked payloads: each in a directory named after its digest, unpacked once. */
#ifndef LAUNCHER_SLOT_H
#define LAUNCHER_SLOT_H

#include "payload.h"

#include <stdbool.h>
#include <stdint.h>

enum { SLOT_NAME = 16 + SHA256_HEX };

enum runtime_state {
    RUNTIME_READY,   /* it is there, and whole */
    RUNTIME_DAMAGED, /* the payload is not what was built */
    RUNTIME_NOWHERE, /* it cannot be there */
    RUNTIME_LATE,    /* it is still being unpacked, and that goes on */
};

/* Writes the name of a payload's directory. */
void slot_name(const struct payload *payload, char name[SLOT_NAME]);

/* Bytes of a file system. */
struct space {
    uint64_t free; /* for this user */
    uint64_t needed;
};

/* True where the payload has room in `directory`, or where that cannot be told. */
bool slot_has_space(int directory, const struct payload *payload, struct space *space);

/* Finds the payload in `directory`, or unpacks it: one caller does, in a process that outlives it, and the others wait
 * until the clock shows `until`. RUNTIME_NOWHERE: errno says why. Where `thorough`, every file is looked at. */
enum runtime_state slot_find(int directory, const struct payload *payload, bool thorough, uint64_t until);

#endif
