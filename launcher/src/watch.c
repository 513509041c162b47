#include "watch.h"

#include "io.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { LOOKS = 10, END_MS = 300, CLOCK_OF_PROCESS = 2 };

/* Nanoseconds of processor time that a process has used; false where there is no such process. Needs no /proc. */
static bool time_used(pid_t process, uint64_t *used)
{
    struct timespec time;
    /* As clock_getcpuclockid(3) makes it, but without a look at whether the process is there. */
    const clockid_t clock = (clockid_t)((~(unsigned)process << 3) | CLOCK_OF_PROCESS);
    if (process <= 0 || clock_gettime(clock, &time) != 0)
        return false;
    *used = (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
    return true;
}

void watch_process(struct watch *watch, pid_t process)
{
    watch->hung = false;
    /* What was seen of the same process over an earlier connection still counts. */
    if (process == watch->process && watch->since != 0)
        return;
    *watch = (struct watch){.process = process, .since = clock_ms(), .gone_is_still = watch->gone_is_still};
    (void)time_used(process, &watch->used);
}

bool watch_looks_hung(struct watch *watch, unsigned patience)
{
    uint64_t used = 0;
    /* One that is gone does not hang: the connection will tell. Number 0 is a process of another namespace (SO_PEERCRED). */
    const bool is_gone = !time_used(watch->process, &used);
    if ((is_gone && !watch->gone_is_still) || used != watch->used) {
        watch->used = used;
        watch->since = clock_ms();
        watch->looks = 0;
        return false;
    }
    /* By looks as well as by time: on a machine so busy that the watcher had no processor for a second, the watched one may have
     * had none either. */
    watch->looks++;
    watch->hung = watch->looks >= LOOKS && clock_ms() - watch->since >= patience;
    return watch->hung;
}

/* Opens a file of locks to read; a pipe in its place has nobody who writes. */
static int open_lock(int directory, const char *path)
{
    return openat(directory, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
}

static pid_t number_in(int file)
{
    char text[16] = "";
    return read(file, text, sizeof text - 1) > 0 ? (pid_t)strtol(text, NULL, 10) : 0;
}

pid_t watch_named_in(int directory, const char *path)
{
    const int file = open_lock(directory, path);
    if (file < 0)
        return 0;
    const pid_t number = number_in(file);
    (void)close(file);
    return number;
}

/* True where the file that servers claim a place with is claimed, by `process`. */
static bool is_claimed_by(const struct place *place, pid_t process)
{
    const int claim = open_lock(AT_FDCWD, place->claim);
    if (claim < 0)
        return false;
    /* A number without the lock is what one that has ended left behind. */
    const bool is_claimed = number_in(claim) == process && flock(claim, LOCK_SH | LOCK_NB) != 0;
    (void)close(claim);
    return is_claimed;
}

bool watch_end_hung(const struct watch *watch, const struct place *place)
{
    uint64_t used = 0;
    const int process = (int)syscall(SYS_pidfd_open, watch->process, 0);
    if (process < 0)
        return errno == ESRCH; /* it has ended */
    /* The descriptor names one process for good, and the same time used says that it is the one that was watched. */
    const bool ends = is_claimed_by(place, watch->process) && time_used(watch->process, &used) && used == watch->used &&
                      syscall(SYS_pidfd_send_signal, process, SIGKILL, NULL, 0) == 0;
    /* A frozen control group keeps even a killed process: its place is cleared for another. */
    if (ends && io_wait(process, POLLIN, clock_ms() + END_MS) != IO_DONE) {
        (void)unlink(place->socket);
        (void)unlink(place->claim);
    }
    (void)close(process);
    return ends;
}
