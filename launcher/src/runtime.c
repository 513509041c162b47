#include "runtime.h"

#include "answers.h"
#include "directory.h"
#include "environment.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#if defined(__x86_64__)
#define LOADER "ld-linux-x86-64.so.2"
#elif defined(__aarch64__)
#define LOADER "ld-linux-aarch64.so.1"
#else
#error "no loader is known for this processor"
#endif

#define PROJECT "slsa-verifier-plugin"

enum { SHOWN_PATH = 120, MIB = 1 << 20 };

/* Writes the path of candidate `index`: false where that variable is not set. `*last` tells the end of the list, and
 * `*nested` that the directory above is of our making as well. */
static bool candidate_path(unsigned index, char path[PATH_MAX], bool *nested, bool *last)
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
    *nested = candidates[index].by_user;
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
    const char *lack = answer_lacking(error);
    if (lack != NULL)
        return lack;
    return error == EPERM ? "not a directory of this user with mode 0700" : strerror(error);
}

/* Says why the payload is not in `directory`, and for a full disk what would do. */
static void note_failure(struct runtime *runtime, const char *path, int directory, int error)
{
    char text[96];
    struct space space;
    /* Where there is room, a quota or the inodes are used up, or the lack has passed: numbers of MiB would mislead. */
    if (error != ENOSPC || slot_has_space(directory, runtime->payload, &space)) {
        note(runtime, path, error == EPERM ? strerror(error) : problem_of(error));
        return;
    }
    (void)snprintf(text, sizeof text, "%s (%u MiB free, %u MiB needed)", strerror(error), (unsigned)(space.free >> 20),
                   (unsigned)((space.needed + MIB - 1) >> 20));
    note(runtime, path, text);
}

/* Opens a directory of our making; -1 after saying why it does not do. */
static int open_level(struct runtime *runtime, const char *path)
{
    const int directory = directory_open_private(path);
    if (directory < 0)
        note(runtime, path, problem_of(errno));
    return directory;
}

/* True where nobody else can exchange a directory of our making, by exchanging what it is in; else says what is open to others. */
static bool is_safe(struct runtime *runtime, const char *path)
{
    char unsafe[PATH_MAX];
    if (directory_is_safe(path, unsafe))
        return true;
    if (unsafe[0] == '\0')
        note(runtime, path, strerror(errno));
    else
        note(runtime, unsafe, "another user owns it or may write to it; take that away, or set the sticky bit (chmod +t)");
    return false;
}

/* Opens a candidate. Where the directory above it is of our making it is looked at first: another user who made it,
 * in a directory that all may write to, could exchange what is in it between any look and the execution. */
static int open_candidate(struct runtime *runtime, const char *path, bool nested)
{
    if (nested) {
        char above[PATH_MAX];
        (void)snprintf(above, sizeof above, "%.*s", (int)(strrchr(path, '/') - path), path);
        const int fd = open_level(runtime, above);
        if (fd < 0)
            return -1;
        (void)close(fd);
    }
    return open_level(runtime, path);
}

static enum runtime_state try_candidate(struct runtime *runtime, const char *path, bool nested, bool thorough, uint64_t until)
{
    struct statvfs status;
    char name[SLOT_NAME];
    const int directory = open_candidate(runtime, path, nested);
    if (directory < 0)
        return RUNTIME_NOWHERE;
    if (!is_safe(runtime, path)) {
        (void)close(directory);
        return RUNTIME_NOWHERE;
    }
    slot_name(runtime->payload, name);
    enum runtime_state state = RUNTIME_NOWHERE;
    /* Asked before the unpacking, which would take half a second for nothing. */
    if (fstatvfs(directory, &status) == 0 && (status.f_flag & ST_NOEXEC) != 0) {
        note(runtime, path, "mounted without execution");
    } else if (!path_join(runtime->directory, sizeof runtime->directory, path, name)) {
        note(runtime, path, strerror(errno));
    } else {
        state = slot_find(directory, runtime->payload, thorough, until);
        if (state == RUNTIME_NOWHERE)
            note_failure(runtime, path, directory, errno);
    }
    (void)close(directory);
    return state;
}

enum runtime_state runtime_find(struct runtime *runtime, bool thorough, uint64_t until)
{
    /* Goes on where the last search ended: what was rejected is not tried again. */
    for (bool last = false; !last; runtime->candidate++) {
        char path[PATH_MAX];
        bool nested = false;
        if (!candidate_path(runtime->candidate, path, &nested, &last))
            continue;
        const enum runtime_state state = try_candidate(runtime, path, nested, thorough, until);
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
    /* clang-format off */
    char *const fixed[] = {loader,      "--inhibit-cache", "--library-path", libraries,             "--argv0", name,
                           interpreter, "-I",              "-m",             "slsa_verifier_plugin"};
    /* clang-format on */
    /* -I: neither the current directory nor variables of Python's may put modules in front of the carried ones. */
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

void runtime_describe(const struct runtime *runtime, enum runtime_state state, char *text, size_t size)
{
    switch (state) {
    case RUNTIME_DAMAGED:
        (void)snprintf(text, size,
                       "the plugin's file is damaged, since its payload does not have the digest %.16s... that it "
                       "was built with; install the file again.",
                       runtime->payload->digest);
        break;
    case RUNTIME_LATE:
        (void)snprintf(text, size, "the plugin's runtime is still being unpacked; try again.");
        break;
    default:
        (void)snprintf(text, size,
                       "the plugin has no directory to unpack its runtime into (%s); set SLSA_VERIFIER_CACHE to "
                       "one that can be written to and executed from.",
                       runtime->report);
    }
}
