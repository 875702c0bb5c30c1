"""Keeps the mirror of the national directory fresh: looks, downloads what is new, has it adopted, tells how it went.

- HEAD tells novelty: the stamp of the Content-Disposition (F4.7), else ETag and Last-Modified; what is in force is not downloaded
  again. What was refused is not downloaded again either until something else is offered.
- 429 and 503: the wait that the server asks for is respected, doubled at each further one. Other failures: first a minute, then
  twice as long each time, up to the ordinary pace.
- What is refused leaves the last good mirror; the journal says why, once a cause, and the alarm is up. A mirror that grows old
  raises the alarm too (gaps up to 10 days are ordinary, F4.8).
Started by `topics.directory`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol, TypeVar

import structlog

from mssante.clock import Clock
from mssante.directory.extraction import stamp_of
from mssante.errors import MssFault, OperatorFault
from mssante.model.journal import JournalKind
from mssante.observability.metrics import DIRECTORY_ADOPTIONS, DIRECTORY_AGE, DIRECTORY_ALARM, DIRECTORY_ENTRIES
from mssante.services.evidence import Evidence
from mssante.storage.mirror import Adoption, ImportRequest, Mirror

log = structlog.get_logger("directory")
T = TypeVar("T")
FIRST_RETRY_SECONDS = 60.0
LONGEST_RETRY_SECONDS = 86400.0


class TooManyRequests(OperatorFault):
    """The server asks us to wait. seconds: 0 when it did not say how long."""

    def __init__(self, seconds: float, status: int) -> None:
        super().__init__("the directory asks us to wait", detail=f"HTTP {status}, {seconds:.0f} s", rule="HTTP-ATTENTE",
                         remedy="directory.refresh_seconds")
        self.seconds = seconds


@dataclass(frozen=True, slots=True)
class Offer:
    """What a source offers. name: Content-Disposition or file name; path: where it stands, None after a look over HTTP."""

    name: str
    etag: str = ""
    modified: str = ""
    path: Path | None = None


class ExtractionOrigin(Protocol):
    """Where extractions come from: `transport.annuaire_extraction.ExtractionSource`, or a fake."""

    async def look(self, known: Offer | None) -> Offer:
        """Tell what is offered, without fetching it. Raises OperatorFault."""
        ...

    async def fetch(self, target: Path) -> Offer:
        """Write it into a file, or name the file that it is already. Raises OperatorFault, OSError."""
        ...


@dataclass(frozen=True, slots=True)
class KeeperSettings:
    """folder: where a download waits; refresh_seconds: ordinary pace; oldest: age that raises the alarm."""

    folder: Path
    refresh_seconds: float
    oldest: timedelta


class DirectoryKeeper:
    """One mirror and where it comes from."""

    def __init__(self, mirror: Mirror, origin: ExtractionOrigin, evidence: Evidence, clock: Clock, executor: Executor | None,
                 settings: KeeperSettings) -> None:
        self._mirror = mirror
        self._origin = origin
        self._evidence = evidence
        self._clock = clock
        self._executor = executor
        self._settings = settings
        self._seen: Offer | None = None  # the last one that was adopted, refused, or found in force
        self._stamp: datetime | None = None
        self._failures = 0
        self._wait = 0.0
        self._told = ""
        self._refused = False  # what is offered was refused, and nothing else was offered since

    async def run(self) -> None:
        """Refresh for ever."""
        while True:
            try:
                await self.refresh()
            except Exception as exc:  # a refresh that fails in an unforeseen way must not end the next ones
                self._failures += 1
                log.exception("directory_refresh_failed", kind=type(exc).__name__)
            await asyncio.sleep(self.pause())

    def pause(self) -> float:
        """Give the seconds until the next look."""
        if not self._failures:
            return self._settings.refresh_seconds
        doubled = 2.0 ** min(self._failures - 1, 20)
        if self._wait:
            return min(max(self._wait * doubled, self._wait), LONGEST_RETRY_SECONDS)
        return min(FIRST_RETRY_SECONDS * doubled, self._settings.refresh_seconds)

    async def refresh(self) -> Adoption | None:
        """Look, and take in what is new; give it, None when nothing is new or it failed."""
        adopted: Adoption | None = None
        try:
            adopted = await self._refresh()
        except (MssFault, OSError) as error:
            fault = error if isinstance(error, MssFault) else OperatorFault(
                "extraction could not be written to disk", detail=type(error).__name__, rule="MIROIR-DISQUE",
                remedy="room and rights of directory.folder")
            self._failed(fault)
        else:
            self._failures, self._wait, self._told = 0, 0.0, ""
        await self._measure()
        return adopted

    def _failed(self, fault: MssFault) -> None:
        self._failures += 1
        self._wait = fault.seconds if isinstance(fault, TooManyRequests) else 0.0
        refused = not isinstance(fault, OperatorFault)
        self._refused = self._refused or refused
        DIRECTORY_ADOPTIONS.labels("refused" if refused else "unreachable").inc()
        if self._told == fault.rule:
            return
        self._told = fault.rule
        log.error("directory_refused", rule=fault.rule, text=fault.public, detail=fault.detail)
        self._evidence.write(self._evidence.event(JournalKind.DIRECTORY_REFUSED, "extraction", {
            "rule": fault.rule, "text": fault.public[:300], "detail": fault.detail[:200]}))

    async def _refresh(self) -> Adoption | None:
        if self._stamp is None:
            held = (await self._off(self._mirror.state)).latest
            self._stamp = held.stamp if held is not None else None
        offer = await self._origin.look(self._seen)
        stamp = stamp_of(offer.name)
        if stamp is not None and stamp == self._stamp:
            self._refused = False
            return None
        if self._same(offer):
            return None
        target = self._settings.folder / "download.part"
        await self._off(lambda: self._settings.folder.mkdir(parents=True, exist_ok=True, mode=0o700))
        try:
            fetched = await self._origin.fetch(target)
            self._seen = Offer(fetched.name, fetched.etag, fetched.modified)
            request = ImportRequest(fetched.path or target, fetched.name, self._clock.now())
            adoption = await self._off(lambda: self._mirror.adopt(request))
        finally:
            await self._off(lambda: target.unlink(missing_ok=True))
        self._refused = False
        if adoption is not None:
            self._stamp = adoption.stamp
            DIRECTORY_ADOPTIONS.labels("adopted").inc()
            self._evidence.write(self._evidence.event(JournalKind.DIRECTORY_ADOPTED, "extraction", {
                "stamp": adoption.stamp.isoformat(), "rows": adoption.rows, "added": adoption.added, "removed": adoption.removed,
                "changed": adoption.changed, "sha256": adoption.sha256}))
        return adoption

    def _same(self, offer: Offer) -> bool:
        """Tell if an offer is the one seen last; one that says nothing of itself never is."""
        seen = self._seen
        return seen is not None and (offer.name, offer.etag, offer.modified) == (seen.name, seen.etag, seen.modified) and bool(
            offer.etag or offer.modified or stamp_of(offer.name))

    async def _off(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, call)

    async def _measure(self) -> None:
        try:
            state = await self._off(self._mirror.state)
        except MssFault:
            DIRECTORY_ALARM.set(1)
            return
        DIRECTORY_ENTRIES.set(state.entries)
        age = self._clock.now() - state.latest.stamp if state.latest is not None else None
        DIRECTORY_AGE.set(age.total_seconds() if age is not None else -1)
        DIRECTORY_ALARM.set(int(self._refused or age is None or age > self._settings.oldest))
