"""Exchanges with citizens: rules on what leaves and comes back, and, with the role `operator`, the citizens' operator and its
page.

- `bridge`: the desk (`services/citizen_desk.py`) is a check of departures and is asked by reception.
- `operator`: the citizens' domain must be hosted here (`domains.toml`); the house (`services/citizen_house.py`) takes the place
  of the national service, and the page is served under `/usager` on the web door.
Built last: a message that another check refuses opens no exchange.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine, Sequence
from datetime import timedelta
from typing import Any

from aiohttp import web

from mssante.config.model import Config
from mssante.endpoints.citizen_pages import CitizenPages
from mssante.endpoints.citizen_site import CitizenSite, PageSettings
from mssante.errors import OperatorFault
from mssante.lang import say
from mssante.services.citizen import CitizenRules
from mssante.services.citizen_bounces import PATTERNS, Pattern, folded, pattern
from mssante.services.citizen_desk import CitizenDesk, CitizenParts, CitizenSettings
from mssante.services.citizen_house import CitizenHouse, HouseSettings
from mssante.services.citizen_signin import MIN_KEY, CitizenSignin, SigninSettings
from mssante.services.citizen_space import CitizenSpace, SpaceSettings
from mssante.services.submission import Submission, SubmissionSettings
from mssante.topics.base import Ground, Topic

DAY_SECONDS = 86_400


def citizen_rules(config: Config) -> CitizenRules:
    """Give the rules of a configuration."""
    section = config.operator.citizen
    domain = config.domains.citizen.domain
    limit = min(section.max_bytes, config.operator.relay.size_limits.get(domain, section.max_bytes))
    return CitizenRules(domain, config.domains.citizen.check_ins, limit, frozenset(section.senders), section.other_patient)


def citizen_patterns(config: Config) -> tuple[Pattern, ...]:
    """Give the patterns of returns: the administrator's, then ours."""
    own = []
    for line in config.operator.citizen.bounces:
        cause, _, text = line.partition(":")
        own.append(Pattern(pattern(cause.strip(), "x").cause, re.compile(folded(text.strip()))))
    return (*own, *PATTERNS)


def _portal_key(config: Config) -> bytes:
    """Give the key shared with the portal, empty for none. Raises OperatorFault when it cannot be read or is too short."""
    path = config.operator.citizen.portal_key_file
    if path is None:
        return b""
    try:
        key = config.path(path).read_bytes().strip()
    except OSError as fault:
        raise OperatorFault(say("la clé du portail ne se lit pas", "the key of the portal cannot be read"), detail=str(fault),
                            rule="CFG-CITIZEN", remedy="citizen.portal_key_file") from fault
    if len(key) < MIN_KEY:
        raise OperatorFault(say("la clé du portail est trop courte", "the key of the portal is too short"), rule="CFG-CITIZEN",
                            remedy=say(f"au moins {MIN_KEY} octets : openssl rand -hex 32", f"{MIN_KEY} octets at least"))
    return key


class CitizenTopic(Topic):
    """Everything about citizens."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        config, context = ground.config, ground.context
        section, rules = config.operator.citizen, citizen_rules(config)
        hosted = frozenset(domain.name for domain in config.domains.domain)
        parts = CitizenParts(ground.stores, ground.clock, ground.executor, ground.evidence, context.trust, context.addresses,
                             hosted)
        boxes = frozenset(one.lower() for one in section.open_boxes)
        self._desk = CitizenDesk(parts, CitizenSettings(rules, section.enforce_thread, boxes, citizen_patterns(config)))
        context.citizens = self._desk
        context.reporter.beside = self._desk.beside
        context.departure.checks.append(self._desk)
        self._pages: CitizenPages | None = None
        if section.role == "operator":
            self._keep_house(parts, rules, hosted)

    def _keep_house(self, parts: CitizenParts, rules: CitizenRules, hosted: frozenset[str]) -> None:
        ground, section = self._ground, self._ground.config.operator.citizen
        if rules.domain not in hosted:
            raise OperatorFault(say("le domaine des usagers n'est pas hébergé ici", "the citizens' domain is not hosted here"),
                                rule="CFG-CITIZEN", remedy=say("ajoutez-le à domains.toml, ou remettez citizen.role = \"bridge\"",
                                                               "add it to domains.toml, or set citizen.role = \"bridge\""))
        config = ground.config
        expiry = timedelta(hours=config.operator.relay.expiry_hours)
        house = CitizenHouse(parts, self._desk, HouseSettings(config.operator.operator.hostname, section.returns, expiry))
        ground.context.house = house
        ground.context.departure.checks.append(house)
        if not section.page:
            return
        submission = Submission(ground.context, ground.accounts, SubmissionSettings(
            config.domains.citizen.check_ins, dict(config.operator.relay.size_limits), expiry))
        if ground.workshop is None:
            raise OperatorFault("no workshop on the ground", rule="DOC-PANNE", remedy="the workshop topic comes first")
        space = CitizenSpace(ground.context, ground.stores, submission, house, SpaceSettings(
            section.attachment_bytes, config.operator.documents.worker_seconds), ground.workshop)
        signin = CitizenSignin(ground.stores, ground.clock, ground.secret, SigninSettings(
            rules.domain, _portal_key(config), timedelta(minutes=section.code_minutes),
            timedelta(minutes=section.session_minutes)))
        name = config.domains.domain[0].description or config.operator.operator.name
        self._pages = CitizenPages(CitizenSite(signin, ground.accounts, PageSettings(name, section.attachment_bytes,
                                                                                     frozenset(section.portal_origins))), space)

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        """Give the page, when it is served."""
        return self._pages.routes() if self._pages is not None else ()

    def tasks(self) -> Sequence[Coroutine[Any, Any, None]]:
        """Give the task that forgets old exchanges."""
        return (self._forget(),)

    async def _forget(self) -> None:
        while True:
            days = self._ground.config.operator.citizen.keep_days
            await self._desk.forget(self._ground.clock.now() - timedelta(days=days))
            await asyncio.sleep(DAY_SECONDS)
