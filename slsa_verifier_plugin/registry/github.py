"""Reads attestations from GitHub's attestation API (REST, "List attestations"), for people at the command line.

``GET /repos/OWNER/NAME/attestations/ALGORITHM:HEX`` answers ``{"attestations": [...]}``, with the bundle itself in each entry or,
in newer versions of the API, only ``bundle_url``: an address at GitHub's storage that expires, where the bundle lies in snappy.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import ArtifactError, Reason, RegistryError, UsageError
from slsa_verifier_plugin.members import at, text_at
from slsa_verifier_plugin.model.snappy import SnappyError, decompressed
from slsa_verifier_plugin.network import faults
from slsa_verifier_plugin.network.origins import is_url, target_of
from slsa_verifier_plugin.network.redirects import HttpClient
from slsa_verifier_plugin.network.transport import HttpRequest, Reply
from slsa_verifier_plugin.registry.manifests import json_object
from slsa_verifier_plugin.registry.pages import pages_of
from slsa_verifier_plugin.registry.redaction import Redactor
from slsa_verifier_plugin.strict_json import JsonError, loads
from slsa_verifier_plugin.text import plain, quoted

API = "https://api.github.com"
MAX_ANSWER = 64 << 20
"""Bytes of one page, a hundred entries at the most."""
MAX_BUNDLES_BYTES = 64 << 20
"""Bytes of all bundles together."""
MAX_BUNDLE = 16 << 20
"""Bytes of one bundle."""
MAX_BUNDLES = 256
"""Bundles that are fetched for one image, and entries that are looked at."""
MAX_PAGES = 8

_NAME = re.compile(
    r"(?:(?P<host>[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+)/)?"
    r"(?P<owner>[A-Za-z0-9][A-Za-z0-9_-]{0,99})/(?P<name>[A-Za-z0-9._-]{1,100})"
)


class GitHubAttestations:
    """The attestations that GitHub keeps for one repository.

    Args:
        repository: ``OWNER/NAME`` on github.com, or ``HOST/OWNER/NAME``.
        environ: proxies and certificates; ``GH_TOKEN`` or ``GITHUB_TOKEN`` is the token for github.com and ``*.ghe.com``,
            ``GH_ENTERPRISE_TOKEN`` or ``GITHUB_ENTERPRISE_TOKEN`` for other hosts (as ``gh`` reads them), and
            ``GITHUB_API_URL`` where github.com's API is (as GitHub Actions sets it).

    Raises:
        UsageError: ``repository`` is none, or the API's address is not one that may get a token.
    """

    def __init__(self, repository: str, environ: Mapping[str, str]) -> None:
        match = _NAME.fullmatch(repository)
        # "." and ".." would lead to another path of the API, with our token.
        if match is None or match["name"] in (".", ".."):
            raise UsageError(
                f"{quoted(repository)} is no repository; expected github:OWNER/NAME or github:HOST/OWNER/NAME"
            )
        host = (match["host"] or "github.com").lower()
        self._api = _api_of(host, environ)
        self._repository = f"{match['owner']}/{match['name']}"
        self._shown = plain(repository)
        names = ("GH_TOKEN", "GITHUB_TOKEN")
        # A token for github.com must not go to whoever runs another host.
        if host != "github.com" and not host.endswith(".ghe.com"):
            names = ("GH_ENTERPRISE_TOKEN", "GITHUB_ENTERPRISE_TOKEN")
        token = next((environ[name] for name in names if environ.get(name)), "")
        # A line's end would let a token write headers of its own.
        self._token = token if re.fullmatch(r"[\x21-\x7e]+", token) else ""
        self._http = HttpClient(environ)

    def bundles(self, digests: Iterable[str], deadline: Deadline) -> bytes:
        """Return the bundles about the first of ``digests`` that there are any about, as JSON documents a line each.

        Args:
            digests: as ``sha1:HEX`` for a commit, ``sha256:HEX`` for an image.
            deadline: the end of it.

        Raises:
            ArtifactError: reason ``NO_ATTESTATION``: GitHub has none.
            RegistryError: GitHub did not answer, or not with attestations.
            DeadlineError: out of time.
        """
        asked = list(digests)
        with contextlib.closing(self._http), Redactor([self._token]).guard():
            for digest in asked:
                found = self._about(digest, deadline)
                if found:
                    return b"".join(bundle + b"\n" for bundle in found)
        raise ArtifactError(
            f"GitHub has no attestations of {self._shown} about {' or '.join(plain(digest) for digest in asked)}; did the SLSA "
            "source workflow run and store them there? (--from notes reads the commit's git note)",
            reason=Reason.NO_ATTESTATION,
            transient=True,
        )

    def _about(self, digest: str, deadline: Deadline) -> list[bytes]:
        operation = f"reading the attestations of {self._shown} about {digest}"
        # A hundred is the most that GitHub puts on a page.
        url = f"{self._api}/repos/{self._repository}/attestations/{quote(digest, safe=':')}?per_page=100"
        found: list[bytes] = []

        def ask(page: str) -> Reply:
            return self._get(page, deadline, operation, own=True)

        for reply in pages_of(url, MAX_PAGES, operation, ask):
            # An unknown digest, or one of an algorithm that this GitHub does not know.
            if reply.status in (404, 422):
                reply.error_body()
                break
            if reply.status != 200:
                reply.error_body()
                raise self._refused(operation, reply)
            entries = json_object(reply.read(MAX_ANSWER), operation).get("attestations")
            if not isinstance(entries, list):
                raise faults.invalid_response(operation, "the answer has no list of attestations")
            for entry in entries:
                # Anybody who may write attestations of the repository makes the list.
                if len(found) >= MAX_BUNDLES:
                    raise faults.too_many(operation, "attestations", MAX_BUNDLES)
                # One after the other: the storage's addresses expire in minutes, and people wait for tens of them, not
                # thousands.
                found.append(self._bundle(entry, deadline, operation))
                # All are in memory at once, and whoever may write one makes it as large as it gets.
                if sum(map(len, found)) > MAX_BUNDLES_BYTES:
                    raise faults.too_large(operation, None, MAX_BUNDLES_BYTES)
        return found

    def _bundle(self, entry: Any, deadline: Deadline, operation: str) -> bytes:
        bundle, stored = at(entry, "bundle"), text_at(entry, "bundle_url")
        if isinstance(bundle, dict):
            # On one line, for lines are what tells the documents apart.
            return json.dumps(bundle).encode()
        # Plain HTTP only where the API itself is spoken to so, as in tests on this machine.
        schemes = ("https", urlsplit(self._api).scheme)
        address = target_of(self._api, stored) if stored else None
        if address is None or urlsplit(address).scheme not in schemes:
            raise faults.invalid_response(operation, "an entry has neither a bundle nor an address of one")
        reply = self._get(address, deadline, operation, own=False)
        reply.expect()
        content = reply.read(MAX_BUNDLE)
        try:
            # Storage that unpacks on the way delivers JSON.
            # GitHub's storage serves snappy (block format).
            text = content if content.lstrip()[:1] == b"{" else decompressed(content, MAX_BUNDLE)
            return json.dumps(loads(text)).encode()
        except (SnappyError, JsonError) as error:
            raise faults.invalid_response(operation, f"a stored bundle cannot be read ({error})") from None

    def _get(self, url: str, deadline: Deadline, operation: str, *, own: bool) -> Reply:
        """Ask the API, with the token, or storage, which gets none and may be only where the API's own address allows it."""
        headers = {"Accept": "application/json"}
        # Storage gets none: its URL carries a signature of its own.
        if own and self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        return self._http.follow(HttpRequest(operation, url, headers=headers), deadline, self._api)

    def _refused(self, operation: str, reply: Reply) -> RegistryError:
        advice = {
            401: "the token is not valid; renew GH_TOKEN",
            403: "the token may not read this repository's attestations, or too much was asked (attestations: read; GH_TOKEN)",
            429: "too much was asked; wait, or give a token (GH_TOKEN)",
        }.get(reply.status, "try again")
        why = f"{self._api} answered HTTP {reply.status}; {advice}"
        reason = Reason.REGISTRY_UNAUTHORIZED if reply.status in (401, 403) else Reason.REGISTRY_ERROR
        return faults.failure(operation, why, reason, transient=faults.is_passing(reply.status))


def _api_of(host: str, environ: Mapping[str, str]) -> str:
    """Return where a host's REST API is (GitHub's documentation, "About the REST API"), without a slash at its end."""
    # Tenants of GitHub's own cloud.
    if host.endswith(".ghe.com"):
        # GitHub Enterprise Cloud with data residency ("About GitHub Enterprise Cloud with data residency").
        return f"https://api.{host}"
    # GitHub Enterprise Server has its API below the host itself.
    if host != "github.com":
        return f"https://{host}/api/v3"
    api = environ.get("GITHUB_API_URL", "").rstrip("/") or API
    parts = urlsplit(api if is_url(api) else "")
    # For tests on this machine: the token leaves it on no wire.
    is_local = parts.scheme == "http" and parts.hostname in ("127.0.0.1", "::1")
    # The token is sent there.
    if parts.scheme != "https" and not is_local:
        raise UsageError(
            f"GITHUB_API_URL is {quoted(faults.redacted(api))}, expected an https address, which may get a token"
        )
    return api
