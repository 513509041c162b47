"""Looks at the trusted roots that a policy names, as far as this machine has them: in a list nobody notices a broken one."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from slsa_verifier_plugin.errors import TrustRootError
from slsa_verifier_plugin.policy.parameters import Policy, RootSource
from slsa_verifier_plugin.problem import Key, Problem
from slsa_verifier_plugin.resources.problems import Remark, error, warning

_REMEDY = "put it right, or take it out of trustedRoot"


def lint_roots(policy: Policy) -> Iterator[Remark]:
    """Yield a remark on each trusted root of a Verifier that cannot be used.

    A file that is not here may well be where Ratify runs, so a policy's only root is not looked for; of a list, one that is
    missing would be noticed by nobody.

    Args:
        policy: the Verifier's parameters.
    """
    several = len(policy.roots) > 1
    found = [list(_problems_of(source)) for source in policy.roots]
    # Of a file that is not here nothing is known: it may be good where Ratify runs.
    some_verify = any(not problems_of or any(problems_of[0][:2]) for problems_of in found)
    for number, problems_of in enumerate(found):
        path: list[Key] = ["trustedRoot", *([number] if several else [])]
        # Where one of several verifies, a broken one costs nothing today and much the day the other ends.
        for missing, _, problem in problems_of:
            # The usual case: the file is mounted where Ratify runs.
            if missing and not several:
                continue
            where = " on this machine" if missing else ""
            remark = warning if some_verify else error
            yield remark(path, f"{problem.what}{where}", problem.remedy or _REMEDY)


def _problems_of(source: RootSource) -> Iterator[tuple[bool, bool, Problem]]:
    """Yield for each problem with ``source``: is its file missing here, can other roots in it be used, and what is wrong."""
    from slsa_verifier_plugin.signatures.trust import load_roots, read_root_file

    name = {"path": source.location, "tuf": source.bootstrap}.get(source.kind)
    if not name:
        return
    path = Path(name)
    try:
        content = read_root_file(str(path))
        # Its first root is a file of another form, which only a refresh can judge.
        if source.kind == "tuf":
            return
        found = load_roots(content, str(path))
    # A file that is not here may be where Ratify runs; the caller knows whether that matters.
    except TrustRootError as error:
        yield not path.exists(), False, error.problem
        return
    # Roots that begin later are good files all the same: they are named, and the others count.
    now = datetime.now(UTC)
    late = [why.problem for root in found.roots if (why := root.not_begun(now)) is not None]
    others = len(late) < len(found.roots)
    yield from ((False, others, problem) for problem in [*(error.problem for error in found.problems), *late])
