"""``attach``, ``fetch``, ``inspect`` and ``registry check`` against registries in memory."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from slsa_verifier_plugin.checking.status import Status
from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import Reason, RegistryError
from slsa_verifier_plugin.model.digest import Digest
from slsa_verifier_plugin.registry.auth.challenge import parse_challenges
from slsa_verifier_plugin.registry.credentials import Credentials
from slsa_verifier_plugin.registry.push import Pusher
from slsa_verifier_plugin.registry.reference import Reference
from tests.support.attach_scene import REPOSITORY, image_of
from tests.support.command_line import (
    ARTIFACT_TYPE,
    LEVEL_1,
    LEVEL_3,
    TESTDATA,
    TRUSTED_ROOT,
    cli,
    parameters,
    verifier,
    write_yaml,
)
from tests.support.embedded_registry import EmbeddedRegistry
from tests.support.registries import BasicRegistry, RecordingRegistry, TokenRegistry, TokenServer
from tests.support.registry_handler import RegistryHandler
from tests.support.sigstore import COMMIT, Lab, github_source_actions, vsa


def test_what_is_attached_is_found_and_admitted(registry: EmbeddedRegistry, tmp_path: Path) -> None:
    policy = write_yaml(tmp_path / "v.yaml", verifier())
    image = image_of(registry)
    done = cli("attach", image, LEVEL_3, "--plain-http", "--annotation", "team=shop")
    assert (done.status, done.err) == (Status.ADMITTED, "")
    digest = done.out.split()[1]
    assert done.out.startswith(f"attached {digest} (slsla/attestation, 2 attestations) to {image}@sha256:")
    assert cli("verify", image, "--policy", policy, "--plain-http").status == Status.ADMITTED
    shown = json.loads(cli("inspect", image, "--plain-http", "--json").out)
    (artifact,) = shown["artifacts"]
    assert (artifact["digest"], artifact["artifactType"]) == (digest, ARTIFACT_TYPE)
    assert artifact["annotations"]["team"] == "shop"
    assert artifact["blobs"][0]["name"] == LEVEL_3.name
    # A second one does not take the first one's place.
    assert cli("attach", image, LEVEL_1, "--plain-http").status == Status.ADMITTED
    assert len(json.loads(cli("inspect", image, "--plain-http", "--json").out)["artifacts"]) == 2


def test_what_is_no_bundle_is_refused(registry: EmbeddedRegistry, tmp_path: Path) -> None:
    (tmp_path / "x").write_text('{"some": "json"}\n')
    done = cli("attach", image_of(registry), tmp_path / "x", "--plain-http")
    assert (done.status, "holds no Sigstore bundle" in done.err) == (Status.USAGE, True)
    done = cli("attach", image_of(registry), LEVEL_3, "--plain-http", "--annotation", "no pair")
    assert (done.status, "KEY=VALUE" in done.err) == (Status.USAGE, True)
    assert json.loads(cli("inspect", image_of(registry), "--plain-http", "--json").out)["artifacts"] == []


def test_what_the_policy_would_not_admit_is_refused(registry: EmbeddedRegistry, tmp_path: Path) -> None:
    policy = write_yaml(tmp_path / "v.yaml", verifier(spec={"artifactTypes": "team/note"}))
    done = cli("attach", image_of(registry), LEVEL_1, "--policy", policy, "--plain-http")
    assert done.status == Status.DENIED
    assert "✗ 11 levels" in done.out
    assert done.out.endswith("nothing was attached\n")
    done = cli("attach", image_of(registry), LEVEL_3, "--policy", policy, "--plain-http")
    assert (done.status, "(team/note, " in done.out) == (Status.ADMITTED, True)
    done = cli(
        "attach", image_of(registry), TESTDATA / "tampered.intoto.jsonl", "--policy", policy, "--plain-http"
    )
    assert (done.status, "SIGNATURE_INVALID" in done.out) == (Status.DENIED, True)


@pytest.mark.parametrize(("revision", "status"), [(COMMIT, Status.ADMITTED), ("7" * 40, Status.DENIED)])
def test_the_binding_to_the_image_is_checked_before_it_is_attached(
    registry: EmbeddedRegistry, tmp_path: Path, revision: str, status: Status
) -> None:
    lab = Lab()
    (tmp_path / "root.json").write_bytes(lab.trusted_root())
    note = tmp_path / "note.jsonl"
    note.write_bytes(lab.sign(vsa(COMMIT), github_source_actions(commit=COMMIT)))
    demands = parameters(1, sourceBinding="annotation", trustedRoot={"path": "root.json"})
    policy = write_yaml(tmp_path / "v.yaml", verifier(spec={"parameters": demands}))
    registry.push_image(REPOSITORY, "labelled", {"org.opencontainers.image.revision": revision})
    image = f"{registry.host}/{REPOSITORY}:labelled"
    # What hangs there already is not what is asked about.
    assert cli("attach", image, LEVEL_1, "--plain-http").status == Status.ADMITTED
    done = cli("attach", image, note, "--policy", policy, "--plain-http")
    assert (done.status, "nothing was attached" in done.out) == (status, status is Status.DENIED)
    assert ("SOURCE_REVISION_MISMATCH" in done.out) is (status is Status.DENIED)
    shown = json.loads(cli("inspect", image, "--plain-http", "--json").out)
    assert len(shown["artifacts"]) == (2 if status is Status.ADMITTED else 1)


def test_a_file_over_the_policys_limit_is_refused(registry: EmbeddedRegistry, tmp_path: Path) -> None:
    policy = write_yaml(
        tmp_path / "v.yaml", verifier(spec={"parameters": parameters(maxAttestationBytes=1024)})
    )
    done = cli("attach", image_of(registry), LEVEL_3, "--policy", policy, "--plain-http")
    assert (done.status, "LIMIT_EXCEEDED" in done.out) == (Status.DENIED, True)


class Failing(EmbeddedRegistry):
    """Has one blob that it does not give."""

    lost = "/nothing/"

    def intercept(self, handler: RegistryHandler) -> bool:
        if handler.command == "GET" and self.lost in handler.path:
            handler.send_error(503)
            return True
        return False


def test_a_referrer_that_cannot_be_read_stops_only_those_who_want_it(tmp_path: Path) -> None:
    with Failing() as registry:
        image = registry.push_image(REPOSITORY, "v1")
        registry.attach(REPOSITORY, image, ARTIFACT_TYPE, [LEVEL_3.read_bytes()])
        bad = registry.attach(REPOSITORY, image, "other/type", [b"{}"])
        name = image_of(registry)
        registry.lost = f"/manifests/{bad.digest}"
        only = ("--artifact-type", ARTIFACT_TYPE)
        done = cli("fetch", name, "-o", tmp_path / "some", "--plain-http", *only)
        assert (done.status, ": 1 artifact\n" in done.out) == (Status.ADMITTED, True)
        where = f"{bad.digest} (other/type), attached to {name}@{image.digest}: "
        assert done.err.startswith(f"warning: passed over {where}")
        done = cli("fetch", name, "-o", tmp_path / "all", "--plain-http")
        assert (done.status, where in done.err) == (Status.UNDECIDED, True)
        registry.lost = "/blobs/"
        done = cli("fetch", name, "-o", tmp_path / "type", "--plain-http", "--artifact-type", "other/type")
        assert done.status == Status.UNDECIDED


def test_signatures_that_could_not_be_looked_at_are_not_said_to_verify() -> None:
    verify = ("--verify", "--trusted-root", TRUSTED_ROOT)
    with Failing() as registry:
        image = registry.push_image(REPOSITORY, "v1")
        artifact = registry.attach(REPOSITORY, image, ARTIFACT_TYPE, [LEVEL_3.read_bytes()])
        name = image_of(registry)
        for lost in (f"/blobs/{Digest.of(LEVEL_3.read_bytes())}", f"/manifests/{artifact.digest}"):
            registry.lost = lost
            assert cli("inspect", name, "--plain-http", *verify).status == Status.UNDECIDED
            assert cli("inspect", name, "--plain-http").status == Status.ADMITTED
        registry.lost = "/nothing/"
        assert cli("inspect", name, "--plain-http", *verify).status == Status.ADMITTED


def test_an_image_that_is_not_there(registry: EmbeddedRegistry) -> None:
    done = cli("attach", f"{registry.host}/{REPOSITORY}:missing", LEVEL_3, "--plain-http")
    assert (done.status, done.err.count("\n")) == (Status.UNDECIDED, 1)


def login(home: Path, host: str, user: str, password: str) -> None:
    folder = home / ".docker"
    folder.mkdir(parents=True)
    secret = base64.b64encode(f"{user}:{password}".encode()).decode()
    (folder / "config.json").write_text(json.dumps({"auths": {host: {"auth": secret}}}))


def test_credentials_of_the_docker_config_are_used(tmp_path: Path) -> None:
    with BasicRegistry({"user": "hunter2"}) as registry:
        registry.push_image(REPOSITORY, "v1")
        refused = cli("attach", image_of(registry), LEVEL_3, "--plain-http")
        assert (refused.status, "hunter2" in refused.err) == (Status.UNDECIDED, False)
        login(tmp_path / "home", registry.host, "user", "hunter2")
        done = cli("attach", image_of(registry), LEVEL_3, "--plain-http")
        assert (done.status, done.err) == (Status.ADMITTED, "")


def test_a_token_of_the_right_scope_is_asked_for(tmp_path: Path) -> None:
    with TokenServer(users={"user": "hunter2"}) as server, TokenRegistry(server) as registry:
        registry.push_image(REPOSITORY, "v1")
        login(tmp_path / "home", registry.host, "user", "hunter2")
        done = cli("attach", image_of(registry), LEVEL_3, "--plain-http")
        assert (done.status, done.err) == (Status.ADMITTED, "")
        assert [seen for seen in registry.seen if "hunter2" in str(seen.headers)] == []
        with (
            Pusher(Reference.parse(image_of(registry)), True, None, {}) as pusher,
            pytest.raises(RegistryError) as raised,
        ):
            pusher.blob(b"x")
    assert raised.value.reason is Reason.REGISTRY_UNAUTHORIZED


@pytest.mark.parametrize(
    "asked", ["<scope>", "repository:other/app:push,delete", "repository:team/app:*", "registry:catalog:*"]
)
def test_a_token_is_asked_for_pull_and_push_whatever_the_registry_asks_for(
    tmp_path: Path, asked: str
) -> None:
    challenge = [f'Bearer realm="<realm>?scope=repository:x:delete",service="s",scope="{asked}"']
    with TokenServer(users={"user": "hunter2"}) as server, TokenRegistry(server, challenge) as registry:
        registry.push_image(REPOSITORY, "v1")
        login(tmp_path / "home", registry.host, "user", "hunter2")
        done = cli("attach", image_of(registry), LEVEL_3, "--plain-http")
        assert (done.status, done.err) == (Status.ADMITTED, "")
    scopes = {scope for seen in server.seen for scope in seen.query["scope"]}
    assert scopes == {f"repository:{REPOSITORY}:pull", f"repository:{REPOSITORY}:pull,push"}


def test_a_token_server_without_tls_gets_nothing_from_a_registry_with_it() -> None:
    with Pusher(Reference.parse("registry.example/a"), False, None, {}) as pusher:
        auth = pusher.client.auth
        auth.refuse(parse_challenges('Bearer realm="http://evil.example/token",service="x"'), None)
        with pytest.raises(RegistryError, match="is not HTTPS") as raised:
            auth.authorization(Deadline(5))
    assert raised.value.reason is Reason.REGISTRY_CREDENTIALS


class Leading(RecordingRegistry):
    """Sends uploads to another host, or to what is no URL."""

    location = "http://evil.example/upload"

    def respond(self, handler: object, seen: object) -> bool:
        if getattr(handler, "command", "") != "POST":
            return False
        handler.send_response(202)  # type: ignore[attr-defined]
        handler.send_header("Location", self.location)  # type: ignore[attr-defined]
        handler.send_header("Content-Length", "0")  # type: ignore[attr-defined]
        handler.end_headers()  # type: ignore[attr-defined]
        return True


@pytest.mark.parametrize("location", ["http://evil.example/upload", "http://[", "http://a:b/", ""])
def test_credentials_do_not_follow_an_upload_to_another_host(location: str) -> None:
    with Leading() as registry:
        registry.location = location
        registry.push_image(REPOSITORY, "v1")
        done = cli("attach", image_of(registry), LEVEL_3, "--plain-http")
    assert (done.status, "sends the upload to another host" in done.err) == (Status.UNDECIDED, True)


class Identity:
    def credentials(self, image: Reference, deadline: Deadline) -> Credentials | None:
        return Credentials("user", identity_token="secret-token")


def test_an_identity_token_gets_a_token_for_pushing() -> None:
    """As ``az acr login`` and other logins leave it in Docker's configuration."""
    with TokenServer(identities={"secret-token": "user"}) as server, TokenRegistry(server) as registry:
        with Pusher(Reference(registry.host, REPOSITORY), True, Identity(), {}) as pusher:
            pusher.blob(b"x")
        assert {scope for seen in server.seen for scope in seen.form["scope"]} == {
            f"repository:{REPOSITORY}:pull,push"
        }
        assert [seen for seen in registry.seen if "secret-token" in str(seen.headers)] == []


def test_a_password_is_asked_for_where_there_is_an_identity_token_only() -> None:
    with (
        BasicRegistry({"user": "hunter2"}) as registry,
        Pusher(Reference(registry.host, REPOSITORY), True, Identity(), {}) as pusher,
        pytest.raises(RegistryError, match="only an identity token") as raised,
    ):
        pusher.blob(b"x")
    assert raised.value.reason is Reason.REGISTRY_UNAUTHORIZED
    assert "secret-token" not in str(raised.value)


class Moving(RecordingRegistry):
    """Redirects what begins an upload to itself, with the status in ``status``."""

    status = 307

    def respond(self, handler: object, seen: object) -> bool:
        path = getattr(handler, "path", "")
        if getattr(handler, "command", "") != "POST" or "moved" in path:
            return False
        handler.send_response(self.status)  # type: ignore[attr-defined]
        handler.send_header("Location", f"{path}?moved=1")  # type: ignore[attr-defined]
        handler.send_header("Content-Length", "0")  # type: ignore[attr-defined]
        handler.end_headers()  # type: ignore[attr-defined]
        return True


def test_a_redirect_that_keeps_the_method_is_followed_while_pushing() -> None:
    with Moving() as registry, Pusher(Reference(registry.host, REPOSITORY), True, None, {}) as pusher:
        assert pusher.blob(b"x") == Digest.of(b"x")
        assert registry.storage.blob(REPOSITORY, str(Digest.of(b"x"))) is not None


@pytest.mark.parametrize("status", [301, 302, 303])
def test_a_redirect_that_would_read_where_it_was_to_write_is_refused(status: int) -> None:
    with Moving() as registry, Pusher(Reference(registry.host, REPOSITORY), True, None, {}) as pusher:
        registry.status = status
        with pytest.raises(RegistryError, match="would turn a POST into a GET"):
            pusher.blob(b"x")


def test_a_registry_that_is_away() -> None:
    with (
        Pusher(Reference.parse("127.0.0.1:9/a"), True, None, {}) as pusher,
        pytest.raises(RegistryError) as raised,
    ):
        pusher.blob(b"x")
    assert raised.value.reason is Reason.REGISTRY_UNREACHABLE


def test_a_fallback_tag_that_is_no_index_is_left_alone() -> None:
    with EmbeddedRegistry(referrers_api=False) as registry:
        subject = registry.push_image(REPOSITORY, "v1")
        tag = str(subject.digest).replace(":", "-")
        registry.push_image(REPOSITORY, "other")
        found = registry.storage.manifest(REPOSITORY, "other")
        assert found is not None
        registry.storage.put_manifest(REPOSITORY, found[1].content, tag=tag)
        done = cli("attach", image_of(registry), LEVEL_3, "--plain-http")
        assert (done.status, "is no index" in done.err) == (Status.UNDECIDED, True)
        kept = registry.storage.manifest(REPOSITORY, tag)
        assert kept is not None
        assert kept[1].content == found[1].content


def test_a_fallback_tag_that_is_the_image_itself_holds_nothing() -> None:
    """As GitLab resolves it."""
    with EmbeddedRegistry(referrers_api=False) as registry:
        subject = registry.push_image(REPOSITORY, "v1")
        tag = str(subject.digest).replace(":", "-")
        found = registry.storage.manifest(REPOSITORY, "v1")
        assert found is not None
        registry.storage.put_manifest(REPOSITORY, found[1].content, tag=tag)
        assert cli("attach", image_of(registry), LEVEL_3, "--plain-http").status == Status.ADMITTED
        shown = json.loads(cli("inspect", image_of(registry), "--plain-http", "--json").out)
        assert len(shown["artifacts"]) == 1
