"""Joiners and leavers brought by another system: SCIM 2.0 on the web door, for the bearers of an API token of scope `scim`; a
local directory (LDAP, Active Directory) that is read by period, and by `mssante account sync` (`sync_desk`)."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

import structlog
from aiohttp import web

from mssante.clock import Clock
from mssante.config.model import Config
from mssante.endpoints.scim import ScimEndpoint
from mssante.errors import InputFault, MssFault
from mssante.lang import say
from mssante.model.identifiers import HolderKind, parse_holder
from mssante.services.apitokens import ApiTokens
from mssante.services.ldapsync import SyncDesk, SyncSettings
from mssante.services.ldapsync_values import Reading, field_map
from mssante.services.scim import ScimDesk, ScimSettings
from mssante.storage.interfaces import Stores
from mssante.topics.base import Ground, Topic
from mssante.transport.ldap_client import LdapTarget
from mssante.transport.ldap_people import LdapPeople, PeopleQuestion, Search

log = structlog.get_logger("scim")
FIRST_SECONDS = 60.0  # before the first reading of a local directory


def check_person(number: str) -> None:
    """Refuse a number that is no RPPS (or ADELI) with its check digit. Raises InputFault `TITULAIRE-…`."""
    if parse_holder(number).kind not in (HolderKind.RPPS, HolderKind.ADELI):
        raise InputFault(say("ce numéro ne désigne pas un professionnel", "this number names no professional"),
                         rule="TITULAIRE-FORME", remedy=say("RPPS à 11 chiffres, clé comprise", "RPPS of 11 digits with its key"))


def allowed_domains(config: Config) -> frozenset[str]:
    """Give the domains whose people and ORG mailboxes another system may touch."""
    hosted, asked = frozenset(one.name for one in config.domains.domain), config.operator.provisioning.domains
    return frozenset(one.lower() for one in asked) & hosted if asked else hosted


def sync_desk(config: Config, stores: Stores, clock: Clock) -> SyncDesk | None:
    """Give the synchronisation with the local directory, None when none is configured.

    Raises MssFault `CFG-SYNC`, `LDAP-CONFIG`, `LDAP-FILTRE`.
    """
    section = config.operator.provisioning
    if not section.ldap_url:
        return None
    fields = field_map(section.ldap_attributes)
    member = field_map({"login": section.ldap_member_attribute})["login"]  # an attribute, and none that holds a secret
    target = LdapTarget(section.ldap_url, config.path(section.ldap_anchors or config.operator.trust.anchors),
                        search_seconds=section.ldap_seconds)
    groups = Search(section.ldap_groups_base or section.ldap_base, section.ldap_groups_filter, ("cn", member))
    question = PeopleQuestion(
        target, Search(section.ldap_base, section.ldap_filter, tuple(sorted({one for one in fields.values() if one}))),
        groups if section.ldap_groups else None, section.ldap_bind_dn,
        config.path(section.ldap_password_file) if section.ldap_password_file is not None else None, section.ldap_entries)
    question.check()
    reading = Reading(allowed_domains(config), fields, frozenset(one.lower() for one in section.ldap_disabled_values))
    return SyncDesk(stores, clock, LdapPeople(question), SyncSettings(
        reading, section.require_holder, section.ldap_groups, member, section.guard_percent))


class TokenDoor:
    """Lets bearers of a token of scope `scim` in."""

    def __init__(self, tokens: ApiTokens) -> None:
        self._tokens = tokens

    async def admit(self, authorization: str) -> str:
        """Give the name of the bearer for the journal, empty when it may not come in."""
        token = await self._tokens.check(authorization, "scim")
        return f"scim:{token.label}" if token is not None else ""


class ProvisioningTopic(Topic):
    """Serves SCIM when `provisioning.scim` is set, follows a directory when `provisioning.ldap_url` is."""

    def __init__(self, ground: Ground) -> None:
        section, hosted = ground.config.operator.provisioning, ground.context.settings.domains
        domains = frozenset(one.lower() for one in section.domains) & hosted if section.domains else hosted
        desk = ScimDesk(ground.stores, ground.clock, ScimSettings(domains, require_holder=section.require_holder), check_person)
        self._endpoint = ScimEndpoint(desk, TokenDoor(ground.tokens)) if section.scim else None
        self._sync = sync_desk(ground.config, ground.stores, ground.clock)
        self._period = section.ldap_period_seconds

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        """Give the routes of SCIM."""
        return self._endpoint.routes() if self._endpoint is not None else ()

    def tasks(self) -> Sequence[Coroutine[Any, Any, None]]:
        """Give the reader of the local directory."""
        return (self._sync_forever(self._sync),) if self._sync is not None and self._period > 0 else ()

    async def _sync_forever(self, desk: SyncDesk) -> None:
        await asyncio.sleep(min(FIRST_SECONDS, self._period))
        while True:
            await sync_once(desk)
            await asyncio.sleep(self._period)


async def sync_once(desk: SyncDesk) -> None:
    """Run once and log counts and rules, never who; a fault waits for the next period, and mail goes on."""
    try:
        done = await desk.run()
    except MssFault as fault:
        log.error("ldap_sync_failed", rule=fault.rule, detail=fault.detail)
        return
    rules = sorted({one.rule for one in done.problems})
    if done.held is not None:
        log.error("ldap_sync_held", rule=done.held.rule, changes=len(done.changes), remedy="mssante account sync --dry-run")
    elif done.changes or done.teams or rules:
        log.info("ldap_sync", seen=done.seen, changes=len(done.changes), teams=len(done.teams), told=len(done.problems),
                 rules=rules)
