"""SEARCH and UID SEARCH (RFC 9051 §6.4.4): sets of rows as bit masks, contents read only for what is left to decide.

- A set of rows is one integer with one octet a row (0 or 1): AND, OR, NOT are three machine operations on it, so a tree of
  any shape over 10,000 messages costs microseconds a key.
- Keys on flags, UIDs, dates, sizes, ids and modseqs come from the view. Header fields that ENVELOPE holds come from columns kept
  beside it. Other headers and texts are read in bounded pieces and matched in a worker thread.
- Cheap keys narrow what the costly ones look at, whatever the order in which the client wrote them.
- Texts match in decoded text without case and without accents: all that i;unicode-casemap matches, and more (I18NLEVEL=1,
  RFC 5255 §4; `protocol.imap.collation` says how).
- FUZZY (RFC 6203) finds the words of a text in any order; the score says how: 100 as written, less when scattered.
- Searching changes nothing: no `\\Seen`.
Called through `dispatch.py`; `Searching` also by SORT, THREAD, ESEARCH and the contexts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from itertools import compress

from mssante.protocol.imap import encode_search
from mssante.protocol.imap.faults import ClientFault
from mssante.protocol.imap.numset import NumSet
from mssante.protocol.imap.searchkeys import (
    AllOf,
    AnyOf,
    DateKey,
    DateRelation,
    Everything,
    FlagKey,
    FuzzyKey,
    HeaderKey,
    InSet,
    KeywordKey,
    ModSeqKey,
    NotKey,
    ObjectKey,
    SavedKey,
    SearchKey,
    SizeKey,
    TextKey,
    TextPlace,
    WithinKey,
)
from mssante.protocol.imap.values import Completion, Search, SearchReturn
from mssante.services.imap.contexts import follow
from mssante.services.imap.messagelimit import bounded_uids, stopped
from mssante.services.imap.searchresult import Result, esearch, save
from mssante.services.imap.searchtext import TextSearch, needs_content
from mssante.services.imap.seen import SeenMarks
from mssante.services.imap.selection import known_slices, take
from mssante.services.imap.session import Answer, Session
from mssante.services.imap.view import Cursor, FolderView, Table

_EPOCH_DAY = date(1970, 1, 1).toordinal()
_WORD = re.compile(r"\w+")
_MAX_FUZZY_WORDS = 20
_PHRASE, _PHRASE_IN_SUBJECT, _WORDS, _WORDS_IN_SUBJECT = 90, 100, 40, 70  # scores of RFC 6203 §4


async def search(session: Session, value: Search) -> Answer:
    """Evaluate a tree; answer SEARCH or ESEARCH."""
    session.require("r")
    view, cursor = session.opened()
    began_at = view.highest_modseq
    searching = Searching(session, view, cursor)
    rows = await searching.rows(value.key)
    answer = Answer(expunges=value.uid, completion=Completion(text="SEARCH completed"))
    bounded, stop = bounded_uids(session, take(searching.table.uids, rows))
    result = Result.of(searching.table, rows[len(rows) - len(bounded):], view, cursor)
    returns = value.returns if value.returns is not None or not session.wire.rev2 else SearchReturn.ALL
    if returns is None:
        modseq = max(result.modseqs, default=None) if value.modseq else None
        answer.data.append(encode_search.search_line(result.names(uid=value.uid), modseq))
    else:
        if returns & SearchReturn.UPDATE:
            answer.data += follow(session, value, result.uids, began_at)
        if returns & SearchReturn.RELEVANCY:
            result.scores = searching.scores(result.uids)
        save(session, value, result)
        if returns & ~SearchReturn.SAVE:  # RFC 5182 §2.1: SAVE alone gives no answer
            answer.data.append(esearch(session.tag, value, result))
    stopped(answer, stop)
    return answer


class Searching:
    """One search of a folder under way. count: rows looked at; known: mask of all of them."""

    __slots__ = ("_fuzzy", "_ones", "_recent", "_seen", "_session", "count", "cursor", "known", "table", "texts", "view")

    def __init__(self, session: Session, view: FolderView, cursor: Cursor, *, unannounced: bool = False,
                 seen: SeenMarks | None = None) -> None:
        """unannounced: look also at messages that the client was not told of; else those do not exist for it.

        seen: what the account has read in a folder that is not the open one and keeps it for each reader.
        """
        self._session = session
        self._recent = view is session.view  # elsewhere nothing is `\\Recent` for this session
        self._seen = session.seen if self._recent else seen
        self.view = view
        self.cursor = cursor
        self.table: Table = view.table
        told = cursor.uids is view.table.uids and not unannounced
        self.count = cursor.count if told else len(view.table.uids)
        self._ones = int.from_bytes(b"\1" * self.count, "little")
        self.known = self._ones
        self.texts = TextSearch(session, view, self.table)
        self._fuzzy: list[list[tuple[int, int]]] = []  # of each fuzzy text: (score, mask), the best first

    async def rows(self, key: SearchKey) -> Sequence[int]:
        """Give the rows that match a key, in order."""
        return self.rows_of(await self.evaluate(key, self.known))

    def rows_of(self, mask: int) -> Sequence[int]:
        """Give the rows of a mask, in order: a range when they are all."""
        if mask == self._ones:
            return range(self.count)
        return list(compress(range(self.count), mask.to_bytes(self.count, "little")))

    def mask_of(self, rows: Sequence[int]) -> int:
        """Give the mask of rows."""
        mask = bytearray(self.count)
        if isinstance(rows, range):
            mask[rows.start:rows.stop] = b"\1" * len(rows)
        for row in () if isinstance(rows, range) else rows:
            mask[row] = 1
        return int.from_bytes(mask, "little")

    async def evaluate(self, key: SearchKey, among: int, *, fuzzy: bool = False) -> int:
        """Give the rows of `among` that match a key. fuzzy: the key stands inside FUZZY."""
        if not among:
            return 0
        match key:
            case AllOf(keys):
                for one in sorted(keys, key=needs_content):
                    among = await self.evaluate(one, among, fuzzy=fuzzy)
                return among
            case AnyOf(left, right):
                first, second = (right, left) if needs_content(left) else (left, right)
                found = await self.evaluate(first, among, fuzzy=fuzzy)
                return found | await self.evaluate(second, among & ~found, fuzzy=fuzzy)
            case NotKey(one):
                return among & ~await self.evaluate(one, among, fuzzy=fuzzy)
            case FuzzyKey(one):
                return await self.evaluate(one, among, fuzzy=True)
            case TextKey() if fuzzy:
                return await self._words(key, among)
            case TextKey() | HeaderKey():
                return await self._content(key, among)
            case DateKey(sent=True):
                return await self._content(key, among)
        return among & self._cheap(key)

    async def _content(self, key: TextKey | HeaderKey | DateKey, among: int) -> int:
        """Give the rows of `among` that match a key which the view does not decide.

        Every text, word of FUZZY and header field comes through here with its candidates: the seam of a text index.
        """
        rows = self.rows_of(among)
        return self.mask_of(await self.texts.matching(key, rows))

    # ------------------------------------------------------------------------------------------ FUZZY

    async def _words(self, key: TextKey, among: int) -> int:
        """Give the rows of `among` that hold the text, or all its words in any order; remember their scores."""
        phrase = await self._content(key, among)
        words = list(dict.fromkeys(_WORD.findall(key.text)))[:_MAX_FUZZY_WORDS]
        scattered = among & ~phrase if words and words != [key.text] else 0
        for word in words:
            scattered = await self._content(TextKey(key.place, word), scattered) if scattered else 0
        tiers = [(_PHRASE, phrase), (_WORDS, scattered)]
        if key.place is TextPlace.TEXT:
            in_subject = phrase | scattered
            for word in words:
                in_subject = await self._content(TextKey(TextPlace.SUBJECT, word), in_subject) if in_subject else 0
            tiers = [(_PHRASE_IN_SUBJECT, phrase & in_subject), (_PHRASE, phrase), (_WORDS_IN_SUBJECT, scattered & in_subject),
                     (_WORDS, scattered)]
        elif key.place is not TextPlace.BODY:
            tiers[0] = (_PHRASE_IN_SUBJECT, phrase)
        self._fuzzy.append(tiers)
        return phrase | scattered

    def scores(self, uids: Sequence[int]) -> list[int]:
        """Give how well each message matched the fuzzy texts: their mean, 100 when no text was compared (RFC 6203 §5)."""
        if not self._fuzzy:
            return [100] * len(uids)
        rows = map(self.table.index_of, uids)
        sums, counts = [0] * self.count, [0] * self.count
        for tiers in self._fuzzy:
            taken = 0
            for score, mask in tiers:
                for row in self.rows_of(mask & ~taken):
                    sums[row] += score
                    counts[row] += 1
                taken |= mask
        return [sums[row] // counts[row] if counts[row] else 1 for row in rows]

    # ------------------------------------------------------------------------------------------ keys of the view

    def _cheap(self, key: SearchKey) -> int:
        """Give the rows that match a key which the view decides."""
        table, count = self.table, self.count
        match key:
            case Everything():
                return self._ones
            case InSet(numbers, uid):
                return self._in_set(numbers, uid)
            case FlagKey(flag, present):
                wanted = bytes(bool(mask & flag) is present for mask in range(256))
                return int.from_bytes(self._flags().translate(wanted), "little")
            case KeywordKey(keyword, present):
                return self._keyword(keyword, present)
            case SizeKey(octets, larger):
                sizes = table.sizes[:count]
                return _mask([size > octets for size in sizes] if larger else [size < octets for size in sizes])
            case ModSeqKey(value):
                return _mask([modseq >= value for modseq in table.modseqs[:count]])
            case DateKey(relation, day):
                return _mask(_dates(table.dates[:count], relation, day))
            case _:
                return self._of_extensions(key)

    def _of_extensions(self, key: SearchKey) -> int:
        table, count = self.table, self.count
        match key:
            case WithinKey(seconds, older):  # RFC 5032 §3: the second of the limit is in both
                limit = int(self._session.services.clock.now().timestamp()) - seconds
                dates = table.dates[:count]
                return _mask([epoch <= limit for epoch in dates] if older else [epoch >= limit for epoch in dates])
            case ObjectKey(identity, thread):
                if thread:  # RFC 8474 §5.3: no message has a THREADID here
                    return 0
                return _mask([f"M{message_id}" == identity for message_id in table.message_ids[:count]])
            case SavedKey(relation, day):
                return _mask(_dates(self._saved(), relation, day))
        raise ClientFault(None, "this search key is not known")

    def _flags(self) -> bytes:
        """Give the flags as this user sees them."""
        if self._recent and self.count and not self._session.common_flags(self.table, range(self.count)):
            return bytes(self._session.flags_of(self.table, range(self.count)))
        flags = self.table.flags[:self.count]
        return bytes(flags) if self._seen is None else bytes(self._seen.over(flags, self.table.uids[:self.count]))

    def _saved(self) -> Sequence[int]:
        """Give save dates in seconds since 1970; INTERNALDATE where none is known (RFC 8514 §4.3)."""
        return [saved or sent for saved, sent in zip(self.table.saved[:self.count], self.table.dates[:self.count], strict=True)]

    def _keyword(self, keyword: str, present: bool) -> int:
        wanted = keyword.casefold()
        rows = [self.table.index_of(uid) for uid, words in self.view.keywords.items()
                if wanted in words.casefold().split(" ")]
        found = self.mask_of([row for row in rows if 0 <= row < self.count])
        return found if present else self._ones & ~found

    def _in_set(self, numbers: NumSet, uid: bool) -> int:
        """Give the rows of a set; numbers above what exists match nothing here (RFC 9051 §6.4.4)."""
        cursor = self.cursor
        if numbers.saved:
            numbers, uid = self._session.saved, True
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


def _dates(epochs: Sequence[int], relation: DateRelation, day: date) -> list[bool]:
    """Compare instants, as days in UTC, with a day."""
    start = (day.toordinal() - _EPOCH_DAY) * 86_400
    end = start + 86_400
    match relation:
        case DateRelation.BEFORE:
            return [epoch < start for epoch in epochs]
        case DateRelation.SINCE:
            return [epoch >= start for epoch in epochs]
    return [start <= epoch < end for epoch in epochs]
