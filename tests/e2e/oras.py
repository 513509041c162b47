"""The real ``oras`` as a person uses it: push an image, attach an artifact."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import subprocess
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.peers import peer

ATTESTATION = "slsla/attestation"
_SECONDS = 60
_NUMBERS = itertools.count()


@dataclass(frozen=True)
class Oras:
    """The client, with a home directory of its own so that no credentials of this machine are used."""

    folder: Path
    environment: Mapping[str, str]

    def run(self, *arguments: str, stdin: bytes | None = None) -> bytes:
        """Run ``oras`` and return its standard output; raises RuntimeError with its words where it fails."""
        done = subprocess.run(
            [peer("oras"), *arguments],
            cwd=self.folder,
            env=self.environment,
            input=stdin,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"oras {' '.join(arguments)}: {done.stderr.decode()}")
        return done.stdout

    def push_image(self, repository: str, *, annotations: Mapping[str, str] | None = None) -> str:
        """Push a small but complete image and return its digest reference; equal content, equal digest.

        Args:
            repository: ``127.0.0.1:PORT/NAME``; the layer holds this text, so every repository gets an image
                of its own.
            annotations: of the image's manifest.
        """
        layer = _layer(repository)
        config = {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Entrypoint": ["/app"]},
            "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]},
        }
        (self.folder / "layer.tar").write_bytes(layer)
        (self.folder / "config.json").write_text(json.dumps(config))
        options = [f"--annotation={key}={value}" for key, value in (annotations or {}).items()]
        answer = self.run(
            "push",
            "--plain-http",
            "--format=json",
            "--config=config.json:application/vnd.oci.image.config.v1+json",
            "--annotation=org.opencontainers.image.created=2026-01-01T00:00:00Z",
            *options,
            f"{repository}:v1",
            "layer.tar:application/vnd.oci.image.layer.v1.tar",
        )
        return str(json.loads(answer)["reference"])

    def new_image(self, address: str, *, annotations: Mapping[str, str] | None = None) -> str:
        """Push an image to a repository that nothing else uses, and return its digest reference."""
        return self.push_image(f"{address}/new/{next(_NUMBERS)}", annotations=annotations)

    def attach(
        self, image: str, content: bytes, *, artifact_type: str = ATTESTATION, media_type: str | None = None
    ) -> str:
        """Attach ``content`` to ``image``, as the demo does, and return the artifact's digest reference."""
        file = "attestation.intoto.jsonl"
        (self.folder / file).write_bytes(content)
        answer = self.run(
            "attach",
            "--plain-http",
            "--format=json",
            f"--artifact-type={artifact_type}",
            image,
            file if media_type is None else f"{file}:{media_type}",
        )
        return str(json.loads(answer)["reference"])

    def manifest(self, reference: str) -> Any:
        """Return the manifest that ``reference`` names, decoded."""
        return json.loads(self.run("manifest", "fetch", "--plain-http", reference))


def _layer(text: str) -> bytes:
    content = text.encode()
    entry = tarfile.TarInfo("app")
    entry.size, entry.mode = len(content), 0o755
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()
