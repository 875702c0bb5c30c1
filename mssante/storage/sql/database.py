"""Runs units of work on database threads: one writer with group commit, several readers with snapshots.

- The writer takes all units that wait (at most `GROUP`), commits once, and tells the event loop once (`groups` says what becomes
  of a unit that fails, of a full disk, of a broken one). `on_fatal` is called from the thread that wrote.
- A unit may be run twice (alone, after its common run failed): it changes nothing but the database.
- Never awaits inside a transaction. With an engine inside this process, a `quick` read (docs/adr/0012) and what `write_many`
  takes while nobody else writes (`turns`, docs/adr/0025) run on the event loop's thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Any, TypeVar, cast

from mssante.errors import OperatorFault
from mssante.storage.sql.engine import StorageEngine
from mssante.storage.sql.groups import Groups, Job, caller_error, fresh, resolve_from_thread
from mssante.storage.sql.transaction import Transaction
from mssante.storage.sql.turns import LogKeeper, LoopTurns

T = TypeVar("T")
A = TypeVar("A")
R = TypeVar("R")

GROUP = 256  # units per commit


class SqlDatabase:
    """`mssante.storage.interfaces.Database` on one engine."""

    def __init__(self, engine: StorageEngine, *, readers: int = 4,
                 on_fatal: Callable[[BaseException], None] | None = None) -> None:
        self._engine = engine
        self._on_fatal = on_fatal
        self._writes: SimpleQueue[Job | None] = SimpleQueue()
        self._reads: SimpleQueue[Job | None] = SimpleQueue()
        self._refusal: OperatorFault | None = None
        self._closing = threading.Lock()
        writing = Groups(engine, self._stop, self._stopped)
        self._turns = LoopTurns(Groups(engine, self._stop, self._stopped, wait=False), self._hand_over,
                                LogKeeper(engine)) if engine.in_process else None
        reading = [Transaction(engine.connect()) for _ in range(readers)]
        self._quick = Transaction(engine.connect(wait=False)) if engine.in_process else None
        self._writer = threading.Thread(target=self._write_loop, args=(writing,), name="db-writer", daemon=True)
        self._readers = [threading.Thread(target=self._read_loop, args=(tx,), name=f"db-reader-{number}", daemon=True)
                         for number, tx in enumerate(reading)]
        for thread in (self._writer, *self._readers):
            thread.start()

    # ------------------------------------------------------------ callers (event loop)

    async def read(self, unit: Callable[[Any], T], *, quick: bool = False) -> T:
        """Run `unit` on a reader with one snapshot. Raises what `unit` raises, or OperatorFault.

        quick: it reads a few rows by key; it then runs at once, without a thread, where the engine allows it.
        """
        if quick and self._quick is not None and self._refusal is None:
            job = Job(unit, None, many=False)
            self._read_one(self._quick, job)
            if job.error is None:
                return cast(T, job.result)
            if not (isinstance(job.error, OperatorFault) and job.error.rule == "STORE-UNIT"):
                raise job.error
            # Locked for a moment by a checkpoint or another process: a reader's thread may wait for it.
        job = Job(unit, None, many=False)
        self._submit(self._reads, job)
        result: T = await job.future
        return result

    async def write(self, unit: Callable[[Any], T], *, quick: bool = False) -> T:
        """Run `unit` on the writer; returns when committed and synced. Raises StorageFull, OperatorFault, or its own.

        quick: it changes a few rows, and may be run where `write_many` is.
        """
        job = Job(unit, None, many=False)
        self._put(job, turn=quick)
        result: T = await job.future
        return result

    async def write_many(self, unit: Callable[[Any, Sequence[A]], Sequence[R]], item: A) -> R:
        """Run `unit` on all items waiting for it; returns this item's result when committed and synced."""
        job = Job(unit, item, many=True)
        self._put(job, turn=True)
        result: R = await job.future
        return result

    def _put(self, job: Job, *, turn: bool) -> None:
        """Give a unit to a turn of the loop when it may, else to the writer's thread."""
        if self._turns is None or not turn or self._refusal is not None or not self._turns.takes(job):
            self._submit(self._writes, job)

    def _submit(self, queue: SimpleQueue[Job | None], job: Job) -> None:
        if self._refusal is not None:
            raise fresh(self._refusal)
        queue.put(job)

    def _hand_over(self, jobs: list[Job]) -> None:
        for job in jobs:
            self._writes.put(job)

    def _stopped(self) -> OperatorFault | None:
        return self._refusal if self._refusal is not None and self._refusal.rule == "STORE-STOPPED" else None

    def close(self) -> None:
        """Finish waiting units, close connections; later calls raise OperatorFault `STORE-CLOSED`. Safe to call twice."""
        with self._closing:
            if self._refusal is None:
                self._refusal = OperatorFault("storage is closed", rule="STORE-CLOSED")
            if self._turns is not None:
                turns, self._turns = self._turns, None
                turns.close()
            self._writes.put(None)
            self._writer.join()
            for _ in self._readers:
                self._reads.put(None)
            for thread in self._readers:
                thread.join()
            if self._quick is not None:
                quick, self._quick = self._quick, None
                quick.connection.close()

    # ------------------------------------------------------------ readers

    def _read_loop(self, tx: Transaction) -> None:
        try:
            while (job := self._reads.get()) is not None:
                self._read_one(tx, job)
                resolve_from_thread([job])
        finally:
            tx.connection.close()

    def _read_one(self, tx: Transaction, job: Job) -> None:
        try:
            tx.run_text(self._engine.begin_read)
            try:
                job.result = job.unit(tx)
            finally:
                tx.forget()
                tx.run_text("ROLLBACK")
        except Exception as exc:
            job.error = caller_error(self._engine, exc)

    # ------------------------------------------------------------ writer

    def _write_loop(self, groups: Groups) -> None:
        try:
            while (job := self._writes.get()) is not None:
                jobs, last = self._gather(job)
                groups.run(jobs)
                resolve_from_thread(jobs)
                if last:
                    return
        finally:
            groups.close()
            self._refuse_rest()

    def _gather(self, first: Job) -> tuple[list[Job], bool]:
        """Take what waits behind `first`; the flag says that the end mark was among it."""
        jobs = [first]
        take = self._writes.get_nowait
        try:
            while len(jobs) < GROUP:
                job = take()
                if job is None:
                    return jobs, True
                jobs.append(job)
        except Empty:
            pass
        return jobs, False

    def _refuse_rest(self) -> None:
        """Answer units that arrived after the end mark."""
        rest: list[Job] = []
        try:
            while True:
                job = self._writes.get_nowait()
                if job is not None:
                    job.error = fresh(self._refusal) if self._refusal else None
                    rest.append(job)
        except Empty:
            resolve_from_thread(rest)

    def _stop(self, cause: BaseException) -> None:
        if self._refusal is None:
            self._refusal = OperatorFault("storage has stopped", detail=type(cause).__name__, rule="STORE-STOPPED",
                                          remedy="check the disk, then start again")
            if self._on_fatal is not None:
                self._on_fatal(cause)
