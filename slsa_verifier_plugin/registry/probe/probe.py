"""What happens between this machine and a registry, step by step: the engine of ``registry check``.

The steps are made by the store itself, with empty caches, and observed. What they found is described here, without
secrets: a person can paste it into an issue.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal
from urllib.parse import urlsplit

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import ArtifactError, VerifierError
from slsa_verifier_plugin.members import list_at
from slsa_verifier_plugin.model.digest import Descriptor
from slsa_verifier_plugin.network import faults
from slsa_verifier_plugin.network.addresses import kind_of
from slsa_verifier_plugin.network.dialing import Dialer, Resolver
from slsa_verifier_plugin.network.origins import origin_of
from slsa_verifier_plugin.network.proxies import proxy_for
from slsa_verifier_plugin.network.tls import TrustStore
from slsa_verifier_plugin.network.transport import HttpRequest, Reply
from slsa_verifier_plugin.registry import limits
from slsa_verifier_plugin.registry.auth.challenge import parse_challenges
from slsa_verifier_plugin.registry.credentials import CredentialProvider, Credentials
from slsa_verifier_plugin.registry.credentials.select import DEFAULT, provider_for
from slsa_verifier_plugin.registry.manifests import json_object
from slsa_verifier_plugin.registry.reference import Reference
from slsa_verifier_plugin.registry.settings import StoreSettings
from slsa_verifier_plugin.registry.store import RegistryStore
from slsa_verifier_plugin.text import plain

SHOWN_HEADERS = (
    "Content-Type",
    "Content-Length",
    "Docker-Content-Digest",
    "Docker-Distribution-Api-Version",
    "OCI-Filters-Applied",
    "Retry-After",
    "Server",
)
"""Headers of an answer that are shown as they are; ``WWW-Authenticate`` and ``Location`` are shown redacted."""

Facts = dict[str, str]
Action = Callable[[], tuple[str, Facts]]
"""Makes a step: returns its message and facts, or raises a ``VerifierError``."""


@dataclass(frozen=True, slots=True)
class SeenRequest:
    """One request of a step: redacted URL, status, seconds to the answer's head, and redacted headers."""

    method: str
    url: str
    status: int
    seconds: float
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ProbeStep:
    """One step of a probe.

    ``message`` says what was found, or what to do. ``reason`` and ``transient`` are those of the error of a failed
    step. ``facts`` are names and values for a table. ``seconds`` is the step's whole duration.
    """

    name: str
    outcome: Literal["passed", "failed", "skipped"]
    message: str
    seconds: float = 0.0
    reason: str | None = None
    transient: bool = False
    facts: Mapping[str, str] = field(default_factory=dict)
    requests: tuple[SeenRequest, ...] = ()


class Probe:
    """Fetches what refers to an image, step by step.

    Args:
        image: the image, by tag or digest.
        settings: the store's settings, as Ratify has them.
        environ: proxies, certificates, credentials.
        deadline: the end of all steps.
        trust: makes TLS contexts; tests replace it.
        resolver: looks names up; tests replace it.
    """

    def __init__(
        self,
        image: Reference,
        settings: StoreSettings,
        environ: Mapping[str, str],
        deadline: Deadline,
        trust: TrustStore | None = None,
        resolver: Resolver | None = None,
    ) -> None:
        self._image = image
        self._settings = settings
        self._environ = environ
        self._deadline = deadline
        self._trust = trust or TrustStore(environ)
        self._resolver = resolver or Resolver()
        self._seen: list[SeenRequest] = []
        self._provider = _WatchedProvider(settings, environ)
        # Without HOME there is no cache on disk: it is the registry that is looked at.
        homeless = {name: value for name, value in environ.items() if name != "HOME"}
        self._store = RegistryStore(
            replace(settings, local_cache_path=None),
            self._provider,
            homeless,
            trust=self._trust,
            resolver=self._resolver,
        )
        self._store.http.observer = self._observe
        self._client = self._store.client(image)
        self._listed: list[Descriptor] = []
        self._blob: Descriptor | None = None

    def steps(self) -> Iterator[ProbeStep]:
        """Yield the steps, each as soon as it is done.

        They are ``resolve`` (the host's addresses), ``connect`` (TCP and TLS), ``ping`` (``/v2/``), ``authenticate``
        (challenge, credentials, token), ``manifest``, ``referrers`` (API or fallback tag), ``artifact`` (the first
        referrer's manifest) and ``blob`` (its first). After a failed step the others are yielded as skipped; only a
        failed ``ping`` ends nothing: some registries answer nobody at ``/v2/``, and serve their repositories.
        """
        actions: tuple[tuple[str, Action], ...] = (
            ("resolve", self._resolve),
            ("connect", self._connect),
            ("ping", self._ping),
            ("authenticate", self._authenticate),
            ("manifest", self._fetch_manifest),
            ("referrers", self._list_referrers),
            ("artifact", self._fetch_artifact),
            ("blob", self._fetch_blob),
        )
        failed = ""
        with self._store:
            for name, action in actions:
                # What needs a failed step would only repeat its message.
                if failed:
                    yield ProbeStep(name, "skipped", f"not tried, because {failed} failed")
                    continue
                step = self._make(name, action)
                yield step
                if step.outcome == "failed" and name != "ping":
                    failed = name

    def _make(self, name: str, action: Action) -> ProbeStep:
        """Make a step, and describe it without the secrets used so far."""
        hide = self._client.auth.redactor.hide
        self._seen = []
        begun = time.monotonic()
        facts: Facts = {}
        error: VerifierError | None = None
        try:
            message, facts = action()
        except VerifierError as caught:
            message, error = caught.message, caught
        return ProbeStep(
            name,
            "passed" if error is None else "failed",
            hide(message),
            time.monotonic() - begun,
            error.reason if error else None,
            error.transient if error else False,
            # What a registry says may be the token that it was shown.
            {key: hide(plain(value, 400)) for key, value in facts.items()},
            tuple(self._seen),
        )

    def _observe(self, request: HttpRequest, reply: Reply, home: str, seconds: float) -> None:
        url, header = request.url, reply.header
        # An object store's path and query hold the signature that opens the blob; the registry's own path is no secret.
        path = plain(urlsplit(url).path, 400) if origin_of(url) == origin_of(home) else "/..."
        # Chosen by name: a header that is not listed may hold anything, cookies and tokens among it.
        headers = {name: header(name) for name in SHOWN_HEADERS}
        headers["WWW-Authenticate"] = described(header("WWW-Authenticate"))
        if header("Location"):
            headers["Location"] = f"{faults.redacted(header('Location'))}/..."
        hide = self._client.auth.redactor.hide
        shown = {name: hide(plain(value)) for name, value in headers.items() if value}
        target = hide(faults.redacted(url) + path)
        self._seen.append(SeenRequest(request.method, target, reply.status, seconds, shown))

    def _peer(self) -> tuple[str, int, str]:
        """Return host and port of what is connected to, and the proxy's redacted URL, "" without one."""
        proxy = proxy_for(self._client.origin, self._environ)
        parts = urlsplit(proxy or self._client.origin)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        return parts.hostname or "", port, faults.redacted(proxy) if proxy else ""

    @contextlib.contextmanager
    def _reaching(self, operation: str) -> Iterator[None]:
        """Word what goes wrong on the way to the registry in the block."""
        try:
            yield
        except OSError as error:
            # Where the time is over, that is said, and not what the network made of it.
            self._deadline.check(operation)
            raise faults.unreachable(operation, self._client.origin, error) from None

    def _resolve(self) -> tuple[str, Facts]:
        host, port, proxy = self._peer()
        with self._reaching(f"looking up {plain(host)}"):
            found = self._resolver.resolve(host, port, self._deadline)
        # Each once, in the order in which they are connected to.
        addresses = list(dict.fromkeys(str(item.sockaddr[0]) for item in found))
        kinds = sorted({str(kind_of(address)) for address in addresses})
        facts = {"addresses": ", ".join(addresses), "kind": ", ".join(kinds)}
        if proxy:
            facts["proxy"] = proxy
        return f"{'the proxy ' if proxy else ''}{plain(host)} is {', '.join(addresses[:4])}", facts

    def _connect(self) -> tuple[str, Facts]:
        host, port, proxy = self._peer()
        with self._reaching(f"connecting to {plain(host)}:{port}"):
            # Any address: this is the registry that the person has named.
            sock = Dialer(self._resolver, None, socket.socket).dial(host, port, self._deadline)
            with contextlib.closing(sock):
                facts = {"peer": str(sock.getpeername()[0])}
                # TLS with the registry needs a tunnel through the proxy, which the next step opens.
                if proxy:
                    return "connected to the proxy", facts
                if self._client.origin.startswith("http:"):
                    return "connected, without TLS", facts
                # The very context that a verification uses, with the host's own certificates.
                context = self._trust.context(urlsplit(self._client.origin).netloc)
                with context.wrap_socket(sock, server_hostname=host) as wrapped:
                    facts |= _certificate(wrapped)
        return f"connected with {facts['TLS']}, and the certificate is trusted", facts

    def _ping(self) -> tuple[str, Facts]:
        home = self._client.origin
        request = HttpRequest("asking for /v2/", f"{home}/v2/")
        # Past the repository's client, which would answer the challenge that is to be seen here.
        reply = self._store.http.follow(request, self._deadline, home)
        challenge = described(reply.header("WWW-Authenticate"))
        # Read in any case, so that the next step does not find the rest of this body.
        refusal = reply.refusal()
        if reply.status == 200:
            return "the registry answers without asking who we are", {}
        if reply.status == 401 and challenge:
            return f"the registry asks for {challenge}", {"challenge": challenge}
        raise refusal

    def _authenticate(self) -> tuple[str, Facts]:
        operation = f"authenticating for {self._image.name}"
        url = self._client.url(f"manifests/{self._image.digest or self._image.tag or 'latest'}")
        # HEAD: the manifest itself is the next step's.
        reply = self._client.send(HttpRequest(operation, url, "HEAD"), self._deadline)
        # Other statuses say that we are let in; what is there, the next step looks at.
        if reply.status in (401, 403):
            raise reply.refusal()
        reply.error_body()
        # What the next request carries; None where the registry has asked for nothing.
        header = self._client.auth.authorization(self._deadline)
        facts = {"authProvider": self._provider.name, "credentials": self._provider.told}
        if header is None:
            return "the repository is open to everybody", facts
        shown = "a bearer token" if header.startswith("Bearer") else "user name and password"
        return f"the registry accepts {shown}", facts

    def _fetch_manifest(self) -> tuple[str, Facts]:
        found = self._store.resolve(self._image, self._deadline)
        self._image = self._image.with_digest(found.digest)
        facts = {"digest": str(found.digest), "media type": found.media_type, "size": str(found.size)}
        return f"the image is {found.digest}", facts

    def _list_referrers(self) -> tuple[str, Facts]:
        self._listed = self._store.referrers(self._image, self._deadline)
        # What was seen on the wire, for the store does not say which way it went.
        has_api = any("/referrers/" in seen.url and seen.status == 200 for seen in self._seen)
        by_tag = self._listed[0].listed_by_tag if self._listed else False
        how = "the fallback tag" if by_tag or not has_api else "the referrers API"
        if has_api and not self._listed:
            # The API answered, with nothing; then the tag was looked at as well.
            how = "the referrers API and the fallback tag"
        kinds = sorted({item.artifact_type or "(not said)" for item in self._listed})
        facts = {"listed by": how, "count": str(len(self._listed)), "artifact types": ", ".join(kinds[:10])}
        if not self._listed:
            return f"nothing refers to this digest, by {how}; attach the attestations to it", facts
        return f"{len(self._listed)} referring to this digest, by {how}", facts

    def _fetch_artifact(self) -> tuple[str, Facts]:
        if not self._listed:
            return "there is none", {}
        artifact = self._listed[0]
        operation = "reading the first referrer's manifest"
        content = self._store.manifest(self._image, artifact, self._deadline)
        value = json_object(content, operation)
        # "blobs" in the artifact manifest that OCI 1.1 had before its final form. Whoever may push writes either.
        blobs = list_at(value, "layers") or list_at(value, "blobs")
        if blobs:
            try:
                self._blob = Descriptor.parse(blobs[0])
            except ArtifactError as error:
                raise faults.invalid_response(operation, error.message) from None
        facts = {"digest": str(artifact.digest), "size": str(len(content)), "blobs": str(len(blobs))}
        return "the first referrer's manifest has its digest and size", facts

    def _fetch_blob(self) -> tuple[str, Facts]:
        if self._blob is None:
            return "there is none", {}
        limit = limits.MAX_PROBED_BLOB_BYTES
        content = self._store.blob(self._image, self._blob, limit, self._deadline)
        # Where the blob really came from: mostly the registry and its object store.
        hosts = dict.fromkeys(urlsplit(seen.url).netloc for seen in self._seen)
        facts = {"digest": str(self._blob.digest), "size": str(len(content)), "hosts": ", ".join(hosts)}
        return "its first blob has its digest and size", facts


class _WatchedProvider:
    """The configured provider, made when it is first asked. It tells what kind of credentials it found, never their content."""

    def __init__(self, settings: StoreSettings, environ: Mapping[str, str]) -> None:
        self._settings = settings
        self._environ = environ
        self._provider: CredentialProvider | None = None
        provider = settings.auth_provider or {}
        self.name = plain(provider.get("name") or DEFAULT, 64)
        self.told = "not asked for"

    def credentials(self, image: Reference, deadline: Deadline) -> Credentials | None:
        """Return what the provider finds."""
        # Until it has answered: what it raises leaves this as it is.
        self.told = "the provider failed"
        self._provider = self._provider or provider_for(self._settings.auth_provider, self._environ)
        # The real provider, with the real settings: a mistake in them shows here, in its own words.
        found = self._provider.credentials(image, deadline)
        if found is None:
            self.told = "none for this registry"
        else:
            self.told = "an identity token" if found.identity_token else "a user name and password"
        return found


def described(header: str) -> str:
    """Return the challenges in a ``WWW-Authenticate`` header without what may be secret in them."""
    found = []
    for challenge in parse_challenges(header)[:4]:
        parts = [challenge.scheme.capitalize()]
        if challenge.scheme == "bearer":
            # Of the realm the host alone: its query may hold anything.
            shown = {"realm": faults.redacted(challenge.get("realm")), "service": challenge.get("service")}
            if challenge.get("scope"):
                shown["scope"] = challenge.get("scope")
            parts += [f"{name}={value}" for name, value in shown.items()]
        found.append(" ".join(parts))
    return plain(", ".join(found), 400)


def _certificate(wrapped: ssl.SSLSocket) -> Facts:
    certificate: Mapping[str, Any] = wrapped.getpeercert() or {}

    def name(role: str) -> str:
        return ", ".join(f"{key}={value}" for group in certificate.get(role, ()) for key, value in group)

    cipher = wrapped.cipher()
    return {
        "TLS": wrapped.version() or "",
        "cipher": cipher[0] if cipher else "",
        "certificate": name("subject"),
        "issuer": name("issuer"),
        "valid until": str(certificate.get("notAfter", "")),
    }
