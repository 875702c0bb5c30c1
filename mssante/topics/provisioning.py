"""Joiners and leavers brought by another system: SCIM 2.0 on the web door, for the bearers of an API token of scope `scim`."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

import structlog
from aiohttp import web

from mssante.endpoints.scim import ScimEndpoint
from mssante.errors import InputFault, MssFault
from mssante.lang import say
from mssante.model.identifiers import HolderKind, parse_holder
from mssante.services.apitokens import ApiTokens
from mssante.services.scim import ScimDesk, ScimSettings
from mssante.topics.base import Ground, Topic

log = structlog.get_logger("scim")
FLUSH_SECONDS = 30.0


def check_person(number: str) -> None:
    """Refuse a number that is no RPPS (or ADELI) with its check digit. Raises InputFault `TITULAIRE-…`."""
    if parse_holder(number).kind not in (HolderKind.RPPS, HolderKind.ADELI):
        raise InputFault(say("ce numéro ne désigne pas un professionnel", "this number names no professional"),
                         rule="TITULAIRE-FORME", remedy=say("RPPS à 11 chiffres, clé comprise", "RPPS of 11 digits with its key"))


class TokenDoor:
    """Lets bearers of a token of scope `scim` in."""

    def __init__(self, tokens: ApiTokens) -> None:
        self._tokens = tokens

    async def admit(self, authorization: str) -> str:
        """Give the name of the bearer for the journal, empty when it may not come in."""
        token = await self._tokens.check(authorization, "scim")
        return f"scim:{token.label}" if token is not None else ""


class ProvisioningTopic(Topic):
    """Serves SCIM when `provisioning.scim` is set."""

    def __init__(self, ground: Ground) -> None:
        section, hosted = ground.config.operator.provisioning, ground.context.settings.domains
        domains = frozenset(one.lower() for one in section.domains) & hosted if section.domains else hosted
        self._tokens = ApiTokens(ground.stores, ground.clock)
        desk = ScimDesk(ground.stores, ground.clock, ScimSettings(domains, require_holder=section.require_holder), check_person)
        self._endpoint = ScimEndpoint(desk, TokenDoor(self._tokens)) if section.scim else None

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        """Give the routes of SCIM."""
        return self._endpoint.routes() if self._endpoint is not None else ()

    def tasks(self) -> Sequence[Coroutine[Any, Any, None]]:
        """Give the writer of the last uses of tokens."""
        return (self._flush_forever(),) if self._endpoint is not None else ()

    async def _flush_forever(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            await self.close()

    async def close(self) -> None:
        """Write the last uses that are left."""
        try:
            await self._tokens.flush()
        except MssFault as fault:
            log.error("token_uses_not_written", rule=fault.rule)
