"""The workshop: heavy work on documents that others wrote, done by worker processes that may die without hurting anybody.

- `Workshop.run(function, *arguments, seconds=…)` runs a function of a module (one that pickle can name) in a worker and gives
  what it returns. A worker that takes too long is killed; one that eats its memory, crashes or is killed is replaced. Each end
  has a typed fault, `DocumentFault`: DOC-TEMPS, DOC-MEMOIRE, DOC-PANNE, DOC-TAILLE (the result), DOC-FILE (too many jobs wait).
  A fault of ours (`MssFault`) raised by the function comes back as itself.
- **Nothing secret goes in.** A worker is a new program (`execve`), not a copy of the server: no key, no mail of another is in its
  memory. Every descriptor of the server is closed in it but two pipes; its environment is empty but for PATH, LANG and the zone
  of time; its errors go to /dev/null. It has limits on memory, processor time, open files and written size, no core file, no new
  privileges, and dies with the server. Where the kernel knows how (`services.confinement`), it can open no socket, start no
  program and read no file but those of the interpreter and `readable`.
- **Nothing hostile comes out.** A worker that a document has taken over can only answer on its pipe: the answer is bounded, and
  read as values only (`services.workvalues`): primitives, dates, frozen dataclasses and enumerations of mssante.
- Started when the first job comes, at most `workers`; one that did nothing for `idle_seconds` is ended, and one that did
  `_JOBS_EACH` jobs is replaced.

Used by the pre-flight, the readable twins and whoever reads a large document. Floor 4; needs a running loop.
"""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import re
import signal
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from mssante.documents.faults import DocumentFault
from mssante.errors import MssFault
from mssante.lang import language
from mssante.services.confinement import Confinement
from mssante.services.workvalues import read

_Result = TypeVar("_Result")
_HEAD = struct.Struct(">cQ")
_COST = struct.Struct(">dQ")
_CHILD = Path(__file__).with_name("workshop_child.py")
_START_SECONDS = 60.0
_JOBS_EACH = 500


@dataclass(frozen=True, slots=True)
class WorkshopLimits:
    """workers: processes at the same time; memory_bytes: writable memory of each; seconds: time of a job unless it says
    otherwise; waiting: jobs in line beyond those at work; request_bytes, result_bytes: pickled sizes; idle_seconds: life without
    work; reserved_bytes: address space beyond the memory (an XSLT engine reserves 32 GiB that it never writes); readable,
    writable: files and folders besides those of the interpreter."""

    workers: int = 1
    memory_bytes: int = 2_000_000_000
    seconds: float = 30.0
    waiting: int = 32
    request_bytes: int = 256_000_000
    result_bytes: int = 128_000_000
    idle_seconds: float = 300.0
    reserved_bytes: int = 40_000_000_000
    readable: tuple[str, ...] = ()
    writable: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Cost:
    """What the last jobs took. jobs: done since opening; seconds: of the last; peak_bytes: largest resident size of a worker."""

    jobs: int = 0
    seconds: float = 0.0
    peak_bytes: int = 0


class _Worker:
    """One process and its two pipes."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.jobs = 0
        self.idle: asyncio.TimerHandle | None = None

    async def send(self, kind: bytes, *parts: bytes) -> None:
        pipe = self.process.stdin
        if pipe is None:
            raise BrokenPipeError
        pipe.write(_HEAD.pack(kind, sum(len(part) for part in parts)))
        for part in parts:
            pipe.write(part)
        await pipe.drain()

    async def receive(self, most: int) -> tuple[bytes, bytes]:
        pipe = self.process.stdout
        if pipe is None:
            raise BrokenPipeError
        kind, size = _HEAD.unpack(await pipe.readexactly(_HEAD.size))
        if size > most:
            raise _too_large(size)
        return kind, await pipe.readexactly(size)

    def kill(self) -> None:
        """End it and whatever it started, at once."""
        if self.idle is not None:
            self.idle.cancel()
        if self.process.returncode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)  # its own session, so its own group
        if self.process.stdin is not None:
            self.process.stdin.close()

    async def bury(self) -> int:
        """Kill it, wait for its end and give its return code (negative: the signal)."""
        gone = self.process.returncode
        self.kill()
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self.process.wait(), 10)
        return gone if gone is not None else (self.process.returncode or 0)


def _too_large(size: int) -> DocumentFault:
    return DocumentFault("the result of the work on a document is too large", detail=f"{size} octets", rule="DOC-TAILLE",
                         remedy="send a smaller document")


def _too_long(seconds: float) -> DocumentFault:
    return DocumentFault("the work on a document took too long", detail=f"limit {seconds:g} s", rule="DOC-TEMPS",
                         remedy="raise documents.worker_seconds, or send a smaller document")


def _no_memory(most: int) -> DocumentFault:
    return DocumentFault("the work on a document needs too much memory", detail=f"limit {most} octets", rule="DOC-MEMOIRE",
                         remedy="raise documents.worker_memory_bytes, or send a smaller document")


def _broke(detail: str) -> DocumentFault:
    return DocumentFault("the work on a document broke down", detail=detail, rule="DOC-PANNE",
                         remedy="try again; when it lasts, tell the administrator")


def _refuse_waiting(waiting: int) -> DocumentFault:
    return DocumentFault("too many documents wait for their check", detail=f"{waiting} waiting", rule="DOC-FILE",
                         remedy="try again in a moment; raise documents.workers")


def _printable(text: str) -> str:
    """Give a text of a worker on one line: it may reach a reply or a log."""
    return "".join([char if char.isprintable() else " " for char in text[:1000]])


def _rebuilt(body: bytes) -> MssFault:
    """Give back a fault of ours that the function raised; a class that we do not know becomes DOC-PANNE."""
    try:
        told: dict[str, str] = {key: _printable(str(value)) for key, value in json.loads(body).items()}
        told["rule"] = re.sub(r"[^A-Z0-9-]", "", told["rule"])[:64]
        known = getattr(sys.modules.get(told["module"]), told["name"], None)
        if isinstance(known, type) and issubclass(known, MssFault):
            fault = MssFault.__new__(known)
            MssFault.__init__(fault, told["public"], detail=told["detail"], rule=told["rule"], remedy=told["remedy"])
            return fault
        return MssFault(told["public"], detail=told["detail"], rule=told["rule"], remedy=told["remedy"])
    except (ValueError, KeyError, AttributeError):
        return _broke("unreadable fault")


class Workshop:
    """A pool of worker processes. `open()` starts nothing but the right to work; `close()` kills all and ends those who wait."""

    def __init__(self, limits: WorkshopLimits | None = None) -> None:
        self._limits = limits or WorkshopLimits()
        self._room = asyncio.Semaphore(self._limits.workers)
        self._free: list[_Worker] = []
        self._all: set[_Worker] = set()
        self._dying: set[asyncio.Future[int]] = set()
        self._asked = 0
        self._open = False
        self.cost = Cost()
        self.confinement: Confinement | None = None  # what the kernel holds of the last worker

    @property
    def limits(self) -> WorkshopLimits:
        """What bounds the work."""
        return self._limits

    @property
    def alive(self) -> int:
        """Number of worker processes."""
        return sum(1 for worker in self._all if worker.process.returncode is None)

    async def open(self) -> None:
        """Begin to take jobs."""
        self._open = True

    async def close(self) -> None:
        """Take no more jobs and kill the workers; safe when never opened. Jobs at work end with DOC-PANNE."""
        self._open = False
        workers = list(self._all)
        self._free.clear()
        await asyncio.gather(*(worker.bury() for worker in workers))
        if self._dying:
            await asyncio.wait(set(self._dying), timeout=10)
        self._all.clear()

    async def run(self, function: Callable[..., _Result], *arguments: Any, seconds: float | None = None,
                  alone: bool = False) -> _Result:
        """Run `function(*arguments)` in a worker, within `seconds` of its start; give its result (plain values and dataclasses).

        alone: in a worker that served nobody before and serves nobody after.
        Raises DocumentFault (see the module), or the MssFault that the function raised. When cancelled, the worker is killed.
        """
        if not self._open:
            raise _broke("workshop closed")
        limits = self._limits
        if self._asked >= limits.workers + limits.waiting:
            raise _refuse_waiting(self._asked - limits.workers)
        job = pickle.dumps((language(), function, arguments), protocol=5)
        if len(job) > limits.request_bytes:
            raise _too_large(len(job))
        self._asked += 1
        try:
            async with self._room:
                worker = await self._hire(alone)
                return cast(_Result, await self._employ(worker, job, seconds or limits.seconds))
        finally:
            self._asked -= 1

    async def _hire(self, alone: bool) -> _Worker:
        """Give a free worker that lives, or start one."""
        if not self._open:
            raise _broke("workshop closed")
        if alone:
            if self._free:  # never more processes than `workers`
                self._retire(self._free[-1])
            worker = await self._start()
            worker.jobs = _JOBS_EACH
            return worker
        while self._free:
            worker = self._free.pop()
            if worker.idle is not None:
                worker.idle.cancel()
            if worker.process.returncode is None:
                return worker
            self._all.discard(worker)
        return await self._start()

    async def _start(self) -> _Worker:
        """Start a worker: a new program, no descriptor of ours, an environment without our variables."""
        environment = {"PATH": os.defpath, "LANG": "C.UTF-8", "TZ": os.environ.get("TZ", "")}
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-I", str(_CHILD), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL, close_fds=True, start_new_session=True, cwd="/", env=environment)
        except OSError as fault:
            raise _broke(f"cannot start: {type(fault).__name__}") from fault
        worker = _Worker(process)
        self._all.add(worker)
        limits = self._limits
        paths = [path for path in (*sys.path, str(_CHILD.parents[2])) if path]
        setup = {"paths": paths, "memory_bytes": limits.memory_bytes, "reserved_bytes": limits.reserved_bytes,
                 "readable": [*paths, sys.prefix, sys.base_prefix, *limits.readable], "writable": limits.writable,
                 "result_bytes": limits.result_bytes, "parent": os.getpid()}
        try:
            async with asyncio.timeout(_START_SECONDS):
                await worker.send(b"S", json.dumps(setup).encode())
                landlock, seccomp = json.loads((await worker.receive(64))[1])
                self.confinement = Confinement(int(landlock), bool(seccomp))
        except (TimeoutError, OSError, ValueError, asyncio.IncompleteReadError) as fault:
            code = await worker.bury()
            self._all.discard(worker)
            raise _broke(f"did not start, code {code}") from fault
        except BaseException:  # cancelled: nobody would end it
            self._end(worker)
            raise
        return worker

    async def _employ(self, worker: _Worker, job: bytes, seconds: float) -> object:
        """Give a job to a worker and read its answer; whatever goes wrong, the worker is not used again."""
        try:
            async with asyncio.timeout(seconds):
                await worker.send(b"J", struct.pack(">d", seconds), job)
                kind, body = await worker.receive(self._limits.result_bytes + 65_536)
            result = self._answer(kind, body)
        except TimeoutError as fault:
            self._all.discard(worker)
            await worker.bury()
            raise _too_long(seconds) from fault
        except (OSError, asyncio.IncompleteReadError) as fault:
            raise self._death(await self._dismiss(worker), seconds) from fault
        except DocumentFault:
            self._all.discard(worker)
            await worker.bury()
            raise
        except MssFault:
            self._release(worker)
            raise
        except BaseException:  # cancelled: the answer would be taken for that of the next job
            self._end(worker)
            raise
        self._release(worker)
        return result

    def _answer(self, kind: bytes, body: bytes) -> object:
        """Read an answer. Raises DocumentFault, or the fault of the function."""
        if len(body) < _COST.size:
            raise _broke("short answer")
        spent, peak = _COST.unpack_from(body)
        self.cost = Cost(self.cost.jobs + 1, spent, max(peak, self.cost.peak_bytes))
        content = body[_COST.size:]
        if kind == b"F":
            raise _rebuilt(content)
        if kind == b"M":
            raise _no_memory(self._limits.memory_bytes)
        if kind == b"L":
            raise _too_large(self._limits.result_bytes)
        if kind != b"R":
            raise _broke(_printable(content[:200].decode("ascii", "replace")))
        try:
            return read(content)
        except ValueError as fault:
            raise _broke(f"unreadable answer, {fault}") from fault

    def _death(self, code: int, seconds: float) -> DocumentFault:
        """Name the end of a worker by its return code."""
        if code == -signal.SIGXCPU:
            return _too_long(seconds)
        if code == -signal.SIGKILL and self._open:  # not by us: the kernel's answer to a lack of memory
            return _no_memory(self._limits.memory_bytes)
        return _broke(f"worker ended, code {code}")

    async def _dismiss(self, worker: _Worker) -> int:
        """End a worker for good and give its return code."""
        self._all.discard(worker)
        with suppress(asyncio.TimeoutError):  # when its pipe closed it is dying: its own code tells why
            await asyncio.wait_for(worker.process.wait(), 2)
        return await worker.bury()

    def _release(self, worker: _Worker) -> None:
        """Keep a worker for the next job, for a while."""
        worker.jobs += 1
        if not self._open or worker.jobs >= _JOBS_EACH:
            self._end(worker)
            return
        worker.idle = asyncio.get_running_loop().call_later(self._limits.idle_seconds, self._retire, worker)
        self._free.append(worker)

    def _end(self, worker: _Worker) -> None:
        """Kill a worker without waiting; `close` waits for those that are still dying."""
        worker.kill()
        self._all.discard(worker)
        dying = asyncio.ensure_future(worker.process.wait())
        self._dying.add(dying)
        dying.add_done_callback(self._dying.discard)

    def _retire(self, worker: _Worker) -> None:
        if worker in self._free:
            self._free.remove(worker)
            self._end(worker)
