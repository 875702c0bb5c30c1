"""Webhooks and their outbox (tables webhook, webhook_event). done_at 0: still to be told."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, delete, func, select, update

from mssante.storage.sql.tables_documents import webhook, webhook_event
from mssante.storage.sql.transaction import InsertRows, Statement, Transaction
from mssante.storage.sql.values import instant, micros, storable
from mssante.storage.webhooks import HookBacklog, Webhook, WebhookEvent

MAX_DETAIL = 500
_W = webhook.c
_E = webhook_event.c
_HOOK = ["id", "owner", "mailbox_id", "url", "secret", "kinds", "active", "created_at"]
_EVENT = ["sequence", "webhook_id", "event_id", "kind", "payload", "created_at", "next_attempt_at", "attempts", "done_at",
          "detail"]
_ALL = Statement(select(*[_W[name] for name in _HOOK]).order_by(_W.created_at, _W.id))
_INSERT = InsertRows(webhook, _HOOK)
_REMOVE = Statement(delete(webhook).where(_W.id == bindparam("p_id")))
_REMOVE_EVENTS = Statement(delete(webhook_event).where(_E.webhook_id == bindparam("p_id")))
_INSERT_EVENT = InsertRows(webhook_event, _EVENT)
_SELECT = select(*[_E[name] for name in _EVENT])
_DUE = Statement(_SELECT.where(_E.webhook_id == bindparam("p_id"), _E.done_at == 0, _E.next_attempt_at <= bindparam("p_now"))
                 .order_by(_E.sequence).limit(bindparam("p_limit")))
_OF = Statement(_SELECT.where(_E.webhook_id == bindparam("p_id"), _E.sequence > bindparam("p_after")).order_by(_E.sequence)
                .limit(bindparam("p_limit")))
_SETTLE = Statement(update(webhook_event).where(_E.sequence == bindparam("p_sequence")).values(
    attempts=bindparam("p_attempts"), next_attempt_at=bindparam("p_next"), done_at=bindparam("p_done"),
    detail=bindparam("p_detail")))
_REPLAY = Statement(update(webhook_event).where(_E.webhook_id == bindparam("p_id"), _E.created_at >= bindparam("p_since")).values(
    attempts=0, next_attempt_at=bindparam("p_now"), done_at=0, detail=""))
_BACKLOG = Statement(select(_E.webhook_id, func.count(), func.min(_E.created_at), func.max(_E.attempts)).where(_E.done_at == 0)
                     .group_by(_E.webhook_id))
_FORGET = Statement(delete(webhook_event).where(_E.done_at > 0, _E.done_at < bindparam("p_before")))


class SqlWebhookStore:
    """`mssante.storage.webhooks.WebhookStore`."""

    def put(self, tx: Transaction, one: Webhook) -> None:
        """Keep a webhook."""
        tx.change(_REMOVE, p_id=one.id)
        _INSERT.run(tx, [one.id, storable(one.owner, 200), one.mailbox_id, one.url, one.secret, ",".join(one.kinds),
                         int(one.active), micros(one.created_at) if one.created_at is not None else 0])

    def all(self, tx: Transaction) -> list[Webhook]:
        """Give all webhooks."""
        return [Webhook(hook, owner, box, url, secret, tuple(kinds.split(",")) if kinds else (), bool(active), instant(created))
                for hook, owner, box, url, secret, kinds, active, created in tx.rows(_ALL)]

    def remove(self, tx: Transaction, webhook_id: str) -> bool:
        """Remove a webhook with its events."""
        tx.change(_REMOVE_EVENTS, p_id=webhook_id)
        return tx.change(_REMOVE, p_id=webhook_id) > 0

    def add_events(self, tx: Transaction, events: Sequence[WebhookEvent]) -> None:
        """Put events into the outbox."""
        if not events:
            return
        first = tx.take_ids(len(events))
        flat: list[object] = []
        for rank, one in enumerate(events):
            flat += (first + rank, one.webhook_id, one.event_id, one.kind, one.payload, micros(one.created_at),
                     micros(one.next_attempt_at), 0, 0, "")
        _INSERT_EVENT.run(tx, flat)

    def due(self, tx: Transaction, webhook_id: str, now: datetime, limit: int = 100) -> list[WebhookEvent]:
        """Give events to tell a webhook now."""
        return [_event(row) for row in tx.rows(_DUE, p_id=webhook_id, p_now=micros(now), p_limit=limit)]

    def backlog(self, tx: Transaction) -> dict[str, HookBacklog]:
        """Give what is still to be told."""
        return {name: HookBacklog(count, instant(oldest), attempts) for name, count, oldest, attempts in tx.rows(_BACKLOG)}

    def settle(self, tx: Transaction, event: WebhookEvent) -> None:
        """Write what an attempt gave."""
        tx.change(_SETTLE, p_sequence=event.sequence, p_attempts=event.attempts, p_next=micros(event.next_attempt_at),
                  p_done=micros(event.done_at) if event.done_at is not None else 0, p_detail=storable(event.detail, MAX_DETAIL))

    def events(self, tx: Transaction, webhook_id: str, *, after: int = 0, limit: int = 100) -> list[WebhookEvent]:
        """Give events of a webhook."""
        return [_event(row) for row in tx.rows(_OF, p_id=webhook_id, p_after=after, p_limit=limit)]

    def replay(self, tx: Transaction, webhook_id: str, since: datetime, now: datetime) -> int:
        """Make events due again."""
        return tx.change(_REPLAY, p_id=webhook_id, p_since=micros(since), p_now=micros(now))

    def forget(self, tx: Transaction, before: datetime) -> int:
        """Remove old events."""
        return tx.change(_FORGET, p_before=micros(before))


def _event(row: Sequence[Any]) -> WebhookEvent:
    sequence, hook, event_id, kind, payload, created, due, attempts, done, detail = row
    return WebhookEvent(hook, event_id, kind, payload, instant(created), instant(due), attempts, instant(done) if done else None,
                        detail, sequence)
