#include "runtime.h"

#include "answers.h"
#include "directory.h"
#include "environment.h"
#include "io.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__x86_64__)
#define LOADER "ld-linux-x86-64.so.2"
#elif defined(__aarch64__)
#define LOADER "ld-linux-aarch64.so.1"
#else
#error "no loader is known for this processor"
#endif

#define PROJECT "slsa-verifier-plugin"

enum { POLL_MS = 10, SHOWN_PATH = 120, SPACE_MARGIN = 16 * 1024 * 1024 };

/* What one cache directory may hold of this payload. */
struct slot {
    int directory;
    char name[16 + SHA256_HEX];      /* the finished directory */
    char temporary[24 + SHA256_HEX]; /* the one that the holder of the lock fills */
    char lock[24 + SHA256_HEX];
};

/* Writes the path of candidate `index`: false where that variable is not set. `*last` tells the end of the list. */
static bool candidate_path(unsigned index, char path[PATH_MAX], bool *last)
{
    static const struct {
        const char *variable; /* NULL: `base` itself */
        const char *base;
        bool by_user; /* a shared directory: the user's number goes into the name */
    } candidates[] = {
        {"SLSA_VERIFIER_CACHE", "", false}, {"XDG_CACHE_HOME", "/" PROJECT, false}, {"HOME", "/.cache/" PROJECT, false},
        {"TMPDIR", "/" PROJECT, true},      {NULL, "/tmp/" PROJECT, true},          {NULL, "/var/tmp/" PROJECT, true},
        {NULL, "/dev/shm/" PROJECT, true},
    };
    const unsigned count = sizeof candidates / sizeof *candidates;
    *last = index + 1 >= count;
    if (index >= count)
        return false;
    const char *first = candidates[index].variable == NULL ? "" : environment_value(candidates[index].variable);
    if (first == NULL)
        return false;
    char user[32] = "";
    if (candidates[index].by_user)
        (void)snprintf(user, sizeof user, "-%u/runtime", (unsigned)geteuid());
    const int length = snprintf(path, PATH_MAX, "%s%s%s", first, candidates[index].base, user);
    /* A relative path would mean another directory to a process that starts elsewhere. */
    return length > 0 && length < PATH_MAX && path[0] == '/';
}

static void note(struct runtime *runtime, const char *path, const char *problem)
{
    char shown[SHOWN_PATH];
    answer_plain(shown, sizeof shown, path);
    const size_t used = strlen(runtime->report);
    (void)snprintf(runtime->report + used, sizeof runtime->report - used, "%s%s: %s", used > 0 ? "; " : "", shown, problem);
}

static const char *problem_of(int error)
{
    return error == EPERM ? "not a directory of this user with mode 0700" : strerror(error);
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
static bool begin_unpacking(const struct slot *slot, const struct payload *payload, int *reports)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return false;
    const pid_t child = fork();
    if (child == 0) {
        struct report report = {.result = UNPACK_FAILED};
        (void)signal(SIGPIPE, SIG_IGN);
        (void)setsid();
        (void)umask(077);
        if (chdir("/") == 0 && io_detach_standard_files())
            report.result = unpack_in(slot, payload);
        report.error = errno;
        /* A reader that is gone needs no report; the next caller sees the directory. */
        _exit(io_write(ends[1], &report, sizeof report) ? 0 : 1);
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

static bool has_space(const struct slot *slot, const struct payload *payload)
{
    struct statvfs status;
    if (fstatvfs(slot->directory, &status) != 0)
        return true; /* then writing will tell */
    return (uint64_t)status.f_bavail * status.f_frsize >= payload->unpacked + SPACE_MARGIN;
}

/* Called with the lock held, which it gives up. IO_ENDED: the child was killed. */
static enum io unpack_once(const struct slot *slot, const struct payload *payload, int lock, uint64_t until,
                           struct report *report)
{
    int reports = -1;
    if (!has_space(slot, payload)) {
        *report = (struct report){.result = UNPACK_FAILED, .error = ENOSPC};
        (void)close(lock);
        return IO_DONE;
    }
    if (!begin_unpacking(slot, payload, &reports)) {
        *report = (struct report){.result = UNPACK_FAILED, .error = errno};
        (void)close(lock);
        return IO_DONE;
    }
    (void)close(lock);
    const enum io result = io_read(reports, report, sizeof *report, until);
    (void)close(reports);
    return result;
}

/* Finds or makes the runtime in one slot; RUNTIME_NOWHERE with errno. */
static enum runtime_state find_in(const struct slot *slot, const struct payload *payload, bool thorough, uint64_t until)
{
    while (!is_finished(slot, payload, thorough)) {
        const int lock = openat(slot->directory, slot->lock, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (lock < 0)
            return RUNTIME_NOWHERE;
        if (flock(lock, LOCK_EX | LOCK_NB) != 0) {
            const int error = errno;
            (void)close(lock);
            errno = error;
            if (error != EWOULDBLOCK && error != EINTR)
                return RUNTIME_NOWHERE;
            if (clock_ms() >= until)
                return RUNTIME_LATE;
            sleep_ms(POLL_MS);
            continue;
        }
        if (is_finished(slot, payload, thorough)) { /* between the look and the lock */
            (void)close(lock);
            return RUNTIME_READY;
        }
        struct report report = {.result = UNPACK_FAILED};
        const enum io heard = unpack_once(slot, payload, lock, until, &report);
        if (heard == IO_LATE || (heard == IO_ENDED && clock_ms() >= until))
            return RUNTIME_LATE;
        if (heard == IO_FAILED || (heard == IO_DONE && report.result == UNPACK_FAILED)) {
            errno = heard == IO_FAILED ? EIO : report.error;
            return RUNTIME_NOWHERE;
        }
        if (heard == IO_DONE && report.result == UNPACK_DAMAGED)
            return RUNTIME_DAMAGED;
    }
    return RUNTIME_READY;
}

static enum runtime_state try_candidate(struct runtime *runtime, const char *path, bool thorough, uint64_t until)
{
    struct slot slot;
    struct statvfs status;
    slot.directory = directory_open_private(path);
    if (slot.directory < 0) {
        note(runtime, path, problem_of(errno));
        return RUNTIME_NOWHERE;
    }
    (void)snprintf(slot.name, sizeof slot.name, "runtime-%s", runtime->payload->digest);
    (void)snprintf(slot.temporary, sizeof slot.temporary, "%s.part", slot.name);
    (void)snprintf(slot.lock, sizeof slot.lock, "%s.lock", slot.name);
    enum runtime_state state = RUNTIME_NOWHERE;
    if (fstatvfs(slot.directory, &status) == 0 && (status.f_flag & ST_NOEXEC) != 0) {
        note(runtime, path, "mounted without execution");
    } else if (!path_join(runtime->directory, sizeof runtime->directory, path, slot.name)) {
        note(runtime, path, strerror(errno));
    } else {
        state = find_in(&slot, runtime->payload, thorough, until);
        if (state == RUNTIME_NOWHERE)
            note(runtime, path, strerror(errno));
    }
    (void)close(slot.directory);
    return state;
}

enum runtime_state runtime_find(struct runtime *runtime, bool thorough, uint64_t until)
{
    for (bool last = false; !last; runtime->candidate++) {
        char path[PATH_MAX];
        if (!candidate_path(runtime->candidate, path, &last))
            continue;
        const enum runtime_state state = try_candidate(runtime, path, thorough, until);
        if (state != RUNTIME_NOWHERE)
            return state;
    }
    return RUNTIME_NOWHERE;
}

void runtime_reject(struct runtime *runtime, int error)
{
    note(runtime, runtime->directory, strerror(error));
    runtime->candidate++;
}

int runtime_run(const struct runtime *runtime, char *const *arguments, char *const *changes)
{
    char loader[PATH_MAX];
    char libraries[PATH_MAX];
    char interpreter[PATH_MAX];
    char name[PATH_MAX];
    char build[32 + SHA256_HEX];
    if (!path_join(loader, sizeof loader, runtime->directory, "lib/" LOADER) ||
        !path_join(libraries, sizeof libraries, runtime->directory, "lib") ||
        !path_join(interpreter, sizeof interpreter, runtime->directory, "libexec/python3") ||
        !path_join(name, sizeof name, runtime->directory, "bin/python3"))
        return errno;
    (void)snprintf(build, sizeof build, "SLSA_VERIFIER_BUILD=%s", runtime->payload->digest);

    /* The loader runs the interpreter under the name bin/python3, from which Python finds its library; that file
     * does the same for whoever runs sys.executable. The system's library cache names another libc's libraries. */
    char *const fixed[] = {loader,      "--inhibit-cache", "--library-path", libraries,             "--argv0", name,
                           interpreter, "-I",              "-m",             "slsa_verifier_plugin"};
    const size_t first = sizeof fixed / sizeof *fixed;
    size_t count = 0;
    size_t changed = 0;
    while (arguments[count] != NULL)
        count++;
    while (changes[changed] != NULL)
        changed++;
    char **const argv = calloc(first + count + 1, sizeof *argv);
    char **const all = calloc(changed + 2, sizeof *all);
    char **environment = NULL;
    int error = ENOMEM;
    if (argv != NULL && all != NULL) {
        memcpy(argv, fixed, sizeof fixed);
        memcpy(argv + first, arguments, count * sizeof *argv);
        memcpy(all, changes, changed * sizeof *all);
        all[changed] = build;
        environment = environment_with(environ, all);
    }
    if (environment != NULL) {
        (void)execve(loader, argv, environment);
        error = errno;
    }
    free(environment);
    free(all);
    free(argv);
    return error;
}
