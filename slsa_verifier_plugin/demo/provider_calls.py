"""Runs the provider on the demonstration's images, and asks it as Gatekeeper does."""

from __future__ import annotations

import json
import shlex
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from ssl import create_default_context
from typing import Any

from slsa_verifier_plugin.demo import scene
from slsa_verifier_plugin.demo.scene import Exhibit
from slsa_verifier_plugin.errors import UsageError
from slsa_verifier_plugin.members import at
from slsa_verifier_plugin.text import plain, quoted

START_SECONDS = 60.0
ANSWER_SECONDS = 60.0
CERTIFICATE, KEY, POLICIES = "server.crt", "server.key", "policies.yaml"
PATH = "/ratify/gatekeeper/v1/verify"


@dataclass(frozen=True, slots=True)
class ProviderExchange:
    """What was asked about an image, what came back, and the line that asks it again."""

    exhibit: Exhibit
    request: str
    answer: Mapping[str, Any]
    curl: str

    @property
    def report(self) -> Mapping[str, Any]:
        """What the verifier says of the image; empty where there is no such answer."""
        try:
            # Exactly one of each: another number is no answer to one key.
            (item,) = self.answer["response"]["items"]
            (report,) = item["value"]["verifierReports"]
        except (KeyError, TypeError, ValueError):
            return {}
        # A report under another key is no answer about this image.
        return report if isinstance(report, dict) and item["key"] == self.exhibit.image else {}

    @property
    def admitted(self) -> bool:
        """True where the answer's one value admits the image."""
        return bool(self.report) and self.answer["response"]["items"][0]["value"]["isSuccess"] is True

    @property
    def as_expected(self) -> bool:
        """True where the right thing was answered, and for the right reason."""
        # An error of the provider itself has no extensions.
        return self.exhibit.meets(self.admitted, at(self.report, "extensions", "reason"))


@dataclass(frozen=True, slots=True)
class RunningProvider:
    """A provider that listens on loopback. ``folder`` has its certificate and its policies."""

    folder: Path
    address: str
    health: str

    def ask(self, exhibit: Exhibit) -> ProviderExchange:
        """Ask about one image.

        Raises:
            UsageError: there is no answer that can be read.
        """
        request = json.dumps(
            {
                "apiVersion": "externaldata.gatekeeper.sh/v1beta1",
                "kind": "ProviderRequest",
                "request": {"keys": [exhibit.image]},
            }
        )
        host, _, port = self.address.rpartition(":")
        # As Gatekeeper checks it, by the caBundle that it is given: here the certificate is its own authority.
        certificate = self.folder / CERTIFICATE
        context = create_default_context(cafile=str(certificate))
        connection = HTTPSConnection(host, int(port), timeout=ANSWER_SECONDS, context=context)
        try:
            connection.request("POST", PATH, request, {"Content-Type": "application/json"})
            answer = json.loads(connection.getresponse().read())
        except (OSError, HTTPException, ValueError) as error:
            raise UsageError(
                f"the provider at {self.address} gave no answer: {type(error).__name__}"
            ) from error
        finally:
            connection.close()
        # A line for a shell: a folder may have any name.
        curl = ["curl", "-s", "--cacert", str(certificate), f"https://{self.address}{PATH}", "-d", request]
        return ProviderExchange(exhibit, request, answer, shlex.join(curl))


@contextmanager
def running(
    plugin: Path, folder: Path, certificate: tuple[bytes, bytes], environment: Mapping[str, str]
) -> Iterator[RunningProvider]:
    """Run ``serve`` on free ports of loopback until the end of the block.

    Args:
        plugin: this program as an executable file.
        folder: has the trusted root; gets certificate, key and policies.
        certificate: of the server, and its key, in PEM.
        environment: of the server.

    Raises:
        UsageError: it does not start.
    """
    (folder / CERTIFICATE).write_bytes(certificate[0])
    # Made before it is written: for a moment the key would be anybody's to read.
    (folder / KEY).touch(mode=0o600)
    (folder / KEY).write_bytes(certificate[1])
    (folder / POLICIES).write_text(scene.provider_resources(), "utf-8")
    log = folder / "provider.log"
    # Any free port: the demonstration must not fail for a port that somebody has.
    options = ["--listen", "127.0.0.1:0", "--health-listen", "127.0.0.1:0", "--drain", "0"]
    # A busy machine may take longer than an admission may, as in ``scene.prepare``.
    options += ["--policy", str(folder / POLICIES), "--timeout", "30s"]
    options += ["--tls-cert", str(folder / CERTIFICATE), "--tls-key", str(folder / KEY)]
    # A file, for nobody reads along: a pipe that is full would stop the provider.
    with log.open("wb") as output:
        try:
            process = subprocess.Popen(  # noqa: S603 (the plugin installed a moment ago)
                [str(plugin), "serve", *options],
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        except OSError as error:
            raise UsageError(f"{quoted(str(plugin))} cannot be run: {error.strerror}") from error
    try:
        heard = _listening(process, log)
        yield RunningProvider(folder, str(heard["address"]), str(heard["health"]))
    finally:
        process.terminate()
        try:
            process.wait(ANSWER_SECONDS)
        # --drain 0 ends it at once; one that hangs must not outlive the demonstration.
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _listening(process: subprocess.Popen[bytes], log: Path) -> Mapping[str, Any]:
    """Return what the log says of where the provider listens.

    Raises:
        UsageError: it ended, or said nothing in time.
    """
    end = time.monotonic() + START_SECONDS
    lines: list[str] = []
    while time.monotonic() < end:
        lines = log.read_text("utf-8", "replace").splitlines()
        for line in lines:
            try:
                event = json.loads(line)
            # A line that is written only in part, or by a library: the next look reads all lines again.
            except ValueError:
                continue
            # The port is the system's choice, and only this line tells it.
            if isinstance(event, dict) and event.get("event") == "listening":
                return event
        # It ended by itself: its last line says why, and nobody need wait the full minute.
        if process.poll() is not None:
            break
        time.sleep(0.05)
    raise UsageError(f"the provider does not start: {plain(lines[-1]) if lines else 'silence'}")
