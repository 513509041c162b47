"""Answers changed at random: right content, or an error of our own; never another exception, never other content."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import VerifierError
from slsa_verifier_plugin.model.digest import Descriptor
from slsa_verifier_plugin.registry.credentials import Credentials
from slsa_verifier_plugin.registry.probe.probe import Probe
from slsa_verifier_plugin.registry.reference import Reference
from slsa_verifier_plugin.registry.settings import StoreSettings
from slsa_verifier_plugin.registry.store import RegistryStore
from tests.support.content import ARTIFACT_TYPE, Pushed, push
from tests.support.names import knowing
from tests.support.registries import ToxicRegistry
from tests.support.registry_handler import RegistryHandler

HTTP = StoreSettings(use_http=True)
NOTE = b'{"line": 1}\n' * 20
SECONDS = 0.2
ROUNDS = 10
"""Stores that one seed is tried with; hundreds of seeds were run when this was written."""

TEMPLATES = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.oci.image.index.v1+json\r\nContent-Length: <size>\r\n"
    b'Link: </v2/team/app/referrers/x?last=1>; rel="next"\r\n\r\n<body>',
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nDocker-Content-Digest: sha256:00\r\n\r\n"
    b"a\r\n0123456789\r\n0\r\n\r\n",
    b'HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer realm="http://127.0.0.1:<port>/token",'
    b'service="s",scope="repository:team/app:pull"\r\nContent-Length: <size>\r\n\r\n<body>',
    b'HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm="x"\r\nContent-Length: <size>\r\n\r\n<body>',
    b"HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1:<port>/v2/elsewhere\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-9/240\r\nContent-Length: 10\r\n\r\n0123456789",
    b"HTTP/1.1 429 Too Many\r\nRetry-After: 0\r\nContent-Length: <size>\r\n\r\n<body>",
)
BODIES = (
    b'{"schemaVersion":2,"manifests":[{"mediaType":"a/b","digest":"sha256:' + b"0" * 64 + b'","size":1}]}',
    b'{"token":"abc","expires_in":60}',
    b'{"errors":[{"code":"UNAUTHORIZED","message":"m"}]}',
    b'{"tags":["a"],"repositories":["b"]}',
    NOTE,
)


def mutated(source: random.Random, content: bytes) -> bytes:
    """Return ``content`` with a few bytes changed, taken out, doubled or moved."""
    text = bytearray(content)
    for _ in range(source.choice((0, 1, 1, 2, 3, 6))):
        place = source.randrange(len(text) + 1)
        kind = source.randrange(5)
        if kind == 0 and place < len(text):
            text[place] = source.randrange(256)
        elif kind == 1:
            del text[place : place + source.randrange(1, 12)]
        elif kind == 2:
            text[place:place] = bytes(
                source.choices(b'\r\n:;,="<>{}[]% \x00\xff0a', k=source.randrange(1, 6))
            )
        elif kind == 3:
            text[place:place] = text[place : place + source.randrange(1, 40)]
        else:
            text[place:place] = source.choice(
                (b"-1", b"99999999999999999999", b"\r\n\r\n", b"://", b"@", b"[", b"%0d")
            )
    return bytes(text)


class Alice:
    def credentials(self, image: Reference, deadline: Deadline) -> Credentials | None:
        return Credentials("alice", "planted-password")


def fuzzing(source: random.Random) -> Callable[[RegistryHandler, ToxicRegistry], bool]:
    def toxin(handler: RegistryHandler, registry: ToxicRegistry) -> bool:
        if source.random() < 0.2:
            return False
        body = mutated(source, source.choice(BODIES))
        answer = source.choice(TEMPLATES).replace(b"<size>", b"%d" % len(body)).replace(b"<body>", body)
        answer = answer.replace(b"<port>", registry.host.rpartition(":")[2].encode())
        handler.close_connection = source.random() < 0.5
        handler.wfile.write(mutated(source, answer))
        if not handler.close_connection:
            registry.over.wait(0.002)
            handler.close_connection = True
        return True

    return toxin


def calls(store: RegistryStore, pushed: Pushed) -> Iterator[Callable[[], object]]:
    yield lambda: store.referrers(pushed.image, Deadline(SECONDS))
    yield lambda: store.matching_referrers(pushed.image, ARTIFACT_TYPE, Deadline(SECONDS))
    yield lambda: store.resolve(pushed.image, Deadline(SECONDS))
    yield lambda: store.tags(pushed.image, Deadline(SECONDS))
    yield lambda: store.repositories(pushed.image.registry, Deadline(SECONDS))
    yield lambda: list(Probe(pushed.image, HTTP, {}, Deadline(SECONDS), resolver=knowing()).steps())


@pytest.mark.parametrize("seed", range(3))
def test_whatever_a_registry_answers(seed: int) -> None:
    source = random.Random(seed)
    with ToxicRegistry(fuzzing(source)) as registry:
        pushed = push(registry, content=NOTE)
        manifest = registry.storage.manifest("team/app", str(pushed.artifact.digest))
        assert manifest is not None
        right = failed = 0
        for _ in range(ROUNDS):
            with RegistryStore(HTTP, Alice(), {}, resolver=knowing()) as store:
                for call in calls(store, pushed):
                    assert "planted" not in _outcome(call)
                for descriptor, content in ((pushed.blob, NOTE), (pushed.artifact, manifest[1].content)):
                    try:
                        assert _fetch(store, pushed, descriptor) == content
                        right += 1
                    except VerifierError:
                        failed += 1
        assert right + failed == 2 * (ROUNDS)
        assert failed > 0, "nothing was changed, so this test proves nothing"


def _outcome(call: Callable[[], object]) -> str:
    try:
        return repr(call())
    except VerifierError as error:
        return error.message


def _fetch(store: RegistryStore, pushed: Pushed, descriptor: Descriptor) -> bytes:
    if descriptor is pushed.blob:
        return store.blob(pushed.image, descriptor, 1 << 20, Deadline(SECONDS))
    return store.manifest(pushed.image, descriptor, Deadline(SECONDS))
