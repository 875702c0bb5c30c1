"""TLS of the MLLP door: connections are taken one by one, and the handshake is ours to follow, so that its failure can be told.

- A handshake that fails is counted, told in the log with its reason (`HL7-TLS`), and to the application by a TLS alert: whoever
  connects a hospital needs to know which side refused.
- A handshake takes a place at the door, and ten seconds at most. What does not speak TLS gets nothing: nothing is read in clear.
- It never reads a message: a connection that is secured is given to its protocol (endpoints.mllp).
Called by endpoints.mllp. (A TLS server of asyncio cuts such connections without a word to anybody; `start_tls` at the first octet
loses it with uvloop, which reads before a task can begin.)
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import structlog

from mssante.config.model import split_hostport
from mssante.endpoints.listeners import BACKLOG, Door
from mssante.endpoints.tls_context import count_session, handshake_reason, send_alert
from mssante.observability.metrics import HANDSHAKE_FAILURES

log = structlog.get_logger("mllp")
HANDSHAKE_SECONDS = 10.0
REST_SECONDS = 1.0  # when no connection can be taken (no descriptor left)


class Handshake:
    """A connection before TLS. It stands at the door in the place of the session to come."""

    def __init__(self, door: Door, address: str, wire: socket.socket) -> None:
        """wire: a second handle of the socket; it is ours to close."""
        self._door = door
        self.address = address
        self.wire = wire
        self._stands = door.opened(self, address)
        self.deadline = time.monotonic() + HANDSHAKE_SECONDS

    @property
    def stands(self) -> bool:
        """True while it has a place."""
        return self._stands

    def leave(self) -> None:
        """Give the place back."""
        if self._stands:
            self._stands = False
            self._door.closed(self, self.address)

    def expire(self) -> None:
        """Close for lack of progress: the handshake fails at once (a cancelled one does not end, with uvloop)."""
        with suppress(OSError):
            self.wire.shutdown(socket.SHUT_RDWR)

    def drain(self) -> None:
        """Close: no message can be under way."""
        self.expire()


class TlsListener:
    """The listening sockets of a door. factory: makes the protocol of a connection, told the handshake that it follows."""

    def __init__(self, door: Door, context: ssl.SSLContext, factory: Callable[[Handshake], asyncio.Protocol]) -> None:
        self._door = door
        self._context = context
        self._factory = factory
        self._accepting: list[asyncio.Task[None]] = []
        self._handshakes: set[asyncio.Task[None]] = set()
        self.sockets: list[socket.socket] = []

    async def open(self, address: str) -> None:
        """Listen at `host:port`. Raises OSError."""
        host, port = split_hostport(address)
        found = await asyncio.get_running_loop().getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        try:
            for family, where in dict.fromkeys([(one[0], one[4]) for one in found]):
                self.sockets.append(_listening(family, where))
        except OSError:
            self.close()
            raise
        self._door.adopt(self)
        self._accepting = [asyncio.ensure_future(self._accept(one)) for one in self.sockets]

    def close(self) -> None:
        """Stop listening; the door ends the handshakes under way."""
        for task in self._accepting:
            task.cancel()
        for one in self.sockets:
            one.close()

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while listening.fileno() >= 0:
            try:
                wire, peer = await loop.sock_accept(listening)
            except OSError as fault:
                log.error("mllp_not_taken", kind=type(fault).__name__)
                await asyncio.sleep(REST_SECONDS)
                continue
            handshake = Handshake(self._door, str(peer[0]), wire.dup())
            if not handshake.stands:
                log.warning("mllp_refused", address=handshake.address, rule="HL7-CONNEXIONS")
                wire.close()
                handshake.wire.close()
                continue
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            task = asyncio.ensure_future(self._secure(wire, handshake))
            self._handshakes.add(task)
            task.add_done_callback(self._handshakes.discard)

    async def _secure(self, wire: socket.socket, handshake: Handshake) -> None:
        try:
            transport, _ = await asyncio.get_running_loop().connect_accepted_socket(
                lambda: self._factory(handshake), wire, ssl=self._context, ssl_handshake_timeout=HANDSHAKE_SECONDS)
            count_session(transport.get_extra_info("ssl_object"), "in")
        except OSError as fault:
            HANDSHAKE_FAILURES.inc()
            log.warning("mllp_refused", address=handshake.address, rule="HL7-TLS", reason=handshake_reason(fault))
            send_alert(handshake.wire.fileno(), fault)  # the loop has closed its own handle
        finally:
            handshake.wire.close()
            handshake.leave()


def _listening(family: int, where: Any) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(where)
        made.listen(BACKLOG)
    except OSError:
        made.close()
        raise
    return made
