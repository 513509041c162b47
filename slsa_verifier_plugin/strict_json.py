"""JSON (RFC 8259) as a verifier must read it: one meaning or an error.

Two parsers that disagree about one document are how a signed statement comes to say one thing to the
signer and another to the policy, so duplicate names, NaN, infinities, invalid UTF-8, half a surrogate
pair (RFC 8259, section 8.2) and deep nesting are errors.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

MAX_DEPTH = 64
"""Nesting levels of objects and arrays, and of what stands in the innermost."""
MAX_VALUES = 1 << 18
"""Commas and opening brackets of one document, which bound the number of its values: three bytes can ask for 64 of memory."""

FREE_VALUES = 64
"""Values that a document may have whatever its size; see ``is_dense``."""
BYTES_A_VALUE = 12
"""Bytes that each further value must have on average, with its name, quotes and brackets. Parsing costs by the value."""

# An escape of half a pair; whether the other half follows is asked of the value.
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class JsonError(ValueError):
    """The bytes are not JSON, or JSON that is open to more than one reading."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    # RFC 8259, section 4: what a reader makes of a name twice "is unpredictable".
    if len(result) != len(pairs):
        raise JsonError("a name occurs twice in one object")
    return result


def _constant(name: str) -> NoReturn:
    # Python's parser takes NaN and Infinity; RFC 8259, section 6, has neither.
    raise JsonError(f"{name} is not a JSON number")


def _integer(digits: str) -> int:
    # Python's int() takes time by the square of the digits.
    if len(digits) > 32:
        raise JsonError("a number has more than 32 digits")
    return int(digits)


def _float(text: str) -> float:
    value = float(text)
    # ``1e999``: one reader's infinity is another one's error.
    if math.isinf(value):
        raise JsonError("a number is too large")
    return value


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_constant=_constant, parse_int=_integer, parse_float=_float
)


def _check_depth(value: object) -> None:
    depth, level = 0, [value]
    # Level by level and not by recursion, which Python ends at a thousand.
    while level:
        level = [
            child
            for item in level
            if isinstance(item, (dict, list))
            for child in (item.values() if isinstance(item, dict) else item)
        ]
        depth += 1
        if depth > MAX_DEPTH:
            raise JsonError(f"nested deeper than {MAX_DEPTH} levels")


def _check_surrogates(value: object) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise JsonError("half a surrogate pair is no character") from None


def is_dense(content: bytes) -> bool:
    """Return True if ``content`` has more values than a document of its size that anybody signs: a megabyte of ``1,1,1``.

    Told by counting, which costs a hundredth of parsing them; for documents that nobody vouches for yet. A statement of a
    thousand short subjects has 17 bytes a value, a bundle 40 and more.
    """
    return sum(map(content.count, (b",", b"[", b"{"))) > FREE_VALUES + len(content) // BYTES_A_VALUE


def loads(content: bytes) -> Any:
    """Return the JSON value in ``content``.

    Raises:
        JsonError: not UTF-8, not JSON, a duplicate name, NaN or an infinity, a number of more than 32
            digits, half a surrogate pair, nesting deeper than ``MAX_DEPTH``, or more than ``MAX_VALUES``.
    """
    # Counted in the bytes, also inside texts: too many rather than too few, and no real document comes near.
    if sum(map(content.count, (b",", b"[", b"{"))) > MAX_VALUES:
        raise JsonError(f"more than {MAX_VALUES} values")
    try:
        # RFC 8259, 8.1: JSON between systems is UTF-8. Python's parser would guess UTF-16 and UTF-32 as well.
        text = content.decode("utf-8")
        value = _DECODER.decode(text)
    # Raised by the decoder's hooks above, in words of our own.
    except JsonError:
        raise
    except UnicodeDecodeError as error:
        raise JsonError(f"not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        # Some of the parser's sentences end with "at" themselves.
        raise JsonError(f"{error.msg.removesuffix(' at')} at character {error.pos}") from None
    except RecursionError:
        # Python's parser recurses: a document of a thousand brackets ends it, which must be an error and not a crash.
        raise JsonError(f"nested deeper than {MAX_DEPTH} levels") from None
    # Few documents have brackets enough to be too deep; the others need no walk.
    if content.count(b"[") + content.count(b"{") >= MAX_DEPTH:
        _check_depth(value)
    if _SURROGATE.search(text):
        # "\ud83d" alone parses, and breaks whoever writes it as UTF-8 later: in a log, or in the answer to Ratify.
        _check_surrogates(value)
    return value


def object_in(content: bytes) -> dict[str, Any]:
    """Return the JSON object in ``content``, an empty one where it is no JSON or anything else."""
    try:
        value = loads(content)
    except JsonError:
        # No error: whoever asks misses the member that it looks for, and says so.
        return {}
    return value if isinstance(value, dict) else {}
