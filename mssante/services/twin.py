"""Makes the readable twin of what arrived, and files it beside the original, which is only read (docs/twin.md).

- One cursor over the journal (`consumer_cursor`, name `twin`): every arrival in a mailbox is looked at once. The companion and
  the record that it was made are written in one transaction, then the cursor moves: kill -9 loses no twin and doubles none.
- The documents are read in the workshop (services/workshop.py): a hostile one costs a worker its life and its message its twin,
  nothing else. A fault that passes (the workshop is full) is tried again; the others are recorded with their rule, once.
- A twin is never made of a twin, of a report, of what stands in Sent, Drafts, Junk or Trash; nothing that is encrypted is opened.
- `companion`: in the folder of the original; `folder`: in a folder of its own. A mailbox without room gets none.
Called by its topic. No content, name or subject in a log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

import structlog

from mssante.clock import Clock
from mssante.documents.mailtwins import MailTwins, twins_of
from mssante.errors import MssFault, OperatorFault
from mssante.ids import new_trace_id
from mssante.model.address import MailAddress, parse_envelope_address
from mssante.model.journal import JournalEvent, JournalKind
from mssante.model.mailbox import Mailbox
from mssante.model.message import NewMessage, StoredMessage
from mssante.observability.metrics import TWINS
from mssante.protocol.mime.headers import Headers, decode_words, message_id, parse_headers, reference_ids
from mssante.protocol.mime.imapview import facts
from mssante.services.addressbook import AddressBook
from mssante.services.journal_consumer import Following, JournalConsumer, Wanted, traces_of
from mssante.services.mailroom import Mailroom
from mssante.services.staging import stage_body
from mssante.services.twin_letter import MARK, Original, companion
from mssante.services.workshop import Workshop
from mssante.storage.interfaces import Acceptance, Accepted, Filing, JournalRow, Stores, Tx
from mssante.storage.twins import FAILED, MADE, Arrived, TwinRecord

log = structlog.get_logger("twin")
CONSUMER = "twin"
BATCH = 200
MAX_HEAD = 1024 * 1024
KEPT = timedelta(days=400)
FORGET_SECONDS = 6 * 3600.0
_ARRIVALS = frozenset({JournalKind.RECEIVED.value, JournalKind.SUBMITTED.value})
_PASSING = frozenset({"DOC-FILE"})  # the workshop is full: later


@dataclass(frozen=True, slots=True)
class TwinSettings:
    """mode: where twins are filed; folder: name of their folder; sender: of companions, ours; largest: octets of a message that
    is read."""

    mode: Literal["companion", "folder"]
    folder: str
    sender: MailAddress
    inline_limit: int
    seconds: float = 30.0
    poll_seconds: float = 1.0
    largest: int = 100 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class TwinParts:
    """What the maker stands on."""

    stores: Stores
    clock: Clock
    executor: Executor
    workshop: Workshop
    mailroom: Mailroom
    addresses: AddressBook
    settings: TwinSettings


class TwinMaker(JournalConsumer[list[Arrived]]):
    """The consumer."""

    def __init__(self, parts: TwinParts) -> None:
        super().__init__(Following(parts.stores, parts.clock, CONSUMER, BATCH, parts.settings.poll_seconds, FORGET_SECONDS))
        self._parts = parts

    def wants(self, tx: Tx) -> Wanted:
        """Arrivals that may hold a document."""
        return Wanted(_ARRIVALS, plain=False)

    def gather(self, tx: Tx, rows: Sequence[JournalRow]) -> list[Arrived]:
        """Give what arrived."""
        return self._parts.stores.twins.arrived(tx, traces_of(rows, _ARRIVALS))

    async def look(self, rows: Sequence[JournalRow], gathered: list[Arrived]) -> None:
        """Make the twins of a batch. Raises MssFault for what passes."""
        for one in gathered:
            await self.make(one)

    async def make(self, arrived: Arrived) -> bool:
        """Make the twin of one message unless it was dealt with; tell whether one was filed. Raises MssFault for what passes."""
        stores = self._parts.stores

        def read(tx: Tx) -> tuple[bool, list[StoredMessage], list[Mailbox]]:
            known = bool(stores.twins.known(tx, arrived.mailbox_id, [arrived.message_id]))
            return (known, [] if known else stores.messages.contents(tx, [arrived.message_id], with_body=True),
                    stores.accounts.mailboxes_by_id(tx, [arrived.mailbox_id]))

        known, found, boxes = await stores.database.read(read)
        if known or not found or not boxes or found[0].body_size > self._parts.settings.largest:
            return False
        body = await self._octets(found[0])
        headers = parse_headers(body[:min(found[0].header_size, MAX_HEAD)])
        if headers.get(MARK.lower().encode()) is not None or headers.get(b"auto-submitted") not in (None, b"no"):
            return False
        try:
            twins: MailTwins = await self._parts.workshop.run(twins_of, body, seconds=self._parts.settings.seconds)
        except MssFault as fault:
            if fault.rule in _PASSING:
                raise
            await self._failed(arrived, fault.rule)
            return False
        if not twins.twins:
            if twins.unreadable:
                await self._failed(arrived, "XDM-ILLISIBLE")
            return False
        return await self._file(arrived, boxes[0], _original(headers, found[0].trace_id), twins)

    async def _octets(self, message: StoredMessage) -> bytes:
        if message.blob is None:
            return message.inline or b""
        key, blobs = message.blob, self._parts.stores.blobs
        return await asyncio.get_running_loop().run_in_executor(self._parts.executor, lambda: blobs.read(key))

    async def _file(self, arrived: Arrived, box: Mailbox, original: Original, twins: MailTwins) -> bool:
        parts, now, trace_id = self._parts, self._parts.clock.now(), new_trace_id()
        loop = asyncio.get_running_loop()

        def compose() -> NewMessage:
            raw = companion(original, twins, sender=parts.settings.sender, box=parse_envelope_address(box.address),
                            trace_id=trace_id, now=now)
            body = stage_body(parts.stores.blobs, raw, parts.settings.inline_limit)
            return NewMessage(body, b"Return-Path: <>\r\n", facts(raw), trace_id, now)

        message = await loop.run_in_executor(parts.executor, compose)
        if not parts.addresses.has_room(box, message.body.size):
            await self._failed(arrived, "BOITE-PLEINE")
            return False
        folder_id = arrived.folder_id
        if parts.settings.mode == "folder":
            folder_id = await parts.stores.database.write(lambda tx: self._folder_tx(tx, box.id))
        event = JournalEvent(JournalKind.TWIN_FILED, now, trace_id, box.address,
                             {"about": original.trace_id, "documents": len(twins.twins), "unreadable": twins.unreadable})

        def also(tx: Any, accepted: Accepted) -> None:
            if parts.stores.twins.known(tx, arrived.mailbox_id, [arrived.message_id]):
                raise OperatorFault("made by another process", rule="TWIN-DEJA")
            parts.stores.twins.record(tx, TwinRecord(arrived.mailbox_id, arrived.message_id, accepted.message_id, MADE, "", now))

        await parts.mailroom.accept((Acceptance(message, (Filing(folder_id),), None, (event,), also),))
        parts.addresses.filed(box.id, len(message.prefix) + message.body.size)
        TWINS.labels("made").inc()
        return True

    def _folder_tx(self, tx: Tx, mailbox_id: int) -> int:
        folders, name = self._parts.stores.folders, self._parts.settings.folder
        found = next((one for one in folders.of_mailbox(tx, mailbox_id) if one.name == name), None)
        return (found or folders.create(tx, mailbox_id, name)).id

    async def _failed(self, arrived: Arrived, rule: str) -> None:
        now, stores = self._parts.clock.now(), self._parts.stores
        log.warning("twin_not_made", rule=rule, message_id=arrived.message_id)
        TWINS.labels("failed").inc()

        def unit(tx: Tx) -> None:
            if not stores.twins.known(tx, arrived.mailbox_id, [arrived.message_id]):
                stores.twins.record(tx, TwinRecord(arrived.mailbox_id, arrived.message_id, 0, FAILED, rule, now))

        await stores.database.write(unit)

    async def forget(self) -> None:
        """Remove records that are too old. Raises MssFault."""
        before, stores = self._parts.clock.now() - KEPT, self._parts.stores
        while await stores.database.write(lambda tx: stores.twins.forget(tx, before)) >= 1000:
            pass


def _original(headers: Headers, trace_id: str) -> Original:
    """Give what ties a companion to a message, from its header."""
    return Original(message_id(headers.get(b"message-id")),
                    reference_ids(headers.get(b"references"), headers.get(b"in-reply-to")),
                    decode_words(headers.get(b"subject") or b"", 400), trace_id)
