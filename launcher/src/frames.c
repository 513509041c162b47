#include "frames.h"

#include <string.h>

enum { VERSION = 1 };

static const uint32_t NOT_SET = 0xFFFFFFFF;
static const char MAGIC[4] = {'S', 'L', 'S', 'V'};

struct writer {
    unsigned char *to;
    size_t left;
    bool fits;
};

static void put(struct writer *writer, const void *data, size_t size)
{
    /* What does not fit makes all that follows void: half a frame is never sent. */
    if (size > writer->left)
        writer->fits = false;
    if (!writer->fits || size == 0)
        return;
    memcpy(writer->to, data, size);
    writer->to += size;
    writer->left -= size;
}

static void put_number(struct writer *writer, uint32_t value, unsigned width)
{
    unsigned char bytes[4];
    for (unsigned i = 0; i < width; i++)
        bytes[i] = (unsigned char)(value >> (8 * (width - 1 - i)));
    put(writer, bytes, width);
}

uint32_t frame_number(const unsigned char *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

size_t frame_verify(unsigned char *buffer, size_t size, uint32_t elapsed_ms, const char *const variables[3], size_t input_size,
                    size_t most)
{
    /* The time, then a length with its bytes for standard input and for each variable. */
    uint64_t body = 4 + 4 + (uint64_t)input_size;
    for (unsigned i = 0; i < 3; i++)
        body += 4 + (variables[i] != NULL ? strlen(variables[i]) : 0);
    /* The lengths first: a frame that is too long is not begun. */
    if (body > most)
        return 0;
    struct writer writer = {.to = buffer, .left = size, .fits = true};
    put(&writer, MAGIC, sizeof MAGIC);
    put_number(&writer, VERSION, 2);
    put_number(&writer, FRAME_VERIFY, 2);
    put_number(&writer, (uint32_t)body, 4);
    put_number(&writer, elapsed_ms, 4);
    for (unsigned i = 0; i < 3; i++) {
        const size_t length = variables[i] != NULL ? strlen(variables[i]) : 0;
        put_number(&writer, variables[i] != NULL ? (uint32_t)length : NOT_SET, 4);
        put(&writer, variables[i], length);
    }
    put_number(&writer, (uint32_t)input_size, 4);
    return writer.fits ? size - writer.left : 0;
}

bool frame_header(const unsigned char header[FRAME_HEADER], unsigned *kind, size_t *size)
{
    if (memcmp(header, MAGIC, sizeof MAGIC) != 0 || (header[4] << 8 | header[5]) != VERSION)
        return false;
    *kind = (unsigned)(header[6] << 8 | header[7]);
    *size = frame_number(header + 8);
    return *size <= MAX_REPLY;
}

bool frame_answer(const unsigned char *body, size_t size, struct answer *answer)
{
    struct bytes *const fields[2] = {&answer->output, &answer->errors};
    if (size < 1)
        return false;
    answer->status = body[0];
    body += 1;
    size -= 1;
    for (unsigned i = 0; i < 2; i++) {
        if (size < 4)
            return false;
        const size_t length = frame_number(body);
        body += 4;
        size -= 4;
        /* A field that is longer than the rest of its frame. */
        if (length > size)
            return false;
        *fields[i] = (struct bytes){.data = body, .size = length};
        body += length;
        size -= length;
    }
    return size == 0;
}
