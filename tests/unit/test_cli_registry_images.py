"""Images that are listed in a registry, for an audit."""

from __future__ import annotations

import pytest

from slsa_verifier_plugin.audit import image_sources as images
from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import UsageError
from slsa_verifier_plugin.registry.reference import Reference


class Catalog:
    def repositories(self, registry: str, deadline: Deadline) -> list[str]:
        return ["a", "b/c"] if registry == "r.example" else []

    def tags(self, image: Reference, deadline: Deadline) -> list[str]:
        return {"a": ["1", f"sha256-{'0' * 64}"], "b/c": []}[image.repository]


def test_a_registry_without_its_fallback_tags() -> None:
    assert [use.image for use in images.from_registry("r.example", Catalog())] == ["r.example/a:1"]
    assert [use.image for use in images.from_registry("r.example/a", Catalog())] == ["r.example/a:1"]
    assert list(images.from_registry("r.example/b/c", Catalog())) == []
    # Its name is no image's: nothing of Docker Hub is listed for it.
    assert list(images.from_registry("empty.example", Catalog())) == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("https://r.example", '"https://r.example" is none: take away the https:// at the start; expected HOST, or HOST/REPO'),
        ("r.example/team/", "is none: take away the slash at the end; expected HOST"),
        ("me:secret@r.example", "it has a user name or password; expected HOST"),
        ("r.example/team/app:v1", '"r.example/team/app:v1" names one image; give it as IMAGE, or the repository alone'),
        (f"r.example/app@sha256:{'a' * 64}", "names one image"),
        ("", "its name is empty; name a host"),
    ],
)  # fmt: skip
def test_what_is_no_registry_to_list(name: str, expected: str) -> None:
    with pytest.raises(UsageError) as caught:
        list(images.from_registry(name, Catalog()))
    assert expected in str(caught.value)
    assert "secret" not in str(caught.value)
