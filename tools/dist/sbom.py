"""The bill of materials of the one-file plugin: CycloneDX 1.6.

``cyclonedx-py`` lists the Python packages, asked of the very interpreter that is carried. What it cannot know is added here:
the interpreter itself, and the shared libraries with the system packages that they come from.
"""

from __future__ import annotations

import hashlib
import json
import platform
from dataclasses import dataclass, field
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from tools.dist import zipped
from tools.dist.commands import run, try_run
from tools.dist.errors import BuildError
from tools.dist.stage import Carried

STATIC_LIBRARIES = ("libc.a", "libzstd.a")
"""Libraries that are linked into the launcher, as the linker finds them."""

_VALIDATE = """
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(open(sys.argv[1], encoding="utf-8").read())
sys.exit(None if error is None else str(error)[:1000])
"""


@dataclass(frozen=True)
class Runtime:
    """What the bill is about.

    Attributes:
        root: the runtime's directory, as it was packed.
        carried: what it has from this machine.
        plugin: the finished one-file plugin.
    """

    root: Path
    carried: list[Carried]
    plugin: Path


@dataclass
class _SystemPackage:
    name: str
    version: str
    purl: str
    files: list[tuple[str, str]] = field(default_factory=list)
    """Where the runtime has it, and the SHA-256 of it there."""


def write_bill(runtime: Runtime, python: Path, pyproject: Path, output: Path) -> None:
    """Write the bill of materials, and check it against CycloneDX's schema.

    Args:
        runtime: what it is about.
        python: the interpreter that has the build tools.
        pyproject: our ``pyproject.toml``.
        output: the file to write.

    Raises:
        BuildError: a tool fails, or the result is not what the schema asks for.
    """
    tool = python.with_name("cyclonedx-py")
    options = [
        "--no-validate",  # that takes 13 s, and is done below for what comes of it
        "--output-reproducible",
        "--output-format",
        "JSON",
        "--spec-version",
        "1.6",
        "--pyproject",
        str(pyproject),
    ]
    text = run(
        [str(tool), "environment", *options, "--output-file", "-", str(runtime.root / "bin" / "python3")]
    )
    bill: dict[str, Any] = json.loads(text)
    main = bill["metadata"]["component"]
    main["version"] = _our_version(runtime.root)
    main["hashes"] = [{"alg": "SHA-256", "content": _sha256(runtime.plugin)}]
    added = _system_components(runtime)
    bill["components"] = sorted(
        [*bill["components"], *added], key=lambda component: str(component["bom-ref"])
    )
    depends = next(entry for entry in bill["dependencies"] if entry["ref"] == main["bom-ref"])
    depends["dependsOn"] = sorted(
        {*depends.get("dependsOn", ()), *(component["bom-ref"] for component in added)}
    )
    bill["dependencies"] += [{"ref": component["bom-ref"]} for component in added]
    bill["dependencies"].sort(key=lambda entry: str(entry["ref"]))
    part = output.with_name(output.name + ".part")
    part.write_text(json.dumps(bill, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
    run([str(python), "-c", _VALIDATE, str(part)])
    part.replace(output)


def _our_version(root: Path) -> str:
    found = list(distributions(name="slsa_verifier_plugin", path=[str(root / "lib" / zipped.NAME)]))
    if len(found) != 1:
        raise BuildError("the runtime does not hold exactly one package of ours")
    return found[0].version


def _system_components(runtime: Runtime) -> list[dict[str, Any]]:
    packages: dict[str, _SystemPackage] = {}
    sources = [(carried.source, carried.path.as_posix()) for carried in runtime.carried]
    sources += [(_static_library(name), "") for name in STATIC_LIBRARIES]
    for source, place in sources:
        found = _package_of(source)
        package = packages.setdefault(found.purl, found)
        if place:
            package.files.append((place, _sha256(runtime.root / place)))
    return [_component(package) for _, package in sorted(packages.items())]


def _component(package: _SystemPackage) -> dict[str, Any]:
    component: dict[str, Any] = {
        "bom-ref": package.purl,
        "type": "library",
        "name": package.name,
        "version": package.version,
        "purl": package.purl,
    }
    if package.files:
        component["evidence"] = {"occurrences": [{"location": place} for place, _ in package.files]}
        component["components"] = [
            {
                "type": "file",
                "name": place,
                "bom-ref": f"file:{place}",
                "hashes": [{"alg": "SHA-256", "content": digest}],
            }
            for place, digest in package.files
        ]
    else:
        component["description"] = "linked into the launcher"
    return component


def _package_of(source: Path) -> _SystemPackage:
    """Return the system package that a file belongs to; CPython where it belongs to none, since it was built apart."""
    # A merged /usr: the package database may know a file by its older path.
    for name in (str(source), str(source).removeprefix("/usr")):
        found = try_run(["dpkg-query", "--search", name])
        if found is not None:
            return _debian_package(found.split(": ")[0].split(",")[0])
    if "python" in source.name:
        version = platform.python_version()
        return _SystemPackage("cpython", version, f"pkg:generic/cpython@{version}")
    digest = _sha256(source)
    return _SystemPackage(source.name, "unknown", f"pkg:generic/{source.name}?checksum=sha256:{digest}")


def _debian_package(name: str) -> _SystemPackage:
    form = "${Package} ${Version} ${Architecture}"
    package, version, architecture = run(["dpkg-query", "--show", "--showformat", form, name]).split()
    quoted = version.replace(":", "%3A").replace("+", "%2B").replace("~", "%7E")
    return _SystemPackage(package, version, f"pkg:deb/debian/{package}@{quoted}?arch={architecture}")


def _static_library(name: str) -> Path:
    path = Path(run(["gcc", f"-print-file-name={name}"]).strip())
    if not path.is_absolute():
        raise BuildError(f"the static library {name} is not on this machine")
    return path.resolve()


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
