#include "slot.h"

#include "directory.h"
#include "io.h"
#include "lock.h"
#include "watch.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { POLL_MS = 10, SPACE_MARGIN = 16 * 1024 * 1024 };

/* What one cache directory may hold of this payload. */
struct slot {
    int directory;
    char name[SLOT_NAME];          /* the finished directory */
    char temporary[SLOT_NAME + 8]; /* the one that the holder of the lock fills */
    char lock[SLOT_NAME + 8];
};

void slot_name(const struct payload *payload, char name[SLOT_NAME])
{
    (void)snprintf(name, SLOT_NAME, "runtime-%s", payload->digest);
}

/* An open finished directory, or -1. It must be private too, since code is run from it. */
static int open_finished(const struct slot *slot)
{
    const int fd = openat(slot->directory, slot->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct stat status;
    if (fd < 0)
        return -1;
    if (fstat(fd, &status) == 0 && status.st_uid == geteuid() && (status.st_mode & (S_IRWXG | S_IRWXO)) == 0)
        return fd;
    (void)close(fd);
    return -1;
}

static bool is_finished(const struct slot *slot, const struct payload *payload, bool thorough)
{
    const int fd = open_finished(slot);
    if (fd < 0)
        return false;
    const bool whole = payload_is_whole(payload, fd, thorough);
    (void)close(fd);
    return whole;
}

/* Fills the temporary directory and gives it its final name. Whatever was left of either is removed. */
static enum unpacked unpack_in(const struct slot *slot, const struct payload *payload)
{
    if (!directory_remove(slot->directory, slot->temporary) || mkdirat(slot->directory, slot->temporary, 0700) != 0)
        return UNPACK_FAILED;
    enum unpacked result = UNPACK_FAILED;
    const int fd = openat(slot->directory, slot->temporary, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0) {
        result = payload_unpack(payload, fd);
        const int error = errno;
        (void)close(fd);
        errno = error;
    }
    /* Before the finished name is given: a directory that is not whole may still have it. */
    if (result == UNPACKED && (!directory_remove(slot->directory, slot->name) ||
                               renameat(slot->directory, slot->temporary, slot->directory, slot->name) != 0))
        result = UNPACK_FAILED;
    if (result != UNPACKED) {
        const int error = errno;
        (void)directory_remove(slot->directory, slot->temporary); /* the next holder of the lock tries again */
        errno = error;
    }
    return result;
}

struct report {
    enum unpacked result;
    int error;
};

/* Unpacks in a child that outlives this process, so that a caller killed at its deadline does not undo the work.
 * The child inherits the lock, and holds none of the caller's files: Ratify waits for their closing. */
static bool begin_unpacking(const struct slot *slot, const struct payload *payload, int lock, int *reports)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return false;
    const pid_t child = fork();
    if (child == 0) {
        struct report report = {.result = UNPACK_FAILED};
        /* For those who wait (wake_stopped); on a full disk they only wait. */
        if (ftruncate(lock, 0) == 0)
            (void)dprintf(lock, "%d", (int)getpid());
        (void)setsid();
        (void)umask(077);
        if (chdir("/") == 0 && io_detach_standard_files())
            report.result = unpack_in(slot, payload);
        report.error = errno;
        /* A reader that is gone needs no report; the next caller sees the directory. */
        _exit(io_write(ends[1], &report, sizeof report, UINT64_MAX) ? 0 : 1);
    }
    const int error = errno;
    (void)close(ends[1]);
    if (child < 0) {
        (void)close(ends[0]);
        errno = error;
        return false;
    }
    *reports = ends[0];
    return true;
}

bool slot_has_space(int directory, const struct payload *payload, struct space *space)
{
    struct statvfs status;
    *space = (struct space){.needed = payload->unpacked + SPACE_MARGIN};
    if (fstatvfs(directory, &status) != 0)
        return true; /* then writing will tell */
    space->free = (uint64_t)status.f_bavail * status.f_frsize;
    return space->free >= space->needed;
}

/* Called with the lock held, which it gives up. IO_ENDED: the child was killed. */
static enum io unpack_once(const struct slot *slot, const struct payload *payload, int lock, uint64_t until,
                           struct report *report)
{
    int reports = -1;
    struct space space;
    /* Asked before half of it is written. */
    if (!slot_has_space(slot->directory, payload, &space)) {
        *report = (struct report){.result = UNPACK_FAILED, .error = ENOSPC};
        (void)close(lock);
        return IO_DONE;
    }
    if (!begin_unpacking(slot, payload, lock, &reports)) {
        *report = (struct report){.result = UNPACK_FAILED, .error = errno};
        (void)close(lock);
        return IO_DONE;
    }
    /* The child has a copy, and holds the lock until it ends. */
    (void)close(lock);
    const enum io result = io_read(reports, report, sizeof *report, until);
    (void)close(reports);
    return result;
}

/* Unpacks as the holder of the lock, which it gives up. False: look again, since it is unpacked, or who unpacked was killed.
 * True: `state` is how it stays, with errno for RUNTIME_NOWHERE. */
static bool unpack_as_holder(const struct slot *slot, const struct payload *payload, bool thorough, int lock, uint64_t until,
                             enum runtime_state *state)
{
    struct report report = {.result = UNPACK_FAILED};
    if (is_finished(slot, payload, thorough)) { /* by the previous holder, between the look and the lock */
        (void)close(lock);
        return false;
    }
    switch (unpack_once(slot, payload, lock, until, &report)) {
    case IO_LATE:
        *state = RUNTIME_LATE;
        return true;
    case IO_ENDED: /* the child was killed: by a limit of memory, say, or with a group of processes that it had just left */
        *state = RUNTIME_LATE;
        return clock_ms() >= until;
    case IO_FAILED:
        *state = RUNTIME_NOWHERE;
        errno = EIO;
        return true;
    default:
        /* Another directory would hold the same payload, so a damaged one ends the search. */
        *state = report.result == UNPACK_DAMAGED ? RUNTIME_DAMAGED : RUNTIME_NOWHERE;
        errno = report.error;
        return report.result != UNPACKED;
    }
}

/* Has the one who unpacks go on, where it was stopped with its caller's group of processes, say: every call would wait for it in
 * vain. To one that only waits for a slow disk the signal means nothing. */
static void wake_stopped(const struct slot *slot, struct watch *unpacker)
{
    watch_process(unpacker, watch_named_in(slot->directory, slot->lock));
    if (watch_looks_hung(unpacker, HUNG_MS))
        (void)kill(unpacker->process, SIGCONT);
}

enum runtime_state slot_find(int directory, const struct payload *payload, bool thorough, uint64_t until)
{
    const uint64_t begun = clock_ms();
    enum runtime_state state = RUNTIME_READY;
    struct slot here = {.directory = directory};
    struct watch unpacker = {0};
    const struct slot *const slot = &here;
    slot_name(payload, here.name);
    (void)snprintf(here.temporary, sizeof here.temporary, "%s.part", here.name);
    (void)snprintf(here.lock, sizeof here.lock, "%s.lock", here.name);
    while (!is_finished(slot, payload, thorough)) {
        const int lock = lock_take(directory, slot->lock);
        if (lock >= 0) {
            if (unpack_as_holder(slot, payload, thorough, lock, until, &state))
                return state;
        } else if (errno != EWOULDBLOCK && errno != EINTR) {
            return RUNTIME_NOWHERE;
        } else if (clock_ms() >= until) {
            return RUNTIME_LATE; /* another caller's child unpacks, and goes on */
        } else {
            wake_stopped(slot, &unpacker);
            sleep_between(begun, POLL_MS, until);
        }
    }
    return RUNTIME_READY;
}
