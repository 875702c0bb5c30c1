"""STORE: flags by bit arithmetic in SQL, keywords by one UPDATE for each distinct old value.

- Only rows that really change get the new modseq (RFC 7162 §3.1.3: a STORE that changes nothing need not).
- `unchanged_since` refuses rows whose modseq is above it, and leaves them untouched (RFC 7162 §3.1.3).
- Keywords compare without case (RFC 9051 §2.3.2) and keep the case they were first given with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import bindparam, select, update

from mssante.model.message import FolderRow
from mssante.storage.interfaces import FlagChange
from mssante.storage.sql.rows import (
    DELETED,
    LIVE,
    ROW_COLUMNS,
    SEEN,
    LockedFolder,
    R,
    UidStatement,
    folder_row,
    lock_folders_tx,
)
from mssante.storage.sql.tables import folder, folder_message
from mssante.storage.sql.transaction import Statement, Transaction

_ALL_BITS = 0x7FFFFFFF

_ROWS = UidStatement(select(*ROW_COLUMNS).where(LIVE))
_SET_FLAGS = UidStatement(update(folder_message).where(LIVE).values(
    flags=R.flags.op("&")(bindparam("p_keep")).op("|")(bindparam("p_add")), modseq=bindparam("p_modseq")))
_SET_KEYWORDS = UidStatement(update(folder_message).where(LIVE, R.keywords == bindparam("p_old")).values(
    keywords=bindparam("p_new"), modseq=bindparam("p_modseq")))
_COUNT = Statement(update(folder).where(folder.c.id == bindparam("p_folder")).values(
    highest_modseq=bindparam("p_modseq"), unseen_count=folder.c.unseen_count + bindparam("p_unseen"),
    deleted_count=folder.c.deleted_count + bindparam("p_deleted")))


def set_flags_tx(tx: Transaction, folder_id: int, uids: Sequence[int],
                 change: FlagChange) -> tuple[list[FolderRow], list[int]]:
    """Apply a STORE; give (rows after it ordered by uid, UIDs refused). Raises LookupError, ValueError on a wrong mode."""
    keep, add = _masks(change)
    if not uids:
        return [], []
    source = lock_folders_tx(tx, folder_id)[folder_id]
    found = sorted(_ROWS.rows(tx, sorted(set(uids)), p_folder=folder_id))
    since = change.unchanged_since
    refused = [row[0] for row in found if since is not None and row[1] > since]
    if refused:
        found = [row for row in found if since is not None and row[1] <= since]
    keywords = {old: _keywords(old, change) for old in {row[3] for row in found}}
    after: list[tuple[Any, ...]] = []
    reflagged: list[int] = []
    renamed: dict[str, list[int]] = {}
    unseen = deleted = 0
    for uid, modseq, flags, old, *rest in found:
        new_flags = flags & keep | add
        new = keywords[old]
        if new_flags != flags:
            reflagged.append(uid)
            unseen += bool(flags & SEEN) - bool(new_flags & SEEN)
            deleted += bool(new_flags & DELETED) - bool(flags & DELETED)
        if new != old:
            renamed.setdefault(old, []).append(uid)
        changed = new_flags != flags or new != old
        after.append((uid, source.next_modseq if changed else modseq, new_flags, new, *rest))
    _write(tx, source, (reflagged, keep, add), (renamed, keywords.__getitem__))
    if reflagged or renamed:
        tx.change(_COUNT, p_folder=folder_id, p_modseq=source.next_modseq, p_unseen=unseen, p_deleted=deleted)
    return [folder_row(row) for row in after], refused


def _write(tx: Transaction, source: LockedFolder, flags: tuple[list[int], int, int],
           keywords: tuple[dict[str, list[int]], Callable[[str], str]]) -> None:
    reflagged, keep, add = flags
    if reflagged:
        _SET_FLAGS.change(tx, reflagged, p_folder=source.id, p_keep=keep, p_add=add, p_modseq=source.next_modseq)
    renamed, new_of = keywords
    # Distinct values first read, then written: a new value may equal another old one, so UIDs bound each UPDATE.
    for old, uids in renamed.items():
        _SET_KEYWORDS.change(tx, uids, p_folder=source.id, p_old=old, p_new=new_of(old), p_modseq=source.next_modseq)


def _masks(change: FlagChange) -> tuple[int, int]:
    """Give (bits kept, bits added)."""
    bits = int(change.flags) & change.mask
    if change.mode == "set":
        return _ALL_BITS & ~change.mask, bits
    if change.mode == "add":
        return _ALL_BITS, bits
    if change.mode == "remove":
        return _ALL_BITS & ~bits, 0
    raise ValueError("mode is set, add or remove")


def _keywords(old: str, change: FlagChange) -> str:
    """Give the stored form after a change: sorted, one space between words."""
    if not change.words:
        return old
    words = {word.lower(): word for word in old.split()}
    given = {word.lower(): word for word in change.keywords}
    if change.mode == "set":
        words = {key: words.get(key, word) for key, word in given.items()}
    elif change.mode == "add":
        words = {**given, **words}
    else:
        words = {key: word for key, word in words.items() if key not in given}
    return " ".join(sorted(words.values()))
