"""Publication of our mailboxes in the national directory: what is wanted, sent, accepted, visible (spec §4.2, api-mss-fhir §4).

- `sweep` compares every mailbox with its row: local provisioning is the truth, whoever changed it. `nudge` does so at once for
  those that this process just changed.
- `send_due` groups what is due by holder: one request may change several entries of a professional, so that two boxes never both
  hold the first rank. A group that is refused is sent again entry by entry: one bad entry never holds its neighbours.
- Idempotent: the row is written after the answer, and an insertion that meets itself, or a deletion that finds nothing, is
  the success of an attempt whose answer was lost. A crash costs one repeated request, never a lost or doubled entry.
- A refusal for good waits for a human (`held`), with its rule; everything else is tried again, later and later, without end.
- The journal has one event for each entry accepted or held; attempts that will be repeated are counted only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

import structlog

from mssante.clock import Clock
from mssante.directory.patch import Operation, changes, rewrite
from mssante.directory.publication import BoxFacts, PublicationPolicy, PublishedBox, read_box, wanted_box
from mssante.directory.values import Presence
from mssante.errors import InputFault, MssFault
from mssante.model.journal import JournalEvent, JournalKind
from mssante.model.mailbox import Mailbox
from mssante.observability.metrics import PUBLICATION_ANSWERS, PUBLICATION_ROWS
from mssante.services.directory_port import DirectoryDesk
from mssante.services.publication_port import Answer, Change, PublicationDriver, Receipt, SendResult
from mssante.storage.interfaces import Stores, Tx
from mssante.storage.publication import PublicationRow, PublicationState

log = structlog.get_logger("publication")
PAGE = 500
BATCH = 100  # rows of one round
LOOKS = 200  # entries whose visibility one round asks for
HELD_AFTER_GONE = "PUB-ABSENTE"
FactsReader = Callable[[Tx, Sequence[Mailbox]], Mapping[int, BoxFacts]]


@dataclass(frozen=True, slots=True)
class PublicationSettings:
    """domains: hosted here, citizens' excepted; per_second: requests; retry in seconds, doubled up to the longest."""

    policy: PublicationPolicy
    domains: frozenset[str]
    first_retry_seconds: float = 60
    longest_retry_seconds: float = 21600
    per_second: float = 5


@dataclass(slots=True)
class _Work:
    """One row under way: what is left to send, by holder."""

    row: PublicationRow
    sent: PublishedBox | None
    wanted: PublishedBox | None
    answer: Answer | None = None

    def requests(self) -> list[tuple[tuple[str, str, str], tuple[Operation, ...]]]:
        """Give (holder, operations); an entry that changes holder is first inserted at the new one."""
        if self.sent is not None and self.wanted is not None and self.sent.holder != self.wanted.holder:
            return [(self.wanted.holder, changes(None, self.wanted)), (self.sent.holder, changes(self.sent, None))]
        box = self.wanted or self.sent
        operations = changes(self.sent, self.wanted)
        return [(box.holder, operations)] if box is not None and operations else []


class Publisher:
    """Keeps the directory's entries of our mailboxes as they should be. driver: None when nothing is sent."""

    def __init__(self, stores: Stores, clock: Clock, settings: PublicationSettings, *, facts: FactsReader,
                 driver: PublicationDriver | None = None, desk: DirectoryDesk | None = None) -> None:
        self._stores = stores
        self._clock = clock
        self._settings = settings
        self._facts = facts
        self._driver = driver
        self._desk = desk
        self._sleep = asyncio.sleep
        self._noted: set[str] = set()

    # ------------------------------------------------------------------------------------------ what is wanted

    async def sweep(self) -> int:
        """Compare every mailbox with its row; give how many rows changed. Reads and writes page by page."""
        changed, after = 0, ""
        while True:
            boxes = await self._stores.database.read(partial(self._stores.accounts.list_mailboxes, limit=PAGE, after=after))
            last = boxes[-1].address if len(boxes) == PAGE else ""
            changed += await self._compare(boxes, after, last)
            if not last:
                break
            after = last
        await self._count()
        return changed

    def note(self, address: str) -> None:
        """A mailbox changed: it is compared at the next `catch_up` (memory only: a sweep finds it as well)."""
        self._noted.add(address.lower())

    async def catch_up(self) -> int:
        """Compare the mailboxes noted since the last call; give how many rows changed. Raises MssFault (they stay noted)."""
        taken = sorted(self._noted)
        changed = await self.nudge(taken) if taken else 0
        self._noted.difference_update(taken)
        return changed

    async def nudge(self, addresses: Sequence[str]) -> int:
        """Compare these mailboxes now; give how many rows changed."""
        changed = 0
        for address in sorted({one.lower() for one in addresses}):
            boxes = await self._stores.database.read(partial(self._stores.accounts.mailboxes_by_address, addresses=[address]))
            changed += await self._compare(boxes, _before(address), address)
        return changed

    async def _compare(self, boxes: Sequence[Mailbox], after: str, last: str) -> int:
        """Compare the mailboxes of a range with its rows. last: empty for no end."""
        now = self._clock.now()

        def look(tx: Tx) -> list[PublicationRow]:
            ours = [box for box in boxes if box.address.rpartition("@")[2] in self._settings.domains]
            facts = self._facts(tx, ours)
            rows = {row.address: row for row in self._stores.publication.between(tx, after, last)}
            found = [self._judged(box, facts.get(box.id, BoxFacts()), rows.pop(box.address, None), now) for box in ours]
            found += [_row(row.address, row, "", "", now) for row in rows.values()]  # their mailbox is gone
            return [row for row in found if row is not None]

        rows = await self._stores.database.read(look)
        if rows:
            await self._stores.database.write(lambda tx: self._stores.publication.put(tx, look(tx)))
        return len(rows)

    def _judged(self, box: Mailbox, facts: BoxFacts, row: PublicationRow | None, now: datetime) -> PublicationRow | None:
        try:
            wanted = wanted_box(box, facts, self._settings.policy)
        except InputFault as fault:
            return _row(box.address, row, row.sent if row is not None else "", f"{fault.rule}: {fault.public}", now)
        return _row(box.address, row, wanted.text() if wanted is not None else "", "", now)

    # ------------------------------------------------------------------------------------------ sending

    async def send_due(self) -> int:
        """Send one batch of what is due; give how many rows were treated."""
        driver = self._driver
        if driver is None:
            return 0
        now = self._clock.now()
        rows = await self._stores.database.read(lambda tx: self._stores.publication.due(tx, now, BATCH))
        works = [work for row in rows if (work := await self._opened(row)) is not None]
        done: list[_Work] = []
        for group in _groups(works):
            await self._send_group(driver, group)
            done += group
            await self._settle(group)
        return len(rows)

    async def _opened(self, row: PublicationRow) -> _Work | None:
        try:
            return _Work(row, read_box(row.sent), read_box(row.wanted))
        except InputFault as fault:
            held = replace(row, state=PublicationState.HELD, last_error=f"{fault.rule}: {fault.public}")
            await self._stores.database.write(lambda tx: self._stores.publication.put(tx, [held]))
            return None

    async def _send_group(self, driver: PublicationDriver, group: Sequence[_Work]) -> None:
        """Send the entries of one holder together, or one by one when together they are refused."""
        if len(group) > 1:
            holder = group[0].requests()[0][0]
            operations = tuple(operation for work in group for operation in work.requests()[0][1])
            answer = await self._ask(driver, holder, operations, group)
            if answer.result in (SendResult.ACCEPTED, SendResult.TAKEN, SendResult.LATER):
                for work in group:
                    work.answer = answer
                return
        for work in group:
            work.answer = await self._send_one(driver, work)

    async def _send_one(self, driver: PublicationDriver, work: _Work) -> Answer:
        answer = Answer(SendResult.ACCEPTED)
        for holder, operations in work.requests():
            answer = await self._ask(driver, holder, operations, [work])
            if answer.result is SendResult.EXISTS and work.wanted is not None:
                answer = await self._adopt(driver, work.wanted, work)
            elif answer.result is SendResult.GONE:
                answer = await self._missing(driver, work)
            if answer.result not in (SendResult.ACCEPTED, SendResult.TAKEN):
                return answer
        return answer

    async def _adopt(self, driver: PublicationDriver, wanted: PublishedBox, work: _Work) -> Answer:
        """The entry stands there already: leave it when it is as wanted, else write it whole (api-mss-fhir §4.1)."""
        if self._desk is not None:
            finding = await self._desk.shown(wanted.address)
            if any(_same(one, wanted) for one in finding.entries):
                return Answer(SendResult.ACCEPTED, detail="adopted")
        answer = await self._ask(driver, wanted.holder, rewrite(wanted), [work])
        return replace(answer, result=SendResult.REFUSED) if answer.result is SendResult.GONE else answer

    async def _missing(self, driver: PublicationDriver, work: _Work) -> Answer:
        """What we had published is not there: a deletion is done; a change begins again by an insertion."""
        if work.wanted is None:
            return Answer(SendResult.ACCEPTED, detail="gone already")
        answer = await self._ask(driver, work.wanted.holder, changes(None, work.wanted), [work])
        return answer if answer.result not in (SendResult.EXISTS, SendResult.GONE) else replace(
            answer, result=SendResult.REFUSED, rule=HELD_AFTER_GONE)

    async def _ask(self, driver: PublicationDriver, holder: tuple[str, str, str], operations: tuple[Operation, ...],
                   group: Sequence[_Work]) -> Answer:
        change = Change(*holder, operations, tuple(work.wanted for work in group if work.wanted is not None),
                        tuple(work.row.address for work in group))
        answer = await driver.send(change)
        PUBLICATION_ANSWERS.labels(answer.result.value).inc()
        await self._sleep(1 / self._settings.per_second if self._settings.per_second > 0 else 0)
        return answer

    async def _settle(self, group: Sequence[_Work]) -> None:
        """Write what became of a group, with its journal events."""
        now = self._clock.now()
        rows = [self._settled(work, now) for work in group if work.answer is not None]
        events = [_event(work, row, now) for work, row in zip(group, rows, strict=True)
                  if row.state is not PublicationState.DUE and row.state is not PublicationState.SENT]

        def unit(tx: Tx) -> None:
            # a sweep may have changed what is wanted meanwhile: then the row stays due, with what is now known to be sent
            standing = {row.address: row for work in group for row in
                        self._stores.publication.between(tx, _before(work.row.address), work.row.address)}
            self._stores.publication.put(tx, [_merged(row, standing.get(row.address)) for row in rows])
            self._stores.journal.append(tx, events)

        await self._stores.database.write(unit)

    def _settled(self, work: _Work, now: datetime) -> PublicationRow:
        row, answer = work.row, work.answer or Answer(SendResult.LATER)
        if answer.result is SendResult.ACCEPTED:
            state = PublicationState.ACCEPTED if row.wanted else PublicationState.WITHDRAWN
            return replace(row, sent=row.wanted, state=state, attempts=0, sent_at=now, accepted_at=now, visible_at=None,
                           version=answer.version, last_error="")
        if answer.result is SendResult.TAKEN:
            return replace(row, state=PublicationState.SENT, sent_at=now, attempts=row.attempts + 1, last_error="",
                           version=answer.version)
        error = f"{answer.rule}: {answer.detail}" if answer.detail else answer.rule
        if answer.result is SendResult.LATER:
            delay = min(self._settings.first_retry_seconds * 2 ** min(row.attempts, 20), self._settings.longest_retry_seconds)
            return replace(row, attempts=row.attempts + 1, last_error=error,
                           next_attempt_at=now + timedelta(seconds=max(delay, answer.after_seconds)))
        return replace(row, state=PublicationState.HELD, attempts=row.attempts + 1, last_error=error)

    # ------------------------------------------------------------------------------------------ afterwards

    async def take_receipts(self) -> int:
        """Take the late answers of the driver; give how many."""
        receipts = await self._driver.receipts() if self._driver is not None else []
        for receipt in receipts:
            await self._stores.database.write(partial(self._take, receipt, self._clock.now()))
        return len(receipts)

    def _take(self, receipt: Receipt, now: datetime, tx: Tx) -> None:
        key = receipt.address.lower()
        for row in self._stores.publication.between(tx, _before(key), key):
            if row.state is not PublicationState.SENT or row.version != receipt.version:
                continue  # of a change that another one overtook
            answer = (Answer(SendResult.ACCEPTED, version=receipt.version) if receipt.accepted
                      else Answer(SendResult.REFUSED, "PUB-RETOUR", receipt.detail))
            work = _Work(row, read_box(row.sent), read_box(row.wanted), answer)
            settled = self._settled(work, now)
            self._stores.publication.put(tx, [settled])
            self._stores.journal.append(tx, [_event(work, settled, now)])

    async def look(self, *, after: str = "", limit: int = LOOKS) -> tuple[int, str]:
        """Ask the directory which accepted entries are seen; give (how many became so, address to go on from or empty)."""
        if self._desk is None:
            return 0, ""
        rows = await self._stores.database.read(lambda tx: self._stores.publication.page(tx, after=after, limit=limit))
        seen: list[PublicationRow] = []
        for row in rows:
            if row.visible_at is None and await self._is_seen(row):
                seen.append(replace(row, visible_at=self._clock.now()))
        if seen:
            await self._stores.database.write(lambda tx: self._stores.publication.put(tx, [
                one for one in seen if self._stores.publication.between(tx, _before(one.address), one.address) == [
                    replace(one, visible_at=None)]]))
        return len(seen), rows[-1].address if len(rows) == limit else ""

    async def _is_seen(self, row: PublicationRow) -> bool:
        """Tell if the directory shows what it accepted: the entry, or its absence. A red-listed one is never shown (F4.3)."""
        try:
            box = read_box(row.sent)
        except InputFault:
            return False
        if self._desk is None or row.state not in (PublicationState.ACCEPTED, PublicationState.WITHDRAWN):
            return False
        if box is not None and box.red_listed:
            return False
        finding = await self._desk.shown(row.address)
        if box is None:
            return finding.presence in (Presence.ABSENT, Presence.CLOSED)
        return bool(finding.entries)

    async def _count(self) -> None:
        counts = await self._stores.database.read(lambda tx: self._stores.publication.counts(tx))
        for state in PublicationState:
            PUBLICATION_ROWS.labels(state.value).set(counts.get(state, 0))

    async def run(self, *, sweep_seconds: float, tick_seconds: float = 2.0) -> None:
        """Sweep, send and look until cancelled. A fault of one round is logged, the next round comes."""
        since_sweep, after = sweep_seconds, ""
        while True:
            try:
                if since_sweep >= sweep_seconds:
                    since_sweep = 0.0
                    await self.sweep()
                    _, after = await self.look(after=after)
                await self.catch_up()
                while await self.send_due() == BATCH:
                    pass
                await self.take_receipts()
            except MssFault as fault:
                log.warning("publication_round_failed", rule=fault.rule, fault=type(fault).__name__)
            await asyncio.sleep(tick_seconds)
            since_sweep += tick_seconds


def _before(address: str) -> str:
    """Give the greatest text below an address, for a range of one."""
    return address[:-1] + chr(ord(address[-1]) - 1) + "\U0010ffff" if address else ""


def _row(address: str, row: PublicationRow | None, wanted: str, unfit: str, now: datetime) -> PublicationRow | None:
    """Give the row as it must be, None when it is so already. unfit: why the entry cannot be published."""
    sent = row.sent if row is not None else ""
    if unfit:
        state = PublicationState.HELD
    elif wanted == sent:
        state = PublicationState.ACCEPTED if wanted else PublicationState.WITHDRAWN
    else:
        state = PublicationState.DUE
    if row is None:
        fresh = PublicationRow(address, wanted, "", state, now, now, last_error=unfit)
        return fresh if state is not PublicationState.WITHDRAWN else None
    if row.wanted == wanted and row.last_error == unfit and unfit:
        return None
    if row.wanted == wanted and not unfit and not row.last_error.startswith("PUB-TITULAIRE"):
        return None  # under way, accepted, or held by the directory's answer
    return replace(row, wanted=wanted, state=state, wanted_at=now, next_attempt_at=now, attempts=0, last_error=unfit,
                   visible_at=row.visible_at if wanted == sent else None)


def _merged(row: PublicationRow, standing: PublicationRow | None) -> PublicationRow:
    if standing is None or standing.wanted == row.wanted:
        return row
    return replace(standing, sent=row.sent, state=PublicationState.DUE, version=row.version)


def _groups(works: Sequence[_Work]) -> list[list[_Work]]:
    """Group rows that one request can change; those that need several requests stand alone."""
    groups: dict[object, list[_Work]] = {}
    for work in works:
        requests = work.requests()
        groups.setdefault(requests[0][0] if len(requests) == 1 else work.row.address, []).append(work)
    return list(groups.values())


def _same(entry: object, wanted: PublishedBox) -> bool:
    """Compare what the directory shows with what we want; what it does not show (responsible) is not compared."""
    names = ("address", "type", "description", "service", "rank")
    return (all(getattr(entry, name, None) == getattr(wanted, name) for name in names)
            and bool(getattr(entry, "red_listed", False)) == wanted.red_listed and not wanted.responsible)


def _event(work: _Work, row: PublicationRow, now: datetime) -> JournalEvent:
    action = "withdraw" if work.wanted is None else "publish" if work.sent is None else "change"
    answer = work.answer or Answer(SendResult.LATER)
    return JournalEvent(JournalKind.PUBLICATION, now, "", row.address, {
        "action": action, "state": row.state.value, "rule": answer.rule, "detail": answer.detail[:200],
        "red_list": bool(work.wanted is not None and work.wanted.red_listed)})
