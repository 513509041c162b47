#include "io.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <linux/close_range.h>

enum { TICK_US = 10 * 1000 }; /* between two looks at whether a write takes too long */

uint64_t clock_ms(void)
{
    struct timespec now = {0};
    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail: the clock is always there */
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void sleep_between(uint64_t begun, unsigned least, uint64_t until)
{
    const uint64_t now = clock_ms();
    const uint64_t left = now < until ? until - now : 0;
    /* A tenth of the time waited so far: many callers that look without rest keep the server that they wait for from a
     * processor. */
    uint64_t length = (now - begun) / 10;
    if (length > left)
        length = left;
    if (length < least)
        length = least;
    const struct timespec pause = {.tv_sec = (time_t)(length / 1000), .tv_nsec = (long)(length % 1000) * 1000000};
    (void)nanosleep(&pause, NULL); /* a signal only makes the pause shorter */
}

enum io io_wait(int fd, short events, uint64_t until)
{
    for (;;) {
        const uint64_t now = clock_ms();
        const uint64_t left = now < until ? until - now : 0;
        struct pollfd one = {.fd = fd, .events = events};
        const int ready = poll(&one, 1, left > INT_MAX ? INT_MAX : (int)left);
        /* poll counts a descriptor that is not open as ready. */
        if (ready > 0)
            return (one.revents & POLLNVAL) != 0 ? IO_FAILED : IO_DONE;
        /* Who waits for more than poll can (24 days) waits again. */
        if (ready == 0 && left <= INT_MAX)
            return IO_LATE;
        if (ready < 0 && errno != EINTR && errno != EAGAIN)
            return IO_FAILED;
    }
}

/* One read of at most `size` bytes into `buffer`; `*taken` 0 means the end. */
static enum io read_some(int fd, void *buffer, size_t size, size_t *taken, uint64_t until)
{
    for (;;) {
        const enum io ready = io_wait(fd, POLLIN, until);
        if (ready != IO_DONE)
            return ready;
        const ssize_t got = read(fd, buffer, size);
        if (got >= 0) {
            *taken = (size_t)got;
            return IO_DONE;
        }
        if (errno != EINTR && errno != EAGAIN)
            return IO_FAILED;
    }
}

enum io io_read(int fd, void *buffer, size_t size, uint64_t until)
{
    unsigned char *to = buffer;
    while (size > 0) {
        size_t got = 0;
        const enum io result = read_some(fd, to, size, &got, until);
        if (result != IO_DONE)
            return result;
        if (got == 0)
            return IO_ENDED;
        to += got;
        size -= got;
    }
    return IO_DONE;
}

enum io io_read_all(int fd, void *buffer, size_t size, size_t *taken, uint64_t until)
{
    unsigned char *to = buffer;
    *taken = 0;
    for (;;) {
        /* Where the buffer is full one byte more tells whether that was the end. */
        unsigned char beyond;
        const bool full = *taken == size;
        size_t got = 0;
        const enum io result = read_some(fd, full ? &beyond : to + *taken, full ? 1 : size - *taken, &got, until);
        if (result != IO_DONE)
            return result;
        if (got == 0)
            return IO_DONE;
        if (full) {
            errno = EFBIG;
            return IO_FAILED;
        }
        *taken += got;
    }
}

/* Ends a write that waits, and does nothing else. */
static void interrupt(int number)
{
    (void)number;
}

static void set_ticks(suseconds_t microseconds)
{
    const struct timeval every = {.tv_usec = microseconds};
    const struct itimerval timer = {.it_interval = every, .it_value = every};
    (void)setitimer(ITIMER_REAL, &timer, NULL);
}

bool io_write(int fd, const void *data, size_t size, uint64_t until)
{
    const struct sigaction action = {.sa_handler = interrupt}; /* no SA_RESTART */
    const unsigned char *from = data;
    sigset_t ticks;
    (void)sigaction(SIGALRM, &action, NULL);
    (void)sigemptyset(&ticks);
    (void)sigaddset(&ticks, SIGALRM);
    (void)sigprocmask(SIG_UNBLOCK, &ticks, NULL); /* a caller that has blocked signals hands that on */
    /* Others may write to the same pipe, so that it had room is no promise; and one tick alone might come just before the
     * write that it should end. */
    set_ticks(TICK_US);
    while (size > 0) {
        const ssize_t put = write(fd, from, size);
        if (put >= 0) {
            from += put;
            size -= (size_t)put;
        } else if (errno == EAGAIN) { /* the caller's pipe is non-blocking, which its other end may have made it */
            if (io_wait(fd, POLLOUT, until) != IO_DONE)
                break;
        } else if (errno != EINTR) {
            break;
        }
        if (clock_ms() >= until)
            break;
    }
    set_ticks(0);
    return size == 0;
}

/* A file that reads as empty and takes no byte. Containers without /dev need one. */
static int open_nothing(void)
{
    int fd = open("/dev/null", O_RDWR);
    if (fd < 0) {
        fd = memfd_create("nothing", MFD_ALLOW_SEALING);
        if (fd >= 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_WRITE | F_SEAL_SEAL) != 0) {
            (void)close(fd);
            fd = -1;
        }
    }
    return fd;
}

bool io_standard_files(void)
{
    for (int fd = 0; fd <= 2; fd++) {
        if (fcntl(fd, F_GETFD) >= 0)
            continue;
        /* The lowest free number is handed out first, and every lower one is open by now. */
        const int opened = open_nothing();
        if (opened < 0)
            return false;
        if (opened != fd) {
            (void)close(opened);
            return false;
        }
    }
    return true;
}

bool io_detach_standard_files(void)
{
    const int nothing = open_nothing();
    if (nothing < 0)
        return false;
    for (int fd = 0; fd <= 2; fd++) {
        if (dup2(nothing, fd) != fd)
            return false;
    }
    if (nothing > 2)
        (void)close(nothing);
    return true;
}

void io_close_at_exec(int first)
{
    if (close_range((unsigned)first, ~0U, CLOSE_RANGE_CLOEXEC) == 0)
        return;
    /* Kernels before 5.11 lack the flag. */
    struct rlimit limit = {0};
    const int most = getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < 65536 ? (int)limit.rlim_cur : 65536;
    for (int fd = first; fd < most; fd++)
        (void)fcntl(fd, F_SETFD, FD_CLOEXEC); /* EBADF: not open */
}
