"""Profiles and lives of mailboxes, and the erasing of a mailbox (tables mailbox_profile, mailbox_life).

- `reason` holds `state|reason`: a state that was changed without this store is seen by the difference.
- Erasing goes in bounded parts, each a transaction of its own: content becomes an orphan candidate, which `sweep` deletes unless
  another mailbox or the queue still has it. A purged mailbox keeps its row and nothing else: its address stays taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Table, bindparam, delete, func, select, update

from mssante.model.mailbox import Mailbox, MailboxState, MailboxType, Usage
from mssante.model.mailbox_rules import Life
from mssante.storage.life import Filling, Profile
from mssante.storage.sql.tables import (
    annotation,
    delegation,
    folder,
    folder_message,
    lost_subscription,
    mailbox,
    message_orphan,
    smime_policy,
)
from mssante.storage.sql.tables_people import correspondent, mailbox_life, mailbox_profile, reading, sieve_script, vacation_reply
from mssante.storage.sql.transaction import InsertRows, Statement, Transaction
from mssante.storage.sql.values import chunks, instant, micros, storable

ROWS = 64
_M, _P, _L, _F, _R = mailbox.c, mailbox_profile.c, mailbox_life.c, folder.c, folder_message.c
_BOX = (_M.id, _M.address, _M.type, _M.state, _M.inbox_id, _M.quota_bytes, _M.holder_id, _M.display_name, _M.quota_messages)
_PROFILE = ["mailbox_id", "service", "description", "responsible", "structure_id", "contact", "red_list", "preferred_rank",
            "updated_at"]
_LIFE = ["mailbox_id", "state_since", "last_used_at", "warned_step", "warned_at", "objected_until", "hold_until", "reason",
         "successor", "quota_warned"]
_BOXES = Statement(select(_M.id).where(_M.id.in_(bindparam("p_ids", expanding=True))))
_PROFILES = Statement(select(*[_P[name] for name in _PROFILE]).where(_P.mailbox_id.in_(bindparam("p_ids", expanding=True))))
_LIVES = Statement(select(*[_L[name] for name in _LIFE]).where(_L.mailbox_id.in_(bindparam("p_ids", expanding=True))))
_PAGE = Statement(select(*_BOX).where(_M.id > bindparam("p_after")).order_by(_M.id).limit(bindparam("p_limit")))
_COUNT = Statement(select(func.count()).select_from(mailbox).where(_M.state != MailboxState.PURGED.value))
_HOLDER = Statement(update(mailbox).where(_M.id == bindparam("p_id")).values(
    holder_id=bindparam("p_holder"), display_name=bindparam("p_name")))
_FILLINGS = Statement(
    select(*_BOX, func.coalesce(func.sum(_F.size_bytes), 0), func.coalesce(func.sum(_F.message_count), 0),
           func.coalesce(func.max(_L.quota_warned), 0))
    .select_from(mailbox.outerjoin(folder, _F.mailbox_id == _M.id).outerjoin(mailbox_life, _L.mailbox_id == _M.id))
    .where(_M.id > bindparam("p_after"), (_M.quota_bytes > 0) | (_M.quota_messages > 0)).group_by(_M.id)
    .order_by(_M.id).limit(bindparam("p_limit")))
_TELL = Statement(update(mailbox_life).where(_L.mailbox_id.in_(bindparam("p_ids", expanding=True))).values(
    quota_warned=bindparam("p_told")))
_SOME = Statement(select(_R.folder_id, _R.uid, _R.message_id).where(
    _R.folder_id.in_(select(_F.id).where(_F.mailbox_id == bindparam("p_mailbox")))).limit(bindparam("p_limit")))
_TAKE = Statement(delete(folder_message).where(
    _R.folder_id == bindparam("p_folder"), _R.uid.in_(bindparam("p_uids", expanding=True))))
_ORPHAN = InsertRows(message_orphan, ["message_id"], ignore="message_id")
_RELEASE = Statement(delete(mailbox).where(_M.state == MailboxState.PURGED.value,
                                           _M.id.in_(bindparam("p_ids", expanding=True))))
_OF_ONE = [Statement(delete(table).where(table.c.mailbox_id == bindparam("p_mailbox"))) for table in (
    annotation, lost_subscription, smime_policy, correspondent, reading, sieve_script, vacation_reply, mailbox_profile, folder)]
_DELEGATED = Statement(delete(delegation).where(
    delegation.c.mailbox_id == bindparam("p_mailbox"), delegation.c.position > 0))


def _upsert(table: Table, names: Sequence[str]) -> tuple[str, str]:
    head = f"INSERT INTO {table.name} ({', '.join(table.c[name].name for name in names)}) VALUES "  # noqa: S608 -- our names
    changes = ", ".join(f"{name} = excluded.{name}" for name in names if name != "mailbox_id")
    return head, f" ON CONFLICT (mailbox_id) DO UPDATE SET {changes}"


_PUT_PROFILE = _upsert(mailbox_profile, _PROFILE)
_PUT_LIFE = _upsert(mailbox_life, _LIFE)


def _put(tx: Transaction, parts: tuple[str, str], rows: Sequence[tuple[object, ...]]) -> None:
    """Write rows, the mailbox id first; a mailbox that is gone is left out."""
    unique = {row[0]: row for row in rows}
    there = {row[0] for row in tx.rows_of(_BOXES, "p_ids", list(unique))} if unique else set()
    kept = [row for key, row in unique.items() if key in there]
    for part in chunks(kept, ROWS):
        marks = ", ".join([f"({', '.join([tx.mark] * len(part[0]))})"] * len(part))
        tx.run_text(parts[0] + marks + parts[1], [value for row in part for value in row])


class SqlLifeStore:
    """`mssante.storage.life.LifeStore`."""

    def profiles(self, tx: Transaction, mailbox_ids: Sequence[int]) -> dict[int, Profile]:
        """Give those that exist, by mailbox."""
        return {row[0]: _profile(row) for row in tx.rows_of(_PROFILES, "p_ids", list(mailbox_ids))}

    def put_profiles(self, tx: Transaction, profiles: Sequence[Profile], now: datetime) -> None:
        """Write profiles."""
        _put(tx, _PUT_PROFILE, [
            (one.mailbox_id, storable(one.service), storable(one.description), storable(one.responsible),
             storable(one.structure_id), storable(one.contact), int(one.red_list), one.rank, micros(now)) for one in profiles])

    def lives(self, tx: Transaction, mailbox_ids: Sequence[int]) -> dict[int, Life]:
        """Give those that exist, by mailbox."""
        return {row[0]: _life(row) for row in tx.rows_of(_LIVES, "p_ids", list(mailbox_ids))}

    def put_lives(self, tx: Transaction, lives: Sequence[Life]) -> None:
        """Write lives."""
        _put(tx, _PUT_LIFE, [
            (one.mailbox_id, micros(one.state_since), micros(one.last_used_at), one.warned_step, _maybe(one.warned_at),
             _maybe(one.objected_until), _maybe(one.hold_until), f"{one.state}|{storable(one.reason, 400)}",
             storable(one.successor, 320), one.quota_warned) for one in lives])

    def page(self, tx: Transaction, after: int, limit: int) -> list[Mailbox]:
        """Give mailboxes by id."""
        return [_mailbox(row) for row in tx.rows(_PAGE, p_after=after, p_limit=limit)]

    def count(self, tx: Transaction) -> int:
        """Count the mailboxes that are not purged."""
        return int(tx.one(_COUNT)[0])

    def set_holder(self, tx: Transaction, mailbox_id: int, *, holder_id: str, display_name: str) -> None:
        """Change the holder and the shown name."""
        tx.change(_HOLDER, p_id=mailbox_id, p_holder=holder_id, p_name=storable(display_name))

    def fillings(self, tx: Transaction, after: int, limit: int) -> list[Filling]:
        """Give mailboxes with a quota and what they hold."""
        return [Filling(_mailbox(row[:9]), Usage(int(row[9]), int(row[10])), int(row[11]))
                for row in tx.rows(_FILLINGS, p_after=after, p_limit=limit)]

    def tell_quota(self, tx: Transaction, told: Mapping[int, int]) -> None:
        """Note what holders were told of, one statement a step."""
        by_step: dict[int, list[int]] = {}
        for mailbox_id, step in told.items():
            by_step.setdefault(step, []).append(mailbox_id)
        for step, ids in by_step.items():
            tx.change_of(_TELL, "p_ids", ids, p_told=step)

    def erase(self, tx: Transaction, mailbox_id: int, limit: int) -> int:
        """Take messages out of a mailbox; 0 when none is left and the rest went too."""
        rows = tx.rows(_SOME, p_mailbox=mailbox_id, p_limit=limit)
        if not rows:
            for statement in (*_OF_ONE, _DELEGATED):
                tx.change(statement, p_mailbox=mailbox_id)
            self.set_holder(tx, mailbox_id, holder_id="", display_name="")
            return 0
        by_folder: dict[int, list[int]] = {}
        for folder_id, uid, _ in rows:
            by_folder.setdefault(folder_id, []).append(uid)
        _ORPHAN.run(tx, sorted({row[2] for row in rows}))
        for folder_id, uids in by_folder.items():
            tx.change_of(_TAKE, "p_uids", uids, p_folder=folder_id)
        return len(rows)

    def release(self, tx: Transaction, mailbox_ids: Sequence[int]) -> int:
        """Forget purged mailboxes."""
        return tx.change_of(_RELEASE, "p_ids", list(mailbox_ids)) if mailbox_ids else 0


def _maybe(at: datetime | None) -> int:
    return 0 if at is None else micros(at)


def _when(value: int) -> datetime | None:
    return instant(value) if value else None


def _profile(row: Sequence[Any]) -> Profile:
    box, service, description, responsible, structure, contact, red_list, rank, _ = row
    return Profile(box, service, description, responsible, structure, contact, bool(red_list), rank)


def _life(row: Sequence[Any]) -> Life:
    box, since, used, step, warned, objected, hold, reason, successor, quota = row
    state, _, why = reason.partition("|")
    return Life(box, state, instant(since), instant(used), step, _when(warned), _when(objected), _when(hold), why, successor,
                quota)


def _mailbox(row: Sequence[Any]) -> Mailbox:
    row_id, address, kind, state, *rest = row
    return Mailbox(row_id, address, MailboxType(kind), MailboxState(state), *rest)
