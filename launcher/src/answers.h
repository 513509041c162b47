/* What the launcher itself says to Ratify: one JSON line at most, never a success. */
#ifndef LAUNCHER_ANSWERS_H
#define LAUNCHER_ANSWERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Until when the clock may show that standard output is waited for; a moment in any case. */
void answer_until(uint64_t until);

/* Prints to standard output; false where not all of it was taken in time. */
bool answer_print(const void *data, size_t size);

/* Tells standard error, which holds nothing up: what is not taken at once, or nearly so, is lost. */
void answer_warn(const void *data, size_t size);
/* The same with one line, `warn: PROBLEM` and what follows from it; without a problem, nothing. */
void answer_problem(const char *problem, const char *consequence);

/* Each prints its answer and returns the exit status that goes with it. The sentence of a denial is made safe first; the
 * problem with standard input is one of our own texts. */
int answer_late(void);
int answer_denial(const char *sentence, bool transient);
/* No turn for a process of the call's own came in time. */
int answer_no_turn(void);
/* The system gives no more of something, by errno. */
int answer_lack(int error);
int answer_input_error(const char *problem);
/* The contract's error 4; `names` as in a list of words, of our own. */
int answer_missing(const char *names);

/* What the system gives no more of where it fails with `error`; NULL for another error. */
const char *answer_lacking(int error);

/* Copies foreign text in a form that is safe in a log line and in a JSON string, cut to fit. */
void answer_plain(char *to, size_t size, const char *text);

#endif
