"""Reads the version of a database without changing it: what `mssante check` tells before anything is opened for real."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from mssante.errors import OperatorFault
from mssante.storage.sql.schema import SCHEMA_VERSION


@dataclass(frozen=True, slots=True)
class SchemaState:
    """found: version of the file (0: none yet); oldest: oldest program admitted; ours: the version that we write."""

    found: int
    oldest: int
    ours: int = SCHEMA_VERSION


def peek_sqlite(path: Path) -> SchemaState:
    """Give the schema state of an SQLite file, from a handle that cannot write. Raises OperatorFault `STORE-OPEN`."""
    try:
        connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
        try:
            row = connection.execute("SELECT version, compat FROM schema_version").fetchone()
        finally:
            connection.close()
    except sqlite3.Error as exc:
        if "no such table" in str(exc):
            return SchemaState(0, 0)
        raise OperatorFault("database cannot be read", detail=str(exc), rule="STORE-OPEN") from exc
    return SchemaState(int(row[0]), int(row[1])) if row else SchemaState(0, 0)
