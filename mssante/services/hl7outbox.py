"""Gives HL7 messages to the applications: a durable queue for each, in order, one at a time, until each is taken or refused.

- AA: given. AR, no answer, a connection that fails: tried again with the same MSH-10, the delay doubling up to a limit; nothing
  overtakes it, since the order of documents matters (a replacement must not come before what it replaces).
- AE: refused for good. With ERR-5 of 900 to 906 the sender of the mail is told (services.hl7replies), and the message stands in
  the repair list; a technical error stands in the repair list alone (volet LPS 1.1: they are mended on this side).
- The end of a row, the mail to the sender, the repair entry and the journal are one transaction.
- A crash between the answer of the application and the commit repeats the message with the same MSH-10, which tells the
  application that it has it already.
Called by topics.hl7.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from mssante.clock import Clock
from mssante.errors import InputFault, MssFault
from mssante.model.journal import JournalEvent, JournalKind
from mssante.observability.metrics import HOSPITAL_OUT, HOSPITAL_REPAIRS
from mssante.protocol.hl7v2 import cisis, er7
from mssante.protocol.hl7v2.faults import Hl7Code, Hl7Fault
from mssante.protocol.hl7v2.values import APPLICATION_ERRORS
from mssante.services.hl7replies import Replies, Reply, Verdict
from mssante.services.hl7values import Application
from mssante.storage.interfaces import Stores, Tx
from mssante.storage.interfacing import GIVEN, OPEN, REFUSED, OutboxItem, RepairItem

log = structlog.get_logger("hl7")
LIMITS = er7.Limits(message=1 << 20)  # of an answer
MDM = "mdm"


class Link(Protocol):
    """The connection to one application (transport.mllp)."""

    async def exchange(self, content: bytes) -> bytes:
        """Give a message and give the answer. Raises MssFault."""
        ...

    async def close(self) -> None:
        """End the connection."""
        ...


@dataclass(frozen=True, slots=True)
class OutboxSettings:
    """Delays between attempts, and between looks at an empty queue."""

    first: timedelta
    most: timedelta
    poll_seconds: float


@dataclass(frozen=True, slots=True)
class OutboxParts:
    """What a queue stands on."""

    stores: Stores
    clock: Clock
    replies: Replies
    settings: OutboxSettings


class Outbox:
    """The queue of one application."""

    def __init__(self, application: Application, link: Link, parts: OutboxParts) -> None:
        self._application = application
        self._link = link
        self._stores = parts.stores
        self._clock = parts.clock
        self._replies = parts.replies
        self._settings = parts.settings
        self._bell = asyncio.Event()

    def ring(self) -> None:
        """Say that something was put in."""
        self._bell.set()

    async def run(self) -> None:
        """Give messages until cancelled."""
        while True:
            wait = await self._turn()
            if wait > 0:
                self._bell.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._bell.wait()

    async def _turn(self) -> float:
        """Do one step; give how long to wait before the next."""
        try:
            return await self.step()
        except MssFault as fault:
            log.error("hl7_outbox_failed", application=self._application.name, rule=fault.rule)
        except Exception as fault:  # the border: one message that we cannot treat must not stop the operator
            log.error("hl7_outbox_failed", application=self._application.name, kind=type(fault).__name__)
        return self._settings.most.total_seconds()

    async def step(self) -> float:
        """Give the oldest waiting message; give the seconds to wait, 0 when there may be more. Raises MssFault."""
        stores, name = self._stores, self._application.name
        item = await stores.database.read(lambda tx: stores.interfacing.head(tx, name))
        if item is None:
            return self._settings.poll_seconds
        now = self._clock.now()
        if item.next_attempt_at > now:
            return min((item.next_attempt_at - now).total_seconds(), self._settings.poll_seconds)
        try:
            answer = await self._ask(item)
        except (MssFault, Hl7Fault) as fault:
            why = f" {fault.detail}"[:200] if fault.rule == "HL7-TLS" else ""  # OpenSSL's words: expired, wrong name…
            return await self._later(item, (fault.rule or "HL7-REPONSE") + why)
        if answer.code == "AR":
            return await self._later(item, f"AR {answer.condition}".strip())
        await self._settle(item, answer)
        return 0.0

    async def _ask(self, item: OutboxItem) -> cisis.Answer:
        raw = await self._link.exchange(item.body)
        message = er7.parse(raw, LIMITS, default_charset="iso-8859-15")
        answer = cisis.read_answer(message)
        if answer.control_id != item.control_id:
            await self._link.close()  # it answers something else: nothing behind it can be trusted
            raise cisis.unexpected(answer)
        return answer

    async def _later(self, item: OutboxItem, reason: str) -> float:
        """Note an attempt in vain; give the delay."""
        settings = self._settings
        delay: timedelta = min(settings.first * 2 ** min(item.attempts, 30), settings.most)
        when = self._clock.now() + delay
        stores = self._stores
        await stores.database.write(lambda tx: stores.interfacing.attempted(tx, item.sequence, when, reason))
        HOSPITAL_OUT.labels(self._application.name, item.kind, "later", "").inc()
        log.warning("hl7_waits", application=self._application.name, control_id=item.control_id, kind=item.kind, reason=reason,
                    attempts=item.attempts + 1, trace_id=item.trace_id)
        return min(delay.total_seconds(), settings.poll_seconds)

    async def _settle(self, item: OutboxItem, answer: cisis.Answer) -> None:
        now = self._clock.now()
        taken = answer.code == "AA"
        code = "" if taken else answer.application or answer.condition or "906"
        label = APPLICATION_ERRORS.get(answer.application, "")  # our words: theirs may quote an identity
        detail = answer.code if taken else f"AE {answer.condition} {answer.application} {label}".strip()
        event = JournalEvent(JournalKind.INTERFACE_GIVEN, now, item.trace_id, self._application.name, {
            "control_id": item.control_id, "kind": item.kind, "answer": answer.code, "condition": answer.condition,
            "code": answer.application, "attempts": item.attempts + 1})

        def unit(tx: Tx) -> None:
            self._stores.interfacing.settle(tx, item.sequence, GIVEN if taken else REFUSED, detail)
            self._stores.journal.append(tx, [event])
            if not taken:
                self._stores.interfacing.add_repair(tx, self._repair(item, code, detail, now))

        reply = await self._reply(item, self._verdict(item, answer, code)) if item.kind == MDM else None
        if reply is None:
            await self._stores.database.write(unit)
        else:
            await self._replies.send(reply, unit)
        HOSPITAL_OUT.labels(self._application.name, item.kind, "given" if taken else "refused", _bounded(code)).inc()
        if not taken:
            HOSPITAL_REPAIRS.labels(self._application.name).inc()
        log.info("hl7_given" if taken else "hl7_not_taken", application=self._application.name, control_id=item.control_id,
                 kind=item.kind, answer=answer.code, code=code, trace_id=item.trace_id)

    async def _reply(self, item: OutboxItem, verdict: Verdict) -> Reply | None:
        """Give what the sender is told; a mail that cannot be answered must not stop the queue. Raises MssFault (storage)."""
        try:
            return await self._replies.about(item, verdict)
        except InputFault as fault:
            log.error("hl7_sender_not_told", rule=fault.rule, trace_id=item.trace_id)
        except MssFault:
            raise
        except Exception as fault:  # the border: what the sender wrote
            log.error("hl7_sender_not_told", kind=type(fault).__name__, trace_id=item.trace_id)
        return None

    def _verdict(self, item: OutboxItem, answer: cisis.Answer, code: str) -> Verdict:
        """What the sender may be told: a code of table applicationErrorCode; a technical error is not his."""
        if answer.code == "AA":
            return Verdict(item)
        return Verdict(item, code, APPLICATION_ERRORS[code]) if code in APPLICATION_ERRORS else Verdict(item, technical=True)

    def _repair(self, item: OutboxItem, code: str, detail: str, now: datetime) -> RepairItem:
        return RepairItem(self._application.name, item.mailbox_id, item.message_id, item.trace_id, code, detail, OPEN, now, now)


def _bounded(code: str) -> str:
    """Give a code as a metric may show it: applications may answer anything."""
    return code if not code or code in APPLICATION_ERRORS or code in {str(int(one)) for one in Hl7Code} else "other"
