"""Filters of the users: their application at filing, out-of-office, the ManageSieve door; what the command line uses of them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from datetime import timedelta
from typing import Any

import structlog

from mssante.clock import Clock
from mssante.config.model import Config
from mssante.endpoints.listeners import Door
from mssante.endpoints.managesieve import ManageSieve, ManageSieveSettings
from mssante.imap_setup import login_offer
from mssante.protocol.sieve.faults import Limits
from mssante.services.outofoffice import AbsenceParts, AbsenceSettings, OutOfOffice
from mssante.services.sieve import FilterParts, Filters, SieveSettings
from mssante.services.sieve_desk import DeskSettings, ScriptDesk
from mssante.storage.interfaces import Stores
from mssante.topics.base import Ground, Topic

log = structlog.get_logger("sieve")
SWEEP_SECONDS = 1.0
CLOSE_SECONDS = 5.0


def limits_of(config: Config) -> Limits:
    """Give the limits of scripts."""
    section = config.operator.sieve
    return Limits(script_octets=section.script_bytes, actions=section.actions, redirects=section.redirects)


def desk_for(config: Config, stores: Stores, clock: Clock) -> ScriptDesk:
    """Give the desk of scripts, for the command line beside a running operator."""
    section = config.operator.sieve
    return ScriptDesk(stores, clock, DeskSettings(limits_of(config), section.scripts, section.redirect == "own"))


class SieveTopic(Topic):
    """Filters, answers, and their door."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._section = ground.config.operator.sieve
        hosted = frozenset(one.name for one in ground.config.domains.domain)
        citizen = ground.config.domains.citizen.domain
        context, section = ground.context, self._section
        self.absences = OutOfOffice(AbsenceParts(
            ground.stores, ground.clock, context.addresses, context.trust, context.mailroom, ground.evidence,
            AbsenceSettings(ground.config.domains.domain[0].name, hosted, citizen, section.vacation_days,
                            section.vacation_minimum_seconds, per_hour=section.vacation_per_hour,
                            neutral=section.vacation_subject == "neutral",
                            expiry=timedelta(hours=ground.config.operator.relay.expiry_hours))))
        self.filters = Filters(FilterParts(
            ground.stores, ground.clock, ground.executor, context.addresses, context.mailroom, self.absences,
            SieveSettings(limits_of(ground.config), section.redirect == "own", section.discard, section.refresh_seconds,
                          hosted, citizen)))
        self.desk = ScriptDesk(ground.stores, ground.clock,
                               DeskSettings(limits_of(ground.config), section.scripts, section.redirect == "own"),
                               self.filters.changed)
        if section.enabled:
            context.filters = self.filters
        self._door: Door | None = None

    def tasks(self) -> Sequence[Coroutine[Any, Any, None]]:
        """Keep up with changes of other processes; close idle sessions."""
        return (*((self.filters.run(),) if self._section.enabled else ()), *((self._sweep(),) if self._door is not None else ()))

    async def _sweep(self) -> None:
        while self._door is not None:
            await asyncio.sleep(SWEEP_SECONDS)
            self._door.sweep()

    async def open(self) -> None:
        """Open the ManageSieve door. Raises OSError."""
        address = self._ground.config.operator.listen.managesieve
        if not address or not self._section.enabled:
            return
        limits = self._ground.config.operator.limits
        self._door = Door("managesieve", total=limits.connections, per_address=limits.connections_per_address)
        offer = login_offer(self._ground.config, tokens=self._ground.accounts.takes_tokens)
        settings = ManageSieveSettings(tls=self._ground.tls_starttls, offer=offer, script_octets=self._section.script_bytes,
                                       redirects=self._section.redirect == "own")
        factory = ManageSieve(settings, self._door, self._ground.accounts, self.desk, self._ground.stores)
        await self._door.listen(address, factory, None)
        log.info("listening", door="managesieve", address=address)

    async def close(self) -> None:
        """Close the door, send what is to be answered."""
        if self._door is not None:
            await self._door.close(CLOSE_SECONDS)
        await self.absences.flush()
