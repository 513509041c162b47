"""JSON (RFC 8259) as a verifier must read it: one meaning or an error.

Two parsers that disagree about one document are how a signed statement comes to say one thing to the
signer and another to the policy, so duplicate names, NaN, invalid UTF-8 and deep nesting are errors.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

MAX_DEPTH = 64
"""Nesting levels of objects and arrays."""


class JsonError(ValueError):
    """The bytes are not JSON, or JSON that is open to more than one reading."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise JsonError("a name occurs twice in one object")
    return result


def _constant(name: str) -> NoReturn:
    raise JsonError(f"{name} is not a JSON number")


def _integer(digits: str) -> int:
    if len(digits) > 32:
        raise JsonError("a number has more than 32 digits")
    return int(digits)


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant, parse_int=_integer)


def _check_depth(value: object) -> None:
    depth, level = 0, [value]
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


def loads(content: bytes) -> Any:
    """Return the JSON value in ``content``.

    Raises:
        JsonError: not UTF-8, not JSON, a duplicate name, NaN or an infinity, a number of more than 32
            digits, or nesting deeper than ``MAX_DEPTH``.
    """
    try:
        value = _DECODER.decode(content.decode("utf-8"))
    except JsonError:
        raise
    except UnicodeDecodeError as error:
        raise JsonError(f"not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise JsonError(f"{error.msg} at character {error.pos}") from None
    except RecursionError:
        raise JsonError(f"nested deeper than {MAX_DEPTH} levels") from None
    _check_depth(value)
    return value
