"""An audit's state: kept, resumed, joined; and what its rows amount to."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from slsa_verifier_plugin.audit import audit_state
from slsa_verifier_plugin.audit.audit_row import Row
from slsa_verifier_plugin.audit.audit_state import AuditState, forget
from slsa_verifier_plugin.audit.audit_summary import NO_LEVEL, NO_NAMESPACE, UNDECIDED, summary_of
from slsa_verifier_plugin.audit.auditor import in_shard
from slsa_verifier_plugin.audit.image_sources import Use
from slsa_verifier_plugin.checking.status import Decision
from slsa_verifier_plugin.errors import UsageError

LEVELS = ("SLSA_SOURCE_LEVEL_1", "SLSA_SOURCE_LEVEL_2")
ADMITTED, DENIED, OPEN = Decision.ADMITTED, Decision.DENIED, Decision.UNDECIDED


def row(image: str, decision: Decision = ADMITTED, one: Decision = ADMITTED, two: Decision = ADMITTED) -> Row:
    reason = {ADMITTED: "VERIFIED", DENIED: "LEVEL_TOO_LOW", OPEN: "REGISTRY_ERROR"}[decision]
    return Row(
        image,
        f"{image}@sha256:x",
        decision,
        reason,
        "a message",
        dict(zip(LEVELS, (one, two), strict=True)),
        ("SLSA_SOURCE_LEVEL_2",),
        "git+https://x",
        "c" * 40,
        "signer",
    )


GOOD, LOW, LOST = row("good"), row("low", DENIED, ADMITTED, DENIED), row("lost", OPEN, OPEN, OPEN)


def state(path: Path | None, *rows: Row, fingerprint: str = "f") -> AuditState:
    made = AuditState(path, fingerprint, LEVELS)
    made.add_uses(Use(item.image, "ns", f"Pod/{item.image}") for item in rows)
    for item in rows:
        made.put(item)
    return made


def test_rows_come_back_whole_and_the_worst_first(tmp_path: Path) -> None:
    with state(tmp_path / "a.db", GOOD, LOW, LOST) as kept:
        kept.add_uses([Use("good", "other", "Pod/x", "f.yaml", 3)])
    with AuditState(tmp_path / "a.db", "f", LEVELS) as read:
        rows = list(read.rows())
        assert [item.image for item in rows] == ["low", "lost", "good"]
        assert replace(rows[2], uses=()) == GOOD
        assert rows[2].uses == (Use("good", "ns", "Pod/good"), Use("good", "other", "Pod/x", "f.yaml", 3))
        assert (rows[0].highest, rows[2].highest, rows[1].highest) == (LEVELS[0], LEVELS[1], "")
        assert (read.fingerprint, read.levels) == ("f", LEVELS)


def test_what_is_undecided_is_pending_again(tmp_path: Path) -> None:
    with state(tmp_path / "a.db", GOOD, LOST) as kept:
        kept.add_uses([Use("new"), Use("new", "twice")])
        assert list(kept.pending()) == ["lost", "new"]
        assert kept.counts() == (3, 1)
        kept.put(replace(LOST, decision=ADMITTED))
        assert list(kept.pending()) == ["new"]


def test_images_that_are_not_asked_for_any_more_are_not_reported(tmp_path: Path) -> None:
    with state(None, GOOD) as kept:
        kept.put(LOW)
        assert [item.image for item in kept.rows()] == ["good"]


def test_another_policy_is_refused(tmp_path: Path) -> None:
    state(tmp_path / "a.db", GOOD).close()
    with pytest.raises(UsageError, match="was made with another policy; use another file, or --restart"):
        AuditState(tmp_path / "a.db", "other", LEVELS)


def test_one_audit_at_a_time(tmp_path: Path) -> None:
    with state(tmp_path / "a.db", GOOD), pytest.raises(UsageError, match="is in use by another audit"):
        AuditState(tmp_path / "a.db", "f", LEVELS)


@pytest.mark.parametrize(
    "content",
    [b"not a database, but long enough to be looked at " * 40, b"SQLite format 3\0" + b"\xff" * 200],
)
def test_another_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="is no state that an audit wrote"):
        AuditState(path, "f", LEVELS)
    assert path.read_bytes() == content


def test_a_folder_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no folder for it"):
        AuditState(tmp_path / "missing" / "a.db", "f", LEVELS)


def test_a_later_versions_state_is_refused(tmp_path: Path) -> None:
    state(tmp_path / "a.db", GOOD).close()
    database = sqlite3.connect(tmp_path / "a.db")
    database.execute("UPDATE meta SET value = '9' WHERE key = 'version'")
    database.commit()
    database.close()
    with pytest.raises(UsageError, match="written by another version"):
        AuditState(tmp_path / "a.db", "f", LEVELS)


def test_what_a_kill_may_lose_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_state, "COMMIT_SECONDS", 0.0)
    kept = state(tmp_path / "a.db", GOOD)
    # As after SIGKILL: nothing is closed, and another process looks at the file.
    copy = tmp_path / "copy.db"
    copy.write_bytes((tmp_path / "a.db").read_bytes())
    kept.close()
    with AuditState(copy, "f", LEVELS) as read:
        assert [item.image for item in read.rows()] == ["good"]


def test_states_are_joined_and_a_decision_outweighs_none(tmp_path: Path) -> None:
    state(tmp_path / "a.db", GOOD, replace(LOW, decision=OPEN)).close()
    state(tmp_path / "b.db", LOW, LOST).close()
    before = (tmp_path / "a.db").read_bytes()
    with AuditState(tmp_path / "all.db") as joined:
        for name in ("a.db", "b.db"):
            joined.join(tmp_path / name)
        assert [(item.image, item.decision) for item in joined.rows()] == [
            ("low", DENIED),
            ("lost", OPEN),
            ("good", ADMITTED),
        ]
        assert (joined.fingerprint, joined.levels) == ("f", LEVELS)
        # Once more changes nothing.
        joined.join(tmp_path / "a.db")
        assert joined.counts() == (3, 2)
    assert (tmp_path / "a.db").read_bytes() == before


def test_states_of_two_policies_are_not_joined(tmp_path: Path) -> None:
    state(tmp_path / "a.db", GOOD).close()
    state(tmp_path / "b.db", LOW, fingerprint="g").close()
    with AuditState(None) as joined:
        joined.join(tmp_path / "a.db")
        with pytest.raises(UsageError, match="another policy"):
            joined.join(tmp_path / "b.db")
        with pytest.raises(UsageError, match="is no file"):
            joined.join(tmp_path / "missing.db")
        (tmp_path / "empty.db").touch()
        with pytest.raises(UsageError, match="is no state that an audit wrote"):
            joined.join(tmp_path / "empty.db")
    assert (tmp_path / "empty.db").read_bytes() == b""


def test_a_run_takes_the_place_of_the_uses_before_and_keeps_decisions(tmp_path: Path) -> None:
    with AuditState(tmp_path / "a.db", "f", LEVELS) as kept:
        kept.begin([Use("good"), Use("low")], (0, 1))
        kept.put(GOOD)
        kept.put(LOW)
        kept.begin([Use("good"), Use("new")], (0, 1))
        assert [item.image for item in kept.rows()] == ["good"]
        assert list(kept.pending()) == ["new"]

        def breaks_off() -> Iterator[Use]:
            yield Use("other")
            raise UsageError("a registry that cannot be listed")

        with pytest.raises(UsageError, match="cannot be listed"):
            kept.begin(breaks_off(), (0, 1))
        assert kept.counts() == (2, 1)


def test_absent_shards_and_lists_that_broke_off_are_named(tmp_path: Path) -> None:
    for index in (0, 2):
        with AuditState(tmp_path / f"{index}.db", "f", LEVELS) as part:
            part.begin([Use(f"image{index}")], (index, 4))
    # As where it is killed before it has listed its images.
    state(tmp_path / "1.db", GOOD).close()
    broken = tmp_path / "1.db"
    with AuditState(tmp_path / "all.db") as joined:
        for index in (0, 1, 2):
            joined.join(tmp_path / f"{index}.db")
        assert joined.gaps() == (
            "without the shards 1/4, 3/4",
            f'"{broken}" ended before its images were listed',
        )
    with AuditState(None) as again:
        again.join(tmp_path / "all.db")
        assert len(again.gaps()) == 2
        for index in (1, 3):
            with AuditState(tmp_path / f"{index}.db", "f", LEVELS) as part:
                part.begin([Use(f"image{index}")], (index, 4))
            again.join(tmp_path / f"{index}.db")
        assert again.gaps() == ()


def test_only_a_state_is_forgotten(tmp_path: Path) -> None:
    state(tmp_path / "a.db", GOOD, fingerprint="another policy's").close()
    forget(tmp_path / "a.db")
    assert not (tmp_path / "a.db").exists()
    forget(tmp_path / "missing.db")
    text = tmp_path / "notes.txt"
    text.write_text("precious " * 400)
    database = sqlite3.connect(tmp_path / "other.db")
    database.execute("CREATE TABLE bookmarks (url TEXT)")
    database.commit()
    database.close()
    before = (tmp_path / "other.db").read_bytes()
    for path, expected in (
        (text, "is no state that an audit wrote"),
        (tmp_path / "other.db", "a database of something else"),
    ):
        for touch in (forget, AuditState):
            with pytest.raises(UsageError, match=expected):
                touch(path)
    assert text.read_text() == "precious " * 400
    assert (tmp_path / "other.db").read_bytes() == before
    with state(tmp_path / "b.db", GOOD), pytest.raises(UsageError, match="in use by another audit"):
        forget(tmp_path / "b.db")


def test_every_image_is_in_exactly_one_shard() -> None:
    images = [f"registry.example/app:{number}" for number in range(500)]
    shards = [[image for image in images if in_shard(image, index, 4)] for index in range(4)]
    assert sorted(image for shard in shards for image in shard) == sorted(images)
    assert all(80 < len(shard) < 170 for shard in shards)
    assert all(in_shard(image, 0, 1) for image in images)


def test_the_summary_counts_images_and_their_highest_levels() -> None:
    rows = [
        replace(GOOD, uses=(Use("good", "shop", "Pod/a"), Use("good", "shop", "Pod/b"), Use("good", "bank"))),
        replace(LOW, uses=(Use("low", "shop"),)),
        replace(row("none", DENIED, DENIED, DENIED), uses=(Use("none"),)),
        replace(LOST, uses=(Use("lost", "bank"),)),
    ]
    summary = summary_of(rows, "p", LEVELS, datetime(2026, 1, 1, tzinfo=UTC))
    assert (summary.images, summary.uses, summary.missing) == (4, 6, 0)
    assert summary.decisions == Counter({ADMITTED: 1, DENIED: 2, OPEN: 1})
    assert summary.by_level[LEVELS[0]] == Counter({ADMITTED: 2, DENIED: 1, OPEN: 1})
    assert summary.by_level[LEVELS[1]] == Counter({ADMITTED: 1, DENIED: 2, OPEN: 1})
    assert summary.by_reason == Counter({"LEVEL_TOO_LOW": 2, "REGISTRY_ERROR": 1})
    assert list(summary.by_namespace) == [NO_NAMESPACE, "bank", "shop"]
    assert summary.by_namespace["shop"] == Counter({LEVELS[1]: 1, LEVELS[0]: 1})
    assert summary.by_namespace["bank"] == Counter({LEVELS[1]: 1, UNDECIDED: 1})
    assert summary.by_namespace[NO_NAMESPACE] == Counter({NO_LEVEL: 1})
