#include "place.h"

#include "directory.h"
#include "environment.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static const char NOT_PRIVATE[] = "a directory is not private to this user (owner, mode 0700, no symbolic link)";

static bool is_private(const char *path)
{
    struct stat status;
    return lstat(path, &status) == 0 && S_ISDIR(status.st_mode) && status.st_uid == geteuid() &&
           (status.st_mode & (S_IRWXG | S_IRWXO)) == 0;
}

/* The value of a variable that holds an absolute path, or NULL. */
static const char *absolute(const char *name)
{
    const char *value = environment_value(name);
    return value != NULL && value[0] == '/' ? value : NULL;
}

/* Writes DIR; returns its length as snprintf does. */
static int parent_of(char path[PATH_MAX])
{
    const char *chosen = environment_value("SLSA_VERIFIER_DIR");
    if (chosen != NULL)
        return snprintf(path, PATH_MAX, "%s", chosen);
    const char *session = absolute("XDG_RUNTIME_DIR");
    /* XDG Base Directory Specification: owned by the user, mode 0700. A container may have its host's variable. */
    if (session != NULL && is_private(session))
        return snprintf(path, PATH_MAX, "%s/slsa-verifier-plugin", session);
    const char *temporary = absolute("TMPDIR");
    return snprintf(path, PATH_MAX, "%s/slsa-verifier-plugin-%u", temporary != NULL ? temporary : "/tmp", (unsigned)geteuid());
}

const char *place_find(const char *build, struct place *place)
{
    char parent[PATH_MAX];
    char key[KEY_SIZE + 1];
    const int length = parent_of(parent);
    if (length < 0 || length >= PATH_MAX)
        return "the directory's path is too long";
    /* Client and server have different current directories. */
    if (parent[0] != '/')
        return "SLSA_VERIFIER_DIR is a relative path";
    if (!environment_key(build, environ, key))
        return "there is no memory";
    if (!path_join(place->directory, PATH_MAX, parent, key) || !path_join(place->lock, PATH_MAX, place->directory, "lock") ||
        !path_join(place->claim, PATH_MAX, place->directory, "server") ||
        !path_join(place->socket, PATH_MAX, place->directory, "socket") ||
        strlen(place->socket) >= sizeof((struct sockaddr_un *)NULL)->sun_path)
        return "the socket's path has more than 107 bytes";

    const char *const levels[] = {parent, place->directory};
    for (unsigned i = 0; i < 2; i++) {
        const int fd = directory_open_private(levels[i]);
        if (fd < 0)
            /* ELOOP, ENOTDIR: a link or a file in its place. EPERM: it is not this user's alone (directory_open_private). */
            return errno == EPERM || errno == ELOOP || errno == ENOTDIR ? NOT_PRIVATE : "a directory cannot be made";
        (void)close(fd);
    }
    return NULL;
}

bool place_elsewhere(unsigned index, char path[PATH_MAX])
{
    static const char *const folders[] = {"/tmp", "/var/tmp", "/dev/shm"};
    if (index >= sizeof folders / sizeof *folders)
        return false;
    (void)snprintf(path, PATH_MAX, "%s/slsa-verifier-plugin-%u", folders[index], (unsigned)geteuid());
    return true;
}

bool place_move(void)
{
    static unsigned next;
    char path[PATH_MAX];
    return place_elsewhere(next++, path) && setenv("SLSA_VERIFIER_DIR", path, 1) == 0;
}
