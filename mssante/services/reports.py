"""Delivery reports: success at final delivery, failure and delay of the relay (RFC 3461, RFC 3464, F2.14).

- A report is an `Acceptance` like any message: it is committed in the transaction that settles what it reports.
- A null sender never gets a report; a report carries headers only unless RET=FULL was asked; its text holds no subject.
- A report to one of our mailboxes is filed there; to another operator, it is queued with the null sender.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from mssante.ids import new_trace_id
from mssante.model.address import MailAddress
from mssante.model.journal import JournalEvent, JournalKind
from mssante.model.mailbox import Mailbox
from mssante.model.message import NewMessage, StagedBody
from mssante.protocol.mime.imapview import facts
from mssante.protocol.reports.dsn import MAX_RETURNED_HEADERS, DsnAction, DsnRecipient, DsnRequest, build_dsn
from mssante.services.smtp_session import MailTransaction
from mssante.storage.interfaces import Acceptance, BlobStore, Filing, QueueEntry, QueueRecipient


@dataclass(frozen=True, slots=True)
class ReportSettings:
    """reporting_mta: our EHLO name; domain: the domain of MAILER-DAEMON; expiry: life of a queued report."""

    reporting_mta: str
    domain: str
    hosted: frozenset[str]
    expiry: timedelta
    public_address: Callable[[str], str]


@dataclass(frozen=True, slots=True)
class ReportSource:
    """The message that a report is about. original: its header, or all of it when RET=FULL was asked and it is at hand."""

    sender: MailAddress
    envid: str
    ret: str
    arrival: datetime
    trace_id: str
    original: bytes


Beside = Callable[[ReportSource, Sequence[DsnRecipient], datetime, Mailbox], tuple[Acceptance, ...]]


class Reporter:
    """Builds reports as acceptances."""

    def __init__(self, settings: ReportSettings, blobs: BlobStore) -> None:
        self._settings = settings
        self._blobs = blobs
        self.beside: Beside | None = None  # set by the citizens' topic: words beside a failure (services/citizen_desk.py)

    def success_reports(self, transaction: MailTransaction, message: NewMessage, now: datetime,
                        home: Mailbox | None = None) -> tuple[Acceptance, ...]:
        """Give the success report for local recipients that asked NOTIFY=SUCCESS (F2.14), or nothing."""
        if transaction.sender is None:
            return ()
        asked = [t.recipient for t in transaction.local if "SUCCESS" in t.recipient.notify]
        if not asked:
            return ()
        limit = min(message.facts.header_size, MAX_RETURNED_HEADERS)
        body = message.body
        head = body.inline[:limit] if body.inline is not None else self._blobs.read(body.blob or "", 0, limit)
        source = ReportSource(transaction.sender, transaction.envid, "HDRS", now, transaction.trace_id, head)
        recipients = [DsnRecipient(r.address, DsnAction.DELIVERED, "2.0.0", r.orcpt) for r in asked]
        return (self.report(source, recipients, now, home),)

    def report(self, source: ReportSource, recipients: Sequence[DsnRecipient], now: datetime,
               home: Mailbox | None) -> Acceptance:
        """Give one report to `source.sender`: filed when `home` is its mailbox here, queued otherwise."""
        settings = self._settings
        trace_id = new_trace_id()
        raw = build_dsn(DsnRequest(
            sender=source.sender, domain=settings.domain, reporting_mta=settings.reporting_mta,
            recipients=tuple(recipients), original=source.original, now=now, trace_id=trace_id,
            reference=source.trace_id, arrival=source.arrival, envid=source.envid, ret=source.ret))
        body = StagedBody(len(raw), hashlib.sha256(raw).hexdigest(), inline=raw)
        message = NewMessage(body, b"Return-Path: <>\r\n" if home else b"", facts(raw), trace_id, now)
        event = JournalEvent(JournalKind.REPORT_SENT, now, trace_id, settings.public_address(str(source.sender)),
                             {"about": source.trace_id, "action": str(recipients[0].action)})
        if home is not None:
            return Acceptance(message, (Filing(home.inbox_id),), None, (event,))
        recipient = QueueRecipient(str(source.sender), source.sender.domain, "NEVER")
        entry = QueueEntry("", (recipient,), now + settings.expiry, now)
        return Acceptance(message, (), entry, (event,))
