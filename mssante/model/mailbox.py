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
class Mailbox:
    """A BAL. address is its lookup key (lower-case); quota_bytes 0 means none; holder_id is RPPS, FINESS or SIRET."""

    id: int
    address: str
    type: MailboxType
    state: MailboxState
    inbox_id: int
    quota_bytes: int = 0
    holder_id: str = ""
    display_name: str = ""


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
    """What IMAP calls a mailbox. name uses `/` as separator, INBOX upper-case; counters are the row's when read."""

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
