#include "environment.h"

#include "sha256.h"

#include <stdlib.h>
#include <string.h>

/* clang-format off */
/* The list of slsa_verifier_plugin/environment.py; tests/unit/test_environment.py compares the two. */
static const char *const RELEVANT_NAMES[] = {
    "HOME", "PATH", "TMPDIR", "USER", "LOGNAME", "KUBECONFIG",
    "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS",
    "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY",
    "http_proxy", "https_proxy", "all_proxy", "no_proxy",
    "REGISTRY_AUTH_FILE", "GNUPGHOME", "GPG_TTY", "DBUS_SESSION_BUS_ADDRESS", "DISPLAY",
    "WAYLAND_DISPLAY", "XAUTHORITY", "GITHUB_TOKEN", "GH_TOKEN", "BOTO_CONFIG", "NO_GCE_CHECK",
    "GODEBUG",
};

static const char *const RELEVANT_PREFIXES[] = {
    "AWS_", "ECR_", "AZURE_", "ACR_", "IDENTITY_", "MSI_", "IMDS_",
    "GOOGLE_", "CLOUDSDK_", "GCE_", "GCR_", "ALIBABA_CLOUD_", "OCI_", "IBMCLOUD_", "VAULT_",
    "DOCKER_", "PASSWORD_STORE_", "WSL", "KUBERNETES_", "SLSA_VERIFIER_", "RATIFY_",
    "PYTHON", "OPENSSL_",
};

/* These differ from call to call, or say nothing about a verification. */
static const char *const IRRELEVANT_NAMES[] = {
    "RATIFY_VERIFIER_COMMAND", "RATIFY_VERIFIER_SUBJECT", "RATIFY_VERIFIER_VERSION",
    "SLSA_VERIFIER_BUILD",     "SLSA_VERIFIER_RESIDENT",  "SLSA_VERIFIER_ELAPSED_MS", "SLSA_VERIFIER_EXECUTABLE",
};
/* clang-format on */

/* Names of further relevant variables, separated by commas. */
static const char PASS_VARIABLE[] = "SLSA_VERIFIER_PASS_ENV";

/* Libraries named by these would be loaded into the carried interpreter beside another libc. */
static const char *const LOADER_NAMES[] = {"LD_PRELOAD", "LD_AUDIT", "LD_LIBRARY_PATH", "LD_DEBUG_OUTPUT"};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static size_t name_length(const char *entry)
{
    return (size_t)(strchrnul(entry, '=') - entry);
}

static bool is_named(const char *entry, const char *name)
{
    const size_t length = strlen(name);
    return strncmp(entry, name, length) == 0 && (entry[length] == '=' || entry[length] == '\0');
}

static bool is_one_of(const char *entry, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (is_named(entry, names[i]))
            return true;
    }
    return false;
}

/* True where the name of `entry` is one of those in `list`, which are separated by commas. */
static bool is_listed(const char *entry, const char *list)
{
    const size_t length = name_length(entry);
    /* An entry without a name would be equal to an empty item of the list. */
    while (length > 0 && list != NULL) {
        const size_t item = strcspn(list, ",");
        if (item == length && memcmp(entry, list, length) == 0)
            return true;
        list = list[item] == ',' ? list + item + 1 : NULL;
    }
    return false;
}

bool environment_is_relevant(const char *entry, const char *further)
{
    if (strchr(entry, '=') == NULL || is_one_of(entry, IRRELEVANT_NAMES, COUNT(IRRELEVANT_NAMES)))
        return false;
    for (size_t i = 0; i < COUNT(RELEVANT_PREFIXES); i++) {
        if (strncmp(entry, RELEVANT_PREFIXES[i], strlen(RELEVANT_PREFIXES[i])) == 0)
            return true;
    }
    return is_one_of(entry, RELEVANT_NAMES, COUNT(RELEVANT_NAMES)) || is_listed(entry, further);
}

/* The names in PASS_VARIABLE, or NULL. */
static const char *further_in(char *const *environment)
{
    for (size_t i = 0; environment[i] != NULL; i++) {
        if (is_named(environment[i], PASS_VARIABLE) && strchr(environment[i], '=') != NULL)
            return environment[i] + sizeof PASS_VARIABLE;
    }
    return NULL;
}

void environment_keep_relevant(char **environment)
{
    const char *further = further_in(environment);
    size_t used = 0;
    for (size_t i = 0; environment[i] != NULL; i++) {
        if (environment_is_relevant(environment[i], further))
            environment[used++] = environment[i];
    }
    environment[used] = NULL;
}

/* By name; of two entries with the same one the earlier is first, which is the one that getenv and Python see. */
static int compare_names(const void *one, const void *other)
{
    char *const *const first = *(char *const *const *)one;
    char *const *const second = *(char *const *const *)other;
    const size_t lengths[] = {name_length(*first), name_length(*second)};
    const int order = memcmp(*first, *second, lengths[0] < lengths[1] ? lengths[0] : lengths[1]);
    if (order != 0)
        return order;
    if (lengths[0] != lengths[1])
        return lengths[0] < lengths[1] ? -1 : 1;
    return first < second ? -1 : first > second;
}

static bool have_same_name(const char *one, const char *other)
{
    const size_t length = name_length(one);
    return name_length(other) == length && memcmp(one, other, length) == 0;
}

static int compare(const void *one, const void *other)
{
    return strcmp(*(const char *const *)one, *(const char *const *)other);
}

bool environment_key(const char *build, char *const *environment, char key[KEY_SIZE + 1])
{
    size_t count = 0;
    while (environment[count] != NULL)
        count++;
    const char **chosen = malloc((count + 1) * sizeof *chosen);
    char *const **entries = malloc((count + 1) * sizeof *entries);
    if (chosen == NULL || entries == NULL) {
        free(chosen);
        free(entries);
        return false;
    }
    const char *further = further_in(environment);
    size_t relevant = 0;
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        if (environment_is_relevant(environment[i], further))
            entries[relevant++] = environment + i;
    }
    /* execve(2) takes whatever it is given, the same name twice too. Sorted, for there may be tens of thousands. */
    qsort(entries, relevant, sizeof *entries, compare_names);
    for (size_t i = 0; i < relevant; i++) {
        if (i == 0 || !have_same_name(*entries[i - 1], *entries[i]))
            chosen[used++] = *entries[i];
    }
    free(entries);
    /* The order of an environment means nothing; place.py sorts by bytes, too. */
    qsort(chosen, used, sizeof *chosen, compare);

    struct sha256 hash;
    unsigned char digest[SHA256_SIZE];
    sha256_begin(&hash);
    sha256_add(&hash, build, strlen(build) + 1);
    for (size_t i = 0; i < used; i++)
        sha256_add(&hash, chosen[i], strlen(chosen[i]) + 1);
    sha256_end(&hash, digest);
    hex_of(digest, KEY_SIZE / 2, key);
    free(chosen);
    return true;
}

const char *environment_value(const char *name)
{
    const char *value = getenv(name);
    return value != NULL && value[0] != '\0' ? value : NULL;
}

char **environment_with(char *const *environment, char *const *changes)
{
    size_t count = 0;
    size_t extra = 0;
    while (environment[count] != NULL)
        count++;
    while (changes[extra] != NULL)
        extra++;
    char **result = malloc((count + extra + 1) * sizeof *result);
    if (result == NULL)
        return NULL;
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        bool kept = !is_one_of(environment[i], LOADER_NAMES, COUNT(LOADER_NAMES));
        /* A variable that is changed is added below, once. */
        for (size_t j = 0; kept && j < extra; j++)
            kept = name_length(environment[i]) != name_length(changes[j]) ||
                   memcmp(environment[i], changes[j], name_length(changes[j])) != 0;
        if (kept)
            result[used++] = environment[i];
    }
    for (size_t j = 0; j < extra; j++) {
        /* An entry without "=" is no variable; a name alone in `changes` takes the variable away. */
        if (strchr(changes[j], '=') != NULL)
            result[used++] = changes[j];
    }
    result[used] = NULL;
    return result;
}
