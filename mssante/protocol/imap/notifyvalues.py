"""Values of NOTIFY (RFC 5465): which events a client wants to hear of, and where.

Built by `commands/notify.py`, read by `services/imap/notify.py`. Never here: IO, folders, what was told.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, Flag, auto
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mssante.protocol.imap.values import FetchItem, Section


class NotifyEvent(Flag):
    """Events that can be asked (RFC 5465 §5). AnnotationChange is not one of them: there are no annotations of messages."""

    NONE = 0
    MESSAGE_NEW = auto()
    MESSAGE_EXPUNGE = auto()
    FLAG_CHANGE = auto()
    MAILBOX_NAME = auto()
    SUBSCRIPTION_CHANGE = auto()
    MAILBOX_METADATA_CHANGE = auto()
    SERVER_METADATA_CHANGE = auto()


MESSAGE_EVENTS = NotifyEvent.MESSAGE_NEW | NotifyEvent.MESSAGE_EXPUNGE | NotifyEvent.FLAG_CHANGE

EVENT_NAMES = {
    "MessageNew": NotifyEvent.MESSAGE_NEW,
    "MessageExpunge": NotifyEvent.MESSAGE_EXPUNGE,
    "FlagChange": NotifyEvent.FLAG_CHANGE,
    "MailboxName": NotifyEvent.MAILBOX_NAME,
    "SubscriptionChange": NotifyEvent.SUBSCRIPTION_CHANGE,
    "MailboxMetadataChange": NotifyEvent.MAILBOX_METADATA_CHANGE,
    "ServerMetadataChange": NotifyEvent.SERVER_METADATA_CHANGE,
}


class NotifyWhere(Enum):
    """Which folders a group is about (RFC 5465 §6)."""

    SELECTED = "SELECTED"
    SELECTED_DELAYED = "SELECTED-DELAYED"
    PERSONAL = "PERSONAL"
    INBOXES = "INBOXES"
    SUBSCRIBED = "SUBSCRIBED"
    SUBTREE = "SUBTREE"
    MAILBOXES = "MAILBOXES"


ON_SELECTED = frozenset({NotifyWhere.SELECTED, NotifyWhere.SELECTED_DELAYED})
WITH_NAMES = frozenset({NotifyWhere.SUBTREE, NotifyWhere.MAILBOXES})


@dataclass(frozen=True, slots=True)
class Asked:
    """Items to be fetched of new messages, by NOTIFY (RFC 5465 §5.2) or RETURN (UPDATE (…)) (§7)."""

    items: FetchItem
    sections: tuple[Section, ...] = ()

    def and_also(self, other: Asked) -> Asked:
        """Give what both ask, each item once."""
        return Asked(self.items | other.items, tuple(dict.fromkeys((*self.sections, *other.sections))))


@dataclass(frozen=True, slots=True)
class NotifyGroup:
    """One event-group. names: of SUBTREE and MAILBOXES; asked: what to fetch of new messages, SELECTED only."""

    where: NotifyWhere
    events: NotifyEvent
    names: tuple[str, ...] = ()
    asked: Asked | None = None


@dataclass(frozen=True, slots=True)
class Notify:
    """RFC 5465 §3.1. groups: None for NOTIFY NONE; status: tell the counters of each folder first."""

    groups: tuple[NotifyGroup, ...] | None
    status: bool = False
