"""Adds releases of the source workflow to what the plugin knows: ``python -m tools.releases CLONE``.

``CLONE`` is a clone of ``slsa-framework/actions``, with its tags fetched from there and from nowhere else: a clone that
also has a fork's remote may hold that fork's tags.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

RELEASES = Path(__file__).resolve().parent.parent / "slsa_verifier_plugin" / "policy" / "releases.json"
WORKFLOW = ".github/workflows/compute_slsa_source.yml"

_VERSION = re.compile(r"v(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)")
_COMMIT = re.compile(r"[0-9a-f]{40}")


class ReleasesError(Exception):
    """A clone whose tags are not to be taken over: one sentence."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the list anew with the releases of a clone; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clone", type=Path, help="a clone of the workflow's repository")
    parser.add_argument("--file", type=Path, default=RELEASES, help="the list (default: the package's)")
    options = parser.parse_args(arguments)
    try:
        known = json.loads(options.file.read_text("utf-8"))
        changed = merged(known, releases_of(options.clone, known["repository"]), datetime.now(UTC).date())
    except (ReleasesError, OSError) as error:
        print(f"tools.releases: {error}", file=sys.stderr)
        return 1
    options.file.write_text(json.dumps(changed, indent=2) + "\n", "utf-8")
    before = {item["commit"] for item in known["releases"]}
    for item in changed["releases"]:
        if item["commit"] not in before:
            print(f"added {item['version']} {item['commit']}")
    print(f"{len(changed['releases'])} releases as of {changed['asOf']} in {options.file}")
    return 0


def releases_of(clone: Path, repository: str) -> dict[str, str]:
    """Return the commits of the clone's release tags (``vN.N.N``) that hold the workflow, by version.

    Raises:
        ReleasesError: it is no clone of ``repository`` alone, or git fails.
    """
    if not clone.is_dir():
        raise ReleasesError(f"{clone} is no folder; clone {repository} there")
    urls = set(_git(clone, "config", "--get-regexp", r"^remote\..*\.url$", missing_is_empty=True))
    remotes = {line.partition(" ")[2].removesuffix("/").removesuffix(".git").lower() for line in urls}
    if remotes != {repository.lower()}:
        raise ReleasesError(
            f"the remotes of {clone} are {', '.join(sorted(remotes)) or 'none'}, expected {repository} alone: tags of a fork "
            "would count as its releases"
        )
    return {version: commit for version, commit in _tags(clone) if _holds_workflow(clone, commit)}


def merged(known: dict[str, Any], found: dict[str, str], today: date) -> dict[str, Any]:
    """Return the list with the releases that were found, in the order of their versions.

    Raises:
        ReleasesError: a release has another commit than before: its tag was moved.
    """
    releases = {item["version"]: item for item in known["releases"]}
    for version, commit in found.items():
        if version not in releases:
            learnt = f"tag {version} of a clone of {known['repository']}, {today}"
            releases[version] = {"version": version, "commit": commit, "learnt": learnt}
        elif releases[version]["commit"] != commit:
            raise ReleasesError(
                f"{version} was {releases[version]['commit']} and is {commit} in the clone: find out who moved the tag"
            )
    ordered = sorted(releases.values(), key=lambda item: _number(item["version"]))
    return {"asOf": str(today), "repository": known["repository"], "releases": ordered}


def _tags(clone: Path) -> Iterator[tuple[str, str]]:
    # What an annotated tag points to stands behind the tag itself; for a lightweight one that is empty.
    form = "%(refname:strip=2) %(objecttype) %(objectname) %(*objecttype) %(*objectname)"
    for line in _git(clone, "for-each-ref", f"--format={form}", "refs/tags"):
        version, *names = line.split(" ")
        pairs = dict(zip(names[::2], names[1::2], strict=True))
        if _VERSION.fullmatch(version) and _COMMIT.fullmatch(pairs.get("commit", "")):
            yield version, pairs["commit"]


def _holds_workflow(clone: Path, commit: str) -> bool:
    return bool(_git(clone, "ls-tree", "--name-only", commit, "--", WORKFLOW))


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.removeprefix("v").split("."))


def _git(clone: Path, *arguments: str, missing_is_empty: bool = False) -> list[str]:
    """Return the lines that git prints, with no configuration but the clone's own, and nothing asked of a network."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environ |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0"}
    done = subprocess.run(
        ["git", "-C", str(clone), *arguments], env=environ, capture_output=True, text=True, check=False
    )
    if done.returncode == 1 and missing_is_empty:
        return []
    if done.returncode != 0:
        raise ReleasesError(f"git {arguments[0]} failed in {clone}: {done.stderr.strip()}")
    return done.stdout.splitlines()


if __name__ == "__main__":
    sys.exit(main())
