"""Frames of the resident verifier's protocol, version 1 (``docs/resident-protocol.md``): bytes in, values out, no I/O.

The thin client imports this module at every call of Ratify, so it imports nothing, and integers are read and written with
``int`` alone: ``struct`` would cost another third of a millisecond.
"""

MAGIC = b"SLSV"
VERSION = 1
HEADER_BYTES = 12
"""Magic, version (u16), kind (u16) and length of the body (u32), big-endian."""
MAX_REQUEST = 4 << 20
"""Bytes of a request's body."""
MAX_OWN_REQUEST = 5 << 20
"""The same to a process of the launcher's own, which takes whatever was read."""
MAX_REPLY = 256 << 10
"""Bytes of a reply's body."""
MAX_STDIN = 4 << 20
"""Bytes of standard input that a client reads; a real one has about a kilobyte."""

VERIFY = 1
ANSWER = 2
ACCEPTED = 3
STATUS = 4
STATUS_REPLY = 5
STOP = 6
BUSY = 7
CHECK = 8
REPORT = 9

ACCEPT_SECONDS = 1.25
"""How long a client waits for ACCEPTED before it tries other ways as well."""
START_SECONDS = 2.0
"""How long a client waits for a verifier that was started to listen, the same."""
FRAME_SECONDS = 2.0
"""How long a frame may stay incomplete."""
STDIN_SECONDS = 2.0
"""How long a client reads standard input."""
GRACE_SECONDS = 0.2
"""What ACCEPTED promises beyond the request's own deadline, so that the verifier's own word comes first."""
MAX_BUDGET = 600.0
"""Seconds that any call may take, whatever it asks for."""
MAX_ACCEPTED_SECONDS = MAX_BUDGET + GRACE_SECONDS
"""The longest time that ACCEPTED may promise."""

Answer = tuple[int, bytes, bytes]
"""Exit status, standard output, standard error."""
Request = tuple[float, bytes | None, bytes | None, bytes | None, bytes]
"""Seconds used already, and four fields: of VERIFY the three RATIFY_VERIFIER_* variables (command, subject, version) and standard
input; of CHECK the policy folder, the image's name, its digest, and the milliseconds that the whole call may take; of REPORT what
``verify`` was told, the image's name, those milliseconds, and the files that it was given."""


def _denial(sentence: bytes, reason: bytes = b"INTERNAL_ERROR", transient: bytes = b"true") -> bytes:
    """Return the line of a denial that needs no verdict; its message ends with the code, as those of verdicts do."""
    return (
        b'{"isSuccess":false,"message":"SLSA attestation verified FAILED: %b [%b]",'
        b'"extensions":{"reason":"%b","transient":%b}}\n' % (sentence, reason, reason, transient)
    )


_SEE = b"'slsa-verifier-plugin resident status'"
DEADLINE_LINE = _denial(
    b"the verifier gave no answer in time; try again, and look at %b." % _SEE, b"DEADLINE_EXCEEDED"
)
INTERNAL_LINE = _denial(
    b"an internal error ended this verification; see the latest errors in %b." % _SEE, transient=b"false"
)
REQUIRED_LINE = _denial(
    b"no resident verifier answers, and SLSA_VERIFIER_RESIDENT=require forbids to verify without; "
    b"look at %b." % _SEE
)
NO_TURN_LINE = _denial(
    b"no resident verifier answered, and no turn for a process of its own came in time (one a processor, two at most); "
    b"try again, and look at %b." % _SEE,
    b"DEADLINE_EXCEEDED",
)
ENDED_LINE = _denial(
    b"the verifying process ended without an answer; try again, give it more memory, or report it."
)

STDIN_LARGE = "standard input has more than 4194304 bytes"
STDIN_SLOW = "standard input did not end within 2 s"
STDIN_FAILED = "standard input cannot be read"

MISSING_VARIABLES = (
    b'{"code":4,"msg":"missing environment variables: %b","details":"Ratify sets them when it runs this plugin; '
    b"people use 'slsa-verifier-plugin verify IMAGE'\"}\n"
)
"""The contract's error 4, as ``ratify.parse_call`` and the launcher word it; the names are filled in."""

# Longer than any body may be, so no field has this length.
_NOT_SET = 0xFFFFFFFF


class FrameError(Exception):
    """Bytes that are no frame of this protocol's version, or a value that fits into none."""


class Question:
    """What a verifier is asked.

    Args:
        kind: VERIFY, CHECK or REPORT.
        fields: the request's, after its time.
        seconds: what the whole call may take, where the verifier's own word does not say otherwise.
    """

    __slots__ = ("fields", "kind", "seconds")

    def __init__(
        self, kind: int, fields: tuple[bytes | None, bytes | None, bytes | None, bytes], seconds: float
    ) -> None:
        self.kind = kind
        self.fields = fields
        self.seconds = seconds

    def frame(self, elapsed: float) -> bytes:
        """Return the request's frame; raises ``FrameError`` where it fits in none."""
        return encode_request((elapsed, *self.fields), self.kind)


def stdin_line(problem: str) -> bytes:
    """Return the contract's error 5, by what is wrong with standard input."""
    return (
        b'{"code":5,"msg":"%b","details":"Ratify writes one JSON object of about a kilobyte, and closes it"}\n'
        % problem.encode()
    )


def lack_line(number: int) -> bytes:
    """Return the denial for a verification that could not be started, by the system's number of the error."""
    # Imported here: of all calls few lack anything, and the client's every import takes a part of a millisecond.
    from slsa_verifier_plugin import lacks

    sentence = (
        f"the verification could not be started: {lacks.sentence(number)}; try again, or raise the limit."
    )
    return _denial(sentence.encode())


def frame(kind: int, body: bytes = b"") -> bytes:
    """Return the frame of a kind with its body."""
    # Big-endian, which Python 3.11 and later take where no order is given.
    return b"".join((MAGIC, VERSION.to_bytes(2), kind.to_bytes(2), len(body).to_bytes(4), body))


def parse_header(header: bytes | bytearray, limit: int) -> tuple[int, int]:
    """Return kind and body length of a frame's header.

    Args:
        header: at least its ``HEADER_BYTES`` first bytes.
        limit: bytes that the body may have.

    Raises:
        FrameError: another magic or version, or a longer body.
    """
    # The magic first: whatever else connects here, HTTP say, is told apart by its first four bytes.
    if header[:4] != MAGIC:
        raise FrameError("no frame begins here")
    if int.from_bytes(header[4:6]) != VERSION:
        raise FrameError("a frame of another version of the protocol")
    length = int.from_bytes(header[8:12])
    # Before any of the body is read: a length of 4 GiB must not be waited for, or held.
    if length > limit:
        raise FrameError(f"a frame of more than {limit} bytes")
    return int.from_bytes(header[6:8]), length


def take_frame(buffer: bytearray, limit: int) -> tuple[int, bytes] | None:
    """Take the first frame out of a buffer: return its kind and body, or None while bytes of it are missing.

    Args:
        buffer: what has come so far.
        limit: bytes that the body may have.

    Raises:
        FrameError: what begins there is no frame, or one over ``limit``.
    """
    if len(buffer) < HEADER_BYTES:
        return None
    kind, length = parse_header(buffer, limit)
    size = HEADER_BYTES + length
    if len(buffer) < size:
        return None
    # A slice of the buffer itself would be one more copy, of up to 4 MiB.
    body = bytes(memoryview(buffer)[HEADER_BYTES:size])
    del buffer[:size]
    return kind, body


def encode_request(request: Request, kind: int = VERIFY) -> bytes:
    """Return the VERIFY, CHECK or REPORT frame of a request.

    Raises:
        FrameError: its body would be larger than ``MAX_REQUEST``.
    """
    elapsed, *fields = request
    # The field has 32 bits: 49 days.
    milliseconds = min(max(round(elapsed * 1000), 0), 0xFFFFFFFF)
    body = milliseconds.to_bytes(4) + b"".join(map(_field, fields))
    if len(body) > MAX_REQUEST:
        raise FrameError(f"a request of more than {MAX_REQUEST} bytes")
    return frame(kind, body)


def decode_request(body: bytes) -> Request:
    """Return the request in the body of a VERIFY, CHECK or REPORT frame.

    Raises:
        FrameError: it is not one.
    """
    if len(body) < 4:
        raise FrameError("a request without its time")
    command, at = _take(body, 4)
    subject, at = _take(body, at)
    version, at = _take(body, at)
    stdin, at = _take(body, at)
    # Bytes behind the last field would be a request that two readers could understand in two ways.
    if stdin is None or at != len(body):
        raise FrameError("a request that is not four fields with standard input as the last")
    return int.from_bytes(body[:4]) / 1000, command, subject, version, stdin


def asked_seconds(kind: int, request: Request) -> float:
    """Return the seconds that the whole call of a CHECK or REPORT may take.

    Raises:
        FrameError: a field of a CHECK is not set, or they are no number of milliseconds of which a call may have so many.
    """
    _, folder, name, third, last = request
    # Without one of them there would be something to guess.
    if kind == CHECK and not (folder and name and third):
        raise FrameError("a check without folder, name or digest")
    limit = last if kind == CHECK else third or b""
    # The length first: beyond 4,300 digits int() raises ValueError, which would end the server and not the connection.
    if not limit.isdigit() or len(limit) > 6 or int(limit) > MAX_BUDGET * 1000:
        raise FrameError("a request without its time limit")
    return int(limit) / 1000


def encode_answer(answer: Answer) -> bytes:
    """Return the ANSWER frame of an answer.

    Raises:
        FrameError: the status is not 0 to 255, or the body would be larger than ``MAX_REPLY``.
    """
    status, stdout, stderr = answer
    # POSIX keeps eight bits of an exit status: 256 would be 0, which is a verdict.
    if not 0 <= status <= 255:
        raise FrameError("an exit status that is no byte")
    body = status.to_bytes(1) + _field(stdout) + _field(stderr)
    if len(body) > MAX_REPLY:
        raise FrameError(f"an answer of more than {MAX_REPLY} bytes")
    return frame(ANSWER, body)


def decode_answer(body: bytes) -> Answer:
    """Return the answer in an ANSWER frame's body.

    Raises:
        FrameError: it is not one.
    """
    if not body:
        raise FrameError("an answer without exit status")
    stdout, at = _take(body, 1)
    stderr, at = _take(body, at)
    # Empty is a value, missing is none: only a whole answer counts.
    if stdout is None or stderr is None or at != len(body):
        raise FrameError("an answer that is not two fields")
    return body[0], stdout, stderr


def encode_accepted(seconds: float) -> bytes:
    """Return the ACCEPTED frame that promises an answer within ``seconds``."""
    # The field has 32 bits, as a request's.
    return frame(ACCEPTED, min(max(round(seconds * 1000), 0), 0xFFFFFFFF).to_bytes(4))


def decode_accepted(body: bytes) -> float:
    """Return the seconds in an ACCEPTED frame's body.

    Raises:
        FrameError: it is not one, or promises more than ``MAX_ACCEPTED_SECONDS``.
    """
    if len(body) != 4:
        raise FrameError("an acceptance without its time")
    seconds = int.from_bytes(body) / 1000
    # A client believes this number: without the bound a broken server could make it wait for 49 days.
    if seconds > MAX_ACCEPTED_SECONDS:
        raise FrameError(f"an acceptance for more than {MAX_ACCEPTED_SECONDS:g} s")
    return seconds


def _field(value: bytes | None) -> bytes:
    return _NOT_SET.to_bytes(4) if value is None else len(value).to_bytes(4) + value


def _take(body: bytes, at: int) -> tuple[bytes | None, int]:
    """Return the field that begins at ``at``, and where the next one does."""
    begin = at + 4
    if begin > len(body):
        raise FrameError("a field without its length")
    length = int.from_bytes(body[at:begin])
    # A variable that is not set differs from one that is empty: Ratify's contract has an error for each.
    if length == _NOT_SET:
        return None, begin
    # A slice beyond the end would silently be shorter.
    if begin + length > len(body):
        raise FrameError("a field longer than its frame")
    return body[begin : begin + length], begin + length
