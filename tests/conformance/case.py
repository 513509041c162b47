"""A conformance case as the catalog writes it down, and how it becomes a folder."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.conformance.model import REPOSITORY, compact
from tests.support.sigstore import Identity, Lab, github_source_actions, source_provenance, vsa

Json = dict[str, Any]
CASES = Path(__file__).parent / "cases"
RESOURCE = "git+https://github.com/example/source-demo"
ROOT = {"path": "@CASES@/trusted_root.json"}
BASE: Json = {
    "name": "slsla",
    "artifactTypes": "slsla/attestation",
    "expectedVerifiedLevels": ["SLSA_SOURCE_LEVEL_2"],
    "expectedResourceUri": RESOURCE,
    "trustedRoot": ROOT,
}
"""The configuration that cases change; ``None`` takes a parameter out."""


@dataclass
class Case:
    """One case. ``reason`` is the expected reason code (``VERIFIED`` for a success), ``code`` a contract error's.

    ``says`` are texts that the message must contain, ``silent`` texts that nothing printed may contain.
    """

    name: str
    why: str
    reason: str = ""
    code: int = 0
    says: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()
    parameters: Json = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    image: Json = field(default_factory=dict)
    artifact: Json = field(default_factory=dict)
    referrers: list[Json] = field(default_factory=list)
    faults: list[Json] = field(default_factory=list)
    environment: Json = field(default_factory=dict)
    store: Json = field(default_factory=dict)
    stdin: bytes | None = None
    step: int = 0
    seconds: float = 6.0
    needs: str = ""

    def write(self, parent: Path) -> None:
        """Write the case's folder below ``parent``."""
        folder = parent / self.name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "README.md").write_text(f"# {self.name}\n\n{self.why}\n")
        for name, content in self.blobs.items():
            (folder / name).write_bytes(content)
        files = [name.removesuffix(".repeat") for name in self.blobs]
        own = {blob["file"] for item in self.referrers for blob in item["blobs"]}
        artifact = {"blobs": [{"file": name} for name in files if name not in own], **self.artifact}
        spec = {"image": self.image, "artifact": artifact, "referrers": self.referrers, "faults": self.faults}
        _write(folder / "artifact.json", spec)
        if self.environment:
            _write(folder / "environment.json", self.environment)
        if self.stdin is None:
            _write(folder / "stdin.json", self._stdin())
        else:
            (folder / "stdin.raw").write_bytes(self.stdin)
        _write(folder / "expected.json", self._expected())

    def _stdin(self) -> Json:
        config = {key: value for key, value in {**BASE, **self.parameters}.items() if value is not None}
        told: Json = {
            "mediaType": "@MEDIA_TYPE@",
            "digest": "@ARTIFACT@",
            "size": "@SIZE@",
            "artifactType": "slsla/attestation",
        }
        return {
            "config": config,
            "storeConfig": {
                "version": "1.0.0",
                "pluginBinDirs": None,
                "store": {"name": "oras", "useHttp": True, "localCachePath": "@CACHE@", **self.store},
            },
            "referenceDesc": {**told, **self.artifact.get("descriptor", {})},
        }

    def _expected(self) -> Json:
        expected: Json = {"seconds": self.seconds}
        if self.code:
            expected |= {"status": 1, "code": self.code}
        else:
            expected |= {"status": 0, "isSuccess": self.reason == "VERIFIED", "reason": self.reason}
        if self.step:
            expected["failedStep"] = self.step
        if self.says:
            expected["says"] = list(self.says)
        if self.silent:
            expected["silent"] = list(self.silent)
        return expected


def lines(*items: bytes) -> bytes:
    """Return JSON lines."""
    return b"".join(item + b"\n" for item in items)


def signed(statement: Json | bytes | None = None, identity: Identity | None = None, **how: Any) -> bytes:
    """Return one bundle by a fresh lab, so that every case is the same however many come before it."""
    return Lab().sign(vsa() if statement is None else statement, identity, **how)


def honest(*levels: str, **fields: Any) -> bytes:
    """Return a note as the source workflow writes it: a source provenance and a summary, a line each."""
    lab = Lab()
    return lines(
        lab.sign(source_provenance(), github_source_actions()),
        lab.sign(vsa(levels=levels or ("SLSA_SOURCE_LEVEL_3",), **fields), github_source_actions()),
    )


def only_here(name: str) -> dict[str, bytes]:
    """Return the blobs of an honest artifact that no other case has, for cases about fetching it.

    What a verifier fetched before, it need not fetch again: its digest says that it is the same.
    """
    commit = hashlib.sha1(name.encode(), usedforsecurity=False).hexdigest()
    lab, signer = Lab(), github_source_actions(commit=commit)
    return attested(lines(lab.sign(source_provenance(commit), signer), lab.sign(vsa(commit), signer)))


def attested(content: bytes) -> dict[str, bytes]:
    """Return the blobs of an artifact that holds ``content`` alone."""
    return {"attestation.intoto.jsonl": content}


def subject(digest: str = "@IMAGE@") -> str:
    """Return the subject reference of the image in the runner's registry."""
    return f"@REGISTRY@/{REPOSITORY}@{digest}"


def raw(value: Any) -> bytes:
    """Return standard input that is JSON but not the contract's."""
    return compact(value)


def _write(path: Path, value: Json) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=True) + "\n")
