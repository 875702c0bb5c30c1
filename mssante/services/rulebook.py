"""The rules in force: made ready once, made again when a file of the folder changes, told to those who check documents.

- `current()` gives the prepared rules; the first call, or the first after a change, compiles them in a worker (seconds). The
  folder is looked at (names, sizes, times) at most once every `LOOK_SECONDS`.
- New rules that cannot be used leave the former ones in force, and it is logged; without former ones the fault is raised.
- Without a folder there are no rules: headers, metadata and archives are still checked.

Called by the pre-flight of departures and by the command line.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import TypeVar

import structlog

from mssante.documents.faults import DocumentFault
from mssante.services.preflight_work import check_schema, compile_rules, warm
from mssante.services.rulefiles import Prepared, RuleSource, keep, kept, read_rules, stamp
from mssante.services.workshop import Workshop

_Result = TypeVar("_Result")
log = structlog.get_logger("preflight")
LOOK_SECONDS = 30.0
COMPILE_SECONDS = 300.0


class RuleBook:
    """The rules of one folder. monotonic: a clock for the time between two looks."""

    def __init__(self, workshop: Workshop, folder: Path | None, cache: Path, *, executor: Executor | None = None,
                 monotonic: Callable[[], float] = lambda: 0.0) -> None:
        self._workshop = workshop
        self._folder = folder
        self._cache = cache
        self._executor = executor
        self._monotonic = monotonic
        self._lock = asyncio.Lock()
        self._prepared: Prepared | None = None
        self._stamp = ""
        self._look_at = 0.0

    async def current(self) -> Prepared:
        """Give the rules in force. Raises DocumentFault when there never were usable ones."""
        if self._folder is None:
            return Prepared()
        async with self._lock:
            if self._prepared is not None and self._monotonic() < self._look_at:
                return self._prepared
            self._look_at = self._monotonic() + LOOK_SECONDS
            try:
                seen = await self._in_executor(lambda: stamp(self._folder or Path()))
                if self._prepared is None or seen != self._stamp:
                    self._prepared, self._stamp = await self._prepare(self._folder), seen
            except (DocumentFault, OSError) as fault:
                log.error("rules_refused", kind=type(fault).__name__, rule=getattr(fault, "rule", ""),
                          detail=getattr(fault, "detail", ""))
                if self._prepared is None:
                    raise _typed(fault) from fault
            return self._prepared

    async def warm(self) -> None:
        """Load the rules into a worker, so that the first document does not wait; a fault is logged only."""
        try:
            await self._workshop.run(warm, await self.current(), seconds=COMPILE_SECONDS)
        except DocumentFault as fault:
            log.error("rules_unusable", rule=fault.rule, detail=fault.detail)

    async def _prepare(self, folder: Path) -> Prepared:
        source: RuleSource = await self._in_executor(lambda: read_rules(folder))
        found = await self._in_executor(lambda: kept(self._cache, source.digest))
        if found is not None:
            return found
        if source.schema is not None:
            await self._workshop.run(check_schema, source.schema, seconds=COMPILE_SECONDS)
        compiled = [await self._workshop.run(compile_rules, rules, seconds=COMPILE_SECONDS, alone=True)
                    for rules in source.schematrons]
        return await self._in_executor(lambda: keep(self._cache, source, compiled))

    async def _in_executor(self, work: Callable[[], _Result]) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)


def _typed(fault: DocumentFault | OSError) -> DocumentFault:
    return fault if isinstance(fault, DocumentFault) else DocumentFault(
        "the folder of rules cannot be read", detail=type(fault).__name__, rule="DOC-REGLES",
        remedy="check documents.rules_directory and documents.rules_cache")
