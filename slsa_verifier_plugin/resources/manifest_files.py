"""Finds the files that a path to manifests stands for: a file, a folder with all below it, or a pattern with ``*``."""

from __future__ import annotations

import glob
from pathlib import Path

from slsa_verifier_plugin.errors import UsageError
from slsa_verifier_plugin.text import quoted

MANIFEST_ENDINGS = (".yaml", ".yml", ".json")
KUSTOMIZATIONS = ("kustomization.yaml", "kustomization.yml", "Kustomization")


def expanded(path: str) -> list[str]:
    """Return the files and folders that ``path`` names; several where it is a pattern.

    Args:
        path: a file, a folder, ``-``, or a pattern in which ``*``, ``?``, ``[...]`` and ``**`` stand for names.

    Raises:
        UsageError: nothing matches the pattern, or there is no name.
    """
    # pathlib takes an empty name, as an unset variable leaves it, for the folder that one is in.
    if not path:
        raise UsageError("the name of a file is empty; name a file or folder, or - for standard input")
    # A name with a bracket in it that exists is that file: a shell has expanded it already.
    if path == "-" or not glob.has_magic(path) or Path(path).exists():
        return [path]
    # Sorted: problems are listed in the order of the files, whatever the file system's order is.
    found = sorted(glob.glob(path, recursive=True))  # noqa: PTH207 (Path.glob takes no absolute pattern)
    if not found:
        raise UsageError(f"no file matches {quoted(path)}")
    return found


def files_below(folder: str) -> list[str]:
    """Return every manifest file in a folder and the folders below it, in the order of their names.

    Raises:
        UsageError: there is none.
    """
    files = sorted(
        item for item in Path(folder).rglob("*") if item.suffix in MANIFEST_ENDINGS and item.is_file()
    )
    # A folder without a manifest is a mistyped one more often than an empty one.
    if not files:
        raise UsageError(f"{quoted(folder)} holds no {', '.join(MANIFEST_ENDINGS)} files")
    return [str(file) for file in files]


def is_kustomization(path: str) -> bool:
    """Return True for the name of a kustomization's own file."""
    return Path(path).name in KUSTOMIZATIONS


def has_kustomization(folder: str) -> bool:
    """Return True if ``folder`` is one that ``kubectl kustomize`` builds."""
    return any((Path(folder) / name).is_file() for name in KUSTOMIZATIONS)
