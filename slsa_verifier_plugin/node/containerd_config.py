"""Reads containerd's configuration as containerd does: several files, of four versions of the form, merged into one.

Every file is brought to the newest form by itself, then merged over those before it, tables key by key, in the order in which
they are imported (containerd 2.4, ``cmd/containerd/server/config``). Decides nothing.
"""

from __future__ import annotations

import glob
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slsa_verifier_plugin.errors import UsageError
from slsa_verifier_plugin.members import object_at
from slsa_verifier_plugin.regular_files import read_regular
from slsa_verifier_plugin.text import plain, quoted

NEWEST = 4
BINDIR = "io.containerd.image-verifier.v1.bindir"
TRANSFER = "io.containerd.transfer.v1.local"
IMAGES = "io.containerd.cri.v1.images"
OLD_CRI = "io.containerd.grpc.v1.cri"
"""Where versions 1 and 2 have what ``IMAGES`` has since; counts in version 3, too."""
MAX_FILES = 100
MAX_BYTES = 4 << 20
_TEMPLATE = "; it is a template, as k3s has one: name the file that is made of it"

_FROM_CRI = (
    *("registry", "image_decryption", "max_concurrent_downloads", "image_pull_progress_timeout"),
    *("image_pull_with_sync_fs", "stats_collect_period"),
)
_FROM_CRI_CONTAINERD = ("snapshotter", "disable_snapshot_annotations", "discard_unpacked_layers")


@dataclass(frozen=True, slots=True)
class Setting:
    """A value of the merged configuration, and the file that said it last."""

    value: Any
    file: str


@dataclass(frozen=True, slots=True)
class ContainerdConfig:
    """The merged configuration. ``files`` were read, in this order.

    ``settings`` have paths of keys as their names: a plugin's name, and below it keys in lower case. ``disabled`` are the plugins
    that do not run, each with the file that says so: lists of several files are joined, not replaced.
    """

    files: tuple[str, ...]
    versions: tuple[int, ...]
    settings: Mapping[tuple[str, ...], Setting]
    disabled: Mapping[str, str]

    def setting(self, *path: str) -> Setting | None:
        """Return the value at a path, None where no file has one."""
        return self.settings.get(path)

    def below(self, *path: str) -> Iterator[tuple[str, Setting]]:
        """Yield the keys directly below a path, each with a setting of it or in it."""
        seen = set()
        for key, found in self.settings.items():
            if len(key) > len(path) and key[: len(path)] == path and key[len(path)] not in seen:
                seen.add(key[len(path)])
                yield key[len(path)], found


def read_config(path: Path) -> ContainerdConfig:
    """Return the configuration that containerd would have with ``--config PATH``.

    Raises:
        UsageError: a file cannot be read or is no TOML, so that containerd does not start with it.
    """
    waiting, seen = [Path(os.path.normpath(path.absolute()))], dict[str, None]()
    versions: list[int] = []
    settings: dict[tuple[str, ...], Setting] = {}
    disabled: dict[str, str] = {}
    while waiting:
        file = waiting.pop(0)
        # Files may import each other; each counts once.
        if str(file) in seen:
            continue
        if len(seen) == MAX_FILES:
            raise UsageError(f"{quoted(str(path))} imports more than {MAX_FILES} files")
        seen[str(file)] = None
        document = _read(file)
        version = document.get("version", 1)
        # TOML's true is an int in Python.
        if isinstance(version, bool) or not isinstance(version, int) or not 0 <= version <= NEWEST:
            raise UsageError(
                f"{quoted(str(file))} is of version {quoted(version)}; versions up to {NEWEST} are known here"
            )
        versions.append(version)
        # Asked for its form alone: containerd does not start with another.
        _list(file, document, "required_plugins")
        disabled |= dict.fromkeys(_list(file, document, "disabled_plugins"), str(file))
        # Brought to the newest form one by one, so that files of several versions can be merged.
        for key, value in _leaves(_newest(document, version)):
            _put(settings, key, Setting(value, str(file)))
        # At the end of those that wait: what is imported later counts over what was read before.
        waiting += _imported(file, _list(file, document, "imports"))
    # Files are merged with their keys as they are written. Then containerd reads those of a plugin in any case, sorted, and the
    # last one counts (go-toml v2, which it uses, does not tell "Max_Verifiers" from "max_verifiers").
    folded = {(key[0], *map(str.lower, key[1:])): settings[key] for key in sorted(settings)}
    return ContainerdConfig(tuple(seen), tuple(versions), folded, disabled)


def _read(file: Path) -> dict[str, Any]:
    """Return the file's table, its own keys in lower case, as containerd reads them."""
    content = b""
    try:
        # A pipe would never end. Of all devices one is named on purpose: it stands for containerd's defaults.
        if str(file) != os.devnull:
            content = read_regular(str(file), MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise UsageError(f"{quoted(str(file))} is larger than {MAX_BYTES >> 20} MiB")
        document = tomllib.loads(content.decode())
    except FileNotFoundError as error:
        raise UsageError(
            f"{quoted(str(file))} does not exist; containerd does not start where it is told to read it, and has its defaults "
            "where it is told nothing: name /dev/null for those"
        ) from error
    except OSError as error:
        raise _broken(file, f"cannot be read: {plain(error.strerror)}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        where = plain(str(error).rpartition("(")[2].rstrip(")")) if "(at" in str(error) else "somewhere"
        raise _broken(file, f"is no TOML ({where}){_TEMPLATE if b'{{' in content else ''}") from error
    folded = {key.lower(): value for key, value in document.items()}
    if len(folded) < len(document):
        raise UsageError(f"{quoted(str(file))} has a key twice, in upper and lower case; keep one of them")
    return folded


def _imported(file: Path, patterns: list[str]) -> Iterator[Path]:
    """Yield the files that ``file`` imports, as Go's ``filepath.Glob`` finds them: a star stands for a leading dot, too.

    A pattern without a star is a file that must be there.
    """
    for pattern in patterns:
        # A relative one begins at the file that imports it.
        path = os.path.normpath(file.parent / pattern)
        # TOML has an escape for it, and no system a path with it.
        if "\0" in path:
            raise _broken(file, f"imports {quoted(pattern, 120)}, which is no path")
        if "*" not in path:
            yield Path(path)
            continue
        # Go and Python read these two in different ways, so the files found here could be others than containerd's.
        if "\\" in path or "[!" in path:
            raise UsageError(
                f"{quoted(str(file))} imports {quoted(pattern, 120)}, which is not understood here; write it without \\ and [!"
            )
        # Go writes "[^a]" where Python has "[!a]".
        found = glob.glob(path.replace("[^", "[!"), include_hidden=True)  # noqa: PTH207 (patterns of whole paths)
        # Go's Glob sorts within each folder; as whole texts "a-b/x" would come before "a/x".
        yield from map(Path, sorted(found, key=lambda one: one.split("/")))


def _newest(document: Mapping[str, Any], version: int) -> dict[str, Any]:
    """Return the plugins' settings in the newest form (containerd 2.4, ``plugins/cri/images/plugin.go``).

    Version 3 has the images where version 4 has them; what an older section says is moved there all the same. containerd 2.4
    does so; those before it, whose newest version is 3, do not.

    Version 2 moves ``containerd.disable_snapshot_annotations`` and its like only beside ``containerd.runtimes``. Here they always
    count: a runtime that is added later must not open the door.
    """
    plugins = dict(object_at(document, "plugins"))
    if version < NEWEST:
        # Short names of plugins are version 1's.
        old = {**(object_at(plugins, "cri") if version < 2 else {}), **object_at(plugins, OLD_CRI)}
        moved = {name: old[name] for name in _FROM_CRI if name in old}
        containerd = object_at(old, "containerd")
        moved |= {name: containerd[name] for name in _FROM_CRI_CONTAINERD if name in containerd}
        plugins[IMAGES] = {**object_at(plugins, IMAGES), **moved}
    return plugins


def _leaves(table: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every value below ``table`` that is no table, and each table that is empty."""
    for key, value in table.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key), value


def _put(settings: dict[tuple[str, ...], Setting], key: tuple[str, ...], setting: Setting) -> None:
    """Put a value in the place of one that an earlier file had there; an empty table takes nothing away."""
    if setting.value == {} and any(other[: len(key)] == key for other in settings):
        return
    # A table in the place of a value, or a value in the place of a table: the later file counts.
    for other in [other for other in settings if key[: len(other)] == other or other[: len(key)] == key]:
        del settings[other]
    settings[key] = setting


def _list(file: Path, document: Mapping[str, Any], name: str) -> list[str]:
    found = document.get(name, [])
    if not isinstance(found, list) or not all(isinstance(value, str) for value in found):
        raise _broken(file, f"has {name}, which is no list of texts")
    return found


def _broken(file: Path, found: str) -> UsageError:
    """Return the error for a file that containerd does not start with."""
    return UsageError(f"{quoted(str(file))} {found}; containerd does not start then")
