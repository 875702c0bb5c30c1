"""Messages and what changes about them in folders."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import IntFlag
from typing import NamedTuple

from mssante.model.address import MailAddress


class Flags(IntFlag):
    """System flags (RFC 9051 §2.3.2) as a bit mask; keywords are stored beside as words."""

    SEEN = 1
    ANSWERED = 2
    FLAGGED = 4
    DELETED = 8
    DRAFT = 16


RECENT = 32  # `\\Recent`: of one session (RFC 3501 §2.3.2), beside the others in what it is told, never stored


@dataclass(frozen=True, slots=True)
class Author:
    """Who stands in From. fields: how many From fields; unreadable: entries that are no plain address."""

    fields: int
    addresses: tuple[MailAddress, ...]
    unreadable: int

    def is_only(self, address: MailAddress | None) -> bool:
        """Tell whether the one From field holds this address and nothing else."""
        return (self.fields == 1 and len(self.addresses) == 1 and not self.unreadable and address is not None
                and self.addresses[0].key == address.key)


NOBODY = Author(0, (), 0)


@dataclass(frozen=True, slots=True)
class MessageFacts:
    """What one scan at ingest gives. envelope and bodystructure are encoded IMAP bytes (RFC 9051 §7.5.2).

    header_size counts prefix-less octets up to and including the empty line; date is the Date header in UTC or None;
    in_reply_to: the ids of References, else of In-Reply-To, oldest first, separated by spaces (RFC 5256 §3).
    """

    message_id: str
    in_reply_to: str
    from_address: str
    subject: str
    date: datetime | None
    header_size: int
    envelope: bytes
    bodystructure: bytes
    received_count: int = 0
    author: Author = NOBODY


@dataclass(frozen=True, slots=True)
class StagedBody:
    """The octets as the peer sent them. Exactly one of inline (<= inline limit) and blob (SHA-256 hex key) is set."""

    size: int
    sha256: str
    inline: bytes | None = None
    blob: str | None = None


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message about to be committed. prefix: header lines added by us (Received, Return-Path…), CRLF-ended; what a
    reader gets is prefix + body, and the body stays byte-exact (rule: originals are never altered)."""

    body: StagedBody
    prefix: bytes
    facts: MessageFacts
    trace_id: str
    received_at: datetime


@dataclass(frozen=True, slots=True)
class FolderRow:
    """One message in one folder, without its content. expunged rows never appear here."""

    uid: int
    modseq: int
    flags: int
    keywords: str  # space-separated, sorted, original case
    internal_date: datetime
    size: int  # RFC822.SIZE: prefix + body
    message_id: int  # row id of the message, not the Message-ID header
    saved_at: int = 0  # when it came into this folder, seconds since 1970 (RFC 8514); 0: before that was kept


class StoredMessage(NamedTuple):  # a tuple: ten thousand of them are made for one FETCH
    """Content columns of a message row; body is inline octets or the key of a blob."""

    id: int
    prefix: bytes
    inline: bytes | None
    blob: str | None
    body_size: int
    envelope: bytes
    bodystructure: bytes
    header_size: int
    trace_id: str = ""


@dataclass(frozen=True, slots=True)
class FolderChanges:
    """What happened in a folder after a modseq: rows added or re-flagged (ordered by uid), and UIDs expunged.

    seen_private: whether each reader has its own `\\Seen` there now; None when that was not read.
    """

    highest_modseq: int
    uidnext: int
    rows: tuple[FolderRow, ...]
    expunged: tuple[int, ...]
    seen_private: bool | None = None


class TooManyChanges(Exception):
    """Tombstones before the asked modseq were purged: take a full snapshot instead."""
