"""`\\Recent` of clients that did not enable IMAP4rev2 (RFC 3501 §2.3.2): which messages a session is the first to be told of.

- Each folder has one boundary: the first UID that no reading and writing session was told of. SELECT claims what lies above it
  and moves it; so does the EXISTS that brings new mail, for the session that is told first. EXAMINE and IMAP4rev2 claim nothing.
- A session keeps what it claimed until it leaves the folder, as ranges of UIDs; everything below the first is not looked at.
- Boundaries live in the views. They are written behind, all those that moved together, at most every `WRITE_SECONDS`: no command
  waits for it, and a crash only makes messages recent again.
Event loop's thread only. Called by `session.py`, `registry.py`, `list.py`.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from mssante.errors import MssFault
from mssante.model.message import RECENT
from mssante.services.imap.view import FolderView
from mssante.storage.interfaces import Stores, Tx

WRITE_SECONDS = 1.0
_NOBODY = 1 << 62  # above all UIDs


class RecentMarks:
    """What is recent for one session in its open folder. first: no UID below it is; told: the number last told."""

    __slots__ = ("_ranges", "first", "told")

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Nothing is recent."""
        self._ranges: list[tuple[int, int]] = []
        self.first = _NOBODY
        self.told = 0

    def add(self, first: int, stop: int) -> None:
        """UIDs from first to before stop are recent; they are above those that are."""
        if stop <= first:
            return
        if self._ranges and self._ranges[-1][1] >= first:
            first = self._ranges.pop()[0]
        self._ranges.append((first, stop))
        self.first = self._ranges[0][0]

    def holds(self, uid: int) -> bool:
        """Tell if a message is recent."""
        place = bisect_right(self._ranges, (uid, _NOBODY)) - 1
        return place >= 0 and uid < self._ranges[place][1]

    def over(self, flags: Sequence[int], uids: Sequence[int]) -> list[int]:
        """Give flags with `\\Recent`. uids: of the same messages, in order."""
        out = list(flags)
        for first, stop in self._ranges:
            for place in range(bisect_left(uids, first), bisect_left(uids, stop)):
                out[place] |= RECENT
        return out

    def count(self, uids: Sequence[int]) -> int:
        """Count what is recent of UIDs in order."""
        return sum(bisect_left(uids, stop) - bisect_left(uids, first) for first, stop in self._ranges)


class RecentBook:
    """Boundaries on their way to the store."""

    __slots__ = ("_stores", "_task", "_timer", "_waiting")

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self._waiting: dict[int, int] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    def boundary(self, folder_id: int, read: int) -> int:
        """Give the boundary of a folder: as it was read, or as it is about to be written."""
        return max(read, self._waiting.get(folder_id, 0))

    def claim(self, view: FolderView, stop: int) -> None:
        """A session was told of everything before `stop`: move the boundary; nothing when it is there already."""
        if stop <= view.recent_uid:
            return
        view.recent_uid = self._waiting[view.folder_id] = stop
        if self._timer is None and self._task is None:
            self._timer = asyncio.get_running_loop().call_later(WRITE_SECONDS, self._start)

    def _start(self) -> None:
        self._timer = None
        self._task = asyncio.get_running_loop().create_task(self._write())
        self._task.add_done_callback(self._done)

    def _done(self, _task: asyncio.Task[None]) -> None:
        self._task = None
        if self._waiting and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(WRITE_SECONDS, self._start)

    async def _write(self) -> None:
        """Write what waits, in one unit. A fault is no harm: the messages are recent again."""
        written = dict(self._waiting)
        stores = self._stores

        def unit(tx: Tx) -> None:
            stores.folders.move_recent(tx, written)

        try:
            await stores.database.write(unit)
        except MssFault:
            self._waiting.clear()
            return
        for folder_id, stop in written.items():
            if self._waiting.get(folder_id) == stop:
                del self._waiting[folder_id]

    async def flush(self) -> None:
        """Write what waits now: the process is about to end."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._task is not None:
            await asyncio.wait([self._task])
        if self._waiting:
            await self._write()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
