"""Readable twins (table document_twin) and the messages that may need one."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, delete, exists, select

from mssante.model.structure import may_hold_document
from mssante.storage.sql.rows import LIVE
from mssante.storage.sql.tables import folder, folder_message, message
from mssante.storage.sql.tables_documents import document_twin
from mssante.storage.sql.transaction import InsertRows, Statement, Transaction
from mssante.storage.sql.values import instant, micros, storable
from mssante.storage.twins import Arrived, TwinRecord

_T = document_twin.c
_NAMES = ["mailbox_id", "message_id", "twin_id", "state", "detail", "at"]
_LEFT_OUT = ("\\Sent", "\\Drafts", "\\Junk", "\\Trash")
_HELD = (message.join(folder_message, folder_message.c.message_id == message.c.id)
         .join(folder, folder.c.id == folder_message.c.folder_id))
_WHERE = (LIVE, *[folder.c.special_use != one for one in _LEFT_OUT])
_COLUMNS = (folder.c.mailbox_id, message.c.id, folder_message.c.folder_id, message.c.imap_bodystructure)
_BY_TRACE = message.c.trace_id.in_(bindparam("p_traces", expanding=True))
_ARRIVED = Statement(select(*_COLUMNS).select_from(_HELD).where(_BY_TRACE, *_WHERE)
                     .order_by(message.c.id, folder_message.c.folder_id))
_DOCUMENTS = Statement(select(*_COLUMNS).select_from(_HELD).where(folder.c.mailbox_id == bindparam("p_mailbox"), *_WHERE)
                       .order_by(message.c.id.desc()).limit(bindparam("p_limit")))
_KNOWN = Statement(select(*[_T[name] for name in _NAMES]).where(_T.mailbox_id == bindparam("p_mailbox"),
                                                              _T.message_id.in_(bindparam("p_messages", expanding=True))))
_INSERT = InsertRows(document_twin, _NAMES)
# what is remembered of messages that no longer exist serves nobody
_OLD = Statement(delete(document_twin).where(_T.at < bindparam("p_before"), _T.message_id.in_(
    select(_T.message_id).where(_T.at < bindparam("p_before"), ~exists().where(message.c.id == _T.message_id))
    .limit(bindparam("p_limit")))))


class SqlTwinStore:
    """`mssante.storage.twins.TwinStore`."""

    def arrived(self, tx: Transaction, traces: Sequence[str]) -> list[Arrived]:
        """Give what these traces brought."""
        rows = tx.rows_of(_ARRIVED, "p_traces", list(traces)) if traces else []
        return _first_of(rows)

    def documents(self, tx: Transaction, mailbox_id: int, limit: int = 200) -> list[Arrived]:
        """Give the latest messages that may hold documents."""
        return _first_of(tx.rows(_DOCUMENTS, p_mailbox=mailbox_id, p_limit=limit * 10))[:limit]

    def known(self, tx: Transaction, mailbox_id: int, message_ids: Collection[int]) -> dict[int, TwinRecord]:
        """Give those dealt with."""
        rows = tx.rows_of(_KNOWN, "p_messages", list(message_ids), p_mailbox=mailbox_id) if message_ids else []
        return {row[1]: TwinRecord(row[0], row[1], row[2], row[3], row[4], instant(row[5])) for row in rows}

    def record(self, tx: Transaction, one: TwinRecord) -> None:
        """Write one."""
        _INSERT.run(tx, [one.mailbox_id, one.message_id, one.twin_id, one.state, storable(one.detail, 200), micros(one.at)])

    def forget(self, tx: Transaction, before: datetime, limit: int = 1000) -> int:
        """Remove old records."""
        return tx.change(_OLD, p_before=micros(before), p_limit=limit)


def _first_of(rows: Sequence[Sequence[Any]]) -> list[Arrived]:
    """Keep messages whose structure names a file that may be a document, each once for a mailbox."""
    found: dict[tuple[int, int], Arrived] = {}
    for mailbox_id, message_id, folder_id, structure in rows:
        if may_hold_document(bytes(structure)):
            found.setdefault((mailbox_id, message_id), Arrived(mailbox_id, message_id, folder_id))
    return list(found.values())
