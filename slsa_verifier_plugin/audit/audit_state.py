"""What an audit has found so far, in one SQLite file (or in memory): for resuming, joining shards, and reporting."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from slsa_verifier_plugin.audit.audit_row import AuditRun, Row, Seen
from slsa_verifier_plugin.audit.image_sources import Use
from slsa_verifier_plugin.checking.status import Decision
from slsa_verifier_plugin.errors import UsageError
from slsa_verifier_plugin.registry.closing import Closeable
from slsa_verifier_plugin.text import plain, quoted, some_of

# Of the tables below. A state of another version is refused, never converted.
VERSION = "2"
MAX_SHOWN_SHARDS = 8
MAX_RUNS = 100
"""Commands that a joined state remembers; a report on more shards names the first ones."""
COMMIT_SECONDS = 1.0
"""How much work an audit that is killed may lose."""
_TABLES = {"meta", "uses", "images"}
_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS uses (
  image TEXT NOT NULL, namespace TEXT NOT NULL, workload TEXT NOT NULL, source TEXT NOT NULL, line INTEGER NOT NULL,
  PRIMARY KEY (image, namespace, workload, source, line)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS images (
  image TEXT PRIMARY KEY, resolved TEXT NOT NULL, decision TEXT NOT NULL, reason TEXT NOT NULL, message TEXT NOT NULL,
  levels TEXT NOT NULL, found TEXT NOT NULL, repository TEXT NOT NULL, revision TEXT NOT NULL, signer TEXT NOT NULL,
  seen TEXT NOT NULL
);
"""


def forget(path: Path) -> None:
    """Delete a state, of whatever policy; what is not there, or is empty, stays.

    Raises:
        UsageError: the file is something else, which is left alone, or is in use.
    """
    # Opened first: a file of somebody else is refused by that, and is not deleted.
    if path.is_file() and path.stat().st_size:
        AuditState(path).close()
        path.unlink()


class AuditState(Closeable):
    """The file. One process at a time writes to it; nothing of it is read into memory as a whole.

    Args:
        path: the file, made where it is missing; None for a state that is gone with the process.
        fingerprint: stands for the policy and the levels that are asked for.
        levels: their names, lowest first.
        readonly: True to leave the file as it is.

    Raises:
        UsageError: the file is something else, is in use, or was made with another policy.
    """

    def __init__(
        self,
        path: Path | None,
        fingerprint: str = "",
        levels: Iterable[str] = (),
        *,
        readonly: bool = False,
    ) -> None:
        self._path = path
        self._readonly = readonly
        self._committed = time.monotonic()
        # The name goes through as_uri: a "?" or "%" in a folder's name would be taken for one of SQLite's options.
        target = f"{path.absolute().as_uri()}?mode={'ro' if readonly else 'rwc'}" if path else ":memory:"
        with self._explained():
            # Half a second and no longer: another audit holds the file for the whole of its run.
            self._database = sqlite3.connect(target, timeout=0.5, uri=path is not None)
        try:
            with self._explained():
                self._open(fingerprint, tuple(levels))
        except UsageError:
            # Left open, SQLite would hold the file until the process ends.
            self._database.close()
            raise

    @property
    def fingerprint(self) -> str:
        """What stands for the policy."""
        return self._meta("fingerprint")

    @property
    def levels(self) -> tuple[str, ...]:
        """The names of the levels, lowest first."""
        return tuple(json.loads(self._meta("levels") or "[]"))

    def add_uses(self, uses: Iterable[Use]) -> None:
        """Note where images are used; what is known already is not noted twice."""
        self._run(
            # The key of the table is the whole row, so that a list read twice counts once.
            "INSERT OR IGNORE INTO uses VALUES (?, ?, ?, ?, ?)",
            ((use.image, use.namespace, use.workload, use.source, use.line) for use in uses),
        )

    @property
    def runs(self) -> tuple[AuditRun, ...]:
        """What was asked: the one run of this state's images, or those of all states that were joined."""
        return tuple(AuditRun.from_json(value) for value in self._list("runs"))

    def begin(
        self, uses: Iterable[Use], shard: tuple[int, int], run: Callable[[], AuditRun] | None = None
    ) -> None:
        """Take ``uses`` in the place of those of earlier runs, whose decisions stay.

        Where they cannot all be had, the state stays as it was.

        Args:
            uses: where images are used.
            shard: which part of how many they are.
            run: gives what was asked, for the report, once all uses are known.
        """
        try:
            # One transaction: a list that breaks off half-way would otherwise look like a smaller cluster.
            self._run("DELETE FROM uses", [()])
            self.add_uses(uses)
            self._set("shards", json.dumps([shard]))
            self._set("runs", json.dumps([run().to_json()] if run else []))
        # Ctrl-C too: half of a new list must not take the place of the old one.
        except BaseException:
            self._database.rollback()
            raise
        self.commit()

    def gaps(self) -> tuple[str, ...]:
        """Return, for people, what a whole audit would have beside what is here: shards, and lists that broke off."""
        by_count: dict[int, set[int]] = {}
        # States of several clusters may be cut into different numbers of shards; each number is a set of its own.
        for index, count in self._list("shards"):
            # An index beyond the count cannot be here: --shard refuses it.
            by_count.setdefault(count, set()).add(index)
        absent = [
            f"{index}/{count}"
            for count, seen in sorted(by_count.items())
            for index in range(count)
            if index not in seen
        ]
        shards = (f"without the shards {some_of(absent, MAX_SHOWN_SHARDS)}",) if absent else ()
        # A state whose list never ended says nothing about which shard it was to be.
        broken = (f"{quoted(name)} ended before its images were listed" for name in self._list("unlisted"))
        return (*shards, *broken)

    def pending(self) -> Iterator[str]:
        """Yield the images without a decision, in order; those that could not be decided are tried again."""
        # Ordered, so that a resumed audit goes on where it was and shards of one list agree.
        query = "SELECT DISTINCT image FROM uses WHERE image NOT IN (SELECT image FROM images WHERE decision <> ?) ORDER BY image"
        yield from (row[0] for row in self._query(query, str(Decision.UNDECIDED)))

    def put(self, row: Row) -> None:
        """Keep what became of an image."""
        # JSON in a column: SQLite has no lists, and nobody queries by these.
        levels = json.dumps({name: str(decision) for name, decision in row.levels.items()})
        decided = (row.image, row.resolved, str(row.decision), row.reason, row.message)
        seen = json.dumps(row.seen.to_json())
        self._put(*decided, levels, json.dumps(row.found), row.repository, row.revision, row.signer, seen)
        # A commit waits for the disk, so there is none for each image; an audit that is killed loses a second's work.
        if time.monotonic() - self._committed > COMMIT_SECONDS:
            self.commit()

    def rows(self) -> Iterator[Row]:
        """Yield every decided image with its uses: the denied first, then the undecided, then the admitted."""
        # What people came for stands first, also in a report that is cut off.
        order = "CASE decision WHEN 'denied' THEN 0 WHEN 'undecided' THEN 1 ELSE 2 END, image"
        # Decisions about images of earlier lists stay in the file and out of the report.
        query = f"SELECT * FROM images WHERE image IN (SELECT image FROM uses) ORDER BY {order}"  # noqa: S608
        places = "SELECT * FROM uses WHERE image = ? ORDER BY namespace, workload, source, line"
        for image, resolved, decision, reason, message, levels, found, *facts in self._query(query):
            # A value that no Decision has would be another version's; the version was looked at when the file was opened.
            by_level = {name: Decision(value) for name, value in json.loads(levels).items()}
            repository, revision, signer, seen = facts
            # The columns stand in the order of a row's fields.
            told = (reason, message, by_level, tuple(json.loads(found)), repository, revision, signer)
            uses = tuple(Use(*place) for place in self._query(places, image))
            yield Row(image, resolved, Decision(decision), *told, Seen.from_json(json.loads(seen)), uses)

    def counts(self) -> tuple[int, int]:
        """Return how many distinct images there are, and how many of them have a decision."""
        (total,) = next(self._query("SELECT COUNT(DISTINCT image) FROM uses"))
        (done,) = next(
            self._query(
                # What could not be decided is tried again, so it does not count as done.
                "SELECT COUNT(*) FROM images WHERE decision <> ? AND image IN (SELECT image FROM uses)",
                str(Decision.UNDECIDED),
            )
        )
        return total, done

    def join(self, other: Path) -> None:
        """Take over everything that another state holds; decisions outweigh what is undecided.

        Raises:
            UsageError: it is no state, or was made with another policy.
        """
        # SQLite would make the file, and an empty state would join without a word.
        if not other.is_file():
            raise UsageError(f"{quoted(str(other))} is no file")
        with AuditState(other, self.fingerprint, self.levels, readonly=True) as source:
            # The first state that is joined says which policy it is about; the others must have the same.
            if not self.fingerprint:
                self._set("fingerprint", source.fingerprint)
                self._set("levels", json.dumps(source.levels))
            self._join_parts(source, str(other))
            self.add_uses(Use(*row) for row in source._query("SELECT * FROM uses"))
            for row in source._query("SELECT * FROM images"):
                known = next(self._query("SELECT decision FROM images WHERE image = ?", row[0]), None)
                # What one shard could not decide another may have: a decision outweighs none, whatever the order of the files.
                if known is None or known[0] == Decision.UNDECIDED:
                    self._put(*row)

    def _join_parts(self, source: AuditState, name: str) -> None:
        """Note which shards are in, and which states do not know all of their images."""
        # A state without shards was opened and never got its list (``begin`` writes both at once).
        shards, unlisted = source._list("shards"), {*self._list("unlisted"), *source._list("unlisted")}
        # Joined again after it was resumed, a state that had broken off is whole now.
        unlisted = unlisted - {name} if shards else unlisted | {name}
        # A set: the same shard joined twice is one shard.
        known = {(index, count) for index, count in (*self._list("shards"), *shards)}
        self._set("shards", json.dumps(sorted(known)))
        self._set("unlisted", json.dumps(sorted(unlisted)))
        runs = self._list("runs")
        # Shards of one command differ in their number alone, and a state may be joined twice.
        runs += [run for run in source._list("runs") if run not in runs]
        self._set("runs", json.dumps(runs[:MAX_RUNS]))

    def commit(self) -> None:
        """Write to the file what has been kept so far."""
        # A merge must leave the states of others as they were, their times too.
        if self._readonly:
            return
        with self._explained():
            self._database.commit()
        self._committed = time.monotonic()

    def close(self) -> None:
        """Commit and close."""
        # Closed even where the last commit fails, as on a full disk: else the file would stay locked.
        try:
            self.commit()
        finally:
            self._database.close()

    def _open(self, fingerprint: str, levels: tuple[str, ...]) -> None:
        tables = {
            row[0] for row in self._database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        }
        # An empty database is a file that an earlier run made and did not get to write.
        if tables and not tables >= _TABLES:
            raise UsageError(f"{self._name()} is a database of something else; use another file")
        if not self._readonly:
            # IF NOT EXISTS: the tables of a state that is resumed stay.
            self._database.executescript(_SCHEMA)
            # A second audit on one file would count everything twice.
            self._database.execute("PRAGMA locking_mode = EXCLUSIVE")
            # Takes the lock now: the second audit fails at its start and not after an hour of work.
            self._database.execute("BEGIN IMMEDIATE")
        version, known = self._meta("version"), self._meta("fingerprint")
        # Read-only, a file without a version cannot become a state; it is somebody else's.
        if version not in ("", VERSION) or (self._readonly and not version):
            raise UsageError(f"{self._name()} was written by another version; begin with a new file")
        # Decisions of two policies in one report would be evidence of neither.
        if known and fingerprint and known != fingerprint:
            raise UsageError(
                f"{self._name()} was made with another policy; use another file, or --restart "
                "(a trusted root or key that the policy names is part of it)"
            )
        if not self._readonly:
            self._set("version", VERSION)
            # Empty where states are joined: the first of them says which policy it is.
            if fingerprint:
                self._set("fingerprint", fingerprint)
                self._set("levels", json.dumps(levels))
            # The lock outlives the commit: in exclusive mode SQLite keeps it until the file is closed.
            self._database.commit()

    def _put(self, *values: str) -> None:
        self._run("INSERT OR REPLACE INTO images VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", [values])

    def _meta(self, key: str) -> str:
        # Absent in a file that was made a moment ago.
        row = next(self._query("SELECT value FROM meta WHERE key = ?", key), None)
        return str(row[0]) if row else ""

    def _list(self, key: str) -> list[Any]:
        found: list[Any] = json.loads(self._meta(key) or "[]")
        return found

    def _set(self, key: str, value: str) -> None:
        self._run("INSERT OR REPLACE INTO meta VALUES (?, ?)", [(key, value)])

    def _query(self, statement: str, *values: str) -> Iterator[tuple[Any, ...]]:
        # Around the rows too: SQLite reads the file while they are drawn.
        with self._explained():
            yield from self._database.execute(statement, values)

    def _run(self, statement: str, rows: Iterable[tuple[Any, ...]]) -> None:
        with self._explained():
            self._database.executemany(statement, rows)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Raise ``UsageError`` for what SQLite raises in the block: its own words name no file."""
        try:
            yield
        except sqlite3.Error as error:
            said = plain(str(error))
            why = f"cannot be used: {said}; name another file"
            # What SQLite says where another process holds the file (SQLITE_BUSY).
            if "locked" in said:
                why = "is in use by another audit"
            elif "not a database" in said or "no such table" in said:
                why = "is no state that an audit wrote; name another file"
            # SQLite says only that it cannot open the file; a missing folder is the usual cause.
            elif self._path is not None and not self._path.absolute().parent.is_dir():
                why = "cannot be written: there is no folder for it; create that, or name another"
            raise UsageError(f"{self._name()} {why}") from error

    def _name(self) -> str:
        return f"the state {quoted(str(self._path))}" if self._path else "the audit's state"
