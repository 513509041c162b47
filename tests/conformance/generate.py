"""Writes the catalog down as folders: ``python -m tests.conformance.generate``."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from tests.conformance.case import CASES, Case
from tests.conformance.catalog import (
    artifacts,
    bindings,
    certificates,
    contract,
    labels,
    near_misses,
    policies,
    producers,
    registries,
    shown,
    signatures,
    sources,
    sources_beside,
    statements,
    trust,
    wildcards,
    wrappers,
)
from tests.support.sigstore import VARIANTS, Lab

CATALOG = (
    contract,
    labels,
    artifacts,
    signatures,
    statements,
    certificates,
    policies,
    bindings,
    sources,
    sources_beside,
    registries,
    wrappers,
    producers,
    near_misses,
    wildcards,
    trust,
    shown,
)


def catalog() -> Iterator[Case]:
    """Yield every case."""
    for module in CATALOG:
        yield from module.cases()


def write(parent: Path) -> int:
    """Write all cases and the trusted roots they use below ``parent``; return how many cases there are."""
    shutil.rmtree(parent, ignore_errors=True)
    parent.mkdir(parents=True)
    names: set[str] = set()
    for case in catalog():
        assert case.name not in names, f"two cases are called {case.name}"
        names.add(case.name)
        case.write(parent)
    (parent / "trusted_root.json").write_bytes(Lab().trusted_root())
    roots = parent / "roots"
    roots.mkdir()
    for name, options in VARIANTS.items():
        (roots / f"{name}.json").write_bytes(Lab().trusted_root(**options))
    (roots / "other-instance.json").write_bytes(Lab("another Sigstore").trusted_root())
    for name, content in trust.roots().items():
        (roots / name).write_bytes(content)
    (roots / "garbage.json").write_bytes(b"this is no JSON\n")
    return len(names)


if __name__ == "__main__":
    print(f"{write(CASES)} cases in {CASES}")
