"""Follows the journal for the documents that programs handed in: states of their recipients, receipts, events for webhooks.

- One cursor over the journal (`consumer_cursor`, name `handover`), moved in the transaction that writes what was read: kill -9
  loses nothing and doubles nothing.
- A report that arrives (DSN, RFC 3464; MDN, RFC 8098) about a document handed in becomes an event `receipt` under the trace of
  that document; it is believed for a recipient of that document only, and a notification only when its author's domain is the
  recipient's. What it says in free text is not kept but for the code and the words of the transport.
- States only go forward: queued, relayed, delivered, read, failed.
Called by its topic; reads only, besides its own tables and `receipt` events.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import timedelta

import structlog

from mssante.clock import Clock
from mssante.lang import say
from mssante.model.journal import JournalEvent, JournalKind
from mssante.model.message import StoredMessage
from mssante.protocol.mime.addresses import parse_addresses
from mssante.protocol.mime.headers import read_headers
from mssante.protocol.reports.dsn import DsnFacts, parse_dsn
from mssante.protocol.reports.mdn import MdnFacts, parse_mdn
from mssante.services.addressbook import AddressBook
from mssante.services.evidence import Evidence
from mssante.services.handevents import RANKS, DocumentEvent, Known, events_of, local_recipients, state_of
from mssante.services.journal_consumer import Ending, Following, JournalConsumer, Wanted, traces_of
from mssante.storage.handover import HandedRecipient, HandedRecord
from mssante.storage.interfaces import JournalRow, Stores, Tx
from mssante.storage.webhooks import WebhookEvent

log = structlog.get_logger("handover")
CONSUMER = "handover"
BATCH = 500
IDLE_SECONDS = 1.0
MAX_HEAD = 64 * 1024
MAX_REPORT = 2 * 1024 * 1024
FORGET_SECONDS = 3600.0
_ARRIVALS = frozenset({JournalKind.RECEIVED.value, JournalKind.SUBMITTED.value, JournalKind.REPORT_SENT.value})
ERRORS = {"900": "version", "901": "auteur", "902": "patient inconnu", "903": "INS absente", "904": "INS différente",
          "905": "INS incomplète", "906": "autre"}  # spec §7.4: our words, theirs may quote an identity


@dataclass(frozen=True, slots=True)
class FollowSettings:
    """key_days: how long requests are remembered; webhook_days: how long told events are kept."""

    key_days: int
    webhook_days: int


@dataclass(slots=True)
class FollowParts:
    """What a follower stands on."""

    stores: Stores
    clock: Clock
    executor: Executor
    addresses: AddressBook
    evidence: Evidence
    settings: FollowSettings
    hosted: frozenset[str]  # our domains


@dataclass(frozen=True, slots=True)
class _Said:
    """What a report says of one recipient."""

    trace_id: str
    recipient: str
    state: str
    words: str
    report: str


@dataclass(frozen=True, slots=True)
class _Report:
    """A report as read. domain: of its author."""

    dsn: DsnFacts | None
    mdn: MdnFacts | None
    domain: str


class HandFollower(JournalConsumer[list[HandedRecord]]):
    """The consumer."""

    def __init__(self, parts: FollowParts) -> None:
        super().__init__(Following(parts.stores, parts.clock, CONSUMER, BATCH, IDLE_SECONDS, FORGET_SECONDS))
        self._parts = parts
        self._told = False  # the batch under way has events
        self.woken = asyncio.Event()  # set when webhooks have something to tell

    def wants(self, tx: Tx) -> Wanted | None:
        """All while somebody is told of every arrival; reports and what became of documents while there are any; else none."""
        stores = self._parts.stores
        if any(hook.active for hook in stores.webhooks.all(tx)):
            return Wanted()
        return Wanted(plain=False) if stores.handover.holds_any(tx) else None

    def gather(self, tx: Tx, rows: Sequence[JournalRow]) -> list[HandedRecord]:
        """Give the documents that a batch is about."""
        return self._parts.stores.handover.by_trace(tx, [row.trace_id for row in rows if row.trace_id])

    async def look(self, rows: Sequence[JournalRow], gathered: list[HandedRecord]) -> Ending:
        """Read reports, make events; what they change is written with the move. Raises MssFault."""
        known = await self._known(rows, gathered)
        said = await self._said(rows)
        events = [event for row in rows for event in events_of(row, known)]
        self._told = bool(events)
        return lambda tx: self._write(tx, rows, (known, said, events))

    async def moved(self) -> None:
        """Wake those who tell."""
        if self._told:
            self.woken.set()

    async def _known(self, rows: Sequence[JournalRow], records: Sequence[HandedRecord]) -> Known:
        parts = self._parts
        boxes: dict[str, tuple[int, str]] = {}
        for address in local_recipients(rows):
            if address.rpartition("@")[2] not in parts.hosted:
                continue
            box = await parts.addresses.find(address)
            if box is not None:
                boxes[address] = (box.id, box.address)
        ids = {record.mailbox_id for record in records}
        found = await parts.stores.database.read(lambda tx: parts.stores.accounts.mailboxes_by_id(tx, sorted(ids)))
        return Known({record.trace_id: record for record in records}, boxes,
                     {box.id: box.address for box in found} | dict(boxes.values()))

    # --------------------------------------------------------------------------------------------- reports

    async def _said(self, rows: Sequence[JournalRow]) -> list[_Said]:
        """Read the reports among what arrived."""
        stores = self._parts.stores
        traces = traces_of(rows, _ARRIVALS)
        if not traces:
            return []
        reports = await stores.database.read(
            lambda tx: stores.messages.contents(tx, stores.handover.reports(tx, traces), with_body=True))
        found: list[_Said] = []
        loop = asyncio.get_running_loop()
        for message in reports:
            if message.body_size <= MAX_REPORT:
                found += await self._believed(await loop.run_in_executor(self._parts.executor, self._report, message), message)
        return found

    def _report(self, message: StoredMessage) -> _Report:
        raw = message.inline if message.inline is not None else self._parts.stores.blobs.read(message.blob or "")
        authors = parse_addresses(read_headers(raw[:MAX_HEAD]).get(b"from") or b"")
        domain = (authors[0].domain or b"").decode("ascii", "replace").lower() if len(authors) == 1 else ""
        return _Report(parse_dsn(raw), parse_mdn(raw), domain)

    async def _believed(self, facts: _Report, message: StoredMessage) -> list[_Said]:
        """Keep what concerns a document handed in and a recipient of it."""
        dsn, mdn = facts.dsn, facts.mdn
        reference = mdn.original_message_id if mdn is not None else dsn.original_message_id if dsn is not None else ""
        trace = reference.strip("<>").partition("@")[0] or (dsn.envelope_id if dsn is not None else "")
        stores = self._parts.stores

        def unit(tx: Tx) -> tuple[list[HandedRecord], list[HandedRecipient]]:
            records = stores.handover.by_trace(tx, [trace[:64]])
            return records, stores.handover.recipients(tx, [one.id for one in records])

        records, recipients = await stores.database.read(unit)
        if not records or (reference and reference != records[0].reference):
            return []
        known = {one.address.lower(): one.address for one in recipients}
        said = self._dsn(dsn) if dsn is not None else self._mdn(mdn, facts.domain) if mdn is not None else []
        return [_Said(records[0].trace_id, known[address.lower()], state, words, message.trace_id)
                for address, state, words in said if address.lower() in known]

    def _dsn(self, facts: DsnFacts) -> list[tuple[str, str, str]]:
        """Give (public address, state, words) of each recipient of a DSN (RFC 3464 §2.3.3)."""
        states = {"delivered": "delivered", "failed": "failed", "relayed": "relayed", "expanded": "delivered"}
        evidence = self._parts.evidence
        out = []
        for one in facts.recipients[:100]:
            state = states.get(one.action.lower(), "")
            for address in dict.fromkeys((one.original_recipient, one.final_recipient)):
                if state and address:
                    words = f"{one.status} {one.diagnostic}".strip() if state == "failed" else ""
                    out.append((evidence.address(address), state, evidence.text(words, [address])[:500]))
        return out

    def _mdn(self, facts: MdnFacts, domain: str) -> list[tuple[str, str, str]]:
        """Give what a notification says (RFC 8098 §3.2.6; error codes of spec §7.4)."""
        out = []
        for address in dict.fromkeys((facts.original_recipient, facts.final_recipient)):
            if not address or address.rpartition("@")[2].lower() != domain:
                continue
            public = self._parts.evidence.address(address)
            if facts.error:
                code = facts.error_code if facts.error_code in ERRORS else ""
                words = say(f"erreur d'intégration {code} {ERRORS.get(code, '')}".strip(), f"integration error {code}".strip())
                out.append((public, "failed", words))
            elif facts.disposition in ("displayed", "processed"):
                out.append((public, "read", facts.disposition))
        return out

    # --------------------------------------------------------------------------------------------- writing

    def _write(self, tx: Tx, rows: Sequence[JournalRow], found: tuple[Known, Sequence[_Said], Sequence[DocumentEvent]]) -> None:
        stores, now = self._parts.stores, self._parts.clock.now()
        known, said, events = found
        stores.handover.set_states(tx, self._states(tx, rows, known))
        stores.journal.append(tx, [JournalEvent(JournalKind.RECEIPT, now, one.trace_id, one.recipient, {
            "to": one.recipient, "state": one.state, "reply": one.words, "report": one.report}) for one in said])
        hooks = [one for one in stores.webhooks.all(tx) if one.active]
        stores.webhooks.add_events(tx, [
            WebhookEvent(hook.id, event.id, event.kind, event.text(), event.at, now)
            for event in events for hook in hooks if hook.mailbox_id == event.mailbox_id
            and (not hook.kinds or event.kind in hook.kinds)])

    def _states(self, tx: Tx, rows: Sequence[JournalRow], known: Known) -> list[HandedRecipient]:
        """Fold the rows into states that go forward."""
        ids = {record.id for record in known.records.values()}
        states = {(one.handed_id, one.address): one for one in self._parts.stores.handover.recipients(tx, sorted(ids))}
        changed: dict[tuple[str, str], HandedRecipient] = {}
        for row in rows:
            record, state = known.records.get(row.trace_id), state_of(row)
            if record is None or not state:
                continue
            name = (record.id, row.subject)
            before = states.get(name)
            state = "queued" if state == "deferred" else state
            if before is None or RANKS[state] < RANKS[before.state] or (before.state == "failed" and state == "failed"):
                continue
            words = str(row.payload.get("reply", ""))
            states[name] = changed[name] = HandedRecipient(record.id, row.subject, state, row.at, words)
        return list(changed.values())

    async def forget(self) -> None:
        """Remove requests and told events that are too old. Raises MssFault."""
        stores, now, settings = self._parts.stores, self._parts.clock.now(), self._parts.settings

        def unit(tx: Tx) -> int:
            stores.webhooks.forget(tx, now - timedelta(days=settings.webhook_days))
            return stores.handover.forget(tx, now - timedelta(days=settings.key_days))

        await stores.database.write(unit)
