"""Documents against the code: nothing is missing, nothing is left over; and what no tracked file may hold."""

from __future__ import annotations

import re
import ssl
import subprocess
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from slsa_verifier_plugin.errors import ContractCode, Reason
from slsa_verifier_plugin.network import faults
from slsa_verifier_plugin.policy.durations import parse_duration
from slsa_verifier_plugin.policy.parameters import schema
from slsa_verifier_plugin.policy.steps import STEP_NAMES
from slsa_verifier_plugin.policy.trusted import BUILT_IN_VERIFIERS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
SET_BY_RATIFY = {"name", "type", "artifactTypes", "nestedReferences", "source", "version"}
NEVER_GIVEN = {ContractCode.COMMAND_FAILURE, ContractCode.INTERNAL}
"""Codes of Ratify's contract that this plugin has no use for: what fails is a denial with its reason."""


def rows(name: str, heading: str | None = None) -> list[list[str]]:
    """Return the cells of the table rows of a document, without heads; below ``heading`` alone where one is given."""
    text = (DOCS / name).read_text("utf-8")
    if heading is not None:
        text = text.partition(f"\n{heading}\n")[2].partition("\n## ")[0]
        assert text, f"{name} has no heading {heading}"
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    heads = {index - 1 for index, row in enumerate(cells) if all(set(cell) <= set("-: ") for cell in row)}
    return [row for index, row in enumerate(cells) if index not in heads and index - 1 not in heads]


def test_reasons_are_all_listed_with_an_example_and_a_remedy() -> None:
    listed = [row for row in rows("reasons.md") if len(row) == 4]
    assert [row[0].strip("`") for row in listed] == [str(reason) for reason in Reason]
    for reason, _, example, remedy in listed:
        assert len(example) > 20, reason
        assert "`" in example or "\u2026" in example, reason
        assert len(remedy) > 10, reason
        assert remedy.endswith("."), reason


def test_the_registrys_examples_are_messages_of_this_program() -> None:
    url = "https://registry.example"
    untrusted = ssl.SSLCertVerificationError()
    untrusted.verify_message = "unable to get local issuer certificate"
    refused = ConnectionRefusedError(111, "Connection refused")
    manifest, blob = "fetching the manifest \u2026", "fetching the blob \u2026"
    made = {
        "REGISTRY_UNREACHABLE": faults.unreachable(
            "fetching the manifest sha256:1\u2026 of registry.example/app", url, refused
        ),
        "REGISTRY_TLS": faults.unreachable(manifest, url, untrusted),
        "REGISTRY_UNAUTHORIZED": faults.status_error(manifest, url, 401, ("UNAUTHORIZED",)),
        "REGISTRY_FORBIDDEN": faults.status_error(manifest, url, 403, ("DENIED",)),
        "REGISTRY_NOT_FOUND": faults.status_error(blob, url, 404, ("BLOB_UNKNOWN",)),
        "REGISTRY_THROTTLED": faults.status_error(blob, url, 429, ("TOOMANYREQUESTS",)),
        "REGISTRY_ERROR": faults.status_error(blob, url, 503),
        "REGISTRY_INVALID_RESPONSE": faults.invalid_response(
            blob, "the body has 1200 bytes, its descriptor says 6000"
        ),
    }
    listed = {row[0].strip("`"): row[2].strip("`") for row in rows("reasons.md") if len(row) == 4}
    for reason, error in made.items():
        assert (str(error.reason), error.message) == (reason, listed[reason])


def test_contract_codes_are_all_listed() -> None:
    listed = [int(row[0]) for row in rows("reasons.md", "## Contract errors")]
    assert listed == sorted(code for code in ContractCode if code not in NEVER_GIVEN)


def test_steps_are_all_listed() -> None:
    listed = [row for row in rows("verification.md") if row[0].isdigit()]
    assert [int(row[0]) for row in listed] == list(STEP_NAMES)
    named = {text for row in listed for text in re.findall(r"`([A-Z_]+)`", row[2])}
    unknown = {
        name for name in named if name not in set(Reason) and name not in ("LIMIT_EXCEEDED", "REGISTRY_")
    }
    assert unknown <= {"PASSED"}
    in_steps = " ".join(row[2] for row in listed)
    for reason in set(Reason) - {Reason.VERIFIED, Reason.DEADLINE_EXCEEDED, Reason.INTERNAL_ERROR}:
        assert f"`{reason}`" in in_steps or (reason.startswith("REGISTRY_") and "`REGISTRY_*`" in in_steps), (
            reason
        )


def test_known_signers_are_all_listed() -> None:
    text = (DOCS / "verification.md").read_text("utf-8")
    for signer in BUILT_IN_VERIFIERS:
        assert f"| `{signer.id}`" in text


def test_parameters_are_all_listed_with_their_defaults() -> None:
    properties = schema()["properties"]
    named = {row[0].strip("`"): row for row in rows("parameters.md")}
    listed = {name: row for name, row in named.items() if name in properties or name.startswith("expected")}
    assert list(listed) == [name for name in properties if name not in SET_BY_RATIFY]
    for name, (_, form, default, meaning) in listed.items():
        assert form, name
        assert len(meaning) > 20, name
        if name in schema()["required"]:
            assert default == "required"
        elif "default" in properties[name]:
            value = properties[name]["default"]
            value = "`, `".join(value) if isinstance(value, list) else value
            assert default.strip("`") == (str(value).lower() if isinstance(value, bool) else str(value)), name
        else:
            assert default, name


def test_what_ratify_adds_is_said() -> None:
    text = (DOCS / "parameters.md").read_text("utf-8")
    assert all(f"`{name}`" in text for name in SET_BY_RATIFY)
    assert set(schema()["properties"]) >= SET_BY_RATIFY


def test_the_limits_that_documents_name_are_the_codes() -> None:
    limits = schema()["properties"]
    text = (DOCS / "parameters.md").read_text("utf-8")
    assert str(limits["maxAttestationBytes"]["default"]) in text
    assert str(limits["maxBundles"]["default"]) in text
    assert parse_duration(limits["timeout"]["default"]) < 5, "Ratify itself gives up after 5 s"


def distributions(requirements: list[str]) -> list[str]:
    return [re.split(r"[\s\[<>=!~;]", text)[0].lower() for text in requirements]


def test_dependencies_are_all_listed_and_no_others() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    extras = project["project"]["optional-dependencies"]
    for heading, expected in (
        ("## Runtime", project["project"]["dependencies"]),
        ("## Extras", [text for group in extras.values() for text in group]),
        ("## Development", [*project["dependency-groups"]["dev"], *project["dependency-groups"]["fuzz"]]),
    ):
        listed = rows("dependencies.md", heading)
        assert sorted(row[0] for row in listed) == sorted(distributions(expected)), heading
        assert all(len(row[1]) >= 5 for row in listed)


def test_dependencies_are_pinned_with_hashes() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    runtime = (ROOT / "requirements" / "runtime.txt").read_text("utf-8")
    for name in distributions(project["project"]["dependencies"]):
        assert re.search(rf"^{re.escape(name)}==", runtime, re.MULTILINE), name
    for lock in sorted((ROOT / "requirements").glob("*.txt")):
        text = lock.read_text("utf-8")
        blocks = re.findall(r"^[a-z0-9].*(?:\n {4}.*)*", text, re.MULTILINE)
        assert blocks, lock
        assert all("--hash=sha256:" in block for block in blocks), lock


@cache
def tracked() -> list[Path]:
    """Return the files of the repository; all that are here where this is no clone."""
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, timeout=60, check=False
    )
    if listing.returncode != 0:
        return [
            path for path in ROOT.rglob("*") if path.is_file() and not {".venv", ".git"} & set(path.parts)
        ]
    names = listing.stdout.decode().split("\0")
    return [path for name in names if name and (path := ROOT / name).is_file()]


def lines_matching(pattern: re.Pattern[str]) -> Iterator[str]:
    for path in tracked():
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if pattern.search(line):
                yield f"{path.relative_to(ROOT)}:{number}: {line.strip()[:120]}"


PLACES = re.compile(
    # Written in pieces, so that this file does not hold what it looks for.
    r"(?<![\w.@%*/-])/(?:"
    + "|".join(["wo" + "rk/", "ro" + "ot/", "Us" + "ers/", r"ho" + r"me/(?!nonroot/)\w+/", r"tmp/" + r"v\b"])
    + ")"
)
REGISTRIES = re.compile(
    "|".join(
        re.escape(".".join(parts))
        for parts in [
            ("py" + "pi", "org"),
            ("python" + "hosted", "org"),
            ("npm" + "js", "org"),
            ("npm" + "js", "com"),
            ("yarn" + "pkg", "com"),
            ("proxy", "golang", "org"),
            ("sum", "golang", "org"),
            ("crates", "io"),
            ("maven", "org"),
            ("maven", "apache", "org/maven2"),
            ("ruby" + "gems", "org"),
        ]
    )
)


def test_no_file_holds_a_path_of_a_developers_machine() -> None:
    assert list(lines_matching(PLACES)) == []


def test_no_file_holds_the_host_of_a_package_registry() -> None:
    assert list(lines_matching(REGISTRIES)) == []


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (PLACES, "see /wo" + "rk/main/x"),
        (PLACES, 'open("/ro' + 'ot/.ssh")'),
        (PLACES, "/ho" + "me/someone/x"),
        (REGISTRIES, "https://files.python" + "hosted.org/x"),
        (REGISTRIES, "https://proxy." + "golang.org"),
    ],
)
def test_the_search_finds_what_it_is_for(pattern: re.Pattern[str], text: str) -> None:
    assert pattern.search(text)


def test_documents_link_to_what_is_there() -> None:
    missing = []
    for path in tracked():
        if path.suffix != ".md" or "cases" in path.parts:
            continue
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", path.read_text("utf-8")):
            if (
                "://" not in target
                and not target.startswith("mailto:")
                and not (path.parent / target).exists()
            ):
                missing.append(f"{path.relative_to(ROOT)}: {target}")
    assert missing == []


def test_what_a_document_says_of_a_test_file_exists() -> None:
    missing = []
    for path in sorted(DOCS.rglob("*.md")):
        for name in re.findall(
            r"`((?:tests|tools|deploy|launcher|slsa_verifier_plugin)/[\w./-]+\.\w+)`", path.read_text("utf-8")
        ):
            if not (ROOT / name).exists():
                missing.append(f"{path.name}: {name}")
    assert missing == []
