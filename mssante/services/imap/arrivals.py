"""FETCH lines that nobody sent a FETCH for: what NOTIFY (RFC 5465 §5.2) and RETURN (UPDATE) (§7) ask of new messages.

- They follow the EXISTS and ADDTO lines that bring the messages; what both ask of one message comes in one line.
- Read like any FETCH: one read for all messages, in pieces at the pace of the client; `\\Seen` is never set.
- A message that is gone by then has no line: its EXPUNGE follows.
Drawn by the endpoint after the updates of a command or of IDLE, and by `notices.py` between commands.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace

from mssante.protocol.imap.faults import CommandRefused
from mssante.protocol.imap.notifyvalues import Asked
from mssante.protocol.imap.numset import NumSet
from mssante.protocol.imap.values import Fetch, FetchItem
from mssante.services.imap.fetch import fetch
from mssante.services.imap.session import Session


async def arrival_lines(session: Session) -> AsyncIterator[bytes]:
    """Give the lines that are owed now; nothing when nothing is."""
    wanted: dict[int, Asked] = {}
    if session.notices is not None:
        for uid in session.notices.arrived():
            asked = session.notices.asked_of_new
            if asked is not None:
                wanted[uid] = asked
    for asked, uids in session.contexts.take_owed():
        for uid in uids:
            wanted[uid] = asked if uid not in wanted else wanted[uid].and_also(asked)
    together: dict[Asked, list[int]] = {}
    for uid in sorted(wanted):
        together.setdefault(wanted[uid], []).append(uid)
    for asked, uids in together.items():
        async for data in _fetched(session, asked, uids):
            yield data


async def _fetched(session: Session, asked: Asked, uids: list[int]) -> AsyncIterator[bytes]:
    """Give the FETCH lines of messages of the open folder."""
    if session.view is None:
        return
    sections = tuple(replace(section, peek=True) for section in asked.sections)
    answer = await fetch(session, Fetch(NumSet.of(uids), asked.items | FetchItem.UID, sections, uid=True))
    if answer.stream is None:
        return
    try:
        async with aclosing(answer.stream) as stream:
            async for data in stream:
                yield data
    except CommandRefused:
        return
