"""What a search found, and the ESEARCH line and the `$` made of it.

- Results are in the order asked: mailbox order for SEARCH, sort order for SORT (RFC 5267 §3).
- Numbers are those that the client knows: a message that it was not told of has none and is left out.
Called by `search.py`, `sort.py`, `multisearch.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mssante.protocol.imap import encode_search
from mssante.protocol.imap.numset import NumSet
from mssante.protocol.imap.values import ESearchAnswer, Search, SearchReturn
from mssante.services.imap.selection import take
from mssante.services.imap.session import Session
from mssante.services.imap.view import Cursor, FolderView, Table

_ENDS = SearchReturn.MIN | SearchReturn.MAX | SearchReturn.PARTIAL
_WHOLE = SearchReturn.ALL | SearchReturn.COUNT


@dataclass(slots=True)
class Result:
    """Messages found: three columns of one length, and scores when they are asked. ordered: the order is not the mailbox's."""

    numbers: Sequence[int]
    uids: Sequence[int]
    modseqs: Sequence[int]
    ordered: bool = False
    scores: Sequence[int] | None = None

    @classmethod
    def of(cls, table: Table, rows: Sequence[int], view: FolderView, cursor: Cursor, *, ordered: bool = False) -> Result:
        """Take rows of a table, in order."""
        uids, modseqs = take(table.uids, rows), take(table.modseqs, rows)
        if cursor.uids is table.uids:
            return cls([row + 1 for row in rows], uids, modseqs, ordered)
        known = [(number, uid, modseq) for uid, modseq in zip(uids, modseqs, strict=True)
                 if (number := view.number_of(cursor, uid))]
        return cls([one[0] for one in known], [one[1] for one in known], [one[2] for one in known], ordered)

    def names(self, *, uid: bool) -> Sequence[int]:
        """Give what the client calls them."""
        return self.uids if uid else self.numbers

    def __len__(self) -> int:
        return len(self.uids)


def _chosen(search: Search, count: int) -> list[int]:
    """Give the places of the results that the options single out: all, or ends and page only (RFC 5182 §2.1, RFC 9394 §3.2)."""
    returns = search.returns or SearchReturn.ALL
    if not count or returns & _WHOLE or not returns & _ENDS:
        return list(range(count))
    places: set[int] = set()
    if returns & SearchReturn.MIN:
        places.add(0)
    if returns & SearchReturn.MAX:
        places.add(count - 1)
    if search.partial is not None:
        places.update(range(count)[search.partial.slice(count)])
    return sorted(places)


def save(session: Session, search: Search, result: Result) -> None:
    """Keep in `$` what SAVE asks to keep; without SAVE it stays as it was."""
    if search.returns is not None and search.returns & SearchReturn.SAVE:
        session.saved = NumSet.of([result.uids[place] for place in _chosen(search, len(result))])


def esearch(tag: bytes, search: Search, result: Result, *, mailbox: tuple[bytes, int] | None = None) -> bytes:
    """Give the ESEARCH line (RFC 4731 §3.1; MODSEQ by RFC 7162 §3.1.10). mailbox: of RFC 7377 §2.1."""
    returns = search.returns or SearchReturn.ALL
    names, count = result.names(uid=search.uid), len(result)

    def told(part: Sequence[int]) -> NumSet | Sequence[int]:
        return part if result.ordered else NumSet.of(part)

    scores, page = result.scores, None
    if search.partial is not None:
        part = search.partial.slice(count)
        page = (search.partial, told(names[part]))
        scores = scores[part] if scores is not None else None
    modseq = None
    if search.modseq and count:
        modseq = max((result.modseqs[place] for place in _chosen(search, count)), default=None)
    return encode_search.esearch_line(ESearchAnswer(
        tag=tag, uid=search.uid, mailbox=mailbox, page=page, relevancy=scores, modseq=modseq,
        minimum=names[0] if count and returns & SearchReturn.MIN else None,
        maximum=names[-1] if count and returns & SearchReturn.MAX else None,
        all=told(names) if count and returns & SearchReturn.ALL else None,
        count=count if returns & SearchReturn.COUNT else None))
