"""Accepting messages: the hot path of reception, submission and IMAP APPEND.

- A batch of N messages is a fixed number of statements: message rows, one UPDATE of all touched folders that gives UIDs
  and modseqs, folder rows, queue rows, journal rows (each INSERT in a few parts, see `InsertRows`).
- Ids come from the counters of the transaction, so every row is built before the first statement.
- A folder that no longer exists is told as `missing`; a message that then stands nowhere becomes an orphan candidate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mssante.model.journal import JournalEvent
from mssante.model.message import Flags, NewMessage
from mssante.storage.interfaces import Acceptance, Accepted, Filed, Filing, QueueEntry
from mssante.storage.sql.journal import SqlJournalStore
from mssante.storage.sql.tables import folder, folder_message, message, message_orphan, queue_message, queue_recipient
from mssante.storage.sql.transaction import InsertRows, Transaction, ValuesStatement
from mssante.storage.sql.values import micros, storable

_SEEN = Flags.SEEN.value
_DELETED = Flags.DELETED.value

_MESSAGE = InsertRows(message, [
    "id", "trace_id", "received_at", "body_size", "sha256", "blob", "header_size", "received_count", "header_message_id",
    "in_reply_to", "from_address", "subject", "header_date", "prefix", "imap_envelope", "imap_bodystructure", "body"])
_FOLDER_MESSAGE = InsertRows(folder_message, [
    "folder_id", "uid", "message_id", "modseq", "flags", "keywords", "internal_date", "size", "expunged",
    "saved_at"])
_QUEUE_MESSAGE = InsertRows(queue_message, [
    "id", "message_id", "trace_id", "sender", "size", "created_at", "expires_at", "ret", "envid", "smtputf8"])
_QUEUE_RECIPIENT = InsertRows(queue_recipient, [
    "id", "queue_id", "address", "destination", "notify", "orcpt", "state", "attempts", "next_attempt_at",
    "lease_owner", "lease_until", "last_reply", "delay_notified"])
INSERT_ORPHAN = InsertRows(message_orphan, ["message_id"], ignore="message_id")


def _growth_text() -> str:
    """Give the text of the one UPDATE that lets folders grow; row: id, count, unseen, deleted, size."""
    name, columns = folder.name, folder.c
    grown = [(columns.uidnext, "v.column2"), (columns.highest_modseq, "1"), (columns.message_count, "v.column2"),
             (columns.unseen_count, "v.column3"), (columns.deleted_count, "v.column4"),
             (columns.size_bytes, "v.column5")]
    sets = ", ".join(f"{column.name} = {name}.{column.name} + {by}" for column, by in grown)
    key = columns.id.name
    return f"UPDATE {name} SET {sets} FROM (VALUES {{rows}}) AS v WHERE {name}.{key} = v.column1"  # noqa: S608 -- names


def _grown_text(joined: str) -> str:
    """Give the text that reads what grew as one row: `id uidnext modseq` by folder. joined: the engine's aggregate."""
    columns = folder.c
    row = f"{columns.id.name} || ' ' || {columns.uidnext.name} || ' ' || {columns.highest_modseq.name}"
    return f"SELECT {joined}({row}, ',') FROM {folder.name} WHERE {columns.id.name} IN (VALUES {{rows}})"  # noqa: S608


_GROWTH = ValuesStatement(_growth_text(), 5)
# One row and not RETURNING's N: the driver gives the interpreter lock away at each row, and beside a busy event loop each
# way back costs up to a switch interval. Measured: 3.2 ms a group of 8 with RETURNING, 1.9 ms so.
_GROWN = {"sqlite": ValuesStatement(_grown_text("group_concat"), 1),
          "postgresql": ValuesStatement(_grown_text("string_agg"), 1)}


def grow_folders_tx(tx: Transaction, sums: dict[int, list[int]]) -> dict[int, tuple[int, int]]:
    """Give folder id -> (uidnext before, modseq) of the folders that exist; sums: id -> [count, unseen, deleted, size].

    Folders go in id order, which is the order of row locks on PostgreSQL.
    """
    flat: list[int] = []
    for folder_id in sorted(sums):
        flat.append(folder_id)
        flat += sums[folder_id]
    _GROWTH.execute(tx, flat)
    places: dict[int, tuple[int, int]] = {}
    for (joined,) in _GROWN[tx.dialect.name].run(tx, sorted(sums)):
        for row in (joined or "").split(",") if joined else ():
            folder_id, uidnext, modseq = map(int, row.split(" "))
            places[folder_id] = (uidnext - sums[folder_id][0], modseq)
    return places



@dataclass(slots=True)
class _Batch:
    """Flat values of the rows of one batch, by table, and what is found on the way."""

    queue_messages: list[object]
    queue_recipients: list[object]
    events: list[JournalEvent]
    sums: dict[int, list[int]]


def accept_tx(tx: Transaction, items: Sequence[Acceptance], journal: SqlJournalStore) -> list[Accepted]:
    """Insert messages with their folder rows, queue rows and events; results in the order of items."""
    if not items:
        return []
    batch = _Batch([], [], [], {})
    message_id = tx.take_ids(len(items))
    messages: list[object] = []
    queued: list[tuple[int, tuple[int, ...]]] = []
    for offset, item in enumerate(items):
        new = item.message
        _add_message(messages, message_id + offset, new)
        size = len(new.prefix) + new.body.size
        for filing in item.filings:
            _add_sum(batch.sums, filing, size)
        queued.append(_add_queue(tx, batch, message_id + offset, item) if item.queue else (0, ()))
        batch.events += item.events
    _MESSAGE.run(tx, messages)
    places = grow_folders_tx(tx, batch.sums) if batch.sums else {}
    results = _file(tx, items, message_id, (places, queued))
    _QUEUE_MESSAGE.run(tx, batch.queue_messages)
    _QUEUE_RECIPIENT.run(tx, batch.queue_recipients)
    journal.append(tx, batch.events)
    orphans = [result.message_id for result in results if not result.filed and not result.queue_id]
    INSERT_ORPHAN.run(tx, list(orphans))
    return results


def _add_message(flat: list[object], row_id: int, new: NewMessage) -> None:
    body, facts = new.body, new.facts
    flat += (
        row_id, new.trace_id, micros(new.received_at), body.size, body.sha256, body.blob, facts.header_size,
        facts.received_count, storable(facts.message_id), storable(facts.in_reply_to), storable(facts.from_address),
        storable(facts.subject), None if facts.date is None else micros(facts.date), new.prefix, facts.envelope,
        facts.bodystructure, body.inline)


def _add_sum(sums: dict[int, list[int]], filing: Filing, size: int) -> None:
    unseen = 0 if filing.flags & _SEEN else 1
    deleted = 1 if filing.flags & _DELETED else 0
    known = sums.get(filing.folder_id)
    if known is None:
        sums[filing.folder_id] = [1, unseen, deleted, size]
        return
    known[0] += 1
    known[1] += unseen
    known[2] += deleted
    known[3] += size


def _add_queue(tx: Transaction, batch: _Batch, message_id: int, item: Acceptance) -> tuple[int, tuple[int, ...]]:
    """Add the queue rows of one message; give its queue id and recipient ids."""
    entry, new = item.queue, item.message
    if entry is None or not entry.recipients:
        return 0, ()
    queue_id = tx.take_ids(1 + len(entry.recipients))
    batch.queue_messages += (
        queue_id, message_id, new.trace_id, entry.sender, len(new.prefix) + new.body.size, micros(new.received_at),
        micros(entry.expires_at), entry.ret, storable(entry.envid), int(entry.smtputf8))
    ids = tuple(range(queue_id + 1, queue_id + 1 + len(entry.recipients)))
    due, lease, attempts = _first_attempt(entry)
    for recipient_id, recipient in zip(ids, entry.recipients, strict=True):
        batch.queue_recipients += (
            recipient_id, queue_id, recipient.address, recipient.destination, recipient.notify,
            storable(recipient.orcpt), "queued", attempts, due, entry.lease_owner, lease, "", 0)
    return queue_id, ids


def _first_attempt(entry: QueueEntry) -> tuple[int, int | None, int]:
    """Give (due, lease end, attempts): a leased entry is already in its first attempt, as after `claim`."""
    if entry.lease_owner and entry.lease_until is not None:
        lease = micros(entry.lease_until)
        return lease, lease, 1
    return micros(entry.next_attempt_at), None, 0


def _file(tx: Transaction, items: Sequence[Acceptance], first_id: int,
          found: tuple[dict[int, tuple[int, int]], list[tuple[int, tuple[int, ...]]]]) -> list[Accepted]:
    """Insert folder rows with the UIDs of `places`; give the result of each item."""
    places, queued = found
    following = {folder_id: uid for folder_id, (uid, _) in places.items()}
    flat: list[object] = []
    results: list[Accepted] = []
    for offset, item in enumerate(items):
        new = item.message
        size = len(new.prefix) + new.body.size
        filed: list[Filed] = []
        missing: list[int] = []
        for filing in item.filings:
            place = places.get(filing.folder_id)
            if place is None:
                missing.append(filing.folder_id)
                continue
            uid = following[filing.folder_id]
            following[filing.folder_id] = uid + 1
            flat += (filing.folder_id, uid, first_id + offset, place[1], filing.flags, filing.keywords,
                     micros(filing.internal_date or new.received_at), size, 0, micros(new.received_at))
            filed.append(Filed(filing.folder_id, uid, place[1]))
        queue_id, recipient_ids = queued[offset]
        results.append(Accepted(first_id + offset, tuple(filed), tuple(missing), queue_id, recipient_ids))
    _FOLDER_MESSAGE.run(tx, flat)
    return results
