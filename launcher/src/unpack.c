/* Streams the payload once: digest, decompression and extraction go together. Nothing of it is run before its whole
 * digest is known, since the list that marks a directory as usable is written last. */
#include "payload.h"
#include "tar.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

enum { CHUNK = 256 * 1024, MAX_WINDOW_LOG = 25 }; /* a window of 32 MiB at most is kept in memory */

struct extraction {
    int directory;
    FILE *list;
    int file;      /* the file being written, or -1 */
    uint64_t left; /* bytes of it to come */
    uint64_t pad;  /* bytes of padding to come */
    uint64_t taken;
    bool ended;
    size_t held;
    unsigned char header[TAR_BLOCK];
};

static enum unpacked write_file(int fd, const unsigned char *data, size_t size)
{
    while (size > 0) {
        const ssize_t put = write(fd, data, size);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return UNPACK_FAILED;
        data += put;
        size -= (size_t)put;
    }
    return UNPACKED;
}

static enum unpacked close_file(struct extraction *to)
{
    const int fd = to->file;
    to->file = -1;
    /* Some file systems report a full disk or quota only here. */
    return close(fd) == 0 ? UNPACKED : UNPACK_FAILED;
}

static enum unpacked begin_entry(struct extraction *to)
{
    struct tar_entry entry;
    if (!tar_entry(to->header, &entry))
        return UNPACK_DAMAGED;
    if (entry.kind == TAR_END) {
        to->ended = true;
        return UNPACKED;
    }
    /* After the end nothing may follow, and nothing may take the list's place. */
    if (to->ended || strcmp(entry.path, PAYLOAD_LIST) == 0)
        return UNPACK_DAMAGED;
    if (entry.kind == TAR_DIRECTORY)
        return mkdirat(to->directory, entry.path, 0700) == 0 ? UNPACKED : UNPACK_FAILED;
    /* O_EXCL: no entry overwrites an earlier one, and none is written through a link. */
    const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    to->file = openat(to->directory, entry.path, flags, entry.executable ? 0700 : 0600);
    if (to->file < 0 || fprintf(to->list, "%llu %s\n", (unsigned long long)entry.size, entry.path) < 0)
        return UNPACK_FAILED;
    to->left = entry.size;
    to->pad = (TAR_BLOCK - entry.size % TAR_BLOCK) % TAR_BLOCK;
    return to->left == 0 ? close_file(to) : UNPACKED;
}

static size_t smaller(uint64_t one, size_t other)
{
    return one < other ? (size_t)one : other;
}

static enum unpacked take(struct extraction *to, const unsigned char *data, size_t size)
{
    enum unpacked result = UNPACKED;
    to->taken += size;
    while (size > 0 && result == UNPACKED) {
        size_t used;
        if (to->left > 0) {
            used = smaller(to->left, size);
            result = write_file(to->file, data, used);
            to->left -= used;
            if (to->left == 0 && result == UNPACKED)
                result = close_file(to);
        } else if (to->pad > 0) {
            used = smaller(to->pad, size);
            to->pad -= used;
        } else {
            used = smaller(TAR_BLOCK - to->held, size);
            memcpy(to->header + to->held, data, used);
            to->held += used;
            if (to->held == TAR_BLOCK) {
                to->held = 0;
                result = begin_entry(to);
            }
        }
        data += used;
        size -= used;
    }
    return result;
}

struct buffers {
    ZSTD_DStream *stream;
    unsigned char *input;
    unsigned char *output;
};

static enum unpacked decompress(const struct payload *payload, const struct buffers *with, const unsigned char *chunk,
                                size_t size, size_t *pending, struct extraction *to)
{
    ZSTD_inBuffer from = {.src = chunk, .size = size};
    ZSTD_outBuffer out = {.dst = with->output, .size = CHUNK, .pos = CHUNK};
    if (*pending == 0)
        return UNPACK_DAMAGED; /* bytes behind the one frame */
    /* A full output buffer means that there may be more, even where all input was taken. */
    while (*pending != 0 && (from.pos < from.size || out.pos == out.size)) {
        out.pos = 0;
        *pending = ZSTD_decompressStream(with->stream, &out, &from);
        /* More than the trailer says would be a bomb: the digest is known only at the end. */
        if (ZSTD_isError(*pending) != 0 || to->taken + out.pos > payload->unpacked)
            return UNPACK_DAMAGED;
        const enum unpacked result = take(to, with->output, out.pos);
        if (result != UNPACKED)
            return result;
    }
    return from.pos == from.size ? UNPACKED : UNPACK_DAMAGED;
}

static enum unpacked stream(const struct payload *payload, const struct buffers *with, struct extraction *to)
{
    struct sha256 hash;
    unsigned char digest[SHA256_SIZE];
    char text[SHA256_HEX + 1];
    size_t pending = 1;
    sha256_begin(&hash);
    for (uint64_t done = 0; done < payload->size;) {
        const size_t wanted = smaller(payload->size - done, CHUNK);
        const ssize_t got = pread(payload->fd, with->input, wanted, (off_t)(payload->offset + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return UNPACK_FAILED;
        if (got == 0)
            return UNPACK_DAMAGED; /* cut short since it was opened */
        done += (uint64_t)got;
        sha256_add(&hash, with->input, (size_t)got);
        const enum unpacked result = decompress(payload, with, with->input, (size_t)got, &pending, to);
        if (result != UNPACKED)
            return result;
    }
    sha256_end(&hash, digest);
    hex_of(digest, SHA256_SIZE, text);
    /* One whole frame, and in it an archive with its end, as large as the trailer says. */
    const bool whole = pending == 0 && to->ended && to->held == 0 && to->left == 0 && to->taken == payload->unpacked;
    return whole && strcmp(text, payload->digest) == 0 ? UNPACKED : UNPACK_DAMAGED;
}

/* Writes the list under another name first: a list that exists is whole. */
static enum unpacked extract(const struct payload *payload, const struct buffers *with, int directory)
{
    static const char partial[] = PAYLOAD_LIST ".part";
    const int fd = openat(directory, partial, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return UNPACK_FAILED;
    struct extraction to = {.directory = directory, .list = fdopen(fd, "w"), .file = -1};
    if (to.list == NULL) {
        (void)close(fd);
        return UNPACK_FAILED;
    }
    enum unpacked result = fprintf(to.list, "%s\n", payload->digest) < 0 ? UNPACK_FAILED : UNPACKED;
    if (result == UNPACKED)
        result = stream(payload, with, &to);
    /* errno is the write's, and not that of the tidying up. */
    const int error = errno;
    /* An entry that was cut short left it open. */
    if (to.file >= 0)
        (void)close(to.file);
    errno = error;
    /* What is buffered is written only here. */
    if (fclose(to.list) != 0 && result == UNPACKED)
        result = UNPACK_FAILED;
    if (result == UNPACKED && renameat(directory, partial, directory, PAYLOAD_LIST) != 0)
        result = UNPACK_FAILED;
    return result;
}

enum unpacked payload_unpack(const struct payload *payload, int directory)
{
    const struct buffers with = {.stream = ZSTD_createDStream(), .input = malloc(CHUNK), .output = malloc(CHUNK)};
    enum unpacked result = UNPACK_FAILED;
    if (with.stream == NULL || with.input == NULL || with.output == NULL)
        errno = ENOMEM;
    else if (ZSTD_isError(ZSTD_DCtx_setParameter(with.stream, ZSTD_d_windowLogMax, MAX_WINDOW_LOG)) != 0)
        errno = EINVAL;
    else
        result = extract(payload, &with, directory);
    const int error = errno;
    (void)ZSTD_freeDStream(with.stream);
    free(with.input);
    free(with.output);
    errno = error;
    return result;
}
