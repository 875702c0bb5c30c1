"""The full-text index beside a running server: opened from the configuration, fed by a process of its own (floor 6).

- `IndexFeeder` looks once a second whether messages came that the index has not; if so it starts `mssante search index`, which
  puts them in and leaves when nothing came for a while. Reading texts, PDF included, takes the interpreter for itself: in another
  process, with the lowest priority, it does not hold up reception nor IMAP. Nothing is done in the transaction of a message.
- Every `sweep_minutes` that process also takes out what is gone from the mail.
- When it fails, or little room is left, it is tried again later; searches read the messages that are not in the index meanwhile.
Called by `app.py` and `cli/search.py`.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from asyncio.subprocess import DEVNULL, Process

import structlog

from mssante.clock import Clock
from mssante.config.model import Config
from mssante.errors import MssFault
from mssante.observability.metrics import INDEX_LAG
from mssante.services.indexing import IndexSettings
from mssante.storage.interfaces import Stores, TextIndex, Tx
from mssante.storage.open import open_text_index

log = structlog.get_logger("search")
PERIOD_SECONDS = 1.0
AGAIN_SECONDS = 60.0
MOST_LAG = 100_000  # counted no further
INDEX_RESERVES = 2  # the index grows while so many times `reserve_bytes` are free: it can be made again, mail cannot


def text_index(config: Config) -> TextIndex | None:
    """Give the index of a configuration, or None when it wants none."""
    search = config.operator.search
    return open_text_index(config.path(search.folder)) if search.enabled else None


def index_settings(config: Config) -> IndexSettings:
    """Give how the indexer works."""
    search, folder = config.operator.search, config.path(config.operator.search.folder)
    return IndexSettings(message_seconds=search.message_seconds, pdf=search.read_pdf,
                         free=lambda: shutil.disk_usage(folder if folder.exists() else folder.parent).free,
                         floor_bytes=INDEX_RESERVES * config.operator.storage.reserve_bytes)


class IndexFeeder:
    """Keeps the indexer at work while there is something to do."""

    def __init__(self, config: Config, stores: Stores, index: TextIndex, clock: Clock) -> None:
        self._config = config
        self._stores = stores
        self._index = index
        self._clock = clock
        self._process: Process | None = None
        self._mark = 0
        self._not_before = 0.0
        self._sweep_at = clock.monotonic() + 60.0 * config.operator.search.sweep_minutes

    async def run(self) -> None:
        """Look, again and again; the indexer ends with us."""
        try:
            while True:
                try:
                    await self.once()
                except (MssFault, OSError) as fault:
                    log.error("index_feed_failed", detail=str(fault)[:300])
                await asyncio.sleep(PERIOD_SECONDS)
        finally:
            if self._process is not None and self._process.returncode is None:
                self._process.terminate()

    async def once(self) -> None:
        """Look one time. Raises MssFault, OSError."""
        await self._look_at_process()
        feed = self._stores.feed
        newest = await self._stores.database.read(feed.newest, quick=True)
        if newest > self._mark:
            self._mark = await asyncio.to_thread(self._index.mark)
        lag = await self._stores.database.read(self._lag) if newest > self._mark else 0
        INDEX_LAG.set(lag)
        now = self._clock.monotonic()
        sweep = now >= self._sweep_at
        if (lag or sweep) and self._process is None and now >= self._not_before:
            if sweep:
                self._sweep_at = now + 60.0 * self._config.operator.search.sweep_minutes
            await self._start(sweep=sweep)

    def _lag(self, tx: Tx) -> int:
        return self._stores.feed.lag(tx, self._mark, MOST_LAG)

    async def _look_at_process(self) -> None:
        if self._process is None or self._process.returncode is None:
            return
        if self._process.returncode != 0:
            log.error("indexer_failed", code=self._process.returncode)
            self._not_before = self._clock.monotonic() + AGAIN_SECONDS
        self._process = None

    async def _start(self, *, sweep: bool) -> None:
        linger = str(self._config.operator.search.linger_seconds)
        words = ["search", "index", "--config", str(self._config.folder), "--linger", linger, "--server", str(os.getpid()),
                 *(["--sweep"] if sweep else [])]
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "mssante", *words, stdin=DEVNULL, stdout=DEVNULL)
