"""64 ``attach`` calls at once to Debian's docker-registry, which has no referrers API and ignores conditions: none is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from slsa_verifier_plugin.checking.status import Status
from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.registry.reference import Reference
from slsa_verifier_plugin.registry.store import RegistryStore
from tests.e2e.test_registry_real import HTTP, copied, docker_registry
from tests.support.attaching import attach_at_once
from tests.support.command_line import LEVEL_3, cli

CALLS = 64


@pytest.mark.server("docker-registry, concurrent attach")
def test_of_64_concurrent_calls_none_is_lost(tmp_path: Path) -> None:
    with docker_registry(tmp_path, {}) as host:
        served = copied(host)
        with RegistryStore(HTTP, None, {}) as store:
            subject = store.resolve(served.pushed.image, Deadline(20))
        attached = attach_at_once(host, "team/app", subject, CALLS)
        image = Reference(host, "team/app", digest=subject.digest)
        with RegistryStore(HTTP, None, {}) as store:
            listed = store.referrers(image, Deadline(20))
        assert {item.digest for item in listed} == {*attached, served.pushed.artifact.digest}
        # One more through the whole command, after all the others.
        done = cli("attach", str(image), LEVEL_3, "--plain-http")
        assert done.status == Status.ADMITTED, done
        with RegistryStore(HTTP, None, {}) as store:
            assert len(store.referrers(image, Deadline(20))) == CALLS + 2
