"""Turns the result of an attempt into what is recorded: settlements, journal events, reports, in one transaction.

- Every recipient has its own fate; unknown faults are deferred; a deferral past the expiry becomes a failure, but not while a
  hold covers its destination or has just ended (`services.holdgate`): then it is kept until the limit of the hold.
- Failure reports go unless NOTIFY forbids; a delay notice goes once; a relayed-success report goes when NOTIFY=SUCCESS was
  asked and the next operator does not do DSN (RFC 3461 §5.2).
- Reports to our own users are filed in their INBOX by the same commit, then announced.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import random

from mssante.clock import Clock
from mssante.model.address import parse_envelope_address
from mssante.model.journal import JournalEvent, JournalKind
from mssante.model.mailbox import Mailbox
from mssante.model.message import StoredMessage
from mssante.model.outcome import Deferred, Delivered
from mssante.observability.metrics import RELAYED
from mssante.protocol.reports.dsn import DsnAction, DsnRecipient
from mssante.routing.schedule import Expired, RetryPolicy, next_attempt, notice_due
from mssante.services.addressbook import AddressBook
from mssante.services.evidence import Evidence
from mssante.services.exchangewatch import ExchangeWatch
from mssante.services.holdgate import HoldGate, NoHolds
from mssante.services.mailroom import Mailroom
from mssante.services.ports import RelayResult
from mssante.services.relay_jobs import Job, Verdict, expired, reply_text
from mssante.services.reports import Reporter, ReportSource
from mssante.storage.interfaces import Acceptance, SettledBatch, Settlement, Stores

MAX_REPLY = 1000
_KINDS = {"delivered": JournalKind.RELAYED, "queued": JournalKind.DEFERRED, "failed": JournalKind.BOUNCED}
_ACTIONS = {"delivered": DsnAction.RELAYED, "queued": DsnAction.DELAYED, "failed": DsnAction.FAILED}


@dataclass(slots=True)
class SettlementContext:
    """The parts that a settler stands on. hosted: our domains."""

    stores: Stores
    clock: Clock
    policy: RetryPolicy
    reporter: Reporter
    addresses: AddressBook
    mailroom: Mailroom
    evidence: Evidence
    hosted: frozenset[str]
    gate: HoldGate = field(default_factory=NoHolds)
    exchanges: ExchangeWatch | None = None


class Settler:
    """Records attempts."""

    def __init__(self, context: SettlementContext) -> None:
        self._context = context
        self.gate = context.gate

    async def settle(self, job: Job, content: StoredMessage, result: RelayResult) -> None:
        """Commit what became of a job's recipients. Raises StorageFull, OperatorFault (the lease then runs out)."""
        context = self._context
        now = context.clock.now()
        verdicts = [self._verdict(job, index, result, now) for index in range(len(job.recipients))]
        delayed = not job.delay_notified and any(
            v.state == "queued" and notice_due(v.item.attempts, job.created_at, now=now, policy=context.policy)
            for v in verdicts)
        reports = await self._reports(job, content, verdicts, now, delayed=delayed)
        batch = SettledBatch(
            tuple([Settlement(v.item.recipient_id, job.queue_id, v.state, v.next_at, reply_text(v.outcome)[:MAX_REPLY])
                   for v in verdicts]),
            self._events(job, verdicts, result, now), reports, delayed)
        accepted = await context.stores.database.write_many(context.stores.queue.settle, batch)
        for verdict in verdicts:
            RELAYED.labels(verdict.state).inc()
            if context.exchanges is not None:
                context.exchanges.settled(verdict.item.recipient.address, verdict.outcome)
        context.mailroom.announce(reports, accepted)

    def _verdict(self, job: Job, index: int, result: RelayResult, now: datetime) -> Verdict:
        item = job.recipients[index]
        outcome = result.outcomes[index]
        if not isinstance(outcome, Deferred):
            return Verdict(item, outcome)
        when = next_attempt(item.attempts, job.created_at, now=now, policy=self._context.policy, fraction=random())  # noqa: S311
        if isinstance(when, Expired):
            deadline = self._deadline(job)
            if now >= deadline:
                return Verdict(item, expired(outcome, now - job.created_at, self.gate.epitaph(job.destination)))
            when = min(now + self._context.policy.max_delay, deadline)
        return Verdict(item, outcome, when)

    def _deadline(self, job: Job) -> datetime:
        return self.gate.deadline(job.destination, job.created_at, job.expires_at)

    def _events(self, job: Job, verdicts: list[Verdict], result: RelayResult, now: datetime) -> tuple[JournalEvent, ...]:
        evidence = self._context.evidence
        addresses = [item.recipient.address for item in job.recipients]
        private = [address for address in addresses if evidence.address(address) != address]
        events = []
        for verdict in verdicts:
            address = evidence.address(verdict.item.recipient.address)
            payload: dict[str, str | int | float | bool | None] = {
                "to": address, "reply": evidence.text(reply_text(verdict.outcome), private)[:MAX_REPLY],
                "attempts": verdict.item.attempts, "remote": result.remote, "tls": result.tls,
                "certificate": result.certificate, "rule": getattr(verdict.outcome, "rule", ""),
            }
            events.append(JournalEvent(_KINDS[verdict.state], now, job.trace_id, address, payload))
        return tuple(events)

    async def _reports(self, job: Job, content: StoredMessage, verdicts: list[Verdict], now: datetime, *,
                       delayed: bool) -> tuple[Acceptance, ...]:
        told = [v for v in verdicts if _wants_report(v, delayed=delayed)]
        if not told or not job.sender:  # RFC 3461 §6.2: a null sender never gets a report
            return ()
        home = await self._home(job.sender)
        source = ReportSource(parse_envelope_address(job.sender, True), job.envid, job.ret, job.created_at, job.trace_id,
                              _original(self._context.stores, content, job.ret))
        reports = []
        for state in ("failed", "queued", "delivered"):
            recipients = [_dsn_recipient(v, now, self._deadline(job)) for v in told if v.state == state]
            if recipients:
                reports.append(self._context.reporter.report(source, recipients, now, home))
            if state == "failed" and recipients and home is not None and self._context.reporter.beside is not None:
                reports.extend(self._context.reporter.beside(source, recipients, now, home))
        return tuple(reports)

    async def _home(self, sender: str) -> Mailbox | None:
        if sender.rpartition("@")[2].lower() not in self._context.hosted:
            return None
        return await self._context.addresses.find(sender.lower())


def _wants_report(verdict: Verdict, *, delayed: bool) -> bool:
    """Apply NOTIFY (RFC 3461 §4.1): default FAILURE and DELAY."""
    asked = frozenset(verdict.item.recipient.notify.split(",")) - {""}
    if verdict.state == "failed":
        return not asked or "FAILURE" in asked
    if verdict.state == "queued":
        return delayed and (not asked or "DELAY" in asked)
    relayed = isinstance(verdict.outcome, Delivered) and not verdict.outcome.dsn_relayed
    return relayed and "SUCCESS" in asked


def _dsn_recipient(verdict: Verdict, now: datetime, retry_until: datetime) -> DsnRecipient:
    outcome = verdict.outcome
    status = "2.0.0" if verdict.state == "delivered" else getattr(outcome, "status", "4.0.0")
    return DsnRecipient(parse_envelope_address(verdict.item.recipient.address, True), _ACTIONS[verdict.state], status,
                        verdict.item.recipient.orcpt, outcome.remote, reply_text(outcome)[:MAX_REPLY], now,
                        retry_until if verdict.state == "queued" else None)


def _original(stores: Stores, content: StoredMessage, ret: str) -> bytes:
    """Give what the report returns: the header, or the whole when RET=FULL asked for it and it is inline."""
    limit = min(content.header_size, 64 * 1024)
    if content.inline is not None:
        return content.inline if ret == "FULL" else content.inline[:limit]
    return stores.blobs.read(content.blob or "", 0, limit)


def retry_policy(first_seconds: int, max_seconds: int, delay_hours: float, expiry_hours: float) -> RetryPolicy:
    """Give the schedule's policy from configured values."""
    return RetryPolicy(timedelta(seconds=first_seconds), timedelta(seconds=max_seconds),
                       notice_after=timedelta(hours=delay_hours), expire_after=timedelta(hours=expiry_hours))
