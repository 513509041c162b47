"""``python -m tools.soak.registries FOLDER``: two registries, one of them slow, with an attested image for each line of input.

A line of input is a kind (``KINDS``); a line of output is the image's path and digest, and the attestation's descriptor. The
first line of output has the addresses. It ends with its input.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.support.content import push
from tests.support.embedded_registry import EmbeddedRegistry
from tests.support.sigstore import TAMPERINGS, Lab, github_source_actions, person, vsa
from tests.support.sigstore.envelope import payload_bytes

KINDS = ("level 1", "level 2", "level 3", "forged", "stranger", "failed", "other")
"""What is attested: a level; a level 3 whose signature is broken, of another signer, not passed, of another repository."""
SLOW_SECONDS = 0.8
"""Before each answer of the slow registry."""
RESOURCE = "git+https://github.com/example/source-demo"
OTHER = "git+https://github.com/example/other"


def main(folder: Path) -> None:
    """Serve until standard input ends."""
    lab = Lab()
    (folder / "trusted_root.json").write_bytes(lab.trusted_root())
    with EmbeddedRegistry() as quick, EmbeddedRegistry(latency=SLOW_SECONDS) as slow:
        slow.storage = quick.storage
        _say({"quick": quick.host, "slow": slow.host})
        for number, line in enumerate(sys.stdin, 1):
            pushed = push(quick, repository="team/app", content=_signed(lab, line.strip(), f"{number:040x}"))
            _say(
                {
                    "image": f"team/app@{pushed.image.digest}",
                    "mediaType": pushed.artifact.media_type,
                    "digest": str(pushed.artifact.digest),
                    "size": pushed.artifact.size,
                }
            )


def _signed(lab: Lab, kind: str, commit: str) -> bytes:
    level = kind.removeprefix("level ") if kind.startswith("level ") else "3"
    repository = "example/other" if kind == "other" else "example/source-demo"
    result = "FAILED" if kind == "failed" else "PASSED"
    levels = [f"SLSA_SOURCE_LEVEL_{level}"]
    payload = payload_bytes(vsa(commit, repository=repository, levels=levels, result=result))
    if kind == "forged":
        return TAMPERINGS["signature-flipped"](lab, payload)
    signer = github_source_actions(repository=repository, commit=commit)
    return lab.sign(payload, person() if kind == "stranger" else signer)


def _say(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
