"""Credentials from Docker's configuration file: Ratify's ``dockerConfig``, which is also its default.

The file is ``configPath``, else ``config.json`` in ``DOCKER_CONFIG``, else ``~/.docker/config.json``. As Ratify does
(v1.4.4, ``pkg/common/oras/authprovider/authprovider.go``), the entry of ``auths`` named after the registry's host
counts first (``login_entries``). Beyond it, ``credHelpers`` and ``credsStore`` are asked as Docker asks them.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from slsa_verifier_plugin import strict_json
from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.environment import passed_on
from slsa_verifier_plugin.members import folded
from slsa_verifier_plugin.registry import limits
from slsa_verifier_plugin.registry.credentials import CredentialProvider, Credentials
from slsa_verifier_plugin.registry.credentials.credential_failures import failed
from slsa_verifier_plugin.registry.credentials.docker.helper_process import HelperError, run_helper
from slsa_verifier_plugin.registry.credentials.login_entries import EntryError, login_in, matching
from slsa_verifier_plugin.registry.credentials.provider_options import STEP_CONFIG
from slsa_verifier_plugin.registry.reference import Reference
from slsa_verifier_plugin.regular_files import read_regular
from slsa_verifier_plugin.text import plain, quoted

HUB = "https://index.docker.io/v1/"
"""The name under which Docker keeps credentials for Docker Hub."""

NAME = "dockerConfig"

_failed = partial(failed, NAME)

TOKEN_USER = "<token>"
"""User name with which a helper says that its secret is an identity token."""

STEP_FILE = "reading the file"

NOT_FOUND = b"credentials not found in native keychain"
"""What a helper writes when it has nothing for a host (docker-credential-helpers, ``credentials/error.go``)."""

_HELPER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def make(config: Mapping[str, object], environ: Mapping[str, str]) -> CredentialProvider:
    """Return the provider for the settings of an ``authProvider`` named ``dockerConfig``.

    Args:
        config: may hold ``configPath``.
        environ: ``DOCKER_CONFIG`` and ``HOME``; ``PATH`` and the rest for helpers.

    Raises:
        RegistryError: ``configPath`` is no string.
    """
    # An empty path is the default one, as in Ratify.
    path = folded(config, "configPath") or ""
    if not isinstance(path, str):
        raise _failed(STEP_CONFIG, "configPath is not a string")
    return DockerConfig(Path(path) if path else None, environ)


class DockerConfig:
    """Reads the file anew each time it is asked: ``docker login`` and mounted secrets change it.

    Args:
        path: the file, which must then exist; None for the default place, where there may be none.
        environ: as for ``make``.
    """

    def __init__(self, path: Path | None, environ: Mapping[str, str]) -> None:
        self._path = path
        self._environ = environ

    def credentials(self, image: Reference, deadline: Deadline) -> Credentials | None:
        """Return the credentials for the image's registry, None where the file has none.

        Raises:
            RegistryError: the file cannot be read or understood, or a helper failed.
            DeadlineError: out of time.
        """
        config = self.read()
        entries = _object(config, "auths")
        for key in matching(entries, image.registry):
            try:
                found = login_in(entries[key])
            except EntryError as error:
                raise _failed(STEP_FILE, f"{quoted(key)}: {error}") from None
            # An empty entry is passed over: another way to write the host may hold the password.
            if found is not None:
                return found
        # Asked only now: ``docker login`` leaves an empty entry in the file where a helper has the password.
        helper = _helper_for(config, image.registry)
        return None if helper is None else self._ask(helper, image.registry, deadline)

    def read(self) -> Mapping[str, Any]:
        """Return what the file says now; nothing where there need not be one.

        Raises:
            RegistryError: it cannot be read or understood.
        """
        path = self._path or self._default()
        # Neither DOCKER_CONFIG nor HOME is set: there is no file to look for.
        if path is None:
            return {}
        shown = quoted(str(path))
        try:
            # One byte over the limit is enough to see that the file is too long.
            content = read_regular(str(path), limits.MAX_CONFIG_BYTES + 1)
        # ValueError: a NUL byte in the path.
        except (OSError, ValueError) as error:
            # A file that nobody named need not be there: most machines have none, and are anonymous.
            if isinstance(error, FileNotFoundError) and self._path is None:
                return {}
            why = getattr(error, "strerror", None) or "the path is not usable"
            if isinstance(error, FileNotFoundError):
                why = "does not exist"
            raise _failed(STEP_FILE, f"{shown}: {why}") from None
        if len(content) > limits.MAX_CONFIG_BYTES:
            raise _failed(STEP_FILE, f"it has more than {limits.MAX_CONFIG_BYTES} bytes")
        if not content.strip():
            # As Docker takes an empty file.
            return {}
        try:
            value = strict_json.loads(content)
        except strict_json.JsonError as error:
            raise _failed(STEP_FILE, f"{shown} is not JSON: {error}") from None
        if not isinstance(value, dict):
            raise _failed(STEP_FILE, f"{shown} is not a JSON object")
        return value

    def _default(self) -> Path | None:
        # As docker's own command line looks for it.
        directory = self._environ.get("DOCKER_CONFIG")
        if directory:
            return Path(directory) / "config.json"
        home = self._environ.get("HOME")
        return Path(home) / ".docker" / "config.json" if home else None

    def _ask(self, name: str, registry: str, deadline: Deadline) -> Credentials | None:
        step = f"credential helper docker-credential-{plain(name, 64)}"
        # The name becomes a program's: "../x" would lead out of the PATH.
        if not _HELPER.fullmatch(name):
            raise _failed(step, "this is not a helper's name")
        # On the PATH of the call's environment, which need not be this process's.
        program = shutil.which(f"docker-credential-{name}", path=self._environ.get("PATH", ""))
        if program is None:
            raise _failed(step, "it is not on the PATH; install it, or give the credentials in auths")
        # The name under which docker login stored it.
        server = HUB if registry == "docker.io" else registry
        deadline.check(f"asking the {step}")
        try:
            status, output = run_helper(
                [program, "get"],
                server.encode(),
                # Of the environment only what helpers read (docs/registries.md), and what SLSA_VERIFIER_PASS_ENV names.
                passed_on(self._environ),
                deadline.within(limits.HELPER_SECONDS),
            )
        except HelperError as error:
            # Out of the call's own time: that is a deadline, and not the helper's failure.
            deadline.check(f"asking the {step}")
            raise _failed(step, str(error), transient=True) from None
        if status != 0:
            # Every helper says it in these words, with a status like that of a failure.
            if output.strip() == NOT_FOUND:
                return None
            raise _failed(step, f"it ended with status {status}; run it by hand to see why", transient=True)
        return _from_helper(output, step)


def _object(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = config.get(name)
    # Absent and null are the same to Docker, a Go program.
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _failed(STEP_FILE, f"{name} is not an object")
    return value


def _helper_for(config: Mapping[str, Any], registry: str) -> str | None:
    helpers = _object(config, "credHelpers")
    for key in matching(helpers, registry):
        if isinstance(helpers[key], str) and helpers[key]:
            return str(helpers[key])
    # The store for all registries counts after a helper for this one, as in Docker.
    store = config.get("credsStore")
    return store if isinstance(store, str) and store else None


def _from_helper(output: bytes, step: str) -> Credentials | None:
    value = strict_json.object_in(output)
    username, secret = value.get("Username"), value.get("Secret")
    if not isinstance(username, str) or not isinstance(secret, str):
        raise _failed(step, "its answer is not a JSON object with Username and Secret")
    # docker-credential-helpers' way to say that the secret is no password.
    if username == TOKEN_USER:
        return Credentials(username, identity_token=secret)
    # Two empty fields are no login, as in an entry of the file.
    return Credentials(username, secret) if username or secret else None
