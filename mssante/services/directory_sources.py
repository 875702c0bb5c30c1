"""The remote sources of the directory (FHIR, LDAP), asked for one address, with what they answered kept for a while.

- A kept answer that is young enough serves without a question: a day when the address was found, an hour when not (settings).
  A source that does not answer is replaced by what it last said, up to its stale age; the answer always tells when it was given.
- Two callers who ask the same thing at the same time share one question. A caller that stops waiting does not stop the question:
  its answer is kept for the next one. At most 64 questions at once; beyond, a source counts as silent.
- Never raises for a source or a cache that fails: silence is told as such (`rule`), and is not absence.
Called by the desk (`services.directory`), S/MIME (certificates) and `mssante directory ask`. Clients: `transport.annuaire_*`.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any, Protocol

import structlog

from mssante.clock import Clock
from mssante.directory.values import DirectoryEntry, DirectoryQuery, Finding, Presence, Source
from mssante.errors import MssFault
from mssante.storage.remotecache import AnswerCache, KeptAnswer

log = structlog.get_logger("directory")
MAX_QUESTIONS = 64
MAX_ENTRIES = 50
MAX_ADDRESSES = 200  # of one question for certificates


class Found(Protocol):
    """One mailbox as a client gives it."""

    @property
    def entry(self) -> DirectoryEntry:
        """What is published."""
        ...

    @property
    def certificates(self) -> tuple[bytes, ...]:
        """DER."""
        ...


class DirectoryClient(Protocol):
    """One remote source."""

    async def find(self, address: str) -> Sequence[Found]:
        """Give the mailboxes of exactly this address. Raises MssFault."""
        ...

    async def close(self) -> None:
        """Let connections go."""
        ...


@dataclass(frozen=True, slots=True)
class SourceAnswer:
    """What one source says. at: when it said so, None when it never did; fresh: within its lifetime; rule: why it is not, or
    nothing. No entries with `at` set means that the source does not have the address."""

    source: Source
    entries: tuple[DirectoryEntry, ...] = ()
    certificates: tuple[bytes, ...] = ()
    at: datetime | None = None
    fresh: bool = False
    rule: str = ""


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How long an answer serves."""

    found: timedelta = timedelta(hours=24)
    absent: timedelta = timedelta(hours=1)
    stale: timedelta = timedelta(days=30)


class RemoteSources:
    """All configured remote sources, in the order in which they are believed."""

    def __init__(self, clients: Mapping[Source, DirectoryClient], cache: AnswerCache | None, clock: Clock,
                 lifetimes: Lifetimes | None = None) -> None:
        self._clients = dict(clients)
        self._cache = cache
        self._clock = clock
        self._lifetimes = lifetimes or Lifetimes()
        self._running: dict[tuple[Source, str], asyncio.Task[SourceAnswer]] = {}

    @property
    def sources(self) -> tuple[Source, ...]:
        """Those configured."""
        return tuple(self._clients)

    async def answers(self, address: str, *, renew: bool = False) -> tuple[SourceAnswer, ...]:
        """Give what each source says of an address, now or as kept. renew: ask even when a young answer is kept."""
        wanted = address.lower()
        return tuple(await asyncio.gather(*(self._answer(source, wanted, renew=renew) for source in self._clients)))

    async def _answer(self, source: Source, address: str, *, renew: bool) -> SourceAnswer:
        kept = await self._kept(source, address)
        if kept is not None and kept.fresh and not renew:
            return kept
        task = self._running.get((source, address))
        if task is None:
            if len(self._running) >= MAX_QUESTIONS:
                return replace(kept or SourceAnswer(source), rule="ANNUAIRE-OCCUPE")
            task = asyncio.ensure_future(self._ask(source, address))
            self._running[source, address] = task
            task.add_done_callback(lambda _: self._running.pop((source, address), None))
        told = await asyncio.shield(task)
        return told if told.at is not None or kept is None else replace(kept, fresh=False, rule=told.rule)

    async def _ask(self, source: Source, address: str) -> SourceAnswer:
        now = self._clock.now()
        try:
            found = (await self._clients[source].find(address))[:MAX_ENTRIES]
        except MssFault as fault:
            log.info("directory_source_silent", source=source.value, rule=fault.rule, detail=fault.detail[:100])
            return SourceAnswer(source, rule=fault.rule)
        except Exception as exc:  # a bug of a client is not the mail's trouble
            log.error("directory_source_failed", source=source.value, kind=type(exc).__name__)
            return SourceAnswer(source, rule="ANNUAIRE-INCIDENT")
        certificates = tuple(dict.fromkeys(der for one in found for der in one.certificates))
        told = SourceAnswer(source, tuple(one.entry for one in found), certificates, now, fresh=True)
        await self._keep(source, address, told)
        return told

    # ------------------------------------------------------------------------------------------ what is kept

    async def _kept(self, source: Source, address: str) -> SourceAnswer | None:
        if self._cache is None:
            return None
        try:
            row = await asyncio.to_thread(self._cache.get, source.value, address)
        except MssFault as fault:
            log.warning("directory_cache_failed", rule=fault.rule, detail=fault.detail)
            return None
        if row is None:
            return None
        age = self._clock.now() - row.at
        if age > self._lifetimes.stale or age < timedelta(minutes=-5):  # the clock went back: not to be trusted
            return None
        entries, certificates = _read(row.document)
        young = age <= (self._lifetimes.found if row.found else self._lifetimes.absent)
        return SourceAnswer(source, entries, certificates, row.at, fresh=young) if bool(entries) == row.found else None

    async def _keep(self, source: Source, address: str, told: SourceAnswer) -> None:
        if self._cache is None or told.at is None:
            return
        try:
            await asyncio.to_thread(self._cache.put, source.value, address,
                                    KeptAnswer(bool(told.entries), _written(told), told.at))
        except MssFault as fault:
            log.warning("directory_cache_failed", rule=fault.rule, detail=fault.detail)

    # ------------------------------------------------------------------------------------------ certificates

    async def certificates_of(self, addresses: Sequence[str]) -> Mapping[str, Sequence[bytes]]:
        """Give the DER certificates published for addresses: the port of `services.smime_certificates`. An answer past its
        lifetime gives none: a certificate withdrawn since must not serve."""
        wanted = list(dict.fromkeys(one.lower() for one in addresses))[:MAX_ADDRESSES]
        told = await asyncio.gather(*(self.answers(one) for one in wanted))
        found = {address: tuple(dict.fromkeys(der for one in answers if one.fresh for der in one.certificates))
                 for address, answers in zip(wanted, told, strict=True)}
        return {address: ders for address, ders in found.items() if ders}

    async def close(self) -> None:
        """End questions, let connections and the cache go."""
        for task in list(self._running.values()):
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)
        for client in self._clients.values():
            await client.close()
        if self._cache is not None:
            self._cache.close()


class RemoteDesk:
    """`services.directory_port.DirectoryDesk` over remote sources alone, where no mirror is kept: no search, no near ones."""

    def __init__(self, sources: RemoteSources) -> None:
        self._sources = sources

    async def find(self, address: str, *, ask: bool = False) -> Finding:
        """Tell what the sources say; nothing without asking."""
        return finding_of(address.lower(), await self._sources.answers(address)) if ask else Finding(address, Presence.UNKNOWN)

    async def shown(self, address: str) -> Finding:
        """Tell what the sources show of an address."""
        return await self.find(address, ask=True)

    async def search(self, query: DirectoryQuery) -> Sequence[DirectoryEntry]:
        """Nothing: remote sources are asked for exact addresses only (F4.15)."""
        return ()

    async def published(self, addresses: Sequence[str]) -> Mapping[str, tuple[DirectoryEntry, ...]]:
        """Nothing without asking."""
        return {}


def finding_of(address: str, answers: Sequence[SourceAnswer]) -> Finding:
    """Join what sources say: one that has the address outweighs one that has not; silence of one is not absence."""
    spoke = [one for one in answers if one.at is not None]
    entries = tuple(entry for one in spoke for entry in one.entries)
    shown = tuple(entry for entry in entries if entry.red_listed is not True)
    as_of = min((one.at for one in spoke if one.at is not None), default=None)
    presence = Presence.UNKNOWN
    if shown:
        presence = Presence.PUBLISHED
    elif entries:
        presence = Presence.RED_LISTED
    elif spoke and all(one.fresh for one in answers):
        presence = Presence.ABSENT
    return Finding(address, presence, shown, as_of, tuple(one.source for one in spoke))


class LateCertificates:
    """The certificates of remote sources for those built before them: none until `sources` is set."""

    def __init__(self) -> None:
        self.sources: RemoteSources | None = None

    async def certificates_of(self, addresses: Sequence[str]) -> Mapping[str, Sequence[bytes]]:
        """Give the DER certificates published for addresses (`services.smime_certificates.DirectoryCertificates`)."""
        return await self.sources.certificates_of(addresses) if self.sources is not None else {}


_NAMES = {one.name for one in fields(DirectoryEntry)}


def _written(told: SourceAnswer) -> str:
    return json.dumps({"entries": [asdict(one) for one in told.entries],
                       "certificates": [base64.b64encode(der).decode("ascii") for der in told.certificates]}, ensure_ascii=False)


def _read(document: str) -> tuple[tuple[DirectoryEntry, ...], tuple[bytes, ...]]:
    """Give what was kept; nothing when another version of the program wrote it otherwise."""
    try:
        kept = json.loads(document)
        entries = tuple(_entry(one) for one in kept["entries"])
        return entries, tuple(base64.b64decode(one) for one in kept["certificates"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return (), ()


def _entry(kept: dict[str, Any]) -> DirectoryEntry:
    given = {name: value for name, value in kept.items() if name in _NAMES}
    return DirectoryEntry(**{**given, "lines": tuple(given.get("lines", ())), "source": Source(given["source"])})
