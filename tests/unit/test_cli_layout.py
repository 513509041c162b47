"""Image layouts: written whole, read back checked."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from slsa_verifier_plugin.checking.image_layout import (
    IMAGE_NAME,
    REF_NAME,
    LayoutStore,
    LayoutWriter,
    blob_path,
    name_of,
)
from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import Reason, RegistryError, UsageError
from slsa_verifier_plugin.model.digest import Descriptor, Digest
from slsa_verifier_plugin.registry.reference import Reference

MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def soon() -> Deadline:
    return Deadline(30)


def described(content: bytes, kind: str | None = None, **annotations: str) -> Descriptor:
    return Descriptor(MANIFEST, Digest.of(content), len(content), kind, annotations)


def manifest(subject: Descriptor | None = None, kind: str = "", **changes: object) -> bytes:
    value: dict[str, object] = {"schemaVersion": 2, "mediaType": MANIFEST, "layers": [], **changes}
    if subject is not None:
        value["subject"] = {"mediaType": MANIFEST, "digest": str(subject.digest), "size": subject.size}
        value["artifactType"] = kind
    return json.dumps(value).encode()


IMAGE = manifest()
ATTACHED = manifest(described(IMAGE), "slsla/attestation")
OTHER = manifest(described(IMAGE), "other/type")


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    writer = LayoutWriter(tmp_path / "layout")
    writer.manifest(described(IMAGE), IMAGE, "registry.example/app:v1")
    writer.manifest(described(ATTACHED, "slsla/attestation"), ATTACHED)
    writer.manifest(described(OTHER), OTHER)
    writer.blob(Digest.of(b"blob"), b"blob")
    writer.close()
    return tmp_path / "layout"


def test_what_was_written_is_read_back(layout: Path) -> None:
    store = LayoutStore(layout)
    image = Reference.parse("registry.example/app:v1")
    found = store.resolve(image, soon())
    assert found.digest == Digest.of(IMAGE)
    pinned = image.with_digest(found.digest)
    assert store.manifest(pinned, found, soon()) == IMAGE
    attached = store.referrers(pinned, soon())
    assert [item.artifact_type for item in attached] == ["slsla/attestation", "other/type"]
    assert [item.digest for item in store.matching_referrers(pinned, "other/type", soon())] == [
        Digest.of(OTHER)
    ]
    assert store.blob(pinned, Descriptor("x", Digest.of(b"blob"), 4), 4, soon()) == b"blob"
    assert store.resolve(pinned, soon()) == found


def test_a_pipe_in_a_layout_holds_nobody_up(layout: Path) -> None:
    """A layout travels on media that anybody may have had in hands."""
    store = LayoutStore(layout)
    blob = blob_path(layout, Digest.of(b"blob"))
    blob.unlink()
    os.mkfifo(blob)
    with pytest.raises(RegistryError):
        store.blob(Reference.parse("r/i"), Descriptor("x", Digest.of(b"blob"), 4), 4, soon())
    for name in ("index.json", "oci-layout"):
        (layout / name).unlink()
        os.mkfifo(layout / name)
        with pytest.raises(UsageError, match=f"no OCI image layout: not a regular file: .*{name}"):
            LayoutStore(layout)


def test_an_index_has_what_others_read(layout: Path) -> None:
    index = json.loads((layout / "index.json").read_text())
    assert json.loads((layout / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    assert index["manifests"][0]["annotations"] == {IMAGE_NAME: "registry.example/app:v1"}
    assert index["manifests"][1]["artifactType"] == "slsla/attestation"


def test_layouts_of_other_tools_are_found_by_tag(tmp_path: Path) -> None:
    writer = LayoutWriter(tmp_path)
    writer.manifest(described(IMAGE, **{REF_NAME: "v1"}), IMAGE)
    writer.close()
    store = LayoutStore(tmp_path)
    assert store.resolve(Reference.parse("any.example/name:v1"), soon()).digest == Digest.of(IMAGE)
    with pytest.raises(RegistryError, match=r"does not hold one image any\.example/name:v2"):
        store.resolve(Reference.parse("any.example/name:v2"), soon())


def test_a_tag_of_two_images_is_none(tmp_path: Path) -> None:
    writer = LayoutWriter(tmp_path)
    for content in (IMAGE, OTHER):
        writer.manifest(described(content, **{REF_NAME: "v1"}), content)
    writer.close()
    with pytest.raises(RegistryError, match="does not hold one image"):
        LayoutStore(tmp_path).resolve(Reference.parse("any.example/name:v1"), soon())


def test_another_images_name_is_not_taken_for_a_tag(layout: Path) -> None:
    with pytest.raises(RegistryError) as raised:
        LayoutStore(layout).resolve(Reference.parse("registry.example/other:v1"), soon())
    assert raised.value.reason is Reason.REGISTRY_NOT_FOUND


def test_changed_content_is_refused(layout: Path) -> None:
    path = blob_path(layout, Digest.of(ATTACHED))
    path.write_bytes(ATTACHED.replace(b"slsla", b"SLSLA"))
    with pytest.raises(RegistryError, match="is something else; fetch it again") as raised:
        LayoutStore(layout).referrers(Reference("r.example", "app", digest=Digest.of(IMAGE)), soon())
    assert raised.value.reason is Reason.REGISTRY_INVALID_RESPONSE


def test_missing_and_oversized_content(layout: Path) -> None:
    store, image = LayoutStore(layout), Reference("r.example", "app", digest=Digest.of(IMAGE))
    with pytest.raises(RegistryError, match="does not hold sha256:"):
        store.blob(image, Descriptor("x", Digest.of(b"none"), 4), 100, soon())
    with pytest.raises(RegistryError) as raised:
        store.blob(image, Descriptor("x", Digest.of(b"blob"), 4), 3, soon())
    assert raised.value.reason is Reason.LIMIT_EXCEEDED


def test_a_copy_that_was_broken_off_is_no_layout_and_can_be_taken_up_again(tmp_path: Path) -> None:
    LayoutWriter(tmp_path).blob(Digest.of(b"blob"), b"blob")
    with pytest.raises(UsageError, match="is no OCI image layout"):
        LayoutStore(tmp_path)
    writer = LayoutWriter(tmp_path)
    writer.manifest(described(IMAGE), IMAGE, "a/b:1")
    writer.close()
    assert len(LayoutStore(tmp_path).entries) == 1


def test_a_layout_is_added_to(layout: Path) -> None:
    more = manifest(annotations={"x": "y"})
    writer = LayoutWriter(layout)
    writer.manifest(described(more), more, "registry.example/more:v2")
    writer.close()
    names = [name_of(entry) for entry in LayoutStore(layout).entries]
    assert names == ["registry.example/app:v1", "", "", "registry.example/more:v2"]


@pytest.mark.parametrize(
    ("mark", "index"),
    [
        ('{"imageLayoutVersion":"2.0.0"}', '{"manifests":[]}'),
        ("[]", '{"manifests":[]}'),
        ('{"imageLayoutVersion":"1.0.0"}', '{"manifests":{}}'),
        ('{"imageLayoutVersion":"1.0.0"}', "[]"),
        ('{"imageLayoutVersion":"1.0.0"}', '{"manifests":[{"digest":"x"}]}'),
        ('{"imageLayoutVersion":"1.0.0"}', "no json"),
    ],
)
def test_what_is_no_layout(tmp_path: Path, mark: str, index: str) -> None:
    (tmp_path / "oci-layout").write_text(mark)
    (tmp_path / "index.json").write_text(index)
    with pytest.raises(UsageError, match="is no OCI image layout"):
        LayoutStore(tmp_path)
    with pytest.raises(UsageError, match="is no OCI image layout"):
        LayoutWriter(tmp_path)
