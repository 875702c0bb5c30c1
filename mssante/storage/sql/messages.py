"""Messages and their presence in folders, for reception, submission and IMAP.

- Every method is a bounded number of statements whatever the number of messages.
- Flags, copies and expunges bump the folder's highest modseq once per unit; counters of the folder move with them.
- Content is deleted only by `sweep`, only when no folder and no queue holds it; its blob only when no other message
  names the same one. Files go after the commit, by the caller.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import bindparam, delete, exists, null, select, update

from mssante.model.headers import HeaderBlock, IndexedHeaders
from mssante.model.mailbox import Folder, Usage
from mssante.model.message import FolderChanges, FolderRow, StoredMessage, TooManyChanges
from mssante.storage.interfaces import Acceptance, Accepted, FlagChange
from mssante.storage.sql.accept import accept_tx
from mssante.storage.sql.flags import set_flags_tx
from mssante.storage.sql.folders import FOLDER_COLUMNS, folder_of
from mssante.storage.sql.headers import header_blocks_tx, headers_tx
from mssante.storage.sql.journal import SqlJournalStore
from mssante.storage.sql.rows import (
    IN_FOLDER,
    LIVE,
    ROW_COLUMNS,
    R,
    UidStatement,
    copy_rows_tx,
    folder_row,
    lock_folders_tx,
    tombstone_tx,
)
from mssante.storage.sql.tables import folder, folder_message, message, message_orphan, queue_message
from mssante.storage.sql.transaction import Statement, Transaction
from mssante.storage.sql.usage import deleted_sizes_tx, usage_tx

_M = message.c
_FOLDER = Statement(select(*FOLDER_COLUMNS).where(folder.c.id == bindparam("p_folder")))
_LIVE_ROWS = UidStatement(select(*ROW_COLUMNS).where(LIVE))
_MODSEQS = Statement(select(folder.c.highest_modseq, folder.c.uidnext, folder.c.purged_modseq)
                     .where(folder.c.id == bindparam("p_folder")))
_STATE = Statement(select(folder.c.highest_modseq, folder.c.uidnext, folder.c.purged_modseq, folder.c.seen_private)
                   .where(folder.c.id == bindparam("p_folder")))
_CHANGED = Statement(select(*ROW_COLUMNS, R.expunged).where(IN_FOLDER, R.modseq > bindparam("p_since")))
_OTHER_CONTENT = (_M.blob, _M.body_size, _M.imap_envelope, _M.imap_bodystructure, _M.header_size, _M.trace_id)
_OF_IDS = _M.id.in_(bindparam("p_ids", expanding=True))
# In the order of the fields of StoredMessage.
_CONTENTS = Statement(select(_M.id, _M.prefix, null(), *_OTHER_CONTENT).where(_OF_IDS))
_CONTENTS_WITH_BODY = Statement(select(_M.id, _M.prefix, _M.body, *_OTHER_CONTENT).where(_OF_IDS))
_BY_TRACE = Statement(
    select(folder.c.mailbox_id, folder.c.name, R.uid).select_from(
        message.join(folder_message, R.message_id == _M.id).join(folder, folder.c.id == R.folder_id))
    .where(_M.trace_id == bindparam("p_trace"), LIVE).order_by(folder.c.mailbox_id, folder.c.name, R.uid))

_CANDIDATES = Statement(select(
    message_orphan.c.message_id,
    exists().where(R.message_id == message_orphan.c.message_id, LIVE)
    | exists().where(queue_message.c.message_id == message_orphan.c.message_id),
).order_by(message_orphan.c.message_id).limit(bindparam("p_limit")))
_DELETE_CONTENT = Statement(delete(message).where(_OF_IDS).returning(_M.blob))
_DELETE_CANDIDATES = Statement(delete(message_orphan).where(
    message_orphan.c.message_id.in_(bindparam("p_ids", expanding=True))))
_BLOBS_IN_USE = Statement(select(_M.blob).where(_M.blob.in_(bindparam("p_keys", expanding=True))).distinct())
_PURGE_MARK = Statement(update(folder).where(
    folder.c.id == bindparam("p_folder"), folder.c.purged_modseq < bindparam("p_modseq"),
    folder.c.highest_modseq >= bindparam("p_modseq")).values(purged_modseq=bindparam("p_modseq")))
_PURGE = Statement(delete(folder_message).where(IN_FOLDER, R.expunged == 1, R.modseq <= bindparam("p_modseq")))
_EXPUNGED = Statement(select(R.uid).where(IN_FOLDER, R.modseq > bindparam("p_since"), R.expunged == 1))
# The counters of the folder tell cheaply where so many messages were removed that it is worth looking at the rows.
_BEYOND = Statement(select(folder.c.id, select(R.modseq).where(R.folder_id == folder.c.id, R.expunged == 1)
                           .order_by(R.modseq.desc()).limit(1).offset(bindparam("p_kept")).scalar_subquery())
                    .where(folder.c.uidnext - 1 - folder.c.message_count > bindparam("p_kept")))


class SqlMessageStore:
    """`mssante.storage.interfaces.MessageStore`, and the two calls of upkeep."""

    def __init__(self, journal: SqlJournalStore) -> None:
        self._journal = journal

    def accept(self, tx: Transaction, items: Sequence[Acceptance]) -> list[Accepted]:
        """Insert messages, folder rows, queue rows, journal events; results in the order of items."""
        return accept_tx(tx, items, self._journal)

    def snapshot(self, tx: Transaction, folder_id: int) -> tuple[Folder, list[FolderRow]]:
        """Give the folder and its live rows ordered by uid. Raises LookupError when the folder is gone."""
        row = tx.one(_FOLDER, p_folder=folder_id)
        if row is None:
            raise LookupError("folder is gone")
        return folder_of(row), [folder_row(live) for live in sorted(_LIVE_ROWS.rows(tx, None, p_folder=folder_id))]

    def changes_since(self, tx: Transaction, folder_id: int, modseq: int) -> FolderChanges:
        """Give what happened after `modseq`; a message that came and went since stands among the expunged only.

        Raises TooManyChanges when tombstones were purged after it, LookupError when the folder is gone.
        """
        state = tx.one(_STATE, p_folder=folder_id)
        if state is None:
            raise LookupError("folder is gone")
        highest, uidnext, purged, private = state
        if modseq < purged:
            raise TooManyChanges
        if modseq >= highest:
            return FolderChanges(highest, uidnext, (), (), bool(private))
        found = sorted(tx.rows(_CHANGED, p_folder=folder_id, p_since=modseq))
        return FolderChanges(highest, uidnext, tuple(folder_row(row[:-1]) for row in found if not row[-1]),
                             tuple(row[0] for row in found if row[-1]), bool(private))

    def expunged_since(self, tx: Transaction, folder_id: int, modseq: int) -> list[int]:
        """Give the UIDs expunged after `modseq`, in order. Raises TooManyChanges, LookupError as `changes_since`."""
        state = tx.one(_MODSEQS, p_folder=folder_id)
        if state is None:
            raise LookupError("folder is gone")
        if modseq < state[2]:
            raise TooManyChanges
        return sorted(row[0] for row in tx.rows(_EXPUNGED, p_folder=folder_id, p_since=modseq))

    def rows(self, tx: Transaction, folder_id: int, uids: Sequence[int]) -> list[FolderRow]:
        """Give live rows of these UIDs, ordered by uid."""
        if not uids:
            return []
        return [folder_row(row) for row in sorted(_LIVE_ROWS.rows(tx, sorted(set(uids)), p_folder=folder_id))]

    def contents(self, tx: Transaction, message_ids: Sequence[int], *, with_body: bool) -> list[StoredMessage]:
        """Give content columns in the order asked; `inline` is None when with_body is false or the body is a blob."""
        if not message_ids:
            return []
        statement = _CONTENTS_WITH_BODY if with_body else _CONTENTS
        wanted = list(dict.fromkeys(message_ids))
        found = {row[0]: StoredMessage._make(row) for row in tx.rows_of(statement, "p_ids", wanted)}
        return [found[row_id] for row_id in wanted if row_id in found]

    def headers(self, tx: Transaction, message_ids: Sequence[int]) -> list[IndexedHeaders]:
        """Give what is kept of the headers of these messages, in any order, without reading a body."""
        return headers_tx(tx, message_ids)

    def header_blocks(self, tx: Transaction, message_ids: Sequence[int]) -> list[HeaderBlock]:
        """Give the headers of these messages, in any order, without their bodies."""
        return header_blocks_tx(tx, message_ids)

    def set_flags(self, tx: Transaction, folder_id: int, uids: Sequence[int],
                  change: FlagChange) -> tuple[list[FolderRow], list[int]]:
        """Apply a STORE: give (rows after it, UIDs refused by unchanged_since). Raises LookupError, ValueError."""
        return set_flags_tx(tx, folder_id, uids, change)

    def copy(self, tx: Transaction, source_id: int, uids: Sequence[int], target_id: int, *,
             now: datetime) -> list[tuple[int, int]]:
        """Copy live rows (flags kept): give (source uid, target uid) pairs. Raises LookupError when a folder is gone."""
        folders = lock_folders_tx(tx, source_id, target_id)
        return copy_rows_tx(tx, source_id, folders[target_id], uids, now=now)

    def move(self, tx: Transaction, source_id: int, uids: Sequence[int], target_id: int, *,
             now: datetime) -> list[tuple[int, int]]:
        """Copy then leave tombstones in the source, in one unit (RFC 6851 §3.3). Raises LookupError."""
        folders = lock_folders_tx(tx, source_id, target_id)
        pairs = copy_rows_tx(tx, source_id, folders[target_id], uids, now=now)
        source = folders[source_id]
        if source_id == target_id:
            source = lock_folders_tx(tx, source_id)[source_id]  # the copy has moved its modseq
        tombstone_tx(tx, source, [uid for uid, _ in pairs], deleted_only=False, orphans=False)
        return pairs

    def expunge(self, tx: Transaction, folder_id: int, uids: Sequence[int] | None) -> list[int]:
        """Turn rows flagged Deleted (among `uids` when given) into tombstones; give their UIDs. Raises LookupError."""
        source = lock_folders_tx(tx, folder_id)[folder_id]
        return tombstone_tx(tx, source, uids, deleted_only=True, orphans=True)

    def usage(self, tx: Transaction, mailbox_id: int) -> Usage:
        """Give what all folders of a mailbox hold."""
        return usage_tx(tx, mailbox_id)

    def deleted_sizes(self, tx: Transaction, folder_ids: Sequence[int]) -> dict[int, int]:
        """Give the octets of messages flagged `\\Deleted`, by folder; folders without any are absent."""
        return deleted_sizes_tx(tx, folder_ids)

    def sweep(self, tx: Transaction, limit: int) -> list[str]:
        """Look at `limit` candidates, delete those in no folder and no queue; give blob keys to delete after commit."""
        candidates = tx.rows(_CANDIDATES, p_limit=limit)
        if not candidates:
            return []
        gone = [row[0] for row in candidates if not row[1]]
        blobs = {row[0] for row in tx.rows_of(_DELETE_CONTENT, "p_ids", gone) if row[0] is not None} if gone else set()
        tx.change_of(_DELETE_CANDIDATES, "p_ids", [row[0] for row in candidates])
        if not blobs:
            return []
        used = {row[0] for row in tx.rows_of(_BLOBS_IN_USE, "p_keys", sorted(blobs))}
        return sorted(blobs - used)

    def by_trace(self, tx: Transaction, trace_id: str) -> list[tuple[int, str, int]]:
        """Give (mailbox id, folder name, uid) of every live copy of the message with this trace id."""
        return [tuple(row) for row in tx.rows(_BY_TRACE, p_trace=trace_id)]

    # ------------------------------------------------------------ upkeep

    def tombstones_beyond(self, tx: Transaction, kept: int) -> list[tuple[int, int]]:
        """Give (folder id, modseq) of the folders with more than `kept` tombstones: those up to modseq are the oldest ones."""
        return [(row[0], row[1]) for row in tx.rows(_BEYOND, p_kept=kept) if row[1] is not None]

    def purge_tombstones(self, tx: Transaction, folder_id: int, modseq: int) -> int:
        """Delete tombstones up to `modseq`; older `changes_since` then raise TooManyChanges. Gives how many."""
        if not tx.change(_PURGE_MARK, p_folder=folder_id, p_modseq=modseq):
            return 0
        return tx.change(_PURGE, p_folder=folder_id, p_modseq=modseq)

    def blobs_in_use(self, tx: Transaction, keys: Sequence[str]) -> set[str]:
        """Give which of these blob keys a message names: what a sweep of files must keep."""
        return {row[0] for row in tx.rows_of(_BLOBS_IN_USE, "p_keys", keys)} if keys else set()
