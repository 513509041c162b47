"""Which errors say that the system gives no more of something."""

from __future__ import annotations

import errno
import subprocess
import sys

import pytest

from slsa_verifier_plugin import lacks


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (OSError(errno.EMFILE, "x"), errno.EMFILE),
        (OSError(errno.ENOMEM, "x"), errno.ENOMEM),
        (MemoryError(), errno.ENOMEM),
        (RuntimeError("can't start new thread"), errno.EAGAIN),
        (OSError(errno.EAGAIN, "not now"), 0),
        (ImportError("no module of that name"), 0),
        (SystemError("x"), 0),
        (ValueError("x"), 0),
    ],
    ids=repr,
)
def test_numbers(error: BaseException, number: int) -> None:
    assert lacks.number_of(error) == number
    wrapped = KeyError()
    wrapped.__context__ = error
    assert lacks.number_of(wrapped) == number


@pytest.mark.parametrize("kind", ["ImportError", "SystemError"])
def test_whatever_is_raised_without_memory(kind: str) -> None:
    """Loaders and code in C say what they like: an address space of 64 MiB showed both."""
    code = (
        "import resource, mmap; from slsa_verifier_plugin import lacks; print(lacks.number_of({0}('x')));"
        "used = int(open('/proc/self/statm').read().split()[0]) * mmap.PAGESIZE;"
        "resource.setrlimit(resource.RLIMIT_AS, (used + (4 << 20),) * 2); print(lacks.number_of({0}('x')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code.format(kind)], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["0", str(errno.ENOMEM)]
    assert lacks.sentence(errno.ENOMEM) == "there is no more memory"
