"""Finds signers in a Verifier's parameters that nobody can be: misspelt issuers, identities and ids, and broken patterns."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from slsa_verifier_plugin.members import list_at
from slsa_verifier_plugin.model.signer import GITHUB_ISSUER
from slsa_verifier_plugin.policy.hints import READS_LIKE_EXPRESSION, bare_url, full_ref
from slsa_verifier_plugin.problem import Key
from slsa_verifier_plugin.resources.problems import Remark, warning
from slsa_verifier_plugin.text import nearest, plain, quoted

ISSUERS = (
    GITHUB_ISSUER,
    "https://gitlab.com",
    "https://accounts.google.com",
    "https://github.com/login/oauth",
    "https://oauth2.sigstore.dev/auth",
    "https://agent.buildkite.com",
    "https://oidc.codefresh.io",
)
"""Issuers that Sigstore's public instance takes (fulcio, "config/identity"), written as certificates have them."""
_HOSTS = (
    "github.com",
    "gitlab.com",
    "bitbucket.org",
    "codeberg.org",
    *(url.split("/")[2] for url in ISSUERS),
)
_URL = re.compile(r"(?:([A-Za-z][A-Za-z0-9+.-]*)://)?([^/:@]+)(.*)", re.DOTALL)
_WORKFLOW = re.compile(
    r"https://github\.com/[^/@]+/[^/@]+/\.github/workflows/[^@]+\.ya?ml@(?:refs/[^/]+/.+|[0-9a-f]{40})"
)
# The same without a ref or with a short one, as people write it.
_WITHOUT_REF = re.compile(
    r"(https://github\.com/[^/@]+/[^/@]+/\.github/workflows/[^@]+\.ya?ml)(?:@([^/@]+|heads/.+|tags/.+))?"
)
_LIKENESS = 0.9


def signer_slips(config: Mapping[str, Any]) -> Iterator[Remark]:
    """Yield what keeps an entry from matching any signer. What does not fit the schema is passed over.

    Args:
        config: the parameters as they are written.
    """
    for path, text in texts(config, "expectedVerifierId"):
        yield from _id(path, text)
    for key, name in (("trustedVerifiers", "verifierId"), ("trustedBuilders", "builderId")):
        for index, entry in enumerate(list_at(config, key)):
            # Another form than the schema's is told by the parser of parameters.
            if isinstance(entry, Mapping):
                identity = partial(_identity, is_github=entry.get("issuer") == GITHUB_ISSUER)
                looks: Mapping[str, Callable[[list[Key], str], Iterator[Remark]]]
                looks = {name: _id, "issuer": _issuer, "identity": identity, "identityPattern": _pattern}
                for what, look in looks.items():
                    for path, text in texts(entry, what):
                        yield from look([key, index, *path], text)


def near_host(url: str) -> str:
    """Return the well-known host that the one in ``url`` is a misspelling of; empty for none."""
    host = _host(url[:512])
    # One that is known is no slip, though others may look like it.
    return "" if host in _HOSTS else nearest(host, _HOSTS, _LIKENESS)


def texts(config: Mapping[str, Any], name: str) -> Iterator[tuple[list[Key], str]]:
    """Yield the place and text of a parameter that is a text, or of each text in one that is a list."""
    value = config.get(name)
    if isinstance(value, str):
        yield [name], value
    for index, item in enumerate(list_at(config, name)):
        if isinstance(item, str):
            yield [name, index], item


def _id(path: list[Key], text: str) -> Iterator[Remark]:
    if "*" in text:
        what = f"{quoted(text)} has a *, which stands for itself here: identifiers are compared to the letter"
        yield warning(path, what, "write each identifier out; a list may have several")
    # Of other hosts nobody here knows how their ids begin.
    elif text.startswith("http://") and _host(text) in _HOSTS:
        what = f"{quoted(text)} is nobody's id: those begin with https://"
        yield warning(path, what, f"is https{plain(text[4:], 256)} meant?")
    elif near := near_host(text):
        yield warning(path, f"{quoted(text)} is on no host that is known here", f"is {near} meant?")


def _issuer(path: list[Key], text: str) -> Iterator[Remark]:
    known = {bare_url(item): item for item in ISSUERS}
    near = known.get(bare_url(text))
    if near is not None and near != text:
        what = f"the issuer {quoted(text)} is in no certificate, which has it to the letter"
        yield warning(path, what, f"is {near} meant?")
    elif near is None and (host := near_host(text)):
        what = f"the issuer {quoted(text)} is none that is known here"
        yield warning(path, what, f"is https://{host} meant?")


def _identity(path: list[Key], text: str, is_github: bool) -> Iterator[Remark]:
    if READS_LIKE_EXPRESSION.search(text):
        what = f"the identity {quoted(text)} is compared to the letter, and reads like a regular expression"
        yield warning(path, what, "write it as identityPattern, or the identity as certificates have it")
    elif is_github and not _WORKFLOW.fullmatch(text):
        yield warning(path, f"the identity {quoted(text)} is no workflow's at GitHub", _workflow(text))


def _workflow(text: str) -> str:
    """Return what to write for the identity of one of GitHub's workflows."""
    # Slips are put right one after the other: the scheme, the folder's name, the ref.
    https = f"https://{text.removeprefix('http://').removeprefix('https://')}"
    spelt = re.sub(r"/\.?githubs?/workflows?/", "/.github/workflows/", https[:512], count=1)
    found = _WITHOUT_REF.fullmatch(spelt)
    if found:
        # ``main`` is a guess, so the message asks whether it is meant.
        spelt = f"{found[1]}@{full_ref(found[2] or 'main')}"
    if _WORKFLOW.fullmatch(spelt):
        return f"is {plain(spelt, 512)} meant?"
    return "write https://github.com/OWNER/REPOSITORY/.github/workflows/FILE@refs/heads/BRANCH, as its certificates have it"


def _pattern(path: list[Key], text: str) -> Iterator[Remark]:
    if text.startswith("http") and text.endswith("/*"):
        what = f"the pattern {quoted(text)} is a regular expression, in which /* is any number of slashes"
        yield warning(path, what, "write /.* for any path")


def _host(text: str) -> str:
    found = _URL.fullmatch(text)
    return found[2].lower() if found else ""
