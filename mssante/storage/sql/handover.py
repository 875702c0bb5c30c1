"""Documents handed in by programs (tables handed_document, handed_recipient)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, delete, select, update

from mssante.model.structure import REPORT_MARK
from mssante.storage.handover import HandedRecipient, HandedRecord
from mssante.storage.sql.tables import message
from mssante.storage.sql.tables_documents import handed_document, handed_recipient
from mssante.storage.sql.transaction import InsertRows, Statement, Transaction
from mssante.storage.sql.values import instant, micros, storable

MAX_DETAIL = 1000

_D = handed_document.c
_R = handed_recipient.c
_NAMES = ["source", "key", "id", "fingerprint", "mailbox_id", "trace_id", "reference", "created_at", "updated_at", "facts"]
_SELECT = select(*[_D[name] for name in _NAMES])
_FIND = Statement(_SELECT.where(_D.source == bindparam("p_source"), _D.key == bindparam("p_key")))
_BY_ID = Statement(_SELECT.where(_D.id == bindparam("p_id")))
_BY_TRACE = Statement(_SELECT.where(_D.trace_id.in_(bindparam("p_traces", expanding=True))))
_INSERT = InsertRows(handed_document, _NAMES)
_INSERT_RECIPIENT = InsertRows(handed_recipient, ["handed_id", "address", "state", "at", "detail"])
_RECIPIENTS = Statement(select(_R.handed_id, _R.address, _R.state, _R.at, _R.detail)
                        .where(_R.handed_id.in_(bindparam("p_ids", expanding=True))).order_by(_R.handed_id, _R.address))
_SET = Statement(update(handed_recipient).where(_R.handed_id == bindparam("p_id"), _R.address == bindparam("p_address")).values(
    state=bindparam("p_state"), at=bindparam("p_at"), detail=bindparam("p_detail")))
_TOUCH = Statement(update(handed_document).where(_D.id == bindparam("p_id")).values(updated_at=bindparam("p_at")))
_STRUCTURES = Statement(select(message.c.id, message.c.imap_bodystructure).where(
    message.c.trace_id.in_(bindparam("p_traces", expanding=True))).order_by(message.c.id))
_ANY = Statement(select(_D.id).limit(1))
_OLD = Statement(select(_D.id).where(_D.created_at < bindparam("p_before")).order_by(_D.created_at).limit(bindparam("p_limit")))
_FORGET = Statement(delete(handed_document).where(_D.id.in_(bindparam("p_ids", expanding=True))))
_FORGET_RECIPIENTS = Statement(delete(handed_recipient).where(_R.handed_id.in_(bindparam("p_ids", expanding=True))))


class SqlHandoverStore:
    """`mssante.storage.handover.HandoverStore`."""

    def find(self, tx: Transaction, source: str, key: str) -> HandedRecord | None:
        """Give what was accepted under a key."""
        row = tx.one(_FIND, p_source=source, p_key=key)
        return _record(row) if row is not None else None

    def by_id(self, tx: Transaction, handed_id: str) -> HandedRecord | None:
        """Give a request by its public identifier."""
        row = tx.one(_BY_ID, p_id=handed_id)
        return _record(row) if row is not None else None

    def by_trace(self, tx: Transaction, traces: Sequence[str]) -> list[HandedRecord]:
        """Give the requests of these traces."""
        return [_record(row) for row in tx.rows_of(_BY_TRACE, "p_traces", sorted(set(traces)))] if traces else []

    def holds_any(self, tx: Transaction) -> bool:
        """Tell whether there is a request."""
        return tx.one(_ANY) is not None

    def add(self, tx: Transaction, record: HandedRecord, recipients: Sequence[HandedRecipient]) -> None:
        """Keep a request."""
        _INSERT.run(tx, [record.source, record.key, record.id, record.fingerprint, record.mailbox_id, record.trace_id,
                         record.reference, micros(record.created_at), micros(record.updated_at), json.dumps(record.facts)])
        for one in recipients:
            _INSERT_RECIPIENT.run(tx, _row(one))

    def recipients(self, tx: Transaction, handed_ids: Sequence[str]) -> list[HandedRecipient]:
        """Give what became of these requests."""
        rows = tx.rows_of(_RECIPIENTS, "p_ids", list(handed_ids)) if handed_ids else []
        return [HandedRecipient(handed_id, address, state, instant(at), detail) for handed_id, address, state, at, detail in rows]

    def set_states(self, tx: Transaction, states: Sequence[HandedRecipient]) -> None:
        """Write states: a few rows, those of one batch of the follower."""
        for one in states:
            if not tx.change(_SET, p_id=one.handed_id, p_address=one.address, p_state=one.state, p_at=micros(one.at),
                             p_detail=storable(one.detail, MAX_DETAIL)):
                _INSERT_RECIPIENT.run(tx, _row(one))
        for handed_id, at in {one.handed_id: one.at for one in states}.items():
            tx.change(_TOUCH, p_id=handed_id, p_at=micros(at))

    def reports(self, tx: Transaction, traces: Sequence[str]) -> list[int]:
        """Give the reports among the messages of these traces."""
        return [row[0] for row in tx.rows_of(_STRUCTURES, "p_traces", list(traces)) if REPORT_MARK in bytes(row[1]).lower()]

    def forget(self, tx: Transaction, before: datetime, limit: int = 1000) -> int:
        """Remove the oldest requests."""
        ids = [row[0] for row in tx.rows(_OLD, p_before=micros(before), p_limit=limit)]
        if ids:
            tx.change_of(_FORGET_RECIPIENTS, "p_ids", ids)
            tx.change_of(_FORGET, "p_ids", ids)
        return len(ids)


def _row(one: HandedRecipient) -> list[object]:
    return [one.handed_id, one.address, one.state, micros(one.at), storable(one.detail, MAX_DETAIL)]


def _record(row: Sequence[Any]) -> HandedRecord:
    source, key, handed_id, fingerprint, mailbox_id, trace_id, reference, created, updated, facts = row
    return HandedRecord(source, key, handed_id, fingerprint, mailbox_id, trace_id, reference, instant(created), instant(updated),
                        json.loads(facts))
