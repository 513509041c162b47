"""One signature, two verifiers: ours, and ``cosign verify-blob-attestation``, with the same trusted root."""

from __future__ import annotations

import base64
import copy
import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slsa_verifier_plugin.errors import VerifierError
from slsa_verifier_plugin.model.envelope import read_blob
from slsa_verifier_plugin.model.signer import Signer
from slsa_verifier_plugin.signatures.keys import load_key
from slsa_verifier_plugin.signatures.trust import load_root
from slsa_verifier_plugin.signatures.verifier import AttestationVerifier, RootVerifier
from tests.e2e.peers import peer

_COSIGN_SECONDS = 30
_ANY_SIGNER = ("--certificate-identity-regexp=.*", "--certificate-oidc-issuer-regexp=.*")


@dataclass(frozen=True)
class Opinion:
    """Whether a verifier accepts a bundle's signature, why not, and whose it is."""

    accepted: bool
    why: str
    signer: Signer | None = None


@dataclass(frozen=True)
class Trust:
    """What both verifiers trust: a trusted root, and the PEM of a public key where there is one."""

    folder: Path
    root: bytes
    key: str | None = None

    def ours(self, bundle: bytes) -> Opinion:
        """Return this package's opinion of one bundle."""
        candidates = read_blob(bundle, 2).candidates
        if len(candidates) != 1:
            return Opinion(False, f"{len(candidates)} candidates")
        keys = {} if self.key is None else {self.key: load_key(self.key)}
        verifier = AttestationVerifier([RootVerifier(load_root(self.root, "the differential test's"))], keys)
        try:
            verified = verifier.verify(candidates[0])
        except VerifierError as error:
            return Opinion(False, f"{error.reason}: {error.message}")
        return Opinion(True, "", verified.claim.signer)

    def theirs(self, bundle: bytes, signer: Signer | None = None) -> Opinion:
        """Return cosign's opinion; ``signer`` is then whose signature it must be, else anybody's will do."""
        root, file = self.folder / "trusted_root.json", self.folder / "bundle.json"
        root.write_bytes(self.root)
        file.write_bytes(bundle)
        command: list[str | Path] = [peer("cosign"), "verify-blob-attestation", f"--bundle={file}"]
        command += [f"--trusted-root={root}", "--check-claims=false", f"--type={_predicate_type(bundle)}"]
        command += self._who(signer)
        command += _checks_that_the_root_allows(json.loads(self.root))
        done = subprocess.run(
            command,
            cwd=self.folder,
            env={"HOME": str(self.folder), "PATH": os.defpath},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_COSIGN_SECONDS,
            check=False,
        )
        return Opinion(done.returncode == 0, done.stderr.strip().partition("\n")[0])

    def _who(self, signer: Signer | None) -> list[str]:
        if self.key is not None:
            key = self.folder / "key.pem"
            key.write_text(self.key)
            return [f"--key={key}", "--insecure-ignore-tlog"]  # a configured key needs no log to vouch for it
        if signer is None:
            return list(_ANY_SIGNER)
        return [f"--certificate-identity={signer.identity}", f"--certificate-oidc-issuer={signer.issuer}"]

    def disagreement(self, bundle: bytes) -> tuple[Opinion, Opinion] | None:
        """Return both opinions where they differ, in the verdict or in whose signature it is, else None."""
        ours = self.ours(bundle)
        theirs = self.theirs(bundle, ours.signer)
        return None if ours.accepted == theirs.accepted else (ours, theirs)


def _checks_that_the_root_allows(root: Mapping[str, Any]) -> list[str]:
    """Return the options with which cosign asks of a bundle what this trusted root can vouch for, and no less.

    A root without a transparency log, as GitHub's own, has no certificate transparency log either, and its
    timestamps stand in for both.
    """
    if root.get("tlogs"):
        return []
    return ["--insecure-ignore-tlog", "--insecure-ignore-sct", "--use-signed-timestamps"]


def _predicate_type(bundle: bytes) -> str:
    """Return the predicate type that the payload names, which cosign wants to be told."""
    try:
        return str(
            json.loads(base64.b64decode(json.loads(bundle)["dsseEnvelope"]["payload"]))["predicateType"]
        )
    except (ValueError, KeyError, TypeError):
        return "custom"


def one_leaf_changed(bundle: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield ``bundle`` with each of its JSON leaves changed in turn, with the leaf's path.

    Base64 gets one bit flipped in its middle, a number is one higher, other text gets one character changed
    in each of its lines.
    """
    value = json.loads(bundle)
    for path, leaf in _leaves(value):
        for changed in _changes(leaf):
            copied = copy.deepcopy(value)
            place: Any = copied
            for step in path[:-1]:
                place = place[step]
            place[path[-1]] = changed
            yield ".".join(str(step) for step in path), json.dumps(copied, separators=(",", ":")).encode()


def _leaves(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    if isinstance(value, dict):
        for key, child in value.items():
            yield from _leaves(child, (*path, key))
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from _leaves(child, (*path, index))
    else:
        yield path, value


def _changes(leaf: Any) -> Iterator[Any]:
    if isinstance(leaf, bool) or leaf is None:
        return
    if isinstance(leaf, int):
        yield leaf + 1
    elif leaf.isdigit():
        yield str(int(leaf) + 1)
    elif (raw := _decoded(leaf)) is not None:
        raw[len(raw) // 2] ^= 1
        yield base64.b64encode(raw).decode()
    else:
        lines = leaf.split("\n")
        for number, line in enumerate(lines):
            if line:
                middle = len(line) // 2
                other = "A" if line[middle] != "A" else "B"
                yield "\n".join(
                    [*lines[:number], line[:middle] + other + line[middle + 1 :], *lines[number + 1 :]]
                )


def _decoded(text: str) -> bytearray | None:
    try:
        return bytearray(base64.b64decode(text, validate=True)) or None
    except ValueError:
        return None
