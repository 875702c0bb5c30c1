"""SORT, UID SORT, THREAD, UID THREAD (RFC 5256; RFC 5267 §3 ESORT; RFC 5957 DISPLAY; RFC 6203 §6 RELEVANCY).

- Nothing is parsed: keys come from the view and from columns kept beside it (`headcolumns.py`), read once for a folder.
- One stable pass a criterion, the least important first; what is equal stays in mailbox order, reversed or not (RFC 5256 §3).
- Texts compare by i;unicode-casemap; a date that cannot be read is the INTERNALDATE (RFC 5256 §2.2).
- Threading runs in a worker thread, in one pass whatever the messages say of each other.
Called through `dispatch.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from mssante.protocol.imap import encode_search
from mssante.protocol.imap.threading import Forest, Threaded, ordered_subject, references
from mssante.protocol.imap.values import Completion, SearchReturn, Sort, SortBy, Thread, ThreadBy
from mssante.services.imap.contexts import Order, follow
from mssante.services.imap.headcolumns import columns
from mssante.services.imap.messagelimit import whole
from mssante.services.imap.search import Searching
from mssante.services.imap.searchresult import Result, esearch, save
from mssante.services.imap.session import Answer, Session

_MICROSECONDS = 1_000_000
_COLUMNS = {SortBy.CC: "mailbox of cc", SortBy.DATE: "sent", SortBy.DISPLAYFROM: "display of from",
            SortBy.DISPLAYTO: "display of to", SortBy.FROM: "mailbox of from", SortBy.SUBJECT: "base", SortBy.TO: "mailbox of to"}
_NO_SUBJECT = ("", False)
_THREADERS: dict[ThreadBy, Callable[[Sequence[Threaded]], Forest]] = {
    ThreadBy.ORDEREDSUBJECT: ordered_subject, ThreadBy.REFERENCES: references}


async def sort(session: Session, value: Sort) -> Answer:
    """Search, then answer SORT, or ESEARCH when results options were given."""
    session.require("r")
    view, cursor = session.opened()
    search = value.search
    began_at = view.highest_modseq
    searching = Searching(session, view, cursor)
    rows = list(await searching.rows(search.key))
    whole(session, len(rows), "sort")
    await put_in_order(session, searching, rows, value.order)
    result = Result.of(searching.table, rows, view, cursor, ordered=True)
    answer = Answer(expunges=search.uid, completion=Completion(text="SORT completed"))
    returns = search.returns
    if returns is None:
        modseq = max(result.modseqs, default=None) if search.modseq else None
        answer.data.append(encode_search.search_line(result.names(uid=search.uid), modseq, name=b"SORT"))
        return answer
    if returns & SearchReturn.UPDATE:
        answer.data += follow(session, search, result.uids, began_at, order=value.order)
    if returns & SearchReturn.RELEVANCY:
        result.scores = searching.scores(result.uids)
    save(session, search, result)
    if returns & ~SearchReturn.SAVE:
        answer.data.append(esearch(session.tag, search, result))
    return answer


async def put_in_order(session: Session, searching: Searching, rows: list[int], order: Order) -> None:
    """Sort rows that are in mailbox order."""
    table, view = searching.table, searching.view
    wanted = list(dict.fromkeys(_COLUMNS[by] for by, _ in order if by in _COLUMNS))
    found = dict(zip(wanted, await columns(session, view, [table.message_ids[row] for row in rows], wanted), strict=True))
    for by, reverse in reversed(order):
        rows.sort(key=_key(searching, by, rows, found), reverse=reverse)


def _key(searching: Searching, by: SortBy, rows: Sequence[int], found: dict[str, dict[int, Any]]) -> Callable[[int], Any]:
    """Give the sort key of a row for one criterion."""
    table = searching.table
    match by:
        case SortBy.ARRIVAL:
            return table.dates.__getitem__
        case SortBy.SIZE:
            return table.sizes.__getitem__
        case SortBy.RELEVANCY:  # the best come first (RFC 6203 §6)
            scores = dict(zip(rows, searching.scores([table.uids[row] for row in rows]), strict=True))
            return lambda row: -scores[row]
    column, ids = found[_COLUMNS[by]], table.message_ids
    if by is SortBy.DATE:
        return lambda row: _sent(column.get(ids[row]), table.dates[row])
    if by is SortBy.SUBJECT:
        return lambda row: column.get(ids[row], _NO_SUBJECT)[0]
    return lambda row: column.get(ids[row], "")


def _sent(sent: int | None, internal: int) -> int:
    """Give the sent date in microseconds since 1970 (RFC 5256 §2.2)."""
    return internal * _MICROSECONDS if sent is None else sent


async def thread(session: Session, value: Thread) -> Answer:
    """Search, then answer THREAD."""
    session.require("r")
    view, cursor = session.opened()
    search = value.search
    searching = Searching(session, view, cursor)
    rows = await searching.rows(search.key)
    whole(session, len(rows), "thread")
    table = searching.table
    result = Result.of(table, rows, view, cursor)
    found = [table.index_of(uid) for uid in result.uids]
    ids = [table.message_ids[row] for row in found]
    bases, sent, known = await columns(session, view, ids, ("base", "sent", "ids"))
    messages = [
        Threaded(name, bases.get(key, _NO_SUBJECT)[0], _sent(sent.get(key), table.dates[row]), bases.get(key, _NO_SUBJECT)[1],
                 *known.get(key, ("", ())))
        for name, key, row in zip(result.names(uid=search.uid), ids, found, strict=True)]
    threader = _THREADERS[value.by]
    line = await asyncio.get_running_loop().run_in_executor(
        session.services.executor, lambda: encode_search.thread_line(threader(messages).encode()))
    return Answer([line], Completion(text="THREAD completed"), expunges=search.uid)

