"""Port of webhooks and of their outbox. Used through `storage/interfaces.py`.

An event stays after it was told, for replays, until housekeeping forgets it. Payloads hold no identity (services/handevents.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Webhook:
    """Who is told. mailbox_id: the box that it hears of; secret: salt from which its secret is derived; kinds: empty for all;
    active: False once its host said that it is gone."""

    id: str
    owner: str
    mailbox_id: int
    url: str
    secret: str = field(repr=False)
    kinds: tuple[str, ...] = ()
    active: bool = True
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class WebhookEvent:
    """An event for a webhook. event_id: the same for the same fact, whoever is told; done_at None: still to be told."""

    webhook_id: str
    event_id: str
    kind: str
    payload: str
    created_at: datetime
    next_attempt_at: datetime
    attempts: int = 0
    done_at: datetime | None = None
    detail: str = ""
    sequence: int = 0


@dataclass(frozen=True, slots=True)
class HookBacklog:
    """What a webhook has not heard. oldest: instant of the first event; attempts: most that one of them had in vain."""

    count: int
    oldest: datetime
    attempts: int


class WebhookStore(Protocol):
    """Webhooks, and events to tell."""

    def put(self, tx: Any, one: Webhook) -> None:
        """Keep a webhook, in place of the one of that id."""
        ...

    def all(self, tx: Any) -> list[Webhook]:
        """Give all webhooks, oldest first (a few rows: may be read quickly)."""
        ...

    def remove(self, tx: Any, webhook_id: str) -> bool:
        """Remove a webhook with its events; False when it is gone."""
        ...

    def add_events(self, tx: Any, events: Sequence[WebhookEvent]) -> None:
        """Put events into the outbox, in order."""
        ...

    def due(self, tx: Any, webhook_id: str, now: datetime, limit: int = 100) -> list[WebhookEvent]:
        """Give events to tell a webhook now, in order."""
        ...

    def backlog(self, tx: Any) -> dict[str, HookBacklog]:
        """Give what is still to be told, by webhook; those that heard everything are not in it."""
        ...

    def settle(self, tx: Any, event: WebhookEvent) -> None:
        """Write attempts, next_attempt_at, done_at and detail of an event."""
        ...

    def events(self, tx: Any, webhook_id: str, *, after: int = 0, limit: int = 100) -> list[WebhookEvent]:
        """Give events of a webhook behind a sequence, in order."""
        ...

    def replay(self, tx: Any, webhook_id: str, since: datetime, now: datetime) -> int:
        """Make the events of a webhook since an instant due again; give how many."""
        ...

    def forget(self, tx: Any, before: datetime) -> int:
        """Remove events told or given up before an instant; give how many."""
        ...
