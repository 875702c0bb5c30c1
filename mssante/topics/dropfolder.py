"""Watched folders (`handover.folders`): nothing without any."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any

from mssante.errors import InputFault
from mssante.lang import say
from mssante.services.dropfolder import DropFolders, DropParts, DropSettings
from mssante.services.handquery import HandQuery
from mssante.topics.base import Ground, Topic
from mssante.topics.handover import hosted


class DropFolderTopic(Topic):
    """The folders. Built behind the handover topic."""

    def __init__(self, ground: Ground) -> None:
        section = ground.config.operator.handover
        folders = {address.strip().lower(): ground.config.path(path) for address, path in section.folders.items()}
        self._folders: DropFolders | None = None
        if not folders or ground.handover is None:
            return
        for address, path in folders.items():
            if not path.is_dir() or path.is_symlink():
                raise InputFault(say(f"le dossier surveillé de {address} n'existe pas, ou est un lien",
                                     f"the watched folder of {address} does not exist, or is a link"), rule="DOSSIER-OUVRIR",
                                 remedy=str(path))
        ours = HandQuery(ground.stores, ground.context.addresses, ground.clock, hosted(ground.config))
        self._folders = DropFolders(DropParts(ground.handover, ours, ground.stores, ground.clock, ground.executor,
                                              DropSettings(folders, section.folder_bytes, section.folder_seconds)))

    def tasks(self) -> Sequence[Coroutine[Any, Any, None]]:
        """Watch."""
        return () if self._folders is None else (self._folders.run(),)

    async def open(self) -> None:
        """Set the cursor of receipts. Raises MssFault."""
        if self._folders is not None:
            await self._folders.open()
