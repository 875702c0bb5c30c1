"""Following the journal: one base for the services that look at every arrival once (twins, versions, HL7, documents handed in).

- A consumer has one cursor (`consumer_cursor`, by its name) over the sequence of the journal. At its first start it begins at the
  end: it looks at what arrives, not at the past.
- It says which events it wants (`wants`): the others are passed over by the database. Where it stands is then written only now
  and then, when all is quiet or after `STRIDE` events, so that mail that concerns nobody costs a follower no commit.
- Each batch is read in one transaction (`gather`), worked on outside any (`look`), and ended in one (`look` gives what is to be
  written with the move of the cursor). kill -9 before that move makes the batch come again: what `look` does by itself must
  change nothing the second time; what it gives to be written with the move is written once.
- Two processes: the one that finds the cursor moved writes nothing. A fault is told and the same place is tried again, for ever:
  nothing is passed over because it failed. A fault of one consumer does not stop the others.
- It never writes in the journal by itself, never reads a content, and sleeps between two looks when it has caught up.
Called by the topics, each for its own consumer: `open()` once, `run()` as a task, `step()` in tests.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import structlog

from mssante.clock import Clock
from mssante.errors import MssFault
from mssante.storage.interfaces import JournalRow, Stores, Tx

log = structlog.get_logger("journal")
Gathered = TypeVar("Gathered")
Ending = Callable[[Tx], None]
STRIDE = 20_000  # events looked at in one step, and passed over before the cursor moves all the same


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events a consumer reads. kinds: none for all; plain: also arrivals that hold nothing to look into."""

    kinds: frozenset[str] = frozenset()
    plain: bool = True


@dataclass(frozen=True, slots=True)
class _Batch(Generic[Gathered]):
    """What one step read. place: of the cursor; start: looked at before; reached: the last looked at; behind: there is more."""

    place: int
    start: int
    reached: int
    behind: bool
    rows: list[JournalRow]
    gathered: Gathered | None


@dataclass(frozen=True, slots=True)
class Following:
    """How a consumer follows. name: of its cursor; batch: events read at once; poll_seconds: rest when it has caught up;
    forget_seconds: between two removals of what is too old, 0 for none."""

    stores: Stores
    clock: Clock
    name: str
    batch: int = 200
    poll_seconds: float = 1.0
    forget_seconds: float = 0.0


class JournalConsumer(Generic[Gathered]):
    """The base. A consumer gives `gather` and `look`, and `between`, `moved`, `forget` when it has something to do there."""

    def __init__(self, following: Following) -> None:
        self._following = following
        self._forget_at = 0.0
        self._reached = 0  # looked at by this process, without anything wanted since the cursor
        self._behind = False

    # ------------------------------------------------------------------------------- what a consumer gives

    def wants(self, tx: Tx) -> Wanted | None:
        """Say which events are read now, None for none at all: what stands there then is nobody's. Raises MssFault."""
        return Wanted()

    def gather(self, tx: Tx, rows: Sequence[JournalRow]) -> Gathered:
        """Read what a batch is about, in the transaction that reads the batch. Raises MssFault."""
        raise NotImplementedError

    async def look(self, rows: Sequence[JournalRow], gathered: Gathered) -> Ending | None:
        """Treat a batch (never empty); give what to write with the move of the cursor. Raises MssFault: the batch comes again."""
        raise NotImplementedError

    async def moved(self) -> None:
        """The last batch was ended by this process."""

    async def between(self) -> None:
        """Do what does not come from the journal, when all that was there has been read. Raises MssFault."""

    async def forget(self) -> None:
        """Remove what is too old. Raises MssFault."""

    # ------------------------------------------------------------------------------------------- following

    async def open(self) -> None:
        """Begin at the end of the journal when it was never followed. Raises MssFault."""
        stores, name, now = self._following.stores, self._following.name, self._following.clock.now()

        def unit(tx: Tx) -> None:
            if stores.cursors.get(tx, name) is None:
                stores.cursors.move(tx, name, stores.journal.end(tx), now)

        await stores.database.write(unit)

    async def pass_over(self) -> None:
        """Go to the end of the journal: what stands there is nobody's. Raises MssFault."""
        stores, name, now = self._following.stores, self._following.name, self._following.clock.now()
        await stores.database.write(lambda tx: stores.cursors.move(tx, name, stores.journal.end(tx), now))

    async def run(self) -> None:
        """Follow for ever; a fault is told and the same place is tried again."""
        while True:
            try:
                await self._turn()
            except MssFault as fault:
                log.error("journal_not_followed", consumer=self._following.name, rule=fault.rule)
            except Exception as fault:  # the border: what others wrote must not stop the follower
                log.error("journal_not_followed", consumer=self._following.name, kind=type(fault).__name__)
            await asyncio.sleep(self._following.poll_seconds)

    async def _turn(self) -> None:
        following = self._following
        while await self.step() and self._behind:
            pass  # far behind; else what arrives meanwhile makes one batch of the next turn
        await self.between()
        if following.forget_seconds and following.clock.monotonic() >= self._forget_at:
            self._forget_at = following.clock.monotonic() + following.forget_seconds
            await self.forget()

    async def step(self) -> int:
        """Treat one batch; give how many events were looked at, 0 when there was nothing. Raises MssFault."""
        stores, name = self._following.stores, self._following.name
        batch = await stores.database.read(self._read)
        self._behind = batch.behind
        if not batch.rows or batch.gathered is None:
            await self._pass(batch)
            return batch.reached - batch.start
        ending = await self.look(batch.rows, batch.gathered)
        now = self._following.clock.now()

        def end(tx: Tx) -> bool:
            if (stores.cursors.get(tx, name) or 0) != batch.place:
                return False  # another process was here first
            if ending is not None:
                ending(tx)
            stores.cursors.move(tx, name, batch.reached, now)
            return True

        if await stores.database.write(end):
            await self.moved()
        return len(batch.rows)

    def _read(self, tx: Tx) -> _Batch[Gathered]:
        """Read what comes next, and what it is about."""
        stores, following = self._following.stores, self._following
        place = stores.cursors.get(tx, following.name) or 0
        start, end = max(place, self._reached), stores.journal.end(tx)
        until = min(end, start + STRIDE)
        wanted = self.wants(tx) if until > start else None
        rows = [] if wanted is None else stores.journal.after(tx, start, following.batch, until=until, kinds=wanted.kinds,
                                                              plain=wanted.plain)
        reached = rows[-1].sequence if len(rows) == following.batch else until
        return _Batch(place, start, reached, reached < end, rows, self.gather(tx, rows) if rows else None)

    async def _pass(self, batch: _Batch[Gathered]) -> None:
        """Nothing was wanted: remember how far, and write it when nothing comes any more or after a stride."""
        stores, name, now = self._following.stores, self._following.name, self._following.clock.now()

        def unit(tx: Tx) -> None:
            if stores.cursors.get(tx, name) == batch.place:
                stores.cursors.move(tx, name, batch.reached, now)

        self._reached = batch.reached
        quiet = batch.reached == batch.start
        if batch.reached > batch.place and (quiet or batch.reached - batch.place >= STRIDE):
            await stores.database.write(unit, quick=True)


def traces_of(rows: Sequence[JournalRow], kinds: Collection[str]) -> list[str]:
    """Give the trace_ids of the events of some kinds, each once, sorted."""
    return sorted({row.trace_id for row in rows if row.kind in kinds and row.trace_id})
