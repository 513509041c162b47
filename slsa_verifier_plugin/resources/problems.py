"""Problems of policy files: what a look at a resource remarks, and the same with the file's line and column."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from slsa_verifier_plugin.problem import Key, Problem
from slsa_verifier_plugin.resources.documents import Position

ERROR, WARNING = "error", "warning"


@dataclass(frozen=True, slots=True)
class Remark:
    """One thing that is wrong with a resource, or with a part of one.

    Args:
        severity: ``ERROR`` or ``WARNING``.
        problem: the rest; its ``where`` is the way within what was looked at.
    """

    severity: str
    problem: Problem

    def below(self, *way: Key) -> Remark:
        """Return the remark as one on the whole of which the part stands at ``way``."""
        return replace(self, problem=replace(self.problem, where=(*way, *self.problem.where)))


def error(where: Iterable[Key], found: str, remedy: str) -> Remark:
    """Return a remark on what keeps a resource from doing its work."""
    return Remark(ERROR, Problem(tuple(where), found, remedy=remedy))


def warning(where: Iterable[Key], found: str, remedy: str) -> Remark:
    """Return a remark on what may be meant, but seldom is."""
    return Remark(WARNING, Problem(tuple(where), found, remedy=remedy))


@dataclass(frozen=True, slots=True)
class ResourceProblem:
    """One thing that is wrong with a file of resources.

    Args:
        position: line and column.
        severity: ``ERROR`` or ``WARNING``.
        message: what was found and what was expected.
        remedy: what to do next.
    """

    position: Position
    severity: str
    message: str
    remedy: str
