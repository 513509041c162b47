#include "answers.h"

#include "io.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    LINE = 4096,
    CONTRACT_ENVIRONMENT = 4,
    CONTRACT_IO = 5,
    WARN_MS = 50,   /* for a reader of standard error that is behind; nobody may be there to read it */
    PRINT_MS = 200, /* for one of standard output, however late the call is */
};

static uint64_t print_until;

void answer_until(uint64_t until)
{
    print_until = until;
}

bool answer_print(const void *data, size_t size)
{
    const uint64_t least = clock_ms() + PRINT_MS;
    return io_write(STDOUT_FILENO, data, size, print_until > least ? print_until : least);
}

void answer_warn(const void *data, size_t size)
{
    (void)io_write(STDERR_FILENO, data, size, clock_ms() + WARN_MS);
}

void answer_problem(const char *problem, const char *consequence)
{
    char line[512];
    const int length = problem != NULL ? snprintf(line, sizeof line, "warn: %s%s\n", problem, consequence) : 0;
    if (length > 0 && length < (int)sizeof line)
        answer_warn(line, (size_t)length);
}

static int print_line(const char *line, int length, int status)
{
    /* A line that did not fit would be no JSON; the caller gets no verdict then, which is a denial too. */
    if (length < 0 || length >= LINE || !answer_print(line, (size_t)length))
        return 1;
    return status;
}

int answer_late(void)
{
    /* Fixed by docs/resident-protocol.md. */
    static const char line[] =
        "{\"isSuccess\":false,\"message\":\"SLSA attestation verified FAILED: the verifier gave no answer in time; try "
        "again, and look at 'slsa-verifier-plugin resident status'. [DEADLINE_EXCEEDED]\",\"extensions\":{\"reason\":"
        "\"DEADLINE_EXCEEDED\",\"transient\":true}}\n";
    return print_line(line, (int)sizeof line - 1, 0);
}

static int denial(const char *sentence, const char *reason, bool transient)
{
    char line[LINE];
    char text[LINE / 2];
    answer_plain(text, sizeof text, sentence);
    const int length = snprintf(line, sizeof line,
                                "{\"isSuccess\":false,\"message\":\"SLSA attestation verified FAILED: %s [%s]\","
                                "\"extensions\":{\"reason\":\"%s\",\"transient\":%s}}\n",
                                text, reason, reason, transient ? "true" : "false");
    return print_line(line, length, 0);
}

int answer_denial(const char *sentence, bool transient)
{
    return denial(sentence, "INTERNAL_ERROR", transient);
}

int answer_no_turn(void)
{
    return denial("no resident verifier answered, and no turn for a process of its own came in time (one a processor, two at "
                  "most); try again, and look at 'slsa-verifier-plugin resident status'.",
                  "DEADLINE_EXCEEDED", true);
}

const char *answer_lacking(int error)
{
    switch (error) {
    case EMFILE:
    case ENFILE:
        return "no more files may be opened (limit of descriptors, nofile)";
    case EAGAIN:
        return "no more processes may be started (limit of processes, pids)";
    case ENOMEM:
        return "there is no more memory";
    default:
        return NULL;
    }
}

int answer_lack(int error)
{
    char text[256];
    const char *lack = answer_lacking(error);
    (void)snprintf(text, sizeof text, "the verification could not be started: %s; try again, or raise the limit.",
                   lack != NULL ? lack : strerror(error));
    return denial(text, "INTERNAL_ERROR", true);
}

static int contract_error(int code, const char *problem, const char *names, const char *details)
{
    char line[LINE];
    const int length =
        snprintf(line, sizeof line, "{\"code\":%d,\"msg\":\"%s%s\",\"details\":\"%s\"}\n", code, problem, names, details);
    return print_line(line, length, 1);
}

int answer_input_error(const char *problem)
{
    return contract_error(CONTRACT_IO, problem, "", "Ratify writes one JSON object of about a kilobyte, and closes it");
}

int answer_missing(const char *names)
{
    return contract_error(CONTRACT_ENVIRONMENT, "missing environment variables: ", names,
                          "Ratify sets them when it runs this plugin; people use 'slsa-verifier-plugin verify IMAGE'");
}

void answer_plain(char *to, size_t size, const char *text)
{
    size_t i = 0;
    if (size == 0)
        return;
    /* Neither quotes nor backslashes are left, so the text may stand in a JSON string as it is. */
    for (; text[i] != '\0' && i + 1 < size; i++) {
        const char c = text[i];
        if (c < ' ' || c > '~')
            to[i] = '?'; /* also every byte above ASCII: a cut could leave half a character */
        else if (c == '{' || c == '"')
            to[i] = c == '{' ? '(' : '\'';
        else if (c == '}' || c == '\\')
            to[i] = c == '}' ? ')' : '/';
        else
            to[i] = c;
    }
    to[i] = '\0';
}
