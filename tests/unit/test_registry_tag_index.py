"""An entry stays in a tag's index, whoever else writes it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import DeadlineError, Reason, RegistryError
from slsa_verifier_plugin.model.digest import Digest
from slsa_verifier_plugin.registry import tag_index
from slsa_verifier_plugin.registry.manifests import INDEX_TYPE
from slsa_verifier_plugin.registry.tag_index import MAX_INDEX, MAX_REFUSALS, Kept, keep_entry

IMAGE = b'{"an": "image"}'
SUBJECT = Digest.of(IMAGE)


def entry(name: str) -> dict[str, Any]:
    return {"mediaType": "m", "digest": str(Digest.of(name.encode())), "size": 1, "artifactType": "t"}


def index(*entries: Mapping[str, Any], **more: Any) -> bytes:
    return json.dumps({"schemaVersion": 2, "manifests": list(entries), **more}).encode()


class Place:
    """A tag on which others write between our reads and writes."""

    doing = "adding"

    def __init__(self, content: bytes | None = None, *, etags: bool = False, refuses: int = 0) -> None:
        self.content = content
        self.etags = etags
        self.refuses = refuses
        self.before_write: list[Callable[[], None]] = []
        self.after_write: list[Callable[[], None]] = []
        self.conditions: list[dict[str, str]] = []

    def read(self) -> Kept | None:
        if self.content is None:
            return None
        return Kept(self.content, f'"{Digest.of(self.content)}"' if self.etags else "")

    def write(self, content: bytes, condition: Mapping[str, str]) -> bool:
        if self.before_write:
            self.before_write.pop(0)()
        self.conditions.append(dict(condition))
        if self.refuses and condition:
            self.refuses -= 1
            return False
        if self.etags and "If-Match" in condition:
            assert self.content is not None
            if condition["If-Match"] != f'"{Digest.of(self.content)}"':
                return False
        self.content = content
        if self.after_write:
            self.after_write.pop(0)()
        return True

    def names(self) -> list[str]:
        assert self.content is not None
        return [item["digest"] for item in json.loads(self.content)["manifests"]]


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tag_index, "QUIET_SECONDS", 0.0)
    monkeypatch.setattr(tag_index, "QUIET_TIMES", 0.0)


def keep(place: Place, name: str = "own") -> None:
    keep_entry(place, entry(name), SUBJECT, Deadline(20), pause=lambda seconds: None)


def digests(*names: str) -> list[str]:
    return [str(entry(name)["digest"]) for name in names]


def test_a_new_index_holds_the_entry() -> None:
    place = Place()
    keep(place)
    assert place.content is not None
    value = json.loads(place.content)
    assert (value["mediaType"], value["manifests"]) == (INDEX_TYPE, [entry("own")])
    assert place.conditions == [{"If-None-Match": "*"}]


def test_what_was_there_stays_as_it_was() -> None:
    place = Place(index(entry("a"), annotations={"k": "v"}, subject=entry("s")))
    keep(place)
    assert place.content is not None
    value = json.loads(place.content)
    assert value["manifests"] == [entry("a"), entry("own")]
    assert (value["annotations"], value["subject"]) == ({"k": "v"}, entry("s"))


def test_an_empty_list_that_is_null_is_an_index() -> None:
    """Go writes an empty list so."""
    place = Place(b'{"schemaVersion":2,"manifests":null}')
    keep(place)
    assert place.names() == digests("own")


def test_an_entry_that_is_there_is_not_written_again() -> None:
    place = Place(index(entry("own"), entry("a")))
    keep(place)
    assert place.conditions == []


def test_an_entry_of_the_same_digest_is_replaced_where_it_differs() -> None:
    place = Place(index({**entry("own"), "artifactType": None}, entry("a")))
    keep(place)
    assert place.names() == digests("a", "own")


def test_a_tag_that_is_the_image_itself_holds_nothing() -> None:
    """GitLab resolves the fallback tag to the image; an image index must not get another platform by it."""
    for image in (IMAGE, index(entry("platform"))):
        place = Place(image)
        keep_entry(place, entry("own"), Digest.of(image), Deadline(20), pause=lambda seconds: None)
        assert place.names() == digests("own")


@pytest.mark.parametrize(
    "content",
    [b"x", b"[]", b"{}", b'{"manifests": {}}', b'{"manifests": [1]}', b"{" * 9, b" " * (MAX_INDEX + 1)],
)
def test_what_is_no_index_is_left_alone(content: bytes) -> None:
    place = Place(content)
    with pytest.raises(RegistryError, match="is no index"):
        keep(place)
    assert (place.content, place.conditions) == (content, [])


def test_an_index_without_room_is_left_alone() -> None:
    full = index(entry("a"), annotations={"k": "x" * (MAX_INDEX - 300)})
    place = Place(full)
    with pytest.raises(RegistryError) as raised:
        keep(place)
    assert (raised.value.reason, place.content) == (Reason.LIMIT_EXCEEDED, full)


@pytest.mark.parametrize("etags", [True, False])
def test_who_writes_between_our_reading_and_writing_loses_nothing(etags: bool) -> None:
    place = Place(index(entry("a")), etags=etags)

    def other() -> None:
        assert place.content is not None
        place.content = index(*json.loads(place.content)["manifests"], entry("b"))

    place.before_write = [other]
    keep(place)
    # Without a condition the other one finds itself overwritten, and writes again: that is what this client does, below.
    assert place.names() == digests("a", "b", "own") if etags else digests("a", "own")


def test_who_is_overwritten_writes_again_what_was_lost() -> None:
    place = Place(index(entry("a")))

    def overwrite() -> None:
        place.content = index(entry("late"))

    place.after_write = [overwrite, overwrite]
    keep(place)
    assert sorted(place.names()) == sorted(digests("a", "late", "own"))


def test_the_tag_is_watched_until_nobody_changes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tag_index, "QUIET_SECONDS", 0.05)
    place, pauses = Place(), []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            place.content = index(entry("late"))  # who has read before we wrote, and was slow

    keep_entry(place, entry("own"), SUBJECT, Deadline(20), pause=pause)
    assert sorted(place.names()) == sorted(digests("late", "own"))


@pytest.mark.parametrize("content", [None, index(entry("a"))])
def test_a_registry_that_refuses_every_condition_gets_none(content: bytes | None) -> None:
    place = Place(content, etags=True, refuses=99)
    keep(place)
    assert digests("own")[0] in place.names()
    assert len(place.conditions) == MAX_REFUSALS + 1
    assert place.conditions[-1] == {}


def test_weak_entity_tags_are_no_condition(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(index(entry("a")))
    monkeypatch.setattr(place, "read", lambda: Kept(place.content or b"", 'W/"x"'))
    keep(place)
    assert place.conditions == [{}]


def test_failures_that_pass_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    place, failures = Place(index(entry("a"))), [True] * 5
    read = place.read

    def reads() -> Kept | None:
        if failures and failures.pop():
            raise RegistryError("HTTP 500", transient=True)
        return read()

    monkeypatch.setattr(place, "read", reads)
    keep(place)
    assert place.names() == digests("a", "own")


def test_failures_that_last_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place()

    def reads() -> Kept | None:
        raise RegistryError("HTTP 403", reason=Reason.REGISTRY_FORBIDDEN)

    monkeypatch.setattr(place, "read", reads)
    with pytest.raises(RegistryError, match="403"):
        keep(place)


def test_an_index_that_is_not_there_for_a_moment_is_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    place, answers = Place(index(entry("a"))), [None]
    read = place.read
    monkeypatch.setattr(place, "read", lambda: answers.pop() if answers else read())
    keep(place)
    assert place.names() == digests("a", "own")


def test_hostile_entries_harm_nothing() -> None:
    odd: list[Any] = [{"digest": ["x"]}, {"digest": {"a": 1}}, {"digest": None}, {}]
    place = Place(index(*odd))
    keep(place)
    assert place.content is not None
    assert json.loads(place.content)["manifests"] == [*odd, entry("own")]


def test_it_ends_in_time() -> None:
    place = Place()

    class Forgetful(Place):
        def write(self, content: bytes, condition: Mapping[str, str]) -> bool:
            return True

    place = Forgetful()
    with pytest.raises(DeadlineError):
        keep_entry(place, entry("own"), SUBJECT, Deadline(0.2))
