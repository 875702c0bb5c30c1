"""The directory desk: what is known of an address, and search, over mirror, own mailboxes and remote sources (spec §4.5).

- Our own domains are answered by the provisioning base: it is the authority for them, red list included. Elsewhere the mirror
  answers, then, when asked to, the FHIR and LDAP sources for what it lacks.
- PUBLISHED, RED_LISTED, CLOSED, ABSENT and UNKNOWN are told apart: ABSENT only when a source young enough was read; nothing to
  read is UNKNOWN. Each finding names its sources and the oldest of their dates.
- Never raises for a source that is down. Reading blocks nobody: it runs in the executor.
Callers: `services.directory_port`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

import structlog

from mssante.clock import Clock
from mssante.directory.values import DirectoryEntry, DirectoryQuery, Finding, Presence, Source
from mssante.errors import MssFault
from mssante.services.directory_port import RemoteAnswer, RemoteAsker
from mssante.storage.mirror import Located, Mirror

log = structlog.get_logger("directory")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LocalBox:
    """One of our mailboxes. open: it takes mail; closed_at: when it was closed, if that is known."""

    entry: DirectoryEntry
    open: bool = True
    red_listed: bool = False
    closed_at: datetime | None = None


class LocalBoxes(Protocol):
    """The provisioning base as the desk reads it."""

    def covers(self, domain: str) -> bool:
        """Tell if a domain is ours."""
        ...

    async def box(self, address: str) -> LocalBox | None:
        """Give our mailbox of a lower-case address. Raises MssFault."""
        ...

    async def several(self, addresses: Sequence[str]) -> Mapping[str, LocalBox]:
        """Give our mailboxes of lower-case addresses, those that exist. Raises MssFault."""
        ...

    async def exchanges(self, mailbox_id: int) -> Mapping[str, float]:
        """Give with whom a mailbox exchanges, by weight. Raises MssFault."""
        ...

    async def closed(self, address: str) -> tuple[datetime, str] | None:
        """Give when an address elsewhere was told to be closed, and by what. Raises MssFault."""
        ...


class Desk:
    """`services.directory_port.DirectoryDesk`."""

    def __init__(self, mirror: Mirror, clock: Clock, executor: Executor | None, *, local: LocalBoxes | None = None,
                 remote: RemoteAsker | None = None, oldest: timedelta = timedelta(days=10), citizens: str = "") -> None:
        """executor: None for the loop's own; oldest: age beyond which the mirror's silence is no absence (F4.8); citizens: the
        domain of which nothing is told, whoever asks, nor asked elsewhere: the local part of its addresses is an identity."""
        self.mirror = mirror
        self._clock = clock
        self._executor = executor
        self._local = local
        self._remote = remote
        self._oldest = oldest
        self._citizens = f"@{citizens.lower()}" if citizens else ""

    def _silent(self, address: str) -> bool:
        """Tell if an address is a citizen's (lower case): it has no entry, for a box that exists as for one that does not."""
        return bool(self._citizens) and address.rstrip(". ").endswith(self._citizens)

    async def _off(self, call: Callable[[], T], otherwise: T) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, call)
        except MssFault as fault:
            log.error("directory_mirror_failed", rule=fault.rule, detail=fault.detail)
            return otherwise

    async def find(self, address: str, *, ask: bool = False) -> Finding:
        """Tell what is known of an address. ask: may ask the FHIR and LDAP sources when the mirror lacks it."""
        key = address.strip().lower()[:254]
        if self._silent(key):
            return Finding(key, Presence.UNKNOWN)
        own = await self._own(key)
        if own is not None:
            return own
        located = await self._off(lambda: self.mirror.find(key), Located((), (), None, None))
        if located.entries:
            return Finding(key, Presence.PUBLISHED, located.entries, located.as_of, (Source.EXTRACTION,))
        answers = await self._answers(key) if ask and self._remote is not None else ()
        finding = self._joined(key, located, answers)
        if finding.presence in (Presence.ABSENT, Presence.CLOSED, Presence.UNKNOWN):
            finding = await self._closed(finding)
        if finding.presence is Presence.ABSENT:
            none: list[str] = []
            finding = replace(finding, near=tuple(await self._off(lambda: self.mirror.near(key), none)))
        return finding

    async def shown(self, address: str) -> Finding:
        """Tell what the directory itself shows of an address: remote sources that answer now, else the mirror."""
        key = address.strip().lower()[:254]
        if self._silent(key):
            return Finding(key, Presence.UNKNOWN)
        located = await self._off(lambda: self.mirror.find(key), Located((), (), None, None))
        answers = await self._answers(key, renew=True)
        if located.entries and not any(one.fresh for one in answers):
            return Finding(key, Presence.PUBLISHED, located.entries, located.as_of, (Source.EXTRACTION,))
        return self._joined(key, located, answers)

    async def _own(self, key: str) -> Finding | None:
        """Give what the provisioning base says of an address of ours; None for those of others."""
        if self._local is None or not self._local.covers(key.rpartition("@")[2]):
            return None
        now = self._clock.now()
        try:
            box = await self._local.box(key)
        except MssFault as fault:
            log.error("directory_local_failed", rule=fault.rule)
            return Finding(key, Presence.UNKNOWN)
        if box is None:
            none: list[str] = []
            near = await self._off(lambda: self.mirror.near(key), none)
            return Finding(key, Presence.ABSENT, as_of=now, sources=(Source.LOCAL,), near=tuple(near))
        if not box.open:
            return Finding(key, Presence.CLOSED, as_of=now, sources=(Source.LOCAL,), closed_at=box.closed_at, closed_by="local")
        if box.red_listed:
            return Finding(key, Presence.RED_LISTED, as_of=now, sources=(Source.LOCAL,))
        located = await self._off(lambda: self.mirror.find(key), Located((), (), None, None))
        sources = (Source.LOCAL, Source.EXTRACTION) if located.entries else (Source.LOCAL,)
        return Finding(key, Presence.PUBLISHED, located.entries or (box.entry,), now, sources)

    async def _answers(self, key: str, *, renew: bool = False) -> Sequence[RemoteAnswer]:
        try:
            return await self._remote.answers(key, renew=renew) if self._remote is not None else ()
        except MssFault as fault:
            log.error("directory_remote_failed", rule=fault.rule)
            return ()

    def _joined(self, key: str, located: Located, answers: Sequence[RemoteAnswer]) -> Finding:
        """Join the mirror's silence and what remote sources say."""
        spoke = [one for one in answers if one.at is not None]
        entries = tuple(dict.fromkeys(entry for one in spoke for entry in one.entries))
        shown = tuple(entry for entry in entries if entry.red_listed is not True)
        dates = [one.at for one in spoke if one.at is not None]
        if entries:
            return Finding(key, Presence.PUBLISHED if shown else Presence.RED_LISTED, shown, min(dates),
                           tuple(one.source for one in spoke if one.entries))
        sources = tuple(one.source for one in spoke)
        if located.as_of is not None:
            dates.append(located.as_of)
            sources = (Source.EXTRACTION, *sources)
        as_of = min(dates, default=None)
        if located.left_at is not None:
            return Finding(key, Presence.CLOSED, (), as_of, sources, closed_at=located.left_at, closed_by="directory")
        young = located.as_of is not None and self._clock.now() - located.as_of <= self._oldest
        absent = young or any(one.fresh for one in spoke)
        return Finding(key, Presence.ABSENT if absent else Presence.UNKNOWN, (), as_of, sources)

    async def _closed(self, finding: Finding) -> Finding:
        """Join what a bounce told: the earlier date stands."""
        try:
            told = await self._local.closed(finding.address) if self._local is not None else None
        except MssFault as fault:
            log.error("directory_local_failed", rule=fault.rule)
            return finding
        if told is None or (finding.closed_at is not None and finding.closed_at <= told[0]):
            return finding
        return replace(finding, presence=Presence.CLOSED, closed_at=told[0], closed_by=told[1])

    async def search(self, query: DirectoryQuery) -> Sequence[DirectoryEntry]:
        """Give entries, best first, at most `query.limit` (1 to 200); red-listed ones of ours are left out."""
        exchanges: Mapping[str, float] = {}
        if query.mailbox_id and self._local is not None:
            try:
                exchanges = await self._local.exchanges(query.mailbox_id)
            except MssFault as fault:
                log.warning("directory_local_failed", rule=fault.rule)
        none: list[DirectoryEntry] = []
        found = await self._off(lambda: self.mirror.search(query, exchanges=exchanges), none)
        return [entry for entry in found if not self._silent(entry.address) and not await self._hidden(entry.address)]

    async def published(self, addresses: Sequence[str]) -> Mapping[str, tuple[DirectoryEntry, ...]]:
        """Give the entries shown of lower-case addresses, without those of which nothing is shown. Raises MssFault."""
        addresses = [one for one in addresses if not self._silent(one)]
        ours = [one for one in addresses if self._local is not None and self._local.covers(one.rpartition("@")[2])]
        boxes = await self._local.several(ours) if self._local is not None and ours else {}
        shown = {key: box for key, box in boxes.items() if box.open and not box.red_listed}
        own = frozenset(ours)
        asked = [one for one in dict.fromkeys(addresses) if one in shown or one not in own]

        def read() -> dict[str, tuple[DirectoryEntry, ...]]:
            return {one: self.mirror.find(one).entries for one in asked}

        found = await asyncio.get_running_loop().run_in_executor(self._executor, read)
        entries = {one: rows or ((shown[one].entry,) if one in shown else ()) for one, rows in found.items()}
        return {one: rows for one, rows in entries.items() if rows and not any(row.red_listed for row in rows)}

    async def _hidden(self, address: str) -> bool:
        """Tell if one of ours went onto the red list, or was closed, since the extraction was made."""
        if self._local is None or not self._local.covers(address.rpartition("@")[2]):
            return False
        try:
            box = await self._local.box(address)
        except MssFault:
            return False
        return box is None or box.red_listed or not box.open
