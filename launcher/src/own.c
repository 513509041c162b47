#include "own.h"

#include "answers.h"
#include "io.h"
#include "program.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

int print_answer(const struct answer *answer)
{
    /* In this order: docs/resident-protocol.md, "The client", step 4. */
    answer_warn(answer->errors.data, answer->errors.size);
    /* Half a verdict is none. */
    return answer_print(answer->output.data, answer->output.size) ? answer->status : 1;
}

/* Starts it at the other end of `connection`; 0, or the exit status of the denial that was printed. */
static pid_t start(struct runtime *runtime, const struct call *call, int connections[2], int *status)
{
    char began[32];
    char *const arguments[] = {"own-process", began, NULL};
    char *const changes[] = {"SLSA_VERIFIER_ELAPSED_MS", "SLSA_VERIFIER_EXECUTABLE", NULL};
    const struct program program = {.arguments = arguments, .changes = changes, .input = connections[1], .is_bound = true};
    enum runtime_state state = RUNTIME_READY;
    char text[1400];
    (void)snprintf(began, sizeof began, "%llu", (unsigned long long)call->started);
    const uint64_t now = clock_ms();
    /* A call that is late already has one look at whether the runtime is there. */
    const pid_t process = program_start(runtime, &program, &state, now < call->end ? call->end : now + LOOK_MS);
    const int error = errno;
    (void)close(connections[1]);
    if (process > 0)
        return process;
    /* The runtime is there, so the system gave no process; else the runtime itself is missing. */
    if (state == RUNTIME_READY) {
        *status = answer_lack(error);
    } else {
        runtime_describe(runtime, state, text, sizeof text);
        *status = answer_denial(text, state != RUNTIME_DAMAGED);
    }
    return -1;
}

int own_process(struct runtime *runtime, struct call *call)
{
    int connections[2];
    int status = 0;
    struct answer answer = {0};
    answer_problem(call->problem, "; this call was verified in a process of its own");
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, connections) != 0)
        return answer_lack(errno);
    const pid_t process = start(runtime, call, connections, &status);
    if (process > 0) {
        const uint64_t until = clock_ms() < call->end ? call->end + GRACE_MS : clock_ms() + GRACE_MS;
        switch (exchange(connections[0], call, NULL, until, &answer)) {
        case OUTCOME_ANSWERED:
            program_end(process); /* whatever it answered: nothing of it may stay */
            status = print_answer(&answer);
            break;
        case OUTCOME_SILENT:
        case OUTCOME_LATE:
            program_end(process);
            status = answer_late();
            break;
        default:
            program_end(process);
            status = answer_denial("the verifying process ended without an answer; try again, give it more memory, or report it.",
                                   true);
        }
    }
    (void)close(connections[0]);
    return status;
}
