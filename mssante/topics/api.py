"""The API of programs: directory search for the bearers of tokens, and the last uses of tokens."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

import structlog
from aiohttp import web

from mssante.endpoints.directory_api import ApiParts, DirectoryApi
from mssante.errors import MssFault
from mssante.topics.base import Ground, Topic

log = structlog.get_logger("api")
FLUSH_SECONDS = 30.0


class ApiTopic(Topic):
    """Routes, and the writer of last uses of the tokens of all doors."""

    def __init__(self, ground: Ground) -> None:
        self._tokens = ground.tokens
        self._api = DirectoryApi(ApiParts(ground.directory, ground.tokens, ground.accounts, ground.clock))

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        """Give the routes."""
        return self._api.routes()

    def tasks(self) -> Sequence[Coroutine[Any, Any, None]]:
        """Give the writer."""
        return (self._flush_forever(),)

    async def _flush_forever(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            await self.close()

    async def close(self) -> None:
        """Write the last uses that are left, whichever door saw them."""
        try:
            await self._tokens.flush()
        except MssFault as fault:
            log.warning("token_uses_not_written", rule=fault.rule)
