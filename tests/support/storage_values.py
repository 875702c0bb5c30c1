"""Values for storage tests: messages, acceptances, queue entries, without any patient data."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from hashlib import sha256

from mssante.model.journal import JournalEvent, JournalKind
from mssante.model.mailbox import Mailbox, MailboxType
from mssante.model.message import MessageFacts, NewMessage, StagedBody
from mssante.storage.interfaces import Acceptance, Filing, NewMailbox, QueueEntry, QueueRecipient, Stores

NOW = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)


def new_message(name: str = "one", *, body: bytes = b"Bonjour\r\n", blob: str | None = None, **facts: str) -> NewMessage:
    """Give a message whose trace id is `name`."""
    texts = {"message_id": f"<{name}@a.mssante.fr>", "in_reply_to": "", "from_address": "x@a.mssante.fr",
             "subject": "Essai", **facts}
    staged = StagedBody(len(body), sha256(body).hexdigest(), None if blob else body, blob)
    return NewMessage(staged, b"Received: by test\r\n", MessageFacts(
        **texts, date=NOW, header_size=2, envelope=b"(envelope)", bodystructure=b"(structure)"), name, NOW)


def event(trace_id: str = "one", kind: JournalKind = JournalKind.RECEIVED, **payload: str | int) -> JournalEvent:
    """Give a journal event."""
    return JournalEvent(kind, NOW, trace_id, "x@a.mssante.fr", dict(payload))


def filed(folder_id: int, name: str = "one", flags: int = 0, keywords: str = "", **facts: str) -> Acceptance:
    """Give an acceptance into one folder with one event."""
    return Acceptance(new_message(name, **facts), (Filing(folder_id, flags, keywords),), None, (event(name),))


def queued(*addresses: str, name: str = "out", lease: str = "", sender: str = "x@a.mssante.fr") -> Acceptance:
    """Give an acceptance into the queue."""
    recipients = tuple(QueueRecipient(address, address.partition("@")[2], "FAILURE", f"rfc822;{address}")
                       for address in addresses)
    entry = QueueEntry(sender, recipients, NOW + timedelta(days=2), NOW, "HDRS", "env", False, lease,
                       NOW + timedelta(minutes=10) if lease else None)
    return Acceptance(new_message(name), (), entry, ())


async def make_mailboxes(stores: Stores, count: int = 1) -> list[Mailbox]:
    """Create mailboxes box0@a.mssante.fr…"""
    wanted = [NewMailbox(f"box{number}@a.mssante.fr", MailboxType.PER, NOW) for number in range(count)]
    return await stores.database.write(lambda tx: stores.accounts.create_mailboxes(tx, wanted))


async def accept(stores: Stores, *items: Acceptance) -> list[int]:
    """Accept all in one unit; give message ids."""
    done = await stores.database.write(lambda tx: stores.messages.accept(tx, items))
    return [one.message_id for one in done]
