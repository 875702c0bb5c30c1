"""Follows the versions of documents that mailboxes receive (spec §8.3): which replaces which, which was deleted by its author.

- One cursor over the journal (`consumer_cursor`, name `versions`): the steps of each archive that arrives are applied to its
  mailbox in one transaction, then the cursor moves; applied twice they change nothing more, so kill -9 does no harm.
- The operator stays a neutral carrier: messages and documents are kept as they came; only the knowledge is new.
- A late original does not come back to life: a document that another already replaced or deleted is written as such.
- Archives are read in the workshop. What cannot be read has no versions. Identifiers are hashes; no log names a document.
Called by topics.documents.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import structlog

from mssante.clock import Clock
from mssante.documents.versions import Asked, VersionStep, message_steps
from mssante.errors import MssFault
from mssante.model.journal import JournalKind
from mssante.services.journal_consumer import Following, JournalConsumer, Wanted, traces_of
from mssante.services.workshop import Workshop
from mssante.storage.interfaces import JournalRow, Stores, Tx
from mssante.storage.twins import Arrived
from mssante.storage.versions import CURRENT, DELETED, REPLACED, DocumentVersion

log = structlog.get_logger("versions")
CONSUMER = "versions"
BATCH = 200
LARGEST = 100 * 1024 * 1024
_ARRIVALS = frozenset({JournalKind.RECEIVED.value})
_PASSING = frozenset({"DOC-FILE"})


@dataclass(frozen=True, slots=True)
class VersionParts:
    """What the follower stands on. seconds: time to read the archives of one message."""

    stores: Stores
    clock: Clock
    executor: Executor
    workshop: Workshop
    seconds: float = 30.0
    poll_seconds: float = 2.0


class VersionKeeper(JournalConsumer[list[Arrived]]):
    """The consumer, and what it knows."""

    def __init__(self, parts: VersionParts) -> None:
        super().__init__(Following(parts.stores, parts.clock, CONSUMER, BATCH, parts.poll_seconds))
        self._parts = parts

    def wants(self, tx: Tx) -> Wanted:
        """Arrivals that may hold a document."""
        return Wanted(_ARRIVALS, plain=False)

    def gather(self, tx: Tx, rows: Sequence[JournalRow]) -> list[Arrived]:
        """Give what arrived."""
        return self._parts.stores.twins.arrived(tx, traces_of(rows, _ARRIVALS))

    async def look(self, rows: Sequence[JournalRow], gathered: list[Arrived]) -> None:
        """Apply the steps of a batch, oldest message first. Raises MssFault for what passes."""
        for one in sorted(gathered, key=lambda found: found.message_id):
            await self._look(one)

    async def _look(self, arrived: Arrived) -> None:
        stores, parts = self._parts.stores, self._parts
        found = await stores.database.read(lambda tx: stores.messages.contents(tx, [arrived.message_id], with_body=True))
        if not found or found[0].body_size > LARGEST:
            return
        message = found[0]
        if message.blob is None:
            body = message.inline or b""
        else:
            key = message.blob
            body = await asyncio.get_running_loop().run_in_executor(parts.executor, lambda: stores.blobs.read(key))
        try:
            steps: Sequence[VersionStep] = await parts.workshop.run(message_steps, body, seconds=parts.seconds)
        except MssFault as fault:
            if fault.rule in _PASSING:
                raise
            log.warning("versions_unread", rule=fault.rule, trace_id=message.trace_id)
            return
        if steps:
            await stores.database.write(lambda tx: self.apply(tx, arrived, steps, message.trace_id))

    def apply(self, tx: Tx, arrived: Arrived, steps: Sequence[VersionStep], trace_id: str) -> None:
        """Write the steps of one message (in a transaction); the same again changes nothing."""
        store, box, now = self._parts.stores.versions, arrived.mailbox_id, self._parts.clock.now()
        for step in steps:
            known = store.of(tx, box, [step.document]).get(step.document)
            status, by = (known.status, known.replaced_by) if known is not None else (CURRENT, "")
            if step.asked is Asked.DELETE:
                status, by = DELETED, ""
            set_id = step.set_id or (known.set_id if known is not None else "")
            if known is None or known.status != status or known.message_id < arrived.message_id:
                store.put(tx, DocumentVersion(box, step.document, set_id, step.version, status, by, arrived.message_id, trace_id,
                                              now))
            if step.asked is Asked.REPLACE:
                self._replace(tx, arrived, step, trace_id)

    def _replace(self, tx: Tx, arrived: Arrived, step: VersionStep, trace_id: str) -> None:
        """Mark what a document replaces; one that did not come yet is written as replaced already."""
        store, box, now = self._parts.stores.versions, arrived.mailbox_id, self._parts.clock.now()
        older = [one for one in step.replaces if one != step.document]
        if not older:  # said by the metadata alone: the others of its set, those that came before
            older = [one.document for one in store.of_set(tx, box, step.set_id)
                     if one.document != step.document and one.message_id < arrived.message_id]
        known = store.of(tx, box, older)
        store.mark(tx, box, [one for one in older if one in known], REPLACED, by=step.document)
        for one in older:
            if one not in known:
                store.put(tx, DocumentVersion(box, one, step.set_id, "", REPLACED, step.document, 0, trace_id, now))

    async def latest(self, mailbox_id: int, document: str) -> DocumentVersion | None:
        """Give the last of the chain that begins at a document (its hash), or None when the mailbox never had it."""
        store = self._parts.stores.versions

        def unit(tx: Tx) -> DocumentVersion | None:
            seen: set[str] = set()
            found = store.of(tx, mailbox_id, [document]).get(document)
            while found is not None and found.replaced_by and found.replaced_by not in seen:
                seen.add(found.document)
                found = store.of(tx, mailbox_id, [found.replaced_by]).get(found.replaced_by) or found
                if found.document in seen:
                    break
            return found

        return await self._parts.stores.database.read(unit)
