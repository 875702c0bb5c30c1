"""Moves a mailbox in from elsewhere: folder by folder, page by page, each message once whatever happens.

- A message is named by a trace id derived from what it is in its source (`trace_of`). It is stored with its `imported`
  event in one transaction that first asks the ledger again: a killed import goes on where it was, two imports at the same
  time never double (docs/adr/0011-import-ledger.md).
- A message that cannot be brought in (too large, unreadable, empty) is one line of the report; the others go on.
- Octets are kept as the source gives them; flags, keywords, internal date and folder come along.
- Memory: one page of items, one batch of small messages, pieces of large ones (BodySink); 58 octets a message for the proof.
- Nothing is announced to a server beside: it sees the change by itself (services/imap/outside.py).
Called by cli/mailbox_import.py; the proof is services/importing_proof.py.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import UTC
from functools import partial

from mssante.clock import Clock
from mssante.errors import InputFault
from mssante.lang import say
from mssante.model.journal import JournalEvent, JournalKind
from mssante.model.mailbox import Folder, Mailbox, MailboxState
from mssante.model.message import MessageFacts, NewMessage, StagedBody
from mssante.services.importing_names import map_folders
from mssante.services.importing_proof import Entries, Proof, prove
from mssante.services.importing_source import ItemFault, MailSource, Note, SourceFolder, SourceItem
from mssante.services.staging import BodySink
from mssante.storage.interfaces import Acceptance, Filing, Stores, Tx

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
LONG_LINE = 1024 * 1024  # octets of a line above which the report says so
KEYWORDS = 64
NOTES = 1000  # lines of the report that are kept; further ones are counted


def trace_of(*parts: str) -> str:
    """Give the trace id of a message to import: `Z` and 125 bits of SHA-256 over its identity, in Crockford base 32.

    Ids of transactions begin with their time, which no clock takes to `Z` before the year 30000: the two never meet.
    """
    said = b"".join(len(raw).to_bytes(4, "big") + raw for raw in (part.encode("utf-8", "surrogateescape") for part in parts))
    value = int.from_bytes(hashlib.sha256(b"mssante import 1" + said).digest()[:16], "big") >> 3
    return "Z" + "".join(ALPHABET[(value >> shift) & 31] for shift in range(120, -1, -5))


@dataclass(frozen=True, slots=True)
class ImportSettings:
    """message_bytes: larger ones are skipped; inline_bytes: bodies above go to the blob store; batch_*: of one transaction.

    dry_run: list and count, change nothing; wanted: tells whether a source folder (its shown name) is asked for.
    """

    message_bytes: int
    inline_bytes: int
    dry_run: bool = False
    batch_messages: int = 100
    batch_bytes: int = 4 * 1024 * 1024
    wanted: Callable[[str], bool] = lambda name: True


@dataclass(slots=True)
class FolderReport:
    """One source folder. messages, octets: in the source; octets of messages imported before stand for what was read then."""

    source: str
    target: str
    messages: int = 0
    octets: int = 0
    imported: int = 0
    already: int = 0
    lost: int = 0
    proof: Proof | None = None


@dataclass(slots=True)
class ImportReport:
    """All folders, and what there is to tell. more_notes: those beyond NOTES."""

    address: str
    folders: list[FolderReport] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    more_notes: int = 0
    lost: int = 0

    def add(self, notes: Sequence[Note]) -> None:
        """Take lines, the first NOTES of them as text."""
        room = max(0, NOTES - len(self.notes))
        self.notes += notes[:room]
        self.more_notes += len(notes[room:])
        self.lost += sum(1 for one in notes if one.lost)

    @property
    def whole(self) -> bool:
        """True when nothing was lost and every folder is proven equal."""
        return not self.lost and all(one.proof is None or one.proof.equal for one in self.folders)


@dataclass(frozen=True, slots=True)
class _Ready:
    """One message read and staged, not committed yet."""

    trace_id: str
    digest: bytes
    body: StagedBody
    facts: MessageFacts
    item: SourceItem


class Importer:
    """One import into one mailbox."""

    def __init__(self, stores: Stores, clock: Clock, executor: Executor, settings: ImportSettings) -> None:
        """executor runs file writes and scans."""
        self._stores = stores
        self._clock = clock
        self._executor = executor
        self._settings = settings
        self._source: MailSource | None = None
        self._notes: list[Note] = []

    async def run(self, source: MailSource, address: str, tell: Callable[[FolderReport], None]) -> ImportReport:
        """Import what is wanted; `tell` is called after each page. Raises InputFault (`BAL-…`, `IMPORT-…`), MssFault."""
        box = await self._mailbox(address)
        self._source = source
        folders = await source.folders()
        report = ImportReport(box.address)
        here = await self._stores.database.read(lambda tx: self._stores.folders.of_mailbox(tx, box.id))
        targets = map_folders(folders, here)
        chosen = [one for one in folders if self._settings.wanted(one.shown)]
        if not chosen:
            raise InputFault(say("aucun dossier à importer", "no folder to import"), rule="IMPORT-DOSSIER",
                             detail=", ".join(one.shown for one in folders[:20]),
                             remedy=say("vérifiez --folder et la source", "check --folder and the source"))
        for folder in chosen:
            done = FolderReport(folder.shown, targets[folder.key])
            report.folders.append(done)
            await self._folder(box, folder, done, tell)
            report.add([*source.notes(), *self._notes])
            self._notes = []
        return report

    async def _mailbox(self, address: str) -> Mailbox:
        found = await self._stores.database.read(lambda tx: self._stores.accounts.mailboxes_by_address(tx, [address.lower()]))
        if not found:
            raise InputFault(say(f"boîte inconnue : {address}", f"unknown mailbox: {address}"), rule="BAL-INCONNUE",
                             remedy="mssante mailbox list")
        if found[0].state in (MailboxState.CLOSED, MailboxState.PURGED):
            raise InputFault(say(f"boîte fermée : {address}", f"closed mailbox: {address}"), rule="BAL-ETAT",
                             remedy="mssante mailbox state")
        return found[0]

    async def _folder(self, box: Mailbox, folder: SourceFolder, done: FolderReport, tell: Callable[[FolderReport], None]) -> None:
        source, entries = self._opened(), Entries()
        target = 0 if self._settings.dry_run else await self._target(box.id, done.target)
        async for page in source.pages(folder):
            traces = [trace_of(str(box.id), source.identity, folder.key, folder.validity, item.identity) for item in page]
            known = await self._stores.database.read(partial(self._known, traces))
            done.messages += len(page)
            done.octets += sum(item.size for item in page)
            done.already += len(known)
            digests = {trace: bytes.fromhex(digest) for trace, digest in known.items()}
            digests |= {trace: bytes.fromhex(item.sha256) for trace, item in zip(traces, page, strict=True)
                        if trace in known and item.sha256}  # read again just now: the stronger proof
            if not self._settings.dry_run:
                fresh = [(trace, item) for trace, item in zip(traces, page, strict=True) if trace not in known]
                digests |= await self._bring(box, (folder, target), fresh, done)
                for trace in traces:
                    if trace in digests:
                        entries.add(trace, digests[trace])
            else:
                self._look(folder, [item for trace, item in zip(traces, page, strict=True) if trace not in known], done)
            tell(done)
        if not self._settings.dry_run:
            done.proof = await prove(self._stores, box.id, entries, lost=done.lost)

    def _known(self, traces: list[str], tx: Tx) -> dict[str, str]:
        return self._stores.imports.known(tx, traces)

    def _opened(self) -> MailSource:
        if self._source is None:
            raise InputFault("no source", rule="IMPORT-SOURCE")
        return self._source

    def _look(self, folder: SourceFolder, items: Sequence[SourceItem], done: FolderReport) -> None:
        """What a real run would skip by its size."""
        for item in items:
            if item.size > self._settings.message_bytes:
                self._lose(folder, item, self._too_large(), done)
            else:
                done.imported += 1

    async def _target(self, mailbox_id: int, name: str) -> int:
        """Give the id of the folder here, created with the levels above when it is not there."""
        def unit(tx: Tx) -> int:
            here: dict[str, Folder] = {one.name: one for one in self._stores.folders.of_mailbox(tx, mailbox_id)}
            levels = name.split("/")
            for count in range(1, len(levels) + 1):
                level = "/".join(levels[:count])
                if level not in here:
                    here[level] = self._stores.folders.create(tx, mailbox_id, level)
            return here[name].id

        return await self._stores.database.write(unit)

    # ------------------------------------------------------------ messages

    async def _bring(self, box: Mailbox, where: tuple[SourceFolder, int], fresh: Sequence[tuple[str, SourceItem]],
                     done: FolderReport) -> dict[str, bytes]:
        """Read, stage and commit messages; give trace id -> digest of those that are stored now."""
        folder, target = where
        self._opened().plan([item for _, item in fresh if item.size <= self._settings.message_bytes])
        stored: dict[str, bytes] = {}
        batch: list[_Ready] = []
        held = 0
        for trace_id, item in fresh:
            try:
                batch.append(await self._read(folder, trace_id, item))
            except ItemFault as fault:
                self._lose(folder, item, fault, done)
                continue
            held += len(batch[-1].body.inline or b"")
            if len(batch) >= self._settings.batch_messages or held >= self._settings.batch_bytes:
                stored |= await self._commit(box, target, batch, done)
                batch, held = [], 0
        return stored | await self._commit(box, target, batch, done)

    def _lose(self, folder: SourceFolder, item: SourceItem, fault: ItemFault, done: FolderReport) -> None:
        done.lost += 1
        self._notes.append(Note(folder.shown, item.label, fault.rule, fault.text, lost=True))

    def _too_large(self) -> ItemFault:
        limit = self._settings.message_bytes
        return ItemFault("IMPORT-TAILLE", say(f"plus de {limit} octets : non importé", f"over {limit} octets: not imported"))

    async def _read(self, folder: SourceFolder, trace_id: str, item: SourceItem) -> _Ready:
        """Read one message into a sink. Raises ItemFault, MssFault."""
        if item.size > self._settings.message_bytes:
            raise self._too_large()
        sink = BodySink(self._stores.blobs, self._executor, self._settings.inline_bytes)
        seen = _Seen()
        try:
            async for piece in self._opened().octets(item):
                seen.add(piece)
                if seen.size > self._settings.message_bytes:
                    raise self._too_large()
                sink.add((piece,))
                if sink.wants_flush:
                    await sink.flush()
            self._check(seen, item)
            body, facts = await sink.seal()
        except BaseException:
            sink.discard()
            raise
        self._remark(folder, item, seen)
        return _Ready(trace_id, seen.digest(), body, facts, item)

    def _check(self, seen: _Seen, item: SourceItem) -> None:
        if seen.size == 0:
            raise ItemFault("IMPORT-VIDE", say("message vide : non importé", "empty message: not imported"))
        if item.sha256 and item.sha256 != seen.digest().hex():
            raise ItemFault("IMPORT-CHANGE", say("changé pendant la lecture : relancez l'import",
                                                 "changed while it was read: run the import again"))

    def _remark(self, folder: SourceFolder, item: SourceItem, seen: _Seen) -> None:
        """Tell of what is odd and kept as it is."""
        if seen.nul:
            self._notes.append(Note(folder.shown, item.label, "IMPORT-NUL",
                                    say("contient des octets NUL, gardés", "holds NUL octets, kept")))
        if seen.long_line:
            self._notes.append(Note(folder.shown, item.label, "IMPORT-LIGNE",
                                    say("ligne de plus d'un mébioctet, gardée", "line over one mebibyte, kept")))

    async def _commit(self, box: Mailbox, target: int, batch: Sequence[_Ready], done: FolderReport) -> dict[str, bytes]:
        """Store a batch in one transaction. Raises InputFault `IMPORT-DOSSIER` when the folder was deleted meanwhile."""
        if not batch:
            return {}
        now = self._clock.now()

        def acceptance(one: _Ready) -> Acceptance:
            item = one.item
            words = " ".join(sorted({word.casefold(): word for word in item.keywords[:KEYWORDS]}.values()))
            date = item.internal_date.astimezone(UTC) if item.internal_date is not None else None
            event = JournalEvent(JournalKind.IMPORTED, now, one.trace_id, box.address, {
                "folder_id": target, "octets": one.body.size, "sha256": one.digest.hex()})
            return Acceptance(NewMessage(one.body, b"", one.facts, one.trace_id, now),
                              (Filing(target, int(item.flags), words, date),), events=(event,))

        def unit(tx: Tx) -> int:
            known = self._stores.imports.known(tx, [one.trace_id for one in batch])
            fresh = [acceptance(one) for one in batch if one.trace_id not in known]
            if any(accepted.missing for accepted in self._stores.messages.accept(tx, fresh)):
                raise InputFault(say("le dossier a été supprimé pendant l'import", "the folder was deleted during the import"),
                                 rule="IMPORT-DOSSIER", remedy=say("relancez l'import", "run the import again"))
            return len(fresh)

        count = await self._stores.database.write(unit)
        done.imported += count
        done.already += len(batch) - count
        return {one.trace_id: one.digest for one in batch}


class _Seen:
    """What the octets of one message were, piece after piece."""

    __slots__ = ("_hash", "_run", "long_line", "nul", "size")

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._run = 0
        self.size = 0
        self.nul = False
        self.long_line = False

    def add(self, piece: bytes) -> None:
        """Take octets in order."""
        self._hash.update(piece)
        self.size += len(piece)
        self.nul = self.nul or b"\0" in piece
        first = piece.find(b"\n")
        self._run += len(piece) if first < 0 else first
        self.long_line = self.long_line or self._run > LONG_LINE
        if first >= 0:
            self._run = len(piece) - piece.rfind(b"\n") - 1

    def digest(self) -> bytes:
        """Give the SHA-256 so far."""
        return self._hash.digest()
