"""COPY, UID COPY, MOVE, UID MOVE (RFC 9051 §6.4.7, §6.4.8): one unit whatever the number of messages.

- All or nothing: a fault leaves both folders as they were.
- COPY answers COPYUID in its tagged OK; MOVE in an untagged OK before the EXPUNGE lines (RFC 6851 §4.3).
- A target that does not exist is NO [TRYCREATE]; a full mailbox NO [OVERQUOTA] (COPY only: MOVE takes no room).
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
from mssante.services.imap.quota import over_quota
from mssante.services.imap.selection import Picked, take
from mssante.services.imap.session import Answer, Session
from mssante.storage.interfaces import Tx


@dataclass(frozen=True, slots=True)
class _Done:
    """What one unit did. pairs: (source uid, target uid); modseqs are those of the folders after it."""

    pairs: list[tuple[int, int]]
    source_modseq: int
    target: Folder | None


async def copy(session: Session, value: Copy) -> Answer:
    """Copy messages into a folder."""
    session.opened()
    target = await session.find(value.folder, code="TRYCREATE")
    picked = session.pick(value.numbers, uid=value.uid)
    if not len(picked):
        return _nothing(picked, "COPY", value.uid)
    await over_quota(session, sum(take(picked.table.sizes, picked.rows)))
    done = await _run(session, picked, target, move=False)
    code = b""
    if done.target is not None:
        code = encode.code_copyuid(done.target.uidvalidity, done.pairs)
    return Answer(expunges=value.uid, completion=Completion(text="COPY completed", code=code))


async def move(session: Session, value: Move) -> Answer:
    """Move messages into a folder."""
    session.writable()
    target = await session.find(value.folder, code="TRYCREATE")
    picked = session.pick(value.numbers, uid=value.uid)
    if not len(picked):
        return _nothing(picked, "MOVE", True)
    done = await _run(session, picked, target, move=True)
    answer = Answer(completion=Completion(text="MOVE completed"))
    if done.pairs and done.target is not None:
        answer.data.append(encode.ok("moved", encode.code_copyuid(done.target.uidvalidity, done.pairs)))
    return answer


def _nothing(picked: Picked, name: str, expunges: bool) -> Answer:
    """Answer for an empty set: UIDs that do not exist are no fault (RFC 9051 §6.4.9)."""
    if picked.missing:
        return Answer(expunges=expunges, completion=Completion(Condition.NO, "the messages no longer exist",
                                                               b"EXPUNGEISSUED"))
    return Answer(expunges=expunges, completion=Completion(text=f"{name} completed, nothing to do"))


async def _run(session: Session, picked: Picked, target: Folder, *, move: bool) -> _Done:
    """Copy or move in one unit, then bring the view up to date and ring. Raises CommandRefused."""
    view, _ = session.opened()
    stores, source_id, uids = session.services.stores, view.folder_id, list(picked.uids())
    work = stores.messages.move if move else stores.messages.copy

    def unit(tx: Tx) -> _Done:
        pairs = work(tx, source_id, uids, target.id)
        source = stores.folders.get(tx, source_id)
        return _Done(pairs, source.highest_modseq if source is not None else 0, stores.folders.get(tx, target.id))

    try:
        done = await stores.database.write(unit)
    except LookupError:
        session.services.registry.forget_folders(session.mailbox_id)
        raise CommandRefused("no such folder", code="TRYCREATE") from None
    if move and done.pairs and source_id != target.id:
        await settle(session, done.source_modseq, expunged=[source for source, _ in done.pairs])
    if done.target is not None and done.pairs:
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
