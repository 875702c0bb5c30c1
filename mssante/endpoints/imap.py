"""IMAP listening side: makes connections, counts them, drains them (RFC 9051; ports 143 with STARTTLS and 993).

- `ImapEndpoint` is itself the factory: `loop.create_server(endpoint, …)` for 143, `…, ssl=context` for 993.
- Limits: connections in all and by address; beyond, `* BYE` at once. By account: `NO [LIMIT]` at login (RFC 5530 §3).
- `drain` lets running commands end, says BYE to the others, closes what is left at the deadline.
- Wired by `app.py`; a connection is `endpoints/imap_connection.py`, what commands do is in `services/imap`.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from dataclasses import dataclass

from mssante.endpoints.imap_connection import ImapConnection
from mssante.endpoints.imap_login import LoginOffer
from mssante.observability.metrics import LIMITS, SESSIONS
from mssante.protocol.imap.faults import CommandRefused
from mssante.protocol.imap.limits import LITERAL_MINUS, Limits
from mssante.services.imap.session import ImapServices
from mssante.services.throttle import Bucket


@dataclass(slots=True)
class AccountUse:
    """What the connections of one account share."""

    login: str
    bucket: Bucket
    connections: int = 0


READ_OCTETS = 64 * 1024


class ImapEndpoint:
    """Factory and register of IMAP connections."""

    def __init__(self, services: ImapServices, *, tls: ssl.SSLContext | None = None, offer: LoginOffer | None = None) -> None:
        """tls: context for STARTTLS; without it STARTTLS is refused (implicit TLS is given to `create_server`)."""
        self.services = services
        self.offer = offer or LoginOffer()
        self.limits = Limits(unasked=LITERAL_MINUS if services.settings.literal_minus else None)
        self._accounts: dict[str, AccountUse] = {}
        self.settings = services.settings
        self.tls = tls
        self.reading = memoryview(bytearray(READ_OCTETS))  # where the loop reads for every connection, one after the other
        self._connections: set[ImapConnection] = set()
        self._by_address: Counter[str] = Counter()
        self._empty = asyncio.Event()
        self._draining = False
        self._gauge = SESSIONS.labels("imap")

    def __call__(self) -> ImapConnection:
        """Make the protocol object of a new connection."""
        return ImapConnection(self)

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._connections)

    def admit(self, connection: ImapConnection, address: str) -> str:
        """Register a connection: give an empty text, or why it is refused."""
        if self._draining:
            return "the server is stopping"
        if len(self._connections) >= self.settings.connections:
            LIMITS.labels("connections").inc()
            return "too many connections"
        if self._by_address[address] >= self.settings.connections_per_address:
            LIMITS.labels("connections_per_address").inc()
            return "too many connections from this address"
        self._connections.add(connection)
        self._by_address[address] += 1
        self._empty.clear()
        self._gauge.inc()
        return ""

    def forget(self, connection: ImapConnection, address: str) -> None:
        """Take a closed connection off the register; unknown ones are ignored."""
        if connection not in self._connections:
            return
        self._connections.discard(connection)
        self._gauge.dec()
        self._by_address[address] -= 1
        if not self._by_address[address]:
            del self._by_address[address]
        if not self._connections:
            self._empty.set()

    def enter(self, login: str) -> AccountUse:
        """One more connection of an account. Raises CommandRefused `LIMIT` (RFC 5530 §3) when it has too many."""
        use = self._accounts.get(login)
        if use is None:
            now = asyncio.get_running_loop().time()
            use = AccountUse(login, Bucket(self.settings.account_commands_rate, self.settings.account_commands_burst, now))
            self._accounts[login] = use
        if use.connections >= self.settings.connections_per_account:
            LIMITS.labels("connections_per_account").inc()
            raise CommandRefused("too many connections of this account", code="LIMIT", rule="RFC 5530 §3")
        use.connections += 1
        return use

    def leave(self, use: AccountUse) -> None:
        """One connection less of an account."""
        use.connections -= 1
        if use.connections <= 0:
            self._accounts.pop(use.login, None)

    async def drain(self) -> None:
        """Stop: refuse new connections, end the others with BYE after their command, abort at the deadline."""
        self._draining = True
        for connection in list(self._connections):
            connection.stop()
        if self._connections:
            try:
                await asyncio.wait_for(self._empty.wait(), self.settings.drain_seconds)
            except TimeoutError:
                for connection in list(self._connections):
                    connection.abort()
        await self.services.registry.recents.flush()
        self.services.registry.shutdown()
