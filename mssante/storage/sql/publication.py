"""What the national directory was told of our mailboxes (table publication)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, delete, func, select

from mssante.storage.publication import PublicationRow, PublicationState
from mssante.storage.sql.tables_people import publication
from mssante.storage.sql.transaction import InsertRows, Statement, Transaction
from mssante.storage.sql.values import instant, micros, storable

MAX_ERROR = 500
MAX_FORM = 8192

_C = publication.c
_NAMES = ["address", "wanted", "sent", "state", "attempts", "next_attempt_at", "wanted_at", "sent_at", "accepted_at",
          "visible_at", "version", "last_error"]
_COLUMNS = [_C[name] for name in _NAMES]
_AMONG = _C.address.in_(bindparam("p_addresses", expanding=True))
_AFTER = select(*_COLUMNS).where(_C.address > bindparam("p_after")).order_by(_C.address)
_BETWEEN = Statement(_AFTER.where(_C.address <= bindparam("p_last")))
_BEYOND = Statement(_AFTER)
_PAGE = Statement(_AFTER.limit(bindparam("p_limit")))
_PAGE_OF = Statement(_AFTER.where(_C.state == bindparam("p_state")).limit(bindparam("p_limit")))
_DUE = Statement(select(*_COLUMNS).where(_C.state == PublicationState.DUE.value, _C.next_attempt_at <= bindparam("p_now"))
                 .order_by(_C.next_attempt_at, _C.address).limit(bindparam("p_limit")))
_REMOVE = Statement(delete(publication).where(_AMONG))
_INSERT = InsertRows(publication, _NAMES)
_COUNTS = Statement(select(_C.state, func.count()).group_by(_C.state))


class SqlPublicationStore:
    """`mssante.storage.publication.PublicationStore`."""

    def between(self, tx: Transaction, after: str, last: str) -> list[PublicationRow]:
        """Give the rows of a range of addresses, in order."""
        return [_row(one) for one in (tx.rows(_BETWEEN, p_after=after, p_last=last) if last else tx.rows(_BEYOND, p_after=after))]

    def page(self, tx: Transaction, *, after: str = "", limit: int = 1000, state: PublicationState | None = None,
             ) -> list[PublicationRow]:
        """Give rows ordered by address."""
        found = (tx.rows(_PAGE, p_after=after, p_limit=limit) if state is None
                 else tx.rows(_PAGE_OF, p_after=after, p_limit=limit, p_state=state.value))
        return [_row(one) for one in found]

    def due(self, tx: Transaction, now: datetime, limit: int) -> list[PublicationRow]:
        """Give rows to be sent whose time has come."""
        return [_row(one) for one in tx.rows(_DUE, p_now=micros(now), p_limit=limit)]

    def put(self, tx: Transaction, rows: Sequence[PublicationRow]) -> None:
        """Write rows: one DELETE, INSERTs of many rows."""
        if not rows:
            return
        tx.change_of(_REMOVE, "p_addresses", [row.address for row in rows])
        flat: list[object] = []
        for row in rows:
            flat += (row.address, storable(row.wanted, MAX_FORM), storable(row.sent, MAX_FORM), row.state.value, row.attempts,
                     micros(row.next_attempt_at), micros(row.wanted_at), _stamp(row.sent_at), _stamp(row.accepted_at),
                     _stamp(row.visible_at), storable(row.version, 200), storable(row.last_error, MAX_ERROR))
        _INSERT.run(tx, flat)

    def remove(self, tx: Transaction, addresses: Sequence[str]) -> None:
        """Forget rows."""
        if addresses:
            tx.change_of(_REMOVE, "p_addresses", list(addresses))

    def counts(self, tx: Transaction) -> dict[PublicationState, int]:
        """Count rows by state."""
        return {PublicationState(state): count for state, count in tx.rows(_COUNTS)}


def _stamp(value: datetime | None) -> int:
    return micros(value) if value is not None else 0


def _when(value: int) -> datetime | None:
    return instant(value) if value else None


def _row(one: Sequence[Any]) -> PublicationRow:
    address, wanted, sent, state, attempts, next_attempt, wanted_at, sent_at, accepted_at, visible_at, version, error = one
    return PublicationRow(address, wanted, sent, PublicationState(state), instant(wanted_at), instant(next_attempt), attempts,
                          _when(sent_at), _when(accepted_at), _when(visible_at), version, error)
