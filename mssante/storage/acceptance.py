"""Values of the hot path: all that one accepted message changes, and what its commit gives. Used through `interfaces`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mssante.model.journal import JournalEvent
from mssante.model.message import NewMessage


@dataclass(frozen=True, slots=True)
class Filing:
    """Put the message into one folder."""

    folder_id: int
    flags: int = 0
    keywords: str = ""
    internal_date: datetime | None = None  # None: received_at


@dataclass(frozen=True, slots=True)
class QueueRecipient:
    """One remote recipient to queue. destination is the queue key (a domain); notify: sorted, comma-joined."""

    address: str
    destination: str
    notify: str = ""
    orcpt: str = ""


@dataclass(frozen=True, slots=True)
class QueueEntry:
    """A message to relay. sender empty for the null reverse-path.

    lease_owner/lease_until: set when this process attempts at once (hand-off in memory); else due at next_attempt_at.
    """

    sender: str
    recipients: tuple[QueueRecipient, ...]
    expires_at: datetime
    next_attempt_at: datetime
    ret: str = ""
    envid: str = ""
    smtputf8: bool = False
    lease_owner: str = ""
    lease_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Acceptance:
    """All that one accepted message changes, in one transaction: content, folders, queue, journal.

    also: run in that transaction, behind all the rest, by `Mailroom.accept`; what it raises undoes this group alone. It may be
    run twice (see storage/sql/database.py): it changes nothing but the database.
    """

    message: NewMessage
    filings: tuple[Filing, ...] = ()
    queue: QueueEntry | None = None
    events: tuple[JournalEvent, ...] = ()
    also: Callable[[Any, Accepted], None] | None = None


@dataclass(frozen=True, slots=True)
class Filed:
    """Where a message landed in one folder."""

    folder_id: int
    uid: int
    modseq: int


@dataclass(frozen=True, slots=True)
class Accepted:
    """What the commit gave. missing: folders that no longer existed ; queue ids by recipient order."""

    message_id: int
    filed: tuple[Filed, ...] = ()
    missing: tuple[int, ...] = ()
    queue_id: int = 0
    queue_recipient_ids: tuple[int, ...] = ()
