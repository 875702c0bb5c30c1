"""Which of our mailboxes an envelope address names: a bounded cache over local provisioning.

- An address that is in the cache is answered at once; the others by one read, shared by those who wait for it.
- Entries live 30 s: a change made by another process (command line) is seen within that time; changes of this process
  call `forget`. Absent addresses are not kept.
- The commit checks again that the folder exists: a stale entry cannot lose a message.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from mssante.clock import Clock
from mssante.model.mailbox import Mailbox
from mssante.storage.interfaces import Stores, Tx

KEEP_SECONDS = 30.0
CAPACITY = 50_000


class AddressBook:
    """Looks mailboxes up by key (lower-case address)."""

    def __init__(self, stores: Stores, clock: Clock) -> None:
        self._stores = stores
        self._clock = clock
        self._kept: OrderedDict[str, tuple[float, Mailbox]] = OrderedDict()
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
        def unit(tx: Tx) -> list[Mailbox]:
            return self._stores.accounts.mailboxes_by_address(tx, [key])

        rows = await self._stores.database.read(unit)
        if not rows:
            return None
        self._kept[key] = (self._clock.monotonic() + KEEP_SECONDS, rows[0])
        if len(self._kept) > CAPACITY:
            self._kept.popitem(last=False)
        return rows[0]

    def forget(self) -> None:
        """Drop the cache: provisioning changed."""
        self._kept.clear()
