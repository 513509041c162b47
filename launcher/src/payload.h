/* The runtime that this executable carries: a zstd-compressed tar archive behind the program, and a trailer.
 *
 *     trailer, 64 bytes, numbers big-endian:
 *     magic "SLSAPAY1" (8)  compressed bytes u64  unpacked bytes u64  zero u64  SHA-256 of the compressed bytes (32)
 */
#ifndef LAUNCHER_PAYLOAD_H
#define LAUNCHER_PAYLOAD_H

#include "sha256.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

struct payload {
    int fd; /* this executable */
    uint64_t offset;
    uint64_t size;     /* compressed bytes */
    uint64_t unpacked; /* bytes of the tar archive */
    char digest[SHA256_HEX + 1];
};

enum unpacked { UNPACKED, UNPACK_DAMAGED, UNPACK_FAILED };

/* Name of the file that is written last into an unpacked payload: its digest, and the size and path of each file. */
#define PAYLOAD_LIST "complete"

/* Writes the absolute path of this executable; false where it is not known. */
bool payload_own_path(char path[PATH_MAX]);

/* Finds this executable and reads its trailer, and nothing else of the payload; false where there is none. */
bool payload_open(struct payload *payload);

/* Unpacks into the empty directory `directory` and writes the list last. UNPACK_DAMAGED: the payload is not the one
 * that was built. UNPACK_FAILED: errno says why. What was written by then is left to the caller to remove. */
enum unpacked payload_unpack(const struct payload *payload, int directory);

/* True where `directory` holds the list of this payload. Where `thorough`, also every file in its size, which finds
 * what a cleaner of temporary directories took, or a power cut left empty. */
bool payload_is_whole(const struct payload *payload, int directory, bool thorough);

#endif
