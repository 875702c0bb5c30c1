"""How much mailboxes and folders hold, for quotas (RFC 9208): sums that the counters of folders give, and one over rows.

Each call is one statement. What `\\Deleted` messages take is summed over the rows of the folders asked, so it is asked only for
those whose counter says that there are some.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import bindparam, func, select

from mssante.model.mailbox import Usage
from mssante.storage.sql.rows import DELETED, LIVE, R
from mssante.storage.sql.tables import folder
from mssante.storage.sql.transaction import Statement, Transaction

_C = folder.c
_USED = Statement(select(func.coalesce(func.sum(_C.size_bytes), 0), func.coalesce(func.sum(_C.message_count), 0))
                  .where(_C.mailbox_id == bindparam("p_mailbox")))
_DELETED = Statement(
    select(R.folder_id, func.sum(R.size)).where(R.folder_id.in_(bindparam("p_folders", expanding=True)), LIVE,
                                                R.flags.op("&")(DELETED) != 0).group_by(R.folder_id))


def usage_tx(tx: Transaction, mailbox_id: int) -> Usage:
    """Give what all folders of a mailbox hold."""
    octets, messages = tx.one(_USED, p_mailbox=mailbox_id)
    return Usage(int(octets), int(messages))


def deleted_sizes_tx(tx: Transaction, folder_ids: Sequence[int]) -> dict[int, int]:
    """Give the octets of messages flagged `\\Deleted`, by folder; folders without any are absent."""
    if not folder_ids:
        return {}
    return {row[0]: int(row[1]) for row in tx.rows_of(_DELETED, "p_folders", folder_ids)}
