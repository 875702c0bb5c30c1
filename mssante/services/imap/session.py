"""One IMAP user at work: who is logged in, which folder is open, what was told to the client.

- Holds no socket and no text of the protocol parser: the endpoint gives typed commands and writes what is answered.
- `Answer` is computed before anything is written; large answers are a stream of chunks that the endpoint draws at the pace
  of the client, and no transaction is open while it does.
- The folder open is checked again before each command: a change announced since is read first, a folder that vanished ends
  the session (RFC 2180 §3.3).
- `Authenticator` is the port through which passwords are checked; this module never sees a secret twice.
Called by `endpoints/imap_connection.py`; the commands of `services/imap/*` get it as first argument.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Protocol

from mssante.clock import Clock
from mssante.model.mailbox import Folder, Mailbox, MailboxState
from mssante.protocol.imap.faults import CommandRefused, SessionEnd
from mssante.protocol.imap.numset import NumSet
from mssante.protocol.imap.session import ImapSession
from mssante.protocol.imap.values import Completion
from mssante.services.doorbell import Doorbell
from mssante.services.imap.columns import flags_text
from mssante.services.imap.registry import FolderRegistry
from mssante.services.imap.selection import Picked, pick
from mssante.services.imap.settings import ImapSettings
from mssante.services.imap.view import Cursor, FolderView
from mssante.services.mailroom import Mailroom
from mssante.storage.interfaces import Account, Stores, Tx


class Authenticator(Protocol):
    """Checks a login and its password (`services.accounts.Accounts`)."""

    async def authenticate(self, login: str, password: str, peer: str, protocol: str = "imap") -> Account | None:
        """Give the account, or None when refused. peer: `address:port`. Takes its time after failures."""
        ...


@dataclass(frozen=True, slots=True)
class ImapServices:
    """What IMAP sessions use, built once by `app.py`. executor: worker threads for blob files, scans and text search."""

    stores: Stores
    doorbell: Doorbell
    mailroom: Mailroom
    authenticator: Authenticator
    clock: Clock
    executor: Executor
    settings: ImapSettings
    registry: FolderRegistry

    @classmethod
    def build(cls, stores: Stores, mailroom: Mailroom, authenticator: Authenticator, *, doorbell: Doorbell,
              clock: Clock, executor: Executor, settings: ImapSettings) -> ImapServices:
        """Make the services with their own folder registry."""
        registry = FolderRegistry(stores, doorbell, cache_bytes=settings.cache_bytes,
                                  grace_seconds=settings.grace_seconds)
        return cls(stores, doorbell, mailroom, authenticator, clock, executor, settings, registry)


class BrokenLine(Exception):
    """A response was cut in the middle of a literal: nothing can follow, the connection must be closed."""


@dataclass(slots=True)
class Answer:
    """What a command gives: data lines first, then the stream, then the client's updates, then the completion.

    expunges: updates may hold EXPUNGE; quiet: no updates at all (the folder was just opened or left).
    """

    data: list[bytes] = field(default_factory=list)
    completion: Completion = field(default_factory=Completion)
    stream: AsyncGenerator[bytes, None] | None = None
    expunges: bool = True
    quiet: bool = False


class Session:
    """State of one logged-in (or not yet) connection."""

    __slots__ = ("account", "cursor", "folder", "mailbox_id", "peer", "quota_bytes", "read_only", "saved", "services",
                 "tag", "view", "wire")

    def __init__(self, services: ImapServices, wire: ImapSession, peer: str) -> None:
        """wire: the protocol core, asked for `rev2`, `utf8`, `condstore` and told of selections; peer: `address:port`."""
        self.services = services
        self.wire = wire
        self.peer = peer
        self.account: Account | None = None
        self.mailbox_id = 0
        self.quota_bytes = 0
        self.folder: Folder | None = None
        self.view: FolderView | None = None
        self.cursor: Cursor | None = None
        self.read_only = False
        self.saved = NumSet()
        self.tag = b""  # of the command that runs: ESEARCH names it

    # ------------------------------------------------------------------------------------------ login

    async def login(self, login: str, password: str) -> bool:
        """Check a login; True opens its first mailbox. Raises CommandRefused when that mailbox may not be read."""
        account = await self.services.authenticator.authenticate(login, password, self.peer, "imap")
        if account is None:
            return False
        if not account.mailbox_ids:
            raise CommandRefused("this account has no mailbox", code="AUTHORIZATIONFAILED")
        stores, own = self.services.stores, account.mailbox_ids[0]

        def unit(tx: Tx) -> list[Mailbox]:
            return stores.accounts.mailboxes_by_id(tx, [own])

        found = await stores.database.read(unit)
        if not found or found[0].state in (MailboxState.SUSPENDED, MailboxState.CLOSED, MailboxState.PURGED):
            raise CommandRefused("this mailbox is not open", code="AUTHORIZATIONFAILED")
        self.account = account
        self.mailbox_id = own
        self.services.registry.enter(own)
        self.quota_bytes = found[0].quota_bytes
        return True

    # ------------------------------------------------------------------------------------------ folders

    async def find(self, name: str, *, code: str = "NONEXISTENT", needs: str = "") -> Folder:
        """Give a folder by name. Raises CommandRefused with `code` (RFC 5530) when there is none.

        needs: letters of the rights that the command takes there (RFC 4314 §4); the owner has them all.
        """
        folder = await self.services.registry.find_folder(self.mailbox_id, name)
        if folder is None:
            raise CommandRefused("no such folder", code=code)
        return folder

    async def open(self, folder: Folder, *, read_only: bool) -> tuple[FolderView, Cursor]:
        """Open a folder (the one open before is left). Raises CommandRefused when it vanished."""
        self.leave()
        try:
            view, cursor = await self.services.registry.open(folder.id)
        except LookupError:
            self.services.registry.forget_folders(self.mailbox_id)
            raise CommandRefused("no such folder", code="NONEXISTENT") from None
        self.folder, self.view, self.cursor, self.read_only = folder, view, cursor, read_only
        return view, cursor

    def leave(self) -> None:
        """Leave the folder that is open, if any; nothing is expunged."""
        if self.view is not None and self.cursor is not None:
            self.services.registry.close(self.view, self.cursor)
        self.view = self.cursor = self.folder = None
        self.saved = NumSet()

    def end(self) -> None:
        """The connection is over; safe to call twice."""
        self.leave()
        if self.account is not None:
            self.account = None
            self.services.registry.exit(self.mailbox_id)

    def opened(self) -> tuple[FolderView, Cursor]:
        """Give the open view and cursor. Raises CommandRefused when none is (the state table prevents it)."""
        if self.view is None or self.cursor is None:
            raise CommandRefused("no folder is open", code="CLIENTBUG")
        return self.view, self.cursor

    def writable(self) -> tuple[FolderView, Cursor]:
        """Same as `opened`, for a command that changes the folder. Raises CommandRefused after EXAMINE."""
        if self.read_only:
            raise CommandRefused("the folder is open read-only", code="CANNOT")
        return self.opened()

    def require(self, needs: str) -> None:
        """Raise CommandRefused `NOPERM` unless the user has these rights (RFC 4314 §4) in the folder that is open."""

    async def revalidate(self) -> None:
        """Read what was announced for the open folder; no wait when nothing was. Raises SessionEnd when it is gone."""
        view = self.view
        if view is None:
            return
        if view.stale:
            await view.refresh()
        if view.gone:
            self.leave()
            raise SessionEnd("the folder that was open has been deleted")

    def pick(self, numbers: NumSet, *, uid: bool) -> Picked:
        """Give the messages that a command names in the open folder."""
        view, cursor = self.opened()
        return pick(view, cursor, numbers, uid=uid, saved=self.saved)

    # ------------------------------------------------------------------------------------------ updates

    def updates(self, *, expunges: bool) -> list[bytes]:
        """Give the untagged lines about what the client was not told yet, and mark it told (RFC 9051 §7.5.1, §7.3)."""
        view, cursor = self.view, self.cursor
        if view is None or cursor is None:
            return []
        news = view.updates(cursor, expunges=expunges)
        if not news:
            return []
        out = [b"* %d EXPUNGE\r\n" % number for number in news.expunged]
        if news.exists is not None:
            out.append(b"* %d EXISTS\r\n" % news.exists)
        out.extend(self.flag_line(number, row) for number, row in news.flagged)
        return out

    def flag_line(self, number: int, row: int) -> bytes:
        """Give the FETCH line that tells the flags of one message; MODSEQ when CONDSTORE is on (RFC 7162 §3.2)."""
        view, _ = self.opened()
        table = view.table
        uid = table.uids[row]
        words = flags_text(table.flags[row], view.keywords.get(uid, ""))
        if self.wire.condstore:
            return b"* %d FETCH (UID %d FLAGS (%b) MODSEQ (%d))\r\n" % (number, uid, words, table.modseqs[row])
        return b"* %d FETCH (UID %d FLAGS (%b))\r\n" % (number, uid, words)
