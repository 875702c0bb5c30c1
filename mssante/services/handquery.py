"""What programs may ask about the documents and the mail of their mailboxes: status, events, events of webhooks told again.

Everything is asked with the addresses of the token: what belongs to another mailbox is as if it did not exist.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any

from mssante.clock import Clock
from mssante.errors import InputFault
from mssante.lang import say
from mssante.services.addressbook import AddressBook
from mssante.services.handevents import Known, events_of, local_recipients
from mssante.storage.handover import HandedRecipient, HandedRecord
from mssante.storage.interfaces import JournalRow, Stores, Tx

SCAN = 2000  # rows of the journal read at most for one question
_ORDER = ("failed", "queued", "relayed", "delivered", "read")  # the state of the whole: its worst recipient


class HandQuery:
    """The questions."""

    def __init__(self, stores: Stores, addresses: AddressBook, clock: Clock, hosted: frozenset[str]) -> None:
        """hosted: our domains."""
        self._stores = stores
        self._addresses = addresses
        self._clock = clock
        self._hosted = hosted

    async def status(self, handed_id: str, mailboxes: Collection[str]) -> dict[str, Any] | None:
        """Give what became of a request, None when it is not of these mailboxes."""
        ids = await self._ids(mailboxes)

        def unit(tx: Tx) -> tuple[HandedRecord, list[HandedRecipient]] | None:
            record = self._stores.handover.by_id(tx, handed_id)
            return None if record is None else (record, self._stores.handover.recipients(tx, [record.id]))

        found = await self._stores.database.read(unit)
        if found is None or found[0].mailbox_id not in ids:
            return None
        record, recipients = found
        states = {one.state for one in recipients}
        return {"id": record.id, "trace_id": record.trace_id, "message_id": record.reference, "mailbox": ids[record.mailbox_id],
                "accepted_at": _at(record.created_at), "updated_at": _at(record.updated_at), "key": record.key,
                "state": next((one for one in _ORDER if one in states), "queued"), **record.facts,
                "recipients": [{"address": one.address, "state": one.state, "at": _at(one.at), "detail": one.detail}
                               for one in recipients]}

    async def events(self, after: int, limit: int, mailboxes: Collection[str]) -> dict[str, Any]:
        """Give events behind a place of the journal, in order; `next` is where to go on, `more` that there may be more now.

        At most SCAN rows are read: a page may be empty and still have more behind it.
        """
        ids = await self._ids(mailboxes)

        def unit(tx: Tx) -> tuple[list[JournalRow], list[HandedRecord]]:
            rows = self._stores.journal.after(tx, after, SCAN)
            return rows, self._stores.handover.by_trace(tx, [row.trace_id for row in rows if row.trace_id])

        rows, records = await self._stores.database.read(unit)
        boxes: dict[str, tuple[int, str]] = {}
        for address in local_recipients(rows):
            box = await self._addresses.find(address) if address.rpartition("@")[2] in self._hosted else None
            if box is not None and box.id in ids:
                boxes[address] = (box.id, box.address)
        known = Known({one.trace_id: one for one in records if one.mailbox_id in ids}, boxes, ids)
        found: list[dict[str, Any]] = []
        place = after
        for row in rows:
            if len(found) >= limit:
                return {"events": found, "next": place, "more": True}
            found += [event.document_json() for event in events_of(row, known)]
            place = row.sequence
        return {"events": found, "next": place, "more": len(rows) == SCAN}

    async def replay(self, webhook_id: str, since: str, mailboxes: Collection[str]) -> int | None:
        """Make a webhook be told again since an instant (RFC 3339, with zone); None when it is not of these mailboxes.

        Raises InputFault `API-PARAMETRE`.
        """
        moment = parse_since(since)
        ids = await self._ids(mailboxes)

        def unit(tx: Tx) -> int | None:
            hook = next((one for one in self._stores.webhooks.all(tx) if one.id == webhook_id and one.mailbox_id in ids), None)
            if hook is None:
                return None
            self._stores.webhooks.put(tx, replace(hook, active=True))
            return self._stores.webhooks.replay(tx, hook.id, moment, self._clock.now())

        return await self._stores.database.write(unit)

    async def _ids(self, mailboxes: Collection[str]) -> dict[int, str]:
        found = [await self._addresses.find(one) for one in sorted(mailboxes)]
        return {box.id: box.address for box in found if box is not None}


def parse_since(text: str) -> datetime:
    """Read an instant with its zone. Raises InputFault `API-PARAMETRE`."""
    moment: datetime | None = None
    with suppress(ValueError):
        moment = datetime.fromisoformat(text.replace(" ", "+"))  # a `+` in a query string comes as a space
    if moment is None or moment.utcoffset() is None:
        raise InputFault(say("instant absent ou sans fuseau", "instant missing, or without zone"), rule="API-PARAMETRE",
                         remedy="since=2026-01-31T08:00:00+01:00")
    return moment


def _at(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds")
