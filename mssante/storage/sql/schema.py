"""The shape of the database and its version: creation, upgrade, refusal.

- A fresh database is made by running the migrations, so that new and upgraded ones cannot differ.
- Each migration is one transaction: a killed upgrade goes on from the last finished step at the next opening.
- `SCHEMA_VERSION` is the shape that this program writes; `COMPAT_VERSION` the oldest program (by its SCHEMA_VERSION) that
  may still open that shape. A program older than the database's compat refuses with `STORE-NEWER`.
- Every open handle holds a shared lock on `<database>.lock`; an upgrade takes it alone, so it never runs beside a server.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, delete, insert, inspect, select, update
from sqlalchemy.exc import DBAPIError

from mssante.errors import OperatorFault
from mssante.storage.sql.engine import Failure, StorageEngine
from mssante.storage.sql.tables import schema_version, store_head
from mssante.storage.sql.tables_documents import metadata

SCHEMA_VERSION = 5
COMPAT_VERSION = 5  # shape 5 keeps the patients' oppositions: an older program would send in spite of them
LOCK_SECONDS = 20.0
_MIGRATIONS = Path(__file__).parent / "migrations"


class HandleLock:
    """A lock on a file beside the database, shared while a handle is open."""

    def __init__(self, path: Path | None) -> None:
        self._descriptor = -1 if path is None else os.open(path, os.O_RDWR | os.O_CREAT, 0o600)

    def share(self) -> bool:
        """Take it with others; False when somebody has it alone just now."""
        return self._take(fcntl.LOCK_SH)

    def alone(self) -> bool:
        """Take it without others; False when another handle has it. Either way the former hold is given up."""
        self._take(fcntl.LOCK_UN)
        return self._take(fcntl.LOCK_EX)

    def close(self) -> None:
        """Let go; safe to call twice."""
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)

    def _take(self, mode: int) -> bool:
        if self._descriptor < 0:
            return True
        try:
            fcntl.flock(self._descriptor, mode | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def prepare(engine: StorageEngine, lock: HandleLock, *, wait_seconds: float = LOCK_SECONDS) -> None:
    """Bring the database to SCHEMA_VERSION and leave the lock shared. Raises OperatorFault `STORE-NEWER`, `STORE-LOCKED`,
    `STORE-OPEN`."""
    deadline = time.monotonic() + wait_seconds
    with engine.connect() as connection:
        while not _try_prepare(engine, lock, connection):
            if time.monotonic() > deadline:
                raise OperatorFault("storage is in use", detail="lock file is held", rule="STORE-LOCKED",
                                    remedy="stop the other process, then start again")
            time.sleep(0.02)


def _try_prepare(engine: StorageEngine, lock: HandleLock, connection: Connection) -> bool:
    """Share a current database, or upgrade it alone; False when the lock is held by others."""
    if _share(engine, lock, connection):
        return True
    if not lock.alone():
        return False
    if not _is_current(connection):
        _upgrade(engine, connection)
    return _share(engine, lock, connection)


def _share(engine: StorageEngine, lock: HandleLock, connection: Connection) -> bool:
    """Share the database if it is current and nobody upgrades it."""
    if not (lock.share() and _is_current(connection)):
        return False
    _follow_time(engine, connection)
    return True


def _is_current(connection: Connection) -> bool:
    """True when nothing is to do; raises OperatorFault when the database is too new for this program."""
    try:
        if not inspect(connection).has_table(schema_version.name):
            return False
        row = connection.execute(select(schema_version.c.version, schema_version.c.compat)).first()
    except DBAPIError as exc:
        raise OperatorFault("storage cannot be opened", detail=type(exc.orig).__name__, rule="STORE-OPEN",
                            remedy="check that the path names a database of this program") from exc
    finally:
        connection.rollback()
    if row is None:
        return False
    version, compat = row
    if compat > SCHEMA_VERSION:
        raise OperatorFault("storage is of a newer program", detail=f"version {version}, ours {SCHEMA_VERSION}",
                            rule="STORE-NEWER", remedy="install the program that wrote it, or a newer one")
    return bool(version >= SCHEMA_VERSION)


def _upgrade(engine: StorageEngine, connection: Connection) -> None:
    """Run each missing revision in its own transaction, then note the version."""
    # Imported here: alembic costs a tenth of a second, and is needed once per upgrade.
    from alembic.config import Config
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    script = ScriptDirectory.from_config(config)
    wanted = [revision.revision for revision in reversed(list(script.walk_revisions()))]
    done = MigrationContext.configure(connection).get_current_revision()
    connection.rollback()
    for revision in wanted[wanted.index(done) + 1 if done else 0:]:
        connection.exec_driver_sql(engine.begin_write)
        _run_revision(connection, (config, script), revision)
        if revision == wanted[-1]:
            _note_version(connection)
        connection.commit()
    if done == wanted[-1]:  # revisions without a step of their own: only the noted version was behind
        connection.exec_driver_sql(engine.begin_write)
        _note_version(connection)
        connection.commit()


def _note_version(connection: Connection) -> None:
    connection.execute(delete(schema_version))
    connection.execute(insert(schema_version).values(id=1, version=SCHEMA_VERSION, compat=COMPAT_VERSION))


def _run_revision(connection: Connection, source: tuple[Any, Any], revision: str) -> None:
    """Run one revision in the transaction that is open."""
    from alembic.runtime.environment import EnvironmentContext

    config, script = source

    def steps(current: Any, _context: Any) -> Any:
        return script._upgrade_revs(revision, current)

    with EnvironmentContext(config, script, fn=steps, destination_rev=revision) as environment:
        environment.configure(connection=connection, target_metadata=metadata)
        environment.run_migrations()


def _follow_time(engine: StorageEngine, connection: Connection) -> None:
    """Let UIDVALIDITY follow the time of opening: after a restored backup no old value comes again (RFC 9051 §2.3.1.1)."""
    now = int(time.time())
    try:
        connection.exec_driver_sql(engine.begin_write)
        connection.execute(update(store_head).where(store_head.c.next_uidvalidity < now).values(next_uidvalidity=now))
        connection.commit()
    except DBAPIError as exc:
        connection.rollback()
        if engine.failure(exc) not in (Failure.FULL, Failure.BUSY):
            raise OperatorFault("storage failed", detail=type(exc.orig).__name__, rule="STORE-OPEN") from exc


__all__ = ["COMPAT_VERSION", "SCHEMA_VERSION", "HandleLock", "metadata", "prepare"]
