"""containerd's configuration as containerd reads it: several files, four versions of their form, merged into one.

Every file is brought to the newest form by itself, then merged over those before it, tables key by key, in the order in which
they are imported (containerd 2.4, ``cmd/containerd/server/config``). Decides nothing.
"""

from __future__ import annotations

import glob
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slsa_verifier_plugin.errors import UsageError
from slsa_verifier_plugin.text import plain, quoted

NEWEST = 4
BINDIR = "io.containerd.image-verifier.v1.bindir"
TRANSFER = "io.containerd.transfer.v1.local"
IMAGES = "io.containerd.cri.v1.images"
OLD_CRI = "io.containerd.grpc.v1.cri"
"""Where versions 1 and 2 have what ``IMAGES`` has since; counts in version 3, too."""
MAX_FILES = 100
MAX_BYTES = 4 << 20

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
    """The merged configuration. ``files`` were read, in this order; ``settings`` have dotless paths of keys as their names."""

    files: tuple[str, ...]
    versions: tuple[int, ...]
    settings: Mapping[tuple[str, ...], Setting]

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

    def listed(self, name: str) -> dict[str, str]:
        """Return the entries of a list at the top of all files, each with its file: lists are joined, not replaced."""
        found = self.settings.get((name,))
        return dict(found.value) if found is not None else {}


def read_config(path: Path) -> ContainerdConfig:
    """Return the configuration that containerd would have with ``--config PATH``.

    Raises:
        UsageError: a file cannot be read or is no TOML, so that containerd does not start with it.
    """
    waiting, seen = [path.absolute()], dict[str, None]()
    versions: list[int] = []
    settings: dict[tuple[str, ...], Setting] = {}
    lists: dict[str, dict[str, str]] = {"disabled_plugins": {}, "required_plugins": {}}
    while waiting:
        file = waiting.pop(0)
        if str(file) in seen:
            continue
        if len(seen) == MAX_FILES:
            raise UsageError(f"{quoted(str(path))} imports more than {MAX_FILES} files")
        seen[str(file)] = None
        document = _read(file)
        version = document.get("version", 1)
        if not isinstance(version, int) or version > NEWEST:
            raise UsageError(
                f"{quoted(str(file))} is of version {quoted(version)}; versions up to {NEWEST} are known here"
            )
        versions.append(version)
        for name, values in lists.items():
            values |= {str(value): str(file) for value in _list(document, name)}
        for key, value in _leaves(_newest(document, version)):
            _put(settings, key, Setting(value, str(file)))
        waiting += _imported(file, _list(document, "imports"))
    for name, values in lists.items():
        settings[(name,)] = Setting(tuple(values.items()), "")
    return ContainerdConfig(tuple(seen), tuple(versions), settings)


def _read(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise UsageError(f"{quoted(str(file))} is larger than {MAX_BYTES >> 20} MiB")
        return tomllib.loads(content.decode())
    except OSError as error:
        raise UsageError(
            f"{quoted(str(file))} cannot be read, and containerd does not start then: {plain(error.strerror)}"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        where = plain(str(error).rpartition("(")[2].rstrip(")")) if "(at" in str(error) else "somewhere"
        raise UsageError(
            f"{quoted(str(file))} is no TOML ({where}), and containerd does not start then"
        ) from error


def _imported(file: Path, patterns: list[Any]) -> Iterator[Path]:
    """Yield the files that ``file`` imports; a pattern without a star is a file that must be there."""
    for pattern in patterns:
        path = str(file.parent / str(pattern))
        if "*" in path:
            yield from (Path(found) for found in sorted(glob.glob(path)))  # noqa: PTH207 (patterns of whole paths)
        else:
            yield Path(path)


def _newest(document: Mapping[str, Any], version: int) -> dict[str, Any]:
    """Return the plugins' settings in the newest form (containerd 2.4, ``plugins/cri/images/plugin.go``).

    Version 3 has the images where version 4 has them; what an older section says is moved there all the same. containerd 2.4
    does so; those before it, whose newest version is 3, do not.

    Version 2 moves ``containerd.disable_snapshot_annotations`` and its like only beside ``containerd.runtimes``. Here they always
    count: a runtime that is added later must not open the door.
    """
    plugins = dict(_table(document, "plugins"))
    if version < NEWEST:
        old = {**_table(plugins, "cri"), **_table(plugins, OLD_CRI)}
        moved = {name: old[name] for name in _FROM_CRI if name in old}
        containerd = _table(old, "containerd")
        moved |= {name: containerd[name] for name in _FROM_CRI_CONTAINERD if name in containerd}
        plugins[IMAGES] = {**_table(plugins, IMAGES), **moved}
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
    for other in [other for other in settings if key[: len(other)] == other or other[: len(key)] == key]:
        del settings[other]
    settings[key] = setting


def _table(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = value.get(name)
    return found if isinstance(found, Mapping) else {}


def _list(document: Mapping[str, Any], name: str) -> list[Any]:
    found = document.get(name)
    return found if isinstance(found, list) else []
