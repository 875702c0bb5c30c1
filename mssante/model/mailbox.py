"""Mailboxes (BAL) and folders."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class MailboxType(StrEnum):
    """Official codes of TRE_R257."""

    PER = "PER"
    ORG = "ORG"
    APP = "APP"
    CAB = "CAB"


class MailboxState(StrEnum):
    """Life cycle (spec §5)."""

    PROVISIONED = "provisioned"
    PUBLISHED = "published"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    CLOSED = "closed"
    PURGED = "purged"


@dataclass(frozen=True, slots=True)
class Usage:
    """What the folders of a mailbox hold together: octets as readers get them, messages."""

    octets: int
    messages: int


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A BAL. address is its lookup key (lower-case); a quota of 0 means none; holder_id is RPPS, FINESS or SIRET."""

    id: int
    address: str
    type: MailboxType
    state: MailboxState
    inbox_id: int
    quota_bytes: int = 0
    holder_id: str = ""
    display_name: str = ""
    quota_messages: int = 0

    @property
    def limited(self) -> bool:
        """True when there is a quota."""
        return self.quota_bytes > 0 or self.quota_messages > 0

    def holds(self, used: Usage, octets: int, messages: int = 1) -> bool:
        """Tell if this much more fits."""
        return ((self.quota_bytes <= 0 or used.octets + octets <= self.quota_bytes)
                and (self.quota_messages <= 0 or used.messages + messages <= self.quota_messages))


class SpecialUse(StrEnum):
    """RFC 6154 §2 attributes that we give to folders."""

    NONE = ""
    DRAFTS = "\\Drafts"
    SENT = "\\Sent"
    TRASH = "\\Trash"
    JUNK = "\\Junk"
    ARCHIVE = "\\Archive"


@dataclass(frozen=True, slots=True)
class Folder:
    """What IMAP calls a mailbox. name uses `/` as separator, INBOX upper-case; counters are the row's when read.

    seen_private: each reader has its own `\\Seen`; the shared one and unseen_count then mean nothing. recent_uid: first UID
    that no client was told of as `\\Recent` (RFC 3501 §2.3.2).
    """

    id: int
    mailbox_id: int
    name: str
    special_use: str
    uidvalidity: int
    uidnext: int
    highest_modseq: int
    message_count: int
    unseen_count: int
    deleted_count: int
    size_bytes: int
    subscribed: bool
    seen_private: bool = False
    recent_uid: int = 1
