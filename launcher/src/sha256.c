/* SHA-256 (FIPS 180-4). The processor's own instructions are used where it has them: the payload is some
 * 30 MB, which the portable rounds take a tenth of a second for, and the instructions a sixth of that. */
#include "sha256.h"

#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

/* FIPS 180-4, section 4.2.2. */
/* clang-format off */
static const uint32_t K[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};
/* clang-format on */

static uint32_t rotate(uint32_t word, unsigned count)
{
    return (word >> count) | (word << (32 - count));
}

static uint32_t big_endian(const unsigned char *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static void portable_blocks(uint32_t state[8], const unsigned char *data, size_t blocks)
{
    for (; blocks > 0; blocks--, data += SHA256_BLOCK) {
        uint32_t w[64];
        uint32_t v[8];
        for (unsigned t = 0; t < 16; t++)
            w[t] = big_endian(data + (size_t)4 * t);
        for (unsigned t = 16; t < 64; t++) {
            const uint32_t s0 = rotate(w[t - 15], 7) ^ rotate(w[t - 15], 18) ^ (w[t - 15] >> 3);
            const uint32_t s1 = rotate(w[t - 2], 17) ^ rotate(w[t - 2], 19) ^ (w[t - 2] >> 10);
            w[t] = w[t - 16] + s0 + w[t - 7] + s1;
        }
        memcpy(v, state, sizeof v);
        for (unsigned t = 0; t < 64; t++) {
            const uint32_t e1 = rotate(v[4], 6) ^ rotate(v[4], 11) ^ rotate(v[4], 25);
            const uint32_t choose = (v[4] & v[5]) ^ (~v[4] & v[6]);
            const uint32_t t1 = v[7] + e1 + choose + K[t] + w[t];
            const uint32_t e0 = rotate(v[0], 2) ^ rotate(v[0], 13) ^ rotate(v[0], 22);
            const uint32_t majority = (v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]);
            memmove(v + 1, v, 7 * sizeof *v);
            v[4] += t1;
            v[0] = t1 + e0 + majority;
        }
        for (unsigned i = 0; i < 8; i++)
            state[i] += v[i];
    }
}

#if defined(__x86_64__)

/* Intel SHA extensions: `sha256rnds2` does two rounds on the state as ABEF and CDGH. */
__attribute__((target("sha,sse4.1"))) static void fast_blocks(uint32_t state[8], const unsigned char *data, size_t blocks)
{
    const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    __m128i abef = _mm_set_epi32((int)state[0], (int)state[1], (int)state[4], (int)state[5]);
    __m128i cdgh = _mm_set_epi32((int)state[2], (int)state[3], (int)state[6], (int)state[7]);

    for (; blocks > 0; blocks--, data += SHA256_BLOCK) {
        const __m128i abef_before = abef;
        const __m128i cdgh_before = cdgh;
        __m128i w[4]; /* the last sixteen words of the message schedule, four a register */
        for (unsigned group = 0; group < 16; group++) {
            __m128i next;
            if (group < 4) {
                next = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(const void *)data + group), swap);
            } else {
                const __m128i *oldest = &w[group % 4];
                const __m128i newest = w[(group + 3) % 4];
                next = _mm_sha256msg1_epu32(*oldest, w[(group + 1) % 4]);
                next = _mm_add_epi32(next, _mm_alignr_epi8(newest, w[(group + 2) % 4], 4));
                next = _mm_sha256msg2_epu32(next, newest);
            }
            w[group % 4] = next;
            __m128i sum = _mm_add_epi32(next, _mm_loadu_si128((const __m128i *)(const void *)K + group));
            cdgh = _mm_sha256rnds2_epu32(cdgh, abef, sum);
            sum = _mm_shuffle_epi32(sum, 0x0e);
            abef = _mm_sha256rnds2_epu32(abef, cdgh, sum);
        }
        abef = _mm_add_epi32(abef, abef_before);
        cdgh = _mm_add_epi32(cdgh, cdgh_before);
    }
    state[0] = (uint32_t)_mm_extract_epi32(abef, 3);
    state[1] = (uint32_t)_mm_extract_epi32(abef, 2);
    state[2] = (uint32_t)_mm_extract_epi32(cdgh, 3);
    state[3] = (uint32_t)_mm_extract_epi32(cdgh, 2);
    state[4] = (uint32_t)_mm_extract_epi32(abef, 1);
    state[5] = (uint32_t)_mm_extract_epi32(abef, 0);
    state[6] = (uint32_t)_mm_extract_epi32(cdgh, 1);
    state[7] = (uint32_t)_mm_extract_epi32(cdgh, 0);
}

static int has_fast_blocks(void)
{
    unsigned a = 0;
    unsigned b = 0;
    unsigned c = 0;
    unsigned d = 0;
    if (!__get_cpuid(1, &a, &b, &c, &d) || (c & bit_SSE4_1) == 0)
        return 0;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_SHA) != 0;
}

#endif

static void add_blocks(struct sha256 *hash, const unsigned char *data, size_t blocks)
{
#if defined(__x86_64__) && !defined(SHA256_PORTABLE)
    /* Asked once: on a virtual machine each question of this kind takes 5 microseconds. */
    static int is_fast = -1;
    if (is_fast < 0)
        is_fast = has_fast_blocks();
    if (is_fast != 0) {
        fast_blocks(hash->state, data, blocks);
        return;
    }
#endif
    portable_blocks(hash->state, data, blocks);
}

void sha256_begin(struct sha256 *hash)
{
    /* FIPS 180-4, section 5.3.3. */
    static const uint32_t first[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    memset(hash, 0, sizeof *hash);
    memcpy(hash->state, first, sizeof first);
}

void sha256_add(struct sha256 *hash, const void *data, size_t size)
{
    const unsigned char *bytes = data;
    const size_t held = (size_t)(hash->length % SHA256_BLOCK);
    hash->length += size;
    if (held > 0) {
        const size_t missing = SHA256_BLOCK - held;
        const size_t taken = size < missing ? size : missing;
        memcpy(hash->block + held, bytes, taken);
        bytes += taken;
        size -= taken;
        if (taken < missing)
            return;
        add_blocks(hash, hash->block, 1);
    }
    if (size >= SHA256_BLOCK) {
        add_blocks(hash, bytes, size / SHA256_BLOCK);
        bytes += size - size % SHA256_BLOCK;
        size %= SHA256_BLOCK;
    }
    if (size > 0)
        memcpy(hash->block, bytes, size);
}

void sha256_end(struct sha256 *hash, unsigned char digest[SHA256_SIZE])
{
    /* FIPS 180-4, section 5.1.1: a one bit, zeros, and the length in bits as 64 bits. */
    static const unsigned char padding[SHA256_BLOCK] = {0x80};
    const uint64_t bits = hash->length * 8;
    const size_t held = (size_t)(hash->length % SHA256_BLOCK);
    unsigned char length[8];
    for (unsigned i = 0; i < 8; i++)
        length[i] = (unsigned char)(bits >> (56 - 8 * i));
    sha256_add(hash, padding, held < 56 ? 56 - held : SHA256_BLOCK + 56 - held);
    sha256_add(hash, length, sizeof length);
    for (unsigned i = 0; i < SHA256_SIZE; i++)
        digest[i] = (unsigned char)(hash->state[i / 4] >> (24 - 8 * (i % 4)));
}

void hex_of(const unsigned char *digest, size_t size, char *text)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < size; i++) {
        text[2 * i] = digits[digest[i] >> 4];
        text[2 * i + 1] = digits[digest[i] & 15];
    }
    text[2 * size] = '\0';
}
