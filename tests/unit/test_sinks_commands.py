"""Commands and renderers are fed what is known to control a sink: attestations, manifests, names, a registry's answers."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given

from slsa_verifier_plugin import sinks
from slsa_verifier_plugin.cli.audit_report import FORMATS
from slsa_verifier_plugin.cli.render import (
    render_doctor,
    render_policy,
    render_registry,
    render_resident,
    render_trust,
)
from slsa_verifier_plugin.cli.render.painter import Painter
from slsa_verifier_plugin.problem import DoctorFinding
from slsa_verifier_plugin.registry.probe.probe import ProbeStep, SeenRequest
from slsa_verifier_plugin.resident.client.manage import ResidentStatus
from slsa_verifier_plugin.resources.documents import Position
from slsa_verifier_plugin.resources.policy_lint import PolicyFindings
from slsa_verifier_plugin.resources.problems import ResourceProblem
from slsa_verifier_plugin.resources.trust_roots import RootState
from tests.support.command_line import LEVEL_3, Done, cli, parameters, verifier, write_yaml
from tests.support.embedded_registry import EmbeddedRegistry
from tests.support.hostile import COMMANDS, HOSTILE, commands_in, unseen_in
from tests.support.sigstore import Lab, github_source_actions, vsa


def is_inert(done: Done) -> None:
    for shown in (done.out, done.err):
        assert commands_in(shown) == []
        assert unseen_in(shown) == []
        assert "Traceback" not in shown


TOLD = [*COMMANDS, "\x1b]0;x\x07\x9b31m\u202e\u200b\u2028\r", "[a](1) <b> @someone {0} `x` | y"]


@pytest.fixture(scope="module")
def attested(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a file of properly signed summaries that say hostile things wherever they can, and a policy for it."""
    folder = tmp_path_factory.mktemp("attested")
    lab = Lab()
    bundles = []
    for text in TOLD:
        statement = vsa(levels=("SLSA_SOURCE_LEVEL_1", text))
        statement["predicate"]["verifier"]["id"] = f"https://x.example/{text}"
        statement["predicate"]["resourceUri"] = f"git+https://x.example/{text}"
        statement["predicate"]["verificationResult"] = text
        statement["subject"][0]["annotations"] = {"source_refs": [f"refs/heads/{text}"], "sourceRefs": [text]}
        statement["subject"][0]["name"] = text
        bundles.append(lab.sign(statement, github_source_actions()))
        bundles.append(lab.sign({**statement, "predicateType": text}, github_source_actions()))
        bundles.append(json.dumps({text: text, "payloadType": text}).encode())
    (folder / "x.jsonl").write_bytes(b"\n".join(bundles))
    root = folder / "root.json"
    root.write_bytes(lab.trusted_root())
    policy = verifier(spec={"parameters": parameters(trustedRoot={"path": str(root)})})
    return folder / "x.jsonl", write_yaml(folder / "policy.yaml", policy)


@pytest.mark.parametrize("form", ["text", "json", "sarif", "markdown", "junit"])
def test_verify_of_hostile_attestations_controls_nothing(attested: tuple[Path, Path], form: str) -> None:
    bundle, policy = attested
    for more in ([], ["--verbose"]):
        done = cli("verify", "--bundle", bundle, "--policy", policy, "--format", form, *more)
        assert done.status == 1
        is_inert(done)


@pytest.mark.parametrize("options", [[], ["--json"], ["--verbose"], ["--verbose", "--json"]])
def test_inspect_of_hostile_attestations_controls_nothing(
    attested: tuple[Path, Path], options: list[str]
) -> None:
    done = cli("inspect", attested[0], *options)
    assert done.status == 0
    assert "x.example" in done.out
    is_inert(done)


@pytest.mark.parametrize("text", TOLD)
def test_what_a_person_names_controls_nothing(tmp_path: Path, text: str) -> None:
    policy = write_yaml(
        tmp_path / "policy.yaml",
        verifier(metadata={"name": text}, spec={"parameters": {**parameters(), "timeout": text, text: text}}),
    )
    for arguments in (
        ["verify", text, "--policy", policy],
        ["verify", "--bundle", LEVEL_3, "--policy", policy],
        ["verify", "--bundle", LEVEL_3, "--policy", policy, "--verifier", text],
        ["verify", "--bundle", text, "--policy", policy],
        ["policy", "check", policy],
        ["policy", "check", "--json", policy],
        ["policy", "check", text],
        ["inspect", text],
        ["trust", "export", "--root", text, "-o", str(tmp_path / "root.json")],
        ["audit", "--policy", policy, text],
        ["audit", "--policy", policy, "--manifests", policy],
        [text],
        ["verify", f"--{text}"],
    ):
        done = cli(*arguments)
        assert done.status != 0, arguments
        is_inert(done)


@pytest.mark.parametrize("form", FORMATS)
def test_an_audit_of_hostile_manifests_controls_nothing(tmp_path: Path, form: str) -> None:
    for number, text in enumerate(TOLD):
        pod = {
            "kind": "Pod",
            "metadata": {"name": text, "namespace": text},
            "spec": {"containers": [{"image": text}]},
        }
        (tmp_path / f"{number}.json").write_text(json.dumps(pod))
    policy = write_yaml(tmp_path / "policy", verifier())
    done = cli("audit", "--policy", policy, "--manifests", tmp_path, "--format", form)
    assert done.status == 0, done.err
    is_inert(done)


@given(HOSTILE)
def test_what_a_registry_a_root_or_the_resident_verifier_says_controls_nothing(text: str) -> None:
    request = SeenRequest(text, text, 200, 0.1, {text: text})
    step = ProbeStep(text, "failed", text, 0.1, "REGISTRY_ERROR", facts={text: text}, requests=(request,))
    state = RootState(text, text, text, problem=text)
    report = {
        "version": text,
        "calls": {text: text},
        "service": {
            "signatureProcess": text,
            "caches": {text: {"hits": text}},
            "loadedRoots": [{"source": text, "date": text}],
            "trustedRoots": [{"source": text, "refreshed": text, "error": text}],
        },
        "latestErrors": [text],
    }
    status = ResidentStatus(text, True, 1, report, text)
    painter = Painter(color=True, symbols=True, width=60)
    finding = DoctorFinding(text, "failed", text, text)
    problem = ResourceProblem(Position(text, 1, 2), "error", text, text)
    found = PolicyFindings([problem], {"Verifier": 1}, {text: 1}, [text])
    lines = [
        *render_registry.step_lines(step, painter, verbose=True),
        *render_trust.text_of([state, replace(state, problem="")], painter),
        *render_resident.text_of(status, painter),
        *render_resident.text_of(replace(status, report=None), painter),
        *render_doctor.lines_of(finding, painter),
        *render_policy.text_of(found, {text: [text]}, painter),
    ]
    for line in lines:
        shown = re.sub("\033\\[[0-9;]+m", "", sinks.line(line))
        assert commands_in(shown) == []
        assert unseen_in(shown, " ") == []
    for document in (
        render_registry.json_of([step]),
        render_trust.json_of([state]),
        render_resident.json_of(status),
        render_doctor.json_of([finding]),
        render_policy.json_of(found, {text: [text]}),
    ):
        assert json.loads(document)
        assert commands_in(document) == []
        assert unseen_in(document) == []


@pytest.mark.parametrize("text", TOLD)
def test_a_policy_made_from_hostile_attestations_says_what_they_say_and_controls_nothing(
    tmp_path: Path, text: str
) -> None:
    lab = Lab()
    statement = vsa(levels=("SLSA_SOURCE_LEVEL_3", text))
    (tmp_path / "root.json").write_bytes(lab.trusted_root())
    with EmbeddedRegistry() as registry:
        image = registry.push_image("team/app", "v1", {"org.opencontainers.image.title": text})
        registry.attach(
            "team/app", image, "slsla/attestation", [lab.sign(statement, github_source_actions())]
        )
        for options in ([], ["-o", str(tmp_path / "policy.yaml")]):
            done = cli(
                "policy", "init", f"{registry.host}/team/app:v1", "--plain-http",
                "--trusted-root", tmp_path / "root.json", *options,
            )  # fmt: skip
            is_inert(done)
            assert "Traceback" not in done.err
            # What is no name of a level cannot be demanded, and that is said.
            assert (done.status == 0) is bool(re.fullmatch(r"[A-Za-z0-9][\w.:/-]*", text)), done.err
            if done.status == 0 and not options:
                found = yaml.safe_load(done.out)["spec"]["parameters"]
                assert found["expectedVerifiedLevels"] == ["SLSA_SOURCE_LEVEL_3", text]
    if (tmp_path / "policy.yaml").exists():
        assert commands_in((tmp_path / "policy.yaml").read_text("utf-8")) == []
