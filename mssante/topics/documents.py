"""Documents that arrive, connected: their versions, the maker of readable companions, the pages that show them (docs/twin.md)."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any

from aiohttp import web

from mssante.endpoints.document_view import DocumentView, ViewParts
from mssante.errors import OperatorFault
from mssante.model.address import parse_envelope_address
from mssante.services.twin import TwinMaker, TwinParts, TwinSettings
from mssante.services.versions import VersionKeeper, VersionParts
from mssante.topics.base import Ground, Topic


class DocumentsTopic(Topic):
    """With `documents.twin = "off"`: versions alone."""

    def __init__(self, ground: Ground) -> None:
        section, config = ground.config.operator.documents, ground.config
        if ground.workshop is None:
            raise OperatorFault("no workshop on the ground", rule="DOC-PANNE", remedy="the workshop topic comes first")
        self._versions = VersionKeeper(VersionParts(ground.stores, ground.clock, ground.executor, ground.workshop,
                                                    section.worker_seconds))
        self._maker: TwinMaker | None = None
        self._view: DocumentView | None = None
        if section.twin == "off":
            return
        if ground.site is not None:
            self._view = DocumentView(ground.site, ViewParts(ground.stores, ground.executor, ground.workshop,
                                                             section.worker_seconds))
        if section.twin != "web":
            sender = parse_envelope_address(f"postmaster@{config.domains.domain[0].name}")
            self._maker = TwinMaker(TwinParts(
                ground.stores, ground.clock, ground.executor, ground.workshop, ground.context.mailroom, ground.context.addresses,
                TwinSettings(section.twin, section.twin_folder, sender, ground.context.settings.inline_limit_bytes,
                             section.worker_seconds)))

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        """Give the pages."""
        return self._view.routes() if self._view is not None else ()

    def tasks(self) -> Sequence[Coroutine[Any, Any, None]]:
        """Give the followers of the journal."""
        return (self._versions.run(), *((self._maker.run(),) if self._maker is not None else ()))

    async def open(self) -> None:
        """Begin where the journal ends, the first time."""
        await self._versions.open()
        if self._maker is not None:
            await self._maker.open()
