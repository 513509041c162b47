"""Says in words what the system has run out of. Such limits pass, so the same call may succeed later.

The thin client imports this module, so it imports nothing.
"""

_FILES = "no more files may be opened (limit of descriptors, nofile)"
_PROCESSES = "no more processes may be started (limit of processes, pids)"
_SENTENCES = {24: _FILES, 23: _FILES, 11: _PROCESSES, 12: "there is no more memory"}
"""By number of Linux: EMFILE, ENFILE, EAGAIN, ENOMEM."""
_PROCESS_ERROR, _MEMORY_ERROR = 11, 12
_MAX_DEPTH = 8
_ROOM = 16 << 20


def sentence(number: int) -> str:
    """Return what the system has run out of, by its error number; of another error, that number."""
    return _SENTENCES.get(number, f"system error {number}")


def names(number: int | None) -> bool:
    """Return True for the number of an error that says that the system has run out of something for this process."""
    return number in _SENTENCES


def number_of(error: BaseException) -> int:
    """Return the error number of the limit behind an exception, or behind one that it came from; 0 for none.

    Python says ``RuntimeError`` where no thread can be started, and libraries wrap what the system said.
    """
    found: BaseException | None = error
    # A chain of causes may be a circle, so it is followed only so far.
    for _ in range(_MAX_DEPTH):
        # The end of the chain: none of its errors names a limit.
        if found is None:
            break
        # EAGAIN of a file or socket says "not now" and is no limit of processes; that comes as the RuntimeError below.
        if isinstance(found, OSError) and found.errno in _SENTENCES and found.errno != _PROCESS_ERROR:
            return found.errno
        if isinstance(found, MemoryError):
            return _MEMORY_ERROR
        # CPython says it in these words and without a number.
        if isinstance(found, RuntimeError) and "can't start new thread" in str(found):
            return _PROCESS_ERROR
        # A handler that raised something of its own leaves what it handled as the context.
        found = found.__cause__ or found.__context__
    # No exception told it. A library that found no memory may have raised anything, so the memory is asked for.
    return 0 if _has_room() else _MEMORY_ERROR


def _has_room() -> bool:
    """Return True where there is memory for as much as a library needs.

    Libraries that find none say what they like: ``ImportError`` from the loader, ``SystemError`` from code in C.
    """
    import mmap

    try:
        mmap.mmap(-1, _ROOM, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
    except OSError:
        return False
    return True
