"""`\\Seen` kept for each reader: a row of `private_seen` says that an account has read a message of such a folder.

- Rows stand only for live messages: whoever expunges removes them (`rows.tombstone_tx`), so that they can be counted.
- What really changes gets a new modseq, so that the other sessions of the same reader are told; those of others see a repeat.
- The shared `\\Seen` bit of such a folder means nothing while it is private; both switches carry it over.
Called by `SqlRightStore`.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import bindparam, delete, func, insert, select, update

from mssante.storage.rights import SeenChange
from mssante.storage.sql.rows import LIVE, ROW_COLUMNS, SEEN, R, UidStatement, folder_row, lock_folders_tx
from mssante.storage.sql.tables import account, delegation, folder, folder_message, folder_right, private_seen
from mssante.storage.sql.transaction import InsertRows, Statement, Transaction

_S = private_seen.c
_OF_READER = (_S.folder_id == bindparam("p_folder"), _S.account_id == bindparam("p_account"))
_ALL_BITS = 0x7FFFFFFF

_SEEN = Statement(select(_S.uid).where(*_OF_READER).order_by(_S.uid))
_COUNTS = Statement(select(_S.folder_id, func.count()).where(
    _S.account_id == bindparam("p_account"), _S.folder_id.in_(bindparam("p_folders", expanding=True))).group_by(_S.folder_id))
_INSERT = InsertRows(private_seen, ["folder_id", "account_id", "uid"], ignore="folder_id, account_id, uid")
_CLEAR = Statement(delete(private_seen).where(*_OF_READER, _S.uid.in_(bindparam("p_uids", expanding=True))))
_CLEAR_ALL = Statement(delete(private_seen).where(_S.folder_id == bindparam("p_folder")))

_LIVE_ROWS = UidStatement(select(*ROW_COLUMNS).where(LIVE))
_TOUCH = UidStatement(update(folder_message).where(LIVE).values(modseq=bindparam("p_modseq")))
_MODSEQ = Statement(update(folder).where(folder.c.id == bindparam("p_folder")).values(highest_modseq=bindparam("p_modseq")))

_PRIVATE = Statement(update(folder).where(folder.c.id == bindparam("p_folder")).values(
    seen_private=1, highest_modseq=bindparam("p_modseq")))
_SHARED = Statement(update(folder).where(folder.c.id == bindparam("p_folder")).values(
    seen_private=0, highest_modseq=bindparam("p_modseq"),
    unseen_count=folder.c.message_count - bindparam("p_seen")))
_OPENERS = select(delegation.c.account_id).where(delegation.c.mailbox_id == select(folder.c.mailbox_id).where(
    folder.c.id == bindparam("p_folder")).scalar_subquery())
_NAMED = select(account.c.id).join(folder_right, folder_right.c.identifier == account.c.login).where(
    folder_right.c.folder_id == bindparam("p_folder"))
_SEED = Statement(insert(private_seen).from_select(
    [_S.folder_id, _S.account_id, _S.uid],
    select(R.folder_id, account.c.id, R.uid).select_from(folder_message.join(
        account, account.c.id.in_(_OPENERS) | account.c.id.in_(_NAMED))).where(
        R.folder_id == bindparam("p_folder"), LIVE, R.flags.op("&")(SEEN) != 0)))
_OWNER = Statement(select(func.min(delegation.c.account_id)).where(delegation.c.position == 0, delegation.c.mailbox_id == select(
    folder.c.mailbox_id).where(folder.c.id == bindparam("p_folder")).scalar_subquery()))
_UNREAD = Statement(update(folder_message).where(R.folder_id == bindparam("p_folder"), LIVE).values(
    flags=R.flags.op("&")(_ALL_BITS & ~SEEN), modseq=bindparam("p_modseq")))
_READ = Statement(update(folder_message).where(
    R.folder_id == bindparam("p_folder"), LIVE, R.uid.in_(select(_S.uid).where(*_OF_READER)),
).values(flags=R.flags.op("|")(SEEN)))


def seen_tx(tx: Transaction, folder_id: int, account_id: int) -> list[int]:
    """Give the UIDs that an account has seen, in order."""
    return [row[0] for row in tx.rows(_SEEN, p_folder=folder_id, p_account=account_id)]


def seen_counts_tx(tx: Transaction, account_id: int, folder_ids: Sequence[int]) -> dict[int, int]:
    """Count by folder; folders without any are absent."""
    if not folder_ids:
        return {}
    return {row[0]: row[1] for row in tx.rows_of(_COUNTS, "p_folders", folder_ids, p_account=account_id)}


def mark_tx(tx: Transaction, reader: tuple[int, int], seen: Sequence[int], unseen: Sequence[int]) -> SeenChange:
    """Set and clear for one (folder id, account id); raises LookupError when the folder is gone."""
    folder_id, account_id = reader
    wanted = sorted({*seen, *unseen})
    if not wanted:
        return SeenChange(())
    modseq = lock_folders_tx(tx, folder_id)[folder_id].next_modseq
    live = {row[0]: row for row in _LIVE_ROWS.rows(tx, wanted, p_folder=folder_id)}
    held = set(seen_tx(tx, folder_id, account_id))
    added = [uid for uid in sorted(set(seen)) if uid in live and uid not in held]
    removed = [uid for uid in sorted(set(unseen)) if uid in live and uid in held]
    touched = sorted({*added, *removed})
    if added:
        _INSERT.run(tx, [value for uid in added for value in (folder_id, account_id, uid)])
    if removed:
        tx.change_of(_CLEAR, "p_uids", removed, p_folder=folder_id, p_account=account_id)
    if touched:
        _TOUCH.change(tx, touched, p_folder=folder_id, p_modseq=modseq)
        tx.change(_MODSEQ, p_folder=folder_id, p_modseq=modseq)
    moved = set(touched)
    rows = [(uid, modseq if uid in moved else live[uid][1], *live[uid][2:]) for uid in sorted(live)]
    return SeenChange(tuple(folder_row(row) for row in rows), tuple(added), tuple(removed))


def switch_tx(tx: Transaction, folder_id: int, private: bool) -> int:
    """Make `\\Seen` of a folder private or shared, carrying over what is read; give its modseq, 0 when nothing changed."""
    source = lock_folders_tx(tx, folder_id)[folder_id]
    if bool(source.seen_private) is private:
        return 0
    if private:
        tx.change(_CLEAR_ALL, p_folder=folder_id)
        tx.change(_SEED, p_folder=folder_id)
        tx.change(_PRIVATE, p_folder=folder_id, p_modseq=source.next_modseq)  # so that open views hear of the switch
        return source.next_modseq
    owner = tx.one(_OWNER, p_folder=folder_id)[0] or 0
    seen = seen_counts_tx(tx, owner, [folder_id]).get(folder_id, 0)
    tx.change(_UNREAD, p_folder=folder_id, p_modseq=source.next_modseq)
    tx.change(_READ, p_folder=folder_id, p_account=owner)
    tx.change(_SHARED, p_folder=folder_id, p_modseq=source.next_modseq, p_seen=seen)
    tx.change(_CLEAR_ALL, p_folder=folder_id)
    return source.next_modseq
