/* What of the environment decides which resident verifier answers (docs/resident-protocol.md). */
#ifndef LAUNCHER_ENVIRONMENT_H
#define LAUNCHER_ENVIRONMENT_H

#include <stdbool.h>
#include <stddef.h>

enum { KEY_SIZE = 16 };

/* True where `entry` (NAME=VALUE) is a variable that a verification may depend on, or one of the names in `further`
 * (the value of SLSA_VERIFIER_PASS_ENV, or NULL). */
bool environment_is_relevant(const char *entry, const char *further);

/* Takes all other variables out of a list, in place: a resident verifier must see only what its KEY was made of. */
void environment_keep_relevant(char **environment);

/* Writes KEY for a build identity and an environment; false where there is no memory. */
bool environment_key(const char *build, char *const *environment, char key[KEY_SIZE + 1]);

/* Returns the value of a variable, or NULL where it is not set or empty. */
const char *environment_value(const char *name);

/* Returns a new list: `environment` without what would disturb the carried interpreter, and with `changes` (NULL at
 * its end): NAME=VALUE sets a variable, NAME takes it away. NULL where there is no memory. The entries are shared. */
char **environment_with(char *const *environment, char *const *changes);

#endif
