"""What the indexer reads of the mail store: new messages by row id, what a mailbox holds, which mailboxes changed.

Row ids grow with each message (`store_head`), so a mark tells what is new. Implements `storage.search.FeedStore`.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import bindparam, func, select

from mssante.storage.search import Arrival
from mssante.storage.sql.tables import folder, folder_message
from mssante.storage.sql.transaction import Statement, Transaction

_R = folder_message.c
_NEWEST = Statement(select(func.max(_R.message_id)))
_LAG = Statement(select(func.count()).select_from(
    select(_R.message_id).where(_R.message_id > bindparam("p_mark"), _R.expunged == 0).limit(bindparam("p_most")).subquery()))
# The last message of the first `limit` rows, then all rows up to it: a message is never cut from one of its mailboxes.
_LAST = Statement(select(func.max(
    select(_R.message_id).where(_R.message_id > bindparam("p_mark"), _R.expunged == 0)
    .order_by(_R.message_id).limit(bindparam("p_limit")).subquery().c.message_id)))
_PLACES = select(_R.message_id, folder.c.mailbox_id, func.max(_R.size)).select_from(
    folder_message.join(folder, folder.c.id == _R.folder_id))
_ARRIVALS = Statement(
    _PLACES.where(_R.message_id > bindparam("p_mark"), _R.message_id <= bindparam("p_last"), _R.expunged == 0)
    .group_by(_R.message_id, folder.c.mailbox_id).order_by(_R.message_id))
_PRESENT = Statement(
    _PLACES.where(folder.c.mailbox_id == bindparam("p_mailbox"), _R.expunged == 0)
    .group_by(_R.message_id, folder.c.mailbox_id).order_by(_R.message_id))
_SIGNATURES = Statement(select(folder.c.mailbox_id, func.count(), func.sum(folder.c.uidnext), func.sum(folder.c.message_count))
                        .group_by(folder.c.mailbox_id))


class SqlFeedStore:
    """`mssante.storage.search.FeedStore`."""

    def newest(self, tx: Transaction) -> int:
        """Give the highest row id of a message in a folder, 0 without any."""
        row = tx.one(_NEWEST)
        return row[0] or 0 if row else 0

    def lag(self, tx: Transaction, mark: int, most: int) -> int:
        """Count the places in folders of messages above `mark`, up to `most`."""
        row = tx.one(_LAG, p_mark=mark, p_most=most)
        return row[0] if row else 0

    def arrivals(self, tx: Transaction, mark: int, limit: int) -> list[Arrival]:
        """Give messages above `mark` by row id, each with all mailboxes that hold it."""
        last = tx.one(_LAST, p_mark=mark, p_limit=limit)
        if last is None or last[0] is None:
            return []
        return [Arrival(*row) for row in tx.rows(_ARRIVALS, p_mark=mark, p_last=last[0])]

    def present(self, tx: Transaction, mailbox_id: int) -> list[Arrival]:
        """Give the messages in folders of a mailbox, by row id."""
        return [Arrival(*row) for row in tx.rows(_PRESENT, p_mailbox=mailbox_id)]

    def signatures(self, tx: Transaction) -> Mapping[int, str]:
        """Give, by mailbox, a text that changes whenever messages come or go: a message that comes takes a UID."""
        return {row[0]: f"{row[1]}.{row[2]}.{row[3]}" for row in tx.rows(_SIGNATURES)}
