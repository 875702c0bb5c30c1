"""The MLLP door: hospital applications send HL7 v2 messages and get one ACK for each, in order (MLLP release 1; TLS optional).

- A connection is taken only from a network or with a certificate of some application (`services.hl7values.Application.admits`);
  any other is closed without a word, and told in the log.
- With TLS, the handshake is followed by endpoints.mllp_tls, which tells why one failed.
- One message at a time: the next is read when the answer of the last has been given, so that order is kept and memory bounded.
- All connections together keep at most `memory_bytes` of messages under way; beyond, the connection that asks for more is
  closed: its message was not acknowledged, so it comes again. A frame must be whole within `frame_seconds`.
- An oversized frame gets AE; one cut by the beginning of the next AR (it comes again); one cut by the end of the connection
  nothing. Octets outside frames are passed over, and too many of them end the connection.
Called by topics.hl7.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Protocol, cast

import structlog
from cryptography import x509

from mssante.endpoints.listeners import Door
from mssante.endpoints.mllp_tls import Handshake, TlsListener
from mssante.errors import InputFault
from mssante.protocol.hl7v2.faults import Hl7Busy, Hl7Code, Hl7Fault
from mssante.protocol.hl7v2.mllp import Frame, FrameEvent, Framer, Oversized, frame
from mssante.services.hl7values import Caller
from mssante.trust.names import dn_from_x509

log = structlog.get_logger("mllp")
MAX_NOISE = 65_536  # octets outside frames
MAX_WAITING = 64  # frames read and not answered yet; beyond, the connection is not read


class Taker(Protocol):
    """The gateway, as the door sees it."""

    def admits(self, caller: Caller) -> bool:
        """True when some application may speak from there."""
        ...

    def take(self, content: bytes, caller: Caller) -> Awaitable[bytes]:
        """Take a message and give its ACK."""
        ...

    def reject(self, head: bytes, fault: Hl7Fault) -> Awaitable[bytes]:
        """Give the ACK of a frame that was not read whole."""
        ...


@dataclass(frozen=True, slots=True)
class MllpSettings:
    """message_bytes: of one message; memory_bytes: of all that are under way."""

    message_bytes: int
    memory_bytes: int
    idle_seconds: float
    frame_seconds: float


class MllpServer:
    """Factory of connections."""

    def __init__(self, settings: MllpSettings, door: Door, taker: Taker) -> None:
        self.settings = settings
        self.door = door
        self.taker = taker
        self.held = 0  # octets of messages under way, of all connections

    def __call__(self) -> MllpConnection:
        """Make the protocol object of a new connection."""
        return MllpConnection(self)

    async def open(self, address: str, tls: ssl.SSLContext | None = None) -> None:
        """Open the door at `host:port`. tls: every connection begins with its handshake. Raises OSError."""
        if tls is None:
            await self.door.listen(address, self, None)
        else:
            await TlsListener(self.door, tls, lambda handshake: MllpConnection(self, handshake)).open(address)


class MllpConnection(asyncio.Protocol):
    """One connection."""

    def __init__(self, owner: MllpServer, handshake: Handshake | None = None) -> None:
        self._owner = owner
        self._handshake = handshake
        self._framer = Framer(owner.settings.message_bytes)
        self._transport: asyncio.Transport | None = None
        self._caller: Caller | None = None
        self._address = ""
        self._events: list[FrameEvent] = []
        self._held = 0
        self._arrived = asyncio.Event()
        self._over = False
        self._busy = False
        self._task: asyncio.Task[None] | None = None
        self.deadline = time.monotonic() + owner.settings.idle_seconds

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """An application came, secured if the door has TLS."""
        if self._handshake is not None:
            self._handshake.leave()  # the session takes its place
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class
        peer = transport.get_extra_info("peername") or ("", 0)
        self._address = str(peer[0])
        self._caller = caller_of(self._address, transport.get_extra_info("ssl_object"))
        if self._caller is None or not self._owner.taker.admits(self._caller):
            log.warning("mllp_refused", address=self._address, rule="HL7-RESEAU")
            self._over = True
            self._transport.abort()
            return
        if not self._owner.door.opened(self, self._address):
            log.warning("mllp_refused", address=self._address, rule="HL7-CONNEXIONS")
            self._over = True
            self._caller = None
            self._transport.abort()
            return
        self._task = asyncio.ensure_future(self._serve(self._caller))

    def data_received(self, data: bytes) -> None:
        """Octets came."""
        if self._over:
            return
        before = self._framer.inside
        self._events += self._framer.feed(data)
        self._count()
        settings = self._owner.settings
        if self._owner.held > settings.memory_bytes or self._framer.noise > MAX_NOISE:
            noisy = self._framer.noise > MAX_NOISE
            log.warning("mllp_closed", address=self._address, rule="HL7-BRUIT" if noisy else "HL7-MEMOIRE")
            self._end(abort=True)
            return
        if self._framer.inside and (not before or self._events):
            self.deadline = time.monotonic() + settings.frame_seconds
        if self._events:
            self._arrived.set()
        if (self._busy or len(self._events) >= MAX_WAITING) and self._transport is not None:
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        """The other side will send no more; what came whole is still answered, and a cut frame comes again."""
        self._over = True
        self._arrived.set()
        return self._transport is not None and self._transport.get_extra_info("ssl_object") is None

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over; a message being taken is taken to its end: its answer is lost, the message is not."""
        self._over = True
        self._arrived.set()
        if self._task is not None:
            self._owner.door.closed(self, self._address)
        self._transport = None
        self._framer = Framer(0)  # what was under way is forgotten, and no longer counted
        if not self._busy:
            self._events.clear()
        self._count()

    def expire(self) -> None:
        """Close for lack of progress."""
        if not self._busy:
            self._end(abort=True)

    def drain(self) -> None:
        """Close when nothing is under way."""
        if not self._busy and not self._events and not self._framer.inside:
            self._end()

    def _count(self) -> None:
        """Keep the account of octets held by all connections."""
        held = self._framer.pending + sum(len(one.content) for one in self._events if isinstance(one, Frame))
        self._owner.held += held - self._held
        self._held = held

    def _end(self, *, abort: bool = False) -> None:
        self._over = True
        self._arrived.set()
        if self._transport is not None:
            if abort:
                self._transport.abort()
            else:
                self._transport.close()

    async def _serve(self, caller: Caller) -> None:
        """Answer frames in order until the connection ends."""
        try:
            while self._events or not self._over:
                if not self._events:
                    self._arrived.clear()
                    if self._transport is not None:
                        self._transport.resume_reading()
                    await self._arrived.wait()
                    continue
                self._busy = True
                answer = await self._answer(self._events[0], caller)
                if self._events:
                    self._events.pop(0)
                self._count()
                self._busy = False
                self.deadline = time.monotonic() + (self._owner.settings.frame_seconds if self._framer.inside
                                                    else self._owner.settings.idle_seconds)
                if self._transport is not None and not self._transport.is_closing():
                    self._transport.write(frame(answer))
        finally:
            self._busy = False
            self._events.clear()
            self._count()
            self._end()

    async def _answer(self, event: FrameEvent, caller: Caller) -> bytes:
        if isinstance(event, Frame):
            return await self._owner.taker.take(event.content, caller)
        if isinstance(event, Oversized):
            fault = Hl7Fault(Hl7Code.OTHER, f"message de plus de {self._owner.settings.message_bytes} octets", rule="HL7-TAILLE",
                             remedy="envoyer moins de documents a la fois")
        else:
            fault = Hl7Busy(Hl7Code.OTHER, f"trame tronquee apres {event.size} octets", rule="HL7-TRAME",
                             remedy="finir chaque message par FS CR")
        return await self._owner.taker.reject(event.head, fault)


def caller_of(address: str, session: ssl.SSLObject | None) -> Caller | None:
    """Give who connected, None when the address cannot be read."""
    der = session.getpeercert(binary_form=True) if session is not None else None
    try:
        if not der:
            return Caller.of(address)
        subject = dn_from_x509(x509.load_der_x509_certificate(der).subject)
        return Caller.of(address, hashlib.sha256(der).hexdigest(), subject.pairs)
    except (ValueError, InputFault):
        return None
