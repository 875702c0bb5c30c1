"""Cursors of consumers (table consumer_cursor)."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import bindparam, delete, select, update

from mssante.storage.sql.tables_documents import consumer_cursor
from mssante.storage.sql.transaction import InsertRows, Statement, Transaction
from mssante.storage.sql.values import micros

_C = consumer_cursor.c
_THIS = (_C.consumer == bindparam("p_consumer"), _C.scope == bindparam("p_scope"))
_GET = Statement(select(_C.position).where(*_THIS))
_SET = Statement(update(consumer_cursor).where(*_THIS).values(position=bindparam("p_position"), at=bindparam("p_at")))
_INSERT = InsertRows(consumer_cursor, ["consumer", "scope", "position", "at"])
_FORGET = Statement(delete(consumer_cursor).where(*_THIS))


class SqlCursorStore:
    """`mssante.storage.cursors.CursorStore`."""

    def get(self, tx: Transaction, consumer: str, scope: str = "") -> int | None:
        """Give a position."""
        row = tx.one(_GET, p_consumer=consumer, p_scope=scope)
        return int(row[0]) if row is not None else None

    def move(self, tx: Transaction, consumer: str, position: int, at: datetime, *, scope: str = "") -> None:
        """Set a position."""
        if not tx.change(_SET, p_consumer=consumer, p_scope=scope, p_position=position, p_at=micros(at)):
            _INSERT.run(tx, [consumer, scope, position, micros(at)])

    def forget(self, tx: Transaction, consumer: str, scope: str = "") -> bool:
        """Remove a position."""
        return tx.change(_FORGET, p_consumer=consumer, p_scope=scope) > 0
