"""Looks again at followed searches when their folder changed (RFC 5267 §4.3), before a session tells its updates.

- After a command, as part of it; while a client idles, in a task that wakes the session when it is done.
- Only messages that came, or whose modseq grew, are looked at: a change costs its own size, whatever the folder holds.
Called by `dispatch.py` and `sync.py`; what was found is told by `contexts.py`.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Sequence

from mssante.errors import MssFault
from mssante.protocol.imap.values import CancelUpdate, Completion
from mssante.services.imap.contexts import Context
from mssante.services.imap.search import Searching
from mssante.services.imap.session import Answer, Session
from mssante.services.imap.sort import put_in_order


async def refresh(session: Session) -> None:
    """Bring every followed search of a session up to date with its view."""
    for context in list(session.contexts.held.values()):
        await _refresh(session, context)


async def _refresh(session: Session, context: Context) -> None:
    view, cursor = session.view, session.cursor
    if view is None or cursor is None or view.gone or not _behind(session, context):
        return
    searching = Searching(session, view, cursor, unannounced=True)
    table, count, seen = searching.table, searching.count, context.modseq
    first_new = bisect_right(table.uids, context.last_uid, 0, count)
    modseq, last_uid = view.highest_modseq, table.uids[count - 1] if count else context.last_uid
    rows = [row for row, changed in enumerate(table.modseqs[:count]) if changed > seen or row >= first_new]
    found = await searching.evaluate(context.key, searching.mask_of(rows))
    matching = set(searching.rows_of(found))
    if context.order is not None and matching:
        context.ranking = await _ranking(session, searching, context, [table.uids[row] for row in matching])
    context.verdicts.update({table.uids[row]: row in matching for row in rows})
    context.modseq, context.last_uid = modseq, max(last_uid, context.last_uid)


async def _ranking(session: Session, searching: Searching, context: Context, new: Sequence[int]) -> list[int]:
    """Give the UIDs of the results, known and new, in the order of the context."""
    table = searching.table
    waiting = [uid for uid, found in context.verdicts.items() if found]
    rows = sorted({row for uid in (*context.members, *waiting, *new) if (row := table.index_of(uid)) >= 0})
    await put_in_order(session, searching, rows, context.order or ())
    return [table.uids[row] for row in rows]


def _behind(session: Session, context: Context) -> bool:
    view = session.view
    if view is None:
        return False
    return view.highest_modseq > context.modseq or (len(view.uids) > 0 and view.uids[-1] > context.last_uid)


def refresh_while_idle(session: Session) -> None:
    """Start to look again, when something changed, and wake the idling session after."""
    behind = [context for context in session.contexts.held.values() if _behind(session, context)]
    if behind and (session.following is None or session.following.done()):
        session.following = asyncio.get_running_loop().create_task(_refresh_and_wake(session))


async def _refresh_and_wake(session: Session) -> None:
    view = session.view
    try:
        await refresh(session)
    except MssFault:
        return  # nothing is told; the next command looks again
    if view is not None and view is session.view:
        view.wake()


async def cancel_update(session: Session, value: CancelUpdate) -> Answer:
    """Follow these searches no more; tags that follow none are no fault (RFC 5267 §4.3.5)."""
    for tag in value.tags:
        session.contexts.held.pop(tag, None)
    return Answer(completion=Completion(text="CANCELUPDATE completed"))
