"""NOOP, CHECK, EXPUNGE and UID EXPUNGE (RFC 9051 §6.1.2, §6.4.3; RFC 4315 §2.1), and what IDLE tells.

- NOOP and CHECK do nothing themselves: the updates that follow every command are the answer.
- EXPUNGE removes only what is flagged `\\Deleted`; UID EXPUNGE among the UIDs named, so that a client never removes what
  another marked.
Called through `dispatch.py`; IDLE is driven by the endpoint with `idle_updates`.
"""

from __future__ import annotations

from collections.abc import Sequence

from mssante.model.message import Flags
from mssante.protocol.imap import encode
from mssante.protocol.imap.values import Check, Completion, Expunge, Noop
from mssante.services.imap.flagging import expunge_uids
from mssante.services.imap.following import refresh_while_idle
from mssante.services.imap.messagelimit import bounded_uids, stopped
from mssante.services.imap.session import Answer, Session


async def noop(session: Session, value: Noop | Check) -> Answer:
    """Give the client the occasion to hear of changes."""
    return Answer(completion=Completion(text="CHECK completed" if isinstance(value, Check) else "NOOP completed"))


async def expunge(session: Session, value: Expunge) -> Answer:
    """Remove messages flagged `\\Deleted`; the updates tell their numbers."""
    view, _ = session.writable()
    session.require("e")
    code = stop = b""
    uids: Sequence[int]
    if value.uids is None:
        uids = [uid for uid, mask in zip(view.uids, view.table.flags, strict=True) if mask & Flags.DELETED]
    else:
        picked = session.pick(value.uids, uid=True)
        table = picked.table
        uids = [table.uids[row] for row in picked.rows if table.flags[row] & Flags.DELETED]
        uids, stop = bounded_uids(session, uids)
    # The store looks at `\\Deleted` again: what someone has just undeleted stays.
    if uids and await expunge_uids(session, uids):
        code = encode.code_number("HIGHESTMODSEQ", view.highest_modseq) if session.wire.condstore else b""
    answer = Answer(completion=Completion(text="EXPUNGE completed", code=code))
    stopped(answer, stop)
    return answer


def idle_updates(session: Session) -> bytes:
    """Give what an idling client must be told now, may be nothing; an EXISTS told in passing before comes once more."""
    if session.contexts:
        refresh_while_idle(session)
    if not session.sure():
        return b""
    again, news = session.in_passing, b"".join(session.updates(expunges=True))
    if again and session.cursor is not None and b" EXISTS\r\n" not in news:
        news += b"* %d EXISTS\r\n" % session.cursor.count
    return news
