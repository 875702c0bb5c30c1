"""Mail from our own users: envelope sender = From = a box that the login may send for; recipients inside the trust space only
(ARCHITECTURE §4b, c).

- A recipient outside the trust space is refused at RCPT with words that the user's client shows: why, and what to do.
- A citizen address must hold a valid INS matricule before anything is queued (spec §9): a local error is friendlier than
  a bounce from afar.
- Local recipients are filed and the others queued in one transaction; what leaves is our prefix, then the octets received.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog

from mssante.model import replies
from mssante.model.delegation import Right
from mssante.model.envelope import Recipient
from mssante.model.journal import PLAIN, JournalEvent, JournalKind
from mssante.model.mailbox import Mailbox
from mssante.model.message import MessageFacts, NewMessage, StagedBody
from mssante.model.reply import Allow, Decision, Refuse, SmtpReply
from mssante.model.structure import is_plain
from mssante.observability.metrics import RECEIVED
from mssante.protocol.mime.compose import ReceivedFrom, add_missing, received_line
from mssante.protocol.mime.imapview import facts as scan_facts
from mssante.protocol.sasl.base import Answer, Challenge, Exchange, Failure
from mssante.services.accounts import Accounts
from mssante.services.advice import Advisor
from mssante.services.citizen import CitizenRules, recipient_decision
from mssante.services.departure import FREE, Leaving, Ruling
from mssante.services.opening import Placement, acceptances
from mssante.services.reception import AcceptContext, mailbox_decision, nobody_has_room, place, placed, room_decision
from mssante.services.sasl import Accepted, Caller, Refused, follow
from mssante.services.sealing import Copy, SealPlan
from mssante.services.sentcopy import Outbound, SentCopy
from mssante.services.smtp_session import LocalTarget, MailTransaction, RemoteTarget, SmtpSessionState
from mssante.services.staging import BodySink
from mssante.storage.interfaces import Acceptance, Account, QueueEntry, QueueRecipient

log = structlog.get_logger("submission")
_RECEIVED = RECEIVED.labels("submission")
MAX_HEAD = 1024 * 1024  # octets of header read to see what it lacks


@dataclass(frozen=True, slots=True)
class SubmissionSettings:
    """check_ins: reject, warn or off; size_limits: octets by destination."""

    check_ins: str
    size_limits: dict[str, int]
    expiry: timedelta


@dataclass(frozen=True, slots=True)
class Content:
    """What was sent. head: its header, as far as it is read."""

    body: StagedBody
    facts: MessageFacts
    head: bytes


class Submission:
    """The policy of ports 587 and 465."""

    needs_auth = True

    def __init__(self, context: AcceptContext, accounts: Accounts, settings: SubmissionSettings) -> None:
        self._context = context
        self._accounts = accounts
        self._settings = settings
        self._citizen = CitizenRules(context.settings.citizen_domain, settings.check_ins)  # until its topic set more
        self._sent = context.mailroom.sent_copies(context.clock)

    def secured(self, state: SmtpSessionState) -> None:
        """Nothing to prove by certificate here: the password does."""

    async def log_in(self, state: SmtpSessionState, exchange: Exchange, answer: Answer) -> Challenge | Failure | SmtpReply:
        """Check what a SASL exchange claims (RFC 4954)."""
        step = await follow(self._accounts, exchange, answer, Caller(state.peer, "submission"))
        match step:
            case Accepted(account):
                state.account = account
                return replies.AUTH_OK
            case Refused("UNAVAILABLE", ours):
                return replies.AUTH_NOT_CHECKED if ours else replies.AUTH_LATER
            case Refused():
                return replies.AUTH_FAILED
            case _:
                return step

    def begin(self, state: SmtpSessionState, transaction: MailTransaction) -> Decision | Awaitable[Decision]:
        """The envelope sender must be a mailbox of the account."""
        if transaction.sender is None:
            return replies.not_your_address("<>")
        if self._context.blobs.free_bytes() < self._context.settings.reserve_bytes:
            return Refuse(replies.NO_SPACE)
        known = self._context.addresses.known(transaction.sender.key)
        if known is not None:
            return self._box(state, transaction, known)
        return self._find_box(state, transaction, transaction.sender.key)

    async def _find_box(self, state: SmtpSessionState, transaction: MailTransaction, key: str) -> Decision:
        decision = self._box(state, transaction, await self._context.addresses.find(key))
        return decision if isinstance(decision, Allow | Refuse) else await decision

    def _box(self, state: SmtpSessionState, transaction: MailTransaction, mailbox: Mailbox | None,
             ) -> Decision | Awaitable[Decision]:
        """The sender must be the login's own mailbox, or one for which it may send now (services/delegations.py)."""
        account = state.account
        if account is None or mailbox is None:
            return replies.not_your_address(str(transaction.sender))
        transaction.box = mailbox
        if account.mailbox_ids[:1] == (mailbox.id,):
            return mailbox_decision(mailbox, str(transaction.sender))
        return self._delegated(account, transaction, mailbox)

    async def _delegated(self, account: Account, transaction: MailTransaction, mailbox: Mailbox) -> Decision:
        refusal = await self._not_delegated(account, mailbox, str(transaction.sender))
        return refusal if refusal is not None else mailbox_decision(mailbox, str(transaction.sender))

    async def _not_delegated(self, account: Account, mailbox: Mailbox, sender: str) -> Refuse | None:
        """Give why a login may not send for a box of others now, None when it may."""
        held = await self._context.addresses.delegations.of(account.id, mailbox.id)
        if held is None:
            return replies.not_your_address(sender)
        return None if held.own or Right.SEND in held.rights else replies.no_send_right(sender)

    def add_recipient(self, state: SmtpSessionState, recipient: Recipient) -> Decision | Awaitable[Decision]:
        """Resolve: ours, citizen, another operator, or outside."""
        transaction = state.transaction
        if transaction is None:
            return Refuse(replies.BAD_SEQUENCE)
        house, box = self._context.house, transaction.box
        if house is not None and box is not None and box.address.endswith(f"@{house.domain}"):
            return self._from_citizen(transaction, box, recipient)
        return self._resolve(transaction, recipient)

    def _not_for_citizens(self, transaction: MailTransaction, recipient: Recipient) -> Refuse | None:
        """Apply the rules of the citizens' domain at RCPT (services/citizen.py)."""
        box, sender = transaction.box, transaction.sender
        desk = self._context.citizens
        rules = self._citizen if desk is None else desk.settings.rules
        opinion = recipient_decision(rules, recipient.address, declared_size=transaction.declared_size,
                                     sender_type=box.type if box is not None else None,
                                     sender_domain=sender.domain if sender is not None else "")
        if opinion.doubt:
            log.warning("citizen_address_doubtful", reason=opinion.doubt, trace_id=transaction.trace_id)
        return opinion.decision if isinstance(opinion.decision, Refuse) else None

    async def _from_citizen(self, transaction: MailTransaction, box: Mailbox, recipient: Recipient) -> Decision:
        """A citizen writes to whom wrote first only (services/citizen_house.py)."""
        house = self._context.house
        decision = await house.open_contact(box, recipient.address) if house is not None else Refuse(replies.BAD_SEQUENCE)
        if isinstance(decision, Refuse):
            return decision
        resolved = self._resolve(transaction, recipient)
        return resolved if isinstance(resolved, Allow | Refuse) else await resolved

    def _resolve(self, transaction: MailTransaction, recipient: Recipient) -> Decision | Awaitable[Decision]:
        address = recipient.address
        if address.domain == self._citizen.domain and address.domain in self._context.settings.domains:
            refusal = self._not_for_citizens(transaction, recipient)
            if refusal is not None:
                return refusal
        if address.domain in self._context.settings.domains:
            return self._add_local(transaction, recipient)
        decision = self._context.trust.may_queue_for(address.domain)
        if isinstance(decision, Refuse):
            return decision
        if address.domain == self._citizen.domain:
            refusal = self._not_for_citizens(transaction, recipient)
            if refusal is not None:
                return refusal
        limit = self._settings.size_limits.get(address.domain, 0)
        if limit and transaction.declared_size > limit:
            return Refuse(replies.too_big(limit))
        advisor = self._context.advisor
        if advisor is not None and advisor.concerns(address):
            return self._advised(advisor, transaction, recipient)
        return self._take_remote(transaction, recipient)

    async def _advised(self, advisor: Advisor, transaction: MailTransaction, recipient: Recipient) -> Decision:
        """Ask the directory what it knows of a recipient elsewhere (spec §4.5); strict alone refuses."""
        advice = await advisor.recipient(recipient.address)
        if isinstance(advice.decision, Refuse):
            return advice.decision
        transaction.directory.append(advice.word)
        self._take_remote(transaction, recipient)
        return advice.decision

    def _take_remote(self, transaction: MailTransaction, recipient: Recipient) -> Decision:
        address = recipient.address
        if address.key not in transaction.seen:
            transaction.seen.add(address.key)
            transaction.remote.append(RemoteTarget(recipient, address.domain))
        return Allow()

    async def _add_local(self, transaction: MailTransaction, recipient: Recipient) -> Decision:
        mailbox = await self._context.addresses.find(recipient.address.key)
        decision = mailbox_decision(mailbox, str(recipient.address), self._context.addresses)
        if isinstance(decision, Allow) and mailbox is not None and mailbox.address not in transaction.seen:  # by an alias too
            decision = room_decision(self._context, transaction, mailbox, str(recipient.address))
            if isinstance(decision, Refuse):
                return decision
            transaction.seen.add(mailbox.address)
            transaction.local.append(LocalTarget(recipient, mailbox))
        return decision

    def sink(self) -> BodySink:
        """Give where DATA goes."""
        context = self._context
        return BodySink(context.blobs, context.executor, context.settings.inline_limit_bytes)

    async def finish(self, state: SmtpSessionState, transaction: MailTransaction, sink: BodySink) -> SmtpReply:
        """Check From and sizes, commit, give the reply."""
        plan = await self._seal_plan(transaction)
        if plan is None or self._context.sealing is None:
            return await self._finish(state, transaction, sink, None)
        async with self._context.sealing.room(sink.size):
            return await self._finish(state, transaction, sink, plan)

    async def _finish(self, state: SmtpSessionState, transaction: MailTransaction, sink: BodySink,
                      plan: SealPlan | None) -> SmtpReply:
        """plan: what S/MIME is to do with the message."""
        context = self._context
        body, facts = await (sink.seal() if plan is None else sink.hold())
        refusal = self._content_refusal(transaction, body, facts)
        if refusal is not None:
            return self._refused(state, refusal)
        sent = await self._sent_copy(state, transaction)
        if isinstance(sent, Refuse):
            return self._refused(state, sent)
        now = context.clock.now()
        head = self._head(body, facts)
        ruling = await self._rule(state, transaction, Content(body, facts, head), now)
        if ruling.refusal is not None:
            return self._refused(state, ruling.refusal)
        missing = ruling.headers + self._missing_headers(transaction, head, now)
        if sent is not None and transaction.behalf(state.account):
            sender = self._sent.sender_line(sent, box=transaction.box, head=head)
            if isinstance(sender, Refuse):
                return self._refused(state, sender)
            missing = sender + missing
        if missing:  # what a reader gets has them: so must the envelope kept beside it
            facts = await self._scan_again(body, missing)
        message = NewMessage(body, self._received(transaction, now) + missing, facts, transaction.trace_id, now)
        copies = await self._copies(transaction, message, plan, missing)
        if isinstance(copies, Refuse):
            return self._refused(state, copies)
        full = nobody_has_room(context, transaction, max(len(one.message.prefix) + one.message.body.size for one in copies))
        if full is not None:
            return self._refused(state, full)
        reports = await self._success_reports(transaction, message, now)
        await self._commit(transaction, copies, (self._event(state, transaction, message), *ruling.events),
                           (*reports, *ruling.messages),
                           sent=None if sent is None else Outbound(sent, message))
        if context.exchanges is not None and transaction.box is not None:
            context.exchanges.sent(transaction.box.id, [target.recipient.address.key for target in transaction.remote])
        _RECEIVED.inc()
        return replies.accepted(transaction.trace_id)

    async def _seal_plan(self, transaction: MailTransaction) -> SealPlan | None:
        """Give what S/MIME is to do with a message, None when it is off or has nothing to do."""
        if self._context.sealing is None or transaction.sender is None:
            return None
        home = await self._context.addresses.find(transaction.sender.key)
        return await self._context.sealing.plan(transaction, home.id) if home is not None else None

    async def _copies(self, transaction: MailTransaction, message: NewMessage, plan: SealPlan | None,
                      missing: bytes) -> tuple[Copy, ...] | Refuse:
        """Give the forms in which a message leaves, or why it does not. missing: the end of its prefix."""
        if plan is None or self._context.sealing is None:
            return (Copy(message, tuple(transaction.local), tuple(transaction.remote)),)
        copies = await self._context.sealing.apply(plan, message, missing)
        if not isinstance(copies, Refuse):
            for one in copies:
                refusal = self._too_big(one.remote, one.message.body)
                if refusal is not None:
                    return refusal
        return copies

    async def _sent_copy(self, state: SmtpSessionState, transaction: MailTransaction) -> SentCopy | Refuse | None:
        """Say where the copy of sent mail goes, None for nowhere; a right taken away since MAIL refuses the message."""
        account, box = state.account, transaction.box
        if account is None or box is None:
            return Refuse(replies.BAD_SEQUENCE)
        behalf = transaction.behalf(account)
        if behalf and (refusal := await self._not_delegated(account, box, str(transaction.sender))) is not None:
            return refusal
        if transaction.copy_sent:
            return await self._sent.plan(account, box, always=True)
        return await self._sent.plan(account, box) if self._sent.wanted(own=not behalf) else None

    async def _rule(self, state: SmtpSessionState, transaction: MailTransaction, content: Content, now: datetime) -> Ruling:
        """Ask those who check departures (services/departure.py)."""
        departure, sender, box = self._context.departure, transaction.sender, transaction.box
        if not departure.checks or sender is None or box is None:
            return FREE
        targets: list[LocalTarget | RemoteTarget] = [*transaction.local, *transaction.remote]
        recipients = tuple([one.recipient.address for one in targets])
        login = state.account.login if state.account else ""
        return await departure.judge(
            Leaving(sender, box, login, recipients, content.head, content.facts, content.body.size, transaction.trace_id, now,
                    lambda: self._octets(content.body)), self._context.executor)

    def _octets(self, body: StagedBody) -> bytes:
        return body.inline if body.inline is not None else self._context.blobs.read(body.blob or "")

    async def _commit(self, transaction: MailTransaction, copies: Sequence[Copy], events_of_it: tuple[JournalEvent, ...],
                      reports: tuple[Acceptance, ...], *, sent: Outbound | None = None) -> None:
        """Commit all copies and reports together, with the copy of sent mail."""
        group: list[Acceptance] = []
        places: list[tuple[tuple[Placement, ...], int]] = []  # with where the results of each begin
        for one in copies:
            placements = await place(self._context, one.message, one.local, transaction.sender)
            events = (*(() if group else events_of_it), *((one.event,) if one.event is not None else ()))
            entry = self._queue_entry(transaction, one.remote, one.message.received_at)
            group += acceptances(one.message, placements, entry, events)
            places.append((placements, len(group) - len(placements)))
        if sent is not None:
            group = self._sent.added(sent, group)
        if transaction.also is not None:
            group[0] = replace(group[0], also=transaction.also)
        results = await self._context.mailroom.accept((*group, *reports))
        if sent is not None:
            self._sent.filed(sent, group, results)
        for placements, start in places:
            await placed(self._context, placements, results[start:start + len(placements)])

    def _refused(self, state: SmtpSessionState, refusal: Refuse) -> SmtpReply:
        self.note_refusal(state, "data", refusal)
        return refusal.reply

    async def _success_reports(self, transaction: MailTransaction, message: NewMessage,
                               now: datetime) -> tuple[Acceptance, ...]:
        if transaction.sender is None or not any("SUCCESS" in t.recipient.notify for t in transaction.local):
            return ()
        home = await self._context.addresses.find(transaction.sender.key)
        return self._context.reporter.success_reports(transaction, message, now, home)

    def _content_refusal(self, transaction: MailTransaction, body: StagedBody, facts: MessageFacts) -> Refuse | None:
        context = self._context
        if facts.received_count > context.settings.received_hops:
            return Refuse(replies.TOO_MANY_HOPS)
        author = facts.author
        if author.fields != 1 or not author.addresses:
            return Refuse(replies.NO_FROM)
        if not author.is_only(transaction.sender):
            return replies.from_not_sender(str(author.addresses[0]))
        return self._too_big(transaction.remote, body)

    def _too_big(self, targets: Sequence[RemoteTarget], body: StagedBody) -> Refuse | None:
        for target in targets:
            limit = self._settings.size_limits.get(target.destination, 0)
            if limit and body.size > limit:
                return Refuse(replies.too_big(limit))
        return None

    def _received(self, transaction: MailTransaction, now: datetime) -> bytes:
        """The user's address and network are not told (privacy)."""
        hostname = self._context.settings.hostname
        return received_line(ReceivedFrom("client", "", hostname, "ESMTPSA", transaction.trace_id, now))

    def _head(self, body: StagedBody, facts: MessageFacts) -> bytes:
        """Give the header, as far as it is read."""
        size = min(facts.header_size, MAX_HEAD)
        return body.inline[:size] if body.inline is not None else self._context.blobs.read(body.blob or "", 0, size)

    def _missing_headers(self, transaction: MailTransaction, head: bytes, now: datetime) -> bytes:
        """Give the Date and Message-ID lines that the message lacks (RFC 6409 §8)."""
        domain = transaction.sender.domain if transaction.sender else self._context.settings.hostname
        return add_missing(head, date=now, domain=domain, trace_id=transaction.trace_id)

    async def _scan_again(self, body: StagedBody, prefix: bytes) -> MessageFacts:
        if body.inline is not None:
            return scan_facts(body.inline, prefix=prefix)
        blobs, key = self._context.blobs, body.blob or ""
        return await asyncio.get_running_loop().run_in_executor(
            self._context.executor, lambda: scan_facts(blobs.read(key), prefix=prefix))

    def _queue_entry(self, transaction: MailTransaction, targets: Sequence[RemoteTarget], now: datetime) -> QueueEntry | None:
        if not targets:
            return None
        settings = self._settings
        recipients = tuple([
            QueueRecipient(str(t.recipient.address), t.destination, ",".join(sorted(t.recipient.notify)),
                           t.recipient.orcpt) for t in targets])
        return QueueEntry(str(transaction.sender or ""), recipients, now + settings.expiry, now, transaction.ret,
                          transaction.envid, transaction.smtputf8)

    def _event(self, state: SmtpSessionState, transaction: MailTransaction, message: NewMessage) -> JournalEvent:
        public, body = self._context.evidence.address, message.body
        recipients = [*[t.recipient for t in transaction.local], *[t.recipient for t in transaction.remote]]
        payload: dict[str, str | int | float | bool | None] = {
            "from": public(str(transaction.sender)),
            "to": " ".join([public(str(r.address)) for r in recipients]),
            "size": body.size,
            "sha256": body.sha256,
            "login": public(state.account.login) if state.account else "",
            "behalf": transaction.behalf(state.account),
            "list": self._context.trust.list_date(),
            "list_at": self._context.trust.list_instant(),
        }
        if is_plain(message.facts.bodystructure):
            payload[PLAIN] = True
        if transaction.directory:
            payload["directory"] = " ".join(transaction.directory)
        subject = transaction.box.address if transaction.box is not None else str(transaction.sender)  # an alias is its box
        return JournalEvent(JournalKind.SUBMITTED, message.received_at, transaction.trace_id, public(subject), payload)

    def note_refusal(self, state: SmtpSessionState, stage: str, refusal: Refuse) -> None:
        """Journal a refusal."""
        self._context.evidence.refusal(state, stage, refusal, list_at=self._context.trust.list_instant())

    def handshake_failed(self, peer: str, reason: str) -> None:
        """Journal a failed handshake."""
        self._context.evidence.handshake_failed(peer, reason)

