"""The queue runner: claim or take over, attempt, settle (ARCHITECTURE §4b, RELIABILITY §1).

- A message just committed is attempted at once from memory, under a lease written by the same commit: no queue scan
  between acceptance and attempt. Whatever does not fit in the bounded memory waits in storage and is claimed when due.
- The attempt is recorded (attempts, lease) before dialling; a crash costs one interval, never a storm, never a loss.
- The white list is read again at each attempt (RQ-REV); a destination that left it waits, then is bounced as a policy failure.
- While a hold covers a destination (`services.holds`) its mail keeps its pace of attempts but is not dialled.
- Outcomes, journal events and reports of one attempt are one transaction (W2-W4); many attempts share a commit.
- One failing destination backs off as a whole: its other messages are put back without dialling, the rest is not slowed.
- Never clear text, never an attempt without the peer's certificate checked: that is the Mailer's contract.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import structlog

from mssante.clock import Clock
from mssante.errors import InputFault, MssFault
from mssante.model.address import MailAddress, parse_envelope_address
from mssante.model.envelope import Recipient
from mssante.model.message import StoredMessage
from mssante.model.outcome import Deferred, Delivered
from mssante.model.reply import Refuse
from mssante.services.ports import Body, Mailer, RelayBatch, RelayResult
from mssante.services.relay_jobs import Job, job_of_claim, jobs_of_acceptance
from mssante.services.settlement import Settler
from mssante.services.truststate import TrustState
from mssante.storage.interfaces import Acceptance, Accepted, Claim, QueueBatch, Stores, Tx

log = structlog.get_logger("relay")
BLOB_PIECE = 256 * 1024
NOT_DIALLED = ("DESTINATION-RECUL", "RETENUE-", "LB-INDISPONIBLE")  # rules of outcomes that say nothing of the destination
LONGEST_ATTEMPT = timedelta(seconds=1800)  # transport's bound on one transaction: never two attempts of one job at once


@dataclass(frozen=True, slots=True)
class RelaySettings:
    """owner: this process on leases; memory_jobs/memory_bytes bound what waits in memory; poll: longest sleep."""

    owner: str
    lease: timedelta
    concurrency: int
    back_off: timedelta
    memory_jobs: int = 2000
    memory_bytes: int = 64 * 1024 * 1024
    claim_limit: int = 100
    poll_seconds: float = 30.0


@dataclass(slots=True)
class _Lane:
    """One destination: jobs that wait, workers that run."""

    waiting: deque[Job] = field(default_factory=deque)
    workers: int = 0
    back_off_until: datetime | None = None


class Relay:
    """Delivers what is queued for other operators."""

    def __init__(self, stores: Stores, mailer: Mailer, trust: TrustState, settler: Settler, clock: Clock,
                 settings: RelaySettings) -> None:
        self._stores = stores
        self._mailer = mailer
        self._trust = trust
        self._settler = settler
        self._gate = settler.gate
        self._clock = clock
        self._settings = settings
        self._lanes: dict[str, _Lane] = {}
        self._jobs = 0
        self._bytes = 0
        self._wake = asyncio.Event()
        self._recovered = False
        self._stopping = False
        self._tasks: set[asyncio.Task[None]] = set()

    # ------------------------------------------------------------ intake

    def reserve(self, item: Acceptance) -> Acceptance:
        """Before the commit: put our lease on the queue rows when memory has room, so that we attempt at once."""
        entry = item.queue
        size = item.message.body.size
        if entry is None or self._stopping or self._jobs >= self._settings.memory_jobs:
            return item
        if not self._recovered:  # a lease written before `run` released those of a former life would be released with them
            return item
        if self._bytes + size > self._settings.memory_bytes or any(self._backs_off(r.destination)
                                                                   for r in entry.recipients):
            return item
        until = self._clock.now() + self._settings.lease
        return replace(item, queue=replace(entry, lease_owner=self._settings.owner, lease_until=until,
                                           next_attempt_at=until))

    def handed(self, item: Acceptance, result: Accepted) -> None:
        """After the commit: attempt at once what is leased to us, else let the claim loop find it."""
        if item.queue is None or not item.queue.lease_owner:
            self._wake.set()
            return
        for job in jobs_of_acceptance(item, result):
            self._enqueue(job)

    def _backs_off(self, destination: str) -> bool:
        lane = self._lanes.get(destination)
        return lane is not None and lane.back_off_until is not None and lane.back_off_until > self._clock.now()

    def _enqueue(self, job: Job) -> None:
        lane = self._lanes.setdefault(job.destination, _Lane())
        lane.waiting.append(job)
        self._jobs += 1
        self._bytes += job.held_bytes
        if lane.workers < self._settings.concurrency:
            lane.workers += 1
            self._spawn(self._work(job.destination, lane))

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # ------------------------------------------------------------ the claim loop

    async def run(self) -> None:
        """Claim what is due until stopped. At start, leases of a former life of this process are released."""
        owner = self._settings.owner
        released = await self._stores.database.write(
            lambda tx: self._stores.queue.release_leases(tx, owner, self._clock.now()))
        self._recovered = True
        if released:
            log.info("leases_released", recipients=released)
        while not self._stopping:
            self._wake.clear()
            try:
                claimed = await self._claim()
                pause = 0.0 if claimed == self._settings.claim_limit else await self._pause()
            except MssFault as fault:
                log.error("claim_failed", kind=fault.kind, rule=fault.rule, detail=fault.detail)
                pause = 1.0
            if pause:
                try:
                    await asyncio.wait_for(self._wake.wait(), pause)
                except TimeoutError:
                    continue

    async def _claim(self) -> int:
        if self._jobs >= self._settings.memory_jobs // 2:
            return 0
        now = self._clock.now()
        busy = frozenset(name for name, lane in self._lanes.items()
                         if len(lane.waiting) > self._settings.claim_limit or self._backs_off(name))
        claim = Claim(now, self._settings.claim_limit, busy, self._settings.owner, now + self._settings.lease)

        def due(tx: Tx) -> datetime | None:
            return self._stores.queue.next_due(tx)

        first = await self._stores.database.read(due)
        if first is None or first > now:  # nothing to write: leave the disk alone
            return 0

        def unit(tx: Tx) -> list[QueueBatch]:
            return self._stores.queue.claim(tx, claim)

        batches = await self._stores.database.write(unit)
        for batch in batches:
            self._enqueue(job_of_claim(batch, claim.lease_until))
        return len(batches)

    async def _pause(self) -> float:
        """Give seconds to sleep: until the next due time, at least a tick so that a backed-off lane spins nothing."""
        first = await self._stores.database.read(lambda tx: self._stores.queue.next_due(tx))
        if first is None:
            return self._settings.poll_seconds
        wait = (first - self._clock.now()).total_seconds()
        return min(max(wait, 0.2), self._settings.poll_seconds)

    def kick(self) -> None:
        """Look at the queue now (an operator asked for a retry)."""
        for lane in self._lanes.values():
            lane.back_off_until = None
        self._wake.set()

    # ------------------------------------------------------------ attempts

    async def _work(self, destination: str, lane: _Lane) -> None:
        try:
            while lane.waiting and not self._stopping:
                job = lane.waiting.popleft()
                self._jobs -= 1
                self._bytes -= job.held_bytes
                await self._attempt(job, lane)
        finally:
            lane.workers -= 1
            if not lane.workers and not lane.waiting and lane.back_off_until is None:
                self._lanes.pop(destination, None)

    async def _attempt(self, job: Job, lane: _Lane) -> None:
        if self._clock.now() + LONGEST_ATTEMPT > job.lease_until:  # it waited here too long: the claim loop takes it again
            log.warning("lease_too_short_left", trace_id=job.trace_id)
            return
        try:
            content = job.content or await self._read(job)
            result = self._refused_now(job, lane)
            if result is None:
                result = self._gate.after(job.destination, await self._mailer.deliver(self._batch(job, content)))
            self._note_lane(lane, result)
            await self._settler.settle(job, content, result)
            if any(isinstance(outcome, Deferred) for outcome in result.outcomes):
                self._wake.set()  # the claim loop may sleep beyond the new due time
        except MssFault as fault:  # the lease runs out and the job is claimed again
            log.error("attempt_failed", kind=fault.kind, rule=fault.rule, detail=fault.detail, trace_id=job.trace_id)
        except Exception:
            log.exception("attempt_fault", trace_id=job.trace_id)

    async def _read(self, job: Job) -> StoredMessage:
        def unit(tx: Tx) -> list[StoredMessage]:
            return self._stores.messages.contents(tx, [job.message_id], with_body=True)

        return (await self._stores.database.read(unit))[0]

    def _refused_now(self, job: Job, lane: _Lane) -> RelayResult | None:
        """Decide without dialling: the destination is held, left the list, or backs off."""
        held = self._gate.before(job.destination)
        if held is not None:
            return RelayResult(tuple(held for _ in job.recipients))
        decision = self._trust.may_relay_to(job.destination)
        if isinstance(decision, Refuse):
            outcome = self._gate.unlisted(job.destination, decision)
            return RelayResult(tuple(outcome for _ in job.recipients))
        if lane.back_off_until is not None and lane.back_off_until > self._clock.now():
            waiting = Deferred("destination unreachable a moment ago, not dialled again yet", rule="DESTINATION-RECUL")
            return RelayResult(tuple(waiting for _ in job.recipients))
        return None

    def _note_lane(self, lane: _Lane, result: RelayResult) -> None:
        if any(isinstance(outcome, Delivered) for outcome in result.outcomes):
            lane.back_off_until = None
        elif not result.remote and all(isinstance(o, Deferred) and not o.rule.startswith(NOT_DIALLED)
                                       for o in result.outcomes):
            lane.back_off_until = self._clock.now() + self._settings.back_off

    def _batch(self, job: Job, content: StoredMessage) -> RelayBatch:
        recipients = tuple([Recipient(_address(item.recipient.address),
                                      frozenset(item.recipient.notify.split(",")) - {""}, item.recipient.orcpt)
                            for item in job.recipients])
        body, size = self._body(content)
        return RelayBatch(job.destination, _address(job.sender) if job.sender else None, recipients, body, size,
                          job.trace_id, job.ret, job.envid, job.smtputf8, body_8bit=_has_8bit(content))

    def _body(self, content: StoredMessage) -> tuple[Body, int]:
        size = len(content.prefix) + content.body_size
        if content.inline is not None:
            return [content.prefix, content.inline], size
        return self._blob_pieces(content), size

    def _blob_pieces(self, content: StoredMessage) -> Callable[[], AsyncIterator[bytes]]:
        async def pieces() -> AsyncIterator[bytes]:
            yield content.prefix
            loop = asyncio.get_running_loop()
            for offset in range(0, content.body_size, BLOB_PIECE):
                yield await loop.run_in_executor(None, self._stores.blobs.read, content.blob or "", offset, BLOB_PIECE)

        return pieces

    async def stop(self, seconds: float) -> None:
        """Claim no more, let attempts under way end within `seconds`; what is left is claimed again at next start."""
        self._stopping = True
        self._wake.set()
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=seconds)
        for task in set(self._tasks):
            task.cancel()


def _address(text: str) -> MailAddress:
    try:
        return parse_envelope_address(text, True)
    except InputFault:  # stored by an older rule: give it to the peer as it is, it will answer
        local, _, domain = text.rpartition("@")
        return MailAddress(local, domain)


def _has_8bit(content: StoredMessage) -> bool:
    return content.inline is None or not content.inline.isascii()
