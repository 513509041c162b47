/* SHA-256 (FIPS 180-4, section 6.2). */
#ifndef LAUNCHER_SHA256_H
#define LAUNCHER_SHA256_H

#include <stddef.h>
#include <stdint.h>

enum { SHA256_SIZE = 32, SHA256_BLOCK = 64, SHA256_HEX = 2 * SHA256_SIZE };

struct sha256 {
    uint32_t state[8];
    uint64_t length; /* bytes taken in so far */
    unsigned char block[SHA256_BLOCK];
};

void sha256_begin(struct sha256 *hash);
void sha256_add(struct sha256 *hash, const void *data, size_t size);
void sha256_end(struct sha256 *hash, unsigned char digest[SHA256_SIZE]);

/* Writes the first `size` bytes of a digest as 2 * size lower-case digits and a zero byte. */
void hex_of(const unsigned char *digest, size_t size, char *text);

#endif
