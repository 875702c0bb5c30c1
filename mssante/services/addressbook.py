"""Which of our mailboxes an envelope address names, and whether it has room: a bounded cache over local provisioning.

- An address that is in the cache is answered at once; the others by one read, shared by those who wait for it.
- Entries live 30 s: a change made by another process (command line) is seen within that time; changes of this process
  call `forget`. Absent addresses are not kept.
- The commit checks again that the folder exists: a stale entry cannot lose a message.
- Mailboxes with a quota: what they hold is read with the entry, and what is delivered since is added in memory: a delivery costs
  no statement more. What others add or remove meanwhile (IMAP, another process) is seen with the next reading: a mailbox may be
  overshot by what comes in 30 s by another way, and by messages under way at the same moment.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from mssante.clock import Clock
from mssante.model.mailbox import Mailbox, Usage
from mssante.storage.interfaces import Stores, Tx

KEEP_SECONDS = 30.0
CAPACITY = 50_000


class AddressBook:
    """Looks mailboxes up by key (lower-case address)."""

    def __init__(self, stores: Stores, clock: Clock) -> None:
        self._stores = stores
        self._clock = clock
        self._kept: OrderedDict[str, tuple[float, Mailbox]] = OrderedDict()
        self._used: dict[int, Usage] = {}  # by id, of kept mailboxes with a quota
        self._asking: dict[str, asyncio.Future[Mailbox | None]] = {}

    def known(self, key: str) -> Mailbox | None:
        """Give the mailbox when the cache holds it fresh, else None (which says nothing about its existence)."""
        entry = self._kept.get(key)
        if entry is None or entry[0] < self._clock.monotonic():
            return None
        return entry[1]

    async def find(self, key: str) -> Mailbox | None:
        """Give the mailbox of this address, or None when there is none."""
        found = self.known(key)
        if found is not None:
            return found
        asking = self._asking.get(key)
        if asking is None:
            asking = asyncio.ensure_future(self._ask(key))
            self._asking[key] = asking
            asking.add_done_callback(lambda _: self._asking.pop(key, None))
        return await asyncio.shield(asking)

    async def _ask(self, key: str) -> Mailbox | None:
        def unit(tx: Tx) -> tuple[Mailbox | None, Usage | None]:
            rows = self._stores.accounts.mailboxes_by_address(tx, [key])
            box = rows[0] if rows else None
            return box, self._stores.messages.usage(tx, box.id) if box is not None and box.limited else None

        found, used = await self._stores.database.read(unit, quick=True)
        if found is None:
            return None
        self._kept[key] = (self._clock.monotonic() + KEEP_SECONDS, found)
        self._used.pop(found.id, None)
        if used is not None:
            self._used[found.id] = used
        if len(self._kept) > CAPACITY:
            _, (_, oldest) = self._kept.popitem(last=False)
            self._used.pop(oldest.id, None)
        return found

    # ------------------------------------------------------------ room

    def has_room(self, mailbox: Mailbox, octets: int) -> bool:
        """Tell if one more message of this size fits, by what is known (RFC 9208 §3.1.2); no wait. Yes when nothing is known."""
        used = self._used.get(mailbox.id)
        return used is None or mailbox.holds(used, octets)

    def filed(self, mailbox_id: int, octets: int) -> None:
        """One more message of this size was delivered."""
        used = self._used.get(mailbox_id)
        if used is not None:
            self._used[mailbox_id] = Usage(used.octets + octets, used.messages + 1)

    def forget(self) -> None:
        """Drop the cache: provisioning changed."""
        self._kept.clear()
        self._used.clear()
