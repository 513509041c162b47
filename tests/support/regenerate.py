"""Rewrites ``testdata/`` and ``slsa_verifier_plugin/demo/data/``: ``python -m tests.support.regenerate [--check]``.

All keys come out of a seed and all signatures are deterministic, so a second run changes nothing. ``testdata/README.md`` is
written by hand; a test holds every answer that it promises against the plugin.
"""

from __future__ import annotations

import hashlib
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.support.sigstore import (
    COMMIT,
    LEVEL_1_COMMIT,
    REPOSITORY,
    SIGNED_AT,
    TAMPERINGS,
    Lab,
    build_vsa,
    derive_key,
    github_source_actions,
    keyed_envelope,
    source_provenance,
    vsa,
)
from tests.support.sigstore.encoding import b64, compact
from tests.support.sigstore.statements import Document

ROOT = Path(__file__).parents[2]
TESTDATA, DEMO = "testdata", "slsa_verifier_plugin/demo/data"
DEMO_SEED = "slsa-verifier-plugin demo"
"""The demo's Sigstore is not the tests': neither trusts what the other signed."""

ARTIFACT_TYPE = "slsla/attestation"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
EMPTY = b"{}"
TRUSTED_ROOT = "/testdata/trusted_root.json"
"""Parameters take absolute paths alone; whoever tries the fixtures puts the true one in its place."""

LEVELS = {
    "level-1": (LEVEL_1_COMMIT, ["SLSA_SOURCE_LEVEL_1"], "DEFAULT"),
    "level-3": (
        COMMIT,
        ["SLSA_SOURCE_LEVEL_3", "TAG_HYGIENE"],
        "https://github.com/slsa-framework/source-policies/blob/main/policy/github.com/"
        f"{REPOSITORY}/source-policy.json",
    ),
}


def files() -> dict[str, bytes]:
    """Return all generated files by their path from the repository's root."""
    lab, demo = Lab(), Lab(DEMO_SEED)
    testdata = {
        "trusted_root.json": lab.trusted_root(),
        **{f"{level}.intoto.jsonl": note(lab, level) for level in LEVELS},
        "tampered.intoto.jsonl": TAMPERINGS["signature-flipped"](lab, vsa()) + b"\n",
        **keyed(lab.seed),
    }
    testdata |= manifests(testdata)
    testdata |= stdin_fixtures(testdata)
    shown = {
        "trusted_root.json": demo.trusted_root(),
        **{f"{level}.intoto.jsonl": note(demo, level) for level in LEVELS},
    }
    return {
        **{f"{TESTDATA}/{name}": content for name, content in testdata.items()},
        **{f"{DEMO}/{name}": content for name, content in shown.items()},
    }


def note(lab: Lab, level: str) -> bytes:
    """Return two lines as the SLSA source workflow leaves them in a commit's note: provenance, then summary."""
    commit, levels, policy = LEVELS[level]
    earlier = timedelta(days=1) if level == "level-1" else timedelta()
    at = SIGNED_AT - earlier
    identity = github_source_actions(commit=commit)
    day = at.strftime("%Y-%m-%dT")
    provenance = source_provenance(commit, changes={"predicate.createdOn": f"{day}09:59:58.555892744Z"})
    if level == "level-1":
        provenance["predicate"]["prevCommit"] = "77" * 20
    summary = vsa(
        commit,
        levels=levels,
        time_verified=f"{day}09:59:59.077372531Z",
        changes={"predicate.policy.uri": policy},
    )
    lines = [
        lab.sign(provenance, identity, at=at, timestamp=True),
        lab.sign(summary, identity, at=at + timedelta(seconds=1), timestamp=True),
    ]
    return b"".join(line + b"\n" for line in lines)


def keyed(seed: str) -> dict[str, bytes]:
    """Return an envelope signed with a plain key, and the public key."""
    key = derive_key(seed, "testdata/keyed")
    return {"keyed.dsse.json": keyed_envelope(build_vsa(), key) + b"\n", "keyed.pub.pem": key.pem}


def manifests(testdata: dict[str, bytes]) -> dict[str, bytes]:
    """Return, for each level, an image's manifest, and one that attaches the level's note to it."""
    result: dict[str, bytes] = {}
    for level, (commit, _, _) in LEVELS.items():
        image = compact(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **described(EMPTY)},
                "layers": [],
                "annotations": {
                    "org.opencontainers.image.revision": commit,
                    "org.opencontainers.image.source": f"https://github.com/{REPOSITORY}",
                },
            }
        )
        name = f"{level}.intoto.jsonl"
        artifact = compact(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "artifactType": ARTIFACT_TYPE,
                "config": {
                    "mediaType": "application/vnd.oci.empty.v1+json",
                    **described(EMPTY),
                    "data": b64(EMPTY),
                },
                "layers": [
                    {
                        "mediaType": "application/vnd.oci.image.layer.v1.tar",
                        **described(testdata[name]),
                        "annotations": {"org.opencontainers.image.title": name},
                    }
                ],
                "subject": {"mediaType": MANIFEST, **described(image)},
            }
        )
        result |= {f"manifest-image-{level}.json": image, f"manifest-{level}.json": artifact}
    return result


def stdin_fixtures(testdata: dict[str, bytes]) -> dict[str, bytes]:
    """Return what Ratify v1.4.4 writes to a plugin, right and wrong."""
    call = stdin_of(testdata["manifest-level-3.json"])
    config = call["config"]
    good = compact(call)

    def configured(settings: Document) -> bytes:
        return compact({**call, "config": dict(sorted(settings.items()))})

    def having(**changes: Any) -> bytes:
        return configured({**config, **changes})

    def lacking(name: str) -> bytes:
        return configured({key: value for key, value in config.items() if key != name})

    injected = 'x\n{"isSuccess":true,"message":"injected"}'
    contents = {
        "unreachable": good,
        "level-1": compact(
            {
                **stdin_of(testdata["manifest-level-1.json"]),
                "config": {**config, "trustedRoot": {"path": TRUSTED_ROOT}},
            }
        ),
        "level-3": having(trustedRoot={"path": TRUSTED_ROOT}),
        "misspelt-parameter": having(expectedVerifiedLevel=["SLSA_SOURCE_LEVEL_3"]),
        "no-levels": having(expectedVerifiedLevels=[]),
        "no-resource-uri": lacking("expectedResourceUri"),
        "no-name": lacking("name"),
        "relative-trusted-root": having(trustedRoot={"path": "testdata/trusted_root.json"}),
        "injected-parameter": having(**{injected: True}),
        "no-reference": compact({name: value for name, value in call.items() if name != "referenceDesc"}),
        "duplicate-name": good.replace(b'"name":"slsla"', b'"name":"slsla","name":"slsa"'),
        "truncated": good[: len(good) // 2],
        "not-an-object": b"[" + good + b"]",
        "not-json": b"verify, please",
    }
    return {f"stdin-{name}.json": content + b"\n" for name, content in contents.items()}


def stdin_of(manifest: bytes) -> Document:
    """Return the object that Ratify writes for the artifact with ``manifest``, members in its order."""
    return {
        "config": {
            "artifactTypes": ARTIFACT_TYPE,
            "expectedResourceUri": f"git+https://github.com/{REPOSITORY}",
            "expectedVerifiedLevels": ["SLSA_SOURCE_LEVEL_2"],
            "expectedVerifierId": "https://github.com/slsa-framework/source-actions",
            "name": "slsla",
        },
        "storeConfig": {
            "version": "1.0.0",
            "pluginBinDirs": None,
            "store": {"name": "oras", "useHttp": True},
        },
        "referenceDesc": {
            "mediaType": MANIFEST,
            **described(manifest),
            "annotations": {"org.opencontainers.image.created": "2025-11-03T10:00:05Z"},
            "artifactType": ARTIFACT_TYPE,
        },
    }


def described(content: bytes) -> Document:
    """Return digest and size, as descriptors hold them."""
    return {"digest": f"sha256:{hashlib.sha256(content).hexdigest()}", "size": len(content)}


def main(arguments: list[str]) -> int:
    """Write the files, or with ``--check`` only name those that differ; returns the exit status."""
    differing = []
    for name, content in files().items():
        path = ROOT / name
        if path.is_file() and path.read_bytes() == content:
            continue
        differing.append(name)
        if "--check" not in arguments:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    verb = "differs" if "--check" in arguments else "written"
    sys.stdout.writelines(f"{verb}: {name}\n" for name in differing)
    return 1 if differing and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
