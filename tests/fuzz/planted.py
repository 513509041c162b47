"""The driver's child with one target more, which breaks: so that a test can see the driver find something."""

from __future__ import annotations

import os
import sys

from tests.fuzz import run, seeds, targets

WITHOUT_ATHERIS = "TEST_FUZZ_WITHOUT_ATHERIS"


def fragile(data: bytes) -> None:
    """Breaks on one byte, which is one bit from a byte of the seed."""
    assert b"<" not in data, "planted"


if __name__ == "__main__":
    if WITHOUT_ATHERIS in os.environ:
        sys.modules["atheris"] = None  # type: ignore[assignment]
    targets.TARGETS["fragile"] = fragile
    seeds.SEEDS["fragile"] = lambda: [b">=>"]
    sys.exit(run.main())
