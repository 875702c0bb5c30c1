"""Values of the relay: one job is one message for one destination, claimed under one lease."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from mssante.model.message import StoredMessage
from mssante.model.outcome import Deferred, Delivered, Outcome, Refused
from mssante.storage.interfaces import Acceptance, Accepted, QueueBatch, QueueRecipient


@dataclass(slots=True)
class JobRecipient:
    """recipient_id: queue row; attempts: with the one under way."""

    recipient_id: int
    recipient: QueueRecipient
    attempts: int


@dataclass(slots=True)
class Job:
    """content None: to be read from storage when its turn comes."""

    queue_id: int
    message_id: int
    trace_id: str
    sender: str
    destination: str
    created_at: datetime
    expires_at: datetime
    ret: str
    envid: str
    smtputf8: bool
    delay_notified: bool
    lease_until: datetime
    recipients: list[JobRecipient]
    content: StoredMessage | None = None

    @property
    def held_bytes(self) -> int:
        """Octets of content kept in memory for this job."""
        return len(self.content.inline) if self.content is not None and self.content.inline else 0


def job_of_claim(batch: QueueBatch, lease_until: datetime) -> Job:
    """Give the job of a batch claimed from storage until an instant."""
    recipients = [JobRecipient(row_id, recipient, attempts) for row_id, recipient, attempts in batch.recipients]
    return Job(batch.queue_id, batch.message_id, batch.trace_id, batch.sender, batch.destination, batch.created_at,
               batch.expires_at, batch.ret, batch.envid, batch.smtputf8, batch.delay_notified, lease_until, recipients)


def jobs_of_acceptance(item: Acceptance, result: Accepted) -> list[Job]:
    """Give the jobs of a message just committed with its lease ours, one for each destination."""
    entry = item.queue
    if entry is None or entry.lease_until is None:
        return []
    message = item.message
    content = StoredMessage(result.message_id, message.prefix, message.body.inline, message.body.blob,
                            message.body.size, b"", b"", message.facts.header_size, message.trace_id)
    jobs: dict[str, Job] = {}
    for row_id, recipient in zip(result.queue_recipient_ids, entry.recipients, strict=True):
        job = jobs.get(recipient.destination)
        if job is None:
            job = Job(result.queue_id, result.message_id, message.trace_id, entry.sender, recipient.destination,
                      message.received_at, entry.expires_at, entry.ret, entry.envid, entry.smtputf8, False,
                      entry.lease_until, [], content)
            jobs[recipient.destination] = job
        job.recipients.append(JobRecipient(row_id, recipient, 1))
    return list(jobs.values())


def reply_text(outcome: Outcome) -> str:
    """Give the remote reply, with our rule when we decided."""
    rule = getattr(outcome, "rule", "")
    return f"{outcome.reply} [{rule}]" if rule and f"[{rule}]" not in outcome.reply else outcome.reply


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of one recipient after an attempt. next_at only when it stays queued."""

    item: JobRecipient
    outcome: Outcome
    next_at: datetime | None = None

    @property
    def state(self) -> str:
        """The state that the queue records."""
        if isinstance(self.outcome, Delivered):
            return "delivered"
        return "queued" if isinstance(self.outcome, Deferred) else "failed"


def expired(outcome: Deferred, age: timedelta, epitaph: str = "") -> Refused:
    """Give the failure of a recipient that stayed deferred too long (RFC 3463 X.4.7). epitaph: why it was held, if it was."""
    hours = int(age.total_seconds() // 3600)
    lead = f"{epitaph}; " if epitaph else ""
    return Refused(f"{lead}delivery time expired after {hours} h; last answer: {outcome.reply}", "4.4.7", outcome.remote,
                   outcome.rule or "DELAI-EXPIRE")
