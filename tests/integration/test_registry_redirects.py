"""Redirects: of blobs to object stores, and everything that a redirect must not achieve."""

from __future__ import annotations

import socket
import threading

import pytest

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import DeadlineError, Reason, RegistryError
from slsa_verifier_plugin.network.dialing import Endpoint, Resolver
from slsa_verifier_plugin.registry.credentials import Credentials
from slsa_verifier_plugin.registry.reference import Reference
from slsa_verifier_plugin.registry.settings import StoreSettings
from slsa_verifier_plugin.registry.store import RegistryStore
from tests.support import toxins
from tests.support.content import NOTE, Pushed, push
from tests.support.names import knowing, nowhere
from tests.support.registries import BasicRegistry, RecordingRegistry, Seen, ToxicRegistry
from tests.support.registry_handler import RegistryHandler

pytestmark = pytest.mark.server("registries that redirect to object stores")

HTTP = StoreSettings(use_http=True)


class Alice:
    """Has one user's credentials for every registry."""

    def credentials(self, image: Reference, deadline: Deadline) -> Credentials | None:
        return Credentials("alice", "planted-password")


class ObjectStore(RecordingRegistry):
    """Serves the blob at any path, as an object store does for a signed URL."""

    def respond(self, handler: RegistryHandler, seen: Seen) -> bool:
        handler.answer(200, NOTE)
        return True


class RedirectingRegistry(BasicRegistry):
    """Wants a password, and sends blobs to an object store."""

    target = ""

    def respond(self, handler: RegistryHandler, seen: Seen) -> bool:
        if super().respond(handler, seen):
            return True
        if "/blobs/" in seen.path:
            handler.answer(307, b"see there", headers={"Location": self.target})
            return True
        return False


def fetch(store: RegistryStore, pushed: Pushed) -> bytes:
    return store.blob(pushed.image, pushed.blob, len(NOTE), Deadline(5))


def refusal(store: RegistryStore, pushed: Pushed) -> RegistryError:
    with pytest.raises(RegistryError) as caught:
        fetch(store, pushed)
    return caught.value


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_blob_comes_from_the_object_store_without_the_credentials(host: str) -> None:
    with (
        ObjectStore() as objects,
        RedirectingRegistry({"alice": "planted-password"}) as registry,
        RegistryStore(HTTP, Alice(), {}) as store,
    ):
        registry.target = objects.url.replace("127.0.0.1", host) + "/bucket/key?signature=planted-signature"
        assert fetch(store, push(registry)) == NOTE
        assert [seen.path for seen in objects.seen] == ["/bucket/key?signature=planted-signature"]
        assert "Authorization" not in objects.seen[0].headers


def test_credentials_stay_when_the_registry_redirects_within_itself() -> None:
    class Moved(BasicRegistry):
        def respond(self, handler: RegistryHandler, seen: Seen) -> bool:
            if super().respond(handler, seen):
                return True
            if "/blobs/" in seen.path and "?moved" not in seen.path:
                handler.answer(302, headers={"Location": f"{seen.path}?moved"})
                return True
            return False

    with Moved({"alice": "planted-password"}) as registry, RegistryStore(HTTP, Alice(), {}) as store:
        assert fetch(store, push(registry)) == NOTE


def test_a_401_from_another_host_is_not_answered_with_credentials() -> None:
    with (
        BasicRegistry({"alice": "planted-password"}) as other,
        RedirectingRegistry({"alice": "planted-password"}) as registry,
        RegistryStore(HTTP, Alice(), {}) as store,
    ):
        registry.target = other.url.replace("127.0.0.1", "localhost") + "/x"
        error = refusal(store, push(registry))
        assert not any("Authorization" in seen.headers for seen in other.seen)
    assert error.reason is Reason.REGISTRY_UNAUTHORIZED
    assert "planted" not in error.message


def test_credentials_do_not_come_back_after_a_detour() -> None:
    with (
        ToxicRegistry(toxins.redirect("unset")) as detour,
        RedirectingRegistry({"alice": "planted-password"}) as registry,
        RegistryStore(HTTP, Alice(), {}) as store,
    ):
        detour.toxin = toxins.redirect(f"{registry.url}/v2/team/app/blobs/elsewhere")
        registry.target = f"{detour.url}/detour"
        refusal(store, push(registry))
        back = [seen for seen in registry.seen if seen.path.endswith("/elsewhere")]
        assert back
        assert "Authorization" not in back[0].headers


@pytest.mark.parametrize(
    ("own", "target", "kind"),
    [
        ("203.0.113.5", "127.0.0.1", "loopback"),
        ("8.8.8.8", "127.0.0.1", "loopback"),
        ("8.8.8.8", "10.1.2.3", "private"),
        ("8.8.8.8", "192.168.0.1", "private"),
        ("8.8.8.8", "100.64.0.1", "private"),
        ("8.8.8.8", "169.254.1.1", "link-local"),
        ("8.8.8.8", "169.254.169.254", "metadata"),
        ("8.8.8.8", "0.0.0.0", "loopback"),
        ("8.8.8.8", "::1", "loopback"),
        ("8.8.8.8", "::ffff:10.0.0.1", "private"),
        ("8.8.8.8", "64:ff9b::a00:1", "private"),
        ("8.8.8.8", "64:ff9b:1::a00:1", "private"),
        ("10.0.0.1", "64:ff9b:1::a9fe:a9fe", "metadata"),
        ("8.8.8.8", "2002:a00:1::", "private"),
        ("8.8.8.8", "fd00::1", "private"),
        ("8.8.8.8", "224.0.0.1", "reserved"),
        ("10.0.0.1", "127.0.0.1", "loopback"),
        ("10.0.0.1", "169.254.1.1", "link-local"),
        ("10.0.0.1", "168.63.129.16", "metadata"),
        ("127.0.0.1", "169.254.169.254", "metadata"),
        ("127.0.0.1", "100.100.100.200", "metadata"),
        # Its name's owner says of it, once it is asked about for the redirect, that it is where it was never met.
        ("169.254.1.1", "169.254.1.2", "link-local"),
    ],
)
def test_a_name_that_points_where_the_registry_is_not_is_refused(own: str, target: str, kind: str) -> None:
    """The registry runs on loopback; a proxy-like resolver makes it seem to be at ``own`` for the check."""
    with ToxicRegistry(toxins.redirect("http://objects.example:1/x"), "/blobs/") as registry:
        pushed = push(registry)
        port = registry.host.rpartition(":")[2]
        first = True

        def lookup(host: str, number: int) -> list[Endpoint]:
            nonlocal first
            if host == "registry.example":
                address, first = ("127.0.0.1" if first else own), False
                return [Endpoint(socket.AF_INET, (address, number))]
            family = socket.AF_INET6 if ":" in target else socket.AF_INET
            return [Endpoint(family, (target, number))]

        image = Reference.parse(f"registry.example:{port}/team/app@{pushed.image.digest}")
        with RegistryStore(HTTP, None, {}, resolver=Resolver(lookup)) as store:
            error = refusal(store, Pushed(image, pushed.artifact, pushed.blob, NOTE))
    assert error.reason is Reason.REGISTRY_INVALID_RESPONSE
    assert f"{kind} address" in error.message
    assert "http://objects.example:1" in error.message


def test_a_registry_whose_name_is_not_looked_up_in_time_is_not_blamed_for_its_redirect() -> None:
    """Where it is, and so where it may send us, is not known: that is a matter of time, and the next call may learn it."""
    done = threading.Event()
    with ToxicRegistry(toxins.redirect("http://127.0.0.1:1/x"), "/blobs/") as registry:
        pushed = push(registry)
        asked = 0

        def lookup(host: str, number: int) -> list[Endpoint]:
            nonlocal asked
            asked += 1
            if asked > 1:
                done.wait(60)
            return [Endpoint(socket.AF_INET, ("127.0.0.1", number))]

        image = Reference.parse(f"registry.example:{registry.host.rpartition(':')[2]}/team/app")
        with RegistryStore(HTTP, None, {}, resolver=Resolver(lookup)) as store:
            try:
                with pytest.raises(DeadlineError):
                    store.blob(image, pushed.blob, len(NOTE), Deadline(1))
            finally:
                done.set()
        assert asked == 2


def test_one_bad_address_among_good_ones_is_enough_to_refuse() -> None:
    with ToxicRegistry(toxins.redirect("http://objects.example:1/x"), "/blobs/") as registry:
        pushed = push(registry)
        resolver = knowing(objects_example=["8.8.8.8", "169.254.169.254"])
        with RegistryStore(HTTP, None, {}, resolver=resolver) as store:
            assert "cloud metadata address" in refusal(store, pushed).message


def test_at_most_five_redirects_are_followed() -> None:
    for number, followed in ((5, True), (6, False)):

        def toxin(handler: RegistryHandler, registry: ToxicRegistry, number: int = number) -> bool:
            if registry.hits > number:
                return False
            handler.answer(307, headers={"Location": f"{handler.path}?{registry.hits}"})
            return True

        with ToxicRegistry(toxin, "/blobs/") as registry, RegistryStore(HTTP, None, {}) as store:
            pushed = push(registry)
            if followed:
                assert fetch(store, pushed) == NOTE
            else:
                assert "more than 5" in refusal(store, pushed).message


def test_the_location_and_its_signature_stay_out_of_messages() -> None:
    location = "ftp://planted.example/planted?signature=planted"
    with (
        ToxicRegistry(toxins.redirect(location), "/blobs/") as registry,
        RegistryStore(HTTP, None, {}) as store,
    ):
        assert "planted" not in refusal(store, push(registry)).message


def test_a_host_named_after_the_secret_does_not_bring_it_into_a_message() -> None:
    class Echo(BasicRegistry):
        def respond(self, handler: RegistryHandler, seen: Seen) -> bool:
            if super().respond(handler, seen):
                return True
            handler.answer(307, headers={"Location": "http://PLANTED-password.example:1/x"})
            return True

    with (
        Echo({"alice": "planted-password"}) as registry,
        RegistryStore(HTTP, Alice(), {}, resolver=Resolver(nowhere)) as store,
    ):
        message = refusal(store, push(registry)).message
    assert "planted-password" not in message.lower()
    assert "(secret).example" in message
