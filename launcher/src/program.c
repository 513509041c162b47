#include "program.h"

#include "environment.h"
#include "io.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { REAP_MS = 100 }; /* one in an uninterruptible call of the kernel may take longer to die */

/* In the child. Returns only where it could not be executed, with the error's number. */
static int become(const struct runtime *runtime, const struct program *program, pid_t parent)
{
    (void)setsid(); /* its own group, which the parent may kill as a whole */
    (void)umask(077);
    /* The parent may have ended between the fork and prctl, which would then say nothing. */
    if (program->is_bound && (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent))
        return ECHILD;
    /* At exec and not now: the pipe on which a failed exec is told stays open until then. */
    io_close_at_exec(3);
    if (chdir("/") != 0 || !io_detach_standard_files())
        return errno;
    if (program->input >= 0 && dup2(program->input, STDIN_FILENO) != STDIN_FILENO)
        return errno;
    if (program->is_resident)
        environment_keep_relevant(environ); /* this process's own: it is a fork */
    return runtime_run(runtime, program->arguments, program->changes);
}

/* Returns the process number, or -1 with errno where it could not be executed. */
static pid_t start_once(const struct runtime *runtime, const struct program *program, uint64_t until)
{
    int ends[2];
    int error = 0;
    const pid_t parent = getpid();
    if (pipe2(ends, O_CLOEXEC) != 0)
        return -1;
    const pid_t child = fork();
    if (child == 0) {
        error = become(runtime, program, parent);
        _exit(io_write(ends[1], &error, sizeof error, UINT64_MAX) ? 0 : 1);
    }
    if (child < 0)
        error = errno;
    (void)close(ends[1]);
    /* The pipe closes without a word at a successful exec; one that a slow disk holds up may yet succeed. */
    if (child > 0 && io_read(ends[0], &error, sizeof error, until) != IO_DONE)
        error = 0;
    (void)close(ends[0]);
    if (error == 0)
        return child;
    if (child > 0)
        /* It has said that it could not be executed, so it ends at once. */
        (void)waitpid(child, NULL, 0);
    errno = error;
    return -1;
}

pid_t program_start(struct runtime *runtime, const struct program *program, enum runtime_state *state, uint64_t until)
{
    while ((*state = runtime_find(runtime, true, until)) == RUNTIME_READY) {
        const pid_t process = start_once(runtime, program, until);
        if (process > 0)
            return process;
        if (errno != EACCES && errno != EPERM && errno != ENOENT && errno != ENOEXEC)
            return -1; /* no process can be made: another directory would not help */
        runtime_reject(runtime, errno);
    }
    return -1;
}

enum ended program_look(pid_t process)
{
    int status = 0;
    const pid_t ended = waitpid(process, &status, WNOHANG);
    if (ended == process)
        return WIFSIGNALED(status) ? WAS_KILLED : ENDED_BY_ITSELF;
    /* ECHILD: this process's parent ignores SIGCHLD, so the kernel has reaped it already. */
    return ended < 0 && errno == ECHILD ? ENDED_BY_ITSELF : STILL_RUNS;
}

void program_end(pid_t process)
{
    const uint64_t begun = clock_ms();
    (void)kill(-process, SIGKILL); /* fails where it has no session yet */
    (void)kill(process, SIGKILL);
    while (program_look(process) == STILL_RUNS && clock_ms() < begun + REAP_MS)
        sleep_between(begun, 1, begun + REAP_MS);
}
