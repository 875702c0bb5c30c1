"""The workshop of an operator: its limits from `[documents]`, on the ground for those who work on documents.

Starts no process before the first job (`services.workshop`). The folder of rules, and that of prepared rules, are the only ones
that workers may read besides the program itself. First of the topics, so that the others find it; the last closed needs nothing
of it.
"""

from __future__ import annotations

from mssante.services.workshop import Workshop, WorkshopLimits
from mssante.topics.base import Ground, Topic


class WorkshopTopic(Topic):
    """Puts the workshop on the ground and opens and closes it."""

    def __init__(self, ground: Ground) -> None:
        section = ground.config.operator.documents
        cache = ground.config.path(section.rules_cache)
        cache.mkdir(parents=True, exist_ok=True, mode=0o700)  # a worker may read what is there when it starts
        readable: tuple[str, ...] = (str(cache),)
        if section.rules_directory is not None:
            readable = (*readable, str(ground.config.path(section.rules_directory)))
        self._workshop = Workshop(WorkshopLimits(section.workers, section.worker_memory_bytes, section.worker_seconds,
                                                 readable=readable))
        ground.workshop = self._workshop

    async def open(self) -> None:
        """Begin to take jobs."""
        await self._workshop.open()

    async def close(self) -> None:
        """End the workers."""
        await self._workshop.close()
