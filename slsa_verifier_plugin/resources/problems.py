"""Problems of policy files: what is wrong, where, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from slsa_verifier_plugin.resources.documents import Key, Position
from slsa_verifier_plugin.resources.ratify_resources import Resource

ERROR, WARNING = "error", "warning"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, where, and what to do about it."""

    position: Position
    severity: str
    message: str
    remedy: str


class Problems:
    """Collects problems."""

    def __init__(self) -> None:
        self.found: list[Problem] = []

    def add(self, resource: Resource, path: Sequence[Key], severity: str, message: str, remedy: str) -> None:
        """Note a problem at ``path`` of a resource."""
        self.found.append(Problem(resource.position(*path), severity, message, remedy))


def at(value: Any, *path: str) -> Any:
    """Return what stands at ``path`` in nested objects, None where there is nothing."""
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def listed(value: Any) -> list[Any]:
    """Return ``value`` if it is a list, else an empty one: a field of a wrong type is the API server's to refuse."""
    return value if isinstance(value, list) else []
