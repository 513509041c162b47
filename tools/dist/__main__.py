"""``python -m tools.dist``: builds everything that is released into ``dist/``. ``docs/one-file.md`` tells what and how."""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from tools.dist import archive, compiled, environments, packages, sbom, stage, zipped
from tools.dist.commands import run
from tools.dist.errors import BuildError

PROJECT = Path(__file__).resolve().parents[2]
MAX_PLUGIN_BYTES = 45 * 1024 * 1024
NAMES = ("slsa", "slsla")
"""Ratify looks for a file named after the verifier's type or name; both are in use (docs of the plugin contract)."""

_IMPORT_ALL = """
import importlib, pkgutil, slsa_verifier_plugin
for module in pkgutil.walk_packages(slsa_verifier_plugin.__path__, "slsa_verifier_plugin."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
for name in (
    "botocore.session", "botocore.awsrequest", "botocore.exceptions", "msal", "alibabacloud_tea_openapi.utils",
):
    importlib.import_module(name)
import botocore.session
for service in ("sts", "ecr"):
    botocore.session.Session().create_client(
        service, region_name="eu-north-1", aws_access_key_id="a", aws_secret_access_key="b"
    )
"""
"""Imports all of the package, and what the cloud credential providers import only when they are chosen."""


@dataclass(frozen=True)
class Options:
    """What one build is told.

    Attributes:
        output: where the results go.
        work: where everything else goes; emptied first.
        cache: what pip has installed, kept between builds; one of them at a time uses it.
        payloads: what zstd has compressed, kept between builds.
        level: zstd's compression level.
    """

    output: Path
    work: Path
    cache: Path
    payloads: Path
    level: int


def build(options: Options) -> list[Path]:
    """Build the wheel, the source archive, the one-file plugin under both names and its bill of materials.

    Raises:
        BuildError: something is missing or wrong.
    """
    shutil.rmtree(options.work, ignore_errors=True)
    for directory in (options.output, options.work, options.cache, options.payloads):
        directory.mkdir(parents=True, exist_ok=True)
    with (options.cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _build(options)


def _build(options: Options) -> list[Path]:
    launcher = options.work / "launcher"
    run(["make", "-C", str(PROJECT / "launcher"), f"BUILD={launcher}"])
    python = environments.tools_python(options.cache, Path(__file__).with_name("requirements.txt"))
    released = packages.build_packages(PROJECT, python, options.work, options.output)

    third_party = environments.runtime_packages(options.cache, PROJECT / "requirements" / "all.txt", python)
    ours = options.work / "ours"
    environments.install_wheel(released[0], ours)
    root = options.work / "runtime"
    carried = stage.assemble(root, (third_party, ours), launcher / "python3")
    compiled.compile_tree(root / "lib" / stage.PYTHON)
    zipped.zip_modules(root / "lib" / stage.PYTHON)
    run([str(root / "bin" / "python3"), "-I", "-W", "error::ImportWarning", "-c", _IMPORT_ALL])

    packed = archive.pack_tree(root)
    payload = _compressed(packed, options)
    plugin = options.output / NAMES[0]
    archive.write_one_file(launcher / "launcher", packed, payload, plugin)
    if plugin.stat().st_size > MAX_PLUGIN_BYTES:
        raise BuildError(f"{plugin.name} has {plugin.stat().st_size} bytes, more than {MAX_PLUGIN_BYTES}")
    for name in NAMES[1:]:
        _link(plugin, options.output / name)
    bill = options.output / f"{plugin.name}.cdx.json"
    sbom.write_bill(sbom.Runtime(root, carried, plugin), python, PROJECT / "pyproject.toml", bill)
    return [*released, *(options.output / name for name in NAMES), bill]


def _compressed(packed: bytes, options: Options) -> bytes:
    """Return the payload; the same archive is compressed once, for it takes most of a build's time."""
    kept = options.payloads / f"payload-{options.level}-{hashlib.sha256(packed).hexdigest()}.zst"
    if not kept.exists():
        part = kept.with_suffix(".part")
        part.write_bytes(archive.compress(packed, options.level))
        for old in options.payloads.glob("payload-*.zst"):
            old.unlink()
        part.replace(kept)
    return kept.read_bytes()


def _link(source: Path, target: Path) -> None:
    """Give a file a second name in one step, or copy it where the file system has no hard links."""
    part = target.with_name(target.name + ".part")
    part.unlink(missing_ok=True)
    try:
        os.link(source, part)
    except OSError:
        shutil.copy2(source, part)
    part.replace(target)


def main(arguments: list[str]) -> int:
    """Build as ``arguments`` say, and list the results with their sizes and digests."""
    parser = argparse.ArgumentParser(prog="python -m tools.dist", description=build.__doc__)
    add = parser.add_argument
    add("--output", type=Path, default=PROJECT / "dist", help="where the results go")
    add(
        "--work",
        type=Path,
        default=PROJECT / "build" / "dist",
        help="where everything else goes; emptied first",
    )
    add(
        "--cache",
        type=Path,
        default=PROJECT / "build" / "dist-cache",
        help="what pip installs, kept between builds",
    )
    add("--payloads", type=Path, help="what zstd compresses, kept between builds (default: as --cache)")
    add("--level", type=int, default=archive.LEVEL, help="zstd's level; a low one makes trying quick")
    chosen = parser.parse_args(arguments)
    output, work, cache = chosen.output.resolve(), chosen.work.resolve(), chosen.cache.resolve()
    payloads = cache if chosen.payloads is None else chosen.payloads.resolve()
    options = Options(output, work, cache, payloads, chosen.level)
    try:
        results = build(options)
    except (BuildError, OSError) as error:
        sys.stderr.write(f"the build failed: {error}\n")
        return 1
    for path in results:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        sys.stdout.write(f"{digest}  {path.stat().st_size:>9}  {path.name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
