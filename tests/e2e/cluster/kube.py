"""``kubectl`` as a person runs it, and a plain client for what is measured."""

from __future__ import annotations

import base64
import http.client
import json
import os
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.e2e.cluster.pki import Pair

_SECONDS = 60
_POLL_SECONDS = 0.2

Object = dict[str, Any]


def read_objects(text: str) -> list[Object]:
    """Return the objects in YAML documents; PyYAML's own parser takes seconds over a large definition."""
    return [document for document in yaml.load_all(text, Loader=yaml.CSafeLoader) if document]


class KubectlError(RuntimeError):
    """kubectl ended with another status than 0; the message is what it printed."""


@dataclass(frozen=True)
class Outcome:
    """What became of a request: whether it was admitted, and all that kubectl printed."""

    admitted: bool
    text: str


def kubeconfig(file: Path, server: str, authority: str, user: Mapping[str, str]) -> Path:
    """Write a kubeconfig with one context; ``user`` as its schema has it."""
    cluster = {"server": server, "certificate-authority-data": base64.b64encode(authority.encode()).decode()}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": dict(user)}],
    }
    file.touch(mode=0o600)
    file.write_text(yaml.safe_dump(config))
    return file


def certificate_user(pair: Pair) -> dict[str, str]:
    """Return the user of a kubeconfig that shows a client certificate."""
    return {
        "client-certificate-data": base64.b64encode(pair.certificate.encode()).decode(),
        "client-key-data": base64.b64encode(pair.key.encode()).decode(),
    }


class Kubectl:
    """kubectl with one kubeconfig and a cache of its own."""

    def __init__(self, config: Path) -> None:
        self._config = config
        self._command = ["kubectl", "--kubeconfig", str(config), "--cache-dir", f"{config}.cache"]

    def attempt(self, *arguments: str, given: str | None = None) -> Outcome:
        """Run kubectl; ``given`` is its standard input."""
        done = subprocess.run(
            [*self._command, *arguments],
            input=given,
            stdin=subprocess.DEVNULL if given is None else None,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
        return Outcome(done.returncode == 0, (done.stdout + done.stderr).strip())

    def run(self, *arguments: str, given: str | None = None) -> str:
        """Run kubectl and return what it printed.

        Raises:
            KubectlError: it failed.
        """
        outcome = self.attempt(*arguments, given=given)
        if not outcome.admitted:
            raise KubectlError(f"kubectl {' '.join(arguments)}: {outcome.text}")
        return outcome.text

    def script(self, program: str, *arguments: str) -> str:
        """Run a script that calls kubectl, and return what it printed.

        Raises:
            KubectlError: it failed.
        """
        done = subprocess.run(
            [program, *arguments],
            env={
                "PATH": os.environ["PATH"],
                "KUBECONFIG": str(self._config),
                "HOME": str(self._config.parent),
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=4 * _SECONDS,
            check=False,
        )
        if done.returncode:
            raise KubectlError(f"{program}: {done.stdout}{done.stderr}")
        return done.stdout

    def apply(self, objects: Iterable[Object], *arguments: str) -> str:
        """Apply the objects in their order, on the server's side, as the owner of all their fields."""
        given = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
        return self.run("apply", "--server-side", "--force-conflicts", *arguments, "-f", "-", given=given)

    def get(self, *arguments: str) -> Object:
        """Return what ``kubectl get ARGUMENTS`` finds."""
        found: Object = json.loads(self.run("get", "-o", "json", *arguments))
        return found

    def exists(self, *arguments: str) -> bool:
        """Tell whether ``kubectl get ARGUMENTS`` finds anything."""
        return bool(self.attempt("get", "-o", "name", "--ignore-not-found", *arguments).text)

    def wait_for_definitions(self, *names: str, seconds: float = 60.0) -> None:
        """Wait until the API server serves the CustomResourceDefinitions of those names, or all that there are.

        Raises:
            KubectlError: ``seconds`` have passed.
        """
        end = time.monotonic() + seconds
        while True:
            definitions = {thing["metadata"]["name"]: thing for thing in self.get("crd")["items"]}
            served = {name for name, thing in definitions.items() if _is_established(thing)}
            if missing := set(names or definitions) - served:
                if time.monotonic() > end:
                    raise KubectlError(f"not served after {seconds:.0f} s: {', '.join(sorted(missing))}")
                time.sleep(_POLL_SECONDS)
            else:
                return

    def until(self, wanted: str, *arguments: str, seconds: float = 30.0) -> str:
        """Repeat ``kubectl ARGUMENTS`` until it prints ``wanted``; return all that it printed then.

        Raises:
            KubectlError: ``seconds`` have passed.
        """
        end = time.monotonic() + seconds
        while True:
            text = self.attempt(*arguments).text
            if wanted in text:
                return text
            if time.monotonic() > end:
                raise KubectlError(f"kubectl {' '.join(arguments)}: no {wanted!r} in {text}")
            time.sleep(_POLL_SECONDS)


def _is_established(definition: Object) -> bool:
    conditions = definition.get("status", {}).get("conditions") or ()  # null at first
    return any(one["type"] == "Established" and one["status"] == "True" for one in conditions)


class Client:
    """One kept-alive connection to the API server, for requests that are timed; or to another server."""

    def __init__(self, host: str, port: int, authority: str, user: Pair | None) -> None:
        context = ssl.create_default_context(cadata=authority)
        if user is not None:
            _show(context, user)
        self._connection = http.client.HTTPSConnection(host, port, context=context, timeout=_SECONDS)

    def create(self, path: str, thing: Object) -> tuple[int, str]:
        """POST ``thing``; returns the status, and the message where it is not 201."""
        status, answer = self._ask("POST", path, thing)
        return status, "" if status == http.HTTPStatus.CREATED else answer["message"]

    def post(self, path: str, body: str) -> str:
        """POST a text, and return the answer's."""
        self._connection.request("POST", path, body, {"Content-Type": "application/json"})
        return self._connection.getresponse().read().decode()

    def delete_all(self, path: str) -> None:
        """DELETE all objects of a collection without grace; kubectl would send a request for each.

        Raises:
            KubectlError: it was refused.
        """
        status, answer = self._ask("DELETE", path, {"gracePeriodSeconds": 0})
        if status != http.HTTPStatus.OK:
            raise KubectlError(f"DELETE {path}: {answer['message']}")

    def _ask(self, method: str, path: str, body: Object) -> tuple[int, Object]:
        self._connection.request(method, path, json.dumps(body), {"Content-Type": "application/json"})
        response = self._connection.getresponse()
        answer: Object = json.loads(response.read())
        return response.status, answer

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def _show(context: ssl.SSLContext, user: Pair) -> None:
    """Let connections show the user's certificate; Python reads it from a file alone."""
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as both:
        both.write(user.certificate + user.key)
        both.flush()
        context.load_cert_chain(both.name)
