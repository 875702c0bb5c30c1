"""Answers of remote directory sources in an SQLite file of their own, beside the mail database and never part of its commits.

A file that is not what we write (older shape, damaged) is emptied: it holds nothing that cannot be asked again. The number of
answers is bounded: the oldest go first. Written without waiting for the disk: a power cut costs answers, not the file.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from pathlib import Path

from mssante.errors import OperatorFault
from mssante.lang import say
from mssante.storage.remotecache import KeptAnswer
from mssante.storage.sql.values import instant, micros, storable

SHAPE = 1
MAX_DOCUMENT = 65536
TRIM_EVERY = 500  # writes between two looks at the number of answers

_TABLE = """CREATE TABLE IF NOT EXISTS answer (
    source TEXT NOT NULL, address TEXT NOT NULL, found INTEGER NOT NULL, document TEXT NOT NULL, at INTEGER NOT NULL,
    PRIMARY KEY (source, address)) WITHOUT ROWID"""
_INDEX = "CREATE INDEX IF NOT EXISTS answer_by_age ON answer (at)"


class SqliteAnswerCache:
    """`mssante.storage.remotecache.AnswerCache`."""

    def __init__(self, path: Path, most: int) -> None:
        """most: answers kept. Raises OperatorFault (`ANNUAIRE-CACHE`)."""
        self._path = path
        self._most = most
        self._writes = 0
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._connection = self._opened()
            except sqlite3.DatabaseError:
                for suffix in ("", "-wal", "-shm", "-journal"):
                    with contextlib.suppress(FileNotFoundError):
                        path.with_name(path.name + suffix).unlink()
                self._connection = self._opened()
        except (OSError, sqlite3.Error) as exc:
            raise _fault(exc) from exc

    def _opened(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=2.0, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = OFF")
            if connection.execute("PRAGMA user_version").fetchone()[0] != SHAPE:
                connection.execute("DROP TABLE IF EXISTS answer")
            connection.execute(_TABLE)
            connection.execute(_INDEX)
            connection.execute(f"PRAGMA user_version = {SHAPE}")
        except BaseException:
            connection.close()
            raise
        return connection

    def get(self, source: str, address: str) -> KeptAnswer | None:
        """Give what is kept."""
        try:
            with self._lock:
                row = self._connection.execute("SELECT found, document, at FROM answer WHERE source = ? AND address = ?",
                                               (source, address)).fetchone()
        except sqlite3.Error as exc:
            raise _fault(exc) from exc
        return KeptAnswer(bool(row[0]), str(row[1]), instant(int(row[2]))) if row is not None else None

    def put(self, source: str, address: str, answer: KeptAnswer) -> None:
        """Keep an answer; one too large to keep is not kept."""
        if len(answer.document) > MAX_DOCUMENT:
            return
        try:
            with self._lock:
                self._connection.execute(
                    "INSERT OR REPLACE INTO answer (source, address, found, document, at) VALUES (?, ?, ?, ?, ?)",
                    (source, storable(address, 320), int(answer.found), storable(answer.document, MAX_DOCUMENT),
                     micros(answer.at)))
                self._writes += 1
                if self._writes % min(TRIM_EVERY, self._most) == 0:
                    self._trim()
        except sqlite3.Error as exc:
            raise _fault(exc) from exc

    def _trim(self) -> None:
        excess = self._connection.execute("SELECT count(*) FROM answer").fetchone()[0] - self._most
        if excess > 0:
            self._connection.execute("DELETE FROM answer WHERE (source, address) IN "
                                     "(SELECT source, address FROM answer ORDER BY at LIMIT ?)", (excess,))

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()


def _fault(exc: Exception) -> OperatorFault:
    return OperatorFault(say("le cache de l'annuaire ne répond pas", "the directory cache does not answer"),
                         detail=type(exc).__name__, rule="ANNUAIRE-CACHE")
