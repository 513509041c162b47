"""The mutants of ``named.toml``, which no operator makes."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path

from tests.mutation.mutants import PACKAGE, Mutant

LIST = Path(__file__).with_name("named.toml")


def named(root: Path) -> Iterator[Mutant]:
    """Yield the named mutants, placed in the files below the checkout ``root``.

    Raises:
        ValueError: the text that one replaces is not there exactly once.
    """
    for one in tomllib.loads(LIST.read_text("utf-8"))["mutant"]:
        path, what, old = one["path"], one["what"], one["old"]
        source = (root / PACKAGE / path).read_text("utf-8")
        count = source.count(old)
        if count != 1:
            raise ValueError(f"{path}: {what}: its text occurs {count} times, expected once: {old!r}")
        start = source.index(old)
        line = source.count("\n", 0, start) + 1
        yield Mutant(path, "named", what, line, start, start + len(old), old, one["new"])
