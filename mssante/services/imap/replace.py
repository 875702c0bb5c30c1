"""REPLACE and UID REPLACE (RFC 8508): a message is stored and another one removed, in one transaction.

- The message that goes must be known to the client, the folder open for writing; both are checked before the new message is
  asked for, and again inside the transaction: one that is gone by then changes nothing.
- APPENDUID comes in an untagged OK, before the client hears that the old message is gone (RFC 8508 §4.3).
- Nothing is inherited from the message that is replaced (RFC 8508 §1).
Called by `services/imap/append.py`, which receives the new message.
"""

from __future__ import annotations

from dataclasses import dataclass

from mssante.model.journal import JournalEvent, JournalKind
from mssante.model.mailbox import Folder
from mssante.model.message import Flags
from mssante.protocol.imap import encode
from mssante.protocol.imap.faults import CommandRefused
from mssante.protocol.imap.numset import NumSet
from mssante.protocol.imap.values import Append, Completion
from mssante.services.imap.landing import Landing
from mssante.services.imap.session import Answer, Session
from mssante.storage.interfaces import Acceptance, Filed, FlagChange, Tx


@dataclass(frozen=True, slots=True)
class Replaced:
    """The message that goes. size: its octets, which the new one may use."""

    folder_id: int
    uid: int
    size: int


class _Gone(Exception):
    """The message was removed by someone else meanwhile."""


def replaced_message(session: Session, value: Append) -> Replaced:
    """Give the message that the command names. Raises CommandRefused, ClientFault for a number out of range."""
    view, _ = session.writable()
    session.require("te")  # RFC 8508 §4.1: those of STORE \\Deleted and EXPUNGE
    picked = session.pick(value.replaces or NumSet(), uid=value.uid)
    if len(picked) != 1:
        raise CommandRefused("there is no such message", code="EXPUNGEISSUED" if picked.missing else "NONEXISTENT")
    row = picked.rows[0]
    return Replaced(view.folder_id, picked.table.uids[row], picked.table.sizes[row])


async def store_replacement(session: Session, item: Acceptance, replaced: Replaced, target: Folder, *,
                            landing: Landing | None = None) -> Answer:
    """Commit both changes, bring the view up to date, ring; the updates tell the client of the rest.

    landing: given when the new message is seen by its user alone.
    """
    view, _ = session.writable()
    services = session.services
    try:
        filed, modseq = await _commit(session, item, replaced)
    except LookupError:
        services.registry.forget_folders(target.mailbox_id)
        raise CommandRefused("no such folder", code="TRYCREATE") from None
    except _Gone:
        raise CommandRefused("the message to replace is gone", code="EXPUNGEISSUED") from None
    if landing is not None:
        await landing.mark(session, [filed.uid])
    if session.notices is not None:
        session.notices.added(filed.folder_id, filed.modseq, [filed.uid])
    view.announce(modseq)
    await view.refresh()
    services.doorbell.ring(replaced.folder_id, modseq)
    if filed.folder_id != replaced.folder_id:
        services.doorbell.ring(filed.folder_id, filed.modseq)
    code = encode.code_appenduid(target.uidvalidity, NumSet.of([filed.uid]))
    last = encode.code_number("HIGHESTMODSEQ", view.highest_modseq) if session.wire.condstore else b""
    return Answer([encode.ok("replacement stored", code)], Completion(text="REPLACE completed", code=last))


async def _commit(session: Session, item: Acceptance, replaced: Replaced) -> tuple[Filed, int]:
    """Give where the new message is, and the modseq of the open folder. Raises LookupError, _Gone; then nothing changed."""
    services, login = session.services, session.account.login if session.account else ""
    stores, now, folder_id, uid = services.stores, services.clock.now(), replaced.folder_id, replaced.uid

    def unit(tx: Tx) -> tuple[Filed, int]:
        (accepted,) = stores.messages.accept(tx, [item])
        if not accepted.filed:
            raise LookupError(item.filings[0].folder_id)
        stores.messages.set_flags(tx, folder_id, [uid], FlagChange("add", int(Flags.DELETED)))
        if not stores.messages.expunge(tx, folder_id, [uid]):
            raise _Gone
        stores.journal.append(tx, [JournalEvent(JournalKind.FOLDER_EXPUNGED, now, subject=login, payload={
            "folder_id": folder_id, "messages": 1, "first_uid": uid, "last_uid": uid})])
        source = stores.folders.get(tx, folder_id)
        return accepted.filed[0], source.highest_modseq if source is not None else 0

    return await stores.database.write(unit)
