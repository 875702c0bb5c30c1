"""SEARCH and UID SEARCH (RFC 9051 §6.4.4): sets of rows as bit masks, contents read only for what is left to decide.

- A set of rows is one integer with one octet a row (0 or 1): AND, OR, NOT are three machine operations on it, so a tree of
  any shape over 10,000 messages costs microseconds a key.
- Keys on flags, UIDs, dates, sizes and modseqs come from the view. Header fields that ENVELOPE holds come from it, folded
  once and kept within the cache budget. Other headers and texts are read in bounded pieces and matched in a worker thread.
- Cheap keys narrow what the costly ones look at, whatever the order in which the client wrote them.
- Texts match without case and without accents, in decoded text (RFC 9051 §6.4.4, RFC 5255 §4.5 idea of a useful collation).
- Searching changes nothing: no `\\Seen`.
Called through `dispatch.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from itertools import compress

from mssante.protocol.imap import encode
from mssante.protocol.imap.faults import ClientFault
from mssante.protocol.imap.numset import NumSet
from mssante.protocol.imap.searchkeys import (
    AllOf,
    AnyOf,
    DateKey,
    DateRelation,
    Everything,
    FlagKey,
    HeaderKey,
    InSet,
    KeywordKey,
    ModSeqKey,
    Nothing,
    NotKey,
    SearchKey,
    SizeKey,
    TextKey,
)
from mssante.protocol.imap.values import Completion, ESearchAnswer, Search, SearchReturn
from mssante.services.imap.searchtext import TextSearch, needs_content
from mssante.services.imap.selection import known_slices
from mssante.services.imap.session import Answer, Session
from mssante.services.imap.view import Table

_EPOCH_DAY = date(1970, 1, 1).toordinal()


async def search(session: Session, value: Search) -> Answer:
    """Evaluate a tree; answer SEARCH or ESEARCH."""
    view, cursor = session.opened()
    searching = _Searching(session)
    mask = await searching.evaluate(value.key, searching.known)
    rows = list(compress(range(searching.count), mask.to_bytes(searching.count, "little")))
    table = searching.table
    uids = [table.uids[row] for row in rows]
    if cursor.uids is table.uids:
        names: Sequence[int] = uids if value.uid else [row + 1 for row in rows]
    else:
        pairs = [(view.number_of(cursor, uid), uid) for uid in uids]
        names = [pair[1] if value.uid else pair[0] for pair in pairs if pair[0]]
    answer = Answer(expunges=value.uid, completion=Completion(text="SEARCH completed"))
    modseq = max((table.modseqs[row] for row in rows), default=None) if value.modseq else None
    if value.returns is None and not session.wire.rev2:
        answer.data.append(encode.search_line(names, modseq))
        return answer
    returns = value.returns if value.returns is not None else SearchReturn.ALL
    if returns & SearchReturn.SAVE:
        session.saved = NumSet.of(_saved(returns, uids))
    if returns & ~SearchReturn.SAVE:  # RFC 5182 §2.1: SAVE alone gives no answer
        answer.data.append(encode.esearch_line(_esearch(searching, value, returns, names, rows)))
    return answer


def _saved(returns: SearchReturn, uids: Sequence[int]) -> Sequence[int]:
    """Give what `$` will hold: all, or only the minimum and maximum asked (RFC 5182 §2.1)."""
    if not uids or returns & (SearchReturn.ALL | SearchReturn.COUNT) or not returns & (SearchReturn.MIN | SearchReturn.MAX):
        return uids
    kept = [uids[0]] if returns & SearchReturn.MIN else []
    return [*kept, uids[-1]] if returns & SearchReturn.MAX else kept


def _esearch(searching: _Searching, value: Search, returns: SearchReturn, names: Sequence[int],
             rows: Sequence[int]) -> ESearchAnswer:
    """Build the ESEARCH answer (RFC 4731 §3.1; MODSEQ by RFC 7162 §3.1.10)."""
    modseqs = searching.table.modseqs
    found = bool(names)
    modseq = None
    if value.modseq and rows:
        ends = _saved(returns & ~SearchReturn.SAVE, rows)
        modseq = max(modseqs[row] for row in ends)
    return ESearchAnswer(
        tag=searching.session.tag, uid=value.uid,
        minimum=names[0] if found and returns & SearchReturn.MIN else None,
        maximum=names[-1] if found and returns & SearchReturn.MAX else None,
        all=NumSet.of(names) if found and returns & SearchReturn.ALL else None,
        count=len(names) if returns & SearchReturn.COUNT else None,
        modseq=modseq)


class _Searching:
    """One SEARCH under way. count: rows looked at; known: mask of all of them."""

    __slots__ = ("_ones", "count", "known", "session", "table", "texts")

    def __init__(self, session: Session) -> None:
        view, cursor = session.opened()
        self.session = session
        self.table: Table = view.table
        # Messages not announced to the client yet do not exist for it.
        self.count = cursor.count if cursor.uids is view.table.uids else len(view.table.uids)
        self._ones = int.from_bytes(b"\1" * self.count, "little")
        self.known = self._ones
        self.texts = TextSearch(session, self.table)

    async def evaluate(self, key: SearchKey, among: int) -> int:
        """Give the rows of `among` that match a key."""
        if not among:
            return 0
        match key:
            case AllOf(keys):
                for one in sorted(keys, key=needs_content):
                    among = await self.evaluate(one, among)
                return among
            case AnyOf(left, right):
                first, second = (right, left) if needs_content(left) else (left, right)
                found = await self.evaluate(first, among)
                return found | await self.evaluate(second, among & ~found)
            case NotKey(one):
                return among & ~await self.evaluate(one, among)
            case TextKey() | HeaderKey():
                return await self._content(key, among)
            case DateKey(sent=True):
                return await self._content(key, among)
        return among & self._cheap(key)

    async def _content(self, key: TextKey | HeaderKey | DateKey, among: int) -> int:
        """Ask the contents of the candidate rows."""
        rows = list(compress(range(self.count), among.to_bytes(self.count, "little")))
        mask = bytearray(self.count)
        for row in await self.texts.matching(key, rows):
            mask[row] = 1
        return int.from_bytes(mask, "little")

    def _cheap(self, key: SearchKey) -> int:
        """Give the rows that match a key which the view decides."""
        table, count = self.table, self.count
        match key:
            case Everything():
                return self._ones
            case Nothing():
                return 0
            case InSet(numbers, uid):
                return self._in_set(numbers, uid)
            case FlagKey(flag, present):
                wanted = bytes(bool(mask & flag) is present for mask in range(256))
                return int.from_bytes(table.flags[:count].tobytes().translate(wanted), "little")
            case KeywordKey(keyword, present):
                return self._keyword(keyword, present)
            case SizeKey(octets, larger):
                sizes = table.sizes[:count]
                return _mask([size > octets for size in sizes] if larger else [size < octets for size in sizes])
            case ModSeqKey(value):
                return _mask([modseq >= value for modseq in table.modseqs[:count]])
            case DateKey():
                return _mask(_dates(table.dates[:count], key))
        raise ClientFault(None, "this search key is not known")

    def _keyword(self, keyword: str, present: bool) -> int:
        view, _ = self.session.opened()
        wanted = keyword.casefold()
        mask = bytearray(self.count)
        for uid, words in view.keywords.items():
            row = self.table.index_of(uid)
            if 0 <= row < self.count and wanted in words.casefold().split(" "):
                mask[row] = 1
        found = int.from_bytes(mask, "little")
        return found if present else self._ones & ~found

    def _in_set(self, numbers: NumSet, uid: bool) -> int:
        """Give the rows of a set; numbers above what exists match nothing here (RFC 9051 §6.4.4)."""
        _, cursor = self.session.opened()
        if numbers.saved:
            numbers, uid = self.session.saved, True
        if not uid:
            numbers = numbers.clamp(cursor.count)
        mask = bytearray(self.count)
        for part in known_slices(cursor, numbers, uid=uid) if numbers else []:
            if cursor.uids is self.table.uids:
                mask[part] = b"\1" * (part.stop - part.start)
                continue
            for place in range(part.start, part.stop):
                row = self.table.index_of(cursor.uids[place])
                if row >= 0:
                    mask[row] = 1
        return int.from_bytes(mask, "little")


def _mask(matches: list[bool]) -> int:
    return int.from_bytes(bytes(matches), "little")


def _dates(epochs: Sequence[int], key: DateKey) -> list[bool]:
    """Compare INTERNALDATE, as a day in UTC, with the key."""
    start = (key.day.toordinal() - _EPOCH_DAY) * 86_400
    end = start + 86_400
    match key.relation:
        case DateRelation.BEFORE:
            return [epoch < start for epoch in epochs]
        case DateRelation.SINCE:
            return [epoch >= start for epoch in epochs]
    return [start <= epoch < end for epoch in epochs]


def day_of(epoch: int) -> date:
    """Give the day in UTC of seconds since 1970."""
    return datetime.fromtimestamp(epoch, UTC).date()
