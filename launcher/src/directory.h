/* Directories that nobody else may read or write. */
#ifndef LAUNCHER_DIRECTORY_H
#define LAUNCHER_DIRECTORY_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

/* Opens `path`, which must be a directory (no symbolic link) of the effective user without any bit for group or
 * others. Where it is missing it is made, with its parents, in mode 0700. Returns a descriptor, or -1 with errno:
 * EPERM for a directory of another owner or a wider mode. */
int directory_open_private(const char *path);

/* Removes `name` in `directory` with all it holds; true where nothing of that name is left. */
bool directory_remove(int directory, const char *name);

/* Joins two parts with a slash; false where `size` bytes do not hold them. */
bool path_join(char *path, size_t size, const char *first, const char *second);

/* True where nobody but root and this user can exchange what `path`, which exists, names: each directory on the way, and each
 * symbolic link, belongs to one of the two, and no other user may write to it (the sticky bit will do, as /tmp has it).
 * Otherwise `unsafe` is the directory or link that is not so, with errno EPERM, or another error's errno and an empty text. */
bool directory_is_safe(const char *path, char unsafe[PATH_MAX]);

#endif
