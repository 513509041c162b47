#include "exchange.h"

#include "io.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    VARIABLES_SIZE = 512 * 1024,     /* three variables have 128 KiB at most each (Linux: MAX_ARG_STRLEN) */
    MOST_MS = 600 * 1000 + GRACE_MS, /* that ACCEPTED may promise: no call has longer */
};

uint32_t call_elapsed(const struct call *call)
{
    const uint64_t elapsed = clock_ms() - call->started;
    return elapsed < UINT32_MAX ? (uint32_t)elapsed : UINT32_MAX;
}

enum outcome unusable(struct call *call, const char *problem)
{
    call->problem = problem;
    return OUTCOME_UNUSABLE;
}

static enum io send_all(int fd, struct bytes part, uint64_t until)
{
    while (part.size > 0) {
        /* Without the flag a verifier that has ended would end this process, by SIGPIPE, and nobody would deny. */
        const ssize_t sent = send(fd, part.data, part.size, MSG_NOSIGNAL);
        if (sent >= 0) {
            part.data += sent;
            part.size -= (size_t)sent;
        } else if (errno == EAGAIN) {
            const enum io ready = io_wait(fd, POLLOUT, until);
            if (ready != IO_DONE)
                return ready;
        } else if (errno != EINTR) {
            return IO_ENDED;
        }
    }
    return IO_DONE;
}

/* Waits until the other side says something, with a look at its watch now and then. */
static enum io await(int fd, struct watch *watch, unsigned patience, uint64_t until)
{
    const unsigned pause = patience / 10 > LOOK_MS ? patience / 10 : LOOK_MS; /* many that wait long wake seldom */
    for (;;) {
        const uint64_t next = clock_ms() + pause;
        /* Also where nobody is watched: who holds the lock meanwhile is watched itself, and must be seen to live. */
        const enum io ready = io_wait(fd, POLLIN, next < until ? next : until);
        if (ready != IO_LATE || (watch != NULL && watch_looks_hung(watch, patience)) || clock_ms() >= until)
            return ready;
    }
}

static enum io read_frame(int fd, unsigned char body[MAX_REPLY], unsigned *kind, size_t *size, uint64_t until)
{
    unsigned char header[FRAME_HEADER];
    enum io result = io_read(fd, header, sizeof header, until);
    if (result == IO_DONE)
        result = frame_header(header, kind, size) ? io_read(fd, body, *size, until) : IO_FAILED;
    /* A server that ends with a request unread resets the connection: closed early as well. */
    return result == IO_FAILED && errno == ECONNRESET ? IO_ENDED : result;
}

static enum outcome no_frame(enum io result, enum outcome closed, const struct watch *watch, struct call *call)
{
    switch (result) {
    case IO_ENDED:
        call->problem = "the resident verifier ended before it had answered";
        return closed;
    case IO_LATE:
        /* An attempt that the end of the call's time cut short tells less than those before. */
        if (call->problem == NULL || clock_ms() < call->end)
            call->problem = "the resident verifier does not answer";
        return watch != NULL && watch->hung ? OUTCOME_HUNG : OUTCOME_SILENT;
    default:
        return unusable(call, "the resident verifier cannot be understood");
    }
}

enum outcome exchange(int fd, struct call *call, struct watch *watch, uint64_t accept_until, struct answer *answer)
{
    static unsigned char head[VARIABLES_SIZE];
    static unsigned char body[MAX_REPLY];
    const uint64_t sent = clock_ms();
    const size_t most = watch != NULL ? MAX_REQUEST : MAX_OWN_REQUEST; /* a process of its own is not watched: it is a child */
    const struct bytes first = {
        .data = head,
        .size = frame_verify(head, sizeof head, call_elapsed(call), call->variables, call->input.size, most),
    };
    unsigned kind = 0;
    size_t size = 0;
    if (first.size == 0) /* more variables than fit, or more standard input than a frame may have */
        return unusable(call, "the request is longer than the resident verifier takes");
    /* All that VERIFY needs is sent before anything is read: the verifier accepts only a whole request. */
    enum io result = send_all(fd, first, accept_until);
    if (result == IO_DONE)
        result = send_all(fd, call->input, accept_until);
    if (result == IO_DONE)
        result = await(fd, watch, HUNG_MS, accept_until);
    if (result == IO_DONE)
        result = read_frame(fd, body, &kind, &size, accept_until);
    if (result != IO_DONE)
        return no_frame(result, OUTCOME_CLOSED, watch, call);
    /* Step 5: the caller asks again. */
    if (kind == FRAME_BUSY) {
        call->problem = "the resident verifier has too many calls waiting";
        return OUTCOME_BUSY;
    }
    if (kind != FRAME_ACCEPTED || size != 4 || frame_number(body) > MOST_MS)
        return no_frame(IO_FAILED, OUTCOME_CUT, watch, call);

    /* Counted from the sending: whoever accepts late must not answer late. */
    const uint64_t until = sent + frame_number(body);
    result = await(fd, watch, HUNG_AT_WORK_MS, until);
    if (result == IO_DONE)
        result = read_frame(fd, body, &kind, &size, until);
    /* The promised time is over, and it is not seen to hang: its own word should have come GRACE_MS before. */
    if (result == IO_LATE && !(watch != NULL && watch->hung))
        return OUTCOME_LATE;
    if (result != IO_DONE)
        return no_frame(result, OUTCOME_CUT, watch, call);
    if (kind != FRAME_ANSWER || !frame_answer(body, size, answer))
        return no_frame(IO_FAILED, OUTCOME_CUT, watch, call);
    return OUTCOME_ANSWERED;
}
