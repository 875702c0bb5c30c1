"""Empty databases of the tests: the first of a process is made by the revisions, each later one is a copy of it.

Two thousand tests begin with an empty database, and the revisions take a sixth of a second for each. A copy is what the revisions
made, page for page. Only an empty SQLite file is filled so: whatever holds a table already is upgraded by the real steps, and
`tests/unit/storage/test_schema.py`, which is about them, takes the real ones always.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection

from mssante.storage.sql import schema

REAL_UPGRADE: Callable[[Any, Connection], None] = schema._upgrade


class FreshStores:
    """Stands in for `schema._upgrade`. Keeps the octets of one database as the revisions leave it."""

    def __init__(self) -> None:
        self._made = b""

    def upgrade(self, engine: Any, connection: Connection) -> None:
        """Fill an empty database, by the revisions or with a copy of what they made; bring any other up by the real steps."""
        raw = connection.connection.driver_connection
        empty = isinstance(raw, sqlite3.Connection) and not raw.in_transaction and raw.execute(
            "SELECT count(*) FROM sqlite_schema").fetchone() == (0,)
        if not empty:
            REAL_UPGRADE(engine, connection)
            return
        with sqlite3.connect(":memory:") as copy:
            if self._made:
                copy.deserialize(self._made)
                copy.backup(raw)
            else:
                REAL_UPGRADE(engine, connection)
                raw.backup(copy)
                octets = copy.serialize()
                self._made = octets[:18] + b"\1\1" + octets[20:]  # no log beside it: SQLite opens no memory in WAL mode (fileformat2 §1.3)
        copy.close()
