"""The stage of relay tests: the SMTP stage, a mailer that tests command, a relay and a settler on a clock by hand."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from support.smtp_stage import ALICE, EXPIRY, OURS, WAIT_SECONDS, SmtpStage, build, message

from mssante.ids import new_trace_id
from mssante.model.journal import JournalKind
from mssante.model.message import NewMessage, StagedBody
from mssante.model.outcome import Deferred, Delivered, Outcome, Refused
from mssante.protocol.mime.imapview import facts
from mssante.protocol.reports.dsn import DsnFacts, parse_dsn
from mssante.services.ports import RelayBatch, RelayResult
from mssante.services.relay import Relay, RelaySettings
from mssante.services.settlement import SettlementContext, Settler, retry_policy
from mssante.storage.interfaces import Acceptance, QueueEntry, QueueItem, QueueRecipient, Tx

OWNER = f"mx.{OURS}"
LEASE = timedelta(hours=1)
BACK_OFF = timedelta(minutes=5)
REMOTE = "docteur@a.mssante.fr"
PREFIX = b"Received: by mx.hopital.mssante.fr\r\n"
OK = Delivered("250 2.0.0 ok", "mx.a.mssante.fr")
LATER = Deferred("451 4.3.2 later", "mx.a.mssante.fr")
NO = Refused("550 5.1.1 unknown", "5.1.1", "mx.a.mssante.fr")
DOWN = Deferred("connection refused")


@dataclass(slots=True)
class FakeMailer:
    """Gives the outcome put for an address, a domain, or `OK`; keeps what it was asked to carry."""

    answers: dict[str, Outcome | Exception] = field(default_factory=dict)
    batches: list[RelayBatch] = field(default_factory=list)
    contents: list[bytes] = field(default_factory=list)
    gate: asyncio.Event | None = None
    running: int = 0
    most: int = 0

    async def deliver(self, batch: RelayBatch) -> RelayResult:
        self.batches.append(batch)
        self.contents.append(await self._read(batch))
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            if self.gate is not None:
                await self.gate.wait()
        finally:
            self.running -= 1
        outcomes = [self.answers.get(str(one.address), self.answers.get(batch.destination, OK)) for one in batch.recipients]
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome
        told: tuple[Any, ...] = tuple(outcomes)
        reached = any(outcome.remote for outcome in told)
        return RelayResult(told, *(("mx[192.0.2.1]:25", "TLSv1.3 X", "ab" * 32) if reached else ()))

    async def _read(self, batch: RelayBatch) -> bytes:
        if callable(batch.body):
            return b"".join([piece async for piece in batch.body()])
        return b"".join(batch.body)

    def recipients(self) -> list[str]:
        """Give all addresses dialled for so far, in order."""
        return [str(one.address) for batch in self.batches for one in batch.recipients]


@dataclass(slots=True)
class RelayStage:
    """A relay on a stage; `start` begins a life of it."""

    smtp: SmtpStage
    mailer: FakeMailer = field(default_factory=FakeMailer)
    relay: Relay = field(init=False)
    settler: Settler = field(init=False)
    runner: asyncio.Task[None] | None = None
    reads: int = 0

    def __post_init__(self) -> None:
        database = self.smtp.stores.database
        read = database.read

        async def counted(unit: Callable[[Tx], Any], **given: Any) -> Any:
            self.reads += 1
            return await read(unit, **given)

        database.read = counted  # type: ignore[method-assign]
        self.new_life()

    def new_life(self, **settings: Any) -> None:
        """Build a relay as after a start of the process; it does not run yet."""
        smtp = self.smtp
        context = SettlementContext(smtp.stores, smtp.clock, retry_policy(300, 14_400, 4, 48), smtp.reporter, smtp.addresses,
                                    smtp.mailroom, smtp.evidence, frozenset({OURS}))
        self.settler = Settler(context)
        given = {"owner": OWNER, "lease": LEASE, "concurrency": 2, "back_off": BACK_OFF, "poll_seconds": 0.01, **settings}
        self.relay = Relay(smtp.stores, self.mailer, smtp.trust, self.settler, smtp.clock, RelaySettings(**given))
        smtp.mailroom.hand_to(self.relay)

    async def start(self, **settings: Any) -> None:
        """Begin a life, past its recovery."""
        if settings:
            self.new_life(**settings)
        self.runner = asyncio.get_running_loop().create_task(self.relay.run())
        if settings.get("memory_bytes") != 0:
            await self.until(self._takes_over)

    def _takes_over(self) -> bool:
        probe = self.relay.reserve(self._item([REMOTE], ALICE, "", b"x", "", False)).queue
        return probe is not None and bool(probe.lease_owner)

    async def put(self, recipients: list[str], *, sender: str = ALICE, notify: str = "", body: bytes = b"", ret: str = "",
                  blob: bool = False) -> str:
        """Accept a message for other operators; give its trace id."""
        item = self._item(recipients, sender, notify, body or message(sender or "MAILER-DAEMON@x.fr"), ret, blob)
        await self.smtp.mailroom.accept((item,))
        return item.message.trace_id

    def _item(self, recipients: list[str], sender: str, notify: str, body: bytes, ret: str, blob: bool) -> Acceptance:
        now, trace_id = self.smtp.clock.now(), new_trace_id()
        key = None
        if blob:
            writer = self.smtp.stores.blobs.stage()
            writer.write(body)
            key = writer.commit()
        staged = StagedBody(len(body), hashlib.sha256(body).hexdigest(), None if key else body, key)
        rows = tuple(QueueRecipient(one, one.rpartition("@")[2].lower(), notify, f"rfc822;{one}") for one in recipients)
        entry = QueueEntry(sender, rows, now + EXPIRY, now, ret, "env1")
        return Acceptance(NewMessage(staged, PREFIX, facts(body), trace_id, now), (), entry)

    async def until(self, ready: Callable[[], bool]) -> None:
        """Let the loop run until something is true."""
        async with asyncio.timeout(WAIT_SECONDS):
            while not ready():
                await asyncio.sleep(0)

    async def until_queue(self, ready: Callable[[list[QueueItem]], bool]) -> list[QueueItem]:
        """Let the loop run until the queue is as asked; give it."""
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                items = await self.smtp.queue()
                if ready(items):
                    return items

    async def empty(self) -> None:
        """Wait until the queue is empty."""
        await self.until_queue(lambda items: not items)

    async def settled(self, attempts: int, count: int = 1) -> list[QueueItem]:
        """Wait until `count` recipients are queued again after that many attempts, due in the future and not under lease."""
        def ready(items: list[QueueItem]) -> bool:
            return len(items) == count and all(
                item.attempts == attempts and item.last_reply and item.next_attempt_at > self.smtp.clock.now()
                and item.next_attempt_at - self.smtp.clock.now() != LEASE for item in items)

        return await self.until_queue(ready)

    def to(self, instant: datetime) -> None:
        """Move the clock forward to an instant."""
        self.smtp.clock.advance(instant - self.smtp.clock.now())

    async def rounds(self, count: int = 3) -> None:
        """Let the claim loop look at the queue that many times."""
        wanted = self.reads + 2 * count
        await self.until(lambda: self.reads >= wanted)

    async def reports(self, address: str = ALICE) -> list[DsnFacts]:
        """Give the delivery reports in an INBOX."""
        found = [parse_dsn(body) for body in await self.smtp.bodies(address)]
        return [one for one in found if one is not None]

    async def kinds(self) -> list[str]:
        """Give the kinds of all events, oldest first."""
        return [event.kind for event in await self.smtp.journal()]

    async def event(self, kind: JournalKind) -> dict[str, Any]:
        """Give the payload of the only event of a kind."""
        (event,) = await self.smtp.journal(kind)
        return event.payload

    async def close(self) -> None:
        """End everything."""
        await self.relay.stop(WAIT_SECONDS if self.mailer.gate is None else 0.01)
        if self.runner is not None:
            await self.runner
        await self.smtp.close()


async def build_relay(folder: Path, **settings: Any) -> RelayStage:
    """Build the stage; `start` begins the relay's life."""
    return RelayStage(await build(folder, **settings))
