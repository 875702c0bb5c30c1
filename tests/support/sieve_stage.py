"""Filters on the SMTP stage: scripts written through the desk, mail through the real doors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from support.smtp_stage import CITIZEN, OURS, SmtpStage

from mssante.model.message import FolderRow
from mssante.protocol.sieve.faults import Limits
from mssante.services.outofoffice import AbsenceParts, AbsenceSettings, OutOfOffice
from mssante.services.sieve import FilterParts, Filters, SieveSettings
from mssante.services.sieve_desk import Author, DeskSettings, ScriptDesk
from mssante.storage.interfaces import Tx


@dataclass
class SieveSpace:
    """Filters of a stage."""

    stage: SmtpStage
    filters: Filters
    absences: OutOfOffice
    desk: ScriptDesk

    async def script(self, address: str, text: str | bytes, name: str = "filtre") -> None:
        """Put and activate a script."""
        author = Author(self.stage.mailboxes[address], address, "test")
        await self.desk.put(author, name, text.encode() if isinstance(text, str) else text)
        await self.desk.activate(author, name)

    async def folders(self, address: str) -> dict[str, list[FolderRow]]:
        """Give what each folder of a mailbox holds, those that hold something."""
        stores, box = self.stage.stores, self.stage.mailboxes[address]

        def unit(tx: Tx) -> dict[str, list[FolderRow]]:
            found = {one.name: stores.messages.snapshot(tx, one.id)[1] for one in stores.folders.of_mailbox(tx, box.id)}
            return {name: rows for name, rows in found.items() if rows}

        return await stores.database.read(unit)

    async def names(self, address: str) -> dict[str, int]:
        """Count the messages by folder."""
        await self.absences.flush()
        return {name: len(rows) for name, rows in (await self.folders(address)).items()}


def sieve_space(stage: SmtpStage, *, redirect: bool = False, discard: str = "trash", **absence: Any) -> SieveSpace:
    """Put filters on a stage."""
    hosted = frozenset({OURS})
    absences = OutOfOffice(AbsenceParts(stage.stores, stage.clock, stage.addresses, stage.trust, stage.mailroom, stage.evidence,
                                        AbsenceSettings(OURS, hosted, CITIZEN, **absence)))
    filters = Filters(FilterParts(stage.stores, stage.clock, stage.executor, stage.addresses, stage.mailroom, absences,
                                  SieveSettings(Limits(), redirect, discard, hosted=hosted, citizen=CITIZEN)))
    desk = ScriptDesk(stage.stores, stage.clock, DeskSettings(Limits(), redirects=redirect), filters.changed)
    stage.context.filters = filters
    return SieveSpace(stage, filters, absences, desk)
