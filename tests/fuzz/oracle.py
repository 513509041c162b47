"""When may an image be admitted? Said once more, from the raw statement and the known signers, without the product's code.

Everything here is a few lines over ``json`` and the lab's identities; where it and the product disagree, one of them is wrong.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any

from tests.support.sigstore import Identity

VSA = "https://slsa.dev/verification_summary/v1"
STATEMENTS = ("https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1")
PROVENANCE = ("https://slsa.dev/provenance/v1", "https://slsa.dev/provenance/v0.2")
GITHUB_ISSUER = "https://token.actions.githubusercontent.com"


@dataclass(frozen=True)
class Signed:
    """What really was signed: these bytes, by this identity (None for the configured key), at this time."""

    payload: bytes
    identity: Identity | None
    at: datetime | None


@dataclass
class World:
    """The truth about one scenario.

    ``signed`` is all that known parties signed, by payload. ``signers`` maps a verifier id to the names that may sign for it
    (``key`` for the configured key), ``caps`` the same ids to the highest source level believed.
    """

    image: str
    now: datetime
    parameters: Mapping[str, Any]
    signers: Mapping[str, Sequence[str]]
    builders: Mapping[str, Sequence[str]] = field(default_factory=dict)
    caps: Mapping[str, int] = field(default_factory=dict)
    signed: dict[bytes, list[Signed]] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)

    def add(self, signed: Signed) -> None:
        """Note that something really was signed."""
        self.signed.setdefault(signed.payload, []).append(signed)

    def may_admit(self, lines: Sequence[bytes]) -> bool:
        """Return True if one of ``lines`` justifies admitting the image."""
        payloads = [payload for line in lines if (payload := payload_of(line)) is not None]
        return any(
            self._is_good(signed, payloads) for payload in payloads for signed in self.signed.get(payload, ())
        )

    def _is_good(self, signed: Signed, payloads: Sequence[bytes]) -> bool:
        statement = json.loads(signed.payload)
        if statement.get("_type") not in STATEMENTS or statement.get("predicateType") != VSA:
            return False
        predicate = statement["predicate"]
        verifier = predicate["verifier"]["id"]
        name = signed.identity.san if signed.identity else "key"
        commits = [
            subject["digest"]["gitCommit"]
            for subject in statement["subject"]
            if "gitCommit" in subject["digest"]
        ]
        is_about_image = any(
            subject["digest"].get("sha256") == self.image for subject in statement["subject"]
        )
        return (
            verifier in self.signers
            and name in self.signers[verifier]
            and bool(commits or is_about_image)
            and self._is_certified(signed.identity, predicate, statement, commits)
            and predicate["verificationResult"] == "PASSED"
            and _is_expected(self.parameters["expectedResourceUri"], predicate["resourceUri"])
            and self._reaches(predicate["verifiedLevels"], self.caps.get(verifier))
            and self._is_young(signed)
            and (
                (is_about_image and not commits)
                or self._is_bound(predicate["resourceUri"], commits, payloads)
            )
        )

    def _is_certified(
        self, identity: Identity | None, predicate: Any, statement: Any, commits: Sequence[str]
    ) -> bool:
        subjects = [subject for subject in statement["subject"] if "gitCommit" in subject["digest"]]
        claims = identity.extensions if identity else {}
        is_github = claims.get(8) == GITHUB_ISSUER
        if is_github and subjects:
            subjects = [subject for subject in subjects if subject["digest"]["gitCommit"] == claims.get(13)]
        refs = {ref for subject in subjects for ref in subject.get("annotations", {}).get("source_refs", [])}
        certified = str(claims.get(14))
        if (
            is_github
            and certified.startswith("refs/tags/")
            and refs
            and all(ref.startswith("refs/heads/") for ref in refs)
        ):
            # A tag's run, whose summary names the branch.
            refs = {certified}
        wanted = self.parameters.get("expectedSourceRefs", ())
        if wanted and not any(fnmatchcase(ref, one) for ref in refs for one in wanted):
            return False
        if not is_github:
            return True
        if claims.get(11) != "github-hosted" and not self.parameters.get("allowSelfHostedRunners"):
            return False
        # All of the scenarios' repositories are GitHub's, which ignores case.
        is_same = ("git+" + str(claims.get(12))).lower() == predicate["resourceUri"].lower() and bool(
            subjects
        )
        return not commits or (is_same and (not refs or claims.get(14) in refs))

    def _reaches(self, stated: Sequence[str], cap: int | None) -> bool:
        def number(name: str) -> int:
            match = re.fullmatch(r"SLSA_SOURCE_LEVEL_([0-9]{1,3})", name)
            return int(match[1]) if match and name == f"SLSA_SOURCE_LEVEL_{int(match[1])}" else -1

        if any("FAILED" in name.upper() for name in stated):
            return False
        reached = max(map(number, stated), default=-1)
        reached = reached if cap is None else min(reached, cap)
        for expected in self.parameters["expectedVerifiedLevels"]:
            if number(expected) >= 0 and reached < number(expected):
                return False
            if number(expected) < 0 and cap is not None:
                return False
            same = {"TAG_HYGIENE", "SLSA_SOURCE_SCS_PROTECTED_REFS"}
            if number(expected) < 0 and not (same if expected in same else {expected}) & set(stated):
                return False
        return True

    def _is_young(self, signed: Signed) -> bool:
        hours = self.parameters.get("maxAge")
        if not hours:
            return True
        stated = json.loads(signed.payload)["predicate"].get("timeVerified")
        if signed.at is None and stated is None:
            return False
        at = signed.at or datetime.fromisoformat(stated[:19] + "+00:00")
        return (
            -timedelta(minutes=5, seconds=1) <= self.now - at <= timedelta(hours=int(hours[:-1]), seconds=1)
        )

    def _is_bound(self, uri: str, commits: Sequence[str], payloads: Sequence[bytes]) -> bool:
        binding = self.parameters.get("sourceBinding", "none")
        if binding == "none":
            return True
        if binding == "annotation":
            source = self.labels.get("org.opencontainers.image.source")
            return self.labels.get("org.opencontainers.image.revision") in commits and (
                not source or source.lower() == uri.removeprefix("git+").lower()
            )
        return any(
            self._binds(signed, uri, commits)
            for payload in payloads
            for signed in self.signed.get(payload, ())
        )

    def _binds(self, signed: Signed, uri: str, commits: Sequence[str]) -> bool:
        statement = json.loads(signed.payload)
        if statement.get("predicateType") not in PROVENANCE:
            return False
        predicate = statement["predicate"]
        builder = predicate.get("runDetails", predicate)["builder"]["id"]
        name = signed.identity.san if signed.identity else "key"
        return (
            name in self.builders.get(builder, ())
            and any(subject["digest"].get("sha256") == self.image for subject in statement["subject"])
            and self._is_run_for(signed.identity, uri, commits)
            and any(
                repository.partition("@")[0].removeprefix("git+").lower() == uri.removeprefix("git+").lower()
                and commit in commits
                and (signed.identity is None or signed.identity.extensions.get(13) in (None, commit))
                for repository, commit in [_built(predicate)]
            )
        )

    def _is_run_for(self, identity: Identity | None, uri: str, commits: Sequence[str]) -> bool:
        """Return True if the run of a build was for the commit, on a runner that is allowed."""
        claims = identity.extensions if identity else {}
        if claims.get(8) != GITHUB_ISSUER:
            return True
        is_hosted = claims.get(11) == "github-hosted" or self.parameters.get("allowSelfHostedRunners")
        is_here = ("git+" + str(claims.get(12))).lower() == uri.lower() and claims.get(13) in commits
        return bool(is_hosted) and is_here


def _built(predicate: Any) -> tuple[str, str]:
    """Return repository and commit that the scenarios' two build types say were built."""
    if "buildDefinition" not in predicate:
        source = predicate["invocation"]["configSource"]
        return source["uri"], source["digest"]["sha1"]
    definition = predicate["buildDefinition"]
    repository = definition["externalParameters"]["workflow"]["repository"]
    for item in definition["resolvedDependencies"]:
        if item["uri"].partition("@")[0] == f"git+{repository}":
            return repository, item["digest"]["gitCommit"]
    return repository, ""


def _is_expected(expected: str, found: str) -> bool:
    if "*" not in expected:
        return expected.lower() == found.lower()
    pattern = re.escape(expected.lower()).replace(r"\*\*", "[a-z0-9._~/-]*").replace(r"\*", "[a-z0-9_~-]*")
    return re.fullmatch(pattern, found.lower(), re.ASCII) is not None


def payload_of(line: bytes) -> bytes | None:
    """Return the payload in a bundle or envelope, None where there is none."""
    try:
        value = json.loads(line)
        text = value.get("dsseEnvelope", value)["payload"]
        # Both alphabets, as protobuf's JSON mapping has it.
        return base64.b64decode(text.translate({ord("-"): "+", ord("_"): "/"}), validate=True)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def depth_of(value: Any) -> int:
    """Return how deep a JSON value is nested."""
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    return 1 + max(map(depth_of, value), default=0) if isinstance(value, list) else 0
