"""The open folders of the process: who has what open, and when it may be forgotten.

- `open` gives the view of a folder, shared by all sessions; the first one costs one snapshot, built on the reader's thread.
- A view outlives its last session by a grace period (clients close and open again), then leaves with its cache.
- The doorbell is heard before the snapshot is taken, so no change can fall between the two.
- `folders` keeps the folder list of a mailbox while it has sessions, for SELECT by name without a read; whoever creates,
  renames or deletes a folder calls `forget_folders`. Counters of that list are old: STATUS and LIST read again.
- Event loop's thread only. Called by `services/imap/session.py` and the folder commands.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable

from mssante.model.mailbox import Folder, Mailbox, MailboxState
from mssante.services.doorbell import EVERYONE, Doorbell, MailboxNews
from mssante.services.imap.cache import CacheBudget, ViewCache
from mssante.services.imap.recent import RecentBook
from mssante.services.imap.seen import SeenBook
from mssante.services.imap.view import Cursor, FolderView
from mssante.storage.interfaces import Stores, Tx

MAILBOX_SECONDS = 2.0  # a mailbox that is suspended lets nobody in any more after this
MAX_MAILBOXES = 10_000


class FolderRegistry:
    """Views by folder, folder lists by mailbox."""

    def __init__(self, stores: Stores, doorbell: Doorbell, *, cache_bytes: int, grace_seconds: float) -> None:
        self._stores = stores
        self._doorbell = doorbell
        self._grace_seconds = grace_seconds
        self.budget = CacheBudget(cache_bytes)
        self._views: dict[int, FolderView] = {}
        self._locks: dict[int, asyncio.Lock] = {}
        self._endings: dict[int, Callable[[], None]] = {}
        self._timers: dict[int, asyncio.TimerHandle] = {}
        self._folders: dict[int, dict[str, Folder]] = {}
        self._present: Counter[int] = Counter()  # sessions by mailbox
        self._leaving: dict[int, asyncio.TimerHandle] = {}
        self._mailboxes: dict[int, tuple[float, Mailbox]] = {}
        self.seen = SeenBook(stores)
        self.recents = RecentBook(stores)
        self.shares_version = 0  # grows with every change that others may see in the folders and rights of a mailbox

    def __len__(self) -> int:
        """How many views are held."""
        return len(self._views)

    # ------------------------------------------------------------------------------------------ views

    async def open(self, folder_id: int) -> tuple[FolderView, Cursor]:
        """Give the up-to-date view of a folder and a cursor on it. Raises LookupError when the folder is gone.

        No wait at all when the view is held and nothing was announced since.
        """
        view = self._views.get(folder_id)
        if view is None:
            view = await self._load(folder_id)
        elif view.stale:
            await view.refresh()
        if view.gone:
            self._drop(folder_id)
            raise LookupError(folder_id)
        return view, view.attach()

    async def _load(self, folder_id: int) -> FolderView:
        """Read the folder once, however many sessions ask at the same time."""
        lock = self._locks.setdefault(folder_id, asyncio.Lock())
        async with lock:
            held = self._views.get(folder_id)
            if held is not None:
                return held
            heard = [0]
            unsubscribe = self._doorbell.subscribe(folder_id, lambda modseq: heard.append(modseq))
            stores, budget = self._stores, self.budget

            def unit(tx: Tx) -> FolderView:
                folder, rows = stores.messages.snapshot(tx, folder_id)
                return FolderView(stores, folder, rows, ViewCache(budget))

            try:
                view = await stores.database.read(unit)
            except BaseException:
                unsubscribe()
                self._locks.pop(folder_id, None)
                raise
            view.recent_uid = self.recents.boundary(folder_id, view.recent_uid)
            self._endings[folder_id] = self._doorbell.subscribe(folder_id, view.announce)
            unsubscribe()
            self._views[folder_id] = view
            view.announce(max(heard))
        self._locks.pop(folder_id, None)
        await view.refresh()
        return view

    def close(self, view: FolderView, cursor: Cursor) -> None:
        """End a session's use of a view; the last one starts the grace period."""
        view.detach(cursor)
        if view.cursors or self._views.get(view.folder_id) is not view:
            return
        if view.gone or self._grace_seconds <= 0:
            self._drop(view.folder_id)
            return
        loop = asyncio.get_running_loop()
        view.left_at = loop.time()
        if view.folder_id not in self._timers:  # one timer for a folder that is opened and left again and again
            self._timers[view.folder_id] = loop.call_later(self._grace_seconds, self._expire, view.folder_id)

    def _expire(self, folder_id: int) -> None:
        """Drop a view that nobody has had open for the grace period; look again later when somebody had."""
        self._timers.pop(folder_id, None)
        view = self._views.get(folder_id)
        if view is None or view.cursors:
            return
        loop = asyncio.get_running_loop()
        left = view.left_at + self._grace_seconds - loop.time()
        if left <= 0.001:
            self._drop(folder_id)
        else:
            self._timers[folder_id] = loop.call_later(left, self._expire, folder_id)

    def _drop(self, folder_id: int) -> None:
        """Forget a view and its cache."""
        view = self._views.pop(folder_id, None)
        timer = self._timers.pop(folder_id, None)
        if timer is not None:
            timer.cancel()
        ending = self._endings.pop(folder_id, None)
        if ending is not None:
            ending()
        if view is not None:
            view.cache.clear()

    def view(self, folder_id: int) -> FolderView | None:
        """Give the view of a folder if it is held."""
        return self._views.get(folder_id)

    def deleted(self, folder_id: int) -> None:
        """A folder was deleted by a command: its sessions are told at their next turn, idling ones at once."""
        view = self._views.get(folder_id)
        if view is not None:
            view.gone = True
            view.wake()
            self._drop(folder_id)

    def shutdown(self) -> None:
        """Forget everything (end of the process)."""
        for folder_id in list(self._views):
            self._drop(folder_id)
        self._folders.clear()
        for timer in self._leaving.values():
            timer.cancel()
        self._leaving.clear()

    # ------------------------------------------------------------------------------------------ mailboxes

    async def mailbox(self, mailbox_id: int) -> Mailbox | None:
        """Give a mailbox, as it was at most `MAILBOX_SECONDS` ago when it may be opened; None when there is none."""
        now = asyncio.get_running_loop().time()
        held = self._mailboxes.get(mailbox_id)
        if held is not None and held[0] > now:
            return held[1]
        stores = self._stores

        def unit(tx: Tx) -> list[Mailbox]:
            return stores.accounts.mailboxes_by_id(tx, [mailbox_id])

        found = await stores.database.read(unit, quick=True)
        if len(self._mailboxes) >= MAX_MAILBOXES:
            self._mailboxes.clear()
        if not found or found[0].state is not MailboxState.ACTIVE:
            self._mailboxes.pop(mailbox_id, None)
            return found[0] if found else None
        self._mailboxes[mailbox_id] = (now + MAILBOX_SECONDS, found[0])
        return found[0]

    def forget_mailboxes(self) -> None:
        """Quotas or states changed: read mailboxes again at the next need."""
        self._mailboxes.clear()

    # ------------------------------------------------------------------------------------------ folder lists

    def enter(self, mailbox_id: int) -> None:
        """A session of this mailbox begins."""
        self._present[mailbox_id] += 1
        timer = self._leaving.pop(mailbox_id, None)
        if timer is not None:
            timer.cancel()

    def exit(self, mailbox_id: int) -> None:
        """A session of this mailbox ended; the folder list leaves with the last one, after the grace period of views."""
        self._present[mailbox_id] -= 1
        if self._present[mailbox_id] > 0:
            return
        del self._present[mailbox_id]
        if self._grace_seconds <= 0:
            self._folders.pop(mailbox_id, None)
        else:
            loop = asyncio.get_running_loop()
            self._leaving[mailbox_id] = loop.call_later(self._grace_seconds, self._left, mailbox_id)

    def _left(self, mailbox_id: int) -> None:
        """Nobody came back in time."""
        self._leaving.pop(mailbox_id, None)
        self._folders.pop(mailbox_id, None)

    async def read_folders(self, mailbox_id: int) -> dict[str, Folder]:
        """Read the folders of a mailbox with their counters as they are now, by name."""
        stores = self._stores

        def unit(tx: Tx) -> list[Folder]:
            return stores.folders.of_mailbox(tx, mailbox_id)

        return self.keep_folders(mailbox_id, await stores.database.read(unit, quick=True))

    def keep_folders(self, mailbox_id: int, folders: Iterable[Folder]) -> dict[str, Folder]:
        """Take the folders of a mailbox as they were just read; give them by name."""
        self._folders[mailbox_id] = found = {folder.name: folder for folder in folders}
        return found

    async def find_folder(self, mailbox_id: int, name: str) -> Folder | None:
        """Give a folder by name (counters may be old), or None when there is none now."""
        held = self._folders.get(mailbox_id)
        if held is not None and name in held:
            return held[name]
        return (await self.read_folders(mailbox_id)).get(name)

    def forget_folders(self, mailbox_id: int) -> None:
        """The folder list of a mailbox changed: read it again at the next need."""
        self._folders.pop(mailbox_id, None)
        self.shares_version += 1
        self._doorbell.ring_mailbox(MailboxNews(mailbox_id))

    def rights_changed(self, folder_id: int) -> None:
        """Somebody's rights in a folder changed: sessions look at theirs before they do or tell anything, idling ones now."""
        self.shares_version += 1
        self._doorbell.ring_mailbox(MailboxNews(EVERYONE))
        view = self._views.get(folder_id)
        if view is not None:
            view.wake()
