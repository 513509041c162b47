/* Directories that nobody else may read or write. */
#ifndef LAUNCHER_DIRECTORY_H
#define LAUNCHER_DIRECTORY_H

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

#endif
