"""TEXT and BODY through the full-text index: one question to the index for any number of messages.

- The index decides for the messages that it has; those that it has not reached yet are given back, and scanned by the caller.
  Both look at the same text (`documents.messagetext`): the result is the same whatever the index has.
- Without an index (`[search] enabled = false`), or with one that cannot be read, every message is given back.
Called by `searchtext.py` only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from mssante.protocol.imap.searchform import normal
from mssante.protocol.imap.searchkeys import TextKey, TextPlace
from mssante.services.imap.session import Session
from mssante.services.imap.view import FolderView, Table
from mssante.storage.interfaces import Tx
from mssante.storage.search import TextQuery


async def text_matches(session: Session, view: FolderView, table: Table, rows: Sequence[int],
                       key: TextKey) -> tuple[list[int], Sequence[int]]:
    """Give (rows that hold the text, rows that the index cannot tell of)."""
    services = session.services
    if services.texts is None or not rows:
        return [], rows
    mailbox_id = await _mailbox_of(session, view)
    column = table.message_ids
    ids = [column[row] for row in rows]
    query = TextQuery(mailbox_id, normal(key.text), head=key.place is TextPlace.TEXT)
    matches = await asyncio.get_running_loop().run_in_executor(services.executor, services.texts.find, query, ids)
    found, missing = matches.found, matches.missing
    good = [row for row, one in zip(rows, ids, strict=True) if one in found] if found else []
    return good, [row for row, one in zip(rows, ids, strict=True) if one in missing] if missing else ()


async def _mailbox_of(session: Session, view: FolderView) -> int:
    """Give the mailbox of a folder: another's when it is shared."""
    if session.folder is not None and session.folder.id == view.folder_id:
        return session.folder.mailbox_id
    folders = session.services.stores.folders

    def unit(tx: Tx) -> int:
        folder = folders.get(tx, view.folder_id)
        return folder.mailbox_id if folder is not None else 0

    return await session.services.stores.database.read(unit, quick=True)
