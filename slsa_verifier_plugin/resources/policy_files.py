"""Reads the files that ``policy check`` is given: resources to look at, and what is passed over, with a word on why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slsa_verifier_plugin.errors import UsageError
from slsa_verifier_plugin.members import at, list_at
from slsa_verifier_plugin.resources.documents import Document, parse_documents
from slsa_verifier_plugin.resources.manifest_files import (
    KUSTOMIZATIONS,
    expanded,
    files_below,
    is_kustomization,
)
from slsa_verifier_plugin.resources.named_files import read_file
from slsa_verifier_plugin.resources.problems import ERROR, ResourceProblem
from slsa_verifier_plugin.resources.ratify_resources import Resource, flattened
from slsa_verifier_plugin.text import counted, nearest, quoted

KUSTOMIZATION = "kustomization"
PATCH = "patch of a kustomization"
VALUES = "file of chart values"
TEMPLATE = "template of a chart"
OTHER = "file without a Kubernetes resource"
INSTEAD: Mapping[str, str] = {
    KUSTOMIZATION: "what kustomize builds is not checked: give what 'kubectl kustomize FOLDER' prints",
    TEMPLATE: "what helm makes of it is not checked: give what 'helm template CHART' prints",
}
"""What to check instead of a file that is passed over."""


@dataclass(slots=True)
class PolicyFiles:
    """What a list of paths holds.

    ``passed_over`` are files by why they were not looked at; ``filled`` the paths of fields, by file, that a kustomization beside
    it fills in.
    """

    resources: list[Resource] = field(default_factory=list)
    passed_over: dict[str, list[str]] = field(default_factory=dict)
    problems: list[ResourceProblem] = field(default_factory=list)
    filled: dict[str, frozenset[str]] = field(default_factory=dict)

    def pass_over(self, why: str, file: str) -> None:
        """Note a file that is not looked at."""
        self.passed_over.setdefault(why, []).append(file)


def read_policy_files(paths: Sequence[str], allow_empty: bool = False) -> PolicyFiles:
    """Return what the files, folders and patterns in ``paths`` hold.

    Raises:
        UsageError: one cannot be read, is no YAML, or all of them together have no resource (unless ``allow_empty``).
    """
    files, read = PolicyFiles(), set[Path]()
    kustomizations: dict[Path, _Kustomization] = {}
    for path in paths:
        for name in expanded(path):
            # A folder is read whole: a file that is left out is one that nobody checks.
            for file in files_below(name) if name != "-" and Path(name).is_dir() else [name]:
                # A folder and a file in it: each problem is told once.
                if (place := Path(file).resolve()) not in read:
                    read.add(place)
                    _read(file, files, kustomizations)
    # A check that looked at nothing must not pass for one that found nothing.
    if not (files.resources or files.problems or allow_empty):
        reasons = "; ".join(counted(len(names), why) for why, names in files.passed_over.items())
        raise UsageError(
            f"nothing to check in {', '.join(quoted(path) for path in paths[:4])}: no Kubernetes resource"
            f"{f' ({reasons} passed over)' if reasons else ''}; give a file with a Verifier, or what surrounds one"
        )
    return files


@dataclass(frozen=True, slots=True)
class _Kustomization:
    """What a folder's kustomization says of the files beside it."""

    patches: frozenset[Path] = frozenset()
    filled: frozenset[str] = frozenset()


def _read(file: str, files: PolicyFiles, kustomizations: dict[Path, _Kustomization]) -> None:
    path = Path(file)
    if file != "-":
        # It lists files and is no resource of the cluster.
        if is_kustomization(file):
            return files.pass_over(KUSTOMIZATION, file)
        if _is_of_chart(path):
            # Not YAML before Helm has filled it in.
            return files.pass_over(TEMPLATE, file)
        # Read once a folder: of hundreds of files in it each would read it again.
        folder = path.parent
        if folder not in kustomizations:
            kustomizations[folder] = _kustomization_in(folder)
        # Half a resource: what is missing in it stands in the file that it changes.
        if path.resolve() in kustomizations[folder].patches:
            return files.pass_over(PATCH, file)
    content, source, _ = read_file(file)
    documents = parse_documents(content, source)
    # Standard input lies in no folder, so no kustomization is beside it.
    if file != "-":
        files.filled[source] = kustomizations[path.parent].filled
    found = [document for document in documents if _is_resource(document, files)]
    # A file with a problem has been looked at; one without either is named, so that nobody thinks it was.
    if not found and not any(problem.position.source == source for problem in files.problems):
        files.pass_over(VALUES if documents and isinstance(documents[0].value, dict) else OTHER, file)
    # A kustomization may stand under another name, or in a List.
    files.resources += [item for item in flattened(found) if not _is_kustomization(item)]
    if any(_is_kustomization(item) for item in flattened(found)):
        files.pass_over(KUSTOMIZATION, file)
    return None


def _is_resource(document: Document, files: PolicyFiles) -> bool:
    """Return True for a document with a kind. One that was meant to have it is a problem, any other is passed over."""
    value = document.value
    # A list or a text at the top: a file of values, or of something else.
    if not isinstance(value, dict):
        return False
    if isinstance(value.get("kind"), str):
        return True
    # Without a kind the API server refuses the document, so a misspelt one is looked for.
    # Values of a chart may have a "bind" or "kinds"; of those only another case is a slip.
    likeness = 0.7 if "apiVersion" in value or {"metadata", "spec"} <= value.keys() else 1.0
    near = next((key for key in value if key != "kind" and nearest(str(key), ["kind"], likeness)), "")
    # It was meant to be a resource, and the API server would refuse it.
    if near or "kind" in value or "apiVersion" in value:
        found = f"{quoted(near)} is no field of a resource" if near else "a resource without a kind"
        remedy = "is kind meant?" if near else "write kind: Verifier, or what it is"
        place = document.position((near or "kind",))
        files.problems.append(ResourceProblem(place, ERROR, found, remedy))
    return False


def _is_kustomization(resource: Resource) -> bool:
    return resource.api_version.startswith("kustomize.config.k8s.io/")


def _is_of_chart(path: Path) -> bool:
    """Return True for a chart's own files: below ``templates`` beside a ``Chart.yaml``, or that file itself."""
    # Helm's own description of the chart, and no resource of a cluster.
    if path.name in ("Chart.yaml", "Chart.lock"):
        return True
    folders = path.parents
    return any(
        folder.name == "templates" and (folder.parent / "Chart.yaml").is_file()
        # Of a path of any depth few folders are asked for.
        for folder in list(folders)[:8]
    )


def _kustomization_in(folder: Path) -> _Kustomization:
    # In kustomize's own order: of two files in one folder it refuses both.
    for name in KUSTOMIZATIONS:
        file = folder / name
        if file.is_file():
            content, source, _ = read_file(str(file))
            # A kustomization is one document; what follows is not read by kustomize either.
            values = [item.value for item in parse_documents(content, source) if isinstance(item.value, dict)]
            value = values[0] if values else {}
            patches = frozenset((folder / text).resolve() for text in _patches(value))
            return _Kustomization(patches, frozenset(_filled(value)))
    return _Kustomization()


def _patches(kustomization: Mapping[str, Any]) -> Iterator[str]:
    """Yield the files that a kustomization takes for patches, in each of the ways in which it may name them."""
    for key in ("patches", "patchesJson6902", "replacements"):
        for item in list_at(kustomization, key):
            if isinstance(path := at(item, "path"), str):
                yield path
    for item in list_at(kustomization, "patchesStrategicMerge"):
        # A patch may stand there itself, in several lines.
        if isinstance(item, str) and "\n" not in item:
            yield item


def _filled(kustomization: Mapping[str, Any]) -> Iterator[str]:
    for replacement in list_at(kustomization, "replacements"):
        for target in list_at(replacement, "targets"):
            yield from (path for path in list_at(target, "fieldPaths") if isinstance(path, str))
