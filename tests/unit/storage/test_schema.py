"""Creation, upgrade and refusal of a database by its version."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, create_engine, inspect, text
from support.fresh_stores import REAL_UPGRADE, FreshStores

from mssante.errors import OperatorFault
from mssante.storage.open import StorageOptions, open_stores
from mssante.storage.sql import schema
from mssante.storage.sql.engine import SqliteEngine
from mssante.storage.sql.tables import metadata

ROOT = Path(__file__).resolve().parents[3]

SECOND = '''"""A later revision of a test."""
import os, signal
from alembic import op
from sqlalchemy import Column, Integer
revision = "later"
down_revision = "0005"
def upgrade():
    op.create_table("later", Column("id", Integer, primary_key=True))
    if os.environ.get("DIE"):
        os.kill(os.getpid(), signal.SIGKILL)
    op.create_table("later_still", Column("id", Integer, primary_key=True))
'''

OPENER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from mssante.storage.open import open_stores
from mssante.storage.sql import schema
if len(sys.argv) > 4:
    schema._MIGRATIONS, schema.SCHEMA_VERSION = Path(sys.argv[4]), schema.SCHEMA_VERSION + 1
open_stores(sys.argv[2], Path(sys.argv[3])).close()
"""


@pytest.fixture(autouse=True)
def real_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here the revisions run each time."""
    monkeypatch.setattr(schema, "_upgrade", REAL_UPGRADE)


def url_of(folder: Path) -> str:
    return f"sqlite:///{folder}/store.db"


def open_once(folder: Path) -> None:
    open_stores(url_of(folder), folder / "blobs").close()


def set_version(folder: Path, **values: int) -> None:
    engine = create_engine(url_of(folder))
    with engine.begin() as connection:
        connection.execute(metadata.tables["schema_version"].update().values(**values))
    engine.dispose()


def test_migrations_give_the_tables_of_the_program(tmp_path: Path) -> None:
    open_once(tmp_path)
    engine = create_engine(url_of(tmp_path))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={
            "compare_type": True, "include_object": lambda thing, name, kind, *rest: name != "alembic_version"})
        assert compare_metadata(context, metadata) == []
        created = _shape(connection)
    engine.dispose()
    fresh = create_engine("sqlite://")
    metadata.create_all(fresh)
    with fresh.connect() as connection:
        wanted = _shape(connection)
    fresh.dispose()
    assert {name: created[name] for name in wanted} == wanted


def _shape(connection: Connection) -> dict[str, object]:
    """Give what comparison does not see: order of columns, WITHOUT ROWID, partial indexes."""
    shape: dict[str, object] = {}
    for kind, name, sql in connection.execute(text("SELECT type, name, sql FROM sqlite_master")).all():
        if kind == "table":
            columns = connection.execute(text(f"PRAGMA table_xinfo('{name}')")).all()
            shape[name] = ([tuple(column) for column in columns], sql.rstrip().endswith("WITHOUT ROWID"))
        else:
            shape[name] = sql
    return shape


def test_settings_that_durability_needs(tmp_path: Path) -> None:
    open_once(tmp_path)
    engine = SqliteEngine(url_of(tmp_path), busy_seconds=5)
    with engine.connect() as connection:
        values = {name: connection.execute(text(f"PRAGMA {name}")).scalar_one()
                  for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout", "temp_store")}
    assert values == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 5000, "temp_store": 2}
    assert os.stat(tmp_path / "store.db").st_mode & 0o777 == 0o600


def test_a_newer_database_is_refused_unless_it_says_compatible(tmp_path: Path) -> None:
    open_once(tmp_path)
    set_version(tmp_path, version=99, compat=1)
    open_once(tmp_path)
    set_version(tmp_path, version=99, compat=98)
    with pytest.raises(OperatorFault) as caught:
        open_once(tmp_path)
    assert caught.value.rule == "STORE-NEWER"
    assert "99" in caught.value.detail


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "oracle://x/y", "nothing"])
def test_wrong_addresses(tmp_path: Path, url: str) -> None:
    with pytest.raises(OperatorFault) as caught:
        open_stores(url, tmp_path / "blobs")
    assert caught.value.rule == "STORE-URL"


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "store.db").write_bytes(b"not a database at all\n" * 100)
    with pytest.raises(OperatorFault) as caught:
        open_once(tmp_path)
    assert caught.value.rule == "STORE-OPEN"


def later_migrations(folder: Path) -> Path:
    target = folder / "migrations"
    shutil.copytree(ROOT / "mssante/storage/sql/migrations", target, ignore=shutil.ignore_patterns("__pycache__"))
    (target / "versions" / "v9999_later.py").write_text(SECOND)
    return target


def run_opener(folder: Path, migrations: Path | None, **environment: str) -> int:
    arguments = [sys.executable, "-c", OPENER, str(ROOT), url_of(folder), str(folder / "blobs")]
    return subprocess.run([*arguments, str(migrations)] if migrations else arguments,
                          env={**os.environ, **environment}, check=False, stderr=subprocess.DEVNULL).returncode


@pytest.mark.parametrize("from_nothing", [True, False])
def test_a_killed_upgrade_resumes(tmp_path: Path, from_nothing: bool) -> None:
    migrations = later_migrations(tmp_path)
    if not from_nothing:
        open_once(tmp_path)
    assert run_opener(tmp_path, migrations, DIE="1") == -signal.SIGKILL
    engine = create_engine(url_of(tmp_path))
    assert not {"later", "later_still"} & set(inspect(engine).get_table_names())
    engine.dispose()
    assert run_opener(tmp_path, migrations) == 0
    assert run_opener(tmp_path, migrations) == 0
    engine = create_engine(url_of(tmp_path))
    assert {"later", "later_still", "message"} <= set(inspect(engine).get_table_names())
    engine.dispose()


def test_processes_that_create_at_once_all_succeed(tmp_path: Path) -> None:
    running = [subprocess.Popen([sys.executable, "-c", OPENER, str(ROOT), url_of(tmp_path), str(tmp_path / "blobs")])
               for _ in range(3)]
    assert [one.wait(60) for one in running] == [0, 0, 0]


def test_an_upgrade_waits_for_open_handles_then_gives_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stores = open_stores(url_of(tmp_path), tmp_path / "blobs", StorageOptions(readers=1))
    try:
        set_version(tmp_path, version=0)
        engine = SqliteEngine(url_of(tmp_path), busy_seconds=1)
        lock = schema.HandleLock(engine.lock_path)
        with pytest.raises(OperatorFault) as caught:
            schema.prepare(engine, lock, wait_seconds=0.1)
        lock.close()
        assert caught.value.rule == "STORE-LOCKED"
    finally:
        stores.close()
    open_once(tmp_path)


def test_a_running_server_and_the_command_line_share(tmp_path: Path) -> None:
    stores = open_stores(url_of(tmp_path), tmp_path / "blobs")
    open_once(tmp_path)
    assert run_opener(tmp_path, None) == 0
    with (tmp_path / "store.db.lock").open() as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    stores.close()
    with (tmp_path / "store.db.lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_opening_does_not_import_alembic_when_nothing_is_to_do(tmp_path: Path) -> None:
    open_once(tmp_path)
    code = OPENER + "\nassert not any(name.startswith('alembic') for name in sys.modules)\n"
    arguments: list[Any] = [sys.executable, "-c", code, str(ROOT), url_of(tmp_path), str(tmp_path / "blobs")]
    assert subprocess.run(arguments, check=False).returncode == 0


def test_the_copy_that_other_tests_begin_with_is_what_the_revisions_make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def everything(folder: Path) -> list[str]:
        open_once(folder)
        with sqlite3.connect(folder / "store.db") as database:
            pragmas = [str(database.execute(f"PRAGMA {one}").fetchone()) for one in (
                "journal_mode", "page_size", "auto_vacuum", "encoding", "user_version", "application_id", "integrity_check")]
            found = sorted(line for line in database.iterdump() if '"store_head"' not in line)  # it holds the time of opening
        database.close()
        return pragmas + found

    fresh = FreshStores()
    stands = []
    for name, upgrade in (("real", REAL_UPGRADE), ("first", fresh.upgrade), ("copied", fresh.upgrade)):
        (tmp_path / name).mkdir()
        monkeypatch.setattr(schema, "_upgrade", upgrade)
        stands.append(everything(tmp_path / name))
    assert stands[0] == stands[1] == stands[2] and len(stands[0]) > 50
