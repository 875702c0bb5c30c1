"""Units of work that are committed together: what the writer's thread and the event loop's turns both do with a group.

- Each batch runs in a savepoint when there are several; a unit that fails is rolled back alone. `write_many` items of the same
  function run in one call; if that fails, each runs alone.
- No room on disk: the group is rolled back, its callers get StorageFull, work goes on.
- Any other failure of COMMIT, and any failure of the disk, is told to `stop`: after a failed sync nothing tells what is on disk
  (RELIABILITY §1).
- One `Groups` serves one connection: it is never run by two threads at once. Called by `database` and `turns`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from mssante.errors import MssFault, OperatorFault, StorageFull
from mssante.storage.sql.engine import Failure, StorageEngine, is_driver_error
from mssante.storage.sql.transaction import Transaction

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


class Locked(Exception):
    """Somebody else writes, and this connection does not wait."""


class _GroupEnd(Exception):
    """The whole group is lost: `error` goes to every caller."""

    def __init__(self, error: MssFault, *, fatal: bool) -> None:
        super().__init__(str(error))
        self.error = error
        self.fatal = fatal


class Groups:
    """Runs groups on one connection."""

    def __init__(self, engine: StorageEngine, stop: Callable[[BaseException], None],
                 refused: Callable[[], OperatorFault | None], *, wait: bool = True) -> None:
        """stop: told of what ends the database; refused: why nothing is done any more, None while all is well; wait: for others
        that write."""
        self._engine = engine
        self._stop = stop
        self._refused = refused
        self._wait = wait
        self._tx = Transaction(engine.connect(wait=wait))

    def close(self) -> None:
        """Close the connection."""
        self._tx.connection.close()

    def run(self, jobs: list[Job]) -> None:
        """Run and commit a group; each job keeps its result or its error. Raises Locked, nothing done, when it may not wait."""
        tx = self._tx
        try:
            refusal = self._refused()
            if refusal is not None:
                raise _GroupEnd(refusal, fatal=False)
            if not self._attempt(tx, _batches(jobs)):
                # The only batch failed without a savepoint: its items again, one by one.
                self._attempt(tx, [[job] for job in jobs])
        except _GroupEnd as end:
            for job in jobs:
                job.error = fresh(end.error)
            if end.fatal:
                self._stop(end)
        except Locked:
            raise
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
                if failure is Failure.BUSY and not self._wait:
                    raise Locked from exc
                if failure is Failure.BUSY and time.monotonic() < deadline:
                    continue  # the engine already waited for its busy time
                fault = OperatorFault("storage is busy", detail=type(exc).__name__, rule="STORE-BUSY")
                fault.__cause__ = exc
                raise _GroupEnd(_group_fault(failure, exc) or fault, fatal=failure is Failure.FATAL) from exc

    def _run_lone(self, tx: Transaction, batch: list[Job]) -> bool | None:
        """Run the only batch without savepoint. None: commit it; True: done, rolled back; False: run items singly."""
        try:
            _run(tx, batch)
        except Exception as exc:
            self._raise_if_lost(exc)
            self._roll_back(tx)
            if len(batch) > 1:
                return False
            batch[0].error = caller_error(self._engine, exc)
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
                batch[0].error = caller_error(self._engine, exc)
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
        fault = _group_fault(failure, exc)
        if fault is not None:
            raise _GroupEnd(fault, fatal=failure is Failure.FATAL) from exc


def _group_fault(failure: Failure, exc: BaseException) -> MssFault | None:
    if failure is Failure.FULL:
        return _full(exc)
    if failure is Failure.FATAL:
        fault = OperatorFault("storage failed", detail=type(exc).__name__, rule="STORE-STOPPED",
                              remedy="check the disk, then start again")
        fault.__cause__ = exc
        return fault
    return None


def caller_error(engine: StorageEngine, exc: Exception) -> Exception:
    """Give what a caller sees: a store's own exception as it is, a driver's as OperatorFault."""
    if not is_driver_error(exc):
        return exc
    failure = engine.failure(exc)
    fault = _group_fault(failure, exc)
    if fault is None:
        # The text of a driver error may quote values: only its class goes to the log line.
        fault = OperatorFault("storage failed", detail=type(exc).__name__, rule="STORE-UNIT")
        fault.__cause__ = exc
    return fault


def fresh(fault: MssFault) -> MssFault:
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


def resolve_from_thread(jobs: list[Job]) -> None:
    """Tell each event loop once about all its jobs."""
    loops: dict[asyncio.AbstractEventLoop, list[Job]] = {}
    for job in jobs:
        loops.setdefault(job.loop, []).append(job)
    for loop, own in loops.items():
        try:
            loop.call_soon_threadsafe(resolve, own)
        except RuntimeError:
            pass  # that loop is closed: nobody waits any more


def resolve(jobs: list[Job]) -> None:
    """Give the callers of one event loop, on its thread, their results and errors."""
    for job in jobs:
        if job.future.done():
            continue  # the caller was cancelled; what it wrote stays
        if job.error is not None:
            job.future.set_exception(job.error)
        else:
            job.future.set_result(job.result)
