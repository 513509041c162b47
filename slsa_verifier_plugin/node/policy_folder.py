"""Finds the folder of a node's policies, checks that nobody else may write to it, and lists what is in it.

Imports next to nothing: the caller looks at it before the resident verifier is asked.
"""
# pathlib would cost the caller more than the look itself.
# ruff: noqa: PTH115, PTH117, PTH118, PTH120, PTH123, PTH208

import os
import re
import stat

BASE = "/etc/slsa-verifier-plugin"
"""The folder of the default policies; a profile's lies in it, under its name."""
TIMEOUT = "timeout"
"""File with the seconds that a call may take."""
EXEMPT = "exempt"
"""File with the images that are not verified."""
CREDENTIALS = "config.json"
"""Docker's configuration file, with credentials for registries."""
ENDINGS = (".yaml", ".yml")
"""Of files with Verifier, Store and Policy resources."""

DEFAULT_SECONDS = 8.5
"""For a call; containerd ends it after 10 s by default, without a word for whoever waits."""
LEAST_SECONDS, MOST_SECONDS = 1.0, 60.0
MAX_FILES = 200
MAX_LINKS = 40
"""Symbolic links on the way to one file, as many as the kernel follows."""
MAX_SMALL = 64 << 10
"""Bytes of the files ``timeout`` and ``exempt``."""

_WRITABLE = stat.S_IWGRP | stat.S_IWOTH
_SECONDS = re.compile(r"([0-9]{1,2}(?:\.[0-9]{1,3})?)s")


class FolderError(Exception):
    """A folder or file that must not be used, or is not there; ``str()`` is a sentence for people."""


def folder_of(profile: str, base: str = BASE) -> str:
    """Return the path of a profile's folder; the empty profile is the default one."""
    return os.path.join(base, profile) if profile else base


def check_owned(path: str) -> os.stat_result:
    """Return the status of what ``path`` leads to, once nobody but root and this user can change where it leads or what it is.

    Every folder and link on the way is looked at: what lies in a folder that others may write to can be replaced by them. In a
    folder with the sticky bit nobody renames what another owns, so what root owns there may be used.

    Args:
        path: absolute.

    Raises:
        FolderError: it is missing, or somebody else can change it.
    """
    if not os.path.isabs(path):
        raise FolderError(f"{_shown(path)} is no absolute path")
    # Part by part, as the kernel goes: realpath would say where it leads and not who may change that.
    waiting = _parts(path)
    at, links = "/", 0
    status = _looked_at("/")
    while waiting:
        _refuse_others(at, status, is_parent=True)
        part = waiting.pop(0)
        # Behind a link ".." is the parent of where the link led, and not of where it lies.
        if part == "..":
            at = os.path.dirname(at)
            status = _looked_at(at)
            continue
        entry = os.path.join(at, part)
        status = _looked_at(entry)
        # A folder or a file: the next part lies in it.
        if not stat.S_ISLNK(status.st_mode):
            at = entry
            continue
        # Links have no modes of their own; their owner can turn them elsewhere.
        _refuse_owner(entry, status)
        links += 1
        if links > MAX_LINKS:
            raise FolderError(f"{_shown(path)} leads in a circle of links")
        target = os.readlink(entry)
        waiting = _parts(target) + waiting
        # An absolute target begins at the root again, whatever came before.
        if target.startswith("/"):
            at = "/"
        status = _looked_at(at)
    # The last part is held to more: where the sticky bit is set, others could still add policies.
    _refuse_others(at, status, is_parent=False)
    return status


def check_folder(folder: str) -> None:
    """Raise ``FolderError`` unless ``folder`` is there, and nobody but root and this user may change what it holds."""
    # A file of that name holds no policies: that is told, and nothing is pulled.
    if not stat.S_ISDIR(check_owned(folder).st_mode):
        raise FolderError(f"{_shown(folder)} is no folder")


def owned_files(folder: str) -> dict[str, tuple[int, ...]]:
    """Return the names of all files in a folder, each with what changes when it is replaced; folders are left out.

    Raises:
        FolderError: the folder or one of its files may be written to by others, or cannot be read.
    """
    check_folder(folder)
    try:
        # Names with a dot: a mounted ConfigMap's own, and the folder from which new policies are put into place.
        names = sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except OSError as error:
        raise FolderError(f"{_shown(folder)} cannot be read: {error.strerror}") from error
    # Each is looked at in every call: thousands would take the call's whole time.
    if len(names) > MAX_FILES:
        raise FolderError(f"{_shown(folder)} has {len(names)} entries; expected at most {MAX_FILES}")
    found: dict[str, tuple[int, ...]] = {}
    for name in names:
        path = os.path.join(folder, name)
        # Links are followed: a mounted ConfigMap is made of them.
        status = check_owned(path)
        # ctime as well: mtime can be set back by whoever replaces a file.
        if stat.S_ISREG(status.st_mode):
            found[name] = (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)
        elif not stat.S_ISDIR(status.st_mode):
            # A pipe would hold up whoever opens it.
            raise FolderError(f"{_shown(path)} is neither file nor folder; remove it")
    return found


def read_small(folder: str, name: str) -> str | None:
    """Return the text of a small file of the folder, None where there is no such file.

    Raises:
        FolderError: others may write to it, or it cannot be read, or is too large, or no text.
    """
    path = os.path.join(folder, name)
    # lexists: a link that leads nowhere is a mistake to tell, not a file that is absent.
    if not os.path.lexists(path):
        return None
    # A pipe would keep the call until somebody writes.
    if not stat.S_ISREG(check_owned(path).st_mode):
        raise FolderError(f"{_shown(path)} is no file")
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_SMALL + 1)
        if len(content) <= MAX_SMALL:
            return content.decode()
    except OSError as error:
        raise FolderError(f"{_shown(path)} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise FolderError(f"{_shown(path)} is no text") from error
    raise FolderError(f"{_shown(path)} has more than {MAX_SMALL} bytes")


def seconds_of_call(folder: str) -> float:
    """Return the seconds that a call may take: those of the file ``timeout``, else the default.

    Raises:
        FolderError: the file cannot be used, or says nothing that is understood.
    """
    text = read_small(folder, TIMEOUT)
    if text is None:
        return DEFAULT_SECONDS
    found = _SECONDS.fullmatch(text.strip())
    # The default instead would let containerd end a call that the administrator wanted short.
    if not found or not LEAST_SECONDS <= float(found[1]) <= MOST_SECONDS:
        raise FolderError(
            f"{_shown(os.path.join(folder, TIMEOUT))} does not say a time between {LEAST_SECONDS:g}s and {MOST_SECONDS:g}s; "
            f"expected one such as {DEFAULT_SECONDS:g}s"
        )
    return float(found[1])


def _parts(path: str) -> list[str]:
    # "//" and "/./" are the same way (POSIX "Pathname Resolution").
    return [part for part in path.split("/") if part not in ("", ".")]


def _looked_at(path: str) -> os.stat_result:
    try:
        return os.lstat(path)
    except FileNotFoundError:
        raise FolderError(f"{_shown(path)} does not exist") from None
    # ValueError: a path with a null byte, which the system never sees.
    except (OSError, ValueError) as error:
        detail = getattr(error, "strerror", None) or "not a path"
        raise FolderError(f"{_shown(path)} cannot be looked at: {detail}") from error


def _refuse_owner(path: str, status: os.stat_result) -> None:
    # Root may change everything, and this user is who decides here.
    if status.st_uid not in (0, os.geteuid()):
        raise FolderError(
            f"{_shown(path)} belongs to user {status.st_uid}, expected root or this user: whoever owns it decides what is pulled"
        )


def _refuse_others(path: str, status: os.stat_result, is_parent: bool) -> None:
    _refuse_owner(path, status)
    # As /tmp is: others may add entries, and cannot rename or remove this one.
    if is_parent and status.st_mode & stat.S_ISVTX:
        return
    if status.st_mode & _WRITABLE:
        raise FolderError(
            f"{_shown(path)} may be written to by others (mode {stat.S_IMODE(status.st_mode):04o}); take that away: chmod go-w"
        )


def _shown(path: str) -> str:
    # By hand: importing text.plain takes longer than the whole look.
    return "".join(char if char.isascii() and char.isprintable() else "?" for char in path[:200])
