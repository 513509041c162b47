"""Runs the plugin on the demonstration's images: as Ratify v1.4.4 runs it, or through Ratify itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slsa_verifier_plugin.demo.scene import ARTIFACT_TYPE, VERIFIER, Exhibit, Scene
from slsa_verifier_plugin.environment import RESIDENT_VARIABLE
from slsa_verifier_plugin.errors import UsageError
from slsa_verifier_plugin.members import object_at, objects_at
from slsa_verifier_plugin.resident.place import DIRECTORY_VARIABLE, PlaceError, find_place
from slsa_verifier_plugin.resources.kubectl import finished
from slsa_verifier_plugin.text import plain, quoted

CALL_SECONDS = 60
"""Time for one call; an idle machine needs a tenth of a second, the first call a second or two."""

# The demonstration's registry has no certificate.
_STORE = {"name": "oras", "useHttp": True}


@dataclass(frozen=True, slots=True)
class DemoOutcome:
    """What became of one image. ``result`` is the plugin's own, ``result["extensions"]`` tells why."""

    exhibit: Exhibit
    admitted: bool
    result: Mapping[str, Any]

    @property
    def as_expected(self) -> bool:
        """True where the right thing happened, and for the right reason."""
        return self.exhibit.meets(self.admitted, self.extensions.get("reason"))

    @property
    def extensions(self) -> Mapping[str, Any]:
        """The result's extensions."""
        return object_at(self.result, "extensions")


def environment_of(environ: Mapping[str, str], home: Path) -> dict[str, str]:
    """Return the environment for the plugin: the caller's, with a home and a resident verifier of the demonstration's own."""
    changed = {
        **environ,
        "HOME": str(home),
        DIRECTORY_VARIABLE: str(home / "resident"),
        # The registry listens on loopback, where no proxy reaches it.
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }
    # They would lead out of the demonstration's home: to the caller's caches, sockets and credentials.
    for name in ("XDG_CACHE_HOME", "XDG_RUNTIME_DIR", "DOCKER_CONFIG", "SLSA_VERIFIER_TUF_DIR"):
        changed.pop(name, None)
    try:
        find_place(changed)
    # The home's path is too long for a socket. The plugin would start its verifier elsewhere, and it would stay there when the
    # home is gone.
    except PlaceError:
        changed[RESIDENT_VARIABLE] = "off"
    return changed


def ask_plugin(plugin: Path, environment: Mapping[str, str], scene: Scene, exhibit: Exhibit) -> DemoOutcome:
    """Return what the plugin's answer stands for.

    It is started as Ratify does it: no arguments, three variables, one JSON object on standard input.

    Raises:
        UsageError: it gives no answer that can be read.
    """
    call = {
        "config": {"name": VERIFIER, "artifactTypes": ARTIFACT_TYPE, **scene.parameters},
        "storeConfig": {"version": "1.0.0", "pluginBinDirs": None, "store": _STORE},
        "referenceDesc": {
            "mediaType": exhibit.artifact.media_type,
            "digest": str(exhibit.artifact.digest),
            "size": exhibit.artifact.size,
            "artifactType": ARTIFACT_TYPE,
        },
    }
    variables = {
        "RATIFY_VERIFIER_COMMAND": "VERIFY",
        "RATIFY_VERIFIER_SUBJECT": exhibit.image,
        "RATIFY_VERIFIER_VERSION": "1.0.0",
    }
    # All in one go: Ratify writes standard input and waits for the end.
    result, status = _answer([str(plugin)], {**environment, **variables}, json.dumps(call).encode())
    # Both, as for Ratify: a plugin that ends with another status has failed, whatever it has printed.
    return DemoOutcome(exhibit, status == 0 and result.get("isSuccess") is True, result)


def ask_ratify(ratify: Path, environment: Mapping[str, str], scene: Scene, exhibit: Exhibit) -> DemoOutcome:
    """Return what ``ratify verify`` decides, with the plugin in its plugin directory; ``result`` is its report of the plugin.

    Raises:
        UsageError: it gives no answer that can be read.
    """
    verifier = {"name": VERIFIER, "artifactTypes": ARTIFACT_TYPE, **scene.parameters}
    # all is Ratify's default: each attestation of the type must pass.
    policy = {"name": "configPolicy", "artifactVerificationPolicies": {ARTIFACT_TYPE: "all"}}
    config = Path(environment["HOME"]) / "config.json"
    content = {
        "store": {"version": "1.0.0", "plugins": [_STORE]},
        "policy": {"version": "1.0.0", "plugin": policy},
        "verifier": {"version": "1.0.0", "plugins": [verifier]},
    }
    config.write_text(json.dumps(content, indent=2), "utf-8")
    decided, _ = _answer([str(ratify), "verify", "-c", str(config), "-s", exhibit.image], environment, b"")
    # Ratify may leave the list out where it denies before it asks a verifier.
    reports = objects_at(decided, "verifierReports")
    return DemoOutcome(exhibit, decided.get("isSuccess") is True, reports[0] if reports else decided)


def _answer(command: list[str], environment: Mapping[str, str], stdin: bytes) -> tuple[dict[str, Any], int]:
    """Return the JSON object that a program prints, and its exit status."""
    # Not in the caller's folder: a plugin must find nothing there by chance.
    done = finished(command, environment, CALL_SECONDS, "try it by itself", stdin, environment["HOME"])
    try:
        value = json.loads(done.stdout)
    # Told below, with the program's own last line.
    except ValueError:
        value = None
    if not isinstance(value, dict):
        # The last line: Python and Ratify both say there what went wrong.
        said = (done.stderr or done.stdout).decode("utf-8", "replace").strip().rpartition("\n")[2]
        found = f"{quoted(command[0])} ended with status {done.returncode} and no result"
        raise UsageError(f"{found}: {plain(said) or 'silence'}")
    return value, done.returncode
