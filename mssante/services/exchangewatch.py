"""Remembers with whom our mailboxes exchange, and which addresses elsewhere their operator said to be closed.

- Counted in memory (a dictionary look-up each) and written once a minute in one transaction, as `services.peerwatch` does:
  nothing is written on the path of a message. At most 20,000 facts wait; beyond, further ones are dropped and counted.
- Closed: a refusal for ever by the remote operator whose status says that the mailbox is not there or not in use (RFC 3463 §3.2:
  5.1.1, 5.1.6, 5.2.1), never one of our own rules. A message taken by its operator forgets it.
- Citizens leave nothing here: they are in no directory, and who writes to whom of them is nobody's help.
- What was not seen for two years is forgotten.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from datetime import timedelta

import structlog

from mssante.clock import Clock
from mssante.errors import MssFault
from mssante.model.outcome import Delivered, Outcome, Refused
from mssante.storage.exchanges import BOUNCE, ClosedAddress, Exchange
from mssante.storage.interfaces import Stores, Tx

log = structlog.get_logger("exchanges")
FLUSH_SECONDS = 60.0
MAX_PENDING = 20_000
KEEP_DAYS = 730
CLOSED_STATUS = frozenset({"5.1.1", "5.1.6", "5.2.1"})
MAX_REASON = 200


class ExchangeWatch:
    """The collector of one process. `sent`, `received` and `settled` are called on the event loop; `run` writes."""

    def __init__(self, stores: Stores, clock: Clock, is_private: Callable[[str], bool] = lambda _: False) -> None:
        """is_private: addresses (lower-case) of which nothing is to be kept."""
        self._stores = stores
        self._clock = clock
        self._is_private = is_private
        self._pending: dict[tuple[int, str], Exchange] = {}
        self._closed: dict[str, ClosedAddress] = {}
        self._alive: set[str] = set()
        self._dropped = 0
        self._forget_due = 0.0

    def sent(self, mailbox_id: int, addresses: Iterable[str]) -> None:
        """Count a message that a mailbox of ours sent to addresses (lower-case)."""
        for address in addresses:
            self._count(mailbox_id, address, sent=1)

    def received(self, mailbox_ids: Iterable[int], address: str) -> None:
        """Count a message that mailboxes of ours got from an address (lower-case)."""
        for mailbox_id in mailbox_ids:
            self._count(mailbox_id, address, received=1)

    def _count(self, mailbox_id: int, address: str, *, sent: int = 0, received: int = 0) -> None:
        if not mailbox_id or not address or self._is_private(address):
            return
        now, key = self._clock.now(), (mailbox_id, address)
        known = self._pending.get(key)
        if known is not None:
            self._pending[key] = Exchange(mailbox_id, address, known.sent + sent, known.received + received, now)
        elif len(self._pending) < MAX_PENDING:
            self._pending[key] = Exchange(mailbox_id, address, sent, received, now)
        else:
            self._dropped += 1

    def settled(self, address: str, outcome: Outcome) -> None:
        """Look at what a remote operator said of one recipient. Never raises."""
        address = address.lower()
        if self._is_private(address):
            return
        if isinstance(outcome, Delivered):
            self._closed.pop(address, None)
            if len(self._alive) < MAX_PENDING:
                self._alive.add(address)
        elif isinstance(outcome, Refused) and not outcome.rule and outcome.remote and outcome.status in CLOSED_STATUS:
            now = self._clock.now()
            self._alive.discard(address)
            if address in self._closed or len(self._closed) < MAX_PENDING:
                self._closed[address] = ClosedAddress(address, now, BOUNCE, outcome.status, now)

    def closed_lately(self, address: str) -> ClosedAddress | None:
        """Give what is not written yet of an address."""
        return self._closed.get(address)

    async def run(self) -> None:
        """Write what was counted, once a minute, for ever."""
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            try:
                await self.flush()
            except MssFault as fault:
                log.warning("exchanges_not_written", detail=str(fault)[:300])

    async def flush(self) -> None:
        """Write what was counted since the last time. Raises MssFault; what is lost then is counts only."""
        if self._dropped:
            log.warning("exchanges_dropped", count=self._dropped)
            self._dropped = 0
        forget = self._clock.monotonic() >= self._forget_due
        rows, closed, alive = list(self._pending.values()), list(self._closed.values()), list(self._alive)
        if not (rows or closed or alive or forget):
            return
        self._pending.clear()
        self._alive.clear()
        await self._stores.database.write(lambda tx: self._write(tx, rows, closed, alive))
        for one in closed:  # kept until written, so that RCPT sees it all the while
            if self._closed.get(one.address) is one:
                del self._closed[one.address]
        if forget:
            self._forget_due = self._clock.monotonic() + 86400
            before = self._clock.now() - timedelta(days=KEEP_DAYS)
            await self._stores.database.write(lambda tx: self._stores.exchanges.forget(tx, before))

    def _write(self, tx: Tx, rows: list[Exchange], closed: list[ClosedAddress], alive: list[str]) -> None:
        store = self._stores.exchanges
        store.reopen(tx, alive)
        store.close(tx, closed)
        store.add(tx, rows)
