"""What services see of storage: one database with read and write units, and set-based store groups.

- A unit of work is a plain function that takes a `Tx` first: no await, no socket, no clock inside (STYLE rule 7).
- `Database.write` returns only when the unit is committed and synced (WAL, synchronous=FULL): `250` may follow.
- Units waiting at the same time are committed together (group commit); one that fails is rolled back alone.
- `write_many` hands all waiting items of the same function to it at once: no statement per message (STYLE rule 8).
- Order of durability, obeyed everywhere: blob -> commit -> reply -> doorbell; files are deleted after the commit.
- No caller sees SQL, rows or column names; implementations live in `mssante.storage.sql`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, TypeVar

from mssante.model.headers import HeaderBlock, IndexedHeaders
from mssante.model.journal import JournalEvent
from mssante.model.mailbox import Folder, Usage
from mssante.model.message import FolderChanges, FolderRow, StoredMessage
from mssante.storage.acceptance import Acceptance as Acceptance
from mssante.storage.acceptance import Accepted as Accepted
from mssante.storage.acceptance import Filed as Filed
from mssante.storage.acceptance import Filing as Filing
from mssante.storage.acceptance import QueueEntry as QueueEntry
from mssante.storage.acceptance import QueueRecipient as QueueRecipient
from mssante.storage.accounts import Account as Account
from mssante.storage.accounts import AccountStore as AccountStore
from mssante.storage.accounts import NewMailbox as NewMailbox
from mssante.storage.annotations import AnnotationStore as AnnotationStore
from mssante.storage.annotations import FolderAnnotation as FolderAnnotation
from mssante.storage.annotations import Place as Place
from mssante.storage.apitokens import ApiTokenStore as ApiTokenStore
from mssante.storage.citizen import CitizenStore as CitizenStore
from mssante.storage.credentials import CredentialStore as CredentialStore
from mssante.storage.cursors import CursorStore as CursorStore
from mssante.storage.delegations import DelegationStore as DelegationStore
from mssante.storage.exchanges import ExchangeStore as ExchangeStore
from mssante.storage.filters import FilterStore as FilterStore
from mssante.storage.handover import HandoverStore as HandoverStore
from mssante.storage.holds import HoldStore as HoldStore
from mssante.storage.identities import IdentityStore as IdentityStore
from mssante.storage.imports import ImportedCopy as ImportedCopy
from mssante.storage.imports import ImportStore as ImportStore
from mssante.storage.interfacing import InterfacingStore as InterfacingStore
from mssante.storage.life import LifeStore as LifeStore
from mssante.storage.opposition import OppositionStore as OppositionStore
from mssante.storage.peercerts import PeerCertificate as PeerCertificate
from mssante.storage.peercerts import PeerCertificateStore as PeerCertificateStore
from mssante.storage.publication import PublicationStore as PublicationStore
from mssante.storage.records import JournalRow as JournalRow
from mssante.storage.records import JournalStore as JournalStore
from mssante.storage.records import TrustStore as TrustStore
from mssante.storage.records import WhitelistVersion as WhitelistVersion
from mssante.storage.rights import Grant as Grant
from mssante.storage.rights import Holder as Holder
from mssante.storage.rights import Reader as Reader
from mssante.storage.rights import RightStore as RightStore
from mssante.storage.rights import SeenChange as SeenChange
from mssante.storage.search import FeedStore as FeedStore
from mssante.storage.search import TextIndex as TextIndex
from mssante.storage.smime import CertificateSource as CertificateSource
from mssante.storage.smime import KnownCertificate as KnownCertificate
from mssante.storage.smime import MailboxSmime as MailboxSmime
from mssante.storage.smime import SmimeStore as SmimeStore
from mssante.storage.twins import TwinStore as TwinStore
from mssante.storage.versions import VersionStore as VersionStore
from mssante.storage.webhooks import WebhookStore as WebhookStore

T = TypeVar("T")
A = TypeVar("A")
R = TypeVar("R")

Tx = Any  # an open transaction: opaque to services, a SQLAlchemy Connection in storage.sql


class Database(Protocol):
    """Runs units of work on its own threads."""

    async def read(self, unit: Callable[[Tx], T], *, quick: bool = False) -> T:
        """Run `unit` on a reader with one consistent snapshot; give what it gives.

        quick: it reads a few rows by key, tens of microseconds: an engine inside this process runs it without a thread.
        """
        ...

    async def write(self, unit: Callable[[Tx], T], *, quick: bool = False) -> T:
        """Run `unit` on the writer and commit; raises StorageFull when the disk is, OperatorFault otherwise.

        quick: it changes a few rows of known keys: an engine that can may run it where `write_many` is run.
        """
        ...

    async def write_many(self, unit: Callable[[Tx, Sequence[A]], Sequence[R]], item: A) -> R:
        """Run `unit` once for all items waiting for it, commit, give the result of this item.

        `unit` gives one result per item, in order. If the common run fails, items are run again one by one, so that one
        bad item never refuses its neighbours.
        """
        ...


class BlobWriter(Protocol):
    """One body being staged: nothing is visible before `commit`."""

    def write(self, data: bytes) -> None:
        """Append octets (blocking, called from a worker thread for large bodies)."""
        ...

    def commit(self) -> str:
        """Sync file and folder, give the key (SHA-256 hex). Raises StorageFull."""
        ...

    def take(self) -> bytes:
        """Give what was written and forget it; nothing stays on disk. Raises OperatorFault."""
        ...

    def discard(self) -> None:
        """Forget what was written; safe to call twice and after commit."""
        ...


class BlobStore(Protocol):
    """Bodies above the inline limit, by content."""

    def stage(self) -> BlobWriter:
        """Open a writer. Raises StorageFull."""
        ...

    def read(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        """Give a range of a blob (blocking). Raises OperatorFault `BLOB-MISSING`."""
        ...

    def delete(self, keys: Sequence[str]) -> None:
        """Remove blobs; those already gone are no fault."""
        ...

    def keys(self, *, older_than_seconds: float = 3600.0) -> Iterator[str]:
        """Give the keys of blobs not touched since (blocking): what `MessageStore.blobs_in_use` is asked about."""
        ...

    def clear_staging(self, *, older_than_seconds: float = 86400.0) -> int:
        """Remove what dead processes left half written; give how many files."""
        ...

    def free_bytes(self) -> int:
        """Room left where blobs and database live."""
        ...


class MessageStore(Protocol):
    """Messages and their presence in folders. Every method is a bounded number of statements whatever the count."""

    def accept(self, tx: Tx, items: Sequence[Acceptance]) -> list[Accepted]:
        """Insert messages, folder rows (uid, modseq from one UPDATE per batch), queue rows, journal events."""
        ...

    def snapshot(self, tx: Tx, folder_id: int) -> tuple[Folder, list[FolderRow]]:
        """Give the folder and its live rows ordered by uid. Raises LookupError when the folder is gone."""
        ...

    def changes_since(self, tx: Tx, folder_id: int, modseq: int) -> FolderChanges:
        """Give what happened after `modseq`. Raises TooManyChanges, or LookupError when the folder is gone."""
        ...

    def rows(self, tx: Tx, folder_id: int, uids: Sequence[int]) -> list[FolderRow]:
        """Give live rows of these UIDs (set-based, chunked beyond engine limits)."""
        ...

    def contents(self, tx: Tx, message_ids: Sequence[int], *, with_body: bool) -> list[StoredMessage]:
        """Give content columns; `inline` is None when with_body is false or the body is a blob."""
        ...

    def headers(self, tx: Tx, message_ids: Sequence[int]) -> list[IndexedHeaders]:
        """Give what is kept of the headers of these messages, in any order; those that are gone are left out."""
        ...

    def header_blocks(self, tx: Tx, message_ids: Sequence[int]) -> list[HeaderBlock]:
        """Give the headers of these messages, in any order, without their bodies."""
        ...

    def set_flags(self, tx: Tx, folder_id: int, uids: Sequence[int], change: FlagChange,
                  ) -> tuple[list[FolderRow], list[int]]:
        """Apply a STORE, one new modseq for all: give (rows after it, UIDs refused by unchanged_since)."""
        ...

    def copy(self, tx: Tx, source_id: int, uids: Sequence[int], target_id: int, *, now: datetime) -> list[tuple[int, int]]:
        """Copy live rows (flags kept): give (source uid, target uid) pairs ordered by source uid. now: save date (RFC 8514)."""
        ...

    def move(self, tx: Tx, source_id: int, uids: Sequence[int], target_id: int, *, now: datetime) -> list[tuple[int, int]]:
        """Copy then leave tombstones in the source, in one unit."""
        ...

    def expunge(self, tx: Tx, folder_id: int, uids: Sequence[int] | None) -> list[int]:
        """Turn rows flagged Deleted (among `uids` when given) into tombstones; give their UIDs."""
        ...

    def usage(self, tx: Tx, mailbox_id: int) -> Usage:
        """Give what all folders of a mailbox hold."""
        ...

    def deleted_sizes(self, tx: Tx, folder_ids: Sequence[int]) -> dict[int, int]:
        """Give the octets of messages flagged `\\Deleted`, by folder; folders without any are absent."""
        ...

    def expunged_since(self, tx: Tx, folder_id: int, modseq: int) -> list[int]:
        """Give the UIDs expunged after `modseq`, in order. Raises TooManyChanges, or LookupError when the folder is gone."""
        ...

    def tombstones_beyond(self, tx: Tx, kept: int) -> list[tuple[int, int]]:
        """Give (folder id, modseq) of folders with more than `kept` tombstones: up to that modseq are the oldest ones."""
        ...

    def purge_tombstones(self, tx: Tx, folder_id: int, modseq: int) -> int:
        """Delete tombstones up to `modseq`; what asks for older changes then gets TooManyChanges. Gives how many."""
        ...

    def sweep(self, tx: Tx, limit: int) -> list[str]:
        """Delete content of orphan messages (in no folder, no queue), give blob keys to delete after commit."""
        ...

    def blobs_in_use(self, tx: Tx, keys: Sequence[str]) -> set[str]:
        """Give which of these blob keys a message names."""
        ...

    def by_trace(self, tx: Tx, trace_id: str) -> list[tuple[int, str, int]]:
        """Give (mailbox id, folder name, uid) of every live copy of the message with this trace id."""
        ...


@dataclass(frozen=True, slots=True)
class FlagChange:
    """One STORE. mode: `set`, `add` or `remove`; unchanged_since None means no condition (RFC 7162 §3.1.3).

    mask: bits that may change; words: keywords may change (RFC 4314 §4: what the user has no right to is left as it is).
    """

    mode: str
    flags: int = 0
    keywords: tuple[str, ...] = ()
    unchanged_since: int | None = None
    mask: int = 0x7FFFFFFF
    words: bool = True


class FolderStore(Protocol):
    """Folders of a mailbox. Names use `/`; INBOX is upper-case."""

    def of_mailbox(self, tx: Tx, mailbox_id: int) -> list[Folder]:
        """Give all folders, ordered by name, INBOX first."""
        ...

    def get(self, tx: Tx, folder_id: int) -> Folder | None:
        """Give one folder or None."""
        ...

    def modseqs(self, tx: Tx, folder_ids: Sequence[int]) -> dict[int, int]:
        """Give the highest modseq of each of these folders that exists."""
        ...

    def create(self, tx: Tx, mailbox_id: int, name: str, special_use: str = "", *, subscribed: bool = True) -> Folder:
        """Create a folder with a new UIDVALIDITY; subscribed False: only when its name is. Raises ValueError when it exists."""
        ...

    def rename(self, tx: Tx, folder_id: int, name: str) -> None:
        """Rename with its children. Raises ValueError when the new name exists."""
        ...

    def move_all(self, tx: Tx, source_id: int, target_id: int, *, now: datetime) -> None:
        """Move every live row (RENAME INBOX, RFC 9051 §6.3.6)."""
        ...

    def delete(self, tx: Tx, folder_id: int, *, most_lost: int = 0) -> None:
        """Delete a folder and its rows; its content becomes orphan. most_lost: see `subscribe`, which its name may outlive."""
        ...

    def subscribe(self, tx: Tx, mailbox_id: int, name: str, on: bool, *, most_lost: int = 0) -> bool:
        """Set the subscription to a name. most_lost: how many names without folder may be subscribed; False beyond."""
        ...

    def lost_subscriptions(self, tx: Tx, mailbox_id: int) -> list[str]:
        """Give the names without folder that are subscribed, in order."""
        ...

    def recent_counts(self, tx: Tx, folder_ids: Sequence[int]) -> dict[int, int]:
        """Count live messages that no client was told of as `\\Recent`, by folder; those without any are absent."""
        ...

    def move_recent(self, tx: Tx, boundaries: Mapping[int, int]) -> None:
        """Set the first UID that no client was told of as `\\Recent`, by folder id; it never goes back."""
        ...


@dataclass(frozen=True, slots=True)
class QueueItem:
    """One recipient in the queue, as `queue list` shows it. state: queued, held, failed."""

    recipient_id: int
    queue_id: int
    message_id: int
    trace_id: str
    sender: str
    address: str
    destination: str
    state: str
    attempts: int
    next_attempt_at: datetime
    created_at: datetime
    expires_at: datetime
    last_reply: str
    size: int


@dataclass(frozen=True, slots=True)
class QueueBatch:
    """Recipients of one message for one destination, claimed together under one lease."""

    queue_id: int
    message_id: int
    trace_id: str
    sender: str
    destination: str
    created_at: datetime
    expires_at: datetime
    ret: str
    envid: str
    smtputf8: bool
    delay_notified: bool
    recipients: tuple[tuple[int, QueueRecipient, int], ...]  # (recipient id, recipient, attempts so far with this one)


@dataclass(frozen=True, slots=True)
class Settlement:
    """What became of one claimed recipient. state: `delivered`, `queued` (again at next_attempt_at), `failed`."""

    recipient_id: int
    queue_id: int
    state: str
    next_attempt_at: datetime | None = None
    reply: str = ""


@dataclass(frozen=True, slots=True)
class SettledBatch:
    """Settlements of one batch with the facts and reports that go with them, committed together."""

    settlements: tuple[Settlement, ...]
    events: tuple[JournalEvent, ...] = ()
    reports: tuple[Acceptance, ...] = ()  # DSNs filed or queued in the same transaction (window W4)
    delay_notified: bool = False


class QueueStore(Protocol):
    """The outbound queue."""

    def claim(self, tx: Tx, claim: Claim) -> list[QueueBatch]:
        """Take due recipients grouped by (message, destination), oldest first, skipping busy destinations.

        Writes attempts + 1, lease and next_attempt_at = lease_until before giving them: a crash costs one interval.
        """
        ...

    def settle(self, tx: Tx, items: Sequence[SettledBatch]) -> list[tuple[Accepted, ...]]:
        """Record outcomes (set-based), delete what is done, append events, accept reports."""
        ...

    def next_due(self, tx: Tx) -> datetime | None:
        """Give the earliest next_attempt_at of queued recipients."""
        ...

    def release_leases(self, tx: Tx, owner: str, now: datetime) -> int:
        """Make recipients leased by `owner` due now (at start, after a crash); give how many."""
        ...

    def items(self, tx: Tx, *, destination: str | None = None, limit: int = 1000) -> list[QueueItem]:
        """List recipients, oldest first."""
        ...

    def change(self, tx: Tx, action: str, now: datetime, *, queue_id: int | None = None, destination: str | None = None,
               ) -> int:
        """action: `hold`, `release`, `retry` (due now) or `cancel`; give how many recipients changed."""
        ...

    def depth(self, tx: Tx) -> dict[str, int]:
        """Count recipients by state."""
        ...


@dataclass(frozen=True, slots=True)
class Claim:
    """What to claim: at most `limit` (message, destination) groups due at `now`."""

    now: datetime
    limit: int
    busy: frozenset[str]
    owner: str
    lease_until: datetime


@dataclass(slots=True)
class Stores:
    """All of storage, built by `app.py`."""

    database: Database
    blobs: BlobStore
    messages: MessageStore
    folders: FolderStore
    queue: QueueStore
    journal: JournalStore
    accounts: AccountStore
    trust: TrustStore
    imports: ImportStore
    rights: RightStore
    annotations: AnnotationStore
    feed: FeedStore
    holds: HoldStore
    peer_certificates: PeerCertificateStore
    smime: SmimeStore
    exchanges: ExchangeStore
    delegations: DelegationStore
    filters: FilterStore
    publication: PublicationStore
    api_tokens: ApiTokenStore
    identities: IdentityStore
    credentials: CredentialStore
    life: LifeStore
    citizens: CitizenStore
    cursors: CursorStore
    handover: HandoverStore
    interfacing: InterfacingStore
    oppositions: OppositionStore
    webhooks: WebhookStore
    twins: TwinStore
    versions: VersionStore
    closers: list[Callable[[], None]] = field(default_factory=list)

    def close(self) -> None:
        """Flush and close, last opened first."""
        for closer in reversed(self.closers):
            closer()
