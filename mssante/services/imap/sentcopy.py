"""One copy of sent mail: an APPEND of what the server has just filed in that folder is answered by the copy that is there.

- The server files mail sent in the name of a box in the box's Sent (services/sentcopy.py); most programs then store it themselves
  with the same Message-ID. Their APPEND gets OK and the UID of that copy (APPENDUID, RFC 4315 §3): the same content behind
  our header lines. A copy removed meanwhile, another folder, another Message-ID, a later moment: the APPEND is done.
- The other way round, what a client stores is remembered for the same window, so that the server files none.
- Only for commands that store one message; memory only.
Called by `append.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

from mssante.model.mailbox import Folder
from mssante.services.imap.session import Session
from mssante.storage.interfaces import Acceptance, Accepted, Tx


async def filed_already(session: Session, folder: Folder, items: Sequence[Acceptance]) -> int:
    """Give the UID of the copy of this message that the server filed in that folder, 0 when there is none."""
    services, message_id = session.services, items[0].message.facts.message_id
    uid = services.mailroom.books.sent.find(folder.id, message_id, services.clock.monotonic(), server=True)
    if not uid:
        return 0
    stores = services.stores

    def unit(tx: Tx) -> bool:
        return bool(stores.messages.rows(tx, folder.id, [uid]))

    return uid if await stores.database.read(unit, quick=True) else 0


def stored(session: Session, items: Sequence[Acceptance], results: Sequence[Accepted]) -> None:
    """A client stored messages: remember those that have a Message-ID."""
    services = session.services
    books = services.mailroom.books
    until = services.clock.monotonic() + books.settings.sent_window_seconds
    for item, result in zip(items, results, strict=True):
        for one in result.filed:
            books.sent.note(one.folder_id, item.message.facts.message_id, one.uid, until, server=False)
