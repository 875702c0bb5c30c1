"""Sockets: doors that open, count their sessions, sweep the idle ones and drain at stop. Their TLS is in `tls_context`."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol

from mssante.config.model import split_hostport
from mssante.observability.metrics import SESSIONS

SWEEP_SECONDS = 1.0
BACKLOG = 1024


class Expiring(Protocol):
    """A session with a deadline (monotonic seconds)."""

    deadline: float

    def expire(self) -> None:
        """Close for lack of progress."""
        ...

    def drain(self) -> None:
        """Close when nothing is under way."""
        ...


class Listening(Protocol):
    """What accepts the connections of a door: a server of the event loop, or one of ours."""

    def close(self) -> None:
        """Stop accepting."""
        ...


class Door:
    """One listening address: its sessions, its limits. Sessions register themselves."""

    def __init__(self, name: str, *, total: int, per_address: int) -> None:
        """name: label of the door in metrics; total and per_address: sessions at most."""
        self.name = name
        self._total = total
        self._per_address = per_address
        self._sessions: set[Any] = set()
        self._addresses: Counter[str] = Counter()
        self._server: Listening | None = None

    def opened(self, session: Expiring, address: str) -> bool:
        """Register a session; False when the door is full, in all or for that address."""
        if len(self._sessions) >= self._total or self._addresses[address] >= self._per_address:
            return False
        self._sessions.add(session)
        self._addresses[address] += 1
        return True

    def closed(self, session: Expiring, address: str) -> None:
        """Forget a session."""
        self._sessions.discard(session)
        self._addresses[address] -= 1
        if self._addresses[address] <= 0:
            del self._addresses[address]

    @property
    def open_sessions(self) -> int:
        """Sessions open now."""
        return len(self._sessions)

    async def listen(self, address: str, factory: Callable[[], asyncio.BaseProtocol], tls: ssl.SSLContext | None) -> None:
        """Open the door at `host:port`; `tls` for TLS from the first octet. Raises OSError."""
        self._server = await listen_on(address, factory, tls)

    def adopt(self, server: Listening) -> None:
        """Take a server that listens already: it is closed with the door."""
        self._server = server

    def sweep(self) -> None:
        """Close sessions past their deadline; tell the gauge (here and not at each session: it costs 20 µs)."""
        now = time.monotonic()
        SESSIONS.labels(self.name).set(len(self._sessions))
        for session in [s for s in self._sessions if s.deadline < now]:
            session.expire()

    async def close(self, seconds: float) -> None:
        """Stop listening, let sessions under way end within `seconds`."""
        if self._server is not None:
            self._server.close()
        limit = time.monotonic() + seconds
        while self._sessions and time.monotonic() < limit:
            for session in list(self._sessions):
                session.drain()
            await asyncio.sleep(0.05)


async def listen_on(address: str, factory: Callable[[], asyncio.BaseProtocol], tls: ssl.SSLContext | None) -> asyncio.Server:
    """Listen at `host:port`; `tls` for TLS from the first octet. Raises OSError."""
    host, port = split_hostport(address)
    options: dict[str, Any] = {"ssl_handshake_timeout": 10.0} if tls is not None else {}
    return await asyncio.get_running_loop().create_server(factory, host, port, ssl=tls, backlog=BACKLOG, **options)


async def sweep_forever(doors: list[Door]) -> None:
    """Sweep all doors once a second: cheaper than one timer for each command."""
    while True:
        await asyncio.sleep(SWEEP_SECONDS)
        for door in doors:
            door.sweep()
