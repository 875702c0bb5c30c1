"""Watched folders: software that can only write files hands in documents with them (services/handover.py).

- One folder for each mailbox (`handover.folders`). A document `name.pdf`, `name.xml` (CDA) or `name.zip` (IHE_XDM) goes with its
  request `name.json` (services/handrequest.py, plus `facts` for a PDF). It is taken when `name.ready` stands beside, or when
  neither file changed between two rounds; the document is to be written first.
- The key is the SHA-256 of both files: a crash at any moment, and the same files dropped again, never send twice.
- Accepted: both files go to `envoyes/` with `name.recu.json`, written again when the document is relayed, delivered, read or
  failed. Refused: to `refus/` with `name.refus.txt`, in French. What may be tried again stays where it is.
- No place left: nothing is lost, the pair stays and is taken up again, once. A move that a crash cut is ended first.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import structlog

from mssante.clock import Clock
from mssante.documents.n1facts import read_facts
from mssante.documents.xdm import unpack
from mssante.errors import InputFault, MssFault
from mssante.lang import say
from mssante.observability.metrics import FOLDER_PAIRS
from mssante.services.dropfiles import (
    FOLLOWED,
    MAX_FACTS,
    REFUSED,
    SENT,
    Putting,
    Seen,
    finish,
    listed,
    put_away,
    read,
    read_note,
    write_note,
)
from mssante.services.handed import HandedCda, HandedDocument, HandedIn, HandedPdf, HandOverRefused
from mssante.services.handover import HandOver
from mssante.services.handquery import HandQuery
from mssante.services.handrequest import Asker, parse_json, read_request
from mssante.storage.interfaces import Stores, Tx

log = structlog.get_logger("dropfolder")
CONSUMER = "dropfolder"
SOURCE = "folder "
BATCH = 500
ROUND = 200  # pairs of one folder taken in one round
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class DropSettings:
    """folders: by address of the mailbox; file_bytes: of one file; seconds: between two rounds."""

    folders: Mapping[str, Path]
    file_bytes: int
    seconds: float


@dataclass(slots=True)
class DropParts:
    """What the folders stand on."""

    handover: HandOver
    query: HandQuery
    stores: Stores
    clock: Clock
    executor: Executor
    settings: DropSettings


@dataclass(slots=True)
class _Round:
    """What was seen of one folder the last time."""

    stamps: dict[str, tuple[int, ...]] = field(default_factory=dict)
    begun: bool = False  # what an earlier life left has been ended


class DropFolders:
    """The service."""

    def __init__(self, parts: DropParts) -> None:
        self._parts = parts
        self._rounds = {address: _Round() for address in parts.settings.folders}

    async def open(self) -> None:
        """Begin at the end of the journal when it was never followed. Raises MssFault."""
        stores, now = self._parts.stores, self._parts.clock.now()

        def unit(tx: Tx) -> None:
            if stores.cursors.get(tx, CONSUMER) is None:
                stores.cursors.move(tx, CONSUMER, stores.journal.end(tx), now)

        await stores.database.write(unit)

    async def run(self) -> None:
        """Watch for ever; a fault of one folder is told and keeps none of the others."""
        while True:
            for address in self._parts.settings.folders:
                try:
                    await self.step(address)
                except MssFault as fault:
                    log.error("folder_not_read", mailbox=address, rule=fault.rule, detail=fault.detail)
            try:
                while await self.follow():
                    pass
            except MssFault as fault:
                log.error("receipts_not_written", rule=fault.rule, detail=fault.detail)
            await asyncio.sleep(self._parts.settings.seconds)

    # ---------------------------------------------------------------------------------------------- taking

    async def step(self, address: str) -> int:
        """Look at one folder, take what is whole; give how many pairs were accepted or refused. Raises MssFault."""
        folder, before = self._parts.settings.folders[address], self._rounds[address]
        if not before.begun:
            ended = await self._run(finish, folder, self._parts.clock.now().timestamp())
            before.begun = True
            if ended:
                log.info("moves_ended", mailbox=address, moves=ended)
        pairs = await self._run(listed, folder)
        whole = [one for one in pairs if one.ready or before.stamps.get(one.document) == one.stamp][:ROUND]
        before.stamps = {one.document: one.stamp for one in pairs}
        done = 0
        for one in whole:
            done += await self._take(address, folder, one)
        return done

    async def _take(self, address: str, folder: Path, seen: Seen) -> int:
        """Hand in one pair and put it away; 0 when it is to be tried again."""
        digest = hashlib.sha256(seen.document.encode("utf-8", "surrogateescape")).hexdigest()
        try:
            content, facts = await self._run(_both, folder, seen, self._parts.settings.file_bytes)
            digest = key_of(content, facts)
            asked = await self._run(partial(request_of, address, digest), seen.document, content, facts)
            got = await self._parts.handover.accept(asked)
        except MssFault as fault:
            if fault.temporary:
                FOLDER_PAIRS.labels("later").inc()
                log.warning("document_waits", mailbox=address, rule=fault.rule)
                return 0
            await self._run(put_away, folder, seen, Putting(REFUSED, {".refus.txt": refusal_text(fault)}, digest[:8]))
            FOLDER_PAIRS.labels("refused").inc()
            log.info("document_refused", mailbox=address, rule=fault.rule)
            return 1
        await self._accepted(address, folder, seen, (got, digest))
        FOLDER_PAIRS.labels("taken").inc()
        return 1

    async def _accepted(self, address: str, folder: Path, seen: Seen, got: tuple[HandedIn, str]) -> None:
        accepted, digest = got
        receipt = await self._receipt(accepted.id, address)
        await self._run(put_away, folder, seen, Putting(SENT, {".recu.json": receipt}, digest[:8], accepted.id))
        await self._again(folder, accepted.id, address)  # what was told since the receipt was made

    async def _receipt(self, handed_id: str, address: str) -> bytes:
        status = await self._parts.query.status(handed_id, [address])
        return json.dumps(status or {"id": handed_id}, ensure_ascii=False, indent=2).encode() + b"\n"

    # ------------------------------------------------------------------------------------------- receipts

    async def follow(self) -> bool:
        """Write again the receipts of documents about which the journal says something new; False when there was nothing.

        The states are those of `handfollow`: this consumer waits for its cursor, and reads no further.
        """
        stores = self._parts.stores

        def unit(tx: Tx) -> tuple[int, list[tuple[str, str]]]:
            place, limit = stores.cursors.get(tx, CONSUMER) or 0, stores.cursors.get(tx, "handover") or 0
            rows = [row for row in stores.journal.after(tx, place, BATCH) if row.sequence <= limit]
            found = stores.handover.by_trace(tx, [row.trace_id for row in rows if row.trace_id])
            ours = [(one.id, one.source[len(SOURCE):]) for one in found if one.source.startswith(SOURCE)]
            return (rows[-1].sequence if rows else 0), ours

        place, ours = await stores.database.read(unit)
        if not place:
            return False
        for handed_id, address in ours:
            folder = self._parts.settings.folders.get(address)
            if folder is not None:
                await self._again(folder, handed_id, address)
        await stores.database.write(lambda tx: stores.cursors.move(tx, CONSUMER, place, self._parts.clock.now()))
        return True

    async def _again(self, folder: Path, handed_id: str, address: str) -> None:
        note = await self._run(read_note, folder, FOLLOWED, handed_id)
        name = _name_of(note)
        if name:
            await self._run(write_note, folder, SENT, f"{name}.recu.json", await self._receipt(handed_id, address))

    async def _run(self, work: Any, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._parts.executor, work, *arguments)


def key_of(content: bytes, facts: bytes) -> str:
    """Give the key of a pair: the same files are the same request."""
    return hashlib.sha256(hashlib.sha256(content).digest() + hashlib.sha256(facts).digest()).hexdigest()


def request_of(address: str, key: str, document: str, content: bytes, facts: bytes) -> HandedDocument:
    """Read a pair into a request. Raises InputFault."""
    value = parse_json(facts)
    if not isinstance(value, dict) or "documents" in value or "mailbox" in value:
        raise InputFault(say("le .json décrit l'envoi, sans documents ni boîte",
                             "the .json describes the sending, without documents or mailbox"), rule="DOSSIER-DEMANDE",
                         remedy='{"to": ["…"]}')
    rest = {name: one for name, one in value.items() if name != "facts"}
    handed: tuple[HandedCda | HandedPdf, ...]
    kind = document.rpartition(".")[2].lower()
    if kind == "pdf":
        handed = (HandedPdf(content, read_facts(value.get("facts"))),)
    elif "facts" in value:
        raise InputFault(say("des faits n'accompagnent qu'un PDF", "facts go with a PDF only"), rule="DOSSIER-DEMANDE",
                         remedy="facts")
    else:
        handed = (HandedCda(content),) if kind == "xml" else tuple(
            [HandedCda(one.content) for one in unpack(content).documents if one.content is not None])
    if not handed:
        raise InputFault(say("l'archive n'annonce aucun document", "the archive announces no document"),
                         rule="DOSSIER-DEMANDE", remedy="IHE_XDM/SUBSET01/METADATA.XML")
    asker = Asker(f"{SOURCE}{address}", key, f"{SOURCE}{address}", address)
    return read_request(rest, asker, lambda _: None, documents=handed)


def refusal_text(fault: MssFault) -> bytes:
    """Say why a pair was refused, for the person who looks into the folder."""
    lines = ["Ce document n'a pas été envoyé.", f"Règle : {fault.rule}", f"Raison : {fault.public}"]
    if fault.remedy:
        lines.append(f"À faire : {fault.remedy}")
    if isinstance(fault, HandOverRefused):
        lines += [f"Destinataire {address} : {words} [{rule}]" for address, rule, words in fault.recipients]
    lines.append("Corrigez, puis déposez de nouveau les deux fichiers.")
    return ("\n".join(lines) + "\n").encode("utf-8", "replace")


def _both(folder: Path, seen: Seen, most: int) -> tuple[bytes, bytes]:
    return read(folder, seen.document, most), read(folder, f"{seen.name}.json", MAX_FACTS)


def _name_of(note: bytes | None) -> str:
    """Give the name that a note of ours holds; empty when it is not one."""
    try:
        value = json.loads(note or b"")
    except ValueError:
        return ""
    name = value.get("name", "") if isinstance(value, dict) else ""
    return name if isinstance(name, str) and 0 < len(name) <= 200 and not set(name) & {"/", "\0"} else ""
