"""The open folder in memory: one compact view shared by every session that has the folder open.

- Built from one `messages.snapshot`; brought up to date by one `messages.changes_since` per change, not per session.
- Arrays in UID order: position + 1 is the sequence number of a session that is up to date.
- An expunge makes new arrays and leaves the old `uids` to the sessions that have not told their client yet: a `Cursor`
  keeps the numbering its client knows, so EXPUNGE can be held back during FETCH, STORE and SEARCH (RFC 9051 §7.5.1).
- A change log lets each cursor compute its own untagged responses; it is cut when every cursor has passed.
- Changes are applied whatever their order or repetition: a row older than what is known is ignored, an expunged UID never
  comes back.
- Keywords that were met since somebody opened the folder are kept once (`words`), up to `MAX_WORDS`.
- Encoded answers are kept beside, within the byte budget of the registry (`ViewCache`).
- Never here: SQL, sockets, response texts. Used by `services/imap/*` on the event loop's thread only.
"""

from __future__ import annotations

import asyncio
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from mssante.model.mailbox import Folder
from mssante.model.message import FolderChanges, FolderRow, TooManyChanges
from mssante.services.imap.cache import ViewCache
from mssante.storage.interfaces import Stores, Tx


@dataclass(frozen=True, slots=True)
class Change:
    """One entry of the change log: what happened after modseq `since`. origin: the cursor whose own command made it and already
    told its client."""

    since: int
    changed: tuple[int, ...]
    expunged: tuple[int, ...]
    origin: object | None = None


class Cursor:
    """What one client knows of the folder: its numbering (uids[:count]) and how far in the log it was told.

    flags_at, expunged_at: absolute positions in the change log.
    """

    __slots__ = ("count", "expunged_at", "flags_at", "uids")

    def __init__(self, uids: array[int], position: int) -> None:
        self.uids = uids
        self.count = len(uids)
        self.flags_at = position
        self.expunged_at = position


@dataclass(frozen=True, slots=True)
class Updates:
    """What a client must be told, in this order: expunged sequence numbers, then exists, then flags.

    expunged: numbers as they must be sent one after the other; exists: None when unchanged; flagged: (number, row index);
    vanished: the UIDs of what was expunged, in order, for clients that are told those (RFC 7162 §3.2.10).
    """

    expunged: tuple[int, ...] = ()
    exists: int | None = None
    flagged: tuple[tuple[int, int], ...] = ()
    vanished: tuple[int, ...] = ()

    def __bool__(self) -> bool:
        """False when there is nothing to tell."""
        return bool(self.expunged or self.flagged) or self.exists is not None


_NOTHING = Updates()
MAX_WORDS = 200  # keywords of a folder that clients are told of
QUICK_CHANGES = 32  # units whose changes are read without a thread (docs/adr/0012)


class Table:
    """The rows as columns, in UID order. Rows are appended and re-flagged in place; an expunge makes another table.

    dates, saved: seconds since 1970 (saved 0: not known). A command keeps the table it began with while it waits: its row
    indexes stay right.
    """

    __slots__ = ("dates", "flags", "message_ids", "modseqs", "saved", "sizes", "uids")

    def __init__(self, rows: Sequence[FolderRow]) -> None:
        self.uids = array("I", [row.uid for row in rows])
        self.flags = array("B", [row.flags for row in rows])
        self.modseqs = array("Q", [row.modseq for row in rows])
        self.sizes = array("Q", [row.size for row in rows])
        self.message_ids = array("Q", [row.message_id for row in rows])
        self.dates = array("q", [int(row.internal_date.timestamp()) for row in rows])
        self.saved = array("q", [row.saved_at for row in rows])

    def append(self, row: FolderRow) -> None:
        """Add one row; its UID is above all others."""
        self.uids.append(row.uid)
        self.flags.append(row.flags)
        self.modseqs.append(row.modseq)
        self.sizes.append(row.size)
        self.message_ids.append(row.message_id)
        self.dates.append(int(row.internal_date.timestamp()))
        self.saved.append(row.saved_at)

    def index_of(self, uid: int) -> int:
        """Give the row index of a UID, or -1 when it is not here."""
        index = bisect_left(self.uids, uid)
        return index if index < len(self.uids) and self.uids[index] == uid else -1

    def without(self, indexes: Sequence[int]) -> Table:
        """Give a new table without these rows (sorted indexes)."""
        table = Table(())
        for name in Table.__slots__:
            old, kept, start = getattr(self, name), getattr(table, name), 0
            for index in indexes:
                kept.extend(old[start:index])
                start = index + 1
            kept.extend(old[start:])
        return table


class FolderView:
    """Rows of one folder as arrays, its change log, its cursors and its encoded answers."""

    __slots__ = ("_listeners", "_lock", "_log", "_log_base", "_notify_scheduled", "_own", "_task", "announced", "cache",
                 "cursors", "described", "folder_id", "gone", "highest_modseq", "keywords", "left_at", "recent_uid",
                 "seen_private", "stores", "table", "uidnext", "uidvalidity", "words")

    def __init__(self, stores: Stores, folder: Folder, rows: Sequence[FolderRow], cache: ViewCache) -> None:
        self.stores = stores
        self.folder_id = folder.id
        self.uidvalidity = folder.uidvalidity
        self.uidnext = folder.uidnext
        self.highest_modseq = folder.highest_modseq
        self.announced = folder.highest_modseq
        self.gone = False
        self.seen_private = folder.seen_private  # each reader has its own `\\Seen` (services/imap/seen.py)
        self.recent_uid = folder.recent_uid  # the first UID that no client was told of as `\\Recent` (services/imap/recent.py)
        self.cache = cache
        self.cursors: set[Cursor] = set()
        self._listeners: dict[Cursor, Callable[[], None]] = {}
        self._log: list[Change] = []
        self._log_base = 0
        self._lock = asyncio.Lock()
        self._own: dict[int, object] = {}  # modseqs of commands that report their changes themselves, not read yet
        self._task: asyncio.Task[None] | None = None
        self._notify_scheduled = False
        self.described: tuple[tuple[int, ...], bytes] = ((), b"")  # what SELECT tells, and of which state (`select.py`)
        self.left_at = 0.0  # when the last session left it (registry)
        self.keywords: dict[int, str] = {row.uid: row.keywords for row in rows if row.keywords}
        self.words: dict[str, None] = {}  # keywords, in the order in which they were met
        self.table = Table(rows)

    @property
    def uids(self) -> array[int]:
        """The UIDs of the folder as it is now."""
        return self.table.uids

    # ------------------------------------------------------------------------------------------ cursors

    def attach(self) -> Cursor:
        """Open the view for one session: its client is about to be told everything as it is now."""
        if not self.cursors:  # nobody was told of those that are not in use any more
            self.words = {}
            for text in set(self.keywords.values()):
                self._learn(text)
        cursor = Cursor(self.uids, self._log_base + len(self._log))
        self.cursors.add(cursor)
        return cursor

    def detach(self, cursor: Cursor) -> None:
        """End a session's use of the view."""
        self.cursors.discard(cursor)
        self._listeners.pop(cursor, None)
        self._trim()

    def listen(self, cursor: Cursor, callback: Callable[[], None]) -> None:
        """Call `callback()` after each change, while the session idles; after one too that was announced and not read yet."""
        self._listeners[cursor] = callback
        self.announce(self.announced)

    def unlisten(self, cursor: Cursor) -> None:
        """End `listen`."""
        self._listeners.pop(cursor, None)

    def is_current(self, cursor: Cursor) -> bool:
        """True when the client's numbering is the view's."""
        return cursor.uids is self.uids and cursor.count == len(self.uids)

    def index_of(self, uid: int) -> int:
        """Give the row index of a UID, or -1 when it is not in the folder any more."""
        return self.table.index_of(uid)

    def told(self, cursor: Cursor) -> int:
        """Give the modseq up to which the client was told of every expunge; that of the view when it knows all."""
        if cursor.uids is not self.uids:
            for entry in self._log[cursor.expunged_at - self._log_base:]:
                if entry.expunged:
                    return entry.since
        return self.highest_modseq

    def number_of(self, cursor: Cursor, uid: int) -> int:
        """Give the sequence number that the client knows for a UID, or 0 when it knows none."""
        index = bisect_left(cursor.uids, uid, 0, cursor.count)
        return index + 1 if index < cursor.count and cursor.uids[index] == uid else 0

    def updates(self, cursor: Cursor, *, expunges: bool) -> Updates:
        """Compute what the client was not told yet and mark it told.

        expunges False (FETCH, STORE, SEARCH by number): the numbering stays, so EXPUNGE and EXISTS wait.
        """
        position = self._log_base + len(self._log)
        if cursor.flags_at == position and cursor.expunged_at == position and self.is_current(cursor):
            return _NOTHING
        expunged: tuple[int, ...] = ()
        vanished: tuple[int, ...] = ()
        if cursor.uids is not self.uids and expunges:
            gone = {uid for entry in self._log[cursor.expunged_at - self._log_base:] for uid in entry.expunged}
            known = sorted((number, uid) for uid in gone if (number := self.number_of(cursor, uid)))
            vanished = tuple(uid for _, uid in known)
            # Highest first: the numbers below stay what they were (RFC 9051 §7.5.1).
            expunged = tuple(number for number, _ in reversed(known))
            cursor.count -= len(expunged)
            cursor.uids = self.uids
        if cursor.uids is self.uids:
            cursor.expunged_at = position
        flagged = self._flagged(cursor)
        cursor.flags_at = position
        exists = None
        if cursor.uids is self.uids and cursor.count != len(self.uids):
            cursor.count = exists = len(self.uids)
        self._trim()
        return Updates(expunged, exists, flagged, vanished)

    def _flagged(self, cursor: Cursor) -> tuple[tuple[int, int], ...]:
        """Give (number, row index) of the messages known to the client whose flags changed since it was told."""
        start = cursor.flags_at - self._log_base
        if start >= len(self._log):
            return ()
        changed = {uid for entry in self._log[start:] if entry.origin is not cursor for uid in entry.changed}
        pairs = [(self.number_of(cursor, uid), self.index_of(uid)) for uid in sorted(changed)]
        return tuple(pair for pair in pairs if pair[0] and pair[1] >= 0)

    def _trim(self) -> None:
        """Forget log entries that every cursor has passed."""
        if not self._log:
            return
        end = self._log_base + len(self._log)
        oldest = min((min(cursor.flags_at, cursor.expunged_at) for cursor in self.cursors), default=end)
        if oldest > self._log_base:
            del self._log[:oldest - self._log_base]
            self._log_base = oldest

    # ------------------------------------------------------------------------------------------ changes

    def announce(self, modseq: int) -> None:
        """Doorbell callback: remember the modseq; when a session idles, read the change now, else at its next command."""
        self.announced = max(self.announced, modseq)
        if self._listeners and self.announced > self.highest_modseq and (self._task is None or self._task.done()):
            self._task = asyncio.get_running_loop().create_task(self.refresh())

    @property
    def stale(self) -> bool:
        """True when a change was announced and not read yet."""
        return self.announced > self.highest_modseq and not self.gone

    async def refresh(self) -> None:
        """Read what was announced, once for all sessions; no wait when there is nothing new."""
        while self.stale:
            async with self._lock:
                if self.stale:
                    await self._read_changes()

    async def _read_changes(self) -> None:
        """Read the changes since our modseq and apply them; a folder that vanished marks the view gone."""
        messages, folder_id, since = self.stores.messages, self.folder_id, self.highest_modseq
        wanted = self.announced

        def unit(tx: Tx) -> FolderChanges | tuple[Folder, list[FolderRow]]:
            try:
                return messages.changes_since(tx, folder_id, since)
            except TooManyChanges:
                return messages.snapshot(tx, folder_id)

        try:
            found = await self.stores.database.read(unit, quick=wanted - since <= QUICK_CHANGES)
        except LookupError:
            self.gone = True
            self.wake()
            return
        changes = found if isinstance(found, FolderChanges) else self._compare(*found)
        self.apply(changes)
        # A ring whose modseq the store does not know (a copy into a folder that was rolled back) must not loop for ever.
        if self.highest_modseq < wanted:
            self.announced = min(self.announced, self.highest_modseq)

    def _compare(self, folder: Folder, rows: Sequence[FolderRow]) -> FolderChanges:
        """Turn a full snapshot into changes against what is known."""
        live = {row.uid for row in rows}
        return FolderChanges(
            folder.highest_modseq, folder.uidnext,
            tuple(row for row in rows if row.modseq > self.highest_modseq or row.uid >= self.uidnext),
            tuple(uid for uid in self.uids if uid not in live), folder.seen_private)

    def apply(self, changes: FolderChanges, *, origin: object | None = None) -> None:
        """Bring rows up to date and log the change; safe with old or repeated changes.

        origin: the cursor whose command made the change, which reports it to its client itself.
        """
        since = self.highest_modseq
        if changes.seen_private is not None:
            self.seen_private = changes.seen_private
        expunged = self._remove(changes.expunged)
        changed = self._put(changes.rows)
        self.highest_modseq = max(self.highest_modseq, changes.highest_modseq)
        self.uidnext = max(self.uidnext, changes.uidnext)
        if self.cursors and (changed or expunged):
            changed = self._log_own(changed)
            self._log.append(Change(since, changed, expunged, origin))
        self.wake()

    def _log_own(self, changed: tuple[int, ...]) -> tuple[int, ...]:
        """Log apart what a session's own command changed and this read brought; give the rest."""
        own, self._own = self._own, {}
        for modseq, origin in own.items():
            mine = {uid for uid in changed if self.table.modseqs[self.index_of(uid)] == modseq}
            self._log.append(Change(modseq - 1, tuple(mine), (), origin))
            changed = tuple(uid for uid in changed if uid not in mine)
            if modseq > self.highest_modseq:
                self._own[modseq] = origin
        return changed

    def _remove(self, uids: Iterable[int]) -> tuple[int, ...]:
        """Make new arrays without these UIDs; give those that were there."""
        indexes = sorted({index for index in map(self.index_of, uids) if index >= 0})
        if not indexes:
            return ()
        removed = tuple(self.uids[index] for index in indexes)
        self.table = self.table.without(indexes)
        for uid in removed:
            self.keywords.pop(uid, None)
        self.cache.forget_blocks()
        return removed

    def _put(self, rows: Iterable[FolderRow]) -> tuple[int, ...]:
        """Add new rows and update known ones; give the UIDs of the known ones that changed."""
        changed: list[int] = []
        uidnext = self.uidnext
        for row in rows:
            if row.uid >= uidnext:
                self.table.append(row)
                self.uidnext = max(self.uidnext, row.uid + 1)
                self._keep_keywords(row)
                continue
            index = self.index_of(row.uid)
            if index < 0 or row.modseq <= self.table.modseqs[index]:
                continue
            self.table.flags[index] = row.flags
            self.table.modseqs[index] = row.modseq
            self._keep_keywords(row)
            changed.append(row.uid)
            self.cache.forget_flags(index)
        return tuple(changed)

    def _keep_keywords(self, row: FolderRow) -> None:
        if row.keywords:
            self.keywords[row.uid] = row.keywords
            self._learn(row.keywords)
        else:
            self.keywords.pop(row.uid, None)

    def _learn(self, text: str) -> None:
        """Keywords of a message: remember those that are new."""
        if len(self.words) < MAX_WORDS:
            self.words.update(dict.fromkeys(text.split(" ")))

    def applied(self, modseq: int, *, rows: Sequence[FolderRow] = (), expunged: Sequence[int] = (),
                origin: object | None = None) -> bool:
        """Apply what our own command committed, without reading, when nobody changed the folder in between.

        Gives False when other changes lie between (the caller refreshes then).
        """
        if modseq != self.highest_modseq + 1:
            self.announced = max(self.announced, modseq)
            if rows and origin is not None:
                self._own[modseq] = origin
            return False
        self.apply(FolderChanges(modseq, self.uidnext, tuple(rows), tuple(expunged)), origin=origin)
        return True

    def wake(self) -> None:
        """Wake idling sessions once per turn of the loop."""
        if self._listeners and not self._notify_scheduled:
            self._notify_scheduled = True
            asyncio.get_running_loop().call_soon(self._notify)

    def _notify(self) -> None:
        self._notify_scheduled = False
        for callback in list(self._listeners.values()):
            callback()
