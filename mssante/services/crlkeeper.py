"""The CRLs: fetch, verify, admit, keep, swap; each at its own pace (ECO.1.1.6, ECO.1.1.7, F3.3, F3.7).

- Several addresses: one full CRL for each authority is the normal case; parts of one authority live side by side (`trust.crl`).
- A CRL that cannot be had, or that is not believed, leaves the last one in force; it serves until its `nextUpdate`, and for
  what it revokes after it too. The alarm metric of its address is up meanwhile, and the journal says why, once.
- Fetched anew after `crl_refresh_seconds` or half of the CRL's life, whichever is shorter; after a failure, sooner: 15 s, then
  twice as long each time, up to that.
- An address that hangs holds up none of the others. Reading and files are left to `executor`, never to the event loop.
- Never raises for what a source gave or for a full disk. Called by `services.trustkeeper`.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import structlog

from mssante.clock import Clock
from mssante.errors import InputFault, MssFault
from mssante.model.journal import JournalKind
from mssante.observability.metrics import TRUST_ALARM
from mssante.services.evidence import Evidence
from mssante.services.listhistory import write_atomically
from mssante.services.trustalarms import SourceAlarms, as_fault
from mssante.services.truststate import TrustState
from mssante.trust.crl import Crl, parse_any_crl

log = structlog.get_logger("trust")
FIRST_RETRY_SECONDS = 15.0
SHORTEST_SECONDS = 1.0  # a CRL that lives for an instant is not asked for without pause


class FetchedCrl(Protocol):
    """body None: not modified."""

    @property
    def body(self) -> bytes | None:
        """Octets, or None."""
        ...

    @property
    def etag(self) -> str:
        """Validator for the next fetch."""
        ...


class CrlFetcher(Protocol):
    """`transport.http.HttpFetcher`, or a fake."""

    async def fetch(self, url: str, *, max_bytes: int, etag: str = "") -> FetchedCrl:
        """Give the body at a configured URL. Raises OperatorFault."""
        ...


@dataclass(frozen=True, slots=True)
class CrlSettings:
    """From configuration; the folder exists or is made. urls: where CRLs are published; refresh_seconds: longest pause."""

    urls: tuple[str, ...]
    folder: Path
    max_bytes: int
    refresh_seconds: float


@dataclass(slots=True)
class _Source:
    """One address. held: the last CRL that it gave and that was admitted; failures: in a row."""

    name: str
    url: str
    path: Path
    etag: str = ""
    held: Crl | None = None
    failures: int = 0


class CrlKeeper:
    """Keeps the CRLs of `TrustState` fresh."""

    def __init__(self, state: TrustState, evidence: Evidence, clock: Clock, executor: Executor, fetcher: CrlFetcher,
                 settings: CrlSettings) -> None:
        self._state = state
        self._evidence = evidence
        self._clock = clock
        self._executor = executor
        self._fetcher = fetcher
        self._settings = settings
        self._alarms = SourceAlarms(evidence)
        self._sources = tuple(_Source(f"crl{index}", url, settings.folder / f"{index}.crl")
                              for index, url in enumerate(settings.urls))

    def load_kept(self) -> None:
        """Put in force what the last life left on disk, verified again; missing or bad files are told and skipped."""
        for source in self._sources:
            if not source.path.exists():
                continue
            try:
                self._admit(source, self._read(source.path.read_bytes()))
            except (MssFault, OSError) as fault:
                TRUST_ALARM.labels(source.name).set(1)
                log.error("kept_copy_refused", source=source.name, rule=getattr(fault, "rule", ""), detail=str(fault)[:300])

    async def load_missing(self) -> None:
        """Put in force kept CRLs of authorities that have none in force: the anchors changed. Bad ones wait for their refresh."""
        for source in self._sources:
            held = source.held
            if held is not None and self._state.snapshot.crls.held_for(held) is not None:
                continue
            try:
                raw = await asyncio.to_thread(source.path.read_bytes)
                self._admit(source, await asyncio.get_running_loop().run_in_executor(self._executor, self._read, raw))
            except (MssFault, OSError):
                source.etag = ""  # no copy that does: the next fetch is a whole one

    def _read(self, raw: bytes) -> Crl:
        """Verify a CRL against our authorities. Raises InputFault."""
        return parse_any_crl(raw, self._state.snapshot.anchors, self._clock.now())

    def _admit(self, source: _Source, crl: Crl) -> bool:
        """Put a verified CRL in force (event loop thread); False when it is the one in force. Raises InputFault."""
        snapshot = self._state.snapshot
        crls = snapshot.crls.admit(crl)
        source.held = crl
        if crls is snapshot.crls:
            return False
        self._state.swap(replace(snapshot, crls=crls))
        return True

    async def refresh(self) -> None:
        """Fetch every configured CRL now, all at once."""
        await asyncio.gather(*(self._try(source) for source in self._sources))

    async def run(self) -> None:
        """Refresh for ever, each source at its own pace."""
        await asyncio.gather(*(self._follow(source) for source in self._sources))

    async def _follow(self, source: _Source) -> None:
        while True:
            await asyncio.sleep(self._pause(source))
            try:
                await self._try(source)
            except Exception as fault:  # a refresh that fails in an unforeseen way must not end the next ones
                source.failures += 1
                log.exception("refresh_failed", kind=type(fault).__name__)

    def _pause(self, source: _Source) -> float:
        """Give the seconds until a source is asked again."""
        longest = self._settings.refresh_seconds
        if source.held is not None:  # F3.7: half of its life
            life = (source.held.next_update - source.held.this_update).total_seconds()
            longest = min(longest, max(life / 2, SHORTEST_SECONDS))
        if source.failures:
            return min(longest, FIRST_RETRY_SECONDS * 2.0 ** min(source.failures - 1, 20))
        return longest

    async def _try(self, source: _Source) -> None:
        try:
            await self._refresh(source)
        except (MssFault, OSError) as fault:
            source.failures += 1
            self._alarms.ring(source.name, JournalKind.CRL_REFUSED, as_fault(fault))
        else:
            source.failures = 0
            self._alarms.well(source.name)

    async def _refresh(self, source: _Source) -> None:
        """Fetch, verify, put in force, keep. Raises MssFault, OSError (in force then, but not kept)."""
        fetched = await self._fetcher.fetch(source.url, max_bytes=self._settings.max_bytes, etag=source.etag)
        if fetched.body is not None:
            loop = asyncio.get_running_loop()
            crl = await loop.run_in_executor(self._executor, self._read, fetched.body)
            if self._admit(source, crl):
                await loop.run_in_executor(self._executor, write_atomically, source.path, fetched.body)
                self._evidence.write(self._evidence.event(JournalKind.CRL_ADOPTED, source.url, {
                    "octets": len(fetched.body), "number": crl.number, "next_update": crl.next_update.isoformat()}))
            source.etag = fetched.etag
        kept = self._state.snapshot.crls.held_for(source.held) if source.held is not None else None
        if kept is not None and kept.next_update < self._clock.now():
            raise InputFault("CRL in force is past its nextUpdate", rule="CRL-EXPIREE", remedy="ask the authority")
