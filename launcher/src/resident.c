#include "resident.h"

#include "answers.h"
#include "io.h"
#include "lock.h"
#include "program.h"
#include "turn.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    START_MS = 2000,    /* for a server that was started to listen, after which other ways are tried as well */
    RESERVED_MS = 1200, /* of the call's time, from which on they are tried in any case */
    LEAST_MS = 100,     /* for a resident verifier, however late it is */
    PAUSE_MS = 2,       /* at least, between looks at a socket that is not there yet */
    TRIES = 3,          /* connections that are closed before ACCEPTED, and servers that are killed while they start */
    CUTS = 2,           /* of calls that were accepted: the call may be what ends servers */
};

/* What the lock file says after a holder whose server ended by itself without listening; else the number of the last holder. */
static const char FAILED[] = "failed";

/* What a call knows while it looks for a resident verifier. */
struct search {
    const struct place *place;
    struct call *call;
    struct runtime *runtime;
    bool turns;
    uint64_t due;        /* when other ways are tried as well */
    uint64_t reserved;   /* when they are in any case */
    int lock;            /* -1: not held */
    pid_t server;        /* that it has started; 0: none */
    bool has_waited;     /* another caller held the lock before */
    unsigned closed;     /* connections, before ACCEPTED */
    unsigned cut;        /* connections, after it */
    unsigned killed;     /* servers that it started */
    struct watch watch;  /* of the process that listened last */
    struct watch holder; /* of the caller that holds the lock */
};

static uint64_t earlier(uint64_t one, uint64_t other)
{
    return one < other ? one : other;
}

static uint64_t later(uint64_t one, uint64_t other)
{
    return one > other ? one : other;
}

/* By errno: what this process lacks, it lacks at any place. */
static enum outcome unusable_place(struct call *call, const char *problem)
{
    call->problem = problem;
    return answer_lacking(errno) == NULL ? OUTCOME_ELSEWHERE : OUTCOME_UNUSABLE;
}

static bool peer_of(int connection, struct ucred *peer)
{
    socklen_t size = sizeof *peer;
    return getsockopt(connection, SOL_SOCKET, SO_PEERCRED, peer, &size) == 0 && peer->uid == geteuid();
}

/* Connects to a server of this user. OUTCOME_ANSWERED stands for a connection in `*connection`. */
static enum outcome connect_to(const char *path, struct call *call, int *connection, struct watch *watch)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct ucred peer = {0};
    struct stat status;
    const uint64_t begun = clock_ms();
    const uint64_t until = earlier(begun + SILENCE_MS, call->end);
    memcpy(address.sun_path, path, strlen(path) + 1); /* place_find has seen to its length */
    if (lstat(path, &status) != 0)
        return errno == ENOENT ? OUTCOME_NOBODY : unusable_place(call, "the resident verifier's socket cannot be looked at");
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
    if (failed == 0 && peer_of(fd, &peer)) {
        *connection = fd;
        watch_process(watch, peer.pid);
        return OUTCOME_ANSWERED;
    }
    (void)close(fd);
    errno = failed == 0 ? EPERM : error;
    if (failed == 0)
        return unusable_place(call, "another user listens on the resident verifier's socket");
    if (error == ECONNREFUSED || error == ENOENT)
        return OUTCOME_NOBODY;
    if (error != EAGAIN)
        return unusable_place(call, "the socket cannot be connected to");
    call->problem = "the resident verifier does not answer";
    return OUTCOME_SILENT;
}

static void give_up_lock(struct search *search)
{
    if (search->lock >= 0)
        (void)close(search->lock);
    search->lock = -1;
}

/* Takes the place's lock if it is free. */
static bool take_lock(struct search *search)
{
    search->lock = lock_take(AT_FDCWD, search->place->lock);
    return search->lock >= 0;
}

/* Asks once. The lock, where it is held, is given up as soon as a server listens: it may be gone soon after. */
static enum outcome ask(struct search *search, struct answer *answer)
{
    struct call *const call = search->call;
    struct watch *const watch = &search->watch;
    int connection = -1;
    enum outcome outcome = connect_to(search->place->socket, call, &connection, watch);
    if (outcome != OUTCOME_ANSWERED)
        return outcome;
    give_up_lock(search);
    search->server = 0;
    const uint64_t until = earlier(clock_ms() + SILENCE_MS, call->end);
    outcome = exchange(connection, call, watch, search->turns ? until : call->end, answer);
    (void)close(connection);
    if (outcome == OUTCOME_HUNG) {
        /* Who does not get the lock leaves it to the one who has. */
        if (!take_lock(search) || watch_end_hung(watch, search->place))
            outcome = OUTCOME_LOST;
        give_up_lock(search);
    }
    return outcome;
}

static pid_t start_server(struct search *search)
{
    static char *const arguments[] = {"resident", "serve", "--detached", NULL};
    /* glibc gives every thread an arena of its own otherwise, and none of them shrinks. */
    static char *const changes[] = {"MALLOC_ARENA_MAX=2", NULL};
    const struct program program = {.arguments = arguments, .changes = changes, .input = -1, .is_resident = true};
    enum runtime_state state = RUNTIME_READY;
    return program_start(search->runtime, &program, &state, search->call->end);
}

/* Has the lock file say a word, as far as limits of file sizes and disks let it: else those who wait only try in vain. */
static void lock_write(int lock, const char *word)
{
    const size_t size = strlen(word);
    if (ftruncate(lock, 0) != 0 || pwrite(lock, word, size, 0) != (ssize_t)size)
        return;
}

static bool lock_says_failed(int lock)
{
    char word[sizeof FAILED] = "";
    return pread(lock, word, sizeof word - 1, 0) > 0 && strcmp(word, FAILED) == 0;
}

/* Looks at the server that this call has started. OUTCOME_NOBODY: it is on its way, or, where `search->server` is 0 then, it
 * was killed and another may be started. */
static enum outcome look_at_server(struct search *search)
{
    const enum ended ended = program_look(search->server);
    if (ended == STILL_RUNS)
        return OUTCOME_NOBODY;
    search->server = 0;
    /* One that was killed, by a limit of memory or a person, says nothing about the next one. */
    if (ended == WAS_KILLED && ++search->killed < TRIES)
        return OUTCOME_NOBODY;
    /* One that ended by itself does: those who wait need not try the same again. */
    lock_write(search->lock, FAILED);
    return unusable(search->call, "no resident verifier could be started in time");
}

/* Removes the lock file of a holder that starts nothing, so that the next look makes another. The holder is not ended:
 * it may go on, and finds then that somebody listens. */
static void pass_over_stopped(struct search *search)
{
    watch_process(&search->holder, watch_named_in(AT_FDCWD, search->place->lock));
    /* Two that remove it at the same time may start two servers: one of them finds the place claimed, and ends. */
    if (watch_looks_hung(&search->holder, HUNG_MS))
        (void)unlink(search->place->lock);
}

/* Takes the lock, and with it the part of the one who starts a server, if no other caller has it. OUTCOME_NOBODY: this caller
 * has it, or, where `search->lock` is -1 then, another one does. Any other outcome: somebody listens by now. */
static enum outcome become_starter(struct search *search, struct answer *answer)
{
    char number[16];
    if (!take_lock(search)) {
        search->has_waited = true;
        if (errno != EWOULDBLOCK && errno != EINTR)
            return unusable_place(search->call, "the resident verifier's lock cannot be opened");
        pass_over_stopped(search);
        return OUTCOME_NOBODY;
    }
    /* Where the previous holder was killed, the file has its number, and this one starts another. */
    if (search->has_waited && lock_says_failed(search->lock))
        return unusable(search->call, "no resident verifier could be started in time");
    (void)snprintf(number, sizeof number, "%d", (int)getpid());
    lock_write(search->lock, number);
    /* The previous holder's server may have come to listen since the last look. */
    return ask(search, answer);
}

/* Where nobody listens: starts a server, unless another caller is at it or this call's own is on its way. OUTCOME_NOBODY: go on
 * looking for one that listens. */
static enum outcome start_or_watch(struct search *search, struct answer *answer)
{
    enum outcome outcome = OUTCOME_NOBODY;
    if (search->server > 0)
        outcome = look_at_server(search);
    if (outcome != OUTCOME_NOBODY || search->server > 0)
        return outcome;
    if (search->lock < 0)
        outcome = become_starter(search, answer);
    if (outcome != OUTCOME_NOBODY || search->lock < 0)
        return outcome;
    search->server = start_server(search);
    return search->server > 0 ? OUTCOME_NOBODY : unusable(search->call, "no resident verifier could be started");
}

/* Gives the server that follows a lost one some time before other ways are tried. */
static void wait_for_next(struct search *search)
{
    search->due = earlier(later(search->due, clock_ms() + SILENCE_MS), search->reserved);
}

/* Says whether an attempt is the last one, and when other ways are tried as well. */
static bool is_final(struct search *search, enum outcome *outcome, uint64_t begun)
{
    switch (*outcome) {
    case OUTCOME_ANSWERED:
    case OUTCOME_LATE:
    case OUTCOME_UNUSABLE:
    case OUTCOME_ELSEWHERE:
        return true;
    case OUTCOME_CUT:
        /* A call that ends two servers (a fault of ours in C code, a limit of memory) must not end a third one. */
        wait_for_next(search);
        if (++search->cut < CUTS)
            return false;
        *outcome = OUTCOME_UNUSABLE;
        return true;
    case OUTCOME_CLOSED:
        /* A killed process may close its connections before its listening socket, so the first ones tell little. */
        if (++search->closed < TRIES)
            wait_for_next(search);
        else
            search->due = 0;
        return false;
    case OUTCOME_LOST:
        wait_for_next(search);
        return false;
    case OUTCOME_BUSY:
    case OUTCOME_SILENT:
    case OUTCOME_HUNG:
        search->due = earlier(search->due, begun + SILENCE_MS);
        return false;
    default:
        return false;
    }
}

enum outcome resident_verify(const struct place *place, struct call *call, struct runtime *runtime, bool turns, int *turn,
                             struct answer *answer)
{
    struct search search = {
        .place = place, .call = call, .runtime = runtime, .turns = turns, .lock = -1, .holder.gone_is_still = true};
    uint64_t begun = clock_ms();
    const uint64_t end = later(call->end, begun + LEAST_MS);
    search.reserved = later(call->end - RESERVED_MS, begun + LEAST_MS);
    search.due = earlier(begun + START_MS, search.reserved);
    for (bool is_unpacked = false;;) {
        enum outcome outcome = ask(&search, answer);
        if (outcome == OUTCOME_NOBODY && !is_unpacked) {
            /* Waited for before the lock is taken: its time is not the server's. */
            is_unpacked = runtime_find(runtime, false, search.reserved) == RUNTIME_READY;
            if (!is_unpacked)
                return unusable(call, "no resident verifier could be started");
            begun = clock_ms();
            search.due = earlier(begun + START_MS, search.reserved);
        }
        if (outcome == OUTCOME_NOBODY)
            outcome = start_or_watch(&search, answer);
        if (is_final(&search, &outcome, begun)) {
            give_up_lock(&search);
            return outcome;
        }
        const uint64_t now = clock_ms();
        if (outcome == OUTCOME_NOBODY && now >= search.due)
            call->problem = "no resident verifier could be started in time";
        /* Who goes on alone keeps the lock while its server is on its way: there need not be one more. */
        if ((turns && now >= search.due && (*turn = turn_take(place, runtime->payload->fd)) != -1) || now >= end)
            return OUTCOME_NOBODY;
        sleep_between(begun, PAUSE_MS, end);
    }
}
