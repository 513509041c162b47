/* Clock, bounded waits, whole reads and writes. Times are milliseconds of CLOCK_MONOTONIC. */
#ifndef LAUNCHER_IO_H
#define LAUNCHER_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum io { IO_DONE, IO_ENDED, IO_LATE, IO_FAILED };

uint64_t clock_ms(void);

/* Sleeps between two looks at something that was first looked for at `begun`: a tenth of the time since then, at least
 * `least` milliseconds, hardly longer than `until`. Many callers that all look as often as at first keep the process that
 * they wait for from a processor. */
void sleep_between(uint64_t begun, unsigned least, uint64_t until);

/* Waits until `fd` is ready for `events` (as of poll) or the clock shows `until`. */
enum io io_wait(int fd, short events, uint64_t until);

/* Reads exactly `size` bytes. IO_ENDED: the other side closed before. */
enum io io_read(int fd, void *buffer, size_t size, uint64_t until);

/* Reads to the end into at most `size` bytes; IO_FAILED with errno EFBIG where there is more. */
enum io io_read_all(int fd, void *buffer, size_t size, size_t *taken, uint64_t until);

/* Writes all of it, or as much as is taken until the clock shows `until`; returns whether that was all. */
bool io_write(int fd, const void *data, size_t size, uint64_t until);

/* Makes descriptors 0 to 2 open, so that no file opened later takes the place of one; false where it can't. */
bool io_standard_files(void);

/* Puts descriptors 0 to 2 on /dev/null or, where there is none, on a file that is empty and stays so. */
bool io_detach_standard_files(void);

/* Closes every descriptor from `first` on at the next exec. */
void io_close_at_exec(int first);

#endif
