"""The API of programs: directory search for the bearers of tokens, and the last uses of tokens."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

import structlog
from aiohttp import web

from mssante.endpoints.directory_api import ApiParts, DirectoryApi
from mssante.errors import MssFault
from mssante.services.apitokens import ApiTokens
from mssante.topics.base import Ground, Topic

log = structlog.get_logger("api")
FLUSH_SECONDS = 60.0


class ApiTopic(Topic):
    """Routes and the writer of last uses."""

    def __init__(self, ground: Ground, tokens: ApiTokens) -> None:
        self._tokens = tokens
        self._api = DirectoryApi(ApiParts(ground.directory, tokens, ground.accounts, ground.clock))

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        """Give the routes."""
        return self._api.routes()

    def tasks(self) -> Sequence[Coroutine[Any, Any, None]]:
        """Give the writer."""
        return (self._flush_forever(),)

    async def _flush_forever(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            try:
                await self._tokens.flush()
            except MssFault as fault:
                log.warning("token_uses_not_written", rule=fault.rule)
