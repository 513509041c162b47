"""Problems of policy files: a ``Problem`` with the file's line and column, and how grave it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from slsa_verifier_plugin.problem import Key, Problem
from slsa_verifier_plugin.resources.documents import Position
from slsa_verifier_plugin.resources.ratify_resources import Resource

ERROR, WARNING = "error", "warning"


@dataclass(frozen=True, slots=True)
class ResourceProblem:
    """One thing that is wrong with a file of resources: where in the file, how grave, and what to do about it.

    Args:
        position: line and column.
        severity: ``ERROR`` or ``WARNING``.
        problem: the rest; its ``where`` is the way within the resource.
    """

    position: Position
    severity: str
    problem: Problem

    @property
    def message(self) -> str:
        """What was found and what was expected."""
        return self.problem.what

    @property
    def remedy(self) -> str:
        """What to do next."""
        return self.problem.remedy


class Problems:
    """Collects problems."""

    def __init__(self) -> None:
        self.found: list[ResourceProblem] = []

    def add(self, resource: Resource, path: Sequence[Key], severity: str, message: str, remedy: str) -> None:
        """Note a problem at ``path`` of a resource."""
        problem = Problem(tuple(path), message, remedy=remedy)
        self.found.append(ResourceProblem(resource.position(*path), severity, problem))

    def error(self, resource: Resource, path: Sequence[Key], message: str, remedy: str) -> None:
        """Note what keeps the resource from doing its work."""
        self.add(resource, path, ERROR, message, remedy)

    def warn(self, resource: Resource, path: Sequence[Key], message: str, remedy: str) -> None:
        """Note what may be meant, but seldom is."""
        self.add(resource, path, WARNING, message, remedy)
