"""``k8Secrets``: image pull secrets, read from inside the cluster (Ratify v1.4.4 ``k8secret_authprovider.go``).

First the ``secrets`` of the configuration, in their order, then the image pull secrets of the service account; the
first one with an entry for the image counts. The API is asked as kubernetes' own client asks it from inside a Pod:
its address from the environment, the mounted token, and TLS verified with the mounted CA and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import time
from typing import Any, TypeVar

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import RegistryError
from slsa_verifier_plugin.network.addresses import literal
from slsa_verifier_plugin.network.tls import TrustStore
from slsa_verifier_plugin.registry.auth.leases import Lease, Leases
from slsa_verifier_plugin.registry.credentials import Credentials
from slsa_verifier_plugin.registry.credentials.credential_failures import failed
from slsa_verifier_plugin.registry.credentials.kubernetes.pull_secrets import (
    DATA_KEYS,
    DOCKER_CONFIG_JSON,
    PullSecret,
)
from slsa_verifier_plugin.registry.credentials.login_entries import EntryError
from slsa_verifier_plugin.registry.credentials.provider_options import Options, token_file, variables
from slsa_verifier_plugin.registry.credentials.web import Web, is_transient
from slsa_verifier_plugin.registry.http.transport import HttpRequest
from slsa_verifier_plugin.registry.redaction import explained
from slsa_verifier_plugin.registry.reference import Reference
from slsa_verifier_plugin.text import quoted

NAME = "k8Secrets"

_failed = partial(failed, NAME)

MOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
"""Where kubernetes mounts a Pod's token and CA ("Accessing the Kubernetes API from a Pod")."""

DEFAULT_SERVICE_ACCOUNT = "default"
"""Ratify's default for ``serviceAccountName``."""

FRESH_SECONDS = 60.0
"""Age of an object at which it is read again, while it is still used."""

KEPT_SECONDS = 300.0
"""Age of an object at which it is no longer used: the longest life of a password after its secret changed."""

T = TypeVar("T")

_OBJECT_NAME = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class _Secret:
    """A secret as it is kept: its type, and its entries where the type is a supported one."""

    kind: str
    entries: PullSecret | None = field(repr=False)
    problem: str = ""


class KubernetesSecrets:
    """Finds credentials in pull secrets.

    Args:
        config: Ratify's ``authProvider``: ``serviceAccountName`` (default ``default``) and ``secrets``, a list of
            ``secretName`` and ``namespace`` (default: Ratify's own).
        environ: ``KUBERNETES_SERVICE_HOST``, ``KUBERNETES_SERVICE_PORT`` and ``RATIFY_NAMESPACE`` are required.

    Raises:
        RegistryError: the configuration or the environment cannot be used.
    """

    def __init__(
        self,
        config: Mapping[str, object],
        environ: Mapping[str, str],
        mount: str = MOUNT,
        clock: Callable[[], float] = time,
    ) -> None:
        options = Options(NAME, config, ("serviceAccountName", "secrets"))
        self._account = options.text("serviceAccountName") or DEFAULT_SERVICE_ACCOUNT
        host, port, self._namespace = variables(
            NAME,
            environ,
            ("KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT", "RATIFY_NAMESPACE"),
            "kubernetes sets the first two in every Pod, Ratify's chart the last",
        )
        self._secrets = [
            (item.text("namespace") or self._namespace, item.required("secretName"))
            for item in options.objects("secrets", ("secretName", "namespace"))
        ]
        for name in (self._account, self._namespace, *(part for pair in self._secrets for part in pair)):
            # It becomes a part of a URL: "../" would ask for another object.
            if not _OBJECT_NAME.fullmatch(name):
                raise options.error(f"{quoted(name)} is not the name of a kubernetes object")
        self._api = _address(host, port)
        self._token_path = str(Path(mount) / "token")
        self._ca_path = str(Path(mount) / "ca.crt")
        # Said when the store is configured, not at the first image.
        if not Path(self._ca_path).is_file():
            raise _failed(
                "reading the cluster's CA",
                f"{quoted(self._ca_path)} is missing; mount the service account's token "
                "(automountServiceAccountToken)",
            )
        # The cluster's CA and no other: a public certificate for that address proves nothing.
        trust = TrustStore({"SSL_CERT_FILE": self._ca_path}, directories=(), host_directories=())
        self._web = Web(NAME, environ, trust)
        self._clock = clock
        self._pull_secrets = Leases(f"an image pull secret for {NAME}", self._read_secret, clock)
        self._accounts = Leases(f"the service account for {NAME}", self._read_account, clock)

    def credentials(self, image: Reference, deadline: Deadline) -> Credentials | None:
        """Return the first credentials for the image's registry, None where no secret has an entry for it.

        Raises:
            RegistryError: a configured secret or the service account cannot be read, or is not what it must be.
            DeadlineError: out of time.
        """
        for namespace, name, is_named in self._candidates(deadline):
            secret = self._pull_secrets.get((namespace, name), deadline)
            # A secret that does not exist is passed over: another one may have the entry.
            if secret is None:
                continue
            # A secret that somebody named and that cannot be used is a mistake to be said; among those of a service account there
            # may be some for other purposes.
            if is_named and secret.kind != DOCKER_CONFIG_JSON:
                raise self._unfit(
                    namespace, name, f"its type is {quoted(secret.kind)}, not {DOCKER_CONFIG_JSON}"
                )
            # A service account's secret of any other type is passed over.
            if secret.kind in DATA_KEYS:
                found = self._find(secret, namespace, name, image.registry)
                if found is not None:
                    return found
        return None

    def _candidates(self, deadline: Deadline) -> Iterator[tuple[str, str, bool]]:
        """Yield namespace and name of the secrets to look into, and whether the configuration names them."""
        yield from ((namespace, name, True) for namespace, name in self._secrets)
        # Read only if no named secret had an entry: it takes a request and a right of its own.
        yield from ((self._namespace, name, False) for name in self._accounts.get(self._account, deadline))

    def _find(self, secret: _Secret, namespace: str, name: str, registry: str) -> Credentials | None:
        # Told to each call that needs the secret, though it was found when the secret was read.
        problem = secret.problem
        if secret.entries is not None:
            try:
                return secret.entries.find(registry)
            except EntryError as error:
                problem = str(error)
        raise self._unfit(namespace, name, problem)

    def _unfit(self, namespace: str, name: str, detail: str) -> RegistryError:
        return _failed(f"reading the secret {namespace}/{name}", f"{detail}; put it right or take it out")

    def _read_secret(self, key: tuple[str, str], deadline: Deadline) -> Lease[_Secret | None]:
        namespace, name = key
        path = f"namespaces/{namespace}/secrets/{name}"
        value = self._get(f"reading the secret {namespace}/{name}", path, deadline)
        if value is None:
            # Kept, too: a secret that is not there is not asked for by every call.
            return self._lease(None)
        kind = str(value.get("type") or "")
        try:
            entries = PullSecret(kind, value.get("data")) if kind in DATA_KEYS else None
        except EntryError as error:
            # Kept, too: a broken secret is not read anew by every call.
            return self._lease(_Secret(kind, None, str(error)))
        return self._lease(_Secret(kind, entries))

    def _read_account(self, name: str, deadline: Deadline) -> Lease[tuple[str, ...]]:
        step = f"reading the service account {self._namespace}/{name}"
        # Always in Ratify's own namespace: the configuration names the account alone.
        value = self._get(step, f"namespaces/{self._namespace}/serviceaccounts/{name}", deadline)
        if value is None:
            raise _failed(
                step, "there is none of that name; set serviceAccountName to the one that Ratify runs as"
            )
        return self._lease(tuple(_pull_secret_names(value)))

    def _lease(self, value: T) -> Lease[T]:
        # Read again after FRESH_SECONDS; until KEPT_SECONDS it serves while the API cannot be reached.
        return Lease.until(value, self._clock() + KEPT_SECONDS, early=KEPT_SECONDS - FRESH_SECONDS)

    def _get(self, step: str, path: str, deadline: Deadline) -> Mapping[str, Any] | None:
        """Return an object of the API, None where it has no such object."""
        # At every request: kubelet renews it before it ends.
        token = token_file(NAME, "the service account", self._token_path)
        headers = {"Authorization": f"Bearer {token}"}
        request = HttpRequest(step, f"{self._api}/api/v1/{path}", headers=headers)
        answer = self._web.send(request, deadline)
        value = answer.object()
        if answer.status == 200 and value:
            return value
        # Only the API itself says so in this form; a proxy's 404 must not pass for a secret that is not there.
        if answer.status == 404 and value.get("kind") == "Status":
            return None
        advice = {
            200: "; the answer is not a JSON object",
            401: "; the API does not accept the mounted token",
            403: "; grant the service account get on it (RBAC)",
            404: "; what answers is not a kubernetes API",
        }.get(answer.status, "")
        detail = f"HTTP {answer.status}, {explained(value.get('message'), [token])}{advice}"
        raise _failed(step, detail, transient=is_transient(answer.status))


def _address(host: str, port: str) -> str:
    """Return the API's URL from ``KUBERNETES_SERVICE_HOST``, an IP address as a rule, and ``..._PORT``."""
    address = literal(host)
    # An IPv6 cluster has the bare address in the variable.
    shown = f"[{host}]" if address is not None and ":" in host else host
    # Both become part of the URL that the mounted token is sent to.
    if not (address or _HOST.fullmatch(host)) or not re.fullmatch(r"[0-9]{1,5}", port):
        raise _failed(
            "reading the environment",
            f"KUBERNETES_SERVICE_HOST {quoted(host)} and KUBERNETES_SERVICE_PORT {quoted(port)} are no address",
        )
    return f"https://{shown}:{port}"


def _pull_secret_names(account: Mapping[str, Any]) -> Iterator[str]:
    items = account.get("imagePullSecrets")
    for item in items if isinstance(items, list) else []:
        name = item.get("name") if isinstance(item, Mapping) else None
        # Passed over and not refused: the service account is not this store's to correct.
        if isinstance(name, str) and _OBJECT_NAME.fullmatch(name):
            yield name


make = KubernetesSecrets
