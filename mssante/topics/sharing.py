"""Shared mailboxes: their settings, and the writing of first readings."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

import structlog

from mssante.errors import MssFault
from mssante.services.sharedbooks import FLUSH_SECONDS, SharedBooks, SharingSettings
from mssante.storage.interfaces import Stores
from mssante.topics.base import Ground, Topic

log = structlog.get_logger("sharing")


class SharingTopic(Topic):
    """Gives the books of the mailroom their settings, and writes what they gather."""

    def __init__(self, ground: Ground) -> None:
        section = ground.config.operator.sharing
        self._stores: Stores = ground.stores
        self._books: SharedBooks = ground.context.mailroom.books
        self._books.settings = SharingSettings(section.sent_copy, section.sender_header, section.sent_window_seconds)
        self._books.readings.on = section.traced_reading
        ground.context.addresses.plus_addressing = section.plus_addressing

    def tasks(self) -> Sequence[Coroutine[Any, Any, None]]:
        """Give the writer of first readings."""
        return (self._flush_forever(),)

    async def _flush_forever(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            await self._flush()

    async def _flush(self) -> None:
        try:
            await self._books.readings.flush(self._stores)
        except MssFault as fault:  # told, kept in memory, tried again
            log.error("readings_not_written", rule=fault.rule)

    async def close(self) -> None:
        """Write what is left."""
        await self._flush()
