/* slsa: the one-file plugin. Called by Ratify it passes the request to the resident verifier and prints its answer;
 * called with arguments it is the command line, or containerd's image verifier, and Python does the rest. It parses no JSON and
 * decides nothing: every answer of its own denies. */
#include "answers.h"
#include "environment.h"
#include "io.h"
#include "own.h"
#include "resident.h"
#include "runtime.h"
#include "turn.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    INPUT_LIMIT = 4 * 1024 * 1024, /* bytes of standard input */
    INPUT_MS = 2000,               /* for standard input to end */
    TURN_MS = 600,                 /* of the call's time, in which no process of its own begins */
    PAUSE_MS = 5,                  /* at least, between two looks for a turn */
    COMMAND_LINE_MS = 60 * 1000,   /* for a person who waits for the first unpacking */
    CONTAINERD_MS = 8000,          /* for containerd, which ends a verifier after 10 s, without a reason for anybody */
    MOST_ARGUMENTS = 64,           /* containerd gives six */
};

/* Milliseconds that whoever runs this process had used of the call's time, at most `most`. */
static uint64_t used_before(uint64_t most)
{
    const char *value = environment_value("SLSA_VERIFIER_ELAPSED_MS");
    /* What is no number counts as not set; ten digits always fit. */
    if (value == NULL || strlen(value) > 10 || strspn(value, "0123456789") != strlen(value))
        return 0;
    const uint64_t used = strtoull(value, NULL, 10);
    return used < most ? used : most;
}

/* Runs `python -m slsa_verifier_plugin ARGUMENTS...` in the place of this process; returns where that cannot be, with the reason. */
static void become_python(struct runtime *runtime, char *const *arguments, uint64_t until, char *text, size_t size)
{
    static char name[32 + PATH_MAX] = "SLSA_VERIFIER_EXECUTABLE=";
    static char path[PATH_MAX];
    static char *const changes[] = {"SLSA_VERIFIER_ELAPSED_MS", name, NULL};
    enum runtime_state state;
    if (payload_own_path(path)) /* for the command that installs this file */
        (void)snprintf(name, sizeof name, "SLSA_VERIFIER_EXECUTABLE=%s", path);
    /* A directory from which nothing can be executed is noted, and the next one is tried. */
    while ((state = runtime_find(runtime, true, until)) == RUNTIME_READY)
        runtime_reject(runtime, runtime_run(runtime, arguments, changes));
    runtime_describe(runtime, state, text, size);
}

static int command_line(struct runtime *runtime, char *const *arguments)
{
    char text[1400];
    become_python(runtime, arguments, clock_ms() + COMMAND_LINE_MS, text, sizeof text);
    (void)fprintf(stderr, "slsa-verifier-plugin: %s\n", text);
    return 1;
}

/* True for a call of containerd's: any of its arguments, anywhere (slsa_verifier_plugin/entry.py has the same list). */
static bool called_by_containerd(int argc, char *const *argv)
{
    static const char *const names[] = {"-name", "-digest", "-stdin-media-type"};
    for (int i = 1; i < argc; i++)
        for (size_t j = 0; j < sizeof names / sizeof *names; j++)
            if (strcmp(argv[i], names[j]) == 0)
                return true;
    return false;
}

/* containerd shows standard output as the reason; any status but 0 blocks the image. */
static int block(const char *reason)
{
    char line[2048];
    const int length = snprintf(line, sizeof line, "SLSA attestation verified FAILED: %s\n", reason);
    if (length > 0 && length < (int)sizeof line)
        (void)answer_print(line, (size_t)length);
    return 1;
}

/* Python reads the arguments strictly, and learns from the executed path which policies decide. */
static int image_verifier(struct runtime *runtime, int argc, char **argv, uint64_t started)
{
    static char *arguments[MOST_ARGUMENTS + 3] = {"image-verifier"};
    char text[1400];
    if (argc - 1 > MOST_ARGUMENTS)
        return block("more arguments than containerd gives.");
    for (int i = 0; i < argc; i++)
        arguments[i + 1] = argv[i];
    become_python(runtime, arguments, started + CONTAINERD_MS, text, sizeof text);
    return block(text);
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

static int refuse_without_turn(const struct call *call)
{
    answer_problem(call->problem, "");
    return answer_no_turn();
}

/* Waits for a turn, and has the call verified by a process of its own. */
static int verify_alone(struct runtime *runtime, struct call *call, const struct place *place, int turn)
{
    const uint64_t begun = clock_ms();
    /* The first look is taken however late it is: the process itself says best what time was left. */
    while (turn == -1 && (turn = turn_take(place, runtime->payload->fd)) == -1) {
        if (clock_ms() + TURN_MS >= call->end)
            return refuse_without_turn(call);
        sleep_between(begun, PAUSE_MS, call->end);
    }
    return own_process(runtime, call); /* the turn ends with this process */
}

static int refuse_without_resident(const struct call *call)
{
    answer_problem(call->problem, "");
    return answer_denial("no resident verifier answers, and SLSA_VERIFIER_RESIDENT=require forbids to verify without; "
                         "look at 'slsa-verifier-plugin resident status'.",
                         true);
}

/* Asks a resident verifier at this process's own place, or where that cannot be used at the next one that can. OUTCOME_ELSEWHERE:
 * there is none. */
static enum outcome ask_somewhere(struct runtime *runtime, struct call *call, struct place *place, bool turns, int *turn,
                                  struct answer *answer)
{
    const char *unusable = NULL;
    for (;;) {
        enum outcome outcome = OUTCOME_ELSEWHERE;
        call->problem = place_find(runtime->payload->digest, place);
        if (call->problem == NULL)
            outcome = resident_verify(place, call, runtime, turns, turn, answer);
        if (unusable == NULL && outcome == OUTCOME_ELSEWHERE)
            unusable = call->problem;
        else if (outcome == OUTCOME_ANSWERED)
            answer_problem(unusable, "; a resident verifier in another folder is used");
        if (outcome != OUTCOME_ELSEWHERE || !place_move()) {
            /* The first reason is the one that people can mend. */
            call->problem = unusable != NULL ? unusable : call->problem;
            return outcome;
        }
    }
}

static int ask_or_verify(struct runtime *runtime, struct call *call)
{
    static struct place place;
    struct answer answer = {0};
    const char *mode = environment_value("SLSA_VERIFIER_RESIDENT");
    const bool is_off = mode != NULL && strcmp(mode, "off") == 0;
    const bool is_required = mode != NULL && strcmp(mode, "require") == 0;
    int turn = -1;
    /* Turns bound the memory of such processes in any case. */
    if (is_off)
        return verify_alone(runtime, call, place_find(runtime->payload->digest, &place) == NULL ? &place : NULL, turn);
    const enum outcome outcome = ask_somewhere(runtime, call, &place, !is_required, &turn, &answer);
    switch (outcome) {
    case OUTCOME_ANSWERED:
        return print_answer(&answer);
    case OUTCOME_LATE:
        return answer_late();
    case OUTCOME_NOBODY:
        /* The call's time is over, and no turn was to be had. */
        if (turn == -1 && !is_required)
            return refuse_without_turn(call);
        break;
    default:
        break;
    }
    if (is_required)
        return refuse_without_resident(call);
    return verify_alone(runtime, call, outcome != OUTCOME_ELSEWHERE ? &place : NULL, turn);
}

static int plugin(struct runtime *runtime, uint64_t started)
{
    char missing[128];
    missing_variables(missing, sizeof missing);
    if (missing[0] != '\0') /* nothing need be read or started to say that */
        return answer_missing(missing);
    struct call call = {
        .variables = {getenv("RATIFY_VERIFIER_COMMAND"), getenv("RATIFY_VERIFIER_SUBJECT"), getenv("RATIFY_VERIFIER_VERSION")},
        .started = started - used_before(started),
    };
    call.end = call.started + CALL_MS;
    answer_until(call.end);
    unsigned char *const input = mmap(NULL, INPUT_LIMIT, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (input == MAP_FAILED)
        return answer_lack(ENOMEM);
    /* Step 2 of docs/resident-protocol.md, "The client". */
    const enum io read = io_read_all(STDIN_FILENO, input, INPUT_LIMIT, &call.input.size, started + INPUT_MS);
    call.input.data = input;
    if (read == IO_LATE)
        return answer_input_error("standard input did not end within 2 s");
    if (read != IO_DONE)
        return answer_input_error(errno == EFBIG ? "standard input has more than 4194304 bytes"
                                                 : "standard input cannot be read");
    return ask_or_verify(runtime, &call);
}

int main(int argc, char **argv)
{
    const uint64_t started = clock_ms();
    const bool by_containerd = called_by_containerd(argc, argv);
    /* Set is enough, even to nothing: for an empty variable Ratify's contract has an error. */
    const bool called_by_ratify = argc <= 1 && getenv("RATIFY_VERIFIER_COMMAND") != NULL;
    static struct payload payload;
    static struct runtime runtime;
    /* A write beyond a limit of file sizes fails then, and is dealt with like any that does; and a caller that ignores the
     * end of its children must not hide it from this process. */
    (void)signal(SIGXFSZ, SIG_IGN);
    (void)signal(SIGCHLD, SIG_DFL);
    /* Nor must a standard error that nobody reads any more end it before the verdict is out. */
    (void)signal(SIGPIPE, SIG_IGN);
    /* Where it is the command line, people's umask is theirs. A caller's might take from this user what is made here. */
    if (by_containerd || called_by_ratify)
        (void)umask(077);
    /* A file that is opened later would become standard output otherwise. */
    if (!io_standard_files())
        return 1;
    if (!payload_open(&payload)) {
        static const char damaged[] = "the plugin's file is damaged, since it ends without a runtime; install the file again.";
        const int error = errno;
        const char *const lack = answer_lacking(error);
        /* Each caller looks elsewhere: Ratify for a line of JSON, containerd at standard output, a person at standard error. */
        if (called_by_ratify)
            return lack != NULL ? answer_lack(error) : answer_denial(damaged, false);
        if (by_containerd)
            return block(lack != NULL ? lack : damaged);
        (void)fprintf(stderr, "slsa-verifier-plugin: %s\n", lack != NULL ? lack : damaged);
        return 1;
    }
    runtime.payload = &payload;
    if (by_containerd)
        return image_verifier(&runtime, argc, argv, started);
    return called_by_ratify ? plugin(&runtime, started) : command_line(&runtime, argc > 0 ? argv + 1 : argv);
}
