/* The frames of docs/resident-protocol.md, without I/O. */
#ifndef LAUNCHER_FRAMES_H
#define LAUNCHER_FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    FRAME_HEADER = 12,
    MAX_REQUEST = 4 * 1024 * 1024,     /* bytes of a request's body */
    MAX_OWN_REQUEST = 5 * 1024 * 1024, /* the same to a process of the call's own, which takes whatever was read */
    MAX_REPLY = 256 * 1024,            /* bytes of a reply's body */
};

enum frame_kind { FRAME_VERIFY = 1, FRAME_ANSWER = 2, FRAME_ACCEPTED = 3, FRAME_BUSY = 7 };

struct bytes {
    const unsigned char *data;
    size_t size;
};

struct answer {
    uint8_t status;
    struct bytes output;
    struct bytes errors;
};

uint32_t frame_number(const unsigned char *bytes);

/* Writes everything of a VERIFY frame that goes before standard input's bytes: the header, the elapsed time, the
 * three variables (NULL: not set) and the length of standard input. Returns its size, or 0 where `size` bytes do
 * not hold it or the body would be over `most` bytes. */
size_t frame_verify(unsigned char *buffer, size_t size, uint32_t elapsed_ms, const char *const variables[3], size_t input_size,
                    size_t most);

/* Reads a reply's header; false where the magic, the version or the length is not allowed. */
bool frame_header(const unsigned char header[FRAME_HEADER], unsigned *kind, size_t *size);

/* Reads an ANSWER's body, whose parts stay in `body`; false where it is not exactly one. */
bool frame_answer(const unsigned char *body, size_t size, struct answer *answer);

#endif
