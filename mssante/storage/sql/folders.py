"""Folders of a mailbox: creation, renaming, deletion, subscription, and their counters.

- Counters (messages, unseen, deleted, size, highest modseq) live in the folder row and change in the same transaction as
  the rows that they count.
- A new folder never takes an old UIDVALIDITY: they come from a counter that also follows the time of each opening.
- Content of a deleted folder becomes an orphan candidate; `sweep` decides later whether it stands elsewhere.
- A subscription is to a name (RFC 9051 §6.3.7): on the folder while there is one, else in `lost_subscription`.
- What a client was told of as `\\Recent` is one boundary a folder, moved for many folders at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, delete, func, select, update
from sqlalchemy import insert as insert_into

from mssante.model.mailbox import Folder, SpecialUse
from mssante.storage.sql.annotations import forget_folder_tx
from mssante.storage.sql.rows import copy_rows_tx, lock_folders_tx, tombstone_tx
from mssante.storage.sql.tables import folder, folder_message, lost_subscription, mailbox, message_orphan
from mssante.storage.sql.transaction import InsertRows, Statement, Transaction, ValuesStatement

INBOX = "INBOX"
FIRST_FOLDERS: tuple[tuple[str, str], ...] = (
    (INBOX, SpecialUse.NONE.value), ("Drafts", SpecialUse.DRAFTS.value), ("Sent", SpecialUse.SENT.value),
    ("Trash", SpecialUse.TRASH.value), ("Junk", SpecialUse.JUNK.value), ("Archive", SpecialUse.ARCHIVE.value))

_C = folder.c
FOLDER_COLUMNS = (_C.id, _C.mailbox_id, _C.name, _C.special_use, _C.uidvalidity, _C.uidnext, _C.highest_modseq,
                  _C.message_count, _C.unseen_count, _C.deleted_count, _C.size_bytes, _C.subscribed,
                  _C.seen_private, _C.recent_uid)
_INSERT = InsertRows(folder, [
    "id", "mailbox_id", "name", "special_use", "uidvalidity", "uidnext", "highest_modseq", "purged_modseq",
    "message_count", "unseen_count", "deleted_count", "size_bytes", "subscribed"])
_OF_MAILBOX = Statement(select(*FOLDER_COLUMNS).where(_C.mailbox_id == bindparam("p_mailbox")))
_GET = Statement(select(*FOLDER_COLUMNS).where(_C.id == bindparam("p_folder")))
_MODSEQS = Statement(select(_C.id, _C.highest_modseq).where(_C.id.in_(bindparam("p_folders", expanding=True))))
_BY_NAME = Statement(select(_C.id).where(_C.mailbox_id == bindparam("p_mailbox"), _C.name == bindparam("p_name")))
_SUBTREE_NAMES = Statement(select(_C.name).where(
    _C.mailbox_id == bindparam("p_mailbox"),
    (_C.name == bindparam("p_name")) | (func.substr(_C.name, 1, bindparam("p_length")) == bindparam("p_lead"))))
_RENAME_TREE = Statement(update(folder).where(
    _C.mailbox_id == bindparam("p_mailbox"),
    (_C.name == bindparam("p_name")) | (func.substr(_C.name, 1, bindparam("p_length")) == bindparam("p_lead")),
).values(name=bindparam("p_new").concat(func.substr(_C.name, bindparam("p_rest")))))
_SUBSCRIBE = Statement(update(folder).where(_C.mailbox_id == bindparam("p_mailbox"), _C.name == bindparam("p_name"))
                       .values(subscribed=bindparam("p_on")))
_SUBSCRIBE_TREE = Statement(update(folder).where(
    _C.mailbox_id == bindparam("p_mailbox"), _C.name.in_(bindparam("p_names", expanding=True))).values(subscribed=1))
_L = lost_subscription.c
_LOST = Statement(select(_L.name).where(_L.mailbox_id == bindparam("p_mailbox")))
_OTHERS_LOST = Statement(select(func.count()).where(_L.mailbox_id == bindparam("p_mailbox"), _L.name != bindparam("p_name")))
_LOSE = InsertRows(lost_subscription, ["mailbox_id", "name"], ignore="mailbox_id, name")
_FORGET_LOST = Statement(delete(lost_subscription).where(_L.mailbox_id == bindparam("p_mailbox"),
                                                        _L.name == bindparam("p_name")))
_FIND_LOST_TREE = Statement(delete(lost_subscription).where(
    _L.mailbox_id == bindparam("p_mailbox"),
    (_L.name == bindparam("p_name")) | (func.substr(_L.name, 1, bindparam("p_length")) == bindparam("p_lead")),
    _L.name.in_(select(_C.name).where(_C.mailbox_id == bindparam("p_mailbox")))).returning(_L.name))
_M = folder_message.c
_RECENT = Statement(select(_C.id, func.count()).select_from(folder.join(folder_message, _M.folder_id == _C.id)).where(
    _C.id.in_(bindparam("p_folders", expanding=True)), _M.uid >= _C.recent_uid, _M.expunged == 0).group_by(_C.id))
_MOVE_RECENT = ValuesStatement(
    f"UPDATE {folder.name} SET {_C.recent_uid.name} = v.column2 FROM (VALUES {{rows}}) AS v "  # noqa: S608 -- names of the table
    f"WHERE {folder.name}.{_C.id.name} = v.column1 AND {_C.recent_uid.name} < v.column2", 2)
_DELETE = Statement(delete(folder).where(_C.id == bindparam("p_folder")))
_DELETE_ROWS = Statement(delete(folder_message).where(folder_message.c.folder_id == bindparam("p_folder")))
_ORPHANS = Statement(insert_into(message_orphan).from_select(
    [message_orphan.c.message_id],
    select(folder_message.c.message_id).where(folder_message.c.folder_id == bindparam("p_folder"),
                                              ~folder_message.c.message_id.in_(select(message_orphan.c.message_id)))
    .distinct()))
_MAILBOX = Statement(select(mailbox.c.id).where(mailbox.c.id == bindparam("p_mailbox")))


def folder_of(row: Sequence[Any]) -> Folder:
    """Give the value of a row of FOLDER_COLUMNS."""
    fields: list[Any] = list(row)
    fields[11:13] = bool(fields[11]), bool(fields[12])
    return Folder(*fields)


def insert_folders_tx(tx: Transaction, wanted: Sequence[tuple[int, str, str]], *, subscribed: bool = True) -> list[int]:
    """Insert empty folders given as (mailbox id, name, special use); give their ids."""
    head = tx.head
    first = tx.take_ids(len(wanted))
    uidvalidity = head.next_uidvalidity
    head.next_uidvalidity = uidvalidity + len(wanted)
    flat: list[object] = []
    for offset, (mailbox_id, name, special_use) in enumerate(wanted):
        flat += (first + offset, mailbox_id, name, special_use, uidvalidity + offset, 1, 1, 0, 0, 0, 0, 0, int(subscribed))
    _INSERT.run(tx, flat)
    return list(range(first, first + len(wanted)))


class SqlFolderStore:
    """`mssante.storage.interfaces.FolderStore`."""

    def of_mailbox(self, tx: Transaction, mailbox_id: int) -> list[Folder]:
        """Give all folders, ordered by name, INBOX first."""
        found = [folder_of(row) for row in tx.rows(_OF_MAILBOX, p_mailbox=mailbox_id)]
        # Sorted here: engines order texts by their own rules.
        return sorted(found, key=lambda known: (known.name != INBOX, known.name))

    def get(self, tx: Transaction, folder_id: int) -> Folder | None:
        """Give one folder or None."""
        row = tx.one(_GET, p_folder=folder_id)
        return None if row is None else folder_of(row)

    def modseqs(self, tx: Transaction, folder_ids: Sequence[int]) -> dict[int, int]:
        """Give the highest modseq of each of these folders that exists."""
        return {row[0]: row[1] for row in tx.rows_of(_MODSEQS, "p_folders", folder_ids)} if folder_ids else {}

    def create(self, tx: Transaction, mailbox_id: int, name: str, special_use: str = "", *, subscribed: bool = True) -> Folder:
        """Create a folder; without `subscribed` it is only when its name was. Raises ValueError when the name exists, LookupError
        when the mailbox does not."""
        if tx.one(_BY_NAME, p_mailbox=mailbox_id, p_name=name) is not None:
            raise ValueError("folder exists")
        if tx.one(_MAILBOX, p_mailbox=mailbox_id) is None:
            raise LookupError("mailbox is gone")
        known = tx.change(_FORGET_LOST, p_mailbox=mailbox_id, p_name=name) > 0
        (folder_id,) = insert_folders_tx(tx, [(mailbox_id, name, special_use)], subscribed=subscribed or known)
        return folder_of(tx.one(_GET, p_folder=folder_id))

    def rename(self, tx: Transaction, folder_id: int, name: str) -> None:
        """Rename with its children (RFC 9051 §6.3.6). Raises ValueError when a new name exists, LookupError when gone."""
        row = tx.one(_GET, p_folder=folder_id)
        if row is None:
            raise LookupError("folder is gone")
        known = folder_of(row)
        if name == known.name:
            raise ValueError("folder exists")
        if name.startswith(known.name + "/"):
            raise ValueError("a folder cannot move below itself")
        if tx.rows(_SUBTREE_NAMES, **_subtree(known.mailbox_id, name)):
            raise ValueError("folder exists")
        tx.change(_RENAME_TREE, **_subtree(known.mailbox_id, known.name), p_new=name, p_rest=len(known.name) + 1)
        again = [row[0] for row in tx.rows(_FIND_LOST_TREE, **_subtree(known.mailbox_id, name))]
        if again:
            tx.change_of(_SUBSCRIBE_TREE, "p_names", again, p_mailbox=known.mailbox_id)

    def move_all(self, tx: Transaction, source_id: int, target_id: int, *, now: datetime) -> None:
        """Move every live row (RENAME INBOX, RFC 9051 §6.3.6). Raises LookupError when a folder is gone."""
        if source_id == target_id:
            return
        folders = lock_folders_tx(tx, source_id, target_id)
        copy_rows_tx(tx, source_id, folders[target_id], None, now=now)
        tombstone_tx(tx, folders[source_id], None, deleted_only=False, orphans=False)

    def delete(self, tx: Transaction, folder_id: int, *, most_lost: int = 0) -> None:
        """Delete a folder and its rows; what it held becomes an orphan candidate. A folder already gone is no fault.

        most_lost: its subscription stays unless the mailbox has that many to names without folder.
        """
        known = self.get(tx, folder_id) if most_lost else None
        if known is not None and known.subscribed:
            self._lose(tx, known.mailbox_id, known.name, most_lost)
        tx.change(_ORPHANS, p_folder=folder_id)
        forget_folder_tx(tx, folder_id)
        tx.change(_DELETE_ROWS, p_folder=folder_id)
        tx.change(_DELETE, p_folder=folder_id)

    def subscribe(self, tx: Transaction, mailbox_id: int, name: str, on: bool, *, most_lost: int = 0) -> bool:
        """Set the subscription to a name; give False when there is no such folder and no room for its name (`most_lost`)."""
        if tx.change(_SUBSCRIBE, p_mailbox=mailbox_id, p_name=name, p_on=int(on)) > 0:
            return True
        if on:
            return self._lose(tx, mailbox_id, name, most_lost)
        return tx.change(_FORGET_LOST, p_mailbox=mailbox_id, p_name=name) > 0

    def _lose(self, tx: Transaction, mailbox_id: int, name: str, most: int) -> bool:
        """Remember the subscription to a name without folder; False when there are too many."""
        if tx.one(_OTHERS_LOST, p_mailbox=mailbox_id, p_name=name)[0] >= most:
            return False
        _LOSE.run(tx, [mailbox_id, name])
        return True

    def lost_subscriptions(self, tx: Transaction, mailbox_id: int) -> list[str]:
        """Give the names without folder that are subscribed, in order."""
        return sorted(row[0] for row in tx.rows(_LOST, p_mailbox=mailbox_id))

    def recent_counts(self, tx: Transaction, folder_ids: Sequence[int]) -> dict[int, int]:
        """Count live messages that no client was told of as `\\Recent`; folders without any are absent."""
        return {row[0]: row[1] for row in tx.rows_of(_RECENT, "p_folders", folder_ids)} if folder_ids else {}

    def move_recent(self, tx: Transaction, boundaries: Mapping[int, int]) -> None:
        """Set the first UID that no client was told of, by folder; it never goes back."""
        if boundaries:
            _MOVE_RECENT.execute(tx, [value for pair in sorted(boundaries.items()) for value in pair])


def _subtree(mailbox_id: int, name: str) -> dict[str, object]:
    """Give the parameters that select a folder and all below it."""
    lead = name + "/"
    return {"p_mailbox": mailbox_id, "p_name": name, "p_lead": lead, "p_length": len(lead)}
