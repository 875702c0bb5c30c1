"""COPY, UID COPY, MOVE, UID MOVE (RFC 9051 §6.4.7, §6.4.8): one unit whatever the number of messages.

- All or nothing: a fault leaves both folders as they were.
- COPY answers COPYUID in its tagged OK; MOVE in an untagged OK before the EXPUNGE lines (RFC 6851 §4.3).
- A target that does not exist is NO [TRYCREATE]; a full mailbox NO [OVERQUOTA] (MOVE takes no room within one mailbox).
- Both folders' doorbells ring after the commit.
Called through `dispatch.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

from mssante.model.mailbox import Folder
from mssante.protocol.imap import encode
from mssante.protocol.imap.faults import CommandRefused
from mssante.protocol.imap.values import Completion, Condition, Copy, Move
from mssante.services.imap.flagging import settle
from mssante.services.imap.landing import Landing
from mssante.services.imap.messagelimit import bounded, stopped, whole
from mssante.services.imap.quota import over_quota
from mssante.services.imap.readings import note, traced
from mssante.services.imap.selection import Picked, take
from mssante.services.imap.session import Answer, Session
from mssante.storage.interfaces import Tx


@dataclass(frozen=True, slots=True)
class _Done:
    """What one unit did. pairs: (source uid, target uid); modseqs are those of the folders after it; marked: UIDs of the target
    that the user alone has read."""

    pairs: list[tuple[int, int]]
    source_modseq: int
    target: Folder | None
    marked: list[int]


async def copy(session: Session, value: Copy) -> Answer:
    """Copy messages into a folder."""
    session.opened()
    session.require("r")
    target = await session.find(value.folder, code="TRYCREATE", needs="i")
    picked = session.pick(value.numbers, uid=value.uid)
    if not len(picked):
        return _nothing(picked, "COPY", value.uid)
    whole(session, len(picked), "copy")
    await over_quota(session, target, sum(take(picked.table.sizes, picked.rows)), len(picked))
    done = await _run(session, picked, target, move=False)
    code = b""
    if done.target is not None:
        code = encode.code_copyuid(done.target.uidvalidity, done.pairs)
    return Answer(expunges=value.uid, completion=Completion(text="COPY completed", code=code))


async def move(session: Session, value: Move) -> Answer:
    """Move messages into a folder."""
    session.writable()
    session.require("rte")  # RFC 6851 §4.4
    target = await session.find(value.folder, code="TRYCREATE", needs="i")
    picked, stop = bounded(session, session.pick(value.numbers, uid=value.uid))
    if not len(picked):
        return _nothing(picked, "MOVE", True)
    if session.folder is not None and session.folder.mailbox_id != target.mailbox_id:
        await over_quota(session, target, sum(take(picked.table.sizes, picked.rows)), len(picked))
    done = await _run(session, picked, target, move=True)
    answer = Answer(completion=Completion(text="MOVE completed", code=_modseq(session, done)))
    if done.pairs and done.target is not None:
        answer.data.append(encode.ok("moved", encode.code_copyuid(done.target.uidvalidity, done.pairs)))
    stopped(answer, stop)
    return answer


def _modseq(session: Session, done: _Done) -> bytes:
    """Give HIGHESTMODSEQ for a client that follows modseqs (RFC 6851 §4.4, as EXPUNGE does)."""
    view, _ = session.opened()
    return encode.code_number("HIGHESTMODSEQ", view.highest_modseq) if done.pairs and session.wire.condstore else b""


def _nothing(picked: Picked, name: str, expunges: bool) -> Answer:
    """Answer for an empty set: UIDs that do not exist are no fault (RFC 9051 §6.4.9)."""
    if picked.missing:
        return Answer(expunges=expunges, completion=Completion(Condition.NO, "the messages no longer exist",
                                                               b"EXPUNGEISSUED"))
    return Answer(expunges=expunges, completion=Completion(text=f"{name} completed, nothing to do"))


async def _run(session: Session, picked: Picked, target: Folder, *, move: bool) -> _Done:
    """Copy or move in one unit, then bring the view up to date and ring. Raises CommandRefused."""
    view, _ = session.opened()
    landing = Landing.of(session, target)
    stores, source_id, uids = session.services.stores, view.folder_id, list(picked.uids())
    work, now = stores.messages.move if move else stores.messages.copy, session.services.clock.now()

    def unit(tx: Tx) -> _Done:
        read = frozenset() if landing.plain else landing.read_tx(tx, stores, source_id, uids)
        pairs = work(tx, source_id, uids, target.id, now=now)
        marked = [] if landing.plain else landing.write_tx(tx, stores, pairs, read)
        source = stores.folders.get(tx, source_id)
        modseq = source.highest_modseq if source is not None else 0
        return _Done(pairs, modseq, stores.folders.get(tx, target.id), marked)

    try:
        done = await stores.database.write(unit)
    except LookupError:
        session.services.registry.forget_folders(target.mailbox_id)
        raise CommandRefused("no such folder", code="TRYCREATE") from None
    session.services.registry.seen.note(target.id, landing.account_id, done.marked)
    home = session.folder.mailbox_id if session.folder is not None else 0
    if done.pairs and home != target.mailbox_id and await traced(session, home):  # it can be read elsewhere from now on
        note(session, home, take(picked.table.message_ids, picked.rows))
    if move and done.pairs and source_id != target.id:
        await settle(session, done.source_modseq, expunged=[source for source, _ in done.pairs])
    if done.target is not None and done.pairs:
        if session.notices is not None:
            session.notices.added(target.id, done.target.highest_modseq, [copied for _, copied in done.pairs])
        _hear(session, target.id, done.target.highest_modseq)
        if source_id == target.id:
            await view.refresh()
    return done


def _hear(session: Session, folder_id: int, modseq: int) -> None:
    """Tell everyone about the target folder, and our own view at once."""
    held = session.services.registry.view(folder_id)
    if held is not None:
        held.announce(modseq)
    session.services.doorbell.ring(folder_id, modseq)
