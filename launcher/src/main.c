/* slsa: the one-file plugin. Called by Ratify it passes the request to the resident verifier and prints its answer;
 * called with arguments it is the command line. It parses no JSON and decides nothing: every answer of its own denies. */
#include "answers.h"
#include "environment.h"
#include "io.h"
#include "resident.h"
#include "runtime.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    INPUT_LIMIT = 4 * 1024 * 1024, /* bytes of standard input */
    INPUT_MS = 2000,             /* for standard input to end */
    RESIDENT_MS = 2800,          /* for a resident verifier to accept: a process of its own needs the rest of 4 s */
    PLUGIN_MS = 3500,            /* for the runtime to be there; Ratify's own limit is 5 s */
    LEAST_MS = 100,              /* for either, however late it is */
    COMMAND_LINE_MS = 60 * 1000, /* for a person who waits for the first unpacking */
};

static uint64_t later(uint64_t one, uint64_t other)
{
    return one > other ? one : other;
}

/* Milliseconds that whoever runs this process had used of the call's time, at most `most`. */
static uint64_t used_before(uint64_t most)
{
    const char *value = environment_value("SLSA_VERIFIER_ELAPSED_MS");
    if (value == NULL || strlen(value) > 10 || strspn(value, "0123456789") != strlen(value))
        return 0;
    const uint64_t used = strtoull(value, NULL, 10);
    return used < most ? used : most;
}

static void describe(const struct runtime *runtime, enum runtime_state state, char *text, size_t size)
{
    switch (state) {
    case RUNTIME_DAMAGED:
        (void)snprintf(text, size, "the plugin's file is damaged, since its payload does not have the digest %.16s... that it "
                       "was built with; install the file again.", runtime->payload->digest);
        break;
    case RUNTIME_LATE:
        (void)snprintf(text, size, "the plugin's runtime is still being unpacked; try again.");
        break;
    default:
        (void)snprintf(text, size, "the plugin has no directory to unpack its runtime into (%s); set SLSA_VERIFIER_CACHE to "
                       "one that can be written to and executed from.", runtime->report);
    }
}

static int command_line(struct runtime *runtime, char *const *arguments)
{
    static char name[32 + PATH_MAX] = "SLSA_VERIFIER_EXECUTABLE=";
    static char path[PATH_MAX];
    static char *const changes[] = {"SLSA_VERIFIER_ELAPSED_MS", name, NULL};
    char text[1400];
    enum runtime_state state;
    if (payload_own_path(path)) /* for the command that installs this file */
        (void)snprintf(name, sizeof name, "SLSA_VERIFIER_EXECUTABLE=%s", path);
    while ((state = runtime_find(runtime, true, clock_ms() + COMMAND_LINE_MS)) == RUNTIME_READY)
        runtime_reject(runtime, runtime_run(runtime, arguments, changes));
    describe(runtime, state, text, sizeof text);
    (void)fprintf(stderr, "slsa-verifier-plugin: %s\n", text);
    return 1;
}

/* Puts what was read back on standard input. In memory only: it may hold registry settings. */
static bool hand_on_input(struct bytes input)
{
    const int fd = memfd_create("request", MFD_CLOEXEC);
    if (fd < 0)
        return false;
    const bool done = io_write(fd, input.data, input.size) && lseek(fd, 0, SEEK_SET) == 0 && dup2(fd, STDIN_FILENO) == STDIN_FILENO;
    (void)close(fd);
    return done;
}

static int own_process(struct runtime *runtime, const struct call *call)
{
    static char *const no_arguments[] = {NULL};
    char text[1400];
    enum runtime_state state;
    if (!hand_on_input(call->input))
        return answer_denial("the plugin could not hand on its input; try again.", true);
    if (call->problem != NULL)
        (void)fprintf(stderr, "warn: %s; this call is verified in a process of its own\n", call->problem);
    while ((state = runtime_find(runtime, true, later(call->started + PLUGIN_MS, clock_ms() + LEAST_MS))) == RUNTIME_READY) {
        char elapsed[64];
        (void)snprintf(elapsed, sizeof elapsed, "SLSA_VERIFIER_ELAPSED_MS=%u", (unsigned)resident_elapsed(call));
        char *const changes[] = {elapsed, "SLSA_VERIFIER_RESIDENT=off", "SLSA_VERIFIER_EXECUTABLE", NULL};
        runtime_reject(runtime, runtime_run(runtime, no_arguments, changes));
    }
    describe(runtime, state, text, sizeof text);
    return answer_denial(text, state != RUNTIME_DAMAGED);
}

static int print_answer(const struct answer *answer)
{
    if (!io_write(STDERR_FILENO, answer->errors.data, answer->errors.size) ||
        !io_write(STDOUT_FILENO, answer->output.data, answer->output.size))
        return 1;
    return answer->status;
}

/* Lists those of Ratify's variables that are missing or empty; an empty text for none. */
static void missing_variables(char *text, size_t size)
{
    static const char *const names[] = {"RATIFY_VERIFIER_COMMAND", "RATIFY_VERIFIER_VERSION", "RATIFY_VERIFIER_SUBJECT"};
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0; i < sizeof names / sizeof *names && used < size; i++)
        if (environment_value(names[i]) == NULL)
            used += (size_t)snprintf(text + used, size - used, "%s%s", used > 0 ? ", " : "", names[i]);
}

static int plugin(struct runtime *runtime, uint64_t started)
{
    char missing[128];
    missing_variables(missing, sizeof missing);
    if (missing[0] != '\0') /* nothing need be read or started to say that */
        return answer_missing(missing);
    const char *mode = environment_value("SLSA_VERIFIER_RESIDENT");
    struct answer answer = {0};
    struct call call = {
        .variables = {getenv("RATIFY_VERIFIER_COMMAND"), getenv("RATIFY_VERIFIER_SUBJECT"), getenv("RATIFY_VERIFIER_VERSION")},
        .started = started - used_before(started),
    };
    unsigned char *const input = mmap(NULL, INPUT_LIMIT, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (input == MAP_FAILED)
        return answer_denial("the plugin has no memory for its input; try again.", true);
    const enum io read = io_read_all(STDIN_FILENO, input, INPUT_LIMIT, &call.input.size, started + INPUT_MS);
    call.input.data = input;
    call.end = later(call.started + RESIDENT_MS, clock_ms() + LEAST_MS);
    if (read == IO_LATE)
        return answer_input_error("standard input did not end within 2 s");
    if (read != IO_DONE)
        return answer_input_error(errno == EFBIG ? "standard input has more than 4194304 bytes" : "standard input cannot be read");

    if (mode == NULL || strcmp(mode, "off") != 0) {
        switch (resident_verify(&call, runtime, &answer)) {
        case OUTCOME_ANSWERED:
            return print_answer(&answer);
        case OUTCOME_LATE:
            return answer_late();
        default:
            break;
        }
        if (mode != NULL && strcmp(mode, "require") == 0) {
            (void)fprintf(stderr, "warn: %s\n", call.problem);
            return answer_denial("no resident verifier answers, and SLSA_VERIFIER_RESIDENT=require forbids to verify without; "
                                 "look at 'slsa-verifier-plugin resident status'.", true);
        }
    }
    return own_process(runtime, &call);
}

int main(int argc, char **argv)
{
    const uint64_t started = clock_ms();
    const bool called_by_ratify = argc <= 1 && getenv("RATIFY_VERIFIER_COMMAND") != NULL;
    static struct payload payload;
    static struct runtime runtime;
    if (!io_standard_files())
        return 1;
    if (!payload_open(&payload)) {
        static const char damaged[] = "the plugin's file is damaged, since it ends without a runtime; install the file again.";
        if (called_by_ratify)
            return answer_denial(damaged, false);
        (void)fprintf(stderr, "slsa-verifier-plugin: %s\n", damaged);
        return 1;
    }
    runtime.payload = &payload;
    return called_by_ratify ? plugin(&runtime, started) : command_line(&runtime, argc > 0 ? argv + 1 : argv);
}
