"""Keeps the full-text index in step with the mail: what came is put in, what is gone is taken out.

- `catch_up` goes by row ids, which grow with each message: it reads what came since the mark, in bounded batches.
- `reconcile` compares a mailbox with its index both ways: messages copied from another mailbox are put in, expunged ones leave,
  with the words that stood nowhere else. `sweep` does so for the mailboxes where something came or went since the last time.
- Whatever is done twice or by two processes at once ends in the same index. It is never on the path of a message: it runs in a
  process of its own (`search_setup.py`), and what it has not reached yet is scanned by searches.
- Texts of messages are never logged.
Called by `cli/search.py`.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from mssante.clock import Clock
from mssante.documents.messagetext import message_text
from mssante.errors import OperatorFault, StorageFull
from mssante.model.message import StoredMessage
from mssante.storage.interfaces import Stores, Tx
from mssante.storage.search import Arrival, IndexedText, TextIndex

ARRIVALS = 500


@dataclass(frozen=True, slots=True)
class IndexSettings:
    """batch_messages, batch_bytes: read and written at once; message_seconds: for the files of one message; pdf: read PDFs;
    free: octets left where the index is; floor_bytes: below that many the index grows no more, the room is the mail's; rest:
    gives the seconds to leave to others after a batch that took so many."""

    batch_messages: int = 200
    batch_bytes: int = 4 * 1024 * 1024
    message_seconds: float = 10.0
    pdf: bool = True
    free: Callable[[], int] | None = None
    floor_bytes: int = 0
    rest: Callable[[float], float] | None = None


@dataclass(frozen=True, slots=True)
class IndexChange:
    """What was put in and taken out."""

    added: int = 0
    removed: int = 0

    def __add__(self, other: IndexChange) -> IndexChange:
        return IndexChange(self.added + other.added, self.removed + other.removed)


Tell = Callable[[int, int], None]  # done, of


def _nobody(done: int, of: int) -> None:
    """Tells nobody."""


class Indexer:
    """Works on one store and its index."""

    def __init__(self, stores: Stores, index: TextIndex, clock: Clock, settings: IndexSettings | None = None) -> None:
        self._stores = stores
        self._index = index
        self._clock = clock
        self._settings = settings or IndexSettings()

    async def catch_up(self) -> int:
        """Put in all that came since the mark; give how many messages. Raises OperatorFault."""
        count = 0
        while True:
            mark = await asyncio.to_thread(self._index.mark)
            arrivals = await self._arrivals(mark)
            if not arrivals:
                return count
            count += await self._put(arrivals)
            await asyncio.to_thread(self._index.set_mark, arrivals[-1].message_id)

    async def _arrivals(self, mark: int) -> list[Arrival]:
        def unit(tx: Tx) -> list[Arrival]:
            return self._stores.feed.arrivals(tx, mark, ARRIVALS)

        return await self._stores.database.read(unit)

    async def reconcile(self, mailbox_id: int, tell: Tell = _nobody) -> IndexChange:
        """Bring the index of a mailbox in step with it, and keep its signature. Raises OperatorFault."""
        feed = self._stores.feed

        def unit(tx: Tx) -> tuple[str, list[Arrival]]:
            return feed.signatures(tx).get(mailbox_id, ""), feed.present(tx, mailbox_id)

        signature, present = await self._stores.database.read(unit)
        known = await asyncio.to_thread(self._index.known, mailbox_id)
        gone = known.difference(arrival.message_id for arrival in present)
        removed = await asyncio.to_thread(self._index.remove, mailbox_id, sorted(gone))
        added = await self._put([arrival for arrival in present if arrival.message_id not in known], tell)
        if removed or added > self._settings.batch_messages:
            await asyncio.to_thread(self._index.settle, mailbox_id)
        await asyncio.to_thread(self._index.set_settled, mailbox_id, signature)
        return IndexChange(added, removed)

    async def rebuild(self, mailbox_id: int, tell: Tell = _nobody) -> IndexChange:
        """Make the index of a mailbox again from its mail. Raises OperatorFault."""
        await asyncio.to_thread(self._index.clear, mailbox_id)
        return await self.reconcile(mailbox_id, tell)

    async def sweep(self) -> IndexChange:
        """Reconcile the mailboxes where messages came or went since they last were; forget mailboxes that are gone."""
        signatures = dict(await self._stores.database.read(lambda tx: self._stores.feed.signatures(tx)))
        await asyncio.to_thread(self._index.drop_others, signatures.keys())
        settled = await asyncio.to_thread(self._index.settled)
        change = IndexChange()
        for mailbox_id, signature in signatures.items():
            if settled.get(mailbox_id) != signature:
                change += await self.reconcile(mailbox_id)
        return change

    # ------------------------------------------------------------ texts

    async def _put(self, arrivals: Sequence[Arrival], tell: Tell = _nobody) -> int:
        count = 0
        for batch in self._batches(arrivals):
            began = self._clock.monotonic()
            self._check_room()
            tell(count, len(arrivals))
            texts = await self._texts(list(dict.fromkeys(arrival.message_id for arrival in batch)))
            by_mailbox: defaultdict[int, list[IndexedText]] = defaultdict(list)
            for arrival in batch:
                if arrival.message_id in texts:  # else it went since
                    by_mailbox[arrival.mailbox_id].append(texts[arrival.message_id])
            for mailbox_id, part in by_mailbox.items():
                await asyncio.to_thread(self._index.add, mailbox_id, part)
                count += len(part)
            if self._settings.rest is not None:
                await asyncio.sleep(self._settings.rest(self._clock.monotonic() - began))
        tell(len(arrivals), len(arrivals))
        return count

    def _check_room(self) -> None:
        """Raise StorageFull (`DISQUE-PLEIN`) when the index would take room that is kept for mail."""
        free, floor = self._settings.free, self._settings.floor_bytes
        if free is not None and free() < floor:
            raise StorageFull(f"less than {floor} octets free: the full-text index waits", rule="DISQUE-PLEIN",
                              remedy="make room; searches read the messages meanwhile")

    def _batches(self, arrivals: Sequence[Arrival]) -> Iterator[list[Arrival]]:
        """Cut into batches of bounded count and octets."""
        batch: list[Arrival] = []
        octets = 0
        for arrival in arrivals:
            if batch and (len(batch) >= self._settings.batch_messages or octets + arrival.size > self._settings.batch_bytes):
                yield batch
                batch, octets = [], 0
            batch.append(arrival)
            octets += arrival.size
        if batch:
            yield batch

    async def _texts(self, message_ids: Sequence[int]) -> dict[int, IndexedText]:
        def unit(tx: Tx) -> list[StoredMessage]:
            return self._stores.messages.contents(tx, message_ids, with_body=True)

        contents = await self._stores.database.read(unit)
        return await asyncio.to_thread(self._read, contents)

    def _read(self, contents: Sequence[StoredMessage]) -> dict[int, IndexedText]:
        """Work texts out (worker thread)."""
        found: dict[int, IndexedText] = {}
        for content in contents:
            try:
                body = content.inline if content.inline is not None else self._stores.blobs.read(content.blob or "")
            except OperatorFault:
                continue  # purged since the row was read
            until = self._clock.monotonic() + self._settings.message_seconds
            text = message_text(content.prefix, body, spent=lambda until=until: self._clock.monotonic() > until,  # type: ignore[misc]
                                pdf=self._settings.pdf)
            found[content.id] = IndexedText(content.id, text.head, text.body)
        return found
