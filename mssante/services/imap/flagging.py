"""Writing to the open folder: the one path by which a session changes flags or removes messages.

- One unit per command, then the view is brought up to date: from the result itself when nobody else changed the folder in
  between, from one read otherwise; then the doorbell.
- The expunge of messages is journalled in the same transaction (RELIABILITY §3).
Called by store, fetch (`\\Seen`), copy (MOVE) and the expunge commands.
"""

from __future__ import annotations

from collections.abc import Sequence

from mssante.model.journal import JournalEvent, JournalKind
from mssante.model.message import Flags, FolderRow
from mssante.protocol.imap.faults import CommandRefused
from mssante.services.imap.readings import note, traced
from mssante.services.imap.seen import change_private
from mssante.services.imap.session import Session
from mssante.storage.interfaces import FlagChange, Tx

_SEEN = int(Flags.SEEN)
QUICK_ROWS = 16  # rows changed without a thread (docs/adr/0026)


async def change_flags(session: Session, uids: Sequence[int], change: FlagChange, *, tell: bool,
                       ) -> tuple[list[FolderRow], list[int]]:
    """Apply one flag change to UIDs: give (rows after it, UIDs refused by unchanged_since).

    tell: the client hears of it by the session's updates; else the command itself reports it.
    """
    view, cursor = session.opened()
    stores, folder_id = session.services.stores, view.folder_id

    def unit(tx: Tx) -> tuple[list[FolderRow], list[int]]:
        return stores.messages.set_flags(tx, folder_id, uids, change)

    try:
        if session.seen is None:
            rows, refused = await stores.database.write(unit, quick=len(uids) <= QUICK_ROWS)
        else:
            rows, refused = await change_private(session, uids, change)
    except LookupError:
        raise CommandRefused("the folder has been deleted", code="NONEXISTENT") from None
    if rows and change.mode != "remove" and change.flags & change.mask & _SEEN and session.folder is not None:
        box = session.folder.mailbox_id
        if await traced(session, box):
            note(session, box, [row.message_id for row in rows])
    if rows:
        await settle(session, max(row.modseq for row in rows), rows=rows, origin=None if tell else cursor)
    return rows, refused


async def settle(session: Session, modseq: int, *, rows: Sequence[FolderRow] = (), expunged: Sequence[int] = (),
                 origin: object | None = None) -> None:
    """After a commit on the open folder: bring the view to `modseq`, then ring for the others."""
    view, _ = session.opened()
    if not view.applied(modseq, rows=rows, expunged=expunged, origin=origin):
        await view.refresh()
    session.services.doorbell.ring(view.folder_id, modseq)


async def expunge_uids(session: Session, uids: Sequence[int] | None) -> list[int]:
    """Remove messages flagged `\\Deleted` (among `uids` when given): give their UIDs. Raises CommandRefused."""
    view, _ = session.writable()
    services, folder_id, login = session.services, view.folder_id, session.account.login if session.account else ""
    stores, now = services.stores, services.clock.now()

    def unit(tx: Tx) -> tuple[list[int], int]:
        gone = stores.messages.expunge(tx, folder_id, uids)
        folder = stores.folders.get(tx, folder_id)
        if gone:
            stores.journal.append(tx, [JournalEvent(JournalKind.FOLDER_EXPUNGED, now, subject=login, payload={
                "folder_id": folder_id, "messages": len(gone), "first_uid": gone[0], "last_uid": gone[-1]})])
        return gone, folder.highest_modseq if folder is not None else 0

    try:
        gone, modseq = await stores.database.write(unit)
    except LookupError:
        raise CommandRefused("the folder has been deleted", code="NONEXISTENT") from None
    if gone:
        await settle(session, modseq, expunged=gone)
    return gone
