"""Engine differences: how to connect, begin, and read a driver's errors. Everything else in this package is portable.

- SQLite: WAL, synchronous=FULL (RELIABILITY §1: WAL with NORMAL loses acknowledged mail at a power cut), foreign keys on,
  BEGIN IMMEDIATE for writers so that two processes wait for each other instead of failing at commit.
- Another engine is one more class with the same attributes, and one line in `engine_for`.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import time
from enum import Enum
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from mssante.errors import OperatorFault

# Measured with 10 KB bodies on this schema: see `docs` of storage; a larger cache only avoids re-preparing texts.
STATEMENT_CACHE = 512
WAL_PAGES = 4000  # checkpoint each 16 MB: 4 times fewer syncs of the main file than the default of 1000


class Failure(Enum):
    """What a driver error means for the writer."""

    UNIT = "unit"  # this unit's own fault
    BUSY = "busy"  # another process writes
    FULL = "full"  # no room on disk
    FATAL = "fatal"  # the engine or the disk failed: nothing more can be promised


class StorageEngine(Protocol):
    """One kind of database."""

    engine: Engine
    begin_read: str
    begin_write: str
    lock_path: Path | None
    in_process: bool  # a statement is a call in this process: a read by key takes microseconds

    def failure(self, error: BaseException) -> Failure:
        """Classify an error raised by the driver or by SQLAlchemy."""
        ...

    def connect(self, *, wait: bool = True) -> Connection:
        """Open a connection with its settings made; the caller begins and commits by text.

        wait False: a lock held by another is told at once, never waited for, and no commit shortens the log.
        """
        ...

    def shorten_log(self, connection: Connection, *, wholly: bool) -> bool:
        """Put the log back into the database. wholly: with the writer's lock, so that it begins anew; False when somebody else
        writes, or reads what is old."""
        ...


class SqliteEngine:
    """SQLite in a file, for one operator process and the command line beside it."""

    begin_read = "BEGIN"
    begin_write = "BEGIN IMMEDIATE"
    in_process = True

    def __init__(self, url: str, *, busy_seconds: float, max_pages: int = 0) -> None:
        database = make_url(url).database
        if not database or database == ":memory:":
            raise OperatorFault("storage needs a file", detail="no path in the database address", rule="STORE-URL",
                                remedy="use sqlite:///folder/mssante.db")
        self.path = Path(database)
        self.lock_path: Path | None = self.path.with_name(self.path.name + ".lock")
        self._busy_milliseconds = int(busy_seconds * 1000)
        self._max_pages = max_pages
        self._create_file()
        # isolation_level None: the driver begins nothing by itself, we say BEGIN and COMMIT.
        self.engine = create_engine(f"sqlite:///{self.path}", poolclass=NullPool, connect_args={
            "isolation_level": None, "check_same_thread": False, "cached_statements": STATEMENT_CACHE,
            "timeout": busy_seconds})
        event.listen(self.engine, "connect", self._settings)

    def _create_file(self) -> None:
        # Mail is readable by the operator's user only; SQLite gives -wal and -shm the same mode.
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))

    def _settings(self, driver: Any, _record: Any) -> None:
        cursor = driver.cursor()
        cursor.execute(f"PRAGMA busy_timeout={self._busy_milliseconds}")
        self._use_wal(cursor)
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA temp_store=MEMORY")  # else most groups leave pages of mail in a file of /var/tmp
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute(f"PRAGMA wal_autocheckpoint={WAL_PAGES}")
        cursor.execute("PRAGMA cache_size=-16384")
        if self._max_pages:
            cursor.execute(f"PRAGMA max_page_count={self._max_pages}")
        cursor.close()

    def _use_wal(self, cursor: Any) -> None:
        # On a new file the switch may meet another process that does the same; SQLite does not wait there by itself.
        deadline = time.monotonic() + self._busy_milliseconds / 1000
        while True:
            try:
                cursor.execute("PRAGMA journal_mode=WAL")
                return
            except sqlite3.OperationalError as exc:
                if self.failure(exc) is not Failure.BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)

    def connect(self, *, wait: bool = True) -> Connection:
        """Open a connection; raises OperatorFault when the file cannot be opened."""
        try:
            connection = self.engine.connect()
            if not wait:
                connection.exec_driver_sql("PRAGMA busy_timeout=0")
                connection.exec_driver_sql("PRAGMA wal_autocheckpoint=0")
                connection.rollback()
            return connection
        except (DBAPIError, sqlite3.Error) as exc:
            raise OperatorFault("storage cannot be opened", detail=str(exc), rule="STORE-OPEN",
                                remedy="check the path, its owner and the disk") from exc

    def shorten_log(self, connection: Connection, *, wholly: bool) -> bool:
        """Checkpoint: PASSIVE beside those who write, or RESTART."""
        try:
            found = connection.exec_driver_sql(f"PRAGMA wal_checkpoint({'RESTART' if wholly else 'PASSIVE'})").fetchone()
            return found is not None and found[0] == 0
        except (DBAPIError, sqlite3.Error):
            return False
        finally:
            connection.rollback()

    def failure(self, error: BaseException) -> Failure:
        """Classify by SQLite's primary result code."""
        if isinstance(error, DBAPIError) and error.orig is not None:
            error = error.orig
        if isinstance(error, OSError):
            return Failure.FULL if error.errno in (errno.ENOSPC, errno.EDQUOT) else Failure.UNIT
        code = getattr(error, "sqlite_errorcode", None)
        if not isinstance(error, sqlite3.Error) or code is None:
            return Failure.UNIT
        primary = code & 0xFF
        if primary == sqlite3.SQLITE_FULL:
            return Failure.FULL
        if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return Failure.BUSY
        if primary in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_READONLY,
                       sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_NOMEM):
            return Failure.FATAL
        return Failure.UNIT


def engine_for(url: str, *, busy_seconds: float, max_pages: int = 0) -> StorageEngine:
    """Give the engine of a database address; raises OperatorFault `STORE-URL` for a kind we do not have."""
    if url.startswith("sqlite:"):
        return SqliteEngine(url, busy_seconds=busy_seconds, max_pages=max_pages)
    raise OperatorFault("storage address is not known", detail=url.split(":", 1)[0], rule="STORE-URL",
                        remedy="use sqlite:///folder/mssante.db")


def is_driver_error(error: BaseException) -> bool:
    """True when an error comes from a driver or from SQLAlchemy, not from a store's own check."""
    return isinstance(error, (DBAPIError, sqlite3.Error))
