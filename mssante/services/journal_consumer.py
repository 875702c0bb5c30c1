"""Following the journal: one base for the services that look at every arrival once (twins, versions, HL7, documents handed in).

- A consumer has one cursor (`consumer_cursor`, by its name) over the sequence of the journal. At its first start it begins at the
  end: it looks at what arrives, not at the past.
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

    # ------------------------------------------------------------------------------- what a consumer gives

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
        while await self.step() == following.batch:
            pass  # far behind; else what arrives meanwhile makes one batch of the next turn
        await self.between()
        if following.forget_seconds and following.clock.monotonic() >= self._forget_at:
            self._forget_at = following.clock.monotonic() + following.forget_seconds
            await self.forget()

    async def step(self) -> int:
        """Treat one batch; give how many events it had, 0 when there was nothing. Raises MssFault."""
        stores, name = self._following.stores, self._following.name

        def read(tx: Tx) -> tuple[int, list[JournalRow], Gathered | None]:
            place = stores.cursors.get(tx, name) or 0
            rows = stores.journal.after(tx, place, self._following.batch)
            return place, rows, self.gather(tx, rows) if rows else None

        place, rows, gathered = await stores.database.read(read)
        if not rows or gathered is None:
            return 0
        ending = await self.look(rows, gathered)
        now = self._following.clock.now()

        def end(tx: Tx) -> bool:
            if (stores.cursors.get(tx, name) or 0) != place:
                return False  # another process was here first
            if ending is not None:
                ending(tx)
            stores.cursors.move(tx, name, rows[-1].sequence, now)
            return True

        if await stores.database.write(end):
            await self.moved()
        return len(rows)


def traces_of(rows: Sequence[JournalRow], kinds: Collection[str]) -> list[str]:
    """Give the trace_ids of the events of some kinds, each once, sorted."""
    return sorted({row.trace_id for row in rows if row.kind in kinds and row.trace_id})
