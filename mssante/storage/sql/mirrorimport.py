"""Takes an extraction into the mirror: one pass into a staging file, guards, then one transaction with what changed.

- Rows that are known already are only marked as seen (one bit each); new ones wait in `staging.db` until the whole file is read.
- Guards before anything changes: the stamp must be newer than the one in force, the rows not fewer by more than the policy says.
- The differences are by address: added, removed, changed. Addresses that left are remembered with the stamp that says so.
- One import at a time (a lock file); killed at any moment it leaves the state in force.
Called by `storage.sql.mirror`. The keeper and the command line choose the file.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import BinaryIO

from mssante.directory.extraction import Extraction, entry_of, stamp_of
from mssante.directory.words import entry_words, sort_key
from mssante.errors import InputFault, OperatorFault
from mssante.lang import say
from mssante.storage.mirror import Adoption, ImportRequest, MirrorPolicy, Progress
from mssante.storage.sql.mirrorfile import open_for_writing
from mssante.storage.sql.values import instant, micros

_BATCH = 2000
_PROGRESS_ROWS = 5000
_ADOPTION = "SELECT id, stamp, at, name, sha256, rows, added, removed, changed, repeated, first FROM adoption"
_LATEST = f"{_ADOPTION} ORDER BY id DESC LIMIT 1"


def latest(connection: sqlite3.Connection) -> Adoption | None:
    """Give the file in force."""
    row = connection.execute(_LATEST).fetchone()
    if row is None:
        return None
    number, stamp, at, name, sha256, rows, added, removed, changed, repeated, first = row
    return Adoption(number, instant(stamp), instant(at), name, sha256, rows, added, removed, changed, repeated, bool(first))


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(folder / "import.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise OperatorFault(say("un autre import est en cours", "another import is under way"), rule="MIROIR-OCCUPE",
                                remedy=say("attendez sa fin", "wait for its end")) from exc
        yield
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    for suffix in ("", "-journal", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _sha256(stream: BinaryIO) -> str:
    found = hashlib.sha256()
    while part := stream.read(1024 * 1024):
        found.update(part)
    stream.seek(0)
    return found.hexdigest()


def adopt(path: Path, request: ImportRequest, policy: MirrorPolicy) -> Adoption | None:
    """Take a file in; None when it is the one in force. Raises InputFault, OperatorFault, sqlite3.Error, OSError."""
    with _alone(path.parent), request.path.open("rb") as stream, contextlib.closing(open_for_writing(path)) as connection:
        staging = path.with_name("staging.db")
        _remove(staging)
        before = latest(connection)
        sha256 = _sha256(stream)
        if before is not None and before.sha256 == sha256:
            return None
        extraction = Extraction(stream, policy.limits)
        stamp = stamp_of(request.name) or stamp_of(extraction.name)
        if stamp is None:
            raise InputFault(say("le nom du fichier ne dit pas sa date", "the name of the file does not tell its date"),
                             rule="MIROIR-DATE", remedy="Extraction_Correspondance_MSSante_AAAAMMJJhhmm.txt")
        _guard_stamp(before, stamp, request)
        connection.execute("ATTACH ? AS staging", (str(staging),))
        try:
            run = _Run(connection, request, before, stamp)
            run.read(extraction)
            run.guard_shrink(policy)
            return run.commit(policy, extraction.name or request.path.name, sha256)
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            connection.execute("DETACH staging")
            _remove(staging)


def _guard_stamp(before: Adoption | None, stamp: datetime, request: ImportRequest) -> None:
    if request.force:
        return
    if before is not None and stamp < before.stamp:
        raise InputFault(say("extraction plus ancienne que celle en service", "extraction older than the one in force"),
                         detail=f"{stamp:%Y-%m-%d %H:%M} < {before.stamp:%Y-%m-%d %H:%M}", rule="MIROIR-RECUL",
                         remedy=say("prenez la dernière extraction, ou --force", "take the latest one, or --force"))
    if stamp > request.now + timedelta(days=2):
        raise InputFault(say("extraction datée de l'avenir", "extraction dated in the future"), detail=f"{stamp:%Y-%m-%d %H:%M}",
                         rule="MIROIR-AVENIR", remedy=say("vérifiez l'horloge, ou --force", "check the clock, or --force"))


@dataclass(slots=True)
class _Differences:
    added: set[str]
    removed: set[str]
    changed: set[str]


class _Run:
    """One import. staged: digests of new rows, unique by the staging table."""

    def __init__(self, connection: sqlite3.Connection, request: ImportRequest, before: Adoption | None, stamp: datetime) -> None:
        self._db = connection
        self._request = request
        self._before = before
        self._stamp = stamp
        self._seen = bytearray((connection.execute("SELECT max(id) FROM entry").fetchone()[0] or 0) + 1)
        self._rows = self._repeated = 0
        for statement in ("PRAGMA staging.journal_mode=OFF", "PRAGMA staging.synchronous=OFF", "PRAGMA staging.cache_size=-16000",
                          "CREATE TABLE staging.fresh(digest INTEGER PRIMARY KEY, sort TEXT NOT NULL, packed TEXT NOT NULL)"):
            connection.execute(statement)

    def read(self, extraction: Extraction) -> None:
        """Stage what is new, mark what is known."""
        progress: Progress = self._request.progress or (lambda done, total: None)
        batch: list[tuple[int, str]] = []
        for packed in extraction.rows():
            digest = int.from_bytes(hashlib.blake2b(packed.encode(), digest_size=8).digest(), "big", signed=True)
            batch.append((digest, packed))
            if len(batch) >= _BATCH:
                self._stage(batch)
                batch.clear()
            if extraction.count % _PROGRESS_ROWS == 0:
                progress(extraction.done, extraction.total)
        self._stage(batch)
        progress(extraction.done, extraction.total or extraction.done)
        if not self._rows:
            raise InputFault(say("extraction sans aucune ligne", "extraction without any row"), rule="EXTRACTION-VIDE",
                             remedy=say("téléchargez-la à nouveau", "download it again"))

    def _stage(self, batch: list[tuple[int, str]]) -> None:
        self._rows += len(batch)
        fresh = []
        for digest, packed in batch:
            known = None
            if self._before is not None:
                known = self._db.execute("SELECT id FROM main.entry WHERE digest = ?", (digest,)).fetchone()
            if known is None:
                fresh.append((digest, sort_key(entry_of(packed)), packed))
            else:
                self._repeated += self._seen[known[0]]
                self._seen[known[0]] = 1
        if fresh:
            self._db.execute("BEGIN")
            stored = self._db.executemany("INSERT OR IGNORE INTO staging.fresh VALUES (?, ?, ?)", fresh).rowcount
            self._db.execute("COMMIT")
            self._repeated += len(fresh) - stored

    def guard_shrink(self, policy: MirrorPolicy) -> None:
        """Refuse a file that lost too many rows. Raises InputFault (`MIROIR-RETRECI`)."""
        held = self._before.rows if self._before is not None else 0
        if not self._request.force and self._rows < held * (1 - policy.shrink_percent / 100):
            raise InputFault(say("l'extraction a perdu trop de lignes", "the extraction lost too many rows"),
                             detail=f"{held} -> {self._rows}, directory.shrink_percent = {policy.shrink_percent:g}",
                             rule="MIROIR-RETRECI", remedy=say("vérifiez-la ; juste : directory import FICHIER --force",
                                                               "check it; if right: directory import FILE --force"))

    # -------------------------------------------------------------------------------------- the transaction

    def commit(self, policy: MirrorPolicy, name: str, sha256: str) -> Adoption:
        """Apply what changed, in one transaction."""
        self._db.execute("BEGIN IMMEDIATE")
        gone = self._gone()
        found = self._differences(gone)
        first = self._before is None
        number = (self._before.id if self._before is not None else 0) + 1
        adoption = Adoption(number, self._stamp, self._request.now, name[:200], sha256, self._rows, len(found.added),
                            len(found.removed), len(found.changed), self._repeated, first)
        counts: Counter[str] = Counter()
        self._take_out(gone, counts)
        self._put_in(adoption.id, counts, fresh_mirror=first)
        self._count(counts)
        if first:
            added, = self._db.execute("SELECT count(DISTINCT address) FROM main.entry").fetchone()
            adoption = replace(adoption, added=added)
        self._tell(adoption, found, policy)
        self._db.execute("COMMIT")
        with contextlib.suppress(sqlite3.OperationalError):  # a reader holds an old state: the next import empties the log
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return adoption

    def _gone(self) -> list[tuple[int, str, str]]:
        seen = self._seen
        if seen.count(0) <= 1:
            return []
        return [(one, address, packed) for one, address, packed in self._db.execute("SELECT id, address, packed FROM main.entry")
                if not seen[one]]

    def _differences(self, gone: Iterable[tuple[int, str, str]]) -> _Differences:
        if self._before is None:
            return _Differences(set(), set(), set())
        left = Counter(address for _, address, _ in gone)
        came = {packed.split("|", 2)[1] for packed, in self._db.execute("SELECT packed FROM staging.fresh")}
        found = _Differences(set(), set(), set())
        for address in left.keys() | came:
            held, = self._db.execute("SELECT count(*) FROM main.entry WHERE address = ?", (address,)).fetchone()
            if not held:
                found.added.add(address)
            elif held == left[address] and address not in came:
                found.removed.add(address)
            else:
                found.changed.add(address)
        return found

    def _take_out(self, gone: Iterable[tuple[int, str, str]], counts: Counter[str]) -> None:
        for one, _, packed in gone:
            words = entry_words(entry_of(packed))
            counts.subtract(words)
            self._db.execute("INSERT INTO find(find, rowid, words) VALUES ('delete', ?, ?)", (one, " ".join(words)))
            self._db.execute("DELETE FROM main.entry WHERE id = ?", (one,))

    def _put_in(self, adoption: int, counts: Counter[str], *, fresh_mirror: bool) -> None:
        """In the order of names, so that the first rows found of many are in an order that means something."""
        if fresh_mirror:
            self._db.execute("INSERT INTO find(find, rank) VALUES ('hashsize', 33554432)")
        last = self._db.execute("SELECT max(id) FROM main.entry").fetchone()[0] or 0
        rows: list[tuple[int, int, str, str, str, int, str]] = []
        texts: list[tuple[int, str]] = []
        for number, (digest, packed) in enumerate(
                self._db.execute("SELECT digest, packed FROM staging.fresh ORDER BY sort, digest"), last + 1):
            entry = entry_of(packed)
            words = entry_words(entry)
            counts.update(words)
            rows.append((number, digest, entry.address, entry.holder_id, entry.structure_id, adoption, packed))
            texts.append((number, " ".join(words)))
            if len(rows) >= _BATCH:
                self._write(rows, texts)
        self._write(rows, texts)
        if fresh_mirror:
            self._db.execute("INSERT INTO find(find, rank) VALUES ('hashsize', 1048576)")
            self._db.execute("INSERT INTO find(find) VALUES ('optimize')")

    def _write(self, rows: list[tuple[int, int, str, str, str, int, str]], texts: list[tuple[int, str]]) -> None:
        self._db.executemany("INSERT INTO main.entry VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        self._db.executemany("INSERT INTO find(rowid, words) VALUES (?, ?)", texts)
        rows.clear()
        texts.clear()

    def _count(self, counts: Counter[str]) -> None:
        self._db.executemany("INSERT INTO main.word VALUES (?, ?) ON CONFLICT(term) DO UPDATE SET docs = docs + excluded.docs",
                             ((word, count) for word, count in sorted(counts.items()) if count))
        self._db.execute("DELETE FROM main.word WHERE docs <= 0")

    def _tell(self, adoption: Adoption, found: _Differences, policy: MirrorPolicy) -> None:
        """Write the adoption, its changes and who left; history is bounded."""
        stamp = micros(adoption.stamp)
        self._db.execute("INSERT INTO main.adoption VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (
            adoption.id, stamp, micros(adoption.at), adoption.name, adoption.sha256, adoption.rows, adoption.added,
            adoption.removed, adoption.changed, adoption.repeated, int(adoption.first)))
        for kind in ("added", "removed", "changed"):
            self._db.executemany("INSERT INTO main.change(stamp, kind, address) VALUES (?, ?, ?)",
                                 ((stamp, kind, address) for address in sorted(getattr(found, kind))))
        self._db.executemany("INSERT OR REPLACE INTO main.departed VALUES (?, ?)", ((one, stamp) for one in found.removed))
        self._db.executemany("DELETE FROM main.departed WHERE address = ?", ((one,) for one in found.added))
        oldest = micros(self._request.now - timedelta(days=policy.keep_days))
        self._db.execute("DELETE FROM main.change WHERE stamp < ?", (oldest,))
        self._db.execute("DELETE FROM main.departed WHERE stamp < ?", (oldest,))
        self._db.execute("DELETE FROM main.change WHERE id <= (SELECT max(id) FROM main.change) - ?", (policy.keep_changes,))
        self._db.execute("DELETE FROM main.adoption WHERE id <= ? - 1000", (adoption.id,))
