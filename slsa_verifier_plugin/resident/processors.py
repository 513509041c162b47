"""Counts the processors that this process may use. The thin client needs it too, so it imports next to nothing."""

import os

_CONTROL_GROUPS = "/sys/fs/cgroup"


def usable_processors() -> int:
    """Return how many processors this process may use at once: those of its mask, and of its control group's quota.

    A quota of one and a half counts as one.
    """
    # Not os.cpu_count: it counts those that a mask (taskset, a static CPU policy) denies to this process.
    count = len(os.sched_getaffinity(0))
    # Version 2 of control groups, then version 1. A limit of CPU in a Pod is a quota here, and none of the mask.
    for path in ("cpu.max", "cpu/cpu.cfs_quota_us"):
        quota, period = _quota(f"{_CONTROL_GROUPS}/{path}")
        # Version 1 writes -1 for "no quota".
        if quota > 0 and period > 0:
            count = min(count, quota // period)
    # Half a processor still runs one process at a time.
    return max(count, 1)


def _quota(path: str) -> tuple[int, int]:
    """Return quota and period in microseconds, of version 2 (one file) or 1 (two files); zeros for none."""
    try:
        text = _words(path)
        if path.endswith("quota_us"):
            text += _words(path.replace("quota_us", "period_us"))
        return (int(text[0]), int(text[1])) if text[0] != "max" else (0, 0)
    # No such file is usual: there is one version or the other, or no control group at all.
    except (OSError, ValueError, IndexError):
        return 0, 0


def _words(path: str) -> list[str]:
    with open(path, encoding="ascii") as file:  # noqa: PTH123 (pathlib is slow to import)
        return file.read().split()
