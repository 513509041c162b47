"""Wildcards match names and no syntax: of hosts, paths, refs and identities."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.conformance.case import Case, attested, signed
from tests.conformance.catalog.policies import ID, stated, trusting
from tests.support.sigstore import GITHUB_ISSUER, Identity, github_actions, vsa

CORP = "git+https://*.corp.example/x"
PATH = "git+https://git.example/team/*"


def cases() -> Iterator[Case]:
    """Yield the cases."""
    yield from _hosts()
    yield from _paths()
    yield from _refs()
    yield from _identities()


def _uri(name: str, pattern: str, uri: str, matches: bool, why: str) -> Case:
    return Case(
        f"wildcard-{name}",
        why,
        "VERIFIED" if matches else "RESOURCE_URI_MISMATCH",
        parameters={**trusting(), "expectedResourceUri": pattern},
        blobs=stated(changes={"predicate.resourceUri": uri}),
        step=0 if matches else 10,
    )


def _hosts() -> Iterator[Case]:
    yield _uri("host", CORP, "git+https://git.corp.example/x", True, "One label of a host.")
    yield _uri("host-case", CORP, "git+https://Git.CORP.example/x", True, "Hosts ignore case.")
    two = "git+https://**.corp.example/x"
    yield _uri("host-two-stars", two, "git+https://a.b.corp.example/x", True, "** goes across labels.")
    attacks = {
        "fragment": "git+https://evil.example#.corp.example/x",
        "query": "git+https://evil.example?.corp.example/x",
        "user": "git+https://evil.example@a.corp.example/x",
        "password": "git+https://evil.example:a@b.corp.example/x",
        "slash": "git+https://evil.example/.corp.example/x",
        "backslash": "git+https://evil.example\\.corp.example/x",
        "escape": "git+https://evil.example%2f.corp.example/x",
        "full-width-dot": "git+https://evil\uff0eexample\uff0f.corp.example/x",
        "full-width-slash": "git+https://evil.example\uff0fa.corp.example/x",
        "control": "git+https://evil\u0001.corp.example/x",
        "newline": "git+https://evil.example\n.corp.example/x",
        "dotless-i": "git+https://g\u0131t.corp.example/x",
        "empty-label": "git+https://.corp.example/x",
        "port": "git+https://git.corp.example:8443/x",
        "labels": "git+https://a.b.corp.example/x",
    }
    for name, uri in attacks.items():
        yield _uri(
            f"host-{name}",
            CORP,
            uri,
            False,
            "It reads as if it were of that host, and is not of one label of it.",
        )
    yield _uri(
        "host-into-path",
        two,
        "git+https://evil.example/y.corp.example/x",
        False,
        "** ends where the host ends.",
    )
    yield _uri(
        "host-after-name",
        "git+https://git.example*/x",
        "git+https://git.example.evil/x",
        False,
        "A label ends at a dot.",
    )
    yield _uri("anything", "**", "git+https://git.example/x@v1", True, "** alone is any repository.")
    yield _uri(
        "anything-fragment", "**", "git+https://git.example/x#y", False, "But no URI that may be another."
    )
    yield _uri(
        "any-host", "**/x", "git+https://git.example/x", False, "** goes over no host that is not written."
    )
    yield _uri(
        "any-repository", "git+https://**/**", "git+https://git.example/team/app", True, "Any host, any path."
    )
    yield _uri("scheme", "*://git.example/x", "git+https://git.example/x", False, "A scheme is no name.")


def _paths() -> Iterator[Case]:
    yield _uri(
        "path", PATH, "git+https://git.example/team/app.one_two-3~", True, "All unreserved characters."
    )
    attacks = {
        "fragment": "app#x",
        "query": "app?x",
        "ref": "app@evil",
        "plus": "app+x",
        "colon": "app:x",
        "non-ascii": "\u0430pp",
        "control": "app\u007f",
        "dots": "..",
        "dots-before-ref": "..@v1",
    }
    for name, rest in attacks.items():
        yield _uri(
            f"path-{name}",
            PATH,
            f"git+https://git.example/team/{rest}",
            False,
            "No unreserved character, or no name.",
        )
    repository = "git+https://git.example/**/trusted"
    yield _uri(
        "path-branch-as-name",
        repository,
        "git+https://git.example/evil/app@x/trusted",
        False,
        "A branch that reads like the rest of a path: no wildcard goes over the @.",
    )
    yield _uri(
        "path-deep", repository, "git+https://git.example/a/b/trusted", True, "** goes across segments."
    )
    with_ref = "git+https://git.example/team/app@refs/heads/main"
    yield _uri(
        "path-with-ref",
        "git+https://git.example/team/*@refs/heads/*",
        with_ref,
        True,
        "A ref that is written.",
    )
    yield _uri(
        "path-rest-with-ref",
        "git+https://git.example/team/**",
        with_ref,
        True,
        "** at the end takes the ref in.",
    )
    yield _uri(
        "escaped", "git+https://git.example/a\\*", "git+https://git.example/a*", True, "\\* is the character."
    )
    yield _uri(
        "escaped-other",
        "git+https://git.example/a\\*",
        "git+https://git.example/ab",
        False,
        "And no wildcard.",
    )


def _refs() -> Iterator[Case]:
    table: dict[str, tuple[str, str, bool, str]] = {
        "hash": ("refs/heads/feature/*", "refs/heads/feature/#12", True, "# is legal in a ref."),
        "letters": ("refs/heads/*", "refs/heads/\u00e4nderung", True, "So are letters of any alphabet."),
        "at": ("refs/tags/*", "refs/tags/@scope@1.0.0+b", True, "And @ and +."),
        "blank": ("refs/heads/*", "refs/heads/a b", False, "git refuses a blank."),
        "dots": ("refs/heads/**", "refs/heads/a/../../tags/v1", False, "git refuses two dots."),
        "control": ("refs/heads/*", "refs/heads/a\u0007", False, "git refuses control characters."),
        "lock": ("refs/heads/*", "refs/heads/main.lock", False, "git refuses names that end with .lock."),
        "star": ("refs/heads/*", "refs/heads/*", False, "git refuses a star: it is no branch but a pattern."),
        "star-escaped": ("refs/heads/\\*", "refs/heads/main", False, "An escaped star is no wildcard."),
    }
    for name, (pattern, ref, matches, why) in table.items():
        yield Case(
            f"wildcard-ref-{name}",
            why,
            "VERIFIED" if matches else "SOURCE_REF_MISMATCH",
            parameters={**trusting(), "expectedSourceRefs": [pattern]},
            blobs=stated(refs=[ref]),
            step=0 if matches else 12,
        )


def _identities() -> Iterator[Case]:
    issuer = "https://issuer.example.com"
    entry: dict[str, Any] = {
        "verifierId": ID,
        "issuer": issuer,
        "identityPattern": r"https://[^/]*\.corp\.example/sign",
    }
    table = {
        "host": ("https://ci.corp.example/sign", True),
        "fragment": ("https://evil.example#.corp.example/sign", False),
        "query": ("https://evil.example?.corp.example/sign", False),
        "user": ("https://evil.example@a.corp.example/sign", False),
    }
    for name, (san, matches) in table.items():
        yield Case(
            f"wildcard-identity-{name}",
            "A pattern of identities matches one host, and no syntax that looks like one.",
            "VERIFIED" if matches else "SIGNER_UNTRUSTED",
            parameters={"expectedVerifierId": ID, "trustedVerifiers": [entry]},
            blobs=attested(signed(vsa(verifier_id=ID), Identity(san, {1: issuer, 8: issuer}))),
            step=0 if matches else 6,
        )
    pattern = {
        **entry,
        "issuer": GITHUB_ISSUER,
        "identityPattern": r"https://github\.com/org/.*@refs/heads/.*",
    }
    identity = "org/app/.github/workflows/sign.yml@refs/heads/feature/#12"
    yield Case(
        "wildcard-identity-branch",
        "A branch with a # in its name is one that a pattern matches.",
        "VERIFIED",
        parameters={"expectedVerifierId": ID, "trustedVerifiers": [pattern]},
        blobs=attested(signed(vsa(verifier_id=ID), github_actions(identity))),
    )
