"""Runs units of work on database threads: one writer with group commit, several readers with snapshots.

- The writer takes all units that wait (at most `GROUP`), runs each in a savepoint, commits once, and tells the event loop
  once. A unit that fails is rolled back alone.
- `write_many` items of the same function run in one call; if that fails, each runs alone in a savepoint.
- No room on disk: the group is rolled back, its callers get StorageFull, work goes on.
- Any other failure of COMMIT, and any failure of the disk, stops the database for good: after a failed sync nothing
  tells what is on disk (RELIABILITY §1), so the process must stop and replay. `on_fatal` is called from the writer thread.
- A unit may be run twice (alone, after its common run failed): it changes nothing but the database.
- Never awaits inside a transaction. Units run on database threads; only a `quick` read of an engine inside this process
  runs on the event loop's thread (docs/adr/0012).
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Any, TypeVar, cast

from mssante.errors import MssFault, OperatorFault, StorageFull
from mssante.storage.sql.engine import Failure, StorageEngine, is_driver_error
from mssante.storage.sql.transaction import Transaction

T = TypeVar("T")
A = TypeVar("A")
R = TypeVar("R")

GROUP = 256  # units per commit
BUSY_SECONDS = 60.0  # how long a writer waits for another process before its callers get a temporary fault


class Job:
    """One waiting unit and where its outcome goes."""

    __slots__ = ("error", "future", "item", "loop", "many", "result", "unit")

    def __init__(self, unit: Callable[..., Any], item: Any, *, many: bool) -> None:
        self.unit = unit
        self.item = item
        self.many = many
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = self.loop.create_future()
        self.result: Any = None
        self.error: BaseException | None = None


class _GroupEnd(Exception):
    """The whole group is lost: `error` goes to every caller."""

    def __init__(self, error: MssFault, *, fatal: bool) -> None:
        super().__init__(str(error))
        self.error = error
        self.fatal = fatal


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
        writing = Transaction(engine.connect())
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

    async def write(self, unit: Callable[[Any], T]) -> T:
        """Run `unit` on the writer; returns when committed and synced. Raises StorageFull, OperatorFault, or its own."""
        job = Job(unit, None, many=False)
        self._submit(self._writes, job)
        result: T = await job.future
        return result

    async def write_many(self, unit: Callable[[Any, Sequence[A]], Sequence[R]], item: A) -> R:
        """Run `unit` on all items waiting for it; returns this item's result when committed and synced."""
        job = Job(unit, item, many=True)
        self._submit(self._writes, job)
        result: R = await job.future
        return result

    def _submit(self, queue: SimpleQueue[Job | None], job: Job) -> None:
        if self._refusal is not None:
            raise _fresh(self._refusal)
        queue.put(job)

    def close(self) -> None:
        """Finish waiting units, close connections; later calls raise OperatorFault `STORE-CLOSED`. Safe to call twice."""
        with self._closing:
            if self._refusal is None:
                self._refusal = OperatorFault("storage is closed", rule="STORE-CLOSED")
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
                _resolve_from_thread([job])
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
            job.error = self._caller_error(exc)

    # ------------------------------------------------------------ writer

    def _write_loop(self, tx: Transaction) -> None:
        try:
            while (job := self._writes.get()) is not None:
                jobs, last = self._gather(job)
                self._run_group(tx, jobs)
                _resolve_from_thread(jobs)
                if last:
                    return
        finally:
            tx.connection.close()
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
                    job.error = _fresh(self._refusal) if self._refusal else None
                    rest.append(job)
        except Empty:
            _resolve_from_thread(rest)

    def _run_group(self, tx: Transaction, jobs: list[Job]) -> None:
        try:
            if self._refusal is not None and self._refusal.rule == "STORE-STOPPED":
                raise _GroupEnd(self._refusal, fatal=False)
            if not self._attempt(tx, _batches(jobs)):
                # The only batch failed without a savepoint: its items again, one by one.
                self._attempt(tx, [[job] for job in jobs])
        except _GroupEnd as end:
            for job in jobs:
                job.error = _fresh(end.error)
            if end.fatal:
                self._stop(end)
        except Exception as exc:
            # A fault of the engine where none may be (a savepoint that cannot be undone): nothing can be promised.
            self._roll_back(tx)
            for job in jobs:
                job.error = OperatorFault("storage failed", detail=type(exc).__name__, rule="STORE-STOPPED")
            self._stop(exc)

    def _attempt(self, tx: Transaction, batches: list[list[Job]]) -> bool:
        """Run batches in one transaction and commit; False when a lone batch of several items must be run singly."""
        self._begin(tx)
        try:
            if len(batches) == 1:
                again = self._run_lone(tx, batches[0])
                if again is not None:
                    return again
            else:
                for batch in batches:
                    self._run_guarded(tx, batch)
        except _GroupEnd:
            self._roll_back(tx)
            raise
        self._commit(tx)
        return True

    def _begin(self, tx: Transaction) -> None:
        deadline = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                tx.run_text(self._engine.begin_write)
                return
            except Exception as exc:
                failure = self._engine.failure(exc)
                if failure is Failure.BUSY and time.monotonic() < deadline:
                    continue  # the engine already waited for its busy time
                fault = OperatorFault("storage is busy", detail=type(exc).__name__, rule="STORE-BUSY")
                fault.__cause__ = exc
                raise _GroupEnd(self._group_fault(failure, exc) or fault, fatal=failure is Failure.FATAL) from exc

    def _run_lone(self, tx: Transaction, batch: list[Job]) -> bool | None:
        """Run the only batch without savepoint. None: commit it; True: done, rolled back; False: run items singly."""
        try:
            _run(tx, batch)
        except Exception as exc:
            self._raise_if_lost(exc)
            self._roll_back(tx)
            if len(batch) > 1:
                return False
            batch[0].error = self._caller_error(exc)
            return True
        return None

    def _run_guarded(self, tx: Transaction, batch: list[Job]) -> None:
        """Run a batch in a savepoint; when it fails and has several items, run each in its own."""
        before = tx.remember()
        tx.run_text("SAVEPOINT unit")
        try:
            _run(tx, batch)
        except Exception as exc:
            self._raise_if_lost(exc)
            tx.run_text("ROLLBACK TO SAVEPOINT unit")
            tx.run_text("RELEASE SAVEPOINT unit")
            tx.restore(before)
            if len(batch) == 1:
                batch[0].error = self._caller_error(exc)
                return
        else:
            tx.run_text("RELEASE SAVEPOINT unit")
            return
        for job in batch:
            self._run_guarded(tx, [job])

    def _commit(self, tx: Transaction) -> None:
        try:
            tx.flush()
            tx.run_text("COMMIT")
        except Exception as exc:
            self._roll_back(tx)
            failure = self._engine.failure(exc)
            if failure is Failure.FULL:
                raise _GroupEnd(_full(exc), fatal=False) from exc
            # Never again after a failed sync: the page cache may claim what the disk does not hold.
            fault = OperatorFault("storage failed", detail=f"commit: {type(exc).__name__}", rule="STORE-STOPPED",
                                  remedy="check the disk, then start again")
            raise _GroupEnd(fault, fatal=True) from exc
        tx.forget()

    def _roll_back(self, tx: Transaction) -> None:
        tx.forget()
        try:
            tx.run_text("ROLLBACK")
        except Exception as exc:
            # The engine already rolled back by itself (SQLite does on a full disk); a broken disk shows at the next BEGIN.
            if self._engine.failure(exc) is Failure.FATAL:
                self._stop(exc)

    def _raise_if_lost(self, exc: Exception) -> None:
        failure = self._engine.failure(exc)
        if failure is Failure.UNIT:
            return
        fault = self._group_fault(failure, exc)
        if fault is not None:
            raise _GroupEnd(fault, fatal=failure is Failure.FATAL) from exc

    def _group_fault(self, failure: Failure, exc: BaseException) -> MssFault | None:
        if failure is Failure.FULL:
            return _full(exc)
        if failure is Failure.FATAL:
            fault = OperatorFault("storage failed", detail=type(exc).__name__, rule="STORE-STOPPED",
                                  remedy="check the disk, then start again")
            fault.__cause__ = exc
            return fault
        return None

    def _caller_error(self, exc: Exception) -> Exception:
        """Give what a caller sees: a store's own exception as it is, a driver's as OperatorFault."""
        if not is_driver_error(exc):
            return exc
        failure = self._engine.failure(exc)
        fault = self._group_fault(failure, exc)
        if fault is None:
            # The text of a driver error may quote values: only its class goes to the log line.
            fault = OperatorFault("storage failed", detail=type(exc).__name__, rule="STORE-UNIT")
            fault.__cause__ = exc
        return fault

    def _stop(self, cause: BaseException) -> None:
        if self._refusal is None:
            self._refusal = OperatorFault("storage has stopped", detail=type(cause).__name__, rule="STORE-STOPPED",
                                          remedy="check the disk, then start again")
            if self._on_fatal is not None:
                self._on_fatal(cause)


def _fresh(fault: MssFault) -> MssFault:
    """Give a copy: one exception raised in many tasks would gather all their tracebacks."""
    again = type(fault)(fault.public, detail=fault.detail, rule=fault.rule, remedy=fault.remedy)
    again.__cause__ = fault.__cause__
    return again


def _full(exc: BaseException) -> StorageFull:
    fault = StorageFull("no room left", rule="STORE-FULL", remedy="make room on the disk of the database")
    fault.__cause__ = exc
    return fault


def _batches(jobs: list[Job]) -> list[list[Job]]:
    """Group `write_many` items by function, in order of first arrival; a `write` unit stands alone."""
    batches: list[list[Job]] = []
    open_batches: dict[Any, list[Job]] = {}
    for job in jobs:
        if not job.many:
            batches.append([job])
            continue
        batch = open_batches.get(job.unit)  # bound methods are equal when object and function are
        if batch is None:
            batch = open_batches[job.unit] = []
            batches.append(batch)
        batch.append(job)
    return batches


def _run(tx: Transaction, batch: list[Job]) -> None:
    """Call the unit of a batch and keep its results."""
    first = batch[0]
    if not first.many:
        first.result = first.unit(tx)
        return
    results = first.unit(tx, [job.item for job in batch])
    if len(results) != len(batch):
        raise OperatorFault("storage failed", detail="a unit gave too few results", rule="STORE-UNIT")
    for job, result in zip(batch, results, strict=True):
        job.result = result


def _resolve_from_thread(jobs: list[Job]) -> None:
    """Tell each event loop once about all its jobs."""
    loops: dict[asyncio.AbstractEventLoop, list[Job]] = {}
    for job in jobs:
        loops.setdefault(job.loop, []).append(job)
    for loop, own in loops.items():
        try:
            loop.call_soon_threadsafe(_resolve, own)
        except RuntimeError:
            pass  # that loop is closed: nobody waits any more


def _resolve(jobs: list[Job]) -> None:
    for job in jobs:
        if job.future.done():
            continue  # the caller was cancelled; what it wrote stays
        if job.error is not None:
            job.future.set_exception(job.error)
        else:
            job.future.set_result(job.result)
