"""Rows of messages in folders: what flags, copies, expunges and folder operations share.

- Every unit that changes rows of a folder takes the folder's row first (`lock_folders_tx`, in id order): on PostgreSQL
  this is the lock, on SQLite there is one writer. So what is read after it cannot move before the commit.
- One unit gives one new modseq to all rows that it changes in a folder (RFC 7162 §3.1); an expunged row stays as a
  tombstone with that modseq.
- A set of UIDs without hole is one range in SQL; another one is an IN list in parts of 8192.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, Update, bindparam, delete, func, insert, literal, select, update
from sqlalchemy.sql.dml import ReturningUpdate

from mssante.model.message import Flags, FolderRow
from mssante.storage.sql.tables import folder, folder_message, message_orphan, private_seen
from mssante.storage.sql.transaction import MAX_LIST, Statement, Transaction
from mssante.storage.sql.values import instant, micros

SEEN = Flags.SEEN.value
DELETED = Flags.DELETED.value

R = folder_message.c
ROW_COLUMNS = (R.uid, R.modseq, R.flags, R.keywords, R.internal_date, R.size, R.message_id, R.saved_at)
LIVE = R.expunged == 0
IN_FOLDER = R.folder_id == bindparam("p_folder")


class UidStatement:
    """A statement about rows of one folder (`p_folder`), in three forms: all rows, a range of UIDs, a list of UIDs."""

    __slots__ = ("_all", "_list", "_range")

    def __init__(self, base: Select[Any] | Update | ReturningUpdate[Any]) -> None:
        scoped = base.where(IN_FOLDER)
        self._all = Statement(scoped)
        self._range = Statement(scoped.where(R.uid.between(bindparam("p_first"), bindparam("p_last"))))
        self._list = Statement(scoped.where(R.uid.in_(bindparam("p_uids", expanding=True))))

    def rows(self, tx: Transaction, uids: Sequence[int] | None, **given: Any) -> list[Any]:
        """Run on these UIDs (None: all) and give the rows."""
        if uids is None:
            return tx.rows(self._all, **given)
        if _is_range(uids):
            return tx.rows(self._range, p_first=min(uids), p_last=max(uids), **given)
        return tx.rows_of(self._list, "p_uids", uids, **given)

    def change(self, tx: Transaction, uids: Sequence[int] | None, **given: Any) -> None:
        """Run on these UIDs (None: all); the statement gives no row."""
        if uids is None:
            tx.change(self._all, **given)
        elif _is_range(uids):
            tx.change(self._range, p_first=min(uids), p_last=max(uids), **given)
        else:
            tx.change_of(self._list, "p_uids", uids, **given)


def _is_range(uids: Sequence[int]) -> bool:
    """True when UIDs, each given once, have no hole."""
    return bool(uids) and max(uids) - min(uids) + 1 == len(uids) == len(set(uids))


@dataclass(frozen=True, slots=True)
class LockedFolder:
    """A folder row taken for change."""

    id: int
    uidnext: int
    highest_modseq: int
    seen_private: int = 0

    @property
    def next_modseq(self) -> int:
        """The modseq of this unit's changes."""
        return self.highest_modseq + 1


_LOCK = Statement(select(folder.c.id, folder.c.uidnext, folder.c.highest_modseq, folder.c.seen_private)
                  .where(folder.c.id.in_(bindparam("p_ids", expanding=True))).order_by(folder.c.id).with_for_update())
_LIVE_SIZES = UidStatement(select(R.uid, R.flags, R.size).where(LIVE).order_by(R.uid))
_COPY_COLUMNS = ["folder_id", "uid", "message_id", "modseq", "flags", "keywords", "internal_date", "size", "expunged",
                 "saved_at"]


def _copy_form(*conditions: Any) -> Statement:
    """Give an INSERT … SELECT that numbers the copies from `p_uidnext` in UID order."""
    uid = literal(0).op("+")(bindparam("p_before", type_=R.uid.type)) + func.row_number().over(order_by=R.uid)
    source = select(bindparam("p_target", type_=R.folder_id.type), uid, R.message_id,
                    bindparam("p_modseq", type_=R.modseq.type), R.flags, R.keywords, R.internal_date, R.size,
                    literal(0), bindparam("p_saved", type_=R.saved_at.type)).where(IN_FOLDER, LIVE, *conditions)
    return Statement(insert(folder_message).from_select([R[name] for name in _COPY_COLUMNS], source))


_COPY_RANGE = _copy_form(R.uid.between(bindparam("p_first"), bindparam("p_last")))
_COPY_LIST = _copy_form(R.uid.in_(bindparam("p_uids", expanding=True)))

_TOMBSTONE = update(folder_message).where(LIVE).values(expunged=1, modseq=bindparam("p_modseq"))
_TOMBSTONE_ANY = UidStatement(_TOMBSTONE.returning(R.uid, R.flags, R.size))
_TOMBSTONE_DELETED = UidStatement(_TOMBSTONE.where(R.flags.op("&")(DELETED) != 0).returning(R.uid, R.flags, R.size))
_SHRINK = Statement(update(folder).where(folder.c.id == bindparam("p_folder")).values(
    highest_modseq=bindparam("p_modseq"), message_count=folder.c.message_count - bindparam("p_count"),
    unseen_count=folder.c.unseen_count - bindparam("p_unseen"),
    deleted_count=folder.c.deleted_count - bindparam("p_deleted"),
    size_bytes=folder.c.size_bytes - bindparam("p_size")))
_GROW = Statement(update(folder).where(folder.c.id == bindparam("p_folder")).values(
    highest_modseq=bindparam("p_modseq"), uidnext=folder.c.uidnext + bindparam("p_count"),
    message_count=folder.c.message_count + bindparam("p_count"),
    unseen_count=folder.c.unseen_count + bindparam("p_unseen"),
    deleted_count=folder.c.deleted_count + bindparam("p_deleted"),
    size_bytes=folder.c.size_bytes + bindparam("p_size")))
# The modseq belongs to this unit alone, so it names exactly the rows that it expunged.
_NEW_ORPHANS = Statement(insert(message_orphan).from_select(
    [message_orphan.c.message_id],
    select(R.message_id).where(IN_FOLDER, R.modseq == bindparam("p_modseq"), R.expunged == 1,
                               ~R.message_id.in_(select(message_orphan.c.message_id))).distinct()))


_UNSEE = Statement(delete(private_seen).where(private_seen.c.folder_id == bindparam("p_folder"),
                                              private_seen.c.uid.in_(bindparam("p_uids", expanding=True))))


def lock_folders_tx(tx: Transaction, *folder_ids: int) -> dict[int, LockedFolder]:
    """Take folder rows in id order; raises LookupError when one is gone."""
    found = {row[0]: LockedFolder(*row) for row in tx.rows(_LOCK, p_ids=sorted(set(folder_ids)))}
    if len(found) != len(set(folder_ids)):
        raise LookupError("folder is gone")
    return found


def copy_rows_tx(tx: Transaction, source_id: int, target: LockedFolder, uids: Sequence[int] | None, *,
                 now: datetime) -> list[tuple[int, int]]:
    """Copy live rows with their flags; give (source uid, target uid) ordered by source uid. now: their save date (RFC 8514)."""
    if uids is not None and not uids:
        return []
    found = sorted(_LIVE_SIZES.rows(tx, None if uids is None else sorted(set(uids)), p_folder=source_id))
    if not found:
        return []
    before = target.uidnext - 1
    given = {"p_folder": source_id, "p_target": target.id, "p_modseq": target.next_modseq,
             "p_saved": micros(now)}
    if uids is None or _is_range(uids):
        tx.change(_COPY_RANGE, p_first=found[0][0], p_last=found[-1][0], p_before=before, **given)
    else:
        for start in range(0, len(found), MAX_LIST):
            part = [row[0] for row in found[start:start + MAX_LIST]]
            tx.change(_COPY_LIST, p_uids=part, p_before=before + start, **given)
    tx.change(_GROW, p_folder=target.id, p_modseq=target.next_modseq, **_sums(found))
    return [(row[0], before + place) for place, row in enumerate(found, 1)]


def tombstone_tx(tx: Transaction, source: LockedFolder, uids: Sequence[int] | None, *, deleted_only: bool,
                 orphans: bool) -> list[int]:
    """Turn live rows (among `uids`; only those flagged Deleted when asked) into tombstones; give their UIDs in order."""
    if uids is not None and not uids:
        return []
    statement = _TOMBSTONE_DELETED if deleted_only else _TOMBSTONE_ANY
    wanted = None if uids is None else sorted(set(uids))
    found = statement.rows(tx, wanted, p_folder=source.id, p_modseq=source.next_modseq)
    if not found:
        return []
    tx.change(_SHRINK, p_folder=source.id, p_modseq=source.next_modseq, **_sums(found))
    if source.seen_private:
        tx.change_of(_UNSEE, "p_uids", [row[0] for row in found], p_folder=source.id)
    if orphans:
        tx.change(_NEW_ORPHANS, p_folder=source.id, p_modseq=source.next_modseq)
    return sorted(row[0] for row in found)


def _sums(rows: Sequence[tuple[int, int, int]]) -> dict[str, int]:
    """Sum (uid, flags, size) rows into the counters of a folder."""
    return {"p_count": len(rows), "p_unseen": sum(1 for row in rows if not row[1] & SEEN),
            "p_deleted": sum(1 for row in rows if row[1] & DELETED), "p_size": sum(row[2] for row in rows)}


def folder_row(row: Sequence[Any]) -> FolderRow:
    """Give the value of a row of ROW_COLUMNS."""
    uid, modseq, flags, keywords, internal_date, size, message_id, saved_at = row
    return FolderRow(uid, modseq, flags, keywords, instant(internal_date), size, message_id, saved_at // 1_000_000)
