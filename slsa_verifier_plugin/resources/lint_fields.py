"""Finds misspelt names of fields, and values that are none of the fixed ones, in the kinds that ``kinds.json`` describes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from slsa_verifier_plugin.problem import Key
from slsa_verifier_plugin.resources.kinds import kind_of, shape_of
from slsa_verifier_plugin.resources.problems import Remark, error, warning
from slsa_verifier_plugin.resources.ratify_resources import Resource
from slsa_verifier_plugin.text import nearest, plain, quoted


def lint_fields(resource: Resource) -> Iterator[Remark]:
    """Yield the fields of a resource that nobody reads, and the values that are none of those that count.

    Args:
        resource: of whatever kind; what has no shape is passed by.
    """
    shape = shape_of(kind_of(resource))
    for way, names in shape.fields.items():
        for place, value in _at_way(resource.value, way):
            # What is of another type is the API server's to refuse; here only names are judged.
            if isinstance(value, dict):
                yield from (_unknown([*place, name], names) for name in value.keys() - set(names))
    for way, texts in shape.values.items():
        for place, value in _at_way(resource.value, way):
            # null is YAML's way to leave a field out.
            if value is not None and value not in texts:
                near = nearest(str(value), texts)
                # An item of a list has no name of its own.
                name = next(key for key in reversed(place) if isinstance(key, str))
                found = quoted(value) if isinstance(value, str) else plain(str(value), 80)
                what = f"{name} is {found}, expected {' or '.join(texts)}"
                yield error(place, what, f"is {near} meant?" if near else f"write {texts[0]}")


def _unknown(place: list[Key], names: Sequence[str]) -> Remark:
    name = str(place[-1])
    near = nearest(name, names)
    what = f"{quoted(name, 80)} is no field of {_parent(place)}: what stands there is not read"
    # Likely a slip, so an error: what was meant does not count.
    if near:
        return error(place, what, f"is {near} meant?")
    # A later version may have it; nobody should take it for checked.
    return warning(place, what, f"known are {', '.join(names)}")


def _parent(place: Sequence[Key]) -> str:
    names = [str(key) for key in place[:-1] if isinstance(key, str)]
    return ".".join(names[-2:]) or "the resource"


def _at_way(value: Any, way: Sequence[str], place: tuple[Key, ...] = ()) -> Iterator[tuple[list[Key], Any]]:
    """Yield the place and value of everything that stands at ``way``; ``*`` is every item of a list."""
    if not way:
        yield list(place), value
    elif way[0] == "*":
        for index, item in enumerate(value if isinstance(value, list) else ()):
            yield from _at_way(item, way[1:], (*place, index))
    elif isinstance(value, dict) and way[0] in value:
        yield from _at_way(value[way[0]], way[1:], (*place, way[0]))
