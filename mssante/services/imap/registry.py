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
from collections.abc import Callable

from mssante.model.mailbox import Folder
from mssante.services.doorbell import Doorbell
from mssante.services.imap.cache import CacheBudget, ViewCache
from mssante.services.imap.view import Cursor, FolderView
from mssante.storage.interfaces import Stores, Tx


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
        timer = self._timers.pop(folder_id, None)
        if timer is not None:
            timer.cancel()
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
        self._timers[view.folder_id] = loop.call_later(self._grace_seconds, self._expire, view.folder_id)

    def _expire(self, folder_id: int) -> None:
        view = self._views.get(folder_id)
        if view is not None and not view.cursors:
            self._drop(folder_id)

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

    # ------------------------------------------------------------------------------------------ folder lists

    def enter(self, mailbox_id: int) -> None:
        """A session of this mailbox begins."""
        self._present[mailbox_id] += 1

    def exit(self, mailbox_id: int) -> None:
        """A session of this mailbox ended; the last one takes the folder list with it."""
        self._present[mailbox_id] -= 1
        if self._present[mailbox_id] <= 0:
            del self._present[mailbox_id]
            self.forget_folders(mailbox_id)

    async def read_folders(self, mailbox_id: int) -> dict[str, Folder]:
        """Read the folders of a mailbox with their counters as they are now, by name."""
        stores = self._stores

        def unit(tx: Tx) -> list[Folder]:
            return stores.folders.of_mailbox(tx, mailbox_id)

        found = {folder.name: folder for folder in await stores.database.read(unit)}
        self._folders[mailbox_id] = found
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
