"""From what a client names (numbers, UIDs, `$`) to rows of the view, in the numbering that this client knows.

- A client that is up to date gets ranges of rows without any work per message.
- One that was not told of an expunge yet keeps its old numbers: each is looked up, those that are gone are counted missing.
- Messages that were not announced to the client (EXISTS) are never picked.
Called by fetch, store, copy and search.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import TypeVar

from mssante.protocol.imap.faults import ClientFault
from mssante.protocol.imap.numset import NumSet
from mssante.services.imap.view import Cursor, FolderView, Table

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Picked:
    """Messages picked. numbers: sequence numbers the client knows; rows: indexes in `table`; both in UID order.

    missing: some message named is gone and the client was not told yet (RFC 5530 EXPUNGEISSUED).
    """

    table: Table
    numbers: Sequence[int]
    rows: Sequence[int]
    missing: bool = False

    def __len__(self) -> int:
        return len(self.rows)

    def part(self, start: int, stop: int) -> Picked:
        """Give the messages from the start-th to before the stop-th."""
        return Picked(self.table, self.numbers[start:stop], self.rows[start:stop])

    def keep(self, wanted: Sequence[bool]) -> Picked:
        """Give the messages whose place in `wanted` is true."""
        kept = [place for place, keep in enumerate(wanted) if keep]
        return Picked(self.table, [self.numbers[place] for place in kept], [self.rows[place] for place in kept],
                      self.missing)

    def uids(self) -> Sequence[int]:
        """Give the UIDs."""
        return take(self.table.uids, self.rows)


def take(column: Sequence[T], rows: Sequence[int]) -> Sequence[T]:
    """Give the values of a column at these rows."""
    if isinstance(rows, range):
        return column[rows.start:rows.stop]
    if len(rows) < 2:
        return [column[row] for row in rows]
    return itemgetter(*rows)(column)  # type: ignore[no-any-return]


def known_slices(cursor: Cursor, numbers: NumSet, *, uid: bool) -> list[slice]:
    """Give slices of `cursor.uids` for a set; raises ClientFault when a number is above what exists (RFC 9051 §9)."""
    if uid:
        known = cursor.uids if cursor.count == len(cursor.uids) else cursor.uids[:cursor.count]
        return numbers.slices(known)
    if numbers.exceeds(cursor.count):
        if cursor.count or not numbers.has_star:
            raise ClientFault(None, "a message number is above the number of messages")
        return []
    return [slice(low - 1, high) for low, high in numbers.clamp(cursor.count).ranges]


def pick(view: FolderView, cursor: Cursor, numbers: NumSet, *, uid: bool, saved: NumSet | None = None) -> Picked:
    """Give the messages a client names. saved: the UIDs behind `$` (RFC 5182)."""
    if numbers.saved:
        numbers, uid = saved or NumSet(), True
    slices = known_slices(cursor, numbers, uid=uid)
    table = view.table
    if cursor.uids is not table.uids:
        return _pick_old(view, cursor, slices)
    if not slices:
        return Picked(table, (), ())
    if len(slices) == 1:
        start, stop = slices[0].start, slices[0].stop
        return Picked(table, range(start + 1, stop + 1), range(start, stop))
    rows = [row for part in slices for row in range(part.start, part.stop)]
    return Picked(table, [row + 1 for row in rows], rows)


def _pick_old(view: FolderView, cursor: Cursor, slices: list[slice]) -> Picked:
    """The same for a client whose numbering is older than the view's."""
    numbers: list[int] = []
    rows: list[int] = []
    wanted = 0
    for part in slices:
        for place in range(part.start, part.stop):
            wanted += 1
            row = view.index_of(cursor.uids[place])
            if row >= 0:
                numbers.append(place + 1)
                rows.append(row)
    return Picked(view.table, numbers, rows, missing=len(rows) != wanted)


def blocks(picked: Picked, size: int) -> Iterator[Picked]:
    """Cut into pieces of at most `size` messages, aligned on multiples of `size` when the rows are a range."""
    if isinstance(picked.rows, range):
        start, end, first = picked.rows.start, picked.rows.stop, picked.rows.start
        while start < end:
            stop = min(end, (start // size + 1) * size)
            yield picked.part(start - first, stop - first)
            start = stop
        return
    for place in range(0, len(picked), size):
        yield picked.part(place, place + size)
