"""Publication of our mailboxes in the national directory: driver by the configuration, task, facts of the mailboxes."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping, Sequence
from typing import Any

from mssante.clock import Clock
from mssante.config.model import Config
from mssante.directory.publication import BoxFacts, PublicationPolicy
from mssante.errors import InputFault
from mssante.lang import say
from mssante.model.mailbox import Mailbox
from mssante.services.directory_port import DirectoryDesk
from mssante.services.publication import FactsReader, PublicationSettings, Publisher
from mssante.services.publication_port import PublicationDriver
from mssante.storage.interfaces import Stores, Tx
from mssante.topics.base import Ground, Topic
from mssante.transport.annuaire_file import FileDriver
from mssante.transport.annuaire_patch import FhirPatchDriver, PatchTarget


def facts_of(stores: Stores) -> FactsReader:
    """Give the reader of what the directory needs to know of mailboxes."""
    def read(tx: Tx, boxes: Sequence[Mailbox]) -> Mapping[int, BoxFacts]:
        found = stores.life.profiles(tx, [box.id for box in boxes]) if boxes else {}
        return {key: BoxFacts(one.service, one.description, one.responsible, one.red_list, one.rank)
                for key, one in found.items()}

    return read


def driver_for(config: Config, clock: Clock) -> PublicationDriver | None:
    """Give the configured driver. Raises InputFault (`PUB-CONFIG`) when its settings are incomplete."""
    section = config.operator.publication
    if section.driver == "none":
        return None
    if section.driver == "file":
        return FileDriver(config.path(section.folder), clock)
    if not section.url.startswith(("https://", "http://")):
        raise InputFault(say("publication.url manque pour le driver fhir", "publication.url is missing for the fhir driver"),
                         rule="PUB-CONFIG", remedy="operator.toml [publication]")
    return FhirPatchDriver(PatchTarget(
        section.url, config.path(section.anchors or config.operator.trust.anchors),
        config.path(section.api_key_file) if section.api_key_file is not None else None,
        config.path(section.client_certificate) if section.client_certificate is not None else None,
        config.path(section.client_key) if section.client_key is not None else None))


def publisher_for(config: Config, stores: Stores, clock: Clock, *, driver: PublicationDriver | None = None,
                  desk: DirectoryDesk | None = None) -> Publisher:
    """Give the publisher of a configuration."""
    section = config.operator.publication
    domains = frozenset(one.name for one in config.domains.domain) - {config.domains.citizen.domain}
    settings = PublicationSettings(PublicationPolicy(section.suspended, section.structure_key), domains,
                                   section.first_retry_seconds, section.longest_retry_seconds, section.per_second)
    return Publisher(stores, clock, settings, facts=facts_of(stores), driver=driver, desk=desk)


class PublicationTopic(Topic):
    """The task; nothing runs without a driver."""

    def __init__(self, ground: Ground) -> None:
        self._section = ground.config.operator.publication
        self._driver = driver_for(ground.config, ground.clock)
        self.publisher = publisher_for(ground.config, ground.stores, ground.clock, driver=self._driver, desk=ground.directory)
        ground.publisher = self.publisher if self._driver is not None else None

    def tasks(self) -> Sequence[Coroutine[Any, Any, None]]:
        """Sweep, send and look."""
        return () if self._driver is None else (self.publisher.run(sweep_seconds=self._section.sweep_seconds),)

    async def close(self) -> None:
        """Let the connections of the driver go."""
        if self._driver is not None:
            await self._driver.close()
