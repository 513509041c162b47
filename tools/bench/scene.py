"""What is measured on: a real registry in memory, artifacts of two bundles each, and a call's environment and standard input."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.peers import peer
from tests.support.sigstore import Lab, github_source_actions, source_provenance, vsa

IMAGE_TYPE = "application/vnd.oci.image.manifest.v1+json"
BLOB_TYPE = "application/vnd.in-toto+json"
REPOSITORY = "bench/app"
RESOURCE = "git+https://github.com/example/source-demo"

Json = dict[str, Any]


@dataclass(frozen=True)
class Artifact:
    """An attested image: its digest, and the attestation's descriptor."""

    image: str
    descriptor: Json


@dataclass(frozen=True)
class Scene:
    """A registry's address and the folder of everything that the calls need."""

    address: str
    folder: Path
    lab: Lab

    @property
    def trusted_root(self) -> Path:
        """The lab's trusted root."""
        return self.folder / "trusted_root.json"

    def note(self, number: int, level: int = 3) -> bytes:
        """Return two bundles as the source workflow writes them, for a commit of its own."""
        commit = f"{number:040x}"
        signer = github_source_actions(commit=commit)
        lines = [
            self.lab.sign(source_provenance(commit), signer),
            self.lab.sign(vsa(commit, levels=[f"SLSA_SOURCE_LEVEL_{level}"]), signer),
        ]
        return b"".join(line + b"\n" for line in lines)

    def attach(self, content: bytes, name: str) -> Artifact:
        """Push an image of its own and an attestation of ``content`` that hangs on it."""
        config = json.dumps({"architecture": "amd64", "os": "linux", "comment": name}).encode()
        image = self._manifest([], config, "application/vnd.oci.image.config.v1+json", None)
        note = self._manifest([content], b"{}", "application/vnd.oci.empty.v1+json", image)
        return Artifact(image["digest"], {**note, "artifactType": "slsla/attestation"})

    def environment(self, artifact: Artifact, **more: str) -> dict[str, str]:
        """Return a call's environment: the contract's variables, and nothing of the machine's but the search path."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "RATIFY_VERIFIER_COMMAND": "VERIFY",
            "RATIFY_VERIFIER_SUBJECT": f"{self.address}/{REPOSITORY}@{artifact.image}",
            "RATIFY_VERIFIER_VERSION": "1.0.0",
            **more,
        }

    def stdin(self, artifact: Artifact, **config: Any) -> bytes:
        """Return a call's standard input for our plugin."""
        parameters = {
            "name": "slsla",
            "expectedVerifiedLevels": ["SLSA_SOURCE_LEVEL_2"],
            "expectedResourceUri": RESOURCE,
            "trustedRoot": {"path": str(self.trusted_root)},
            "timeout": "30s",
        }
        return self._input({**parameters, **config}, artifact)

    def schema_stdin(self, artifact: Artifact) -> bytes:
        """Return a call's standard input for Ratify's schemavalidator: a schema that anything meets."""
        schema = self.folder / "anything.json"
        schema.write_text("{}")
        return self._input({"name": "schemavalidator", "schemas": {BLOB_TYPE: f"file://{schema}"}}, artifact)

    def _input(self, config: Json, artifact: Artifact) -> bytes:
        store = {"name": "oras", "useHttp": True, "localCachePath": str(self.folder / "oras_cache")}
        value = {
            "config": config,
            "storeConfig": {"version": "1.0.0", "pluginBinDirs": None, "store": store},
            "referenceDesc": artifact.descriptor,
        }
        return json.dumps(value).encode()

    def _manifest(self, layers: list[bytes], config: bytes, config_type: str, subject: Json | None) -> Json:
        manifest: Json = {
            "schemaVersion": 2,
            "mediaType": IMAGE_TYPE,
            "config": self._blob(config, config_type),
            "layers": [self._blob(layer, BLOB_TYPE) for layer in layers],
        }
        if subject:
            manifest |= {"artifactType": "slsla/attestation", "subject": subject}
        content = json.dumps(manifest).encode()
        described = _described(content, IMAGE_TYPE)
        self._send("PUT", f"/v2/{REPOSITORY}/manifests/{described['digest']}", content, IMAGE_TYPE)
        return described

    def _blob(self, content: bytes, media_type: str) -> Json:
        described = _described(content, media_type)
        url = f"/v2/{REPOSITORY}/blobs/uploads/?digest={described['digest']}"
        self._send("POST", url, content, "application/octet-stream")
        return described

    def _send(self, method: str, path: str, content: bytes, media_type: str) -> None:
        request = urllib.request.Request(
            f"http://{self.address}{path}", content, {"Content-Type": media_type}, method=method
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            location = response.headers.get("Location")
            if response.status == 202 and location:
                digest = path.partition("digest=")[2]
                joined = "&" if "?" in location else "?"
                target = location if location.startswith("http") else f"http://{self.address}{location}"
                put = urllib.request.Request(f"{target}{joined}digest={digest}", content, method="PUT")
                with urllib.request.urlopen(put, timeout=30):
                    pass


def _described(content: bytes, media_type: str) -> Json:
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    return {"mediaType": media_type, "digest": digest, "size": len(content)}


@contextmanager
def scene(folder: Path) -> Iterator[Scene]:
    """Start the in-memory registry (Go) on loopback, and end it by its process id."""
    lab = Lab()
    (folder / "trusted_root.json").write_bytes(lab.trusted_root())
    command = [str(peer("ociregistry"))]
    server = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        address = server.stdout.readline().decode().strip()
        _await(address)
        yield Scene(address, folder, lab)
    finally:
        server.kill()
        server.wait()
        server.stdin.close()
        server.stdout.close()


def _await(address: str) -> None:
    for _ in range(100):
        try:
            with urllib.request.urlopen(f"http://{address}/v2/", timeout=1):
                return
        except OSError:
            time.sleep(0.05)
    raise SystemExit(f"the registry at {address} does not answer")
