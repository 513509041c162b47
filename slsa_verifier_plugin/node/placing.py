"""Puts a node's policies into place after trying them. Policies that cannot decide never replace those that can."""

from __future__ import annotations

import filecmp
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from slsa_verifier_plugin.errors import UsageError
from slsa_verifier_plugin.node.decision import policies_gap
from slsa_verifier_plugin.node.policy_folder import (
    CREDENTIALS,
    ENDINGS,
    MAX_FILES,
    FolderError,
    check_folder,
)
from slsa_verifier_plugin.problem import FAILED
from slsa_verifier_plugin.service.service import Service
from slsa_verifier_plugin.text import plain, quoted


def place_policies(source: Path, target: Path, service: Service) -> list[str]:
    """Make the files of ``target`` those of ``source``, and return the names of those that changed or went.

    Folders in ``target`` stay: they are other profiles'. Links in ``source`` are followed: a mounted ConfigMap is made of them.

    Raises:
        UsageError: a folder cannot be used, or what is in ``source`` cannot decide; then nothing has changed.
    """
    try:
        # On a new node there is none.
        target.mkdir(mode=0o755, parents=True, exist_ok=True)
        check_folder(str(target))
        # In the target, so that each file comes into place by a rename within one file system; the dot hides it from calls.
        with tempfile.TemporaryDirectory(prefix=".new-", dir=target) as made:
            fresh = Path(made)
            # 0755: what is made for one process alone could not be read by a containerd without root.
            fresh.chmod(0o755)
            names = [_copy(file, fresh / file.name) for file in _files(source)]
            gap = policies_gap(str(fresh), service)
            # What is there goes on deciding: a broken ConfigMap must not stop a node.
            if gap.outcome == FAILED:
                problem = gap.message.replace(str(fresh), str(source))
                raise UsageError(f"the policies in {quoted(str(source))} are not put into place: {problem}")
            changed = [name for name in names if not _is_same(fresh / name, target / name)]
            # What decides comes first, exemptions and credentials after it; what is no longer there goes last.
            for name in sorted(changed, key=lambda name: not name.endswith(ENDINGS)):
                # A rename: a call that reads meanwhile has the old file or the new one.
                (fresh / name).replace(target / name)
            gone = sorted({file.name for file in _files(target)} - set(names))
            for name in gone:
                (target / name).unlink()
    except OSError as error:
        raise UsageError(
            f"the policies cannot be put into {quoted(str(target))}: {plain(error.strerror or str(error))}"
        ) from error
    except FolderError as error:
        raise UsageError(f"the policies cannot be put into place: {error}") from error
    return changed + gone


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder, by name; those whose names begin with a dot are a mounted ConfigMap's own."""
    found = sorted(file for file in folder.iterdir() if not file.name.startswith(".") and file.is_file())
    # More than a call would look at: refused here, where somebody reads it.
    if len(found) > MAX_FILES:
        raise UsageError(f"{quoted(str(folder))} has {len(found)} files; expected at most {MAX_FILES}")
    yield from found


def _copy(file: Path, made: Path) -> str:
    shutil.copyfile(file, made)
    # Passwords for their owner alone; policies for whoever wants to read them.
    made.chmod(0o600 if file.name == CREDENTIALS else 0o644)
    return file.name


def _is_same(new: Path, old: Path) -> bool:
    # A link may lead to the same content today and elsewhere tomorrow.
    if not old.is_file() or old.is_symlink():
        return False
    modes = new.stat().st_mode == old.stat().st_mode
    return modes and filecmp.cmp(new, old, shallow=False)
