#include "payload.h"

#include "frames.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TRAILER = 64, MAX_LIST = 4 * 1024 * 1024 };

static const uint64_t MAX_UNPACKED = (uint64_t)1 << 30;

static uint64_t number64(const unsigned char *bytes)
{
    return (uint64_t)frame_number(bytes) << 32 | frame_number(bytes + 4);
}

/* A container need not have /proc; then the kernel's record of the path that was executed has to do. */
static int open_self(void)
{
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        const char *path = (const char *)getauxval(AT_EXECFN); // NOLINT: the kernel hands over an address
        fd = path != NULL ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    }
    return fd;
}

bool payload_own_path(char path[PATH_MAX])
{
    const ssize_t length = readlink("/proc/self/exe", path, PATH_MAX - 1);
    if (length > 0) {
        path[length] = '\0';
        return true;
    }
    const char *executed = (const char *)getauxval(AT_EXECFN); // NOLINT: as above
    return executed != NULL && realpath(executed, path) != NULL;
}

static bool read_trailer(struct payload *payload)
{
    struct stat status;
    unsigned char trailer[TRAILER];
    if (fstat(payload->fd, &status) != 0 || !S_ISREG(status.st_mode) || status.st_size < TRAILER)
        return false;
    const uint64_t end = (uint64_t)status.st_size - TRAILER;
    if (pread(payload->fd, trailer, TRAILER, (off_t)end) != TRAILER || memcmp(trailer, "SLSAPAY1", 8) != 0)
        return false;
    payload->size = number64(trailer + 8);
    payload->unpacked = number64(trailer + 16);
    /* Numbers from a file that may be cut or damaged: none may reach beyond it, or ask for more memory or disk than we built. */
    if (payload->size == 0 || payload->size > end || payload->unpacked > MAX_UNPACKED || number64(trailer + 24) != 0)
        return false;
    payload->offset = end - payload->size;
    hex_of(trailer + 32, SHA256_SIZE, payload->digest);
    return true;
}

bool payload_open(struct payload *payload)
{
    memset(payload, 0, sizeof *payload);
    payload->fd = open_self();
    if (payload->fd < 0)
        return false;
    if (read_trailer(payload))
        return true;
    (void)close(payload->fd);
    errno = 0; /* the file is what is wrong, and not the system */
    return false;
}

/* Checks the lines `SIZE PATH` of a list against the directory. */
static bool lines_hold(char *lines, int directory)
{
    char *line = lines;
    while (*line != '\0') {
        char *const end = strchr(line, '\n');
        char *path = NULL;
        struct stat status;
        errno = 0;
        const unsigned long long size = strtoull(line, &path, 10);
        if (end == NULL || path == line || *path != ' ' || errno != 0)
            return false;
        *end = '\0';
        /* A file that is missing or has another length was removed or cut since it was unpacked (by what tidies /tmp, say). */
        if (fstatat(directory, path + 1, &status, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(status.st_mode) ||
            (unsigned long long)status.st_size != size)
            return false;
        line = end + 1;
    }
    return true;
}

bool payload_is_whole(const struct payload *payload, int directory, bool thorough)
{
    const int fd = openat(directory, PAYLOAD_LIST, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return false;
    struct stat status;
    char *list = NULL;
    bool whole = fstat(fd, &status) == 0 && status.st_size > SHA256_HEX && status.st_size <= MAX_LIST;
    /* Not thorough: the digest in the first line alone. Before anything is run all is looked at (program_start). */
    const size_t size = !whole ? 0 : thorough ? (size_t)status.st_size : SHA256_HEX + 1;
    if (whole) {
        list = malloc(size + 1);
        whole = list != NULL && pread(fd, list, size, 0) == (ssize_t)size;
    }
    if (whole) {
        list[size] = '\0';
        whole = memcmp(list, payload->digest, SHA256_HEX) == 0 && list[SHA256_HEX] == '\n';
    }
    if (whole && thorough)
        whole = lines_hold(list + SHA256_HEX + 1, directory);
    free(list);
    (void)close(fd);
    return whole;
}
