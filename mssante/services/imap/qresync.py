"""Quick resynchronisation (RFC 7162 §3.2): what was expunged while a client was away, and what changed.

- Expunged UIDs come from the tombstones of the store, in two statements whatever their number. When those that a client needs
  were purged, they are every UID that it may know and that is not there: never too few, and narrowed by what the client can
  prove of message numbers that stayed.
- A UID that the client knows in this session is never among them: its expunge is told without EARLIER, in its turn.
- Changed messages come from the view, in the same form as any FETCH.
Called by `select.py` (SELECT with QRESYNC) and `fetch.py` (UID FETCH with VANISHED).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from mssante.model.message import TooManyChanges
from mssante.protocol.imap.faults import SessionEnd
from mssante.protocol.imap.numset import EMPTY, NumSet
from mssante.protocol.imap.syncencode import vanished_lines
from mssante.protocol.imap.syncvalues import Resync
from mssante.services.imap.session import Session
from mssante.storage.interfaces import Tx


async def resynchronise(session: Session, asked: Resync) -> list[bytes]:
    """Give what follows the description of a folder that was just opened: VANISHED (EARLIER), then FETCH lines.

    Nothing when UIDVALIDITY is another: the client then forgets what it knows (RFC 7162 §3.2.5).
    """
    view, cursor = session.opened()
    if asked.uidvalidity != view.uidvalidity:
        return []
    everything = NumSet(((1, view.uidnext - 1),)) if view.uidnext > 1 else EMPTY
    known = everything if asked.uids is None else asked.uids.clamp(view.uidnext - 1)
    unchanged = last_match(cursor.uids, asked.numbers, asked.number_uids)
    table = view.table
    # Before any wait: the folder is what was just described. What happens meanwhile is told by the next command.
    changed = [session.flag_line(row + 1, row) for row, modseq in enumerate(table.modseqs)
               if modseq > asked.modseq and (asked.uids is None or table.uids[row] in known)]
    return vanished_lines(await vanished_since(session, asked.modseq, known, unchanged), earlier=True) + changed


async def vanished_since(session: Session, modseq: int, known: NumSet, unchanged: int = 0) -> NumSet:
    """Give the UIDs of `known` that were expunged after `modseq`, without those that this session still shows to its client.

    known: resolved, below UIDNEXT; unchanged: nothing was expunged up to this UID since the client last looked.
    """
    view, cursor = session.opened()
    if modseq >= view.highest_modseq:
        return EMPTY
    stores, folder_id = session.services.stores, view.folder_id

    def unit(tx: Tx) -> list[int] | None:
        try:
            return stores.messages.expunged_since(tx, folder_id, modseq)
        except TooManyChanges:
            return None

    try:
        gone = await stores.database.read(unit)
    except LookupError:
        raise SessionEnd("the folder that was open has been deleted") from None
    shown = cursor.uids[:cursor.count]
    if gone is None:  # what arrived and was not announced yet is no more gone than what is shown
        return without(without(above(known, unchanged), shown), view.table.uids)
    return NumSet.of(uid for uid in known.select(gone) if not _holds(shown, uid))


def last_match(uids: Sequence[int], numbers: NumSet, number_uids: NumSet) -> int:
    """Give the highest UID that has the message number which the client remembers, 0 when none has (RFC 7162 §3.2.5.2).

    Numbers only ever fall, so what matches proves that nothing was expunged below, and the first that does not match ends it.
    """
    found = 0
    for number, uid in zip(numbers, number_uids, strict=True):
        if number > len(uids) or uids[number - 1] != uid:
            break
        found = uid
    return found


def above(numbers: NumSet, limit: int) -> NumSet:
    """Give the numbers that are above a limit."""
    if limit <= 0:
        return numbers
    return NumSet(tuple((max(low, limit + 1), high) for low, high in numbers.ranges if high > limit))


def without(numbers: NumSet, values: Sequence[int]) -> NumSet:
    """Give a resolved set without the values of a sorted sequence: as many steps as ranges and values in them."""
    out: list[tuple[int, int]] = []
    for low, high in numbers.ranges:
        start = low
        for value in values[bisect_left(values, low):bisect_right(values, high)]:
            if value > start:
                out.append((start, value - 1))
            start = value + 1
        if start <= high:
            out.append((start, high))
    return NumSet(tuple(out))


def _holds(values: Sequence[int], value: int) -> bool:
    place = bisect_left(values, value)
    return place < len(values) and values[place] == value
