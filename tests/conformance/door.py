"""Runs conformance cases through the provider's door: ``slsa-verifier-plugin serve``, asked as Gatekeeper asks.

A case's configuration is a NamespacedVerifier, its store's settings a NamespacedStore, each case in a namespace of its own; so
one server answers many cases, and each key is ``[case-N]registry/repository@digest``. A configuration that is no policy must
keep a server from starting. What only Ratify's contract can express does not pass here; ``not_for_the_door`` says what and why.
"""

from __future__ import annotations

import http.client
import json
import os
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conformance.model import SLSA, Content, build, read_case
from tests.conformance.registry import CaseRegistry
from tests.conformance.run import Answer, Outcome, differences, environment_of, filled, places_of
from tests.support.certificates import Authority

BATCH = 60
"""Cases of one server: each has a registry of its own beside it."""
START_SECONDS, ANSWER_SECONDS = 60, 60
DOOR_SECONDS = 30.0
"""That a key may take, so that a case's own time limit is what ends it."""
GROUP = "config.ratify.deislabs.io/v1beta1"
INVALID_POLICY = 2
"""The contract's code for parameters that are not valid (Ratify v1.4.4, ``pkg/verifier/types``)."""
Json = dict[str, Any]


@dataclass(frozen=True)
class Ready:
    """A case whose registry runs: what it expects, its namespace and its key."""

    name: str
    expected: Json
    namespace: str
    key: str
    content: Content


def not_for_the_door(folder: Path) -> str:
    """Return why a case cannot be asked through the provider; empty where it can."""
    expected: Json = json.loads((folder / "expected.json").read_bytes())
    if (folder / "stdin.raw").exists():
        return "standard input that is no call"
    code = expected.get("code")
    if code == INVALID_POLICY:
        config = json.loads((folder / "stdin.json").read_bytes())["config"]
        if config.get("name") != "slsla":
            return "a call without a name"
        # In a file of resources a relative path is one of the file's own folder.
        root = config.get("trustedRoot")
        is_relative = isinstance(root, dict) and not str(root.get("path", "@")).startswith(("@", "/"))
        return "a path that is relative to nothing" if is_relative else ""
    if code is not None:
        return "an environment that is no call"
    if (folder / "environment.json").exists():
        return "an environment that differs"
    if expected["reason"] == "REGISTRY_CREDENTIALS":
        return "a store with which no server starts"
    artifact = json.loads((folder / "artifact.json").read_bytes())["artifact"]
    if artifact.get("descriptor"):
        return "a caller that describes the artifact wrongly"
    if artifact.get("subject", "image") != "image" or "subject" in artifact.get("manifest", {}):
        return "an artifact that is not attached to the image"
    if artifact.get("manifest", {}).get("artifactType", SLSA) != SLSA:
        return "an artifact that the registry lists as another type"
    return ""


def run_cases(program: Sequence[str], names: Sequence[str], cases: Path) -> Iterator[Outcome]:
    """Yield the outcome of each case, those that are not for the door left out.

    Args:
        program: the command line of ``slsa-verifier-plugin``.
        names: the cases' folders.
        cases: the folder that they are in, by its absolute path.
    """
    asked = [name for name in names if not not_for_the_door(cases / name)]
    policies = [name for name in asked if "code" in json.loads((cases / name / "expected.json").read_bytes())]
    answered = [name for name in asked if name not in set(policies)]
    for first in range(0, len(answered), BATCH):
        yield from _batch(program, answered[first : first + BATCH], cases)
    for name in policies:
        yield _refused(program, name, cases)


def _batch(program: Sequence[str], names: Sequence[str], cases: Path) -> Iterator[Outcome]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        policies = folder / "policies"
        policies.mkdir()
        ready = []
        for number, name in enumerate(names):
            spec, blobs = read_case(cases / name)
            content = build(spec, blobs)
            registry = stack.enter_context(CaseRegistry(content, spec.get("faults", [])))
            places = places_of(content, registry.address, str(folder / f"cache-{number}"), cases)
            namespace = f"case-{number}"
            resources = _resources(_stdin(cases / name, places), namespace)
            (policies / f"{namespace}.json").write_text(
                json.dumps({"kind": "List", "apiVersion": "v1", "items": resources})
            )
            subject = environment_of(cases / name, places)["RATIFY_VERIFIER_SUBJECT"]
            expected = json.loads((cases / name / "expected.json").read_bytes())
            ready.append(Ready(name, expected, namespace, f"[{namespace}]{subject}", content))
        server = stack.enter_context(_server(program, folder, policies))
        for case in ready:
            yield server.judge(case)


def _stdin(folder: Path, places: Mapping[str, str]) -> Json:
    value: Json = json.loads(filled((folder / "stdin.json").read_text(), places))
    return value


def _resources(stdin: Json, namespace: str) -> list[Json]:
    """Return a call's configuration as the resources that Ratify would make it of."""
    config = dict(stdin["config"])
    metadata = {"name": config.pop("name"), "namespace": namespace}
    kind = config.pop("artifactTypes", SLSA)
    verifier = {"name": "slsla", "artifactTypes": kind, "parameters": config}
    store = {key: value for key, value in stdin["storeConfig"]["store"].items() if key != "name"}
    rules = {"artifactVerificationPolicies": {SLSA: "any"}}
    return [
        {"apiVersion": GROUP, "kind": "NamespacedVerifier", "metadata": metadata, "spec": verifier},
        {
            "apiVersion": GROUP,
            "kind": "NamespacedStore",
            "metadata": metadata,
            "spec": {"name": "oras", "parameters": store},
        },
        {
            "apiVersion": GROUP,
            "kind": "NamespacedPolicy",
            "metadata": metadata,
            "spec": {"type": "config-policy", "parameters": rules},
        },
    ]


@dataclass(frozen=True)
class _Server:
    """A provider that listens, and how to reach it."""

    host: str
    port: int
    context: ssl.SSLContext

    def judge(self, case: Ready) -> Outcome:
        """Ask about one case."""
        started = time.monotonic()
        connection = http.client.HTTPSConnection(
            self.host, self.port, timeout=ANSWER_SECONDS, context=self.context
        )
        request = {
            "apiVersion": "externaldata.gatekeeper.sh/v1beta1",
            "kind": "ProviderRequest",
            "request": {"keys": [case.key]},
        }
        try:
            connection.request("POST", "/ratify/gatekeeper/v1/verify", json.dumps(request))
            raw = connection.getresponse().read()
        except OSError as error:
            return Outcome(case.name, (f"no answer: {error!r}",), Answer(-1, b"", b"", 0.0))
        finally:
            connection.close()
        answer = Answer(0, raw, b"", time.monotonic() - started)
        return Outcome(case.name, tuple(_problems(case, answer)), answer)


def _problems(case: Ready, answer: Answer) -> Iterator[str]:
    """Yield what is wrong with an answer."""
    items = json.loads(answer.stdout)["response"]["items"]
    if [item["key"] for item in items] != [case.key]:
        yield f"the items are not about the one key: {items}"
        return
    result = _result(items[0], case.content)
    expected = dict(case.expected)
    if "error" in items[0]:
        # Where the image could not even be looked at there are no steps.
        expected.pop("failedStep", None)
    value = items[0].get("value")
    if value is not None and value["isSuccess"] is not result["isSuccess"]:
        yield f"the value says {value['isSuccess']}, its report {result['isSuccess']}"
    yield from differences(result, expected)
    if answer.seconds > expected.get("seconds", 6.0):
        yield f"took {answer.seconds:.1f} s, expected at most {expected.get('seconds', 6.0)} s"
    for text in expected.get("says", ()):
        if text not in result["message"]:
            yield f"the message does not say {text!r}: {result['message']}"
    for text in expected.get("silent", ()):
        if text.encode() in answer.stdout:
            yield f"the answer holds {text!r}"


def _result(item: Json, content: Content) -> Json:
    """Return what an item says of the case's artifact, as the plugin would print it."""
    if "error" in item:
        reason, _, words = item["error"].partition(": ")
        return {"isSuccess": False, "name": "slsla", "message": words, "extensions": {"reason": reason}}
    reports = item["value"]["verifierReports"]
    own = [report for report in reports if report.get("referenceDigest") == content.artifact]
    return {"name": "slsla", **(own or reports)[0]}


@contextmanager
def _server(program: Sequence[str], folder: Path, policies: Path) -> Iterator[_Server]:
    authority = Authority(folder / "pki")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*program, *_options(folder, policies, authority)],
            env=_environment(folder),
            stdin=subprocess.DEVNULL,
            stderr=log,
        )
    try:
        host, _, port = _address(process, folder / "log").rpartition(":")
        yield _Server(host, int(port), ssl.create_default_context(cafile=str(authority.root)))
    finally:
        process.terminate()
        try:
            process.wait(START_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _options(folder: Path, policies: Path, authority: Authority) -> list[str]:
    own = authority.server("server", "127.0.0.1")
    return [
        "serve",
        f"--policy={policies}",
        "--namespaced",
        "--listen=127.0.0.1:0",
        "--health-listen=127.0.0.1:0",
        f"--tls-cert={own.certificate}",
        f"--tls-key={own.key}",
        f"--timeout={DOOR_SECONDS:g}s",
        "--drain=0",
    ]


def _environment(folder: Path) -> dict[str, str]:
    # As the cases' own environment has it: no home to lean on, no trusted root to fetch.
    return {**os.environ, "HOME": str(folder), "SLSA_VERIFIER_REFRESH_HOURS": "0"}


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        for line in log.read_text().splitlines():
            if line.startswith("{") and (event := json.loads(line))["event"] == "listening":
                return str(event["address"])
        time.sleep(0.05)
    raise OSError(f"the provider does not listen: {log.read_text()}")


def _refused(program: Sequence[str], name: str, cases: Path) -> Outcome:
    """Return the outcome of a case whose configuration is no policy: no server may start with it."""
    expected = json.loads((cases / name / "expected.json").read_bytes())
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        spec, blobs = read_case(cases / name)
        places = places_of(build(spec, blobs), "127.0.0.1:1", str(folder / "cache"), cases)
        policy = folder / "policy.json"
        resources = _resources(_stdin(cases / name, places), "case")
        policy.write_text(json.dumps({"kind": "List", "apiVersion": "v1", "items": resources}))
        try:
            done = subprocess.run(
                [*program, *_options(folder, policy, Authority(folder / "pki"))],
                env=_environment(folder),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=START_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Outcome(
                name, ("a server runs with this configuration",), Answer(-1, b"", b"", START_SECONDS)
            )
    said = done.stderr.decode()
    problems = [] if done.returncode == 2 else [f"exit status {done.returncode}, expected 2: {said}"]
    problems += [f"it does not say {text!r}: {said}" for text in expected.get("says", ()) if text not in said]
    problems += [f"it says {text!r}" for text in expected.get("silent", ()) if text in said]
    return Outcome(name, tuple(problems), Answer(done.returncode, done.stdout, done.stderr, 0.0))
