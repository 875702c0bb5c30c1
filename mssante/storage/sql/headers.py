"""The columns that SORT, THREAD and SEARCH of header fields work from, and header blocks: no body is read.

One statement for 8192 messages. Called by `SqlMessageStore.headers` and `header_blocks`.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import bindparam, func, select

from mssante.model.headers import HeaderBlock, IndexedHeaders
from mssante.storage.sql.tables import message
from mssante.storage.sql.transaction import Statement, Transaction

_M = message.c
_HEADERS = Statement(select(_M.id, _M.subject, _M.header_date, _M.header_message_id, _M.in_reply_to, _M.imap_envelope)
                     .where(_M.id.in_(bindparam("p_ids", expanding=True))))
_BLOCKS = Statement(select(_M.id, _M.prefix, func.substr(_M.body, 1, _M.header_size), _M.blob, _M.header_size)
                    .where(_M.id.in_(bindparam("p_ids", expanding=True))))


def headers_tx(tx: Transaction, message_ids: Sequence[int]) -> list[IndexedHeaders]:
    """Give the columns of these messages, in any order; those that are gone are left out."""
    if not message_ids:
        return []
    return list(map(IndexedHeaders._make, tx.rows_of(_HEADERS, "p_ids", message_ids)))


def header_blocks_tx(tx: Transaction, message_ids: Sequence[int]) -> list[HeaderBlock]:
    """Give the header blocks of these messages, in any order; of inline bodies nothing but the header leaves the engine."""
    if not message_ids:
        return []
    return list(map(HeaderBlock._make, tx.rows_of(_BLOCKS, "p_ids", message_ids)))
