"""Scripts of mailboxes and vacations told (tables sieve_script and vacation_reply)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import bindparam, case, delete, func, select, update

from mssante.storage.filters import MANAGED, SieveScript
from mssante.storage.sql.tables_people import sieve_script, vacation_reply
from mssante.storage.sql.transaction import InsertRows, Statement, Transaction
from mssante.storage.sql.values import instant, micros

MOST_TOLD = 1_000

_S, _V = sieve_script.c, vacation_reply.c
_OF_BOX = _S.mailbox_id == bindparam("p_mailbox")
_NAMED = _S.name == bindparam("p_name")
_RUNNING = Statement(select(_S.mailbox_id, func.max(_S.updated_at), func.count()).where(_S.active == 1).group_by(_S.mailbox_id))
_SCRIPTS = Statement(select(_S.name, _S.content, _S.active, _S.updated_at).where(_OF_BOX).order_by(_S.name))
_DELETE = Statement(delete(sieve_script).where(_OF_BOX, _NAMED))
_INSERT = InsertRows(sieve_script, ["mailbox_id", "name", "content", "active", "updated_at"])
_ACTIVATE = Statement(update(sieve_script).where(_OF_BOX, ~_S.name.startswith(MANAGED)).values(
    active=case((_NAMED, 1), else_=0), updated_at=bindparam("p_at")))
_SENT = (_V.mailbox_id == bindparam("p_mailbox"), _V.handle == bindparam("p_handle"), _V.sender == bindparam("p_sender"))
_TOLD = Statement(select(_V.at).where(*_SENT))
_UNTELL = Statement(delete(vacation_reply).where(*_SENT))
_TELL = InsertRows(vacation_reply, ["mailbox_id", "handle", "sender", "at"])
_FORGET = Statement(delete(vacation_reply).where(_V.at < bindparam("p_before")))
_TELLING = Statement(select(_V.handle, _V.sender, _V.at).where(_V.mailbox_id == bindparam("p_mailbox"))
                     .order_by(_V.at.desc()).limit(MOST_TOLD))


class SqlFilterStore:
    """`mssante.storage.filters.FilterStore`."""

    def running(self, tx: Transaction) -> dict[int, int]:
        """Give the mailboxes with a script that runs, each with a number that changes with its scripts."""
        return {mailbox: hash((changed, count)) for mailbox, changed, count in tx.rows(_RUNNING)}

    def scripts(self, tx: Transaction, mailbox_id: int) -> list[SieveScript]:
        """Give all scripts of a mailbox by name."""
        return [SieveScript(name, bytes(content), bool(active), instant(at))
                for name, content, active, at in tx.rows(_SCRIPTS, p_mailbox=mailbox_id)]

    def put(self, tx: Transaction, mailbox_id: int, script: SieveScript) -> None:
        """Write a script, new or not."""
        tx.change(_DELETE, p_mailbox=mailbox_id, p_name=script.name)
        _INSERT.run(tx, [mailbox_id, script.name, script.content, int(script.active), micros(script.updated_at)])

    def activate(self, tx: Transaction, mailbox_id: int, name: str, now: datetime) -> None:
        """Make this script the active one, none when the name is empty."""
        tx.change(_ACTIVATE, p_mailbox=mailbox_id, p_name=name, p_at=micros(now))

    def delete(self, tx: Transaction, mailbox_id: int, name: str) -> bool:
        """Remove a script; False when there is none."""
        return tx.change(_DELETE, p_mailbox=mailbox_id, p_name=name) > 0

    def told(self, tx: Transaction, mailbox_id: int, handle: str, sender: str) -> datetime | None:
        """Give when a vacation of this handle was told to a sender last."""
        rows = list(tx.rows(_TOLD, p_mailbox=mailbox_id, p_handle=handle, p_sender=sender))
        return instant(rows[0][0]) if rows else None

    def tell(self, tx: Transaction, mailbox_id: int, handle: str, sender: str, now: datetime) -> None:
        """Note that it is told now."""
        tx.change(_UNTELL, p_mailbox=mailbox_id, p_handle=handle, p_sender=sender)
        _TELL.run(tx, [mailbox_id, handle, sender, micros(now)])

    def forget_told(self, tx: Transaction, before: datetime) -> int:
        """Remove what was told before; give how many."""
        return tx.change(_FORGET, p_before=micros(before))

    def telling(self, tx: Transaction, mailbox_id: int) -> Sequence[tuple[str, str, datetime]]:
        """Give (handle, sender, when), the latest first."""
        return [(handle, sender, instant(at)) for handle, sender, at in tx.rows(_TELLING, p_mailbox=mailbox_id)]
