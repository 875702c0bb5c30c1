"""The ledger of imports: `imported` events of the journal by trace id, and the live copies of what they tell of.

Set-based: a fixed number of statements for each list of trace ids; two indexes serve them (journal_event_by_trace,
message_by_trace).
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from sqlalchemy import bindparam, select

from mssante.model.journal import JournalKind
from mssante.storage.imports import ImportedCopy
from mssante.storage.sql.rows import LIVE, R
from mssante.storage.sql.tables import folder, folder_message, journal_event, message
from mssante.storage.sql.transaction import Statement, Transaction

_KNOWN = Statement(select(journal_event.c.trace_id, journal_event.c.payload).where(
    journal_event.c.trace_id.in_(bindparam("p_traces", expanding=True)),
    journal_event.c.kind == JournalKind.IMPORTED.value))
_COPIES = Statement(
    select(message.c.trace_id, message.c.id, R.folder_id, R.uid, R.size).select_from(
        message.join(folder_message, R.message_id == message.c.id).join(folder, folder.c.id == R.folder_id))
    .where(message.c.trace_id.in_(bindparam("p_traces", expanding=True)), LIVE,
           folder.c.mailbox_id == bindparam("p_mailbox")).order_by(R.folder_id.desc(), R.uid.desc()))


class SqlImportStore:
    """`mssante.storage.imports.ImportStore`."""

    def known(self, tx: Transaction, trace_ids: Sequence[str]) -> dict[str, str]:
        """Give trace id -> SHA-256 of the source octets."""
        if not trace_ids:
            return {}
        return {trace: str(json.loads(payload).get("sha256", ""))
                for trace, payload in tx.rows_of(_KNOWN, "p_traces", trace_ids)}

    def copies(self, tx: Transaction, mailbox_id: int, trace_ids: Sequence[str]) -> dict[str, ImportedCopy]:
        """Give trace id -> one live copy (the oldest one)."""
        if not trace_ids:
            return {}
        return {row[0]: ImportedCopy(*row) for row in tx.rows_of(_COPIES, "p_traces", trace_ids, p_mailbox=mailbox_id)}
