"""Use of the directory while mail passes: advice on recipients and senders, closed addresses, correspondents, certificates.

Stands before the directory topic: it puts the remote sources on the ground, and looks for the desk when mail passes. Without a
desk (no mirror) the remote sources answer alone. `remote_sources` serves `mssante directory ask` too.
"""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from datetime import timedelta
from typing import Any

import structlog

from mssante.clock import Clock
from mssante.config.model import Config
from mssante.directory.values import Source
from mssante.errors import InputFault, MssFault
from mssante.lang import say
from mssante.services.advice import AdviceSettings, Advisor
from mssante.services.directory_sources import DirectoryClient, Lifetimes, RemoteDesk, RemoteSources
from mssante.storage.open import open_answer_cache
from mssante.storage.remotecache import AnswerCache
from mssante.topics.base import Ground, Topic
from mssante.transport.annuaire_fhir import FhirDirectory, FhirTarget
from mssante.transport.annuaire_ldap import LdapDirectory, LdapSource, attribute_map
from mssante.transport.ldap_client import LdapTarget

log = structlog.get_logger("directory")


def remote_sources(config: Config, clock: Clock) -> RemoteSources | None:
    """Give the configured remote sources, None when there is none. Raises InputFault (`CFG-ANNUAIRE`)."""
    clients = _clients(config, clock)
    if not clients:
        return None
    section = config.operator.directory
    cache: AnswerCache | None = None
    try:
        cache = open_answer_cache(config.path(section.remote_cache), section.remote_cache_entries)
    except MssFault as fault:  # a cache that cannot be opened costs questions, not mail
        log.warning("directory_cache_failed", rule=fault.rule, detail=fault.detail)
    return RemoteSources(clients, cache, clock, Lifetimes(
        timedelta(hours=section.remote_found_hours), timedelta(minutes=section.remote_absent_minutes),
        timedelta(days=section.remote_stale_days)))


def _clients(config: Config, clock: Clock) -> dict[Source, DirectoryClient]:
    section, found = config.operator.directory, dict[Source, DirectoryClient]()
    if section.fhir_url:
        if not section.fhir_url.startswith(("https://", "http://")):
            raise InputFault(say("directory.fhir_url n'est pas une adresse http(s)",
                                 "directory.fhir_url is not an http(s) address"), rule="CFG-ANNUAIRE",
                             remedy="operator.toml [directory]")
        found[Source.FHIR] = FhirDirectory(FhirTarget(
            section.fhir_url, config.path(section.fhir_anchors or config.operator.trust.anchors),
            config.path(section.fhir_api_key_file) if section.fhir_api_key_file is not None else None), clock)
    if section.ldap_url:
        target = LdapTarget(section.ldap_url, config.path(section.ldap_anchors or config.operator.trust.anchors))
        target.place  # noqa: B018 -- an address that cannot be read is told now
        found[Source.LDAP] = LdapDirectory(LdapSource(
            target, section.ldap_base, attribute_map(section.ldap_attributes), section.ldap_bind_dn,
            config.path(section.ldap_password_file) if section.ldap_password_file is not None else None), clock)
    return found


class DirectoryUseTopic(Topic):
    """Advice and what it is made of."""

    def __init__(self, ground: Ground) -> None:
        config, context = ground.config, ground.context
        section = config.operator.directory
        self._watch = context.exchanges
        self._remote = ground.remote = remote_sources(config, ground.clock)
        context.certificates.sources = self._remote
        alone = RemoteDesk(self._remote) if self._remote is not None else None
        if section.check != "off":
            context.advisor = Advisor(ground.stores, ground.clock, AdviceSettings(
                section.check, section.remote_wait_ms / 1000, frozenset({config.domains.citizen.domain}),
                frozenset({Source.EXTRACTION, *(self._remote.sources if self._remote is not None else ())})),
                lambda: ground.directory or alone, self._watch)

    def tasks(self) -> Sequence[Coroutine[Any, Any, None]]:
        """Write counts once a minute."""
        return () if self._watch is None else (self._watch.run(),)

    async def close(self) -> None:
        """Write what was counted, let the sources go."""
        if self._watch is not None:
            try:
                await self._watch.flush()
            except MssFault as fault:
                log.warning("exchanges_not_written", rule=fault.rule)
        if self._remote is not None:
            await self._remote.close()
