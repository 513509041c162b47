"""Compiles the runtime's modules, the same bytes every time.

Hash-based and unchecked (PEP 552): no time stamp goes in, and none is looked up at import. The sources are left out, which halves
the payload; tracebacks still name file and line.
"""

from __future__ import annotations

import os
import py_compile
import sys
from pathlib import Path

from tools.dist.commands import run


def compile_tree(library: Path) -> None:
    """Compile every module below ``library`` in a process of its own, into the place of its source.

    The process has a fixed hash seed, since sets of strings are stored in the order of their hashes.

    Raises:
        BuildError: a module does not compile.
    """
    settings = {"PYTHONHASHSEED": "0", "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    run([sys.executable, "-m", "tools.dist.compiled", str(library)], settings=settings)


def _compile_all(library: Path) -> None:
    for source in sorted(library.rglob("*.py")):
        name = source.relative_to(library).as_posix()
        py_compile.compile(
            str(source),
            cfile=str(source.with_suffix(".pyc")),
            dfile=name.removeprefix("site-packages/"),
            doraise=True,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )
        source.unlink()


if __name__ == "__main__":
    _compile_all(Path(sys.argv[1]))
