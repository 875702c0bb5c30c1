"""SELECT, EXAMINE, CLOSE, UNSELECT (RFC 9051 §6.3.2, §6.3.3, §6.4.1, §6.4.2).

- Opening a folder that someone has open, or had a moment ago, costs no read: everything told comes from the view.
- The folder that was open before is left first, whatever happens then (RFC 9051 §6.3.2); `[CLOSED]` says so.
- CLOSE expunges without telling; UNSELECT expunges nothing.
Called through `dispatch.py`.
"""

from __future__ import annotations

from mssante.model.message import Flags
from mssante.protocol.imap import encode
from mssante.protocol.imap.faults import CommandRefused
from mssante.protocol.imap.values import Close, Completion, Condition, Select, Unselect
from mssante.services.imap.flagging import expunge_uids
from mssante.services.imap.session import Answer, Session
from mssante.services.imap.view import FolderView

_UNSEEN = bytes(0 if mask & Flags.SEEN else 1 for mask in range(256))
_MAX_KEYWORDS_TOLD = 200


async def select(session: Session, value: Select) -> Answer:
    """Open a folder and tell what it holds."""
    answer = Answer(quiet=True)
    if session.view is not None:
        answer.data.append(encode.ok("previous folder is closed", b"CLOSED"))  # RFC 9051 §7.1
        session.leave()
        session.wire.unselected()
    try:
        folder = await session.find(value.folder)
        view, _ = await session.open(folder, read_only=value.examine)
    except CommandRefused as refused:  # CLOSED is told all the same
        answer.completion = Completion(Condition.NO, refused.public, refused.code.encode("ascii"))
        return answer
    session.wire.selected(read_only=value.examine)
    answer.data += _description(session, view, folder.name, value.examine)
    answer.completion = Completion(text="EXAMINE completed" if value.examine else "SELECT completed",
                                   code=b"READ-ONLY" if value.examine else b"READ-WRITE")
    return answer


def _description(session: Session, view: FolderView, name: str, read_only: bool) -> list[bytes]:
    """Give the untagged lines of SELECT, in the order of RFC 9051 §6.3.2."""
    words = _keywords(view)
    out = [encode.exists(len(view.uids))]
    if not session.wire.rev2:
        out.append(encode.recent())
        unseen = view.table.flags.tobytes().translate(_UNSEEN).find(1)
        if unseen >= 0:
            out.append(encode.ok("first unseen", encode.code_number("UNSEEN", unseen + 1)))  # RFC 3501 §6.3.1
    out += [
        encode.flags_line(words),
        encode.ok("flags that stay", encode.code_permanent_flags(read_only=read_only)),
        encode.ok("identity of the folder", encode.code_number("UIDVALIDITY", view.uidvalidity)),
        encode.ok("next UID", encode.code_number("UIDNEXT", view.uidnext)),
        encode.ok("highest modseq", encode.code_number("HIGHESTMODSEQ", view.highest_modseq)),  # RFC 7162 §3.1.2.1
    ]
    if session.wire.rev2:
        out.append(b'* LIST () "/" ' + encode.folder_name(name, session.wire.utf8) + b"\r\n")  # RFC 9051 §6.3.2
    return out


def _keywords(view: FolderView) -> list[str]:
    """Give the keywords in use in a folder, each once, bounded."""
    words = {word for text in set(view.keywords.values()) for word in text.split(" ")}
    return sorted(words)[:_MAX_KEYWORDS_TOLD]


async def close(session: Session, value: Close) -> Answer:
    """Expunge silently (unless read-only), then leave the folder."""
    if not session.read_only:
        view, _ = session.opened()
        if any(mask & Flags.DELETED for mask in view.table.flags):
            await expunge_uids(session, None)
    return _left(session, "CLOSE completed")


async def unselect(session: Session, value: Unselect) -> Answer:
    """Leave the folder."""
    return _left(session, "UNSELECT completed")


def _left(session: Session, text: str) -> Answer:
    session.leave()
    session.wire.unselected()
    return Answer(quiet=True, completion=Completion(Condition.OK, text))
