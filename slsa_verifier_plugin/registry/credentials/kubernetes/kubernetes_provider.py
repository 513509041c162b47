"""``k8Secrets``: image pull secrets, read from inside the cluster (Ratify v1.4.4 ``k8secret_authprovider.go``).

First the ``secrets`` of the configuration, in their order, then the image pull secrets of the service account; the
first one with an entry for the image counts. The API is asked as kubernetes' own client asks it from inside a Pod:
its address from the environment, the mounted token, and TLS verified with the mounted CA and nothing else.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from time import time
from typing import Any, TypeVar

from slsa_verifier_plugin import strict_json
from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import RegistryError
from slsa_verifier_plugin.members import at, objects_at, text_at
from slsa_verifier_plugin.network.addresses import literal
from slsa_verifier_plugin.network.tls import TrustStore
from slsa_verifier_plugin.network.transport import HttpRequest
from slsa_verifier_plugin.registry.auth.leases import Lease, Leases
from slsa_verifier_plugin.registry.credentials import Credentials
from slsa_verifier_plugin.registry.credentials.credential_failures import failed
from slsa_verifier_plugin.registry.credentials.login_entries import EntryError, login_in, matching
from slsa_verifier_plugin.registry.credentials.provider_options import Options, token_file, variables
from slsa_verifier_plugin.registry.credentials.web import CloudStep, Refusal, Web, is_transient
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

DOCKER_CONFIG_JSON = "kubernetes.io/dockerconfigjson"
DOCKER_CFG = "kubernetes.io/dockercfg"

DATA_KEYS = {DOCKER_CONFIG_JSON: ".dockerconfigjson", DOCKER_CFG: ".dockercfg"}
"""Where a secret of each supported type keeps its document (kubernetes ``core/v1``, "Docker config Secrets")."""


def login_in_secret(kind: str, data: object, registry: str) -> Credentials | None:
    """Return a pull secret's credentials for a registry, None where it has no entry for it, or an empty one.

    Args:
        kind: the secret's type, a key of ``DATA_KEYS``.
        data: the secret's ``data``, base64 as the kubernetes API serves it.
        registry: host and port.

    Raises:
        EntryError: its document is missing or is not what docker writes, or the entry is broken.
    """
    key = DATA_KEYS[kind]
    text = at(data, key)
    if not isinstance(text, str):
        raise EntryError(f"it has no {key}")
    try:
        document = strict_json.loads(base64.b64decode(text, validate=True))
    except ValueError:
        # One error, below, for what is no base64, no JSON and no object.
        document = None
    # The older type is the object of entries itself, without "auths" around it.
    if kind == DOCKER_CONFIG_JSON and isinstance(document, Mapping):
        # Without "auths" nobody has logged in: no entries, and nothing broken.
        document = document.get("auths", {})
    if not isinstance(document, Mapping):
        raise EntryError(f"its {key} is not docker's configuration in JSON")
    # The first name alone, as Ratify: an empty entry of the exact name means anonymous access.
    name = next(matching(document, registry), None)
    return None if name is None else login_in(document[name])


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
        ca_path = str(Path(mount) / "ca.crt")
        # Said when the store is configured, not at the first image.
        if not Path(ca_path).is_file():
            raise _failed(
                "reading the cluster's CA",
                f"{quoted(ca_path)} is missing; mount the service account's token "
                "(automountServiceAccountToken)",
            )
        # The cluster's CA and no other: a public certificate for that address proves nothing.
        self._web = Web(NAME, environ, TrustStore.of_file(ca_path))
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
            kind = text_at(secret, "type")
            if is_named and kind != DOCKER_CONFIG_JSON:
                raise self._unfit(namespace, name, f"its type is {quoted(kind)}, not {DOCKER_CONFIG_JSON}")
            # A service account's secret of any other type is passed over.
            if kind not in DATA_KEYS:
                continue
            try:
                # Anew for each call: a secret that is broken is told to each that needs it.
                found = login_in_secret(kind, secret.get("data"), image.registry)
            except EntryError as error:
                raise self._unfit(namespace, name, str(error)) from None
            if found is not None:
                return found
        return None

    def _candidates(self, deadline: Deadline) -> Iterator[tuple[str, str, bool]]:
        """Yield namespace and name of the secrets to look into, and whether the configuration names them."""
        yield from ((namespace, name, True) for namespace, name in self._secrets)
        # Read only if no named secret had an entry: it takes a request and a right of its own.
        yield from ((self._namespace, name, False) for name in self._accounts.get(self._account, deadline))

    def _unfit(self, namespace: str, name: str, detail: str) -> RegistryError:
        return _failed(f"reading the secret {namespace}/{name}", f"{detail}; put it right or take it out")

    def _read_secret(self, key: tuple[str, str], deadline: Deadline) -> Lease[Mapping[str, Any] | None]:
        namespace, name = key
        path = f"namespaces/{namespace}/secrets/{name}"
        # Kept, too, where there is none: a secret that is not there is not asked for by every call.
        return self._lease(self._get(f"reading the secret {namespace}/{name}", path, deadline))

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
        status, value = self._web.send(request, deadline)
        if status == 200 and value:
            return value
        # Only the API itself says so in this form; a proxy's 404 must not pass for a secret that is not there.
        if status == 404 and value.get("kind") == "Status":
            return None
        advice = {
            200: "the answer is not a JSON object",
            401: "the API does not accept the mounted token",
            403: "grant the service account get on it (RBAC)",
            404: "what answers is not a kubernetes API",
        }.get(status, "look at the API server")
        refusal = Refusal(status, value.get("message"), is_transient(status))
        raise self._web.refused(CloudStep(step, advice, [token]), refusal)


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
    for item in objects_at(account, "imagePullSecrets"):
        name = text_at(item, "name")
        # Passed over and not refused: the service account is not this store's to correct.
        if _OBJECT_NAME.fullmatch(name):
            yield name


make = KubernetesSecrets
