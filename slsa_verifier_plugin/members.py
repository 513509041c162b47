"""Reads members of JSON and YAML values of whatever shape: what is absent or of another type counts as empty."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def at(value: Any, *path: str | int) -> Any:
    """Return what stands at ``path``, None where there is nothing.

    Args:
        value: a value as a parser made it.
        path: names of members of objects, and indexes (from 0) of items of lists.
    """
    for key in path:
        if isinstance(value, Mapping):
            value = value.get(key)
        elif isinstance(value, list) and isinstance(key, int) and key < len(value):
            value = value[key]
        else:
            return None
    return value


def object_at(value: Any, *path: str | int) -> Mapping[str, Any]:
    """Return the object at ``path``, an empty one where there is none."""
    found = at(value, *path)
    return found if isinstance(found, Mapping) else {}


def list_at(value: Any, *path: str | int) -> list[Any]:
    """Return the list at ``path``, an empty one where there is none."""
    found = at(value, *path)
    return found if isinstance(found, list) else []


def objects_at(value: Any, *path: str | int) -> list[Mapping[str, Any]]:
    """Return the objects in the list at ``path``; items of other types are left out."""
    return [item for item in list_at(value, *path) if isinstance(item, Mapping)]


def everything_in(
    value: Any, path: tuple[str | int, ...] = ()
) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Yield the path and value of ``value`` and of everything in it, an object or list before what is in it.

    Args:
        value: a value as a parser made it.
        path: the way to it.
    """
    yield path, value
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from everything_in(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from everything_in(item, (*path, index))


def texts_below(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield the path and text of every text below ``value``, itself included."""
    return ((place, item) for place, item in everything_in(value, path) if isinstance(item, str))


def text_at(value: Any, *path: str | int) -> str:
    """Return the text at ``path``, an empty one where there is none."""
    found = at(value, *path)
    return found if isinstance(found, str) else ""


def folded(value: Mapping[str, Any], name: str) -> Any:
    """Return the member that Go's ``encoding/json`` takes for ``name``, None where there is none.

    It matches names without regard to case; the exact one wins here.
    """
    if name in value:
        return value[name]
    # Of two names that differ by case alone Go takes the later one; both at once are nobody's intention.
    found = [member for key, member in value.items() if key.lower() == name.lower()]
    return found[-1] if found else None


_KINDS = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "nothing"}


def kind_of_value(value: object) -> str:
    """Return what kind of JSON value this is, for messages that must not show the value itself."""
    return _KINDS.get(type(value), "a number")
