"""Which of our mailboxes an envelope address names, and whether it has room: a bounded cache over local provisioning.

- An address that is in the cache is answered at once; the others by one read, shared by those who wait for it.
- Entries live 30 s (`limits.mailbox_seconds`): a change made by another process (command line) is seen within that time;
  changes of this process call `forget`. Absent addresses are not kept.
- An address may be an alias of a mailbox: it is answered with the mailbox, until the very instant at which the alias ends. With
  plus-addressing (`sharing.plus_addressing`), `name+word` that is neither is answered as `name`.
- The commit checks again that the folder exists: a stale entry cannot lose a message.
- Mailboxes with a quota: what they hold is read with the entry, and what is delivered since is added in memory: a delivery costs
  no statement more. What others add or remove meanwhile (IMAP, another process) is seen with the next reading: a mailbox may be
  overshot by what comes in 30 s by another way, and by messages under way at the same moment.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from datetime import datetime

from mssante.clock import Clock
from mssante.model.mailbox import Mailbox, MailboxState, Usage
from mssante.services.delegations import DelegationBook
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
        self._ends: dict[str, datetime] = {}  # of kept addresses that are aliases with an end
        self.delegations = DelegationBook(stores, clock)
        self.plus_addressing = False
        self.keep_seconds = KEEP_SECONDS
        self.suspended_final = False  # a suspended mailbox is refused for good
        self.endings: dict[int, tuple[str, str]] = {}  # since when, successor; of kept mailboxes that are closed

    def known(self, key: str) -> Mailbox | None:
        """Give the mailbox when the cache holds it fresh, else None (which says nothing about its existence)."""
        entry = self._kept.get(key)
        if entry is None or entry[0] < self._clock.monotonic():
            return None
        if self._ends and key in self._ends and self._ends[key] <= self._clock.now():
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
        now = self._clock.now()

        def unit(tx: Tx) -> tuple[Mailbox | None, Usage | None, datetime | None]:
            box, until = self._find(tx, key, now)
            closed = box is not None and box.state is MailboxState.CLOSED
            life = self._stores.life.lives(tx, [box.id]).get(box.id) if box is not None and closed else None
            if life is not None and life.state == MailboxState.CLOSED:
                self.endings[life.mailbox_id] = (f"{life.state_since.astimezone():%Y-%m-%d}", life.successor)
            return box, self._stores.messages.usage(tx, box.id) if box is not None and box.limited else None, until

        found, used, until = await self._stores.database.read(unit, quick=True)
        self._ends.pop(key, None)
        if found is None:
            self._kept.pop(key, None)  # an alias that is over must not come back from memory
            return None
        if until is not None:
            self._ends[key] = until
        self._kept[key] = (self._clock.monotonic() + self.keep_seconds, found)
        self._used.pop(found.id, None)
        if used is not None:
            self._used[found.id] = used
        if len(self._kept) > CAPACITY:
            gone, (_, oldest) = self._kept.popitem(last=False)
            self._used.pop(oldest.id, None)
            self._ends.pop(gone, None)
            self.endings.pop(oldest.id, None)
        return found

    def _find(self, tx: Tx, key: str, now: datetime) -> tuple[Mailbox | None, datetime | None]:
        """Give the mailbox of an address and the end of the alias that it is, if it is one: two statements, four at most.

        A mailbox comes before an alias, an address as written before the one without its `+word`: never an alias of an alias.
        """
        local, _, domain = key.rpartition("@")
        bare = f"{local.partition('+')[0]}@{domain}" if self.plus_addressing and "+" in local[1:] else key
        for address in dict.fromkeys((key, bare)):
            rows = self._stores.accounts.mailboxes_by_address(tx, [address])
            if rows:
                return rows[0], None
            aliases = [one for one in self._stores.delegations.resolve(tx, [address]) if one.until is None or now < one.until]
            if aliases:
                boxes = self._stores.accounts.mailboxes_by_id(tx, [aliases[0].mailbox_id])
                return (boxes[0] if boxes else None), aliases[0].until
        return None, None

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
        self._ends.clear()
        self.endings.clear()
        self.delegations.forget()
