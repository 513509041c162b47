"""What of the interpreter's library and of the packages does not go into the one-file plugin, and why."""

from __future__ import annotations

import fnmatch

STDLIB_LEFT_OUT: tuple[str, ...] = (
    # Tests, demonstrations, graphical and interactive programs.
    *(
        "test",
        "turtledemo",
        "turtle.py",
        "idlelib",
        "tkinter",
        "pydoc_data",
        "pydoc.py",
        "this.py",
        "antigravity.py",
    ),
    *("unittest", "doctest.py", "pdb.py", "bdb.py", "cProfile.py", "profile.py", "pstats.py", "trace.py"),
    *("__phello__", "__hello__.py", "curses", "rlcompleter.py", "smtpd.py", "xmlrpc"),
    # Building and installing.
    *(
        "ensurepip",
        "lib2to3",
        "distutils",
        "venv",
        "zipapp.py",
        "compileall.py",
        "config-*",
        "_bootsubprocess.py",
    ),
    *("site-packages", "dist-packages", "*.a", "msilib", "_msi.py", "_osx_support.py", "_aix_support.py"),
    # Databases and old formats, with the libraries behind them.
    *("dbm", "shelve.py", "aifc.py", "sunau.py", "wave.py", "sndhdr.py", "imghdr.py", "chunk.py"),
    *(
        "nntplib.py",
        "telnetlib.py",
        "imaplib.py",
        "poplib.py",
        "ftplib.py",
        "smtplib.py",
        "mailbox.py",
        "mailcap.py",
    ),
    *(
        "cgi.py",
        "cgitb.py",
        "crypt.py",
        "pipes.py",
        "uu.py",
        "xdrlib.py",
        "*/test",
        "*/tests",
        "*.exe",
        "*.bat",
    ),
)
"""Names and patterns of paths below the library's directory; ``*`` crosses slashes."""

EXTENSIONS_LEFT_OUT: tuple[str, ...] = (
    *("_test*", "_xxtestfuzz*", "_ctypes_test*", "xx*", "_tkinter*", "_curses*", "readline*"),
    *(
        "_dbm*",
        "_gdbm*",
        "nis.*",
        "ossaudiodev*",
        "spwd*",
        "_crypt.*",
        "audioop*",
        "_uuid*",
        "_xxsubinterpreters*",
    ),
)
"""Patterns of extension modules in ``lib-dynload``."""

PACKAGES_LEFT_OUT: tuple[str, ...] = (
    # Only sigstore's own command line imports these, and the parts of rich that show code and Markdown.
    *("pygments", "markdown_it", "mdurl", "sigstore/_cli.py", "sigstore/__main__.py"),
    *("pygments-*.dist-info", "markdown_it_py-*.dist-info", "mdurl-*.dist-info"),
    # Only compiling a foreign interface needs these; compiled ones are used through _cffi_backend.
    *("pycparser", "pycparser-*.dist-info", "cffi"),
    # Of some four hundred services the two that give tokens for ECR.
    "botocore/data/[!es_]*/*",
    "botocore/data/e[!c]*/*",
    "botocore/data/ec[!r]*/*",
    "botocore/data/ecr-*/*",
    "botocore/data/s[!t]*/*",
    "botocore/data/st[!s]*/*",
    "jsonschema/benchmarks",
    # Headers, tests, type stubs and programs.
    *(
        "bin",
        "*/tests",
        "*/test",
        "*/test_data",
        "*.pyi",
        "*/py.typed",
        "*.h",
        "*.pxd",
        "*.pxi",
        "*.pyx",
        "*.proto",
        "*/include",
        "*.exe",
    ),
    # What an installer keeps for itself.
    *("*.dist-info/RECORD", "*.dist-info/INSTALLER", "*.dist-info/REQUESTED", "*.dist-info/direct_url.json"),
)
"""Names and patterns of paths below ``site-packages``; ``*`` crosses slashes."""

def is_left_out(path: str, patterns: tuple[str, ...]) -> bool:
    """Return True where a path (slashes, relative) or a directory above it matches one of ``patterns``."""
    parts = path.split("/")
    above = ["/".join(parts[: count + 1]) for count in range(len(parts))]
    return any(fnmatch.fnmatchcase(name, pattern) for name in above for pattern in patterns)
