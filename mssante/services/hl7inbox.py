"""What arrives for the applications of the hospital: documents become MDM, reports become ZAM, the rest is for people.

- One cursor over the journal (`consumer_cursor`, name `hl7`): every arrival in a mailbox of an application is looked at once,
  wherever it was filed (the copies in Sent and Drafts excepted). What it gives is written under references that exist once, then
  the cursor moves: kill -9 loses nothing and doubles nothing. At the first start the cursor begins at the end of the journal.
- A mail with an archive that passes the checks of spec §8.6 gives one MDM for each CDA (volet LPS 1.1: one document a message).
- What a program must not use (archive with an error, no archive, a document that is no CDA) gives an entry of the repair list,
  with its rule: the mail itself stays in the mailbox for people. `retried` entries are tried again, their refused rows replaced.
- Reading runs on the executor; a message is in memory alone. Nothing of a content in a log or a detail.
Called by topics.hl7.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from datetime import timedelta

import structlog

from mssante.clock import Clock
from mssante.errors import InputFault, MssFault
from mssante.lang import say
from mssante.model.journal import JournalEvent, JournalKind
from mssante.model.mailbox import Mailbox
from mssante.model.message import StoredMessage
from mssante.observability.metrics import HOSPITAL_REPAIRS
from mssante.protocol.hl7v2.writer import Sending, mdm
from mssante.services.hl7deliveries import deliveries
from mssante.services.hl7fold import Report, read_report, receipts
from mssante.services.hl7gateway import receipt_item
from mssante.services.hl7mail import Mail, read_mail
from mssante.services.hl7replies import Replies
from mssante.services.hl7values import SOURCE, Application, control_id
from mssante.services.journal_consumer import Following, JournalConsumer, Wanted, traces_of
from mssante.storage.handover import HandedRecord
from mssante.storage.interfaces import JournalRow, Stores, Tx
from mssante.storage.interfacing import CLOSED, OPEN, RETRIED, TOLD, OutboxItem, RepairItem

log = structlog.get_logger("hl7")
CONSUMER = "hl7"
BATCH = 200
FORGET_SECONDS = 3600.0
GONE = "BLOB-MISSING"
_ARRIVALS = frozenset({JournalKind.RECEIVED.value, JournalKind.SUBMITTED.value, JournalKind.REPORT_SENT.value})


@dataclass(frozen=True, slots=True)
class InboxSettings:
    """failures_always: tell failures that were not asked for; keep: how long settled rows are remembered."""

    failures_always: bool
    poll_seconds: float
    keep: timedelta


@dataclass(frozen=True, slots=True)
class InboxParts:
    """What the consumer stands on. public: gives an address as the journal holds it; ring: wakes an application's outbox."""

    stores: Stores
    clock: Clock
    executor: Executor
    applications: tuple[Application, ...]
    public: Callable[[str], str]
    ring: Callable[[str], None]
    settings: InboxSettings
    replies: Replies | None = None


@dataclass(frozen=True, slots=True)
class _Found:
    """What a message gives, to be written in one transaction."""

    items: tuple[OutboxItem, ...] = ()
    repair: RepairItem | None = None


class Inbox(JournalConsumer[list[tuple[Mailbox, int]]]):
    """The consumer."""

    def __init__(self, parts: InboxParts) -> None:
        super().__init__(Following(parts.stores, parts.clock, CONSUMER, BATCH, parts.settings.poll_seconds, FORGET_SECONDS))
        self._parts = parts
        self._by_name = {one.name: one for one in parts.applications if one.gives}

    async def open(self) -> None:
        """Begin at the end of the journal when it was never followed, or when nobody is given anything. Raises MssFault."""
        await super().open()
        if not self._by_name:
            await self.pass_over()

    async def step(self) -> int:
        """Read one batch; nothing is read while no application is given anything. Raises MssFault."""
        return await super().step() if self._by_name else 0

    def wants(self, tx: Tx) -> Wanted:
        """Every arrival: messages of applications have many shapes."""
        return Wanted(_ARRIVALS)

    def gather(self, tx: Tx, rows: Sequence[JournalRow]) -> list[tuple[Mailbox, int]]:
        """Give what arrived in the mailboxes of applications."""
        boxes = self._boxes_tx(tx)
        traces = traces_of(rows, _ARRIVALS)
        arrived = self._parts.stores.interfacing.arrived(tx, sorted(boxes), traces) if boxes else []
        return [(boxes[mailbox_id], message_id) for mailbox_id, message_id in arrived]

    async def look(self, rows: Sequence[JournalRow], gathered: list[tuple[Mailbox, int]]) -> None:
        """Write what a batch gives, oldest message first. Raises MssFault."""
        for box, message_id in gathered:
            await self._look(box, message_id)

    async def between(self) -> None:
        """Do what people asked for in the repair list. Raises MssFault."""
        await self.retry()
        await self.tell()

    async def retry(self) -> None:
        """Try again what a person asked to. Raises MssFault."""
        stores = self._parts.stores
        boxes = await self._boxes()
        for item in await stores.database.read(lambda tx: stores.interfacing.repairs(tx, RETRIED)):
            box, application = boxes.get(item.mailbox_id), self._by_name.get(item.interface)
            if box is None or application is None or not application.deliver:
                await self._again(item, "HL7-APPLICATION")
                continue
            await self._drop(item)
            found = await self._message(item.message_id)
            if found is None:
                await self._again(item, "MESSAGE-ABSENT")
                continue
            try:
                made = await self._converted(application, box, found)
            except MssFault as fault:
                if fault.rule != GONE:
                    raise
                await self._again(item, GONE)
                continue
            await self._write(application, found, made, item)

    async def forget(self) -> None:
        """Remove settled rows that are too old. Raises MssFault."""
        stores, before = self._parts.stores, self._parts.clock.now() - self._parts.settings.keep
        await stores.database.write(lambda tx: stores.interfacing.forget(tx, before))

    async def _drop(self, item: RepairItem) -> None:
        stores = self._parts.stores
        await stores.database.write(lambda tx: stores.interfacing.drop_refused(tx, item.interface, item.message_id))

    async def tell(self) -> None:
        """Tell senders what a person decided to tell them. Raises MssFault."""
        stores, replies = self._parts.stores, self._parts.replies
        for item in await stores.database.read(lambda tx: stores.interfacing.repairs(tx, TOLD)):
            reply = None
            if replies is not None:
                reply = await replies.write(item.mailbox_id, item.message_id, item.code, item.trace_id)
            closed = replace(item, state=CLOSED, updated_at=self._parts.clock.now(),
                             detail=item.detail if reply is not None else f"{item.detail} ; expediteur non avise")

            def unit(tx: Tx, one: RepairItem = closed) -> None:
                stores.interfacing.set_repair(tx, one)

            if reply is not None and replies is not None:
                await replies.send(reply, unit)
            else:
                await stores.database.write(unit)

    async def _again(self, item: RepairItem, rule: str) -> None:
        changed = replace(item, state=OPEN, code=rule, updated_at=self._parts.clock.now())
        await self._parts.stores.database.write(lambda tx: self._parts.stores.interfacing.set_repair(tx, changed))

    async def _boxes(self) -> dict[int, Mailbox]:
        """Give the mailboxes of the applications, by id."""
        return await self._parts.stores.database.read(self._boxes_tx)

    def _boxes_tx(self, tx: Tx) -> dict[int, Mailbox]:
        addresses = sorted({one.mailbox.lower() for one in self._by_name.values()})
        found = self._parts.stores.accounts.mailboxes_by_address(tx, addresses) if addresses else []
        return {one.id: one for one in found}

    async def _message(self, message_id: int) -> StoredMessage | None:
        stores = self._parts.stores
        found = await stores.database.read(lambda tx: stores.messages.contents(tx, [message_id], with_body=True))
        return found[0] if found else None

    def _mail(self, stored: StoredMessage) -> tuple[Mail, Report | None]:
        body = stored.inline if stored.inline is not None else self._parts.stores.blobs.read(stored.blob or "")
        mail = read_mail(stored.prefix, body)
        return mail, read_report(mail)

    async def _look(self, box: Mailbox, message_id: int) -> None:
        """Look at one arrival and write what it gives."""
        stored = await self._message(message_id)
        if stored is None:
            return
        application = next((one for one in self._by_name.values()
                            if one.deliver and one.mailbox.lower() == box.address.lower()), None)
        try:
            mail, report = await asyncio.get_running_loop().run_in_executor(self._parts.executor, self._mail, stored)
            if report is not None:
                await self._report(report, stored)
                return
            if application is None or (mail.automatic and not mail.archives):
                return
            if mail.error_code:  # an error return that names no message of ours: its documents are no new ones
                raise InputFault(say("retour d'erreur sur un message inconnu", "error return about an unknown message"),
                                 rule="HL7-RETOUR", remedy=say("le lire dans la boîte", "read it in the mailbox"))
            found = await self._converted(application, box, stored)
        except InputFault as fault:
            found = _Found(repair=self._repair(application, box, stored, fault)) if application is not None else _Found()
        except MssFault as fault:
            if fault.rule != GONE:
                raise  # storage: the same place is tried again
            found = _Found(repair=self._repair(application, box, stored, fault)) if application is not None else _Found()
        except Exception as fault:  # one message that we cannot treat must not stop the others
            log.error("hl7_message_failed", kind=type(fault).__name__, trace_id=stored.trace_id)
            found = _Found(repair=self._repair(application, box, stored, InputFault(
                say("message que la passerelle ne sait pas traiter", "message that the gateway cannot treat"),
                rule="HL7-FAUTE"))) if application is not None else _Found()
        if application is not None:
            await self._write(application, stored, found, None)

    # ------------------------------------------------------------------------------------------------ reports

    async def _report(self, report: Report, stored: StoredMessage) -> None:
        stores = self._parts.stores

        def unit(tx: Tx) -> tuple[list[HandedRecord], list[str]]:
            records = stores.handover.by_trace(tx, report.traces)
            return records, [one.address for one in stores.handover.recipients(tx, [one.id for one in records])]

        records, known = await stores.database.read(unit)
        for record in records:
            application = self._by_name.get(record.source.removeprefix(SOURCE)) if record.source.startswith(SOURCE) else None
            if application is None:
                continue
            found = receipts(report, record, known, self._parts.public, failures_always=self._parts.settings.failures_always)
            items = tuple([receipt_item(application, receipt, reference, record.trace_id, self._parts.clock)
                           for receipt, reference in found])
            await self._write(application, stored, _Found(items), None)

    # ---------------------------------------------------------------------------------------------- documents

    async def _converted(self, application: Application, box: Mailbox, stored: StoredMessage) -> _Found:
        """Turn a mail into MDM, or say why not."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._parts.executor, self._convert, application, box, stored)
        except InputFault as fault:
            return _Found(repair=self._repair(application, box, stored, fault))

    def _convert(self, application: Application, box: Mailbox, stored: StoredMessage) -> _Found:
        mail, _ = self._mail(stored)
        now = self._parts.clock.now()
        items = []
        for rank, delivery in enumerate(deliveries(mail, box), 1):
            control = control_id()
            body = mdm(delivery, Sending(application.correspondents, control, now))
            items.append(OutboxItem(application.name, "mdm", control, f"mdm {stored.id}/{rank}", body, box.id, stored.id,
                                    stored.trace_id, now, now))
        return _Found(tuple(items))

    def _repair(self, application: Application, box: Mailbox, stored: StoredMessage, fault: MssFault) -> RepairItem:
        now = self._parts.clock.now()
        return RepairItem(application.name, box.id, stored.id, stored.trace_id, fault.rule or "HL7-DOCUMENT", fault.public, OPEN,
                          now, now)

    async def _write(self, application: Application, stored: StoredMessage, found: _Found, repaired: RepairItem | None) -> None:
        """Write rows of the outbox, or an entry of the repair list; close the entry that asked for a retry."""
        stores, now = self._parts.stores, self._parts.clock.now()

        def unit(tx: Tx) -> int:
            put = sum(stores.interfacing.put(tx, one) for one in found.items)
            if found.repair is not None and not self._stands(tx, found.repair, repaired):
                stores.interfacing.add_repair(tx, found.repair if repaired is None else replace(
                    found.repair, by=repaired.by, note=repaired.note))
                stores.journal.append(tx, [JournalEvent(JournalKind.INTERFACE_REPAIR, now, stored.trace_id, application.name, {
                    "state": OPEN, "code": found.repair.code})])
            if repaired is not None and found.repair is None:
                stores.interfacing.set_repair(tx, replace(repaired, state=CLOSED, updated_at=now))
            return put

        put = await stores.database.write(unit)
        if found.repair is not None:
            HOSPITAL_REPAIRS.labels(application.name).inc()
            log.warning("hl7_repair", application=application.name, rule=found.repair.code, trace_id=stored.trace_id)
        if put:
            self._parts.ring(application.name)

    def _stands(self, tx: Tx, item: RepairItem, repaired: RepairItem | None) -> bool:
        """True when the entry is there already: the batch is read again after a crash."""
        return repaired is None and self._parts.stores.interfacing.stands(tx, item.interface, item.message_id)
