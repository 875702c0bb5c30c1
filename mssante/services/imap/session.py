"""One IMAP user at work: who is logged in, which folder is open, what was told to the client.

- Holds no socket and no text of the protocol parser: the endpoint gives typed commands and writes what is answered.
- `Answer` is computed before anything is written; large answers are a stream of chunks that the endpoint draws at the pace
  of the client, and no transaction is open while it does.
- The folder open is checked again before each command: a change announced since is read first, a folder that vanished ends
  the session (RFC 2180 §3.3).
- Logins are checked through `services.sasl.LoginDesk`; this module sees no secret.
Called by `endpoints/imap_connection.py`; the commands of `services/imap/*` get it as first argument.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mssante.clock import Clock
from mssante.errors import MssFault
from mssante.model.delegation import Right
from mssante.model.mailbox import Folder, MailboxState
from mssante.protocol.imap.encode import ok, recent
from mssante.protocol.imap.faults import CommandRefused, SessionEnd
from mssante.protocol.imap.numset import NumSet
from mssante.protocol.imap.session import ImapSession
from mssante.protocol.imap.syncencode import vanished_lines
from mssante.protocol.imap.values import Completion
from mssante.services.doorbell import Doorbell
from mssante.services.imap.columns import flags_text
from mssante.services.imap.contexts import Contexts
from mssante.services.imap.flaglist import new_words, permanent
from mssante.services.imap.progress import Progress
from mssante.services.imap.recent import RecentMarks
from mssante.services.imap.registry import FolderRegistry
from mssante.services.imap.rights import DELEGATE, Shares, check
from mssante.services.imap.seen import SeenMarks
from mssante.services.imap.selection import Picked, pick, take
from mssante.services.imap.settings import ImapSettings
from mssante.services.imap.view import Cursor, FolderView, Table, Updates
from mssante.services.mailroom import Mailroom
from mssante.services.sasl import LoginDesk
from mssante.storage.interfaces import Account, Stores, TextIndex, Tx

if TYPE_CHECKING:
    from mssante.services.imap.notices import Notices

STANDING_SECONDS = 15.0
_SHUT = frozenset((MailboxState.SUSPENDED, MailboxState.CLOSED, MailboxState.PURGED))


@dataclass(frozen=True, slots=True)
class ImapServices:
    """What IMAP sessions use, built once by `app.py`. executor: worker threads for blob files, scans and text search."""

    stores: Stores
    doorbell: Doorbell
    mailroom: Mailroom
    authenticator: LoginDesk
    clock: Clock
    executor: Executor
    settings: ImapSettings
    registry: FolderRegistry
    texts: TextIndex | None = None  # the full-text index; without it every message is read

    @classmethod
    def build(cls, stores: Stores, mailroom: Mailroom, authenticator: LoginDesk, *, doorbell: Doorbell, clock: Clock,
              executor: Executor, settings: ImapSettings, texts: TextIndex | None = None) -> ImapServices:
        """Make the services with their own folder registry."""
        registry = FolderRegistry(stores, doorbell, cache_bytes=settings.cache_bytes,
                                  grace_seconds=settings.grace_seconds)
        return cls(stores, doorbell, mailroom, authenticator, clock, executor, settings, registry, texts)


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


def _nobody() -> None:
    """Wakes nobody: a session without a connection."""


class Session:
    """State of one logged-in (or not yet) connection."""

    __slots__ = ("_looking", "_notice", "_progress", "_stood_at", "account", "barred", "contexts", "cursor", "folder",
                 "following", "in_passing", "mailbox_id", "modseq_told", "notices", "peer", "read_only", "recent", "rights",
                 "saved", "seen", "services", "shares", "tag", "view", "wake", "wire", "words_told")

    def __init__(self, services: ImapServices, wire: ImapSession, peer: str) -> None:
        """wire: the protocol core, asked for `rev2`, `utf8`, `condstore` and told of selections; peer: `address:port`."""
        self.services = services
        self.wire = wire
        self.peer = peer
        self.account: Account | None = None
        self.mailbox_id = 0
        self.folder: Folder | None = None
        self.view: FolderView | None = None
        self.cursor: Cursor | None = None
        self.read_only = False
        self.saved = NumSet()
        self.tag = b""  # of the command that runs: ESEARCH names it
        self.notices: Notices | None = None  # what NOTIFY asked for
        self.wake: Callable[[], None] = _nobody  # set by the connection: something can be told between commands
        self.contexts = Contexts()
        self.following: asyncio.Task[None] | None = None  # looks again at followed searches while the client idles
        self.shares = Shares(services)
        self.rights: frozenset[str] | None = None  # in the open folder; None: all, it is one's own
        self.seen: SeenMarks | None = None  # what the account has read, when the open folder keeps it for each reader
        self.recent = RecentMarks()  # what this session is the first to be told of
        self.words_told = 0  # keywords of the open folder that the client was told of
        self.modseq_told = False  # the client uses CONDSTORE, and was told HIGHESTMODSEQ
        self.in_passing = False  # the last EXISTS came in the answer to a command that did not ask for it
        self.barred = False  # an idling session lost the right to read
        self._notice = b""
        self._progress = Progress(services.clock, services.settings.progress_seconds)
        self._looking: asyncio.Task[None] | None = None
        self._stood_at = 0.0  # when the login was last seen to be open

    # ------------------------------------------------------------------------------------------ login

    async def enter(self, account: Account) -> None:
        """Open the first mailbox of an account that has logged in. Raises CommandRefused when it may not be read."""
        if not account.mailbox_ids:
            raise CommandRefused("this account has no mailbox", code="AUTHORIZATIONFAILED")
        own = account.opened or account.mailbox_ids[0]
        found = await self.services.registry.mailbox(own)
        if found is None or found.state in _SHUT:
            raise CommandRefused("this mailbox is not open", code="AUTHORIZATIONFAILED")
        self.account = account
        self.mailbox_id = own
        self._stood_at = self.services.clock.monotonic()
        self.services.registry.enter(own)

    # ------------------------------------------------------------------------------------------ folders

    async def find(self, name: str, *, code: str = "NONEXISTENT", needs: str = "") -> Folder:
        """Give a folder by name. Raises CommandRefused with `code` (RFC 5530) when there is none.

        needs: letters of the rights that the command takes there (RFC 4314 §4); the owner has them all. A folder of another
        mailbox comes under the name that the user gives it; one that the user may not see (`l`) does not exist.
        """
        if self.shares.covers(name):
            return await self.shares.find(self.account, name, code=code, needs=needs)
        folder = await self.services.registry.find_folder(self.mailbox_id, name)
        if folder is None:
            raise CommandRefused("no such folder", code=code)
        if self.account is not None and self.account.opened:
            check(DELEGATE, needs)
        return folder

    async def open(self, folder: Folder, *, read_only: bool) -> tuple[FolderView, Cursor]:
        """Open a folder (the one open before is left). Raises CommandRefused when it vanished."""
        if self.view is not None:
            self.leave()
        try:
            view, cursor = await self.services.registry.open(folder.id)
        except LookupError:
            self.services.registry.forget_folders(folder.mailbox_id)
            raise CommandRefused("no such folder", code="NONEXISTENT") from None
        self.folder, self.view, self.cursor, self.read_only = folder, view, cursor, read_only
        self.rights = self.shares.known(folder)
        if view.seen_private:
            try:
                await self._follow_seen(view)
            except BaseException:
                self.leave()
                raise
        if self.notices is not None:
            self.notices.opened()
        return view, cursor

    def leave(self) -> None:
        """Leave the folder that is open, if any; nothing is expunged."""
        if self.notices is not None:
            self.notices.left()
        if self.view is not None and self.cursor is not None:
            self.services.registry.close(self.view, self.cursor)
        if self.seen is not None:
            self.services.registry.seen.close(self.seen)
        self.view = self.cursor = self.folder = self.rights = self.seen = None
        self.barred = self.in_passing = False
        self._notice = b""
        self.contexts.clear()
        self.recent.clear()
        self.saved = NumSet()

    def end(self) -> None:
        """The connection is over; safe to call twice."""
        if self.notices is not None:
            self.notices.end()
            self.notices = None
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
        if self.rights is not None:
            check(self.rights, needs)

    def may(self, letter: str) -> bool:
        """Tell if the user has one right in the folder that is open."""
        return self.rights is None or letter in self.rights

    def flags_of(self, table: Table, rows: Sequence[int]) -> Sequence[int]:
        """Give the flags of rows as this user sees them: `\\Seen` may be kept for each reader, `\\Recent` is of the session."""
        flags = take(table.flags, rows)
        if self.seen is not None:
            flags = self.seen.over(flags, take(table.uids, rows))
        if len(rows) and table.uids[rows[-1]] >= self.recent.first:
            flags = self.recent.over(flags, take(table.uids, rows))
        return flags

    def common_flags(self, table: Table, rows: Sequence[int]) -> bool:
        """Tell if the flags of rows, in UID order and at least one, are for this session what they are for all."""
        return self.seen is None and table.uids[rows[-1]] < self.recent.first

    def meet(self, known: int = 0) -> bytes:
        """The client is told of the messages behind its first `known` ones: what nobody else was told of is `\\Recent`.

        Gives the RECENT line when its number changed, for clients without IMAP4rev2 (RFC 3501 §7.3.2).
        """
        view, cursor = self.opened()
        if self.wire.rev2:
            return b""
        marks = self.recent
        if cursor.count > known:
            stop = cursor.uids[cursor.count - 1] + 1
            marks.add(max(view.recent_uid, cursor.uids[known]), stop)
            if not self.read_only and (self.rights is None or "w" in self.rights):
                self.services.registry.recents.claim(view, stop)
        told, marks.told = marks.told, marks.count(cursor.uids)
        return recent(marks.told) if marks.told != told else b""

    async def revalidate(self) -> None:
        """Read what was announced for the open folder; no wait when nothing was. Raises SessionEnd when it is gone."""
        if not self._stands():
            await self._look_at_login()
            if self.barred:
                self.leave()
                raise SessionEnd("this account is not open any more")
        view = self.view
        if view is None:
            return
        if view.stale:
            await view.refresh()
        if view.gone:
            self.leave()
            raise SessionEnd("the folder that was open has been deleted")
        if view.seen_private is not (self.seen is not None):
            await self._follow_seen(view)
        if self.rights is not None and not self.shares.fresh(self.account):
            await self._look_at_rights()

    def _stands(self) -> bool:
        """Tell if the login may be taken for open without a look at it."""
        return self.account is None or self.services.clock.monotonic() - self._stood_at < STANDING_SECONDS

    async def _look_at_login(self) -> None:
        """Look whether the login and its mailbox are still open: who was disabled while a session was open is out of it within
        `STANDING_SECONDS`. `barred` says that it is not."""
        account, stores, own, now = self.account, self.services.stores, self.mailbox_id, self.services.clock.now()
        if account is None:
            return

        def unit(tx: Tx) -> bool:
            found = stores.accounts.account_by_login(tx, account.login)
            boxes = stores.accounts.mailboxes_by_id(tx, [own])
            if account.opened and not any(one.mailbox_id == own and one.runs(now) and Right.OPEN in one.rights
                                          for one in stores.delegations.of_account(tx, account.id)):
                return False  # the delegation by which a token opened this box is over
            return (found is not None and found.id == account.id and found.enabled and bool(boxes)
                    and boxes[0].state not in _SHUT)

        at = self.services.clock.monotonic()
        self.barred = not await stores.database.read(unit, quick=True)
        if not self.barred:
            self._stood_at = at

    async def _follow_seen(self, view: FolderView) -> None:
        """Take up whether the open folder keeps `\\Seen` for each reader: it can be switched while it is open."""
        book = self.services.registry.seen
        if self.seen is not None:
            book.close(self.seen)
            self.seen = None
        if view.seen_private and self.account is not None:
            self.seen = await book.open(view.folder_id, self.account.id)

    async def _look_at_rights(self) -> None:
        """Read what the user may do in the open folder of another mailbox. Raises SessionEnd when it is nothing any more."""
        folder = self.folder
        shared = None if folder is None else (await self.shares.tree(self.account)).by_id.get(folder.id)
        if shared is None or "r" not in shared.rights:  # RFC 4314 §5.1.1
            self.leave()
            raise SessionEnd("the folder that was open is not shared any more")
        if shared.rights != self.rights:
            self.rights = shared.rights
            self._notice = ok("your rights have changed", permanent(self, sorted(self.view.words) if self.view else []))

    def sure(self) -> bool:
        """Tell if an idling client may be told of the open folder now; else look at its rights, and wake it after."""
        known = self.view is None or self.view.seen_private is (self.seen is not None)
        if known and self._stands() and (self.rights is None or self.shares.fresh(self.account)):
            return True
        if self._looking is None or self._looking.done():
            self._looking = asyncio.get_running_loop().create_task(self._look_while_idle())
        return False

    async def _look_while_idle(self) -> None:
        """Look at the rights while the client idles: `barred` says that it may not read any more."""
        folder, view = self.folder, self.view
        if view is None or folder is None:
            return
        try:
            if not self._stands():
                await self._look_at_login()
                if self.barred:
                    view.wake()
                    return
            tree = await self.shares.tree(self.account) if self.rights is not None else None
            if view is self.view and view.seen_private is not (self.seen is not None):
                await self._follow_seen(view)
        except MssFault:
            return  # nothing is told; the next command asks again
        if view is not self.view:
            return
        if tree is not None:
            shared = tree.by_id.get(folder.id)
            self.barred = shared is None or "r" not in shared.rights
        view.wake()

    def pick(self, numbers: NumSet, *, uid: bool) -> Picked:
        """Give the messages that a command names in the open folder."""
        view, cursor = self.opened()
        return pick(view, cursor, numbers, uid=uid, saved=self.saved)

    # ------------------------------------------------------------------------------------------ progress

    def tell_progress(self, write: Callable[[bytes], None]) -> None:
        """Say through what the lines of a long command are written: it takes whole lines, at once."""
        self._progress.write = write

    def begin_progress(self, tag: bytes) -> None:
        """A command begins."""
        self._progress.begin(tag)

    def progress(self, done: int | None = None, goal: int | None = None) -> None:
        """Tell how far the command that runs is, if it has been silent for long (RFC 9585). done of goal items; no wait.

        Called between two lines of an answer, never inside one.
        """
        self._progress.tell(done, goal)

    # ------------------------------------------------------------------------------------------ updates

    def updates(self, *, expunges: bool, asked: bool = True) -> list[bytes]:
        """Give the untagged lines about what the client was not told yet, and mark it told (RFC 9051 §7.5.1, §7.3).

        asked: the client wants to hear of them now (NOOP, CHECK, IDLE, NOTIFY) or made them (APPEND), they come not in passing.
        """
        view, cursor = self.view, self.cursor
        if view is None or cursor is None:
            return []
        notice = [self._notice] if self._notice else []
        self._notice = b""
        known = cursor.count
        news = view.updates(cursor, expunges=expunges)
        if asked or news.exists is not None:
            self.in_passing = not asked
        words = new_words(self)
        if words and not news:
            notice.append(words)
        if not news:
            return notice + self._followed(view, cursor) + self._held_back(view, cursor)
        # REMOVEFROM before the EXPUNGE that takes the number away (RFC 5267 §4.3.4)
        out = notice + self.contexts.leaving(dict(zip(news.vanished, reversed(news.expunged), strict=True)))
        out += self._removals(news)
        if news.exists is not None:
            came = b"* %d EXISTS\r\n" % news.exists
            out.append(came + self.meet(known - len(news.expunged)))
        if words:  # before the lines that show them
            out.append(words)
        out.extend(self.flag_line(number, row) for number, row in news.flagged)
        return out + self._followed(view, cursor) + self._held_back(view, cursor)

    def _held_back(self, view: FolderView, cursor: Cursor) -> list[bytes]:
        """Give a lower HIGHESTMODSEQ while expunges wait for a command that may tell them (RFC 7162 §3.2).

        A client takes the highest MODSEQ told for what it knows; after what was just told that would be too much.
        """
        told = view.told(cursor) if self.wire.qresync else view.highest_modseq
        if told >= view.highest_modseq:
            return []
        return [ok("expunged messages are not told yet", b"HIGHESTMODSEQ %d" % told)]

    def _followed(self, view: FolderView, cursor: Cursor) -> list[bytes]:
        """Give what changed in the results of followed searches; after EXISTS, as it may name new messages (RFC 5267 §4.3.3)."""
        return self.contexts.changes(lambda uid: view.number_of(cursor, uid)) if self.contexts else []

    def _removals(self, news: Updates) -> list[bytes]:
        """Give EXPUNGE lines, or VANISHED when the client enabled it (RFC 7162 §3.2.10, RFC 9586 §3.4)."""
        if self.wire.qresync or self.wire.uidonly:
            return vanished_lines(NumSet.of(news.vanished))
        return [b"* %d EXPUNGE\r\n" % number for number in news.expunged]

    def modseq_line(self, number: int, row: int) -> bytes:
        """Give the line that tells the new MODSEQ of one message and nothing else (RFC 7162 §3.1.3)."""
        table = self.opened()[0].table
        uid, modseq = table.uids[row], table.modseqs[row]
        if self.wire.uidonly:
            return b"* %d UIDFETCH (MODSEQ (%d))\r\n" % (uid, modseq)
        return b"* %d FETCH (UID %d MODSEQ (%d))\r\n" % (number, uid, modseq)

    def flag_line(self, number: int, row: int) -> bytes:
        """Give the FETCH line that tells the flags of one message; MODSEQ when CONDSTORE is on (RFC 7162 §3.2).

        With UIDONLY it is UIDFETCH, and the number does not matter (RFC 9586 §3.3).
        """
        view, _ = self.opened()
        table = view.table
        uid = table.uids[row]
        mask = self.flags_of(table, (row,))[0]
        words = flags_text(mask, view.keywords.get(uid, ""))
        if self.wire.uidonly:
            more = b" MODSEQ (%d)" % table.modseqs[row] if self.wire.condstore else b""
            return b"* %d UIDFETCH (FLAGS (%b)%b)\r\n" % (uid, words, more)
        if self.wire.condstore:
            return b"* %d FETCH (UID %d FLAGS (%b) MODSEQ (%d))\r\n" % (number, uid, words, table.modseqs[row])
        return b"* %d FETCH (UID %d FLAGS (%b))\r\n" % (number, uid, words)
