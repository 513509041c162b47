#include "directory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    MAX_DEPTH = 32, /* the payload's own paths are far less deep */
    MAX_LINKS = 40, /* symbolic links on the way to a directory, as the kernel has it */
};

bool path_join(char *path, size_t size, const char *first, const char *second)
{
    const int length = snprintf(path, size, "%s/%s", first, second);
    if (length < 0 || (size_t)length >= size) {
        errno = ENAMETOOLONG;
        return false;
    }
    return true;
}

/* Makes `path` and what is missing above it. What exists by then is left for the caller to check. */
static bool make_with_parents(const char *path)
{
    char part[PATH_MAX];
    const size_t length = strlen(path);
    if (length >= sizeof part) {
        errno = ENAMETOOLONG;
        return false;
    }
    for (size_t i = 1; i <= length; i++) {
        if (path[i] != '/' && path[i] != '\0')
            continue;
        memcpy(part, path, i);
        part[i] = '\0';
        if (mkdir(part, 0700) != 0 && errno != EEXIST)
            return false;
    }
    return true;
}

int directory_open_private(const char *path)
{
    const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    int fd = open(path, flags);
    /* Opened first and looked at by its descriptor: a look at the path could be at another directory. */
    if (fd < 0 && errno == ENOENT) {
        if (!make_with_parents(path))
            return -1;
        fd = open(path, flags);
    }
    if (fd < 0)
        return -1;
    struct stat status;
    int error = 0;
    if (fstat(fd, &status) != 0)
        error = errno;
    else if (status.st_uid != geteuid() || (status.st_mode & (S_IRWXG | S_IRWXO)) != 0)
        error = EPERM;
    if (error != 0) {
        (void)close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

/* True for a volume's own root, which belongs to root. Kubernetes makes a Pod's emptyDir open to all without the sticky
 * bit; the Pod's own processes are all that see it. `above` is the device of the directory above. */
static bool is_pods_volume(const char *path, const struct stat *status, uid_t root, dev_t above)
{
    struct statx more;
    if (status->st_uid != root)
        return false;
    return status->st_dev != above || (statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_TYPE, &more) == 0 &&
                                       (more.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0);
}

bool directory_is_safe(const char *path, char unsafe[PATH_MAX])
{
    char done[PATH_MAX] = "/"; /* without symbolic links */
    char rest[PATH_MAX];
    char target[PATH_MAX];
    struct stat status;
    unsigned links = 0;
    unsafe[0] = '\0';
    if (path[0] != '/' || strlen(path) >= sizeof rest) {
        errno = EINVAL;
        return false;
    }
    memcpy(rest, path, strlen(path) + 1);
    if (lstat(done, &status) != 0)
        return false;
    /* In a user namespace without a root of its own, what is root's belongs to nobody, and so does "/". */
    const uid_t root = status.st_uid;
    dev_t above = status.st_dev;
    for (const char *next = rest; *(next += strspn(next, "/")) != '\0';) {
        const size_t length = strcspn(next, "/");
        const size_t base = strcmp(done, "/") == 0 ? 0 : strlen(done);
        /* path_resolution(7), step by step, so that each directory on the way is looked at. */
        if (length == 1 && next[0] == '.') {
            next += length;
            continue;
        }
        if (length == 2 && memcmp(next, "..", 2) == 0) {
            /* What is above has been looked at on the way here. */
            char *const slash = strrchr(done, '/');
            slash[slash == done ? 1 : 0] = '\0';
            next += length;
            continue;
        }
        if (base + 1 + length >= sizeof done) {
            errno = ENAMETOOLONG;
            return false;
        }
        done[base] = '/';
        memcpy(done + base + 1, next, length);
        done[base + 1 + length] = '\0';
        next += length;
        if (lstat(done, &status) != 0)
            return false;
        /* Where the sticky bit is set (/tmp) others may write, and yet rename or remove nothing that is not theirs. */
        const bool is_owned = status.st_uid == root || status.st_uid == geteuid();
        const bool is_open = (status.st_mode & (S_IWGRP | S_IWOTH)) != 0 && (status.st_mode & S_ISVTX) == 0;
        if (!is_owned || (S_ISDIR(status.st_mode) && is_open && !is_pods_volume(done, &status, root, above))) {
            memcpy(unsafe, done, strlen(done) + 1);
            errno = EPERM;
            return false;
        }
        if (S_ISLNK(status.st_mode)) {
            const ssize_t size = readlink(done, target, sizeof target);
            if (size <= 0 || (size_t)size + strlen(next) >= sizeof target || ++links > MAX_LINKS) {
                errno = size < 0 ? errno : ELOOP;
                return false;
            }
            memcpy(target + size, next, strlen(next) + 1); /* `next` is empty or begins with a slash */
            memcpy(rest, target, strlen(target) + 1);
            /* An absolute target begins at the root again, a relative one in the link's own directory. */
            done[target[0] == '/' || base == 0 ? 1 : base] = '\0';
            next = rest;
        } else if (!S_ISDIR(status.st_mode)) {
            errno = ENOTDIR;
            return false;
        } else {
            above = status.st_dev;
        }
    }
    return true;
}

static bool remove_within(int directory, const char *name, unsigned depth)
{
    if (unlinkat(directory, name, 0) == 0 || errno == ENOENT)
        return true;
    /* Linux says EISDIR of a directory, POSIX EPERM. */
    if ((errno != EISDIR && errno != EPERM) || depth == 0)
        return false;
    const int fd = openat(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return false;
    DIR *const entries = fdopendir(fd);
    if (entries == NULL) {
        (void)close(fd);
        return false;
    }
    bool removed = true;
    const struct dirent *entry;
    while ((entry = readdir(entries)) != NULL) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            removed = remove_within(fd, entry->d_name, depth - 1) && removed;
    }
    (void)closedir(entries);
    return removed && unlinkat(directory, name, AT_REMOVEDIR) == 0;
}

bool directory_remove(int directory, const char *name)
{
    return remove_within(directory, name, MAX_DEPTH);
}
