"""Exchanges with citizens as they happen: what leaves is checked and noted, what comes back is threaded or explained.

- `look` is a check of departures (services/departure.py): rules of content, then a note of the message and of its exchange,
  opened, opened again, or closed by FIN. Noted before the commit, by Message-ID: a message refused after all leaves an open
  exchange at most, and one sent again is noted once.
- `arriving` rules on what comes from the citizens' domain: an answer gets, in front of its own octets, the header lines that tie
  it to the first message when it lacks them; a return (`citizen_bounces`) gets a note beside it, committed with it, in words.
- `enforce_thread` refuses here what answers nothing, and what answers an exchange that was closed; a mailbox of `open_boxes`
  takes all (F9.3: prescriptions to a pharmacy).
- A Reply-To that is ours shares the exchange: the answer goes there (F9.9).
Citizens stand in tables and journal by pseudonym. Called by `reception`, `submission` through the departure, built by its topic.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import structlog

from mssante.clock import Clock
from mssante.documents.patients import PatientsOf, patients_of
from mssante.ids import new_trace_id
from mssante.model.address import MailAddress, parse_envelope_address
from mssante.model.journal import JournalEvent, JournalKind
from mssante.model.mailbox import Mailbox
from mssante.model.mailbox_rules import EFFECTS, Inbound
from mssante.model.message import MessageFacts, NewMessage, StagedBody
from mssante.model.reply import Allow, Decision, Refuse
from mssante.observability.metrics import CITIZEN_MESSAGES
from mssante.protocol.mime.headers import Headers, parse_headers
from mssante.protocol.mime.imapview import facts as scan_facts
from mssante.protocol.reports.dsn import DsnRecipient
from mssante.services.addressbook import AddressBook
from mssante.services.citizen import (
    CitizenRules,
    End,
    Outgoing,
    content_decision,
    doubtful_address,
    identifiers,
    read_end,
    reference_of,
    reply_to_of,
)
from mssante.services.citizen_bounces import NOTE_FIELD, PATTERNS, NoteAbout, Pattern, Return, classify_status, note, read_return
from mssante.services.citizen_words import cause_title, refusal
from mssante.services.departure import FREE, Leaving, Ruling
from mssante.services.evidence import Evidence
from mssante.services.reports import ReportSource
from mssante.services.truststate import TrustState
from mssante.storage.citizen import CitizenExchange, CitizenMessage, Closing
from mssante.storage.interfaces import Acceptance, Accepted, Filing, Stores, Tx

log = structlog.get_logger("citizen")


@dataclass(slots=True)
class CitizenParts:
    """What the desk stands on. hosted: our domains, lower-case."""

    stores: Stores
    clock: Clock
    executor: Executor
    evidence: Evidence
    trust: TrustState
    addresses: AddressBook
    hosted: frozenset[str]


@dataclass(frozen=True, slots=True)
class CitizenSettings:
    """enforce_thread, open_boxes (lower-case): see the module; patterns: of returns, the administrator's first."""

    rules: CitizenRules = field(default_factory=CitizenRules)
    enforce_thread: bool = False
    open_boxes: frozenset[str] = frozenset()
    patterns: tuple[Pattern, ...] = PATTERNS


@dataclass(frozen=True, slots=True)
class Arriving:
    """A message that comes in, whole. boxes: ours that it is for; from_citizens: the certificate covers the citizens' domain."""

    sender: MailAddress | None
    boxes: tuple[Mailbox, ...]
    facts: MessageFacts
    head: bytes
    size: int
    trace_id: str
    at: datetime
    from_citizens: bool
    content: Callable[[], bytes]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is done with an arriving message. headers: lines to put in front; messages: committed with it; also: run in its
    transaction; drop: it is filed nowhere, the messages tell its sender."""

    refusal: Refuse | None = None
    headers: bytes = b""
    messages: tuple[Acceptance, ...] = ()
    also: Callable[[Any, Accepted], None] | None = None
    drop: bool = False


NOTHING = Verdict()


class CitizenDesk:
    """The one who knows the exchanges with citizens."""

    def __init__(self, parts: CitizenParts, settings: CitizenSettings) -> None:
        self._parts = parts
        self.settings = settings

    @property
    def domain(self) -> str:
        """The citizens' domain."""
        return self.settings.rules.domain

    # ------------------------------------------------------------ what leaves

    async def look(self, leaving: Leaving) -> Ruling:
        """Rule on a message that leaves: nothing to say unless a recipient is a citizen."""
        citizens = tuple([one for one in leaving.recipients if one.domain == self.domain])
        if not citizens:
            return FREE
        headers = parse_headers(leaving.head)
        reply_to, readable = reply_to_of(headers)
        outgoing = Outgoing(citizens, headers, leaving.size, reply_to, readable and await self._may_answer_to(reply_to))
        opinion = content_decision(self.settings.rules, outgoing, None)
        if not isinstance(opinion.decision, Refuse) and leaving.may_hold_documents:
            opinion = content_decision(self.settings.rules, outgoing, await self._patients(leaving))
        if isinstance(opinion.decision, Refuse):
            CITIZEN_MESSAGES.labels("refused").inc()
            return Ruling(opinion.decision)
        if opinion.doubt:
            log.warning("citizen_message_doubtful", rule=opinion.doubt, trace_id=leaving.trace_id)
        end = read_end(headers)
        await self._note_sent(leaving, citizens, reply_to, end)
        CITIZEN_MESSAGES.labels("closing" if end else "sent").inc()
        events = (JournalEvent(JournalKind.CITIZEN_CLOSED, leaving.at, leaving.trace_id, str(leaving.sender),
                               {"by": end.value, "citizens": len(citizens)}),) if end else ()
        return Ruling(events=events)

    async def _may_answer_to(self, reply_to: MailAddress | None) -> bool:
        """Tell whether citizens may be told to answer there: an open mailbox of ours, or a domain of the trust space (F9.9)."""
        if reply_to is None:
            return True
        if reply_to.domain == self.domain:
            return False
        if reply_to.domain in self._parts.hosted:
            box = await self._parts.addresses.find(reply_to.key)
            return box is not None and EFFECTS[box.state].inbound is Inbound.TAKEN
        return isinstance(self._parts.trust.may_queue_for(reply_to.domain), Allow)

    async def _patients(self, leaving: Leaving) -> PatientsOf:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._parts.executor, lambda: patients_of(leaving.content()))

    async def _note_sent(self, leaving: Leaving, citizens: Sequence[MailAddress], reply_to: MailAddress | None, end: End) -> None:
        """Note a sent message under its mailbox, and under the mailbox that answers go to when it is ours."""
        stores, parts = self._parts.stores, self._parts
        home = await parts.addresses.find(reply_to.key) if reply_to is not None and reply_to.domain in parts.hosted else None
        boxes = dict.fromkeys((leaving.box.id, home.id if home is not None else leaving.box.id))
        contact = (reply_to or leaving.sender).key
        reference = reference_of(leaving.facts.message_id, leaving.trace_id, leaving.sender.domain)
        answered = identifiers(leaving.facts.in_reply_to)
        names = [parts.evidence.address(one.key) for one in citizens]

        def unit(tx: Tx) -> None:
            for mailbox_id in boxes:
                known = stores.citizens.messages(tx, mailbox_id, answered)
                for name in names:
                    thread = next((one.thread for one in known if one.citizen == name), answered[0] if answered else reference)
                    message = CitizenMessage(mailbox_id, reference, name, thread, leaving.trace_id, leaving.at)
                    stores.citizens.record(tx, message, contact=contact, outgoing=True)
                    threads = (thread,) if end is End.HEADER else tuple([one.thread for one in known])
                    if end:
                        stores.citizens.close(tx, mailbox_id, Closing(leaving.at, end.value, threads,
                                                                      name if end is End.SUBJECT else ""))

        await stores.database.write(unit)

    # ------------------------------------------------------------ what arrives

    async def recipient(self, sender: MailAddress, box: Mailbox) -> Decision:
        """Decide at RCPT whether a citizen may write to a mailbox of ours: only when `enforce_thread` asks (spec §9)."""
        if not self.settings.enforce_thread or box.address in self.settings.open_boxes:
            return Allow()
        found = await self._exchanges(box.id, sender)
        return Allow() if found else refusal("CITOYEN-SANS-ECHANGE")

    async def arriving(self, message: Arriving) -> Verdict:
        """Rule on a message that comes in: nothing to say unless it comes from the citizens' side."""
        sender = message.sender
        machine = sender is None or (sender.domain == self.domain and bool(doubtful_address(sender.local)))
        if machine and message.from_citizens:  # a person who writes such words is no return
            returned = await self._read_return(message)
            if returned is not None:
                return await self._came_back(message, returned)
        if message.sender is None or message.sender.domain != self.domain or not message.boxes:
            return NOTHING
        return await self._answer(message, message.sender)

    async def _exchanges(self, mailbox_id: int, sender: MailAddress) -> list[CitizenExchange]:
        stores, name = self._parts.stores, self._parts.evidence.address(sender.key)
        return await stores.database.read(lambda tx: stores.citizens.exchanges(tx, mailbox_id, citizen=name, limit=50))

    async def _answer(self, message: Arriving, sender: MailAddress) -> Verdict:
        """Tie an answer to what it answers: by its own references, else to the latest exchange of the two."""
        stores, name = self._parts.stores, self._parts.evidence.address(sender.key)
        answered = identifiers(message.facts.in_reply_to)
        found: list[tuple[Mailbox, str, bool, bool]] = []  # mailbox, thread, by the answer's own references, closed
        for box in message.boxes:
            exchanges = await self._exchanges(box.id, sender)
            known = await stores.database.read(
                lambda tx, box=box: stores.citizens.messages(tx, box.id, answered))  # type: ignore[misc]
            thread = next((one.thread for one in known if one.citizen == name), "")
            own = bool(thread)
            thread = thread or (exchanges[0].thread if exchanges else "")
            closed = any(one.thread == thread and one.closed_at is not None for one in exchanges)
            found.append((box, thread, own, closed))
        if self.settings.enforce_thread and all(closed and box.address not in self.settings.open_boxes
                                                for box, _, _, closed in found):
            CITIZEN_MESSAGES.labels("refused").inc()
            return Verdict(refusal("CITOYEN-FIN"))
        CITIZEN_MESSAGES.labels("received").inc()
        reference = reference_of(message.facts.message_id, message.trace_id, self.domain)
        rows = [CitizenMessage(box.id, reference, name, thread or reference, message.trace_id, message.at)
                for box, thread, _, _ in found]

        def also(tx: Any, _: Accepted) -> None:
            for row in rows:
                stores.citizens.record(tx, row, contact="", outgoing=False)

        tied = next(((thread, own, closed) for _, thread, own, closed in found if thread), None)
        return Verdict(headers=_tie(message, tied) if tied is not None else b"", also=also)

    async def _read_return(self, message: Arriving) -> Return | None:
        loop, patterns = asyncio.get_running_loop(), self.settings.patterns
        return await loop.run_in_executor(self._parts.executor, lambda: read_return(message.content(), patterns))

    async def _came_back(self, message: Arriving, returned: Return) -> Verdict:
        """Put a note beside a return, for each mailbox that sent the message it is about."""
        stores, parts = self._parts.stores, self._parts
        notes: list[Acceptance] = []
        for box in message.boxes:
            known = await stores.database.read(
                lambda tx, box=box: stores.citizens.messages(tx, box.id, returned.references))  # type: ignore[misc]
            sent = next((one for wanted in returned.references for one in known if one.reference == wanted), None)
            if sent is None or sent.cause:
                continue
            notes.append(self._note(box, sent, returned, message.at))
        CITIZEN_MESSAGES.labels("returned").inc()
        event = parts.evidence.event(JournalKind.CITIZEN_RETURNED, self.domain,
                                     {"cause": returned.cause.value, "known": bool(notes)},
                                     message.trace_id)
        parts.evidence.write(event)
        return Verdict(messages=tuple(notes))

    def _note(self, box: Mailbox, sent: CitizenMessage, returned: Return, now: datetime) -> Acceptance:
        """Give the note as what is committed beside the return; the cause is written with it."""
        stores, trace_id = self._parts.stores, new_trace_id()
        raw = note(NoteAbout(parse_envelope_address(box.address), sent.reference, sent.thread, sent.trace_id, returned.cause,
                             sent.at),
                   now=now, trace_id=trace_id, most_bytes=self.settings.rules.max_bytes)
        body = StagedBody(len(raw), hashlib.sha256(raw).hexdigest(), inline=raw)
        event = JournalEvent(JournalKind.CITIZEN_RETURNED, now, sent.trace_id, box.address,
                             {"cause": returned.cause.value, "means": cause_title(returned.cause)})

        def also(tx: Any, _: Accepted) -> None:
            stores.citizens.came_back(tx, box.id, sent.reference, returned.cause.value)

        return Acceptance(NewMessage(body, b"Return-Path: <>\r\n", scan_facts(raw), trace_id, now), (Filing(box.inbox_id),), None,
                          (event,), also)

    def beside(self, source: ReportSource, recipients: Sequence[DsnRecipient], now: datetime, home: Mailbox) -> tuple[Acceptance,
                                                                                                                      ...]:
        """Give the note that stands beside our own failure report, when the citizens' service refused at once, by SMTP."""
        failed = [one for one in recipients if one.address.domain == self.domain]
        headers = parse_headers(source.original)
        ids = identifiers((headers.get(b"message-id") or b"").decode("ascii", "replace"))
        if not failed or not ids:
            return ()
        cause = classify_status(failed[0].status, failed[0].diagnostic, self.settings.patterns)
        answered = identifiers((headers.get(b"references") or headers.get(b"in-reply-to") or b"").decode("ascii", "replace"))
        sent = CitizenMessage(home.id, ids[0], "", answered[0] if answered else ids[0], source.trace_id, source.arrival)
        CITIZEN_MESSAGES.labels("returned").inc()
        return (self._note(home, sent, Return(cause, ids), now),)

    # ------------------------------------------------------------ life

    async def forget(self, before: datetime) -> int:
        """Forget exchanges without message since an instant; give how many."""
        stores = self._parts.stores
        return await stores.database.write(lambda tx: stores.citizens.forget(tx, before))


def _tie(message: Arriving, tied: tuple[str, bool, bool]) -> bytes:
    """Give the lines that tie an answer to its exchange; the author's own octets stay behind them (RFC 5322 §3.6.4)."""
    thread, own, closed = tied
    headers: Headers = parse_headers(message.head)
    line = f"{NOTE_FIELD}: v=1; fil={thread};\r\n lien={'message' if own else 'table'}; etat={'clos' if closed else 'ouvert'}\r\n"
    if headers.get(b"in-reply-to") is None and headers.get(b"references") is None:
        line += f"In-Reply-To: {thread}\r\nReferences: {thread}\r\n"
    return line.encode("ascii", "replace") if thread.isascii() and len(thread) < 900 else b""
