"""Finds the place of a resident verifier, and connects to one of this user that listens (``docs/resident-protocol.md``).

The thin client imports this module at every call: only what the interpreter has loaded anyway, and three small C modules.
"""
# pathlib would cost the client more than everything else it does.
# ruff: noqa: PTH102, PTH116, PTH120

import _socket
import os
import stat
import sys
import time

try:
    if sys.version_info >= (3, 12):
        from _sha2 import sha256
    else:
        from _sha256 import sha256  # type: ignore[import-not-found]
except ImportError:  # an interpreter without hashes of its own; OpenSSL's cost 3 ms
    from hashlib import sha256

from slsa_verifier_plugin import __version__
from slsa_verifier_plugin.environment import BUILD_VARIABLE, LOADER, passed_on

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

DIRECTORY_VARIABLE = "SLSA_VERIFIER_DIR"

MAX_SOCKET_PATH = 107
"""Bytes of a socket's path (Linux: ``sun_path`` less its zero)."""

_PAUSE_SECONDS = 0.005
_PAUSE_SHARE = 0.1
"""Of the time waited so far, for the next pause: many callers that look often keep the verifier from a processor."""


class PlaceError(Exception):
    """A place that must not be used.

    Args:
        problem: what is wrong with it, without any foreign text.
        path: the directory or socket in question.
    """

    def __init__(self, problem: str, path: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.path = path


class NobodyListensError(Exception):
    """No resident verifier listens at a place."""


class Place:
    """The files of the resident verifier for one user, build and environment; none of them need exist."""

    __slots__ = ("claim", "directory", "lock", "log", "parent", "socket")

    def __init__(self, parent: str, key: str) -> None:
        self.parent = parent
        self.directory = f"{parent}/{key}"
        self.socket = f"{self.directory}/socket"
        self.lock = f"{self.directory}/lock"
        # The lock is held by callers while they start a verifier, the claim by the verifier that serves.
        self.claim = f"{self.directory}/server"
        self.log = f"{self.directory}/log"


def find_place(environ: "Mapping[str, str]") -> Place:
    """Return the place of the resident verifier for a caller with this environment.

    Raises:
        PlaceError: its path is relative, or too long for a socket.
    """
    # Empty is not set, as everywhere: a Pod's manifest often sets a variable to nothing.
    parent = environ.get(DIRECTORY_VARIABLE) or _default_parent(environ)
    place = Place(parent, key_of(build_identity(environ), environ))
    # Relative to what? Client and server have different current directories.
    if not parent.startswith("/"):
        raise PlaceError(f"{DIRECTORY_VARIABLE} is a relative path", parent)
    # Before anything is made: the system would cut a longer one short, or refuse it only when it is bound.
    if len(os.fsencode(place.socket)) > MAX_SOCKET_PATH:
        raise PlaceError(f"the socket's path has more than {MAX_SOCKET_PATH} bytes", place.socket)
    return place


def _default_parent(environ: "Mapping[str, str]") -> str:
    # XDG Base Directory Specification: an absolute path, owned by the user, mode 0700. Containers inherit variables that name
    # directories of the host, so one that is not so counts as not set.
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    if runtime.startswith("/") and is_private(runtime):
        return f"{runtime}/slsa-verifier-plugin"
    temporary = environ.get("TMPDIR", "")
    # A relative one would be another directory for each caller.
    if not temporary.startswith("/"):
        temporary = "/tmp"  # noqa: S108 (a directory of our own in it, checked at every use)
    # The user's number: /tmp is for everybody, and another user's directory would be refused.
    return f"{temporary}/slsa-verifier-plugin-{os.geteuid()}"


def build_identity(environ: "Mapping[str, str]") -> str:
    """Return what tells this build from every other: two builds never share a verifier."""
    # Set by the launcher; what is no SHA-256 counts as not set.
    payload = environ.get(BUILD_VARIABLE, "")
    if len(payload) == 64 and not payload.strip("0123456789abcdef"):
        return payload
    package = os.path.dirname(os.path.dirname(__file__))
    newest = 0
    # An upgrade in place writes one or the other anew. Looking at all files would cost each call two milliseconds; the server
    # does that itself, every five seconds.
    for path in (package, f"{package}/__init__.py"):
        try:
            newest = max(newest, os.stat(path).st_mtime_ns)
        except OSError:  # inside an archive
            continue
    # The libraries that a caller puts under the interpreter are part of what verifies.
    loader = "".join(f":{name}={environ[name]}" for name in LOADER if environ.get(name))
    return f"{__version__}:{newest}:{sys.executable}:{package}{loader}"


def key_of(identity: str, environ: "Mapping[str, str]") -> str:
    """Return KEY: 16 hexadecimal characters that stand for a build and the settings of its environment."""
    # Sorted by bytes, as the launcher sorts: the order of an environment means nothing. The zero bytes keep A=B C and A=BC apart,
    # for no variable can hold one.
    relevant = sorted(os.fsencode(f"{name}={value}") for name, value in passed_on(environ).items())
    digest: str = sha256(b"\0".join((os.fsencode(identity), *relevant, b""))).hexdigest()
    return digest[:16]


def is_private(path: str) -> bool:
    """Return True for a directory, no symbolic link, of the effective user and nobody else's in any way."""
    try:
        found = os.lstat(path)
    except (OSError, ValueError):  # ValueError: a zero byte in the path
        return False
    # lstat, not stat: a symbolic link's target could be exchanged after this look.
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077


def check_directories(place: Place, make: bool) -> None:
    """Check that the place is private to the effective user.

    Args:
        place: what to check.
        make: True to make the directories that are missing, in mode 0700.

    Raises:
        PlaceError: a directory is missing and not made, or not private.
    """
    for path in (place.parent, place.directory):
        if make:
            try:
                _make_directory(path)
            except OSError as error:
                raise PlaceError("a directory cannot be made", path) from error
        # Also where it was made just now: another user may have been faster, as /tmp is for everybody.
        if not is_private(path):
            raise PlaceError("a directory is not private to this user (owner, 0700, no symbolic link)", path)


def _make_directory(path: str) -> None:
    """Make a directory with what is missing above it; what exists by then is left for the caller to check."""
    # The usual case first: all that is above exists.
    try:
        try:
            os.mkdir(path, 0o700)
        except FileNotFoundError:
            above = os.path.dirname(path)
            # An empty path, with which a relative one ends, has nothing above it.
            if above == path:
                raise
            _make_directory(above)
            os.mkdir(path, 0o700)
    except FileExistsError:
        return


def connect(place: Place, seconds: float) -> _socket.socket:
    """Return a connection to the verifier that listens at a place; its peer is of the effective user.

    Raises:
        NobodyListensError: there is no socket of this user, or nobody listens on it.
        PlaceError: the directories are not private, or another user listens.
        OSError: it cannot be connected to within ``seconds``, or at all.
    """
    try:
        found = os.lstat(place.socket)
    except FileNotFoundError:
        raise NobodyListensError from None
    check_directories(place, make=False)
    # A symbolic link or another user's socket is never followed; a new verifier will replace it.
    if not stat.S_ISSOCK(found.st_mode) or found.st_uid != os.geteuid():
        raise NobodyListensError
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        # Zero would mean: do not wait at all.
        connection.settimeout(max(seconds, 0.001))
        connection.connect(place.socket)
        # The socket may have been replaced since lstat; the kernel knows who really listens.
        if peer_of(connection)[1] != os.geteuid():
            raise PlaceError("another user listens on the socket", place.socket)
    # It ended just now, or was killed and left its socket.
    except (FileNotFoundError, ConnectionRefusedError):
        connection.close()
        raise NobodyListensError from None
    except BaseException:
        connection.close()
        raise
    return connection


def pause(begun: float, end: float) -> None:
    """Sleep before the next look at a place: 5 ms at first, ever longer the longer it takes, not much beyond ``end``.

    Args:
        begun: when the first look was taken, by ``time.monotonic``.
        end: when there will be none any more, by the same clock.
    """
    # Hundreds of callers may wait for one verifier: each looks less often the longer it has waited.
    now = time.monotonic()
    time.sleep(max(_PAUSE_SECONDS, min((now - begun) * _PAUSE_SHARE, end - now)))


def peer_of(connection: _socket.socket) -> tuple[int, int]:
    """Return process id and effective user id of the other side, as the kernel recorded them (``SO_PEERCRED``)."""
    # struct ucred: pid, uid and gid, each of 32 bits in the machine's own order.
    credentials = connection.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
    return int.from_bytes(credentials[:4], sys.byteorder), int.from_bytes(credentials[4:8], sys.byteorder)
