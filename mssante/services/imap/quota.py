"""Room left in a mailbox: one sum, asked only when the mailbox has a quota (RFC 9208 §4.1 OVERQUOTA).

Called by append and copy before they write; two sessions may pass together and overshoot by their messages, never more.
"""

from __future__ import annotations

from mssante.protocol.imap.faults import CommandRefused
from mssante.services.imap.session import Session
from mssante.storage.interfaces import Tx


async def over_quota(session: Session, octets: int) -> None:
    """Raise CommandRefused [OVERQUOTA] when `octets` more would not fit."""
    limit = session.quota_bytes
    if limit <= 0:
        return
    stores, mailbox_id = session.services.stores, session.mailbox_id

    def unit(tx: Tx) -> int:
        return stores.messages.used_bytes(tx, mailbox_id)

    if await stores.database.read(unit) + octets > limit:
        raise CommandRefused("the mailbox is full", code="OVERQUOTA")
