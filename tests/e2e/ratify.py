"""The real Ratify v1.4.4 around the installed plugin: one-shot ``ratify verify`` and ``ratify serve``."""

from __future__ import annotations

import json
import re
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict, Unpack

from tests.e2e.oras import ATTESTATION
from tests.e2e.peers import peer
from tests.e2e.servers import ended, free_address, wait_until_listening

VERIFY_SECONDS = 90
"""Seconds that ``ratify verify``, which has no deadline of its own, is waited for."""
SERVED_SECONDS = 90
"""Seconds that the answer to one ProviderRequest is waited for."""

CHART_SECONDS = 5
"""Seconds that Ratify's chart gives a request; without it ``ratify serve`` gives 2.9."""
PATIENT_SECONDS = 60

Parameters = Mapping[str, Any]


class Settings(TypedDict, total=False):
    """What a configuration says beside the verifier's parameters.

    ``name`` of the verifier, which finds the plugin (``slsla``); the one ``artifact_type`` it verifies;
    whether ``all`` or ``any`` such artifact must pass (``policy``); the plugin contract's ``version``;
    ``request_seconds`` that ``ratify serve`` gives a request.
    """

    name: str
    artifact_type: str
    policy: str
    version: str
    request_seconds: int


class Decision:
    """What Ratify decided about one image, and why.

    Args:
        result: Ratify's own JSON: ``isSuccess`` and ``verifierReports``.
        log: Ratify's standard error, where there is one.
    """

    def __init__(self, result: Mapping[str, Any], log: str = "") -> None:
        self.result = result
        self.log = log
        self.admitted = result.get("isSuccess") is True

    def __repr__(self) -> str:
        return f"Decision({json.dumps(self.result, indent=1)})\n{self.log}"

    @property
    def report(self) -> dict[str, Any]:
        """The one report; an AssertionError where there are none or several."""
        (report,) = self.result["verifierReports"]
        assert isinstance(report, dict)
        return report

    @property
    def message(self) -> str:
        """The plugin's message."""
        return str(self.report.get("message", ""))

    @property
    def reason(self) -> str | None:
        """The plugin's stable reason code; None where it gave no verdict."""
        extensions = self.report.get("extensions") or {}
        reason = extensions.get("reason")
        return None if reason is None else str(reason)

    @property
    def contract_error(self) -> dict[str, Any]:
        """The plugin's error object; an AssertionError where the plugin did not end with status 1."""
        found = re.search(
            r"'exit status 1', msg from stError '(.*)', msg from stdOut '(\{.*\})\s*'",
            self.report.get("errorReason", ""),
            re.DOTALL,
        )
        assert found, f"the plugin reported no contract error: {self}"
        error = json.loads(found[2])
        assert isinstance(error, dict)
        return error


@dataclass(frozen=True)
class Ratify:
    """Ratify with a home directory of its own, in which ``.ratify/plugins`` holds the plugin.

    Attributes:
        home: that directory; configurations and logs are written below it.
        environment: all that Ratify, and so the plugin, gets.
    """

    home: Path
    environment: Mapping[str, str]

    def config(self, parameters: Parameters, **settings: Unpack[Settings]) -> Path:
        """Write a configuration whose one verifier has ``parameters``, and return its path."""
        artifact_type = settings.get("artifact_type", ATTESTATION)
        verifier = {"name": settings.get("name", "slsla"), "artifactTypes": artifact_type, **parameters}
        policies = {artifact_type: settings.get("policy", "all")}
        content: dict[str, Any] = {
            "store": {"version": "1.0.0", "plugins": [{"name": "oras", "useHttp": True}]},
            "policy": {
                "version": "1.0.0",
                "plugin": {"name": "configPolicy", "artifactVerificationPolicies": policies},
            },
            "verifier": {"version": settings.get("version", "1.0.0"), "plugins": [verifier]},
        }
        if "request_seconds" in settings:
            content["executor"] = {"verificationRequestTimeout": settings["request_seconds"] * 1000}
        path = self.home / f"config-{time.monotonic_ns()}.json"
        path.write_text(json.dumps(content))
        return path

    def verify(self, subject: str, parameters: Parameters, **settings: Unpack[Settings]) -> Decision:
        """Run ``ratify verify`` on ``subject``."""
        return self.verify_with(self.config(parameters, **settings), subject)

    def verify_with(self, config: Path, subject: str) -> Decision:
        """Run ``ratify verify`` with a configuration that exists."""
        done = subprocess.run(
            [peer("ratify"), "verify", "-c", config, "-s", subject],
            cwd=self.home,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=VERIFY_SECONDS,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"ratify verify ended with status {done.returncode}: {done.stderr}")
        return Decision(json.loads(done.stdout), done.stderr)

    @contextmanager
    def serve(self, parameters: Parameters, **settings: Unpack[Settings]) -> Iterator[Provider]:
        """Run ``ratify serve`` as Gatekeeper's external data provider, without TLS, on loopback.

        The deadlines are those of Ratify's chart and of the plugin where the resident verifier answers. Without it
        interpreters start side by side on few cores: the decisions must be right all the same, given time.
        """
        if self.environment["SLSA_VERIFIER_RESIDENT"] == "require":
            settings.setdefault("request_seconds", CHART_SECONDS)
        else:
            settings.setdefault("request_seconds", PATIENT_SECONDS)
            parameters = {"timeout": f"{PATIENT_SECONDS}s", **parameters}
        config = self.config(parameters, **settings)
        address, log = free_address(), self.home / "serve.log"
        options = ["-c", str(config), "--http", address, "--health-port", free_address()]
        with log.open("wb") as output:
            process = subprocess.Popen(
                [peer("ratify"), "serve", *options],
                cwd=self.home,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        try:
            wait_until_listening(address, process, log)
            yield Provider(address, log)
        finally:
            ended(process)


@dataclass(frozen=True)
class Provider:
    """A running ``ratify serve``."""

    address: str
    log: Path

    def ask(self, subjects: Sequence[str]) -> dict[str, Decision]:
        """Send one real ProviderRequest for ``subjects``; returns the decision on each key answered.

        An item with an error, or a ``systemError``, raises AssertionError: no test expects one.
        """
        request = {
            "apiVersion": "externaldata.gatekeeper.sh/v1beta1",
            "kind": "ProviderRequest",
            "request": {"keys": list(subjects)},
        }
        post = urllib.request.Request(
            f"http://{self.address}/ratify/gatekeeper/v1/verify",
            data=json.dumps(request).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(post, timeout=SERVED_SECONDS) as answer:
                response = json.load(answer)["response"]
        except urllib.error.HTTPError as error:
            with error:
                raise RuntimeError(f"Ratify answered {error.code}: {error.read().decode()}") from error
        assert not response.get("systemError"), response
        items = response["items"]
        assert not [item for item in items if item.get("error")], items
        log = self.log.read_text()
        return {item["key"]: Decision(item["value"], log) for item in items}


def check_denied(decision: Decision, reason: str) -> None:
    """Assert that the plugin denied with ``reason``, in words that no parser or reader takes for a success."""
    assert not decision.admitted, decision
    assert decision.report["isSuccess"] is False
    assert decision.reason == reason, decision
    opening, failed, sentence = decision.message.partition("SLSA attestation verified FAILED: ")
    assert (opening, bool(failed), bool(sentence)) == ("", True, True)
    assert not set("{}\n") & set(sentence)
