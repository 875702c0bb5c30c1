"""`\\Seen` kept for each reader, in folders whose owner wants it so: what one account has read, beside the shared view.

- The view of a folder is shared by all sessions; its `\\Seen` column means nothing in such a folder. Each session lays the marks
  of its account over it (`Session.flags_of`); sessions of one account share one `SeenMarks`.
- Marks are read once when the first session of the account opens the folder, in one statement, and forgotten with the last one.
- A change is written with a new modseq for the messages, so that other sessions of the account hear of it; sessions of other
  accounts hear the same flags again, which is harmless.
- Whether a folder is of this kind comes with its view: a switch (command line) acts on open sessions as any change does.
Event loop's thread only. Called by `session.py`, `flagging.py`, `landing.py`, `list.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mssante.model.message import Flags, FolderRow
from mssante.storage.interfaces import FlagChange, SeenChange, Stores, Tx

if TYPE_CHECKING:
    from mssante.services.imap.session import Session

_SEEN = int(Flags.SEEN)
_Change = tuple[Iterable[int], Iterable[int]]


class SeenMarks:
    """UIDs that one account has seen in one folder. users: sessions that have it open."""

    __slots__ = ("account_id", "folder_id", "uids", "users", "waiting")

    def __init__(self, folder_id: int, account_id: int) -> None:
        self.folder_id = folder_id
        self.account_id = account_id
        self.uids: set[int] = set()
        self.users = 0
        self.waiting: list[_Change] | None = []  # changes told before the marks were read

    def change(self, added: Iterable[int], removed: Iterable[int]) -> None:
        """Take a change that was committed."""
        if self.waiting is not None:
            self.waiting.append((added, removed))
        self.uids.update(added)
        self.uids.difference_update(removed)

    def loaded(self, uids: Iterable[int]) -> None:
        """Take what was read; changes told meanwhile are newer."""
        waiting, self.waiting = self.waiting or [], None
        self.uids = set(uids)
        for added, removed in waiting:
            self.change(added, removed)

    def over(self, flags: Sequence[int], uids: Sequence[int]) -> list[int]:
        """Give flags with the `\\Seen` of this account."""
        seen = self.uids
        return [mask | _SEEN if uid in seen else mask & ~_SEEN for mask, uid in zip(flags, uids, strict=True)]


class SeenBook:
    """The marks in use, by folder and account."""

    __slots__ = ("_held", "_stores")

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self._held: dict[tuple[int, int], SeenMarks] = {}

    async def open(self, folder_id: int, account_id: int) -> SeenMarks:
        """Give the marks of an account in a folder; `close` ends the use."""
        key = folder_id, account_id
        marks = self._held.get(key)
        if marks is None:
            marks = self._held[key] = SeenMarks(folder_id, account_id)
        marks.users += 1
        if marks.waiting is not None:
            stores = self._stores

            def unit(tx: Tx) -> list[int]:
                return stores.rights.seen(tx, folder_id, account_id)

            try:
                uids = await stores.database.read(unit)
            except BaseException:
                self.close(marks)
                raise
            if marks.waiting is not None:  # else another session has just read them
                marks.loaded(uids)
        return marks

    def close(self, marks: SeenMarks) -> None:
        """End a session's use."""
        marks.users -= 1
        if marks.users <= 0:
            self._held.pop((marks.folder_id, marks.account_id), None)

    def note(self, folder_id: int, account_id: int, added: Iterable[int], removed: Iterable[int] = ()) -> None:
        """Tell of a committed change, whether or not the folder is open."""
        marks = self._held.get((folder_id, account_id))
        if marks is not None:
            marks.change(tuple(added), tuple(removed))


async def change_private(session: Session, uids: Sequence[int], change: FlagChange) -> tuple[list[FolderRow], list[int]]:
    """Apply a flag change in the open folder, whose `\\Seen` is private: give (rows after, UIDs refused). Raises LookupError."""
    view, _ = session.opened()
    marks = session.seen
    if marks is None:
        raise LookupError("marks are not open")
    services, folder_id, account_id = session.services, view.folder_id, marks.account_id
    stores = services.stores

    def unit(tx: Tx) -> tuple[list[FolderRow], list[int], SeenChange]:
        rows, refused = stores.messages.set_flags(tx, folder_id, uids, replace(change, mask=change.mask & ~_SEEN))
        left = [row.uid for row in rows]
        seen, unseen = _wanted(change, left)
        return rows, refused, stores.rights.mark(tx, folder_id, account_id, seen, unseen)

    rows, refused, marked = await stores.database.write(unit)
    services.registry.seen.note(folder_id, account_id, marked.added, marked.removed)
    after = {row.uid: row for row in rows}
    for row in marked.rows:
        if row.modseq > after[row.uid].modseq:
            after[row.uid] = replace(after[row.uid], modseq=row.modseq)
    return list(after.values()), refused


def _wanted(change: FlagChange, uids: Sequence[int]) -> tuple[Sequence[int], Sequence[int]]:
    """Give (UIDs to mark, UIDs to clear) of a flag change."""
    named = bool(change.flags & _SEEN)
    if not change.mask & _SEEN or (change.mode != "set" and not named):
        return (), ()
    if change.mode == "remove" or not named:
        return (), uids
    return uids, ()
