"""Holds of the queue (table queue_hold), and the set-based changes of the queue when one ends."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import bindparam, delete, func, or_, select, update

from mssante.model.hold import Hold, HoldCause
from mssante.storage.sql.queue import QUEUED
from mssante.storage.sql.tables import queue_hold, queue_message, queue_recipient
from mssante.storage.sql.transaction import InsertRows, Statement, Transaction
from mssante.storage.sql.values import instant, micros, storable

MAX_NOTE = 500

_H = queue_hold.c
_Q = queue_message.c
_R = queue_recipient.c
_NAMES = ["id", "cause", "domain", "since", "until", "automatic", "note"]
_ALL = Statement(select(*[_H[name] for name in _NAMES]).order_by(_H.since, _H.id))
_INSERT = InsertRows(queue_hold, _NAMES, ignore="cause, domain")
_THIS = (_H.cause == bindparam("p_cause"), _H.domain == bindparam("p_domain"))
_FIND = Statement(select(_H.id).where(*_THIS))
_CHANGE = Statement(update(queue_hold).where(*_THIS).values(until=bindparam("p_until"), note=bindparam("p_note")))
_REMOVE = Statement(delete(queue_hold).where(*_THIS))
_WAITING = Statement(select(_R.destination, func.count()).group_by(_R.destination))

_FREE = (_R.state == QUEUED, or_(_R.lease_until.is_(None), _R.lease_until <= bindparam("p_now")))
_OF = (_R.destination == bindparam("p_domain"),)
_DUE = {every: Statement(update(queue_recipient).where(*_FREE, *where).values(next_attempt_at=bindparam("p_now")))
        for every, where in ((True, ()), (False, _OF))}
_EXTEND_ALL = Statement(update(queue_message).where(_Q.expires_at < bindparam("p_expires")).values(
    expires_at=bindparam("p_expires")))
_EXTEND_OF = Statement(update(queue_message).where(
    _Q.expires_at < bindparam("p_expires"), _Q.id.in_(select(_R.queue_id).where(*_OF))).values(
    expires_at=bindparam("p_expires")))
_NUDGE = Statement(update(queue_recipient).where(_R.id.in_(
    select(func.min(_R.id)).where(*_FREE, _R.destination.in_(bindparam("p_domains", expanding=True))).group_by(_R.destination)))
    .values(next_attempt_at=bindparam("p_now")))


class SqlHoldStore:
    """`mssante.storage.holds.HoldStore`."""

    def all(self, tx: Transaction) -> list[Hold]:
        """Give all holds, oldest first; a cause of a later program is left out."""
        known = set(HoldCause)
        return [Hold(HoldCause(cause), domain, instant(since), instant(until), bool(automatic), note, id_)
                for id_, cause, domain, since, until, automatic, note in tx.rows(_ALL) if cause in known]

    def put(self, tx: Transaction, hold: Hold) -> bool:
        """Begin a hold; False when one stands."""
        if tx.rows(_FIND, p_cause=hold.cause.value, p_domain=hold.domain):
            return False
        _INSERT.run(tx, [tx.take_ids(1), hold.cause.value, hold.domain, micros(hold.since), micros(hold.until),
                         int(hold.automatic), storable(hold.note, MAX_NOTE)])
        return True

    def change(self, tx: Transaction, hold: Hold) -> bool:
        """Write `until` and `note`; False when it is gone."""
        return tx.change(_CHANGE, p_cause=hold.cause.value, p_domain=hold.domain, p_until=micros(hold.until),
                         p_note=storable(hold.note, MAX_NOTE)) > 0

    def remove(self, tx: Transaction, hold: Hold) -> bool:
        """End a hold; False when it is gone already."""
        return tx.change(_REMOVE, p_cause=hold.cause.value, p_domain=hold.domain) > 0

    def waiting(self, tx: Transaction) -> dict[str, int]:
        """Count waiting recipients by destination."""
        return dict(tx.rows(_WAITING))

    def let_go(self, tx: Transaction, domain: str, now: datetime, expires_at: datetime) -> int:
        """Make recipients due and their messages live longer: two statements."""
        given: dict[str, object] = {"p_domain": domain} if domain else {}
        tx.change(_EXTEND_OF if domain else _EXTEND_ALL, p_expires=micros(expires_at), **given)
        return tx.change(_DUE[not domain], p_now=micros(now), **given)

    def nudge(self, tx: Transaction, domains: Sequence[str], now: datetime) -> int:
        """Make one recipient of each domain due now."""
        return tx.change_of(_NUDGE, "p_domains", list(domains), p_now=micros(now)) if domains else 0
