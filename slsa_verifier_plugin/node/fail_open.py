"""Finds what lets a node pull images unverified, and says what to change (``doctor --containerd``).

Facts of containerd 2.1 to 2.4 (``pkg/imageverifier/bindir``, ``internal/cri/config``): where ``bin_dir`` is missing or empty
every image is let through; with one of ``LOCAL_PULL`` the CRI pulls without the transfer service, and so without verifiers.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from slsa_verifier_plugin.errors import UsageError
from slsa_verifier_plugin.node.call_arguments import PROGRAM, CallError, parse_program
from slsa_verifier_plugin.node.containerd_config import BINDIR, IMAGES, TRANSFER, ContainerdConfig, Setting
from slsa_verifier_plugin.node.policy_folder import (
    CREDENTIALS,
    FolderError,
    check_owned,
    folder_of,
    read_small,
    seconds_of_call,
)
from slsa_verifier_plugin.policy.durations import parse_duration
from slsa_verifier_plugin.policy.verdict import FAILURE_PREFIX
from slsa_verifier_plugin.problem import FAILED, NOT_CHECKED, PASSED, WARNING, DoctorFinding
from slsa_verifier_plugin.resources.kubectl import run_program
from slsa_verifier_plugin.text import plain, quoted

OLDEST = "2.1"
"""The first containerd whose CRI pulls through the transfer service unless told otherwise."""
BIN_DIR = "/opt/containerd/image-verifier/bin"
MAX_VERIFIERS = 10
DEFAULT_TIMEOUT = "10s"
"""containerd's defaults."""
VERSION_SECONDS = 10
_TRIAL_SECONDS = 30
"""For one that unpacks itself first, on a busy machine."""
SPARE_SECONDS = 1.0
"""What containerd must allow a verifier beyond the time that its call takes at most: to start, and to say why."""

# Distributions add to the third number, as in 2.1.3~ds1; only the first two are compared.
_VERSION = re.compile(r"\bv?([0-9]{1,4})\.([0-9]{1,4})\.[0-9][0-9A-Za-z.+~-]*")
# Keys of Docker's configuration that hold a password or a token; names of credential helpers are not among them.
_SECRET = re.compile(r'"(?:auth|password|identitytoken|registrytoken)"')
_BINDIR_KEYS = ("bin_dir", "max_verifiers", "per_verifier_timeout")


@dataclass(frozen=True, slots=True)
class LocalPull:
    """A setting of the CRI's images with which it pulls without verifiers, unless ``is_harmless`` says so of its value."""

    key: str
    is_harmless: Callable[[Any], bool]
    remedy: str


_HOSTS = "take it out; use registry.config_path with hosts.toml files instead (containerd's docs/hosts.md)"
LOCAL_PULL = (
    LocalPull("use_local_image_pull", lambda value: value is False, "set it to false"),
    LocalPull(
        "disable_snapshot_annotations",
        lambda value: value is True,
        "take it out, so that it is true; a snapshotter that needs annotations has a setting of its own for the transfer service",
    ),
    LocalPull("discard_unpacked_layers", lambda value: value is False, "set it to false"),
    LocalPull(
        "max_concurrent_downloads",
        lambda value: value == 3 and value is not True,
        f'take it out, so that it is 3, and set it in [plugins."{TRANSFER}"] instead',
    ),
    LocalPull("image_pull_with_sync_fs", lambda value: value is False, "set it to false"),
)
_REGISTRY = ("mirrors", "configs", "auths")

Gap = tuple[str, str]
"""What lets images through, or keeps all of them out; and what to change."""


class NoVerifierError(Exception):
    """There is no verifier of ours where containerd looks for it. Its arguments are those of a ``Gap``."""


def gaps(config: ContainerdConfig, base: str) -> Iterator[DoctorFinding]:
    """Yield what was found, each with what to change.

    Args:
        config: containerd's.
        base: the folder of all policies.
    """
    versions = ", ".join(sorted({str(version) for version in config.versions}))
    yield DoctorFinding("configuration", PASSED, f"looked at {', '.join(config.files)} (version {versions})")
    yield version_gap()
    yield from _found("image verifier", _disabled(config), f"{BINDIR} is not disabled")
    yield from _found("image verifier", _misplaced(config))
    asks = "the CRI pulls through the transfer service, which asks verifiers"
    yield from _found("pull path", _pull_path(config), asks)
    try:
        path, names = _verifiers(config)
    except NoVerifierError as error:
        # Without one of ours the directory is all that there is to correct.
        yield DoctorFinding("verifier directory", FAILED, *error.args)
        return
    fine = f"{plain(path)}: {', '.join(map(plain, names))}"
    yield from _found("verifier directory", _directory(path, names), fine)
    limit = _value(config, "max_verifiers", MAX_VERIFIERS)
    fine = f"at most {limit} files are asked, and there are {len(names)}"
    yield from _found("verifier limits", _most(limit, names), fine)
    yield from _found("verifier limits", _times(config, names, base))


def _found(name: str, found: Iterable[Gap], fine: str = "") -> Iterator[DoctorFinding]:
    """Yield the gaps in one thing that was looked at; where there is none, what is ``fine``, if that is to be said."""
    failed = [DoctorFinding(name, FAILED, *gap) for gap in found]
    yield from failed or ([DoctorFinding(name, PASSED, fine)] if fine else ())


def _value(config: ContainerdConfig, key: str, default: Any) -> Any:
    """Return a setting of the plugin that calls verifiers, of whatever type; containerd's own where no file has it."""
    setting = config.setting(BINDIR, key)
    return default if setting is None else setting.value


def _disabled(config: ContainerdConfig) -> Iterator[Gap]:
    """Yield which of the plugins that call verifiers does not run."""
    # Without the one nothing runs verifiers, without the other the CRI's pull does not come to them.
    for name, does in ((BINDIR, "runs verifiers"), (TRANSFER, "pulls through them")):
        if name in config.disabled:
            yield (
                f"{config.disabled[name]} disables {name}, which {does}: every image is pulled",
                f"take {name} out of disabled_plugins, and restart containerd",
            )


def _misplaced(config: ContainerdConfig) -> Iterator[Gap]:
    """Yield settings for verifiers that containerd passes over."""
    for key, setting in config.below(BINDIR):
        # containerd has its default in force then, and the administrator believes otherwise.
        if key not in _BINDIR_KEYS:
            yield (
                f"{setting.file} has {quoted(key, 80)} in {BINDIR}, which containerd ignores",
                f"known are {', '.join(_BINDIR_KEYS)}; correct it, and restart containerd",
            )
    # Not every unknown plugin is a slip; one that is told where verifiers are is.
    for path, setting in config.settings.items():
        if path[0] != BINDIR and path[1:] in {(key,) for key in _BINDIR_KEYS}:
            yield (
                f"{setting.file} sets {path[1]} for {quoted(path[0], 80)}, which containerd does not know",
                f'write it below [plugins."{BINDIR}"], and restart containerd',
            )


def _pull_path(config: ContainerdConfig) -> Iterator[Gap]:
    """Yield whatever makes the CRI pull without the transfer service."""
    # One of them is enough: containerd then pulls by itself.
    for reason in LOCAL_PULL:
        setting = config.setting(IMAGES, reason.key)
        if setting is not None and not reason.is_harmless(setting.value):
            yield _local(reason.key, quoted(setting.value, 40), setting, reason.remedy)
    # The older ways to configure registries have the same effect.
    for name in _REGISTRY:
        # One entry is enough for containerd, and the remedy is the same for all.
        for key, setting in islice(config.below(IMAGES, "registry", name), 1):
            yield _local(f"registry.{name}", quoted(key, 80), setting, _HOSTS)


def _local(key: str, value: str, setting: Setting, remedy: str) -> Gap:
    return (
        f"{setting.file} sets {key} to {value} for the CRI: containerd then pulls by itself, past every verifier",
        f"{remedy}; restart containerd",
    )


def _verifiers(config: ContainerdConfig) -> tuple[str, list[str]]:
    """Return ``bin_dir`` and the names of the files in it, as containerd sorts them.

    Raises:
        NoVerifierError: there is none of ours.
    """
    path = _value(config, "bin_dir", BIN_DIR)
    # No folder is found behind such a value, and where bin_dir is missing containerd lets every image through.
    if not isinstance(path, str) or not path.startswith("/") or "\0" in path:
        setting = config.setting(BINDIR, "bin_dir")
        found = f"{setting.file if setting else ''} sets bin_dir to {quoted(path, 80)}: every image is pulled"
        raise NoVerifierError(found, f'set it to "{BIN_DIR}"')
    try:
        names = sorted(os.listdir(path))  # noqa: PTH208 (names, as containerd sorts them)
    except FileNotFoundError:
        raise NoVerifierError(
            f"{plain(path)} does not exist: every image is pulled", _install(path)
        ) from None
    except OSError as error:
        found = f"{plain(path)} cannot be read: {plain(error.strerror)}"
        raise NoVerifierError(found, "make it a folder of root's") from error
    if not names:
        raise NoVerifierError(f"{plain(path)} is empty: every image is pulled", _install(path))
    # Other verifiers may stand beside ours; none of them stands for it.
    if not _own(names):
        raise NoVerifierError(f"{plain(path)} has no {PROGRAM}, but {quoted(names[0], 80)}", _install(path))
    return path, names


def _install(path: str) -> str:
    place = "" if path == BIN_DIR else f" --bin-dir {path}"
    return f"run 'slsa-verifier-plugin install --containerd{place}'"


def _directory(path: str, names: list[str]) -> Iterator[Gap]:
    """Yield what is wrong with ``bin_dir`` and the files in it."""
    # The folder, then each entry: containerd runs every one of them for every image.
    problems = [*_owner(path), *(problem for name in names for problem in _entry(Path(path, name)))]
    if not problems:
        # What others may change is not run, not even to try it.
        problems += [problem for name in _own(names) for problem in _trial(Path(path, name))]
    remedy = "make it an executable file of root's that others may not write to, or remove it; for ours"
    yield from ((problem, f"{remedy} {_install(path)}") for problem in problems)


def _owner(path: str) -> Iterator[str]:
    try:
        check_owned(path)
    except FolderError as error:
        yield f"who may write to bin_dir decides what is pulled: {error}"


def _entry(path: Path) -> Iterator[str]:
    """Yield what is wrong with one entry of ``bin_dir``: containerd runs each, whatever it is."""
    try:
        status = check_owned(str(path))
    except FolderError as error:
        yield str(error)
        return
    if not stat.S_ISREG(status.st_mode):
        yield f"{plain(str(path))} is no file: containerd cannot run it, and pulls nothing"
    elif not status.st_mode & stat.S_IXUSR:
        yield f"{plain(str(path))} is not executable: containerd cannot run it, and pulls nothing"


def _trial(path: Path) -> Iterator[str]:
    """Yield what is wrong with a file of our name: it must be able to run here, and block a call that is none."""
    try:
        # The name first: one that is understood as no profile's blocks every call, whatever the program does.
        parse_program(path.name)
        done = subprocess.run(  # noqa: S603 (containerd runs it for every image)
            # A call that is incomplete: whatever its policies, this verifier blocks it.
            [path, "-digest"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TRIAL_SECONDS,
            check=False,
        )
    except CallError as error:
        yield f"{plain(str(path))} blocks every image: {error}"
    except (OSError, subprocess.TimeoutExpired) as error:
        # Another architecture, an interpreter that is gone, a file system without execution.
        detail = getattr(error, "strerror", None) or "it does not end"
        yield f"{plain(str(path))} cannot be run, so that nothing is pulled: {plain(detail)}"
    else:
        # Status 0 would let an image through; other words mean that another program has our name.
        if done.returncode == 0 or not done.stdout.startswith(FAILURE_PREFIX.encode()):
            yield f"{plain(str(path))} is not this verifier: it does not block a call without an image (status {done.returncode})"


def _most(limit: Any, names: list[str]) -> Iterator[Gap]:
    """Yield whether containerd calls all verifiers."""
    # TOML's true is an int in Python.
    if not isinstance(limit, int) or isinstance(limit, bool):
        yield f"max_verifiers is {quoted(limit, 40)}, no number: containerd does not start", "correct it"
    # In the order of their names, as containerd goes; it takes a negative number for no limit.
    elif 0 <= limit < len(names):
        skipped = ", ".join(map(plain, names[limit:]))
        yield (
            f"max_verifiers is {limit}, and there are {len(names)} files: {skipped} is never asked",
            f"set max_verifiers to {len(names)} or more, or remove files",
        )


def _times(config: ContainerdConfig, names: list[str], base: str) -> Iterator[Gap]:
    """Yield whether containerd waits for the answer of ours."""
    value = _value(config, "per_verifier_timeout", DEFAULT_TIMEOUT)
    try:
        allowed = parse_duration(value) if isinstance(value, str) else None
    except ValueError:
        allowed = None
    for name in _own(names):
        folder = folder_of(_profile(name), base)
        try:
            needed = seconds_of_call(folder)
        except FolderError:
            continue  # said of the policies
        # A time that cannot be read is not known to be long enough.
        if allowed is None or allowed < needed + SPARE_SECONDS:
            yield (
                f"per_verifier_timeout is {quoted(value, 40)}, but {name} may take {needed:g} s and a moment to start: "
                "containerd ends it, and shows no reason",
                f'set per_verifier_timeout to "{needed + SPARE_SECONDS:g}s" or more, or a shorter time in {folder}/timeout',
            )


def credentials_gap(folder: str) -> Iterator[DoctorFinding]:
    """Yield whether passwords of a folder of policies may be read by others than their owner."""
    path = Path(folder) / CREDENTIALS
    try:
        content = read_small(folder, CREDENTIALS) or ""
        mode = stat.S_IMODE(path.stat().st_mode) if content else 0
    except (FolderError, OSError):
        return  # said of the policies, or where a registry asks for them
    # Names of helpers are no secret.
    if mode & 0o077 and _SECRET.search(content):
        yield DoctorFinding(
            "credentials",
            WARNING,
            f"{path} has passwords, and others than its owner may read it (mode {mode:04o})",
            f"chmod 600 {path}",
        )


def profiles(config: ContainerdConfig) -> list[str]:
    """Return the profiles of our files in ``bin_dir``; the default one is the empty name, and stands for none found, too."""
    try:
        names = _own(_verifiers(config)[1])
    except NoVerifierError:
        names = []  # said of the verifier directory
    # Each once: a name that is not understood counts as the default one, which may be there as well.
    return list(dict.fromkeys(map(_profile, names))) or [""]


def _profile(name: str) -> str:
    """Return the profile of one of our files, the default one's for a name that is none; that is said of the file."""
    try:
        return parse_program(name)
    except CallError:
        return ""


def _own(names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(PROGRAM)]


def version_gap() -> DoctorFinding:
    """Return whether the containerd on the PATH is one that asks verifiers for the CRI's pulls."""
    name = "containerd"
    program = shutil.which("containerd")
    try:
        said = run_program([program, "--version"], os.environ, VERSION_SECONDS, "") if program else b""
    # One that cannot be run or hangs says as little as one that is not there.
    except UsageError:
        said = b""
    found = _VERSION.search(said.decode("utf-8", "replace"))
    if not found:
        what = "there is no containerd on the PATH that says its version"
        remedy = f"before {OLDEST} the CRI pulls past every verifier: compare 'containerd --version'"
        return DoctorFinding(name, NOT_CHECKED, what, remedy)
    # As numbers: as texts 2.10 would come before 2.9.
    version = (int(found[1]), int(found[2]))
    if version < (2, 1):
        what = f"version {found[0]}: the CRI pulls past every verifier"
        return DoctorFinding(name, FAILED, what, f"update to {OLDEST} or newer")
    return DoctorFinding(name, PASSED, f"version {found[0]}")
