"""The national directory: its mirror, the desk that answers about it, the keeper that renews it.

The desk stands on the ground for every topic after this one; `open_desk` gives one beside a running server, for commands.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

from mssante.clock import Clock
from mssante.config.model import Config
from mssante.directory.extraction import ExtractionLimits
from mssante.directory.values import DirectoryEntry, Source
from mssante.model.mailbox import Mailbox, MailboxState, MailboxType
from mssante.model.mailbox_rules import Life
from mssante.services.directory import Desk, LocalBox
from mssante.services.directory_keeper import DirectoryKeeper, KeeperSettings
from mssante.services.directory_port import RemoteAsker
from mssante.storage.interfaces import Stores, Tx
from mssante.storage.life import Profile
from mssante.storage.mirror import Mirror, MirrorPolicy
from mssante.storage.open import open_mirror
from mssante.topics.base import Ground, Topic
from mssante.topics.directory_use import remote_sources
from mssante.transport.annuaire_extraction import ExtractionSource

EXCHANGES = 300


def mirror_for(config: Config) -> Mirror:
    """Give the mirror of a configuration; nothing is opened yet."""
    section = config.operator.directory
    return open_mirror(config.path(section.folder), MirrorPolicy(
        section.shrink_percent, section.keep_days, limits=ExtractionLimits(section.max_text_bytes)))


class ProvisionedBoxes:
    """`services.directory.LocalBoxes` over the stores."""

    def __init__(self, stores: Stores, domains: frozenset[str]) -> None:
        self._stores = stores
        self._domains = domains

    def covers(self, domain: str) -> bool:
        """Tell if a domain is ours."""
        return domain in self._domains

    async def box(self, address: str) -> LocalBox | None:
        """Give our mailbox of an address."""
        return (await self.several([address])).get(address)

    async def several(self, addresses: Sequence[str]) -> Mapping[str, LocalBox]:
        """Give our mailboxes of lower-case addresses, those that exist."""
        def read(tx: Tx) -> dict[str, LocalBox]:
            boxes = self._stores.accounts.mailboxes_by_address(tx, addresses)
            ids = [box.id for box in boxes]
            profiles, lives = self._stores.life.profiles(tx, ids), self._stores.life.lives(tx, ids)
            return {box.address: _local_box(box, profiles.get(box.id), lives.get(box.id)) for box in boxes}

        return await self._stores.database.read(read)

    async def exchanges(self, mailbox_id: int) -> Mapping[str, float]:
        """Give with whom a mailbox exchanges: what it sent counts twice."""
        rows = await self._stores.database.read(
            lambda tx: self._stores.exchanges.correspondents(tx, mailbox_id, limit=EXCHANGES))
        return {row.address: 2.0 * row.sent + row.received for row in rows}

    async def closed(self, address: str) -> tuple[datetime, str] | None:
        """Give when an address elsewhere was told to be closed, and by what."""
        found = await self._stores.database.read(lambda tx: self._stores.exchanges.closed(tx, [address]))
        return (found[address].closed_at, found[address].source) if address in found else None


def _local_box(box: Mailbox, profile: Profile | None, life: Life | None) -> LocalBox:
    person = box.type in (MailboxType.PER, MailboxType.CAB)
    holder, structure = (box.holder_id, "") if person else ("", box.holder_id)
    entry = DirectoryEntry(box.address, box.type.value, holder, structure, description=box.display_name, source=Source.LOCAL)
    gone = box.state in (MailboxState.CLOSED, MailboxState.PURGED)
    return LocalBox(entry, not gone, profile is not None and profile.red_list,
                    life.state_since if gone and life is not None else None)


def desk_for(config: Config, stores: Stores, clock: Clock, mirror: Mirror, remote: RemoteAsker | None) -> Desk:
    """Give the desk of a configuration."""
    citizens = config.domains.citizen.domain
    domains = frozenset(one.name for one in config.domains.domain) - {citizens}
    return Desk(mirror, clock, None, local=ProvisionedBoxes(stores, domains), remote=remote,
                oldest=timedelta(days=config.operator.directory.max_age_days), citizens=citizens)


@asynccontextmanager
async def open_desk(config: Config, stores: Stores, clock: Clock) -> AsyncIterator[Desk]:
    """Give a desk for a command. Raises MssFault."""
    mirror, remote = mirror_for(config), remote_sources(config, clock)
    try:
        yield desk_for(config, stores, clock, mirror, remote)
    finally:
        if remote is not None:
            await remote.close()
        mirror.close()


class DirectoryTopic(Topic):
    """The desk always; the keeper when an extraction is configured."""

    def __init__(self, ground: Ground) -> None:
        section = ground.config.operator.directory
        self._mirror = mirror_for(ground.config)
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="directory")  # an import takes long: no place of the mail's
        ground.directory = desk_for(ground.config, ground.stores, ground.clock, self._mirror, ground.remote)
        self._keeper: DirectoryKeeper | None = None
        if section.extraction_url:
            url = section.extraction_url
            if "://" not in url:
                url = str(ground.config.path(section.folder.__class__(url)))
            anchors = ground.config.path(section.extraction_anchors or ground.config.operator.trust.anchors)
            self._keeper = DirectoryKeeper(
                self._mirror, ExtractionSource(url, anchors, ground.clock, max_bytes=section.max_bytes), ground.evidence,
                ground.clock, self._worker, KeeperSettings(
                    ground.config.path(section.folder), section.refresh_seconds, timedelta(days=section.max_age_days)))

    def tasks(self) -> Sequence[Coroutine[Any, Any, None]]:
        """Keep the mirror fresh."""
        return () if self._keeper is None else (self._keeper.run(),)

    async def close(self) -> None:
        """Let the file go; an import under way ends with the process and leaves the state in force."""
        self._worker.shutdown(wait=False, cancel_futures=True)
        self._mirror.close()
