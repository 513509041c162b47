/* bin/python3 of the unpacked runtime: starts the carried interpreter with the carried loader, so that whoever runs
 * sys.executable gets this runtime again and not the system's libraries, which a container may lack altogether. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#if defined(__aarch64__)
#define LOADER "ld-linux-aarch64.so.1"
#else
#define LOADER "ld-linux-x86-64.so.2"
#endif

int main(int argc, char **argv)
{
    char self[PATH_MAX];
    char loader[PATH_MAX + 32];
    char libraries[PATH_MAX + 32];
    char interpreter[PATH_MAX + 32];
    const ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    if (length > 0) {
        self[length] = '\0';
    } else {
        /* No /proc, as in some containers: the kernel's record of the path that was executed has to do. */
        const char *path = (const char *)getauxval(AT_EXECFN); // NOLINT: the kernel hands over an address
        if (path == NULL || realpath(path, self) == NULL)
            return 127;
    }
    char *const slash = strrchr(self, '/');
    const size_t root = slash == NULL ? 0 : (size_t)(slash - self);
    /* Loader and libraries lie beside bin: under another path there are none to be found. */
    if (root < 4 || strncmp(self + root - 4, "/bin", 4) != 0)
        return 127;
    const int prefix = (int)root - 4;
    (void)snprintf(loader, sizeof loader, "%.*s/lib/" LOADER, prefix, self);
    (void)snprintf(libraries, sizeof libraries, "%.*s/lib", prefix, self);
    (void)snprintf(interpreter, sizeof interpreter, "%.*s/libexec/python3", prefix, self);

    char *const fixed[] = {loader, "--inhibit-cache", "--library-path", libraries, "--argv0", self, interpreter};
    const size_t first = sizeof fixed / sizeof *fixed;
    const size_t count = argc > 1 ? (size_t)argc - 1 : 0;
    char **const all = calloc(first + count + 1, sizeof *all);
    if (all == NULL)
        return 127;
    memcpy(all, fixed, sizeof fixed);
    memcpy(all + first, argv + 1, count * sizeof *all);
    (void)execv(loader, all);
    perror("slsa-verifier-plugin: the carried interpreter cannot be started");
    free(all);
    return 127;
}
