/* Headers of a POSIX ustar archive (IEEE Std 1003.1, pax, "ustar Interchange Format"), and only what a payload may
 * hold: regular files and directories with plain relative paths. */
#ifndef LAUNCHER_TAR_H
#define LAUNCHER_TAR_H

#include <stdbool.h>
#include <stdint.h>

enum { TAR_BLOCK = 512, TAR_PATH = 256 };

enum tar_kind { TAR_FILE, TAR_DIRECTORY, TAR_END };

struct tar_entry {
    enum tar_kind kind;
    char path[TAR_PATH + 1]; /* without a slash at its end */
    uint64_t size;           /* bytes; 0 for a directory */
    bool executable;
};

/* Reads one header; false where it is no header, or names something that a payload must not hold. */
bool tar_entry(const unsigned char block[TAR_BLOCK], struct tar_entry *entry);

#endif
