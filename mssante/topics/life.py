"""The life of mailboxes: desk, uses by logins, the daily keeper; what the command line uses of them."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from datetime import timedelta
from typing import Any

import structlog

from mssante.clock import Clock
from mssante.config.model import Config
from mssante.errors import MssFault
from mssante.model.mailbox_rules import LifePolicy
from mssante.model.reply import Refuse
from mssante.services.life import LifeDesk, LifeSettings, UseBook
from mssante.services.life_keeper import KeeperSettings, LifeKeeper
from mssante.storage.interfaces import Stores
from mssante.topics.base import Ground, Topic

log = structlog.get_logger("life")


def settings_of(config: Config) -> LifeSettings:
    """Give the settings of the desk."""
    section = config.operator.life
    policy = LifePolicy(section.inactivity_days, section.notice_days, section.suspended_days, section.closed_days,
                        section.reuse_days, section.objection_days)
    return LifeSettings(policy, frozenset(one.name for one in config.domains.domain), section.resume_on_login, section.cab)


def life_desk(config: Config, stores: Stores, clock: Clock) -> LifeDesk:
    """Give the desk, for the command line beside a running operator."""
    return LifeDesk(stores, clock, settings_of(config))


def life_keeper(config: Config, stores: Stores, clock: Clock) -> LifeKeeper:
    """Give a keeper that writes to our own domains only, for the command line: the white list is the operator's."""
    section = config.operator.life
    return LifeKeeper(life_desk(config, stores, clock), KeeperSettings(
        section.max_gap_days, section.max_share_percent, section.max_always, section.quota_steps, section.quota_seconds))


class LifeTopic(Topic):
    """The task."""

    def __init__(self, ground: Ground) -> None:
        section, context = ground.config.operator.life, ground.context
        self.desk = life_desk(ground.config, ground.stores, ground.clock)
        self.desk.listeners.append(lambda address, before, after: context.addresses.forget())
        if ground.publisher is not None:  # what closes leaves the directory at once, not at the next sweep (spec §5)
            publisher = ground.publisher
            self.desk.listeners.append(lambda address, before, after: publisher.note(address))
        self.uses = UseBook(self.desk)
        self._enabled = section.enabled
        self.keeper = LifeKeeper(self.desk, KeeperSettings(
            section.max_gap_days, section.max_share_percent, section.max_always, section.quota_steps, section.quota_seconds,
            lambda domain: not isinstance(context.trust.may_queue_for(domain), Refuse),
            timedelta(hours=ground.config.operator.relay.expiry_hours)), self.uses)
        ground.accounts.listeners.append(self.uses.note)
        context.addresses.suspended_final = section.suspended == "permanent"

    def tasks(self) -> Sequence[Coroutine[Any, Any, None]]:
        """Write uses, apply delays, watch quotas."""
        return (self.keeper.forever(),) if self._enabled else ()

    async def close(self) -> None:
        """Write the uses that are left."""
        try:
            await self.uses.flush()
        except MssFault as fault:
            log.error("uses_not_written", rule=fault.rule)
