"""The executable that Ratify starts: what it holds, and how it is put into place."""

from __future__ import annotations

import filecmp
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import slsa_verifier_plugin
from slsa_verifier_plugin import __version__
from slsa_verifier_plugin.errors import UsageError
from slsa_verifier_plugin.text import plain, quoted

NAMES = ("slsa", "slsla")
"""Ratify looks for a file named as the Verifier's type; both are written in guides."""
EXECUTABLE_VARIABLE = "SLSA_VERIFIER_EXECUTABLE"
"""Path of the one-file plugin that this process runs from."""
BUILD_VARIABLE = "SLSA_VERIFIER_BUILD"
MAX_SHEBANG = 127
"""Bytes of a ``#!`` line that every kernel reads (Linux before 5.1)."""
TRIAL_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Installed:
    """What was put where. ``kind`` is ``one-file`` or ``python``."""

    paths: tuple[Path, ...]
    version: str
    kind: str


def one_file(environ: Mapping[str, str]) -> str | None:
    """Return the path of the one-file plugin that this process runs from, None where Python runs an installed package."""
    return environ.get(EXECUTABLE_VARIABLE) if environ.get(BUILD_VARIABLE) else None


def install(
    folder: Path, environ: Mapping[str, str], names: Sequence[str] = NAMES, work_beside: bool = False
) -> Installed:
    """Put the plugin into ``folder`` under each of its names.

    Each name appears by a rename, complete and tried out: a running file is never written to ("text file busy"), and Ratify
    never meets half of one.

    Args:
        folder: Ratify's plugin directory, or containerd's ``bin_dir``; made where it is missing.
        environ: tells whether this process runs from the one-file plugin.
        names: what it is called there.
        work_beside: make it in the folder's parent, for containerd runs whatever lies in the folder itself.

    Raises:
        UsageError: the folder cannot be written to, or what was written there does not run.
    """
    whole = one_file(environ)
    try:
        # In an init container the shared volume is there and empty.
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            prefix=".slsa-", dir=folder.parent if work_beside else folder
        ) as work:
            made = Path(work) / names[0]
            # The file itself is copied: it carries its interpreter.
            if whole:
                shutil.copyfile(whole, made)
            else:
                made.write_text(script(), "utf-8")
            made.chmod(0o755)
            # A node that loses its power after the rename must not come back with an empty plugin.
            _sync(made)
            # Before the rename: what does not run here (noexec, another libc) never takes the place of what does.
            _try_out(made)
            paths = [_put(made, folder / name) for name in names]
    except OSError as error:
        raise UsageError(
            f"the plugin cannot be put into {quoted(str(folder))}: {plain(error.strerror or str(error))}"
        ) from error
    return Installed(tuple(paths), __version__, "one-file" if whole else "python")


def is_installed(path: Path, environ: Mapping[str, str]) -> bool:
    """Return True where the file at ``path`` is what ``install`` would put there."""
    try:
        if whole := one_file(environ):
            # By content: two builds may have the same size and time.
            return os.access(path, os.X_OK) and filecmp.cmp(whole, path, shallow=False)
        # A script names the interpreter and the folders: after an upgrade it is another text.
        return os.access(path, os.X_OK) and path.read_text("utf-8") == script()
    except (OSError, UnicodeDecodeError):
        return False


def script(executable: str = sys.executable, paths: Sequence[str] | None = None) -> str:
    """Return the text of the executable for a Python installation.

    It is started at every call, so it leaves out what the interpreter would look at in vain: ``-I`` ignores the caller's
    ``PYTHON*`` variables and user folder, ``-S`` the ``site`` module, whose work the script does with the paths known.

    Args:
        executable: the interpreter.
        paths: folders of packages; those of this process by default.
    """
    folders = import_paths() if paths is None else list(paths)
    line = f"#!{executable} -IS"
    if len(os.fsencode(line)) > MAX_SHEBANG or any(char.isspace() for char in executable):
        # The kernel would cut it: a shell starts the interpreter, which takes the line for a string.
        line = f"#!/bin/sh\n'''exec' {shlex.quote(executable)} -IS \"$0\" \"$@\"\n' '''"
    return (
        f"{line}\n"
        f"# slsa-verifier-plugin {__version__}, a verifier plugin of Ratify; written by 'slsa-verifier-plugin install'.\n"
        "import sys\n"
        f"sys.path += {folders!r}\n"
        "from slsa_verifier_plugin.entry import main\n"
        "main()\n"
    )


def import_paths() -> list[str]:
    """Return the folders that this package and what it needs are imported from, beside the standard library's."""
    own = str(Path(slsa_verifier_plugin.__file__).absolute().parent.parent)
    # Only these folders: the working directory and PYTHONPATH are the caller's, not the installation's.
    # Debian's own packages are in dist-packages.
    packages = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    return list(dict.fromkeys([*packages, own]))


def _put(made: Path, target: Path) -> Path:
    """Make ``target`` what ``made`` is, in one step."""
    twin = made.with_name(f"{target.name}.new")
    try:
        # One file under several names: the one-file plugin has 25 MB.
        twin.hardlink_to(made)
    except OSError:
        # Not every file system has links.
        shutil.copy2(made, twin)
        _sync(twin)
    twin.replace(target)
    return target


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def asked_version(path: Path) -> subprocess.CompletedProcess[bytes]:
    """Run a plugin for its version.

    Raises:
        OSError: it cannot be run.
        subprocess.TimeoutExpired: it does not answer.
    """
    return subprocess.run(  # noqa: S603 (what was written a moment ago, or the plugin that Ratify runs, too)
        [str(path), "--version"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=TRIAL_SECONDS,
        check=False,
    )


def _try_out(path: Path) -> None:
    where = f"what was put into {quoted(str(path.parent.parent))}"
    try:
        done = asked_version(path)
    # Something that waits for input, or a machine that is out of memory.
    except subprocess.TimeoutExpired as error:
        raise UsageError(f"{where} does not answer") from error
    # A mount option, or a security module: the system does not say which.
    except PermissionError as error:
        raise UsageError(f"{where} may not be executed; is it mounted with noexec?") from error
    if done.returncode != 0 or __version__.encode() not in done.stdout:
        # The last line: there a traceback says what went wrong.
        detail = plain(done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2])
        raise UsageError(f"{where} does not run: {detail}")
