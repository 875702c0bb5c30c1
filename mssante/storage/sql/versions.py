"""Versions of documents (table document_version)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import bindparam, delete, select, update

from mssante.storage.sql.tables_documents import document_version
from mssante.storage.sql.transaction import InsertRows, Statement, Transaction
from mssante.storage.sql.values import instant, micros, storable
from mssante.storage.versions import CURRENT, DocumentVersion

_V = document_version.c
_NAMES = ["mailbox_id", "document", "set_id", "version", "status", "replaced_by", "outgoing", "message_id", "trace_id", "at"]
_SELECT = select(*[_V[name] for name in _NAMES]).where(_V.mailbox_id == bindparam("p_mailbox"))
_OF = Statement(_SELECT.where(_V.document.in_(bindparam("p_documents", expanding=True))))
_OF_SET = Statement(_SELECT.where(_V.set_id == bindparam("p_set")).order_by(_V.at, _V.document))
_OF_MESSAGES = Statement(_SELECT.where(_V.message_id.in_(bindparam("p_messages", expanding=True))))
_INSERT = InsertRows(document_version, _NAMES)
_ONE = (_V.mailbox_id == bindparam("p_mailbox"), _V.document == bindparam("p_document"))
_REMOVE = Statement(delete(document_version).where(*_ONE))
_MARK = Statement(update(document_version).where(*_ONE, _V.status == CURRENT)
    .values(status=bindparam("p_status"), replaced_by=bindparam("p_by")))


class SqlVersionStore:
    """`mssante.storage.versions.VersionStore`."""

    def of(self, tx: Transaction, mailbox_id: int, documents: Sequence[str]) -> dict[str, DocumentVersion]:
        """Give those known."""
        rows = tx.rows_of(_OF, "p_documents", list(documents), p_mailbox=mailbox_id) if documents else []
        return {one.document: one for one in map(_read, rows)}

    def of_set(self, tx: Transaction, mailbox_id: int, set_id: str) -> list[DocumentVersion]:
        """Give the documents of a set."""
        return [_read(row) for row in tx.rows(_OF_SET, p_mailbox=mailbox_id, p_set=set_id)] if set_id else []

    def of_messages(self, tx: Transaction, mailbox_id: int, message_ids: Sequence[int]) -> list[DocumentVersion]:
        """Give what these messages brought."""
        rows = tx.rows_of(_OF_MESSAGES, "p_messages", list(message_ids), p_mailbox=mailbox_id) if message_ids else []
        return [_read(row) for row in rows]

    def put(self, tx: Transaction, one: DocumentVersion) -> None:
        """Write one."""
        tx.change(_REMOVE, p_mailbox=one.mailbox_id, p_document=one.document)
        _INSERT.run(tx, [one.mailbox_id, one.document, one.set_id, storable(one.version, 40), one.status, one.replaced_by, 0,
                         one.message_id, one.trace_id, micros(one.at)])

    def mark(self, tx: Transaction, mailbox_id: int, documents: Sequence[str], status: str, *, by: str = "") -> int:
        """Set the status of current ones (a message replaces few: one statement each)."""
        return sum(tx.change(_MARK, p_mailbox=mailbox_id, p_document=one, p_status=status, p_by=by) for one in documents)


def _read(row: Sequence[Any]) -> DocumentVersion:
    mailbox_id, document, set_id, version, status, replaced_by, _, message_id, trace_id, at = row
    return DocumentVersion(mailbox_id, document, set_id, version, status, replaced_by, message_id, trace_id, instant(at))
