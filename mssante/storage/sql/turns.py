"""Groups committed on the event loop's own thread, at the end of a turn of the loop (docs/adr/0025).

Beside a busy interpreter a hand-over to the writer's thread and back costs more than the commit itself: every step of the
driver lets the interpreter's lock go, and waits for it. So the units that come in one turn of the loop are run and committed
right there.

- While the loop has other work, whose units may come too, they wait for a few turns more, `PATIENCE` at most: a group costs
  some 0.5 ms whatever it holds. A loop that had nothing else to do for `IDLE_TURNS` turns in a row commits.
- It never stands still for another writer: when the log's or the writer's thread or another process writes, the units wait while
  the loop goes on, for `BESIDE` at most; then they go to the writer's thread, which waits for the lock.
- A disk that is slow does not stop the sessions twice: after a turn of more than `SLOW` seconds everything goes through the
  writer's thread for `REST` seconds, then one turn tries again.
- The write-ahead log is put back into the database by a thread of its own, first beside the turns, then, for what came
  meanwhile, with the writer's lock: a commit of ours never pays for it.
Called by `SqlDatabase`, for engines inside this process. Nothing is ever awaited here.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

from mssante.storage.sql.engine import StorageEngine
from mssante.storage.sql.groups import Groups, Job, Locked, resolve

MOST = 64  # units of one turn: what comes beyond waits for the next one, so that the sockets are served between
ENOUGH = 32  # units for which nobody waits any longer
PATIENCE = 0.004
IDLE_TURN = 0.00003  # a turn this short had nothing else to do: reading one socket takes more
IDLE_TURNS = 3  # so many in a row: what we answered last may be on its way back
SLOW = 0.05
REST = 5.0
LOG_UNITS = 1000  # units after which the log is shortened: a message is 5 to 40 pages of it
AGAIN, BESIDE = 0.001, 0.02  # seconds until the next try beside another writer, and of all tries
TRIES = 20  # to find the moment when nobody writes or reads old pages
PAUSE = 0.002


class LoopTurns:
    """The units of one event loop."""

    def __init__(self, groups: Groups, hand_over: Callable[[list[Job]], None], log: LogKeeper) -> None:
        """groups: on a connection that does not wait; hand_over: gives units to the writer's thread."""
        self._groups = groups
        self._hand_over = hand_over
        self._log = log
        self._waiting: list[Job] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._rest_until = 0.0
        self._since = self._looked = 0.0  # when the first unit came, when a turn last looked
        self._idle = 0  # turns since something else was done
        self._met = 0.0  # since when another writer is in the way

    def takes(self, job: Job) -> bool:
        """Take a unit of the loop that we serve; False: it is for the writer's thread. Call it on that loop's thread."""
        if self._waiting:
            if job.loop is not self._loop:
                return False
            self._waiting.append(job)
            return True
        now = time.monotonic()
        if now < self._rest_until:
            return False
        self._since = self._looked = now
        self._idle = 0
        self._loop = job.loop
        self._waiting.append(job)
        job.loop.call_soon(self._turn)
        return True

    def _turn(self) -> None:
        now = time.monotonic()
        self._idle = self._idle + 1 if now - self._looked < IDLE_TURN else 0
        self._looked = now
        if len(self._waiting) < ENOUGH and self._idle < IDLE_TURNS and now - self._since < PATIENCE and self._loop is not None:
            self._loop.call_soon(self._turn)
            return
        jobs = self._waiting[:MOST]
        if not jobs:
            return
        try:
            self._groups.run(jobs)
        except Locked:
            self._step_aside(jobs, now)
            return
        self._went(len(jobs))
        done = time.monotonic()
        if done - now > SLOW:
            self._rest_until = done + REST
        self._log.grew(len(jobs))
        resolve(jobs)

    def _step_aside(self, jobs: list[Job], now: float) -> None:
        """Another writer has the lock, mostly for a moment: try again soon, or leave the units to the writer's thread."""
        self._met = self._met or now
        if now - self._met < BESIDE and self._loop is not None:
            self._loop.call_later(AGAIN, self._turn)
            return
        self._went(len(jobs))
        self._hand_over(jobs)

    def _went(self, count: int) -> None:
        """Strike the first units off; what came beyond a group is for the next turn."""
        self._met = 0.0
        self._waiting = self._waiting[count:]
        if self._waiting and self._loop is not None:
            self._loop.call_soon(self._turn)

    def close(self) -> None:
        """Give what waits to the writer's thread; close the connection."""
        jobs, self._waiting = self._waiting, []
        self._hand_over(jobs)
        self._groups.close()
        self._log.close()


class LogKeeper:
    """Puts the write-ahead log back into the database, on a thread of its own."""

    def __init__(self, engine: StorageEngine) -> None:
        self._engine = engine
        self._units = 0
        self._woken = threading.Event()
        self._end = False
        self._thread = threading.Thread(target=self._work, name="db-log", daemon=True)
        self._thread.start()

    def grew(self, units: int) -> None:
        """Count units that were committed; wake the thread when they are many."""
        self._units += units
        if self._units >= LOG_UNITS:
            self._units = 0
            self._woken.set()

    def _work(self) -> None:
        connection = self._engine.connect(wait=False)
        try:
            while self._woken.wait() and not self._end:
                self._woken.clear()
                self._engine.shorten_log(connection, wholly=False)
                for _ in range(TRIES):
                    if self._end or self._engine.shorten_log(connection, wholly=True):
                        break
                    time.sleep(PAUSE)
        finally:
            connection.close()

    def close(self) -> None:
        """End the thread."""
        self._end = True
        self._woken.set()
        self._thread.join()
