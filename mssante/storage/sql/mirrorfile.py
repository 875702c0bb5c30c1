"""The file of the directory's mirror: its tables and how it is opened. One SQLite file with FTS5, beside the mail database.

- WAL: an import is one transaction; readers of any process keep the state that they saw until it commits, and a killed import
  leaves nothing. What is being staged stands in a file of its own that nobody reads.
- `entry`: one row of the extraction, packed; `word`: in how many entries each word stands; `find`: the words (contentless FTS5,
  rows only, prefixes of 1 to 4 characters ready); `departed`: addresses that left; `change`: what each file changed.
Called by the other `mirror*` modules.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from mssante.errors import OperatorFault
from mssante.lang import say

VERSION = 1
BUSY_SECONDS = 20.0
_SCHEMA = (
    "CREATE TABLE adoption(id INTEGER PRIMARY KEY, stamp INTEGER NOT NULL, at INTEGER NOT NULL, name TEXT NOT NULL,"
    " sha256 TEXT NOT NULL, rows INTEGER NOT NULL, added INTEGER NOT NULL, removed INTEGER NOT NULL, changed INTEGER NOT NULL,"
    " repeated INTEGER NOT NULL, first INTEGER NOT NULL)",
    "CREATE TABLE entry(id INTEGER PRIMARY KEY, digest INTEGER NOT NULL, address TEXT NOT NULL, holder TEXT NOT NULL,"
    " structure TEXT NOT NULL, adoption INTEGER NOT NULL, packed TEXT NOT NULL)",
    "CREATE UNIQUE INDEX entry_by_digest ON entry(digest)",
    "CREATE INDEX entry_by_address ON entry(address)",
    "CREATE INDEX entry_by_holder ON entry(holder) WHERE holder <> ''",
    "CREATE INDEX entry_by_structure ON entry(structure) WHERE structure <> ''",
    "CREATE TABLE word(term TEXT PRIMARY KEY, docs INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE VIRTUAL TABLE find USING fts5(words, content='', columnsize=0, detail=none, prefix='1 2 3 4', tokenize='ascii')",
    "CREATE TABLE departed(address TEXT PRIMARY KEY, stamp INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE change(id INTEGER PRIMARY KEY, stamp INTEGER NOT NULL, kind TEXT NOT NULL, address TEXT NOT NULL)",
    "CREATE INDEX change_by_stamp ON change(stamp)",
)
TABLES = ("adoption", "entry", "word", "find", "departed", "change")


def storage_fault(error: sqlite3.Error | OSError) -> OperatorFault:
    """Give our fault for what SQLite or the disk did."""
    return OperatorFault(say("le miroir de l'annuaire est inaccessible", "the directory mirror cannot be used"),
                         detail=f"{type(error).__name__}: {error}"[:200], rule="MIROIR-FICHIER",
                         remedy=say("place et droits du dossier `directory.folder` ; au besoin effacez mirror.db et "
                                    "reprenez le fichier", "room on the disk and rights of `directory.folder`; delete mirror.db "
                                    "and import again if need be"))


def open_for_writing(path: Path) -> sqlite3.Connection:
    """Open the file, made when it is not there, emptied when it is of another version. Raises sqlite3.Error, OSError."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    connection = sqlite3.connect(path, isolation_level=None, timeout=BUSY_SECONDS)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA cache_size=-48000")
        if connection.execute("PRAGMA user_version").fetchone()[0] != VERSION:
            _lay(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _lay(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        if connection.execute("PRAGMA user_version").fetchone()[0] != VERSION:
            for name in TABLES:
                connection.execute(f"DROP TABLE IF EXISTS {name}")
            for statement in _SCHEMA:
                connection.execute(statement)
            connection.execute("INSERT INTO find(find, rank) VALUES ('automerge', 8)")
            connection.execute(f"PRAGMA user_version={VERSION}")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def open_for_reading(path: Path) -> sqlite3.Connection | None:
    """Open the file for questions; None when there is none of our version yet. Raises sqlite3.Error."""
    if not path.exists():
        return None
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None, check_same_thread=False,
                                 timeout=BUSY_SECONDS)
    try:
        connection.execute("PRAGMA query_only=ON")
        connection.execute("PRAGMA cache_size=-16000")
        connection.execute("PRAGMA mmap_size=1073741824")
        if connection.execute("PRAGMA user_version").fetchone()[0] == VERSION:
            return connection
    except BaseException:
        connection.close()
        raise
    connection.close()
    return None
