"""What every way in says of one image: ``verify``, ``inspect``, ``audit``, ``policy init`` and the plugin."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.registry.reference import Reference
from slsa_verifier_plugin.registry.settings import StoreSettings
from slsa_verifier_plugin.registry.store import RegistryStore
from slsa_verifier_plugin.service.service import Service
from tests.support.command_line import ARTIFACT_TYPE, TRUSTED_ROOT, cli, parameters

BY_PROVENANCE = {
    "sourceBinding": "provenance",
    "trustedBuilders": [{"builderId": "https://b", "issuer": "https://i", "identityPattern": "https://.*"}],
}


@dataclass(frozen=True)
class Said:
    """Exit status or decision of each, and the texts.

    ``plugin`` has an answer for each artifact that Ratify would hand to it; ``bound`` is the reason that a policy with
    ``sourceBinding: provenance`` gives for the first, for which the plugin lists the referrers itself.
    """

    verify: int
    reason: str
    message: str
    inspect: str
    audit: str
    init: int
    init_text: str
    plugin: list[bool]
    bound: str


def said_of(image: str, policy: Path, folder: Path) -> Said:
    """Return what all say of ``image`` (with its digest)."""
    own = {"HOME": str(folder / "home")}
    verified = cli("verify", image, "--policy", policy, "--plain-http", "--json", environ=own)
    report = json.loads(verified.out)["images"][0]
    inspected = cli("inspect", image, "--plain-http", environ=own)
    audited = cli("audit", "--policy", policy, "--plain-http", "--json", image, environ=own)
    decision = json.loads(audited.out)["images"][0]["levels"]["SLSA_SOURCE_LEVEL_2"]
    initial = cli(
        "policy",
        "init",
        image,
        "--plain-http",
        "--trusted-root",
        TRUSTED_ROOT,
        "-o",
        folder / "made.yaml",
        "--force",
        environ=own,
    )
    plugin, bound = _asked(image, folder)
    return Said(
        verified.status,
        report["reason"],
        report["message"],
        inspected.out + inspected.err,
        decision,
        initial.status,
        initial.out + initial.err,
        plugin,
        bound,
    )


def _asked(image: str, folder: Path) -> tuple[list[bool], str]:
    """Return the plugin's answers for the artifacts that Ratify finds: those that are listed with the type it looks for."""
    reference = Reference.parse(image)
    with RegistryStore(StoreSettings(use_http=True), None, {}) as store:
        listed = store.referrers(reference, Deadline(10))
        answers = []
        bound = ""
        for descriptor in listed:
            if descriptor.artifact_type != ARTIFACT_TYPE:
                continue
            told = {
                "mediaType": descriptor.media_type,
                "digest": str(descriptor.digest),
                "size": descriptor.size,
                "artifactType": descriptor.artifact_type,
            }
            answers.append(_call(image, told, folder)["isSuccess"])
            if not bound:
                bound = _call(image, told, folder, **BY_PROVENANCE)["extensions"]["reason"]
    return answers, bound


def _call(image: str, descriptor: dict[str, Any], folder: Path, **more: Any) -> dict[str, Any]:
    reference = Reference.parse(image)
    stdin = {
        "config": {"name": "slsla", "type": "slsla", **parameters(2, **more)},
        "storeConfig": {"version": "1.0.0", "store": {"name": "oras", "useHttp": True}},
        "referenceDesc": descriptor,
    }
    environment = {
        "RATIFY_VERIFIER_COMMAND": "VERIFY",
        "RATIFY_VERIFIER_SUBJECT": f"{reference.name}@{reference.digest}",
        "RATIFY_VERIFIER_VERSION": "1.0.0",
    }
    response = Service({"HOME": str(folder)}).respond(environment, json.dumps(stdin).encode())
    answer: dict[str, Any] = json.loads(response.stdout)
    return answer
