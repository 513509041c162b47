#include "server.h"

#include "environment.h"
#include "io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static int run_server(const struct runtime *runtime)
{
    static char *const arguments[] = {"resident", "serve", "--detached", NULL};
    /* glibc gives every thread an arena of its own otherwise, and none of them shrinks. */
    static char *const changes[] = {"MALLOC_ARENA_MAX=2", NULL};
    environment_keep_relevant(environ); /* this process's own: it is a fork */
    return runtime_run(runtime, arguments, changes);
}

/* Returns the process number, or -1 with errno where it could not be executed. */
static pid_t start_once(const struct runtime *runtime)
{
    int ends[2];
    int error = 0;
    if (pipe2(ends, O_CLOEXEC) != 0)
        return -1;
    const pid_t child = fork();
    if (child == 0) {
        (void)setsid();
        (void)umask(077);
        io_close_at_exec(3);
        if (chdir("/") == 0 && io_detach_standard_files())
            error = run_server(runtime);
        else
            error = errno;
        _exit(io_write(ends[1], &error, sizeof error) ? 0 : 1);
    }
    if (child < 0)
        error = errno;
    (void)close(ends[1]);
    /* The pipe closes without a word at a successful exec. */
    if (child > 0 && io_read(ends[0], &error, sizeof error, UINT64_MAX) == IO_ENDED)
        error = 0;
    (void)close(ends[0]);
    if (error == 0)
        return child;
    if (child > 0)
        (void)waitpid(child, NULL, 0);
    errno = error;
    return -1;
}

pid_t server_start(struct runtime *runtime, uint64_t until)
{
    while (runtime_find(runtime, true, until) == RUNTIME_READY) {
        const pid_t server = start_once(runtime);
        if (server > 0)
            return server;
        if (errno != EACCES && errno != EPERM && errno != ENOENT && errno != ENOEXEC)
            return -1; /* no process can be made: another directory would not help */
        runtime_reject(runtime, errno);
    }
    return -1;
}

bool server_has_ended(pid_t server)
{
    const pid_t ended = waitpid(server, NULL, WNOHANG);
    /* ECHILD: this process's parent ignores SIGCHLD, so the kernel has reaped it already. */
    return ended == server || (ended < 0 && errno == ECHILD);
}
