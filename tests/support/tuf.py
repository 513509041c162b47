"""A TUF repository with keys of its own, on loopback, and processes that refresh from it and read what they got.

``python -m tests.support.tuf REFRESHERS READERS SECONDS`` forks that many processes over the source in the environment;
see ``crowd``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NoReturn, Self

from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined]  # exported, but not by __all__
from tuf.api.metadata import (  # type: ignore[attr-defined]  # as above
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from slsa_verifier_plugin.errors import TrustRootError
from slsa_verifier_plugin.policy.parameters import RootSource
from slsa_verifier_plugin.signatures.refresh import refresh
from slsa_verifier_plugin.signatures.sources import read_root

ROLES = ("root", "timestamp", "snapshot", "targets")
TARGET = "trusted_root.json"
_SOURCE = "TEST_TUF_SOURCE"


class TufRepository:
    """Serves one target. Use as a context manager.

    ``files`` maps paths to what is served, and may be tampered with; what ``publish`` and ``rotate`` make is signed properly.
    ``pause`` is waited before each answer, ``interim`` sent before it; ``redirect`` is where everything is sent to instead.

    Args:
        folder: where ``root.json``, which trust begins with, is written.
        life: how long what is published counts from then on.
    """

    def __init__(self, folder: Path, life: timedelta = timedelta(days=1)) -> None:
        self.life = life
        self.signers = {role: CryptoSigner.generate_ed25519() for role in ROLES}
        self.files: dict[str, bytes] = {}
        self.asked: Counter[str] = Counter()
        self.pause = 0.0
        self._over = threading.Event()
        self.interim = b""
        self.redirect = ""
        self._versions = dict.fromkeys(ROLES, 0)
        self._root = Root(expires=self._expiry(), consistent_snapshot=True)
        for role, signer in self.signers.items():
            self._root.add_key(signer.public_key, role)
        self._publish_root(self.signers["root"])
        self.bootstrap = folder / "root.json"
        self.bootstrap.write_bytes(self.files["/1.root.json"])
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.repository = self
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def source(self) -> RootSource:
        """The trusted root's source, as a policy has it."""
        return RootSource("tuf", f"http://127.0.0.1:{self._server.server_port}", str(self.bootstrap))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def rest(self) -> None:
        """Wait before an answer, unless all is over."""
        self._over.wait(self.pause)

    def publish(self, content: bytes, name: str = TARGET, life: timedelta | None = None) -> None:
        """Serve ``content`` as the target, with new metadata of all roles but root."""
        expires = datetime.now(UTC).replace(microsecond=0) + (life or self.life)
        target = TargetFile.from_data(name, content)
        targets = self._signed(Targets(self._next("targets"), expires=expires, targets={name: target}))
        self.files[f"/{self._versions['targets']}.targets.json"] = targets
        self.files[f"/targets/{target.hashes['sha256']}.{name}"] = content
        snapshot = self._signed(
            Snapshot(
                self._next("snapshot"),
                expires=expires,
                meta={"targets.json": MetaFile(self._versions["targets"])},
            )
        )
        self.files[f"/{self._versions['snapshot']}.snapshot.json"] = snapshot
        self.files["/timestamp.json"] = self._signed(
            Timestamp(
                self._next("timestamp"),
                expires=expires,
                snapshot_meta=MetaFile(self._versions["snapshot"]),
            )
        )

    def rotate(self, role: str, by: CryptoSigner | None = None) -> None:
        """Publish a root with another key for ``role``.

        Args:
            role: whose key is replaced.
            by: signs the new root in place of the old root's key.
        """
        old = self.signers[role]
        vouching = by or self.signers["root"]
        self.signers[role] = CryptoSigner.generate_ed25519()
        self._root.revoke_key(old.public_key.keyid, role)
        self._root.add_key(self.signers[role].public_key, role)
        self._publish_root(vouching, self.signers["root"])

    def _publish_root(self, *signers: CryptoSigner) -> None:
        self._root.version = self._next("root")
        self._root.expires = self._expiry()
        metadata = Metadata(self._root)
        for signer in {id(signer): signer for signer in signers}.values():
            metadata.sign(signer, append=True)
        self.files[f"/{self._root.version}.root.json"] = metadata.to_bytes()

    def _signed(self, signed: Any) -> bytes:
        metadata = Metadata(signed)
        metadata.sign(self.signers[signed.type])
        return metadata.to_bytes()

    def _next(self, role: str) -> int:
        self._versions[role] += 1
        return self._versions[role]

    def _expiry(self) -> datetime:
        return datetime.now(UTC).replace(microsecond=0) + self.life


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    repository: TufRepository


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        repository = self.server.repository
        repository.asked[self.path] += 1
        repository.rest()
        content = repository.files.get(self.path)
        self.wfile.write(repository.interim)
        if repository.redirect:
            self.send_response(302)
            self.send_header("Location", repository.redirect + self.path)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(404 if content is None else 200)
        self.send_header("Content-Length", str(len(content or b"")))
        self.end_headers()
        self.wfile.write(content or b"")


def crowd(source: RootSource, cache: Path, refreshers: int, readers: int, seconds: float) -> Counter[str]:
    """Refresh ``source`` in many processes at once, over and over, while others read; return how often what came of it.

    Names are ``refreshed``, ``read`` followed by the digest, and what an error said.
    """
    environment = {
        **os.environ,
        _SOURCE: json.dumps([source.kind, source.location, source.bootstrap]),
        "SLSA_VERIFIER_TUF_DIR": str(cache),
    }
    command = [sys.executable, "-m", "tests.support.tuf", str(refreshers), str(readers), str(seconds)]
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        command, env=environment, cwd=root, capture_output=True, timeout=seconds + 60, check=True
    )
    return Counter(done.stdout.decode().splitlines())


def _refresh_once(source: RootSource, environ: Mapping[str, str]) -> str:
    refreshed = refresh(source, environ)
    assert refreshed is not None
    return "refreshed"


def _read_once(source: RootSource, environ: Mapping[str, str]) -> str:
    import hashlib

    return f"read {hashlib.sha256(read_root(source, environ)[0]).hexdigest()}"


def _member(is_refresher: bool, seconds: float) -> NoReturn:
    """Do one thing over and over, print what came of it, and end."""
    source = RootSource(*json.loads(os.environ[_SOURCE]))
    end = time.monotonic() + seconds
    lines: list[str] = []
    while time.monotonic() < end:
        try:
            lines.append((_refresh_once if is_refresher else _read_once)(source, os.environ))
        except TrustRootError as error:
            lines.append(f"{'refresher' if is_refresher else 'reader'}: {error.message}")
    os.write(1, "".join(f"{line}\n" for line in lines).encode())
    os._exit(0)


def main() -> int:
    """Fork the processes that the command line asks for, and wait for them."""
    refreshers, readers, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    children = []
    for number in range(refreshers + readers):
        child = os.fork()
        if child == 0:
            _member(number < refreshers, seconds)
        children.append(child)
    return max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children)


if __name__ == "__main__":
    sys.exit(main())
