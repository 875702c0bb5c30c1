"""SELECT, EXAMINE, CLOSE, UNSELECT (RFC 9051 §6.3.2, §6.3.3, §6.4.1, §6.4.2).

- Opening a folder that someone has open, or had a moment ago, costs no read: everything told comes from the view.
- The folder that was open before is left first, whatever happens then (RFC 9051 §6.3.2); `[CLOSED]` says so.
- A client that remembers the folder is told what changed since, after the description (`qresync.py`).
- CLOSE expunges without telling; UNSELECT expunges nothing.
Called through `dispatch.py`.
"""

from __future__ import annotations

from mssante.model.message import Flags
from mssante.protocol.imap import encode
from mssante.protocol.imap.faults import CommandRefused
from mssante.protocol.imap.objectid import code_mailbox_id
from mssante.protocol.imap.values import Close, Completion, Condition, Select, Unselect
from mssante.services.imap.flagging import expunge_uids
from mssante.services.imap.flaglist import flag_lists
from mssante.services.imap.qresync import resynchronise
from mssante.services.imap.session import Answer, Session
from mssante.services.imap.view import FolderView

_UNSEEN = bytes(0 if mask & Flags.SEEN else 1 for mask in range(256))


async def select(session: Session, value: Select) -> Answer:
    """Open a folder and tell what it holds."""
    answer = Answer(quiet=True)
    if session.view is not None:
        answer.data.append(encode.ok("previous folder is closed", b"CLOSED"))  # RFC 9051 §7.1
        session.leave()
        session.wire.unselected()
    try:
        folder = await session.find(value.folder, needs="r")
        view, cursor = await session.open(folder, read_only=value.examine)
    except CommandRefused as refused:  # CLOSED is told all the same
        answer.completion = Completion(Condition.NO, refused.public, refused.code.encode("ascii"))
        return answer
    session.wire.selected(read_only=value.examine)
    view.updates(cursor, expunges=True)  # what came while it was being opened is part of the description
    answer.data += _description(session, view, folder.name)
    if value.resync is not None:
        answer.data += await resynchronise(session, value.resync)
    answer.completion = Completion(text="EXAMINE completed" if value.examine else "SELECT completed",
                                   code=b"READ-ONLY" if value.examine or not _changeable(session) else b"READ-WRITE")
    return answer


def _description(session: Session, view: FolderView, name: str) -> list[bytes]:
    """Give the untagged lines of SELECT, in the order of RFC 9051 §6.3.2."""
    out = [encode.exists(len(view.uids))]
    if not session.wire.rev2:
        out.append(session.meet() or encode.recent(0))
    wire, words = session.wire, len(view.words)
    if session.rights is not None or session.seen is not None:
        out += _particulars(session, view)
    else:  # the same for all who may do everything here: kept until the folder changes
        state = (view.highest_modseq, view.uidnext, len(view.uids), words, wire.rev2, wire.uidonly, session.read_only)
        if view.described[0] != state:
            view.described = state, b"".join(_particulars(session, view))
        session.words_told = words
        out.append(view.described[1])
    if wire.rev2:
        out.append(b'* LIST () "/" ' + encode.folder_name(name, wire.utf8) + b"\r\n")  # RFC 9051 §6.3.2
    return out


def _particulars(session: Session, view: FolderView) -> list[bytes]:
    """Give the lines that depend on the folder and on what the user may do there."""
    out: list[bytes] = []
    if not session.wire.rev2:
        flags = session.flags_of(view.table, range(len(view.uids)))
        unseen = bytes(flags).translate(_UNSEEN).find(1)
        if unseen >= 0 and not session.wire.uidonly:  # RFC 9586 §3.6: a message number
            out.append(encode.ok("first unseen", encode.code_number("UNSEEN", unseen + 1)))  # RFC 3501 §6.3.1
    return [
        *out, *flag_lists(session),
        encode.ok("identity of the folder", encode.code_number("UIDVALIDITY", view.uidvalidity)),
        encode.ok("next UID", encode.code_number("UIDNEXT", view.uidnext)),
        encode.ok("identity for ever", code_mailbox_id(view.folder_id)),  # RFC 8474 §4.2
        encode.ok("highest modseq", encode.code_number("HIGHESTMODSEQ", view.highest_modseq)),  # RFC 7162 §3.1.2.1
    ]


def _changeable(session: Session) -> bool:
    """Tell if the user may change what others see (RFC 4314 §5.2): a private `\\Seen` is no such thing."""
    return session.rights is None or not session.rights.isdisjoint("iewt" if session.seen is not None else "iewts")


async def close(session: Session, value: Close) -> Answer:
    """Expunge silently (unless read-only), then leave the folder."""
    if not session.read_only and session.may("e"):  # RFC 4314 §4: else nothing is expunged, and nothing said
        view, _ = session.opened()
        if any(mask & Flags.DELETED for mask in view.table.flags):
            await expunge_uids(session, None)
    return _left(session, "CLOSE completed")  # RFC 7162 §3.2.8: no HIGHESTMODSEQ, as the client was not told what left


async def unselect(session: Session, value: Unselect) -> Answer:
    """Leave the folder."""
    return _left(session, "UNSELECT completed")


def _left(session: Session, text: str) -> Answer:
    session.leave()
    session.wire.unselected()
    return Answer(quiet=True, completion=Completion(Condition.OK, text))
