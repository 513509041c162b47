#include "lock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* Gives what stands in the place of a file of ours a name of its own: it is somebody's, and nothing of it is lost. */
static void move_aside(int directory, const char *path)
{
    char aside[PATH_MAX];
    const int length = snprintf(aside, sizeof aside, "%s.%d", path, (int)getpid());
    /* Where another caller was faster, or it is a mount point, the opening tells. */
    if (length < (int)sizeof aside)
        (void)renameat(directory, path, directory, aside);
}

int lock_take(int directory, const char *path)
{
    const mode_t own = S_IRUSR | S_IWUSR;
    struct stat status;
    /* Looked at and not opened: a pipe or a device may keep whoever opens it, and any of them may have locks. */
    if (fstatat(directory, path, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
        (!S_ISREG(status.st_mode) || status.st_uid != geteuid() || (status.st_mode & own) != own))
        move_aside(directory, path);
    const int lock = openat(directory, path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, own);
    if (lock < 0 || flock(lock, LOCK_EX | LOCK_NB) == 0)
        return lock;
    const int error = errno;
    (void)close(lock);
    errno = error;
    return -1;
}
