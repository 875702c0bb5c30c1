"""The outbound queue.

States of a recipient, and the one committed unit that moves between them:

    (none) --accept--> queued --claim--> queued under lease --settle--> (gone) delivered or failed
                         ^                     |                 \\-> queued, due later
                         |                     '-- lease over: due again (the process died)
                         +--hold--> held --release--> queued;   cancel --> (gone)

- `claim` counts the attempt and moves next_attempt_at to the end of the lease before giving anything: a crash costs one
  interval, never a storm, and two processes never hold the same recipient.
- What is delivered or failed leaves the queue in the unit that records it (journal, report); a message without recipient
  left becomes an orphan candidate there.
- All calls are a fixed number of statements whatever the number of recipients.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Select, bindparam, case, delete, exists, func, or_, select, update

from mssante.model.journal import JournalEvent
from mssante.storage.interfaces import (
    Acceptance,
    Accepted,
    Claim,
    QueueBatch,
    QueueItem,
    QueueRecipient,
    SettledBatch,
)
from mssante.storage.sql.accept import INSERT_ORPHAN, accept_tx
from mssante.storage.sql.journal import SqlJournalStore
from mssante.storage.sql.tables import queue_message, queue_recipient
from mssante.storage.sql.transaction import Statement, Transaction, ValuesStatement
from mssante.storage.sql.values import instant, micros, storable

QUEUED = "queued"
HELD = "held"
MAX_REPLY = 1000
WINDOW = 8  # due recipients looked at for each group asked

_Q = queue_message.c
_R = queue_recipient.c

# In the order of the index, a few rows per group asked: with 100,000 due rows 0.3 ms; grouping them all in SQL 38 ms.
# A window full of one message's recipients gives fewer groups than the limit; the next claim goes on behind it.
_DUE = Statement(
    select(_R.queue_id, _R.destination).where(
        _R.state == QUEUED, _R.next_attempt_at <= bindparam("p_now"),
        _R.destination.not_in(bindparam("p_busy", expanding=True)))
    .order_by(_R.next_attempt_at, _R.queue_id).limit(bindparam("p_limit")))


def _claim_text() -> str:
    """Give the UPDATE that leases the recipients of (queue id, destination) rows. A row taken meanwhile is skipped.

    State and time stand in expressions, which keeps the engine off their index: SQLite would walk all due rows for each
    claim (650 ms with 100,000 of them, against 1 ms through the index by queue id).
    """
    name = queue_recipient.name
    given = [_R.id, _R.queue_id, _R.destination, _R.address, _R.notify, _R.orcpt, _R.attempts, _R.delay_notified]
    return (f"UPDATE {name} SET {_R.attempts.name} = {name}.{_R.attempts.name} + 1, "  # noqa: S608 -- names only
            f"{_R.lease_owner.name} = {{mark}}, {_R.lease_until.name} = {{mark}}, {_R.next_attempt_at.name} = {{mark}} "
            f"FROM (VALUES {{rows}}) AS v WHERE {name}.{_R.queue_id.name} = v.column1 "
            f"AND {name}.{_R.destination.name} = v.column2 AND {name}.{_R.state.name} || '' = {{mark}} "
            f"AND {name}.{_R.next_attempt_at.name} + 0 <= {{mark}} "
            f"RETURNING {', '.join(f'{name}.{column.name}' for column in given)}")


def _again_text() -> str:
    """Give the UPDATE that ends leases; row: recipient id, due, reply, delay_notified. A held one stays held."""
    name = queue_recipient.name
    return (f"UPDATE {name} SET {_R.next_attempt_at.name} = v.column2, {_R.last_reply.name} = v.column3, "  # noqa: S608
            f"{_R.delay_notified.name} = {name}.{_R.delay_notified.name} | v.column4, "
            f"{_R.lease_owner.name} = '', {_R.lease_until.name} = NULL "
            f"FROM (VALUES {{rows}}) AS v WHERE {name}.{_R.id.name} = v.column1 RETURNING {name}.{_R.id.name}")


_TAKE = ValuesStatement(_claim_text(), 2)
_AGAIN = ValuesStatement(_again_text(), 4)
_MESSAGES = Statement(select(_Q.id, _Q.message_id, _Q.trace_id, _Q.sender, _Q.created_at, _Q.expires_at, _Q.ret, _Q.envid,
                             _Q.smtputf8).where(_Q.id.in_(bindparam("p_ids", expanding=True))))
_DELETE_RECIPIENTS = Statement(delete(queue_recipient).where(_R.id.in_(bindparam("p_ids", expanding=True))))
_DELETE_EMPTY = Statement(
    delete(queue_message).where(_Q.id.in_(bindparam("p_ids", expanding=True)), ~exists().where(_R.queue_id == _Q.id))
    .returning(_Q.message_id))
_NEXT = Statement(select(func.min(_R.next_attempt_at)).where(_R.state == QUEUED))
_RELEASE_LEASES = Statement(update(queue_recipient).where(
    _R.state == QUEUED, _R.lease_owner == bindparam("p_owner")).values(
    next_attempt_at=bindparam("p_now"), lease_owner="", lease_until=None))
_DEPTH = Statement(select(_R.state, func.count()).group_by(_R.state))

_ITEM_COLUMNS = (_R.id, _R.queue_id, _Q.message_id, _Q.trace_id, _Q.sender, _R.address, _R.destination, _R.state,
                 _R.attempts, _R.next_attempt_at, _Q.created_at, _Q.expires_at, _R.last_reply, _Q.size)


def _items_form(*conditions: Any) -> Statement:
    form: Select[Any] = select(*_ITEM_COLUMNS).select_from(
        queue_recipient.join(queue_message, _Q.id == _R.queue_id)).where(*conditions)
    return Statement(form.order_by(_Q.created_at, _R.id).limit(bindparam("p_limit")))


_ITEMS = _items_form()
_ITEMS_OF = _items_form(_R.destination == bindparam("p_destination"))
_NO_LEASE = or_(_R.lease_until.is_(None), _R.lease_until <= bindparam("p_now"))
_SCOPES: dict[tuple[bool, bool], tuple[Any, ...]] = {
    (False, False): (),
    (True, False): (_R.queue_id == bindparam("p_queue"),),
    (False, True): (_R.destination == bindparam("p_destination"),),
    (True, True): (_R.queue_id == bindparam("p_queue"), _R.destination == bindparam("p_destination")),
}
_CHANGES = {
    "hold": {scope: Statement(update(queue_recipient).where(_R.state == QUEUED, *where).values(state=HELD))
             for scope, where in _SCOPES.items()},
    "release": {scope: Statement(update(queue_recipient).where(_R.state == HELD, *where).values(
        state=QUEUED, next_attempt_at=case((_NO_LEASE, bindparam("p_now")), else_=_R.lease_until)))
        for scope, where in _SCOPES.items()},
    # A recipient under a running lease is being tried just now: a second try beside it would make a duplicate.
    "retry": {scope: Statement(update(queue_recipient).where(_R.state == QUEUED, _NO_LEASE, *where).values(
        next_attempt_at=bindparam("p_now"))) for scope, where in _SCOPES.items()},
    "cancel": {scope: Statement(delete(queue_recipient).where(*where).returning(_R.queue_id))
               for scope, where in _SCOPES.items()},
}


class SqlQueueStore:
    """`mssante.storage.interfaces.QueueStore`."""

    def __init__(self, journal: SqlJournalStore) -> None:
        self._journal = journal

    def claim(self, tx: Transaction, claim: Claim) -> list[QueueBatch]:
        """Lease due recipients grouped by (message, destination), oldest due first, skipping busy destinations."""
        now, until = micros(claim.now), micros(claim.lease_until)
        window = tx.rows(_DUE, p_now=now, p_busy=sorted(claim.busy) or [""], p_limit=claim.limit * WINDOW)
        due = list(dict.fromkeys((queue_id, destination) for queue_id, destination in window))[:claim.limit]
        if not due:
            return []
        flat = [value for pair in due for value in pair]
        taken = _TAKE.run(tx, flat, before=(claim.owner, until, until), after=(QUEUED, now))
        groups: dict[tuple[int, str], list[tuple[int, QueueRecipient, int]]] = {}
        notified: set[tuple[int, str]] = set()
        for recipient_id, queue_id, destination, address, notify, orcpt, attempts, delay_notified in sorted(taken):
            key = (queue_id, destination)
            recipient = QueueRecipient(address, destination, notify, orcpt)
            groups.setdefault(key, []).append((recipient_id, recipient, attempts))
            if delay_notified:
                notified.add(key)
        messages = {row[0]: row for row in tx.rows_of(_MESSAGES, "p_ids", sorted({key[0] for key in groups}))}
        return [_batch(messages[key[0]], key[1], key in notified, groups[key]) for key in due if key in groups]

    def settle(self, tx: Transaction, items: Sequence[SettledBatch]) -> list[tuple[Accepted, ...]]:
        """Record outcomes, delete what is done, append events, accept reports; gives the reports of each item.

        Raises ValueError on a state that is not `delivered`, `queued` or `failed`, or a `queued` without time.
        """
        done: list[int] = []
        touched: set[int] = set()
        again: list[object] = []
        events: list[JournalEvent] = []
        reports: list[Acceptance] = []
        for item in items:
            _sort_out(item, done, touched, again)
            events += item.events
            reports += item.reports
        if again:
            _AGAIN.run(tx, again)
        if done:
            tx.change_of(_DELETE_RECIPIENTS, "p_ids", done)
            self._delete_empty(tx, touched)
        self._journal.append(tx, events)
        accepted = iter(accept_tx(tx, reports, self._journal))
        return [tuple(next(accepted) for _ in item.reports) for item in items]

    def next_due(self, tx: Transaction) -> datetime | None:
        """Give the earliest next_attempt_at of queued recipients (the end of the lease for one that is being tried)."""
        value = tx.one(_NEXT)[0]
        return None if value is None else instant(value)

    def release_leases(self, tx: Transaction, owner: str, now: datetime) -> int:
        """Make recipients leased by `owner` due now; give how many."""
        return tx.change(_RELEASE_LEASES, p_owner=owner, p_now=micros(now))

    def items(self, tx: Transaction, *, destination: str | None = None, limit: int = 1000) -> list[QueueItem]:
        """List recipients, oldest first."""
        rows = (tx.rows(_ITEMS, p_limit=limit) if destination is None
                else tx.rows(_ITEMS_OF, p_destination=destination, p_limit=limit))
        return [_item(row) for row in rows]

    def change(self, tx: Transaction, action: str, now: datetime, *, queue_id: int | None = None,
               destination: str | None = None) -> int:
        """Hold, release, retry or cancel recipients of a message, of a destination, or all; give how many changed.

        Raises ValueError on another action.
        """
        forms = _CHANGES.get(action)
        if forms is None:
            raise ValueError("action is hold, release, retry or cancel")
        given: dict[str, object] = {"p_queue": queue_id} if queue_id is not None else {}
        if destination is not None:
            given["p_destination"] = destination
        statement = forms[queue_id is not None, destination is not None]
        if action != "cancel":
            return tx.change(statement, p_now=micros(now), **given)
        gone = [row[0] for row in tx.rows(statement, **given)]
        self._delete_empty(tx, set(gone))
        return len(gone)

    def depth(self, tx: Transaction) -> dict[str, int]:
        """Count recipients by state."""
        return dict(tx.rows(_DEPTH))

    def _delete_empty(self, tx: Transaction, queue_ids: set[int]) -> None:
        """Delete queued messages without recipient left; their content becomes an orphan candidate."""
        if queue_ids:
            gone = sorted({row[0] for row in tx.rows_of(_DELETE_EMPTY, "p_ids", sorted(queue_ids))})
            INSERT_ORPHAN.run(tx, list(gone))


def _sort_out(item: SettledBatch, done: list[int], touched: set[int], again: list[object]) -> None:
    """Put each settlement of a batch where its state belongs."""
    for settlement in item.settlements:
        if settlement.state in ("delivered", "failed"):
            done.append(settlement.recipient_id)
            touched.add(settlement.queue_id)
        elif settlement.state == QUEUED and settlement.next_attempt_at is not None:
            again += (settlement.recipient_id, micros(settlement.next_attempt_at),
                      storable(settlement.reply, MAX_REPLY), int(item.delay_notified))
        else:
            raise ValueError("a settlement is delivered, failed, or queued with its next attempt")


def _item(row: Sequence[Any]) -> QueueItem:
    """Give the value of a row of _ITEM_COLUMNS: fields 9 to 11 are instants."""
    fields: list[Any] = [*row[:9], instant(row[9]), instant(row[10]), instant(row[11]), *row[12:]]
    return QueueItem(*fields)


def _batch(row: tuple[int, int, str, str, int, int, str, str, int], destination: str, delay_notified: bool,
           recipients: list[tuple[int, QueueRecipient, int]]) -> QueueBatch:
    queue_id, message_id, trace_id, sender, created_at, expires_at, ret, envid, smtputf8 = row
    return QueueBatch(queue_id, message_id, trace_id, sender, destination, instant(created_at), instant(expires_at), ret,
                      envid, bool(smtputf8), delay_notified, tuple(recipients))
