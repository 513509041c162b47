/* Unit tests of everything that has no process or socket to it. Built with sanitizers: a stray read ends the run.
 * With arguments: `digest` prints the SHA-256 of standard input, `key BUILD` the environment's KEY. */
#include "answers.h"
#include "directory.h"
#include "environment.h"
#include "frames.h"
#include "io.h"
#include "watch.h"
#include "payload.h"
#include "sha256.h"
#include "tar.h"
#include "turn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static unsigned failures;
static unsigned checks;

#define CHECK(condition)                                                                  \
    do {                                                                                  \
        checks++;                                                                         \
        if (!(condition)) {                                                               \
            failures++;                                                                   \
            (void)fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
        }                                                                                 \
    } while (0)

/* A small generator (xorshift) with a fixed seed: the same bytes in every run. */
static uint64_t random_state = 0x9e3779b97f4a7c15;

static uint32_t random_number(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(random_state >> 32);
}

static void digest_text(const void *data, size_t size, char text[SHA256_HEX + 1])
{
    struct sha256 hash;
    unsigned char digest[SHA256_SIZE];
    sha256_begin(&hash);
    sha256_add(&hash, data, size);
    sha256_end(&hash, digest);
    hex_of(digest, SHA256_SIZE, text);
}

static void test_sha256(void)
{
    /* NIST's examples for FIPS 180-4, and the empty message and a million letters of its CAVP set. */
    static const char *const vectors[][2] = {
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
        {"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
         "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"},
    };
    char text[SHA256_HEX + 1];
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        digest_text(vectors[i][0], strlen(vectors[i][0]), text);
        CHECK(strcmp(text, vectors[i][1]) == 0);
    }
    char *const million = malloc(1000000);
    if (million == NULL)
        abort();
    memset(million, 'a', 1000000);
    digest_text(million, 1000000, text);
    CHECK(strcmp(text, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0") == 0);
    /* However a message is cut into parts, its digest is the same. */
    for (unsigned round = 0; round < 200; round++) {
        struct sha256 hash;
        unsigned char digest[SHA256_SIZE];
        char parts[SHA256_HEX + 1];
        const size_t size = random_number() % 1000;
        sha256_begin(&hash);
        for (size_t done = 0; done < size;) {
            const size_t part = 1 + random_number() % (size - done);
            sha256_add(&hash, million + done, part);
            done += part;
        }
        sha256_end(&hash, digest);
        hex_of(digest, SHA256_SIZE, parts);
        digest_text(million, size, text);
        CHECK(strcmp(text, parts) == 0);
    }
    free(million);
}

static void test_frames(void)
{
    static const char *const variables[3] = {"VERIFY", NULL, ""};
    /* Written out by hand from docs/resident-protocol.md. */
    static const unsigned char expected[] = "SLSV\0\1\0\1\0\0\0\x20"
                                            "\0\0\1\2"
                                            "\0\0\0\6VERIFY"
                                            "\xff\xff\xff\xff"
                                            "\0\0\0\0"
                                            "\0\0\0\6";
    unsigned char buffer[64];
    const size_t size = frame_verify(buffer, sizeof buffer, 258, variables, 6, MAX_REQUEST);
    CHECK(size == sizeof expected - 1 && memcmp(buffer, expected, size) == 0);
    CHECK(frame_verify(buffer, size - 1, 258, variables, 6, MAX_REQUEST) == 0);
    CHECK(frame_verify(buffer, sizeof buffer, 0, variables, MAX_REQUEST - 26, MAX_REQUEST) == size);
    CHECK(frame_verify(buffer, sizeof buffer, 0, variables, MAX_REQUEST - 25, MAX_REQUEST) == 0);

    unsigned kind = 0;
    size_t length = 0;
    static const unsigned char good[] = "SLSV\0\1\0\2\0\4\0\0";
    CHECK(frame_header(good, &kind, &length) && kind == FRAME_ANSWER && length == MAX_REPLY);
    static const unsigned char *const bad[] = {
        (const unsigned char *)"SLSW\0\1\0\2\0\0\0\0",         (const unsigned char *)"SLSV\0\2\0\2\0\0\0\0",
        (const unsigned char *)"SLSV\1\1\0\2\0\0\0\0",         (const unsigned char *)"SLSV\0\1\0\2\0\4\0\1",
        (const unsigned char *)"SLSV\0\1\0\2\xff\xff\xff\xff",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(!frame_header(bad[i], &kind, &length));

    static const unsigned char body[] = "\1\0\0\0\3out\0\0\0\4errs";
    struct answer answer = {0};
    CHECK(frame_answer(body, sizeof body - 1, &answer) && answer.status == 1);
    CHECK(answer.output.size == 3 && memcmp(answer.output.data, "out", 3) == 0);
    CHECK(answer.errors.size == 4 && memcmp(answer.errors.data, "errs", 4) == 0);
    for (size_t cut = 0; cut < sizeof body - 1; cut++) {
        /* In memory of just that size, so that a sanitizer sees a read beyond it. */
        unsigned char *const part = malloc(cut + 1);
        if (part == NULL)
            abort();
        memcpy(part, body, cut);
        CHECK(!frame_answer(part, cut, &answer));
        free(part);
    }
    CHECK(!frame_answer(body, sizeof body, &answer)); /* a byte too many */
    CHECK(!frame_answer((const unsigned char *)"\0\xff\xff\xff\xff\0\0\0\0", 9, &answer));
}

/* Random damage to valid input must never be read as more than what is there. */
static void test_damaged_answers(void)
{
    for (unsigned round = 0; round < 20000; round++) {
        unsigned char body[24] = "\0\0\0\0\6output\0\0\0\6errors";
        struct answer answer = {0};
        for (unsigned i = 0; i < 1 + round % 4; i++)
            body[random_number() % sizeof body] = (unsigned char)random_number();
        if (frame_answer(body, 21, &answer)) {
            CHECK(answer.output.size + answer.errors.size == 12);
            CHECK(answer.output.data >= body && answer.errors.data + answer.errors.size == body + 21);
        }
    }
}

static void make_header(unsigned char block[TAR_BLOCK], const char *prefix, const char *name, char type, unsigned size)
{
    unsigned sum = 0;
    char text[16];
    memset(block, 0, TAR_BLOCK);
    memcpy(block, name, strlen(name) < 100 ? strlen(name) : 100);
    memcpy(block + 100, "0000755", 8);
    (void)snprintf(text, sizeof text, "%011o", size);
    memcpy(block + 124, text, 12);
    memset(block + 148, ' ', 8);
    block[156] = (unsigned char)type;
    memcpy(block + 257, "ustar\00000", 8);
    memcpy(block + 345, prefix, strlen(prefix) < 155 ? strlen(prefix) : 155);
    for (size_t i = 0; i < TAR_BLOCK; i++)
        sum += block[i];
    (void)snprintf(text, sizeof text, "%06o", sum);
    memcpy(block + 148, text, 7);
}

static void test_tar(void)
{
    unsigned char block[TAR_BLOCK];
    struct tar_entry entry;
    make_header(block, "", "lib/a.so", '0', 4711);
    CHECK(tar_entry(block, &entry) && entry.kind == TAR_FILE && entry.size == 4711 && entry.executable);
    CHECK(strcmp(entry.path, "lib/a.so") == 0);
    make_header(block, "lib/deep", "dir/", '5', 0);
    CHECK(tar_entry(block, &entry) && entry.kind == TAR_DIRECTORY && strcmp(entry.path, "lib/deep/dir") == 0);
    memset(block, 0, TAR_BLOCK);
    CHECK(tar_entry(block, &entry) && entry.kind == TAR_END);

    static const char *const paths[] = {"",    "/",     "/etc/x", "..",     "../x", "a/../b", "a/..",      ".",
                                        "./a", "a/./b", "a//b",   "a/b/..", "a\nb", "a\x7f",  "a/../../x", "a/"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        make_header(block, "", paths[i], '0', 1);
        CHECK(!tar_entry(block, &entry));
    }
    make_header(block, "..", "x", '0', 1);
    CHECK(!tar_entry(block, &entry));
    make_header(block, "/", "x", '0', 1);
    CHECK(!tar_entry(block, &entry));
    /* Links, devices, pipes, pax and GNU headers: nothing that a payload has. */
    for (const char *type = "12346789xgLKSV\0"; *type != '\0'; type++) {
        make_header(block, "", "x", *type, 0);
        CHECK(!tar_entry(block, &entry));
    }
    make_header(block, "", "x", '5', 1);
    CHECK(!tar_entry(block, &entry)); /* a directory with content */
    make_header(block, "", "x", '0', 1);
    block[124] = '9';
    CHECK(!tar_entry(block, &entry));
    make_header(block, "", "x", '0', 1);
    block[0] = 'y';
    CHECK(!tar_entry(block, &entry)); /* the checksum is another's */

    char longest[101];
    memset(longest, 'n', 100);
    longest[100] = '\0';
    char prefix[156];
    memset(prefix, 'p', 155);
    prefix[155] = '\0';
    make_header(block, prefix, longest, '0', 1);
    CHECK(tar_entry(block, &entry) && strlen(entry.path) == 256);

    for (unsigned round = 0; round < 20000; round++) {
        make_header(block, "lib", "a/b", '0', 100);
        block[random_number() % TAR_BLOCK] = (unsigned char)random_number();
        if (tar_entry(block, &entry))
            CHECK(strcmp(entry.path, "lib/a/b") == 0 && entry.size == 100);
    }
}

static void test_environment(void)
{
    /* clang-format off */
    static const char *const relevant[] = {
        "HOME=/h",    "http_proxy=x", "AWS_REGION=",  "SLSA_VERIFIER_DIR=/d", "RATIFY_X=1", "PATH=/bin",
        "GOOGLE_APPLICATION_CREDENTIALS=/g", "OWN=1", "THIRD=", "PYTHONPATH=/p"};
    static const char *const irrelevant[] = {
        "HOMES=/h",          "HOM=/h",    "Http_Proxy=x",           "RATIFY_VERIFIER_SUBJECT=a", "SLSA_VERIFIER_BUILD=b",
        "SLSA_VERIFIER_ELAPSED_MS=1", "XAWS_=1", "SLSA_VERIFIER_RESIDENT=off", "RATIFY_VERIFIER_COMMAND=VERIFY", "PATH",
        "LANG=C", "LD_PRELOAD=/x.so", "OW=1", "OWN2=1", "OWN", "=1", "SECOND=1"};
    /* clang-format on */
    static const char further[] = "OWN,,SECOND2,THIRD,SLSA_VERIFIER_BUILD";
    for (size_t i = 0; i < sizeof relevant / sizeof *relevant; i++)
        CHECK(environment_is_relevant(relevant[i], further));
    for (size_t i = 0; i < sizeof irrelevant / sizeof *irrelevant; i++)
        CHECK(!environment_is_relevant(irrelevant[i], further));

    char home[] = "HOME=/h";
    char other_home[] = "HOME=/other";
    char region[] = "AWS_REGION=r";
    char shell[] = "SHELL=/bin/sh";
    char *const one[] = {home, region, shell, NULL};
    char *const reordered[] = {shell, region, home, other_home, NULL}; /* the first of a name counts, as for getenv */
    char *const other[] = {other_home, region, NULL};
    char key[KEY_SIZE + 1];
    char again[KEY_SIZE + 1];
    CHECK(environment_key("build", one, key) && strlen(key) == KEY_SIZE);
    CHECK(environment_key("build", reordered, again) && strcmp(key, again) == 0);
    CHECK(environment_key("build", other, again) && strcmp(key, again) != 0);
    CHECK(environment_key("other", one, again) && strcmp(key, again) != 0);
    char text[SHA256_HEX + 1];
    digest_text("build\0AWS_REGION=r\0HOME=/h", 27, text);
    CHECK(strncmp(key, text, KEY_SIZE) == 0);

    /* The example of docs/resident-protocol.md. */
    static const char identity[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    char example[][48] = {"PATH=/bin",
                          "HOME=/home/v",
                          "AWS_REGION=eu-north-1",
                          "SLSA_VERIFIER_DIR=/run/v",
                          "LANG=C",
                          "RATIFY_VERIFIER_SUBJECT=a/b@sha256:0"};
    char *const all[] = {example[0], example[1], example[2], example[3], example[4], example[5], NULL};
    CHECK(environment_key(identity, all, key) && strcmp(key, "8635b3cb36b7d06b") == 0);

    char pass[] = "SLSA_VERIFIER_PASS_ENV=SHELL";
    char *kept[] = {shell, home, region, NULL};
    environment_keep_relevant(kept);
    CHECK(kept[0] == home && kept[1] == region && kept[2] == NULL);
    char *passing[] = {shell, home, pass, NULL};
    CHECK(environment_key("build", passing, key));
    environment_keep_relevant(passing);
    CHECK(passing[0] == shell && passing[1] == home && passing[2] == pass && passing[3] == NULL);
    CHECK(environment_key("build", passing, again) && strcmp(key, again) == 0);

    char preload[] = "LD_PRELOAD=/x.so";
    char taken[] = "AWS_REGION";
    char added[] = "HOME=/new";
    char *const before[] = {home, preload, region, shell, NULL};
    char *const changes[] = {taken, added, NULL};
    char **const after = environment_with(before, changes);
    CHECK(after != NULL && strcmp(after[0], "SHELL=/bin/sh") == 0 && strcmp(after[1], "HOME=/new") == 0 && after[2] == NULL);
    free(after);
}

static void test_answers(void)
{
    char text[16];
    answer_plain(text, sizeof text, "a{b}\"c\\d\n\x1b\xc3\xa4~");
    CHECK(strcmp(text, "a(b)'c/d????~") == 0);
    answer_plain(text, 4, "abcdef");
    CHECK(strcmp(text, "abc") == 0);
}

static void test_ancestors(const char *base)
{
    char open_one[256], inner[300], link[300], through[400], unsafe[PATH_MAX];
    CHECK(path_join(open_one, sizeof open_one, base, "open") && mkdir(open_one, 0700) == 0);
    CHECK(path_join(inner, sizeof inner, open_one, "inner") && mkdir(inner, 0700) == 0);
    for (unsigned mode = 0; mode < 0100; mode++) {
        const bool is_open = (mode & 022) != 0;
        CHECK(chmod(open_one, 0700 | mode) == 0);
        CHECK(directory_is_safe(inner, unsafe) != is_open);
        CHECK(!is_open || (errno == EPERM && strcmp(unsafe, open_one) == 0));
        CHECK(chmod(open_one, 01700 | mode) == 0 && directory_is_safe(inner, unsafe));
    }
    CHECK(path_join(link, sizeof link, base, "way") && symlink("open/../open", link) == 0);
    CHECK(path_join(through, sizeof through, link, "inner/./..//inner/"));
    CHECK(directory_is_safe(through, unsafe));
    CHECK(chmod(open_one, 0777) == 0 && !directory_is_safe(through, unsafe) && strcmp(unsafe, open_one) == 0);
    CHECK(chmod(open_one, 0700) == 0 && directory_is_safe(through, unsafe));
    if (geteuid() == 0) { /* only root can make what is another user's */
        CHECK(lchown(link, 12345, 12345) == 0 && !directory_is_safe(through, unsafe) && strcmp(unsafe, link) == 0);
        CHECK(lchown(link, 0, 0) == 0 && directory_is_safe(through, unsafe));
        CHECK(chown(open_one, 12345, 0) == 0 && !directory_is_safe(inner, unsafe) && strcmp(unsafe, open_one) == 0);
        CHECK(chmod(open_one, 01777) == 0 && !directory_is_safe(inner, unsafe)); /* its owner may, whatever its mode */
        CHECK(chown(open_one, 0, 0) == 0 && chmod(open_one, 0700) == 0);
    }
    CHECK(unlink(link) == 0 && symlink(inner, link) == 0 && directory_is_safe(link, unsafe)); /* an absolute one */
    CHECK(unlink(link) == 0 && symlink("way", link) == 0 && !directory_is_safe(link, unsafe) && errno == ELOOP &&
          unsafe[0] == '\0');
    CHECK(unlink(link) == 0 && !directory_is_safe(link, unsafe) && errno == ENOENT);
    CHECK(!directory_is_safe("relative", unsafe) && errno == EINVAL);
    CHECK(!directory_is_safe("/proc/self/exe/x", unsafe));
    CHECK(directory_is_safe("/", unsafe) && directory_is_safe("//../tmp/..", unsafe));
}

static void test_directories(const char *base)
{
    char path[256];
    char inner[512];
    struct stat status;
    CHECK(path_join(path, sizeof path, base, "a") && path_join(inner, sizeof inner, path, "b/c"));
    int fd = directory_open_private(inner);
    CHECK(fd >= 0 && fstat(fd, &status) == 0 && (status.st_mode & 07777) == 0700);
    (void)close(fd);
    for (unsigned mode = 0; mode < 0100; mode++) {
        CHECK(chmod(inner, 0700 | mode) == 0);
        fd = directory_open_private(inner);
        CHECK(mode == 0 ? fd >= 0 : fd < 0 && errno == EPERM);
        if (fd >= 0)
            (void)close(fd);
    }
    CHECK(path_join(inner, sizeof inner, path, "link") && symlink("b", inner) == 0);
    CHECK(directory_open_private(inner) < 0);
    CHECK(path_join(inner, sizeof inner, path, "file"));
    fd = open(inner, O_CREAT | O_WRONLY, 0600);
    CHECK(fd >= 0 && close(fd) == 0 && directory_open_private(inner) < 0);
    if (geteuid() == 0) {
        CHECK(path_join(inner, sizeof inner, path, "foreign") && mkdir(inner, 0700) == 0 && chown(inner, 65532, 65532) == 0);
        CHECK(directory_open_private(inner) < 0 && errno == EPERM);
    }
    CHECK(!path_join(inner, 5, "/four", "x") && errno == ENAMETOOLONG);

    /* Removing does not follow links, and is content with what is gone already. */
    fd = open(base, O_RDONLY | O_DIRECTORY);
    CHECK(fd >= 0 && mkdirat(fd, "kept", 0700) == 0 && mkdirat(fd, "kept/x", 0700) == 0 &&
          symlinkat("../kept", fd, "a/out") == 0);
    CHECK(directory_remove(fd, "a") && faccessat(fd, "a", F_OK, 0) != 0 && faccessat(fd, "kept/x", F_OK, 0) == 0);
    CHECK(directory_remove(fd, "a"));
    (void)close(fd);
}

static void test_io(void)
{
    int ends[2];
    unsigned char buffer[8];
    size_t taken = 0;
    CHECK(pipe(ends) == 0 && io_write(ends[1], "12345678", 8, UINT64_MAX));
    const uint64_t before = clock_ms();
    CHECK(io_read_all(ends[0], buffer, sizeof buffer, &taken, before + 30) == IO_LATE && taken == 8);
    CHECK(clock_ms() - before >= 30);
    CHECK(io_write(ends[1], "123456789", 9, UINT64_MAX));
    CHECK(io_read_all(ends[0], buffer, sizeof buffer, &taken, clock_ms() + 1000) == IO_FAILED && errno == EFBIG);
    CHECK(io_write(ends[1], "12345678", 8, UINT64_MAX) && close(ends[1]) == 0);
    CHECK(io_read_all(ends[0], buffer, sizeof buffer, &taken, clock_ms() + 1000) == IO_DONE && taken == 8);
    CHECK(io_read(ends[0], buffer, 1, clock_ms() + 1000) == IO_ENDED);
    (void)close(ends[0]);
    CHECK(io_read(ends[0], buffer, 1, clock_ms() + 1000) == IO_FAILED);
}

/* A pipe that nobody reads takes its fill, and is given up in time, whether it blocks or not. */
static void test_full_pipe(int flags)
{
    static const char much[1 << 20];
    int ends[2];
    CHECK(pipe2(ends, flags) == 0);
    const uint64_t before = clock_ms();
    CHECK(!io_write(ends[1], much, sizeof much, before + 50));
    CHECK(clock_ms() - before >= 50);
    (void)close(ends[0]);
    CHECK(!io_write(ends[1], "1", 1, clock_ms() + 60000) && errno == EPIPE);
    (void)close(ends[1]);
}

static uint64_t pause_of(uint64_t begun, unsigned least, uint64_t until)
{
    const uint64_t before = clock_ms();
    sleep_between(begun, least, until);
    return clock_ms() - before;
}

/* The upper bounds are far off, for a busy machine; without them a mistake would sleep for hours. */
static void test_pauses(void)
{
    const uint64_t now = clock_ms();
    CHECK(pause_of(now, 30, now + 60000) >= 30); /* at least that */
    const uint64_t tenth = pause_of(now - 1000, 2, now + 60000);
    CHECK(tenth >= 99 && tenth < 30000);
    const uint64_t rest = pause_of(now - 1000000, 2, clock_ms() + 50); /* not beyond the end */
    CHECK(rest >= 49 && rest < 30000);
    CHECK(pause_of(now - 1000000, 2, clock_ms() - 50) < 30000); /* an end that is past */
}

static void test_turns(const char *base)
{
    const unsigned most = usable_processors() < 2 ? usable_processors() : 2;
    struct place place = {0};
    int turns[2];
    (void)snprintf(place.directory, sizeof place.directory, "%s/missing", base);
    const int elsewhere = turn_take(&place, -1); /* in /tmp, where other callers may have all */
    CHECK(elsewhere != -2);
    if (elsewhere >= 0)
        (void)close(elsewhere);
    (void)snprintf(place.directory, sizeof place.directory, "%s", base);
    for (unsigned i = 0; i < most; i++) {
        turns[i] = turn_take(&place, -1);
        CHECK(turns[i] >= 0);
    }
    CHECK(turn_take(&place, -1) == -1);
    (void)close(turns[most - 1]);
    turns[most - 1] = turn_take(&place, -1);
    CHECK(turns[most - 1] >= 0);
    for (unsigned i = 0; i < most; i++)
        (void)close(turns[i]);
}

static void test_watch(const char *base)
{
    struct watch nobody = {0};
    watch_process(&nobody, 0);
    for (unsigned i = 0; i < 20; i++)
        CHECK(!watch_looks_hung(&nobody, 0));
    /* Whoever holds a lock that names nobody does not do his part. */
    struct watch holder = {.gone_is_still = true};
    for (unsigned i = 0; i < 9; i++) {
        watch_process(&holder, 0);
        CHECK(!watch_looks_hung(&holder, 0));
    }
    watch_process(&holder, 0);
    CHECK(!watch_looks_hung(&holder, 60 * 1000) && watch_looks_hung(&holder, 0));
    watch_process(&holder, getpid());
    CHECK(!watch_looks_hung(&holder, 0));

    const pid_t child = fork();
    if (child == 0) {
        (void)raise(SIGSTOP);
        _exit(0);
    }
    int status = 0;
    CHECK(waitpid(child, &status, WUNTRACED) == child && WIFSTOPPED(status));
    struct watch watch = {0};
    watch_process(&watch, child);
    for (unsigned i = 0; i < 9; i++)
        CHECK(!watch_looks_hung(&watch, 0));     /* too few looks */
    CHECK(!watch_looks_hung(&watch, 60 * 1000)); /* too soon */
    CHECK(watch_looks_hung(&watch, 0));

    /* Nobody has claimed the place, then another process has, then nobody holds the claim. */
    struct place place = {0};
    (void)snprintf(place.claim, sizeof place.claim, "%s/server", base);
    CHECK(!watch_end_hung(&watch, &place));
    const int claim = open(place.claim, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    CHECK(claim >= 0 && flock(claim, LOCK_EX) == 0);
    CHECK(dprintf(claim, "%d", (int)child + 1) > 0 && !watch_end_hung(&watch, &place));
    CHECK(ftruncate(claim, 0) == 0 && pwrite(claim, "", 0, 0) == 0 && lseek(claim, 0, SEEK_SET) == 0);
    CHECK(dprintf(claim, "%d", (int)child) > 0 && flock(claim, LOCK_UN) == 0 && !watch_end_hung(&watch, &place));
    CHECK(flock(claim, LOCK_EX) == 0);
    /* It has used more time since: another process of the same number, say. */
    watch.used++;
    CHECK(!watch_end_hung(&watch, &place));
    watch.used--;
    CHECK(watch_end_hung(&watch, &place));
    CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    (void)close(claim);
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "digest") == 0) {
        static unsigned char data[1 << 20];
        size_t size = 0;
        char text[SHA256_HEX + 1];
        if (io_read_all(STDIN_FILENO, data, sizeof data, &size, clock_ms() + 60000) != IO_DONE)
            return 1;
        digest_text(data, size, text);
        return puts(text) < 0;
    }
    if (argc == 3 && strcmp(argv[1], "key") == 0) {
        char key[KEY_SIZE + 1];
        return !environment_key(argv[2], environ, key) || puts(key) < 0;
    }
    char base[] = "/tmp/slsa-launcher-units.XXXXXX";
    if (mkdtemp(base) == NULL)
        return 1;
    test_sha256();
    test_frames();
    test_damaged_answers();
    test_tar();
    test_environment();
    test_answers();
    test_directories(base);
    test_ancestors(base);
    test_io();
    (void)signal(SIGPIPE, SIG_IGN);
    test_full_pipe(0);
    test_full_pipe(O_NONBLOCK);
    test_pauses();
    test_turns(base);
    test_watch(base);
    CHECK(directory_remove(AT_FDCWD, base));
    (void)printf("%u passed, %u failed\n", checks - failures, failures);
    return failures != 0;
}
