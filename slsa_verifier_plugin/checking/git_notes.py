"""Fetches a commit's git note with the user's own git, which has the user's credentials.

Repository and commit may come from an image's labels, which whoever built the image chose. So git gets no argument that could be
read as an option, speaks only the transport that the address names, runs no hook, asks nothing on a terminal, and has limits of
time and size.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import ArtifactError, Reason, RegistryError, UsageError
from slsa_verifier_plugin.model.image_label import repository_in
from slsa_verifier_plugin.network.addresses import literal
from slsa_verifier_plugin.text import plain, quoted

REF = "refs/notes/commits"
"""Where the SLSA source workflow keeps its bundles: the ref that 'git notes' uses by itself."""
MAX_FETCHED = 256 << 20
"""Bytes of the pack with all notes of a repository, and so of what git may write to any one file."""
MAX_NOTE = 64 << 20
"""Bytes of one note."""
MAX_ADDRESS = 2048
"""Characters of a repository's address."""

_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_SHORT = re.compile(r"(?P<user>[A-Za-z0-9_.-]+)@(?P<host>[A-Za-z0-9.-]+):(?P<path>[A-Za-z0-9._~/-]+)")
"""git's short form of ssh (git-fetch(1), "GIT URLS")."""
_URL = re.compile(r"(?P<scheme>https|http|ssh|git|file)://[\x21-\x7e]+")
_PROTOCOLS = {"https": "https:ssh", "http": "http", "ssh": "ssh", "git": "git", "file": "file"}
"""What git may speak by the scheme asked for. Users' settings rewrite HTTPS to SSH (url.insteadOf), and nothing else."""
_KEPT = re.compile(
    r"HOME|PATH|USER|LOGNAME|TMPDIR|XDG_CONFIG_HOME|DISPLAY|WAYLAND_DISPLAY|DBUS_SESSION_BUS_ADDRESS|XDG_RUNTIME_DIR|"
    r"(?i:https?_proxy|all_proxy|no_proxy)|SSL_CERT_FILE|SSL_CERT_DIR|SSH_AUTH_SOCK|SSH_ASKPASS|GIT_ASKPASS|GIT_SSH|"
    r"GIT_SSH_COMMAND|GIT_SSH_VARIANT|GIT_SSL_CAINFO|GIT_SSL_CAPATH|GIT_CONFIG_GLOBAL|GIT_CONFIG_SYSTEM|GIT_CONFIG_NOSYSTEM|"
    r"GIT_CONFIG_COUNT|GIT_CONFIG_KEY_[0-9]+|GIT_CONFIG_VALUE_[0-9]+"
)
"""Variables that say who the user is, how hosts are reached and where credentials are. Not those that name another repository
(GIT_DIR and its like), other programs of git's own (GIT_EXEC_PATH), or write headers with credentials down (GIT_TRACE*)."""
_SETTINGS = (
    # No hook or monitor of the user's runs, and no housekeeping outlives the call.
    *("core.hooksPath=/dev/null", "core.fsmonitor=false", "gc.auto=0", "maintenance.auto=false"),
    # One file of one pack, so that the limit of a file's size is that of all notes.
    *("fetch.unpackLimit=1", "fetch.fsckObjects=true"),
    *("fetch.recurseSubmodules=false", "fetch.writeCommitGraph=false"),
)


def asked_repository(text: str) -> str:
    """Return the address, as git is told it, of the repository that a person named.

    A URL, ``user@host:path``, ``OWNER/NAME`` on github.com, or an existing folder.

    Raises:
        UsageError: none of these, or an option or remote helper in disguise.
    """
    plain_url = text.removeprefix("git+")
    if len(text) > MAX_ADDRESS:
        raise UsageError(
            f"a repository's address of {len(text)} characters is too long; at most {MAX_ADDRESS} are taken"
        )
    # A password in the address would be on git's command line, where other users can read it.
    if (found := _URL.fullmatch(plain_url)) and "@" not in _authority(plain_url, found["scheme"]):
        return plain_url
    # "-oProxyCommand=..." is an option to ssh, and what begins with a dash one to git.
    if _SHORT.fullmatch(text) and not text.startswith("-"):
        return text
    # A folder of that name goes before github.com: reading it asks nobody.
    if (
        re.fullmatch(r"[A-Za-z0-9-]+/[A-Za-z0-9._-]+", text)
        and not text.startswith("-")
        and not Path(text).is_dir()
    ):
        return f"https://github.com/{text}"
    # "ext::sh -c ..." is a remote helper, which runs a program.
    if "::" not in text and Path(text).is_dir():
        # Absolute, for git runs in a folder of its own; as a URL, so that its transport can be allowed alone.
        return Path(text).absolute().as_uri()
    raise UsageError(
        f"{quoted(_without_password(text))} is no repository that git could be asked for; expected https://HOST/OWNER/NAME, "
        "user@HOST:OWNER/NAME, OWNER/NAME on github.com, or a folder. User names and passwords in an URL belong to git's "
        "credential helper"
    )


def _without_password(text: str) -> str:
    """Return ``text`` without what stands before the last ``@`` of its host, which may be a password."""
    before, slashes, rest = text.partition("//")
    return f"{before}//{rest.rpartition('@')[2]}" if slashes else text


def _authority(url: str, scheme: str) -> str:
    """Return user and host of ``url``, but an empty text for ssh, where the user belongs to the address."""
    return "" if scheme == "ssh" else url.removeprefix(f"{scheme}://").partition("/")[0]


def told_repository(text: str, *, by_image: bool) -> str | None:
    """Return the address of the repository that an image's label or a policy names, None where it is none that may be asked.

    Only by HTTPS. Where the image says it, only at a public name: it must not choose which of the caller's own machines is asked.
    """
    found = repository_in(text)
    # An image must not make the caller speak ssh with the caller's keys, or read a folder.
    if found is None or found.scheme not in ("https", "git"):
        return None
    # A trailing dot names the same host (RFC 1034 "3.1").
    host = found.host.partition(":")[0].rstrip(".")
    is_own = (
        literal(host) is not None or "." not in host or host.endswith((".localhost", ".local", ".internal"))
    )
    if by_image and is_own:
        return None
    return f"https://{found.host}/{found.path}"


def fetch_note(repository: str, commit: str, environ: Mapping[str, str], deadline: Deadline) -> bytes:
    """Return the git note of ``commit`` (``refs/notes/commits``).

    Args:
        repository: its address.
        commit: 40 hexadecimal digits, 64 in a repository of SHA-256.
        environ: the caller's environment; git sees a part of it.
        deadline: the end of it.

    Raises:
        UsageError: ``commit`` is none, or there is no git.
        ArtifactError: reason ``NO_ATTESTATION``: the repository has no notes, or the commit has none.
        RegistryError: the repository cannot be read, has too much, or took too long.
    """
    # Before git sees it: a word that begins with a dash would be an option.
    if not _COMMIT.fullmatch(commit):
        raise UsageError(f"{quoted(commit, 80)} is no commit: expected 40 hexadecimal digits")
    # By the caller's PATH: git has the caller's credential helpers beside it.
    git = shutil.which("git", path=environ.get("PATH", os.defpath))
    if git is None:
        raise UsageError(
            "git is not installed, which fetches notes; install it, or fetch the note elsewhere and attach the file"
        )
    with tempfile.TemporaryDirectory(prefix="slsa-notes-", ignore_cleanup_errors=True) as folder:
        # A repository of its own, so that nothing of the caller's working tree is read or changed.
        run = _Git(git, Path(folder), repository, environ, deadline)
        # git cannot fetch from a SHA-256 repository into a SHA-1 one, so init is told which.
        length = "sha256" if len(commit) == 64 else "sha1"
        # An empty template: hooks of the user's own templates would run.
        run.wanted("init", "--quiet", "--bare", "--template=", f"--object-format={length}", str(run.place))
        status = run.status("ls-remote", "--exit-code", "--", repository, REF)
        if status == 2:  # it answers, and has no such ref
            raise _absent(
                f"{plain(repository)} has no git notes ({REF}); did the SLSA source workflow run there?"
            )
        # Asked first: a fetch of a ref that is not there fails like one of a repository that cannot be read.
        if status == 0:
            status = run.status(
                "fetch",
                "--quiet",
                "--no-tags",
                # The newest commit of the notes has every note that exists; their history is not needed.
                "--depth=1",
                "--no-write-fetch-head",
                "--",
                repository,
                f"+{REF}:{REF}",
            )
        # Whatever git says, with the address: a private repository answers "not found" to strangers.
        if status != 0:
            raise run.failure(status)
        if run.status("notes", "--ref", REF, "list", commit) != 0:
            raise _absent(
                f"commit {commit} has no git note in {plain(repository)}; did the SLSA source workflow run for it?"
            )
        # The object's name; git prints nothing else here.
        note = run.output.decode("ascii", "replace").strip()
        run.wanted("cat-file", "-s", note)
        size = int(run.output)
        # The size before the content: a note may be as large as the whole fetch.
        if size > MAX_NOTE:
            raise RegistryError(
                f"the git note of {commit} has {size} bytes, at most {MAX_NOTE} are read",
                reason=Reason.LIMIT_EXCEEDED,
            )
        run.wanted("cat-file", "blob", note)
        return run.output


def _absent(message: str) -> ArtifactError:
    return ArtifactError(message, reason=Reason.NO_ATTESTATION, transient=True)


class _Git:
    """Runs git in one bare repository of its own below ``folder``."""

    def __init__(
        self, git: str, folder: Path, repository: str, environ: Mapping[str, str], deadline: Deadline
    ) -> None:
        self.place = folder / "notes.git"
        self.output = b""
        self._git = git
        self._folder = folder
        self._repository = repository
        self._deadline = deadline
        self._said = ""
        kept = {name: value for name, value in environ.items() if _KEPT.fullmatch(name)}
        # C: messages are matched below, and a translation of "File too large" would not be.
        self._environ = {
            "PATH": os.defpath,
            **kept,
            # A missing password must fail at once: in CI nobody answers a prompt.
            "GIT_TERMINAL_PROMPT": "0",
            # git's short form, without a scheme, is ssh.
            "GIT_ALLOW_PROTOCOL": _PROTOCOLS.get(repository.partition("://")[0], "ssh"),
            "GCM_INTERACTIVE": "never",
            "LC_ALL": "C",
        }

    def wanted(self, *arguments: str) -> None:
        """Run a command that must succeed."""
        status = self.status(*arguments)
        if status != 0:
            raise self.failure(status)

    def status(self, *arguments: str) -> int:
        """Run a command and return its exit status; its output is in ``output``.

        Raises:
            RegistryError: out of time.
        """
        settings = [text for setting in _SETTINGS for text in ("-c", setting)]
        # init makes the folder that the others are told of.
        place = [] if arguments[0] == "init" else [f"--git-dir={self.place}"]
        # Files, not pipes: a pipe that nobody empties would hold git up for ever.
        with (self._folder / "out").open("w+b") as out, (self._folder / "err").open("w+b") as errors:
            status = self._run([self._git, *settings, *place, *arguments], out.fileno(), errors.fileno())
            out.seek(0)
            errors.seek(0)
            # One byte more than a note may have; fetch_note has asked for its size before.
            self.output = out.read(MAX_NOTE + 1)
            self._said = errors.read(4096).decode("utf-8", "replace")
        return status

    def _run(self, command: Sequence[str], out: int, errors: int) -> int:
        # The signal would kill git without a word; where it is ignored, writing fails and git says why. ulimit counts in blocks
        # of 512 bytes (POSIX). Whatever git starts has the limit, too.
        limited = [
            "/bin/sh",
            "-c",
            'trap "" XFSZ && ulimit -f "$0" && exec "$@"',
            str(MAX_FETCHED // 512),
            *command,
        ]
        process = subprocess.Popen(  # noqa: S603  (arguments that git cannot take for options)
            limited,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=errors,
            cwd=self._folder,
            env=self._environ,
            start_new_session=True,  # no terminal to ask for a password on, and one group to end
        )
        try:
            return process.wait(timeout=max(self._deadline.remaining(), 0.001))
        except subprocess.TimeoutExpired:
            raise RegistryError(
                f"fetching git notes from {plain(self._repository)} took too long; try again, or give more --timeout",
                reason=Reason.REGISTRY_UNREACHABLE,
                transient=True,
            ) from None
        finally:
            # git leaves ssh and remote helpers behind when it is killed; the group ends them.
            # The group is gone already where git ended by itself.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            # Reaps the process, or it would stay as a zombie.
            process.wait()

    def failure(self, status: int) -> RegistryError:
        """Return the error for a command that failed, with what git said in its last lines."""
        address = plain(self._repository)
        # What ulimit -f made of the write (EFBIG), in git's words with LC_ALL=C.
        if "File too large" in self._said:
            return RegistryError(
                f"the git notes of {address} have more than {MAX_FETCHED >> 20} MiB; fetch the note yourself and attach the file",
                reason=Reason.LIMIT_EXCEEDED,
            )
        # Hints and progress are left out: what failed begins with one of these words.
        lines = [
            line.strip()
            for line in self._said.splitlines()
            if line.startswith(("fatal:", "error:", "remote:", "ERROR"))
        ]
        said = plain("; ".join(lines[:3]), 300) or f"it ended with {status}"
        return RegistryError(
            f"the git notes cannot be fetched from {address}: git says {quoted(said, 320)}; may you read the repository, and "
            "does git's credential helper know the password?",
            reason=Reason.REGISTRY_UNREACHABLE,
            transient=True,
        )
