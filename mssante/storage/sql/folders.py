"""Folders of a mailbox: creation, renaming, deletion, subscription, and their counters.

- Counters (messages, unseen, deleted, size, highest modseq) live in the folder row and change in the same transaction as
  the rows that they count.
- A new folder never takes an old UIDVALIDITY: they come from a counter that also follows the time of each opening.
- Content of a deleted folder becomes an orphan candidate; `sweep` decides later whether it stands elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import bindparam, delete, func, select, update
from sqlalchemy import insert as insert_into

from mssante.model.mailbox import Folder, SpecialUse
from mssante.storage.sql.rows import copy_rows_tx, lock_folders_tx, tombstone_tx
from mssante.storage.sql.tables import folder, folder_message, mailbox, message_orphan
from mssante.storage.sql.transaction import InsertRows, Statement, Transaction

INBOX = "INBOX"
FIRST_FOLDERS: tuple[tuple[str, str], ...] = (
    (INBOX, SpecialUse.NONE.value), ("Drafts", SpecialUse.DRAFTS.value), ("Sent", SpecialUse.SENT.value),
    ("Trash", SpecialUse.TRASH.value), ("Junk", SpecialUse.JUNK.value), ("Archive", SpecialUse.ARCHIVE.value))

_C = folder.c
FOLDER_COLUMNS = (_C.id, _C.mailbox_id, _C.name, _C.special_use, _C.uidvalidity, _C.uidnext, _C.highest_modseq,
                  _C.message_count, _C.unseen_count, _C.deleted_count, _C.size_bytes, _C.subscribed)
_INSERT = InsertRows(folder, [
    "id", "mailbox_id", "name", "special_use", "uidvalidity", "uidnext", "highest_modseq", "purged_modseq",
    "message_count", "unseen_count", "deleted_count", "size_bytes", "subscribed"])
_OF_MAILBOX = Statement(select(*FOLDER_COLUMNS).where(_C.mailbox_id == bindparam("p_mailbox")))
_GET = Statement(select(*FOLDER_COLUMNS).where(_C.id == bindparam("p_folder")))
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
    fields[-1] = bool(fields[-1])
    return Folder(*fields)


def insert_folders_tx(tx: Transaction, wanted: Sequence[tuple[int, str, str]]) -> list[int]:
    """Insert empty folders given as (mailbox id, name, special use); give their ids."""
    head = tx.head
    first = tx.take_ids(len(wanted))
    uidvalidity = head.next_uidvalidity
    head.next_uidvalidity = uidvalidity + len(wanted)
    flat: list[object] = []
    for offset, (mailbox_id, name, special_use) in enumerate(wanted):
        flat += (first + offset, mailbox_id, name, special_use, uidvalidity + offset, 1, 1, 0, 0, 0, 0, 0, 1)
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

    def create(self, tx: Transaction, mailbox_id: int, name: str, special_use: str = "") -> Folder:
        """Create a subscribed folder. Raises ValueError when the name exists, LookupError when the mailbox does not."""
        if tx.one(_BY_NAME, p_mailbox=mailbox_id, p_name=name) is not None:
            raise ValueError("folder exists")
        if tx.one(_MAILBOX, p_mailbox=mailbox_id) is None:
            raise LookupError("mailbox is gone")
        (folder_id,) = insert_folders_tx(tx, [(mailbox_id, name, special_use)])
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

    def move_all(self, tx: Transaction, source_id: int, target_id: int) -> None:
        """Move every live row (RENAME INBOX, RFC 9051 §6.3.6). Raises LookupError when a folder is gone."""
        if source_id == target_id:
            return
        folders = lock_folders_tx(tx, source_id, target_id)
        copy_rows_tx(tx, source_id, folders[target_id], None)
        tombstone_tx(tx, folders[source_id], None, deleted_only=False, orphans=False)

    def delete(self, tx: Transaction, folder_id: int) -> None:
        """Delete a folder and its rows; what it held becomes an orphan candidate. A folder already gone is no fault."""
        tx.change(_ORPHANS, p_folder=folder_id)
        tx.change(_DELETE_ROWS, p_folder=folder_id)
        tx.change(_DELETE, p_folder=folder_id)

    def subscribe(self, tx: Transaction, mailbox_id: int, name: str, on: bool) -> bool:
        """Set the subscription; give False when no such folder."""
        return tx.change(_SUBSCRIBE, p_mailbox=mailbox_id, p_name=name, p_on=int(on)) > 0


def _subtree(mailbox_id: int, name: str) -> dict[str, object]:
    """Give the parameters that select a folder and all below it."""
    lead = name + "/"
    return {"p_mailbox": mailbox_id, "p_name": name, "p_lead": lead, "p_length": len(lead)}
