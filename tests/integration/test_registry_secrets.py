"""Secrets that the tests plant are searched for in everything that is written."""

from __future__ import annotations

import base64
import io
import json
import logging
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import VerifierError
from slsa_verifier_plugin.network.dialing import Resolver
from slsa_verifier_plugin.registry.credentials.select import provider_for
from slsa_verifier_plugin.registry.probe.probe import Probe
from slsa_verifier_plugin.registry.settings import StoreSettings
from slsa_verifier_plugin.registry.store import RegistryStore
from tests.support import toxins
from tests.support.content import push
from tests.support.names import nowhere
from tests.support.registries import (
    BasicRegistry,
    RecordingRegistry,
    Seen,
    TokenRegistry,
    TokenServer,
    ToxicRegistry,
)
from tests.support.registry_handler import RegistryHandler

PASSWORD = "planted-password-Zq9"
IDENTITY = "planted-identity-Zq9"
BASIC = base64.b64encode(f"alice:{PASSWORD}".encode()).decode()


class Echo(RecordingRegistry):
    """Repeats what it is shown in every place where a client could take it from."""

    def respond(self, handler: RegistryHandler, seen: Seen) -> bool:
        shown = seen.headers.get("Authorization", "")
        if not shown:
            handler.fail(401, "UNAUTHORIZED", {"WWW-Authenticate": 'Basic realm="x"'})
            return True
        value = shown.partition(" ")[2]
        plain = base64.b64decode(value).decode().partition(":")[2]
        body = json.dumps({"errors": [{"code": value, "message": plain}]}).encode()
        headers = {
            "Location": f"https://{plain}.example/{plain}?{plain}",
            "X-Echo": shown,
            "Retry-After": plain,
        }
        headers |= {"WWW-Authenticate": f'{plain} realm="{plain}"', "Link": f"<https://{plain}.example/>"}
        self.turn += 1
        status = (307, 400, 401, 403, 404, 429, 500)[self.turn % 7]
        handler.answer(status, body, plain, headers)
        return True

    turn = 0


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """Everything that any logger writes, the libraries' own debug output included."""
    stream = io.StringIO()
    root = logging.getLogger()
    handler = logging.StreamHandler(stream)
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield stream
    root.removeHandler(handler)
    root.setLevel(level)


def config(tmp_path: Path, host: str, *, identity: bool = False) -> dict[str, str]:
    """Write a Docker configuration with the planted secrets; return an environment that finds it."""
    entry = {"identitytoken": IDENTITY} if identity else {"auth": BASIC}
    (tmp_path / "config.json").write_text(json.dumps({"auths": {host: entry}}))
    return {"DOCKER_CONFIG": str(tmp_path), "HTTPS_PROXY": f"http://bob:{PASSWORD}@127.0.0.1:1"}


Servers = Callable[[], RecordingRegistry]


@pytest.mark.parametrize("identity", [False, True])
@pytest.mark.parametrize("kind", ["basic", "wrong", "echo", "token", "denied", "toxic", "late", "drip"])
def test_no_planted_secret_is_written(
    tmp_path: Path, written: io.StringIO, caplog: pytest.LogCaptureFixture, kind: str, identity: bool
) -> None:
    caplog.set_level(logging.DEBUG)
    users = {"alice": PASSWORD}
    server = TokenServer(users, {IDENTITY: "alice"}, anonymous=False)
    made: dict[str, Servers] = {
        "basic": lambda: BasicRegistry(users),
        "wrong": lambda: BasicRegistry({"alice": "another"}),
        "echo": Echo,
        "token": lambda: TokenRegistry(server),
        "denied": lambda: TokenRegistry(server),
        "toxic": lambda: ToxicRegistry(
            toxins.redirect(f"https://bucket.example/?signature={PASSWORD}"), "/blobs/"
        ),
        "late": lambda: ToxicRegistry(
            toxins.redirect(f"https://bucket.example/?signature={PASSWORD}"), "/blobs/"
        ),
        "drip": lambda: ToxicRegistry(toxins.dripping_headers, "/blobs/"),
    }
    if kind == "denied":
        server.users, server.identities = {}, {}
    cache = tmp_path / "cache"
    (cache / "blobs" / "sha256").mkdir(parents=True)
    settings = StoreSettings.parse(
        {
            "useHttp": True,
            "localCachePath": str(cache),
            "authProvider": {"name": "dockerConfig", "x": PASSWORD},
        }
    )
    results: list[str] = [repr(settings)]
    with server, made[kind]() as registry:
        pushed = push(registry)
        environ = config(tmp_path, registry.host, identity=identity)
        provider = provider_for(settings.auth_provider, environ)
        with RegistryStore(settings, provider, environ, resolver=Resolver(nowhere)) as store:
            for _ in range(2):
                for call in (
                    lambda: store.referrers(pushed.image, Deadline(1)),
                    lambda: store.manifest(pushed.image, pushed.artifact, Deadline(1)),
                    lambda: store.blob(
                        pushed.image, pushed.blob, 1 << 20, Deadline(0.02 if kind == "late" else 0.4)
                    ),
                    lambda: store.tags(pushed.image, Deadline(1)),
                ):
                    try:
                        results.append(repr(call()))
                    except VerifierError as error:
                        results += [error.message, "".join(traceback.format_exception(error))]
            results += [*store.remarks.all(), repr(store), repr(provider)]
            results += [
                repr(step)
                for step in Probe(
                    pushed.image, settings, environ, Deadline(2), resolver=Resolver(nowhere)
                ).steps()
            ]
        tokens = list(server.issued)
    everything = "\n".join([*results, written.getvalue(), caplog.text])
    secrets = [PASSWORD, IDENTITY, BASIC, *tokens]
    assert [secret for secret in secrets if secret.lower() in everything.lower()] == []
    assert "{" not in "".join(store.remarks.all())
    for path in cache.rglob("*"):
        if path.is_file():
            assert not any(secret.encode() in path.read_bytes() for secret in secrets)
    if kind in ("basic", "wrong", "echo") and not identity:
        shown = "".join(seen.headers.get("Authorization", "") for seen in registry.seen)
        assert BASIC in shown, "the secret was never used, so this test proves nothing"
    if kind == "token":
        assert tokens, "no token was issued, so this test proves nothing"
