/* Lock files: who may start a server, whose turn it is, who unpacks. */
#ifndef LAUNCHER_LOCK_H
#define LAUNCHER_LOCK_H

/* Takes the lock of a file in `directory`, which nobody else may change; the file is made in mode 0600 where it is missing, and
 * what is there and is no such file is moved aside. Returns a descriptor that holds the lock until all its copies are closed;
 * -1 where another has it (EWOULDBLOCK, EINTR), or where there is none to be had. */
int lock_take(int directory, const char *path);

#endif
