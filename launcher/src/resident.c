#include "resident.h"

#include "io.h"
#include "place.h"
#include "server.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    ACCEPT_MS = 2000, /* for a connection and ACCEPTED to come, after which the server counts as not answering */
    START_MS = 2000,  /* for a server that was started to listen */
    PAUSE_MS = 2,     /* at least, between looks at a socket that is not there yet */
    VARIABLES_SIZE = 512 * 1024, /* three variables have 128 KiB at most each (Linux: MAX_ARG_STRLEN) */
    MOST_MS = 600 * 1000 + 250, /* that ACCEPTED may promise: no call has longer */
    CLOSED_TRIES = 3, /* a server that is being killed may close its connections before its socket */
    START_FAILED = 1, /* size of the lock file while its last holder's server ended without listening; else 0 */
};

uint32_t resident_elapsed(const struct call *call)
{
    const uint64_t elapsed = clock_ms() - call->started;
    return elapsed < UINT32_MAX ? (uint32_t)elapsed : UINT32_MAX;
}

static uint64_t earlier(uint64_t one, uint64_t other)
{
    return one < other ? one : other;
}

static enum outcome unusable(struct call *call, const char *problem)
{
    call->problem = problem;
    return OUTCOME_UNUSABLE;
}

static bool is_of_this_user(int connection)
{
    struct ucred peer = {0};
    socklen_t size = sizeof peer;
    return getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.uid == geteuid();
}

/* Connects to a server of this user. OUTCOME_ANSWERED stands for a connection in `*connection`. */
static enum outcome connect_to(const char *path, struct call *call, int *connection)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct stat status;
    const uint64_t begun = clock_ms();
    const uint64_t until = earlier(begun + ACCEPT_MS, call->end);
    memcpy(address.sun_path, path, strlen(path) + 1); /* place_find has seen to its length */
    if (lstat(path, &status) != 0)
        return errno == ENOENT ? OUTCOME_NOBODY : unusable(call, "the resident verifier's socket cannot be looked at");
    if (!S_ISSOCK(status.st_mode) || status.st_uid != geteuid())
        return OUTCOME_NOBODY; /* never followed where it is a symbolic link; a new server replaces it */
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return unusable(call, "no socket can be made");
    int failed;
    while ((failed = connect(fd, (const struct sockaddr *)&address, sizeof address)) != 0 &&
           (errno == EAGAIN || errno == EINTR) && clock_ms() < until)
        sleep_between(begun, PAUSE_MS, until); /* EAGAIN: as many wait to be accepted as the kernel keeps */
    const int error = errno;
    if (failed == 0 && is_of_this_user(fd)) {
        *connection = fd;
        return OUTCOME_ANSWERED;
    }
    (void)close(fd);
    if (failed == 0)
        return unusable(call, "another user listens on the resident verifier's socket");
    if (error == ECONNREFUSED || error == ENOENT)
        return OUTCOME_NOBODY;
    return unusable(call, error == EAGAIN ? "the resident verifier does not answer" : "the socket cannot be connected to");
}

static enum io send_all(int fd, struct bytes part, uint64_t until)
{
    while (part.size > 0) {
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

static enum io read_frame(int fd, unsigned char body[MAX_REPLY], unsigned *kind, size_t *size, uint64_t until)
{
    unsigned char header[FRAME_HEADER];
    enum io result = io_read(fd, header, sizeof header, until);
    if (result == IO_DONE)
        result = frame_header(header, kind, size) ? io_read(fd, body, *size, until) : IO_FAILED;
    /* A server that ends with a request unread resets the connection: closed early as well. */
    return result == IO_FAILED && errno == ECONNRESET ? IO_ENDED : result;
}

static enum outcome no_frame(enum io result, enum outcome closed, struct call *call)
{
    switch (result) {
    case IO_ENDED:
        call->problem = "the resident verifier ended before it had answered";
        return closed;
    case IO_LATE:
        return unusable(call, "the resident verifier does not answer");
    default:
        return unusable(call, "the resident verifier cannot be understood");
    }
}

/* Steps 3 to 5 of the client: one request over one connection. */
static enum outcome exchange(int fd, struct call *call, struct answer *answer)
{
    static unsigned char head[VARIABLES_SIZE];
    static unsigned char body[MAX_REPLY];
    const uint64_t accept_until = earlier(clock_ms() + ACCEPT_MS, call->end);
    const struct bytes first = {
        .data = head,
        .size = frame_verify(head, sizeof head, resident_elapsed(call), call->variables, call->input.size),
    };
    unsigned kind = 0;
    size_t size = 0;
    if (first.size == 0)
        return unusable(call, "the request is longer than the resident verifier takes");
    enum io result = send_all(fd, first, accept_until);
    if (result == IO_DONE)
        result = send_all(fd, call->input, accept_until);
    if (result == IO_DONE)
        result = read_frame(fd, body, &kind, &size, accept_until);
    if (result != IO_DONE)
        return no_frame(result, OUTCOME_CLOSED, call);
    if (kind == FRAME_BUSY)
        return unusable(call, "the resident verifier has too many calls waiting");
    if (kind != FRAME_ACCEPTED || size != 4 || frame_number(body) > MOST_MS)
        return no_frame(IO_FAILED, OUTCOME_CUT, call);

    result = read_frame(fd, body, &kind, &size, clock_ms() + frame_number(body));
    if (result == IO_LATE)
        return OUTCOME_LATE;
    if (result != IO_DONE)
        return no_frame(result, OUTCOME_CUT, call);
    if (kind != FRAME_ANSWER || !frame_answer(body, size, answer))
        return no_frame(IO_FAILED, OUTCOME_CUT, call);
    return OUTCOME_ANSWERED;
}

/* Asks once. The lock, where it is held, is given up as soon as a server listens: it may be gone soon after. */
static enum outcome ask(const struct place *place, struct call *call, int *lock, struct answer *answer)
{
    int connection = -1;
    enum outcome outcome = connect_to(place->socket, call, &connection);
    if (outcome != OUTCOME_ANSWERED)
        return outcome;
    if (*lock >= 0)
        (void)close(*lock);
    *lock = -1;
    outcome = exchange(connection, call, answer);
    (void)close(connection);
    return outcome;
}

/* What a caller knows while it waits for a server to listen. */
struct starter {
    int lock; /* -1: not held */
    pid_t server;
    bool waited; /* another caller held the lock before */
};

/* Takes the lock if it is free, and starts a server then. OUTCOME_NOBODY: go on waiting. */
static enum outcome start_or_watch(const struct place *place, struct call *call, struct runtime *runtime,
                                   struct starter *starter, struct answer *answer)
{
    struct stat status;
    if (starter->server > 0) {
        if (!server_has_ended(starter->server))
            return OUTCOME_NOBODY;
        /* Those who wait need not try the same again; where it cannot be said they only try in vain. */
        const bool said = starter->lock < 0 || ftruncate(starter->lock, START_FAILED) == 0;
        return unusable(call, said ? "no resident verifier could be started in time" : "no resident verifier could be started");
    }
    starter->lock = open(place->lock, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (starter->lock < 0)
        return unusable(call, "the resident verifier's lock cannot be opened");
    if (flock(starter->lock, LOCK_EX | LOCK_NB) != 0) {
        (void)close(starter->lock);
        starter->lock = -1;
        starter->waited = true;
        return OUTCOME_NOBODY;
    }
    if (starter->waited && fstat(starter->lock, &status) == 0 && status.st_size == START_FAILED)
        return unusable(call, "no resident verifier could be started in time");
    /* The previous holder's server may have come to listen since the last look. */
    const enum outcome outcome = ask(place, call, &starter->lock, answer);
    if (outcome != OUTCOME_NOBODY)
        return outcome;
    if (ftruncate(starter->lock, 0) == 0)
        starter->server = server_start(runtime, call->end);
    return starter->server > 0 ? OUTCOME_NOBODY : unusable(call, "no resident verifier could be started");
}

/* Step 6: one of many callers starts the server, and all wait for its socket. */
static enum outcome start_and_ask(const struct place *place, struct call *call, struct runtime *runtime, struct answer *answer)
{
    struct starter starter = {.lock = -1};
    enum outcome outcome = OUTCOME_NOBODY;
    unsigned closed = 0;
    /* Unpacking is waited for first: its time is not the server's. */
    if (runtime_find(runtime, false, call->end) != RUNTIME_READY)
        return unusable(call, "no resident verifier could be started");
    const uint64_t begun = clock_ms();
    const uint64_t until = earlier(begun + START_MS, call->end);
    for (;;) {
        outcome = start_or_watch(place, call, runtime, &starter, answer);
        if (outcome == OUTCOME_NOBODY && clock_ms() < until) {
            sleep_between(begun, PAUSE_MS, until);
            outcome = ask(place, call, &starter.lock, answer);
        }
        if (outcome == OUTCOME_CLOSED && ++closed >= CLOSED_TRIES)
            break;
        if (outcome != OUTCOME_NOBODY && outcome != OUTCOME_CLOSED)
            break;
        if (clock_ms() >= until) {
            if (outcome == OUTCOME_NOBODY)
                call->problem = "no resident verifier could be started in time";
            break;
        }
        if (outcome == OUTCOME_CLOSED)
            sleep_between(begun, PAUSE_MS, until);
    }
    if (starter.lock >= 0)
        (void)close(starter.lock);
    return outcome == OUTCOME_ANSWERED || outcome == OUTCOME_LATE ? outcome : OUTCOME_UNUSABLE;
}

enum outcome resident_verify(struct call *call, struct runtime *runtime, struct answer *answer)
{
    static struct place place;
    int none = -1;
    const char *problem = place_find(runtime->payload->digest, &place);
    if (problem != NULL)
        return unusable(call, problem);
    const enum outcome outcome = ask(&place, call, &none, answer);
    if (outcome == OUTCOME_NOBODY || outcome == OUTCOME_CLOSED || outcome == OUTCOME_CUT)
        return start_and_ask(&place, call, runtime, answer);
    return outcome;
}
