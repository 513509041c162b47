#include "turn.h"

#include "directory.h"
#include "lock.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

enum { MOST_TURNS = 2 };

/* Reads the beginning of a small file as text. */
static bool read_text(const char *path, char *text, size_t size)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    const ssize_t got = read(fd, text, size - 1);
    (void)close(fd);
    text[got > 0 ? got : 0] = '\0';
    return got > 0;
}

/* Quota and period of the control group, in microseconds; false for none. */
static bool read_quota(long *quota, long *period)
{
    char text[64];
    char *end = NULL;
    if (read_text("/sys/fs/cgroup/cpu.max", text, sizeof text)) {
        *quota = strtol(text, &end, 10); /* "max" reads as 0 */
        *period = strtol(end, NULL, 10);
    } else if (read_text("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", text, sizeof text)) {
        *quota = strtol(text, NULL, 10);
        *period = read_text("/sys/fs/cgroup/cpu/cpu.cfs_period_us", text, sizeof text) ? strtol(text, NULL, 10) : 0;
    } else {
        return false;
    }
    return *quota > 0 && *period > 0;
}

unsigned usable_processors(void)
{
    cpu_set_t mask;
    long quota = 0;
    long period = 0;
    long count = 1;
    if (sched_getaffinity(0, sizeof mask, &mask) == 0)
        count = CPU_COUNT(&mask); /* fewer than the machine has, where taskset or a static CPU policy says so */
    /* A Pod's limit of CPU is a quota. One and a half processors count as one. */
    if (read_quota(&quota, &period) && quota / period < count)
        count = quota / period;
    return count > 1 ? (unsigned)count : 1;
}

static int take_in(const char *directory)
{
    const unsigned processors = usable_processors();
    char path[PATH_MAX];
    for (unsigned i = 0; i < processors && i < MOST_TURNS; i++) {
        const int length = snprintf(path, sizeof path, "%s/own-%u", directory, i);
        errno = ENAMETOOLONG;
        const int turn = length < (int)sizeof path ? lock_take(AT_FDCWD, path) : -1;
        if (turn >= 0)
            return turn;
        if (errno != EWOULDBLOCK && errno != EINTR)
            return -2; /* no file can be made, or the file system has no locks */
    }
    return -1;
}

/* True for a directory of this user's alone, which is made where it is missing. */
static bool is_private(const char *path)
{
    const int fd = directory_open_private(path);
    if (fd >= 0)
        (void)close(fd);
    return fd >= 0;
}

int turn_take(const struct place *place, int file)
{
    char parent[PATH_MAX];
    char directory[PATH_MAX];
    int turn = place != NULL ? take_in(place->directory) : -2;
    /* A read-only file system, a full disk, another user's directory: a burst must not take the memory of all the same. */
    for (unsigned i = 0; turn == -2 && place_elsewhere(i, parent); i++)
        if (path_join(directory, sizeof directory, parent, "turns") && is_private(parent) && is_private(directory))
            turn = take_in(directory);
    /* A lock is no writing: a file of a read-only file system has one as well. */
    if (turn == -2 && flock(file, LOCK_EX | LOCK_NB) == 0)
        turn = file;
    else if (turn == -2 && errno == EWOULDBLOCK)
        turn = -1;
    return turn;
}
