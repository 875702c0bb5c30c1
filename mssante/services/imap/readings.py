"""Who opened which message of an ORG box, told to the log of first readings (services/sharedbooks.py).

- Opened: a body (or a part of it) was given, whether or not the client marks it seen; `\\Seen` was set; the message was copied or
  moved to another mailbox, or put into a message by CATENATE. Headers, structure, previews and searches open nothing.
- A program that fetches every body ahead (offline copies) opens them all: what is told is to whom a message was given.
- Costs a look in memory per message, and one read per mailbox in the life of the process to know its kind.
- Personal and application boxes are not followed: the first have one reader, the second none.
Called by `fetch.py`, `flagging.py`, `copy.py`, `catenate.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mssante.model.mailbox import MailboxType
from mssante.protocol.imap.values import Section, SectionText
from mssante.services.imap.session import Session

_CONTENT = (SectionText.ALL, SectionText.TEXT)


def opens(sections: Sequence[Section]) -> bool:
    """Tell if sections give content: a body or a part, not only header lines."""
    return any(section.text in _CONTENT for section in sections)


async def traced(session: Session, mailbox_id: int) -> bool:
    """Tell if readings of a mailbox are kept."""
    log = session.services.mailroom.books.readings
    known = log.traced(mailbox_id)
    if known is not None:
        return known
    box = await session.services.registry.mailbox(mailbox_id)
    log.kind(mailbox_id, traced=box is not None and box.type is MailboxType.ORG)
    return bool(log.traced(mailbox_id))


def note(session: Session, mailbox_id: int, message_ids: Iterable[int]) -> None:
    """Tell that the user of a session opened messages of a mailbox whose readings are kept."""
    if session.account is not None:
        services = session.services
        services.mailroom.books.readings.note(mailbox_id, session.account.id, message_ids, services.clock.now())
