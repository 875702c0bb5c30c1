"""Closed addresses elsewhere and correspondents of mailboxes (tables closed_address, correspondent)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Table, bindparam, delete, select

from mssante.storage.exchanges import ClosedAddress, Exchange
from mssante.storage.sql.tables import mailbox
from mssante.storage.sql.tables_people import closed_address, correspondent
from mssante.storage.sql.transaction import Statement, Transaction
from mssante.storage.sql.values import chunks, instant, micros, storable

MAX_REASON = 300
ROWS = 64

_C = closed_address.c
_E = correspondent.c
_CLOSED_NAMES = ["address", "closed_at", "source", "reason", "seen_at"]
_EXCHANGE_NAMES = ["mailbox_id", "address", "sent", "received", "last_at"]
_AMONG = _C.address.in_(bindparam("p_addresses", expanding=True))
_CLOSED = Statement(select(*[_C[name] for name in _CLOSED_NAMES]).where(_AMONG))
_REOPEN = Statement(delete(closed_address).where(_AMONG))
_BOXES = Statement(select(mailbox.c.id).where(mailbox.c.id.in_(bindparam("p_ids", expanding=True))))
_OF = Statement(select(*[_E[name] for name in _EXCHANGE_NAMES]).where(_E.mailbox_id == bindparam("p_mailbox")).order_by(
    _E.last_at.desc(), _E.address).limit(bindparam("p_limit")))
_OLD_CLOSED = Statement(delete(closed_address).where(_C.seen_at < bindparam("p_before")))
_OLD_EXCHANGES = Statement(delete(correspondent).where(_E.last_at < bindparam("p_before")))


class _Upsert:
    """A multi-row INSERT that changes the row in place when it exists (SQLite and PostgreSQL alike)."""

    def __init__(self, table: Table, names: Sequence[str], key: str, change: str) -> None:
        self._width = len(names)
        self._head = f"INSERT INTO {table.name} ({', '.join(table.c[name].name for name in names)}) VALUES "  # noqa: S608
        self._tail = f" ON CONFLICT ({key}) DO UPDATE SET {change}"

    def run(self, tx: Transaction, rows: Sequence[tuple[object, ...]]) -> None:
        for part in chunks(rows, ROWS):
            marks = ", ".join([f"({', '.join([tx.mark] * self._width)})"] * len(part))
            tx.run_text(self._head + marks + self._tail, [value for row in part for value in row])


_CLOSE = _Upsert(closed_address, _CLOSED_NAMES, "address",
                 "source = excluded.source, reason = excluded.reason, seen_at = excluded.seen_at")
_ADD = _Upsert(correspondent, _EXCHANGE_NAMES, "mailbox_id, address",
               "sent = correspondent.sent + excluded.sent, received = correspondent.received + excluded.received, "
               "last_at = excluded.last_at")


class SqlExchangeStore:
    """`mssante.storage.exchanges.ExchangeStore`."""

    def closed(self, tx: Transaction, addresses: Sequence[str]) -> dict[str, ClosedAddress]:
        """Give those told to be closed."""
        if not addresses:
            return {}
        return {row[0]: ClosedAddress(row[0], instant(row[1]), row[2], row[3], instant(row[4]))
                for row in tx.rows_of(_CLOSED, "p_addresses", list(addresses))}

    def close(self, tx: Transaction, rows: Sequence[ClosedAddress]) -> None:
        """Write closed addresses."""
        _CLOSE.run(tx, [(one.address, micros(one.closed_at), one.source, storable(one.reason, MAX_REASON), micros(one.seen_at))
                        for one in {row.address: row for row in rows}.values()])

    def reopen(self, tx: Transaction, addresses: Sequence[str]) -> None:
        """Forget closed addresses."""
        if addresses:
            tx.change_of(_REOPEN, "p_addresses", list(addresses))

    def add(self, tx: Transaction, rows: Sequence[Exchange]) -> None:
        """Add to the counts."""
        if rows:
            there = {row[0] for row in tx.rows_of(_BOXES, "p_ids", sorted({one.mailbox_id for one in rows}))}
            _ADD.run(tx, [(one.mailbox_id, one.address, one.sent, one.received, micros(one.last_at))
                          for one in rows if one.mailbox_id in there])

    def correspondents(self, tx: Transaction, mailbox_id: int, *, limit: int = 1000) -> list[Exchange]:
        """Give correspondents, the latest first."""
        return [Exchange(row[0], row[1], row[2], row[3], instant(row[4]))
                for row in tx.rows(_OF, p_mailbox=mailbox_id, p_limit=limit)]

    def forget(self, tx: Transaction, before: datetime) -> None:
        """Delete old rows."""
        tx.change(_OLD_CLOSED, p_before=micros(before))
        tx.change(_OLD_EXCHANGES, p_before=micros(before))
