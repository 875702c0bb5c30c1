"""Mail from other operators: who may send, to whom, and the commit (ARCHITECTURE §4a, spec §2.2).

- No identity bound to a listed domain, no mail; a recipient that is not ours is refused at RCPT, never bounced later.
- The From header's domain must be one that the peer's certificate covers (spec §2.2 step 7): a member of the trust space
  cannot write in the name of another.
- A mailbox over its quota is refused at RCPT, by the size that MAIL declares, and at DATA when it is so for all recipients: a
  message taken for one of them is filed for all, so nothing accepted is lost.
- `250` is given after the commit, by `Mailroom.accept`; the reply carries the trace id.
- Journal: one event per message or refusal, with the certificate's subject and the list's date.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from datetime import datetime

from mssante.clock import Clock
from mssante.model import replies
from mssante.model.address import MailAddress
from mssante.model.envelope import Recipient
from mssante.model.journal import PLAIN, JournalEvent, JournalKind
from mssante.model.mailbox import Mailbox
from mssante.model.mailbox_rules import EFFECTS, Inbound
from mssante.model.message import Author, MessageFacts, NewMessage, StagedBody
from mssante.model.reply import Allow, Decision, Refuse, SmtpReply
from mssante.model.structure import is_plain
from mssante.observability.metrics import RECEIVED
from mssante.protocol.mime.compose import ReceivedFrom, received_line, return_path_line
from mssante.protocol.mime.imapview import facts as scan_facts
from mssante.protocol.sasl.base import Answer, Challenge, Exchange, Failure
from mssante.services.addressbook import AddressBook
from mssante.services.advice import Advisor
from mssante.services.citizen_desk import NOTHING, Arriving, CitizenDesk, Verdict
from mssante.services.citizen_house import CitizenHouse
from mssante.services.citizen_words import Cause
from mssante.services.departure import Departure
from mssante.services.directory_sources import LateCertificates
from mssante.services.evidence import Evidence
from mssante.services.exchangewatch import ExchangeWatch
from mssante.services.mailroom import Mailroom
from mssante.services.opening import Opening, Placement, acceptances, placed_plainly
from mssante.services.reports import Reporter
from mssante.services.sealing import Sealing
from mssante.services.sieve import Filters
from mssante.services.smtp_session import LocalTarget, MailTransaction, SmtpSessionState
from mssante.services.staging import BodySink
from mssante.services.truststate import TrustState
from mssante.storage.interfaces import Acceptance, Accepted, BlobStore

_RECEIVED = RECEIVED.labels("operator")


@dataclass(frozen=True, slots=True)
class AcceptSettings:
    """What reception and submission share. domains: those hosted here, lower-case A-labels."""

    hostname: str
    domains: frozenset[str]
    inline_limit_bytes: int
    reserve_bytes: int
    received_hops: int
    citizen_domain: str
    full_is_final: bool = False  # a full mailbox is refused by 552 5.2.2, not 452 4.2.2


@dataclass(slots=True)
class AcceptContext:
    """The parts that reception and submission stand on. opening, sealing: S/MIME, None when it is off."""

    settings: AcceptSettings
    blobs: BlobStore
    executor: Executor
    clock: Clock
    trust: TrustState
    addresses: AddressBook
    mailroom: Mailroom
    evidence: Evidence
    reporter: Reporter
    opening: Opening | None = None
    sealing: Sealing | None = None
    filters: Filters | None = None  # set by its topic
    advisor: Advisor | None = None  # set by its topic, when the directory is looked at (spec §4.5)
    exchanges: ExchangeWatch | None = None
    citizens: CitizenDesk | None = None  # set by its topic, as is house: the role of operator of the citizens
    house: CitizenHouse | None = None
    departure: Departure = field(default_factory=Departure)  # checks of what our users send, added by their topics
    certificates: LateCertificates = field(default_factory=LateCertificates)


def mailbox_decision(mailbox: Mailbox | None, address: str, book: AddressBook | None = None) -> Decision:
    """Decide on a recipient of ours from its state (spec §5). book: knows since when it is closed, and what is configured."""
    inbound = Inbound.UNKNOWN if mailbox is None else EFFECTS[mailbox.state].inbound
    if inbound is Inbound.TAKEN:
        return Allow()
    if inbound is Inbound.LATER:
        return replies.unopened_mailbox(address)
    if inbound is Inbound.SUSPENDED:
        final = book is not None and book.suspended_final
        return replies.shut_mailbox(address) if final else replies.suspended_mailbox(address)
    if inbound is Inbound.CLOSED:
        ending = book.endings.get(mailbox.id, ("", "")) if book is not None and mailbox is not None else ("", "")
        return replies.closed_mailbox(address, *ending)
    return replies.unknown_mailbox(address)


def room_decision(context: AcceptContext, transaction: MailTransaction, mailbox: Mailbox, address: str) -> Decision:
    """Decide on a recipient of ours from its quota and the declared size."""
    if context.addresses.has_room(mailbox, max(transaction.declared_size, 1)):
        return Allow()
    return replies.full_mailbox(address, permanent=context.settings.full_is_final)


def nobody_has_room(context: AcceptContext, transaction: MailTransaction, octets: int) -> Refuse | None:
    """Give why a message received whole is refused: no recipient is remote, and none has room for it."""
    local = transaction.local
    if not local or transaction.remote or any(context.addresses.has_room(target.mailbox, octets) for target in local):
        return None
    return replies.full_mailbox(str(local[0].recipient.address), permanent=context.settings.full_is_final)


async def place(context: AcceptContext, message: NewMessage, targets: Sequence[LocalTarget],
                sender: MailAddress | None) -> tuple[Placement, ...]:
    """Give what is filed for local recipients: the message, what S/MIME makes of it, where their filters put it."""
    placements = placed_plainly(message, targets) if context.opening is None else await context.opening.place(message, targets)
    if context.filters is None or not placements:
        return placements
    return await context.filters.apply(message, targets, placements, str(sender or ""))


async def placed(context: AcceptContext, placements: Sequence[Placement], results: Sequence[Accepted]) -> None:
    """After the commit, before the reply: see to what could not be filed, count what was. results: of each placement."""
    if context.opening is not None:
        await context.opening.keep_originals(placements, results, context.mailroom)
    if context.filters is not None:
        await context.filters.rescue(placements, results)
    for one in placements:
        for box in one.boxes:
            context.addresses.filed(box, one.octets)
        for errand in one.errands:
            errand()


async def rescanned(context: AcceptContext, body: StagedBody, prefix: bytes) -> MessageFacts:
    """Give the facts of a body with header lines of ours in front of it."""
    if body.inline is not None:
        return scan_facts(body.inline, prefix=prefix)
    key = body.blob or ""
    return await asyncio.get_running_loop().run_in_executor(
        context.executor, lambda: scan_facts(context.blobs.read(key), prefix=prefix))


class Reception:
    """The policy of the operator port."""

    needs_auth = False

    def __init__(self, context: AcceptContext) -> None:
        self._context = context

    def secured(self, state: SmtpSessionState) -> Awaitable[None] | None:
        """Identify the peer from its certificate and check that the white list knows it (spec §2.2 steps 2-4)."""
        waiting = self._context.trust.prepare(state.leaf_der)
        if waiting is not None:
            return self._secured_after(waiting, state)
        self._secured(state)
        return None

    async def _secured_after(self, waiting: Awaitable[None], state: SmtpSessionState) -> None:
        await waiting
        self._secured(state)

    def _secured(self, state: SmtpSessionState) -> None:
        admitted = self._context.trust.admit(state.leaf_der)
        if isinstance(admitted, Refuse):
            state.refused = admitted
        else:
            state.identity = admitted

    def begin(self, state: SmtpSessionState, transaction: MailTransaction) -> Decision | Awaitable[Decision]:
        """Check the sender's domain against the certificate, at every MAIL: the list may have changed (RQ-REV)."""
        waiting = self._context.trust.prepare(state.leaf_der)
        if waiting is not None:
            return self._begin_after(waiting, state, transaction)
        return self._begin(state, transaction)

    async def _begin_after(self, waiting: Awaitable[None], state: SmtpSessionState, transaction: MailTransaction) -> Decision:
        await waiting
        return self._begin(state, transaction)

    def _begin(self, state: SmtpSessionState, transaction: MailTransaction) -> Decision:
        again = self._context.trust.admit(state.leaf_der)
        if isinstance(again, Refuse):
            return again
        state.identity = again
        if self._context.blobs.free_bytes() < self._context.settings.reserve_bytes:
            return Refuse(replies.NO_SPACE)
        sender = transaction.sender
        decision = self._context.trust.may_send(again, sender.domain if sender else None)
        if sender is not None and isinstance(decision, Allow):
            self._context.trust.seen(state.leaf_der, sender.domain, "in", "")
        return decision

    def add_recipient(self, state: SmtpSessionState, recipient: Recipient) -> Decision | Awaitable[Decision]:
        """Accept only active mailboxes of our domains (spec §2.2 step 6)."""
        address = recipient.address
        if address.domain not in self._context.settings.domains:
            return replies.not_ours(str(address))
        if self._concerns_citizens(state, address):
            return self._citizen(state, recipient)
        known = self._context.addresses.known(address.key)
        if known is not None:
            return self._add(state, recipient, known)
        return self._look_up(state, recipient)

    async def _look_up(self, state: SmtpSessionState, recipient: Recipient) -> Decision:
        return self._add(state, recipient, await self._context.addresses.find(recipient.address.key))

    def _add(self, state: SmtpSessionState, recipient: Recipient, mailbox: Mailbox | None) -> Decision:
        decision = mailbox_decision(mailbox, str(recipient.address), self._context.addresses)
        transaction = state.transaction
        if isinstance(decision, Refuse) or mailbox is None or transaction is None:
            return decision
        if mailbox.address not in transaction.seen:  # the same mailbox twice, maybe by an alias, is filed once
            decision = room_decision(self._context, transaction, mailbox, str(recipient.address))
            if isinstance(decision, Refuse):
                return decision
            transaction.seen.add(mailbox.address)
            transaction.local.append(LocalTarget(recipient, mailbox))
        return decision

    def _concerns_citizens(self, state: SmtpSessionState, address: MailAddress) -> bool:
        """Tell if a recipient is a citizen, or written to by one (services/citizen_desk.py, citizen_house.py)."""
        context, transaction = self._context, state.transaction
        if context.house is not None and address.domain == context.house.domain:
            return True
        sender = transaction.sender if transaction is not None else None
        return context.citizens is not None and sender is not None and sender.domain == context.citizens.domain

    async def _citizen(self, state: SmtpSessionState, recipient: Recipient) -> Decision:
        context, transaction = self._context, state.transaction
        box = await context.addresses.find(recipient.address.key)
        if context.house is not None and recipient.address.domain == context.house.domain:
            stray = context.house.stray(box)
            if isinstance(stray, Refuse):
                return stray
            if stray is not None and transaction is not None:
                transaction.strays.append((recipient, stray.value))
                return Allow()
        elif context.citizens is not None and box is not None and transaction is not None and transaction.sender is not None:
            decision = await context.citizens.recipient(transaction.sender, box)
            if isinstance(decision, Refuse):
                return decision
        return self._add(state, recipient, box)

    async def _exchange(self, state: SmtpSessionState, transaction: MailTransaction, body: StagedBody, facts: MessageFacts,
                        ) -> Verdict:
        """Ask those who know the exchanges with citizens what becomes of a message."""
        context, identity = self._context, state.identity
        if context.citizens is None:
            return NOTHING
        ours = context.house is not None and (bool(transaction.strays) or any(
            one.recipient.address.domain == context.house.domain for one in transaction.local))
        domain, sender = context.citizens.domain, transaction.sender
        theirs = (not ours and identity is not None and (sender is None or sender.domain == domain)
                  and isinstance(context.trust.may_send(identity, domain), Allow))
        if not ours and not theirs:
            return NOTHING
        head_size = min(facts.header_size, 1024 * 1024)

        def content(size: int | None = None) -> bytes:
            return (body.inline or b"")[:size] if body.blob is None else context.blobs.read(body.blob, 0, size)

        boxes = tuple([one.mailbox for one in transaction.local])
        message = Arriving(transaction.sender, boxes, facts, content(head_size), body.size, transaction.trace_id,
                           context.clock.now(), theirs, content)
        if context.house is not None and ours:
            return context.house.arrived(message, [Cause(cause) for _, cause in transaction.strays])
        return await context.citizens.arriving(message)

    def sink(self) -> BodySink:
        """Give where DATA goes."""
        context = self._context
        return BodySink(context.blobs, context.executor, context.settings.inline_limit_bytes)

    async def finish(self, state: SmtpSessionState, transaction: MailTransaction, sink: BodySink) -> SmtpReply:
        """Check the content's origin, commit, give the reply."""
        context = self._context
        body, facts = await sink.seal()
        if facts.received_count > context.settings.received_hops:
            return self._refused(state, Refuse(replies.TOO_MANY_HOPS))
        decision = self._check_from(state, transaction, facts.author)
        if isinstance(decision, Refuse):
            return self._refused(state, decision)
        exchange = await self._exchange(state, transaction, body, facts)
        if exchange.refusal is not None:
            return self._refused(state, exchange.refusal)
        if exchange.headers:
            facts = await rescanned(context, body, exchange.headers)
        targets = [] if exchange.drop else transaction.local
        now = context.clock.now()
        message = NewMessage(body, self._prefix(state, transaction, now) + exchange.headers, facts, transaction.trace_id, now)
        full = nobody_has_room(context, transaction, len(message.prefix) + body.size)
        if full is not None:
            return self._refused(state, full)
        if context.advisor is not None and (word := await context.advisor.sender(transaction.sender)):
            transaction.directory.append(word)
        event = self._received_event(state, transaction, message)
        placements = await place(context, message, targets, transaction.sender)
        taken = acceptances(message, placements, None, (event,)) or (Acceptance(message, (), None, (event,)),)
        if exchange.also is not None:
            taken = (replace(taken[0], also=exchange.also), *taken[1:])
        results = await context.mailroom.accept((*taken, *(
            () if exchange.drop else context.reporter.success_reports(transaction, message, now)),
                                                 *exchange.messages))
        await placed(context, placements, results[:len(placements)])
        if context.exchanges is not None and transaction.sender is not None:
            context.exchanges.received([target.mailbox.id for target in transaction.local], transaction.sender.key)
        _RECEIVED.inc()
        return replies.accepted(transaction.trace_id)

    def _check_from(self, state: SmtpSessionState, transaction: MailTransaction, author: Author) -> Decision:
        """The certificate must cover the author's domain (spec §2.2 step 7)."""
        identity = state.identity
        if identity is None:
            return Refuse(replies.NO_FROM)
        if (author.fields != 1 or author.unreadable or not author.addresses) and transaction.sender is not None:
            return Refuse(replies.NO_FROM)
        for domain in {address.domain for address in author.addresses}:
            listed = isinstance(self._context.trust.may_relay_to(domain), Allow)
            own_report = transaction.sender is None and not listed and domain not in self._context.settings.domains
            if not own_report and isinstance(self._context.trust.may_send(identity, domain), Refuse):
                return replies.from_not_bound(domain)  # a report may come from a host name that no list knows
        return Allow()

    def _prefix(self, state: SmtpSessionState, transaction: MailTransaction, now: datetime) -> bytes:
        """Return-Path and Received stand before the body, which stays as it came (RFC 5321 §4.4)."""
        received = received_line(ReceivedFrom(state.helo, state.peer.rpartition(":")[0], self._context.settings.hostname,
                                              "ESMTPS", transaction.trace_id, now, state.tls))
        return return_path_line(transaction.sender) + received

    def _received_event(self, state: SmtpSessionState, transaction: MailTransaction, message: NewMessage) -> JournalEvent:
        evidence, body = self._context.evidence, message.body
        sender: MailAddress | None = transaction.sender
        public_sender = evidence.address(str(sender)) if sender else "<>"
        payload: dict[str, str | int | float | bool | None] = {
            "from": public_sender,
            "to": " ".join([evidence.address(str(one.address)) for one in
                            [*[target.recipient for target in transaction.local], *[stray for stray, _ in transaction.strays]]]),
            "size": body.size,
            "sha256": body.sha256,
            "peer": state.peer,
            "dn": state.identity.subject.text if state.identity else "",
            "certificate": state.identity.fingerprint if state.identity else "",
            "list": self._context.trust.list_date(),
            "list_at": self._context.trust.list_instant(),
        }
        if is_plain(message.facts.bodystructure):
            payload[PLAIN] = True
        if transaction.directory:
            payload["directory"] = transaction.directory[0]
        return JournalEvent(JournalKind.RECEIVED, message.received_at, transaction.trace_id, public_sender, payload)

    def _refused(self, state: SmtpSessionState, refusal: Refuse) -> SmtpReply:
        self.note_refusal(state, "data", refusal)
        return refusal.reply

    async def log_in(self, state: SmtpSessionState, exchange: Exchange, answer: Answer) -> Challenge | Failure | SmtpReply:
        """Logins have no meaning between operators."""
        return replies.AUTH_UNAVAILABLE

    async def flush(self) -> None:
        """Wait for what is written behind the replies (stop of the service)."""
        if self._context.opening is not None:
            await self._context.opening.flush()

    def note_refusal(self, state: SmtpSessionState, stage: str, refusal: Refuse) -> None:
        """Journal a refusal."""
        self._context.evidence.refusal(state, stage, refusal, list_at=self._context.trust.list_instant())

    def handshake_failed(self, peer: str, reason: str) -> None:
        """Journal a failed handshake."""
        self._context.evidence.handshake_failed(peer, reason)
