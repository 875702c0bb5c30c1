"""An MLLP client: gives HL7 messages to an application of the hospital and waits for the ACK of each (MLLP release 1).

- One connection to each application, kept open; it is made again when it has gone, or when an answer did not come in time: what
  comes late is never taken for the answer to another message.
- With TLS: chain, dates and name of the application's certificate are checked before an octet of a message leaves; there is no
  way back to a clear connection. An application that refuses our certificate says so by an alert, in 1.3 after the handshake.
- Bounded: seconds to connect and to answer, octets of an answer. Faults are OperatorFault `HL7-INJOIGNABLE`, `HL7-DELAI`,
  `HL7-REPONSE`, `HL7-TLS` (with OpenSSL's reason); nothing of a message is in them.
Called by services.hl7outbox through its port `Link`, and by the lab's hospital.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from dataclasses import dataclass

from mssante.errors import OperatorFault
from mssante.lang import say
from mssante.protocol.hl7v2.mllp import Frame, Framer, frame

PIECE = 65_536


@dataclass(frozen=True, slots=True)
class MllpTarget:
    """An application. tls: None for a clear connection inside the hospital; name: expected in its certificate, empty for host."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    name: str = ""
    connect_seconds: float = 10.0
    answer_seconds: float = 30.0
    answer_bytes: int = 1 << 20


class MllpLink:
    """The connection to one application. One exchange at a time."""

    def __init__(self, target: MllpTarget) -> None:
        self._target = target
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._framer = Framer(target.answer_bytes)
        self._turn = asyncio.Lock()

    async def exchange(self, content: bytes) -> bytes:
        """Give a message and give the answer. Raises OperatorFault; the message may then have been taken or not."""
        async with self._turn:
            try:
                reader, writer = self._streams or await self._connect()
                async with asyncio.timeout(self._target.answer_seconds):
                    writer.write(frame(content))
                    await writer.drain()
                    return await self._answer(reader)
            except TimeoutError as fault:
                await self._drop()
                raise OperatorFault(say("l'application n'a pas répondu à temps", "the application did not answer in time"),
                                    rule="HL7-DELAI", remedy="hl7.answer_seconds") from fault
            except ssl.SSLError as fault:
                await self._drop()
                raise OperatorFault(say("TLS avec l'application : refusé", "TLS with the application: refused"),
                                    detail=_reason(fault), rule="HL7-TLS",
                                    remedy="hl7.applications : connect_authorities, connect_name, connect_certificate") from fault
            except (OSError, asyncio.IncompleteReadError) as fault:
                await self._drop()
                raise OperatorFault(say("l'application est injoignable", "the application cannot be reached"),
                                    detail=type(fault).__name__, rule="HL7-INJOIGNABLE",
                                    remedy="hl7.applications : connect") from fault
            except BaseException:
                await self._drop()
                raise

    async def close(self) -> None:
        """End the connection; safe when there is none."""
        await self._drop()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        target = self._target
        expected = (target.name or target.host) if target.tls is not None else None
        try:
            async with asyncio.timeout(target.connect_seconds):
                streams = await asyncio.open_connection(target.host, target.port, ssl=target.tls, server_hostname=expected)
        except TimeoutError as fault:  # nobody there, or an application that waits for HL7 in clear while we wait for its TLS
            raise ConnectionError("no connection in time") from fault
        self._streams = streams
        self._framer = Framer(target.answer_bytes)
        return streams

    async def _answer(self, reader: asyncio.StreamReader) -> bytes:
        while True:
            data = await reader.read(PIECE)
            if not data:
                raise ConnectionResetError("closed before the answer")
            for event in self._framer.feed(data):
                if isinstance(event, Frame):
                    return event.content
                raise OperatorFault(say("la réponse de l'application est illisible", "the application's answer cannot be read"),
                                    rule="HL7-REPONSE", remedy=say("trame MLLP entière", "a whole MLLP frame"))
            if self._framer.noise > PIECE:
                raise OperatorFault(say("la réponse de l'application est illisible", "the application's answer cannot be read"),
                                    rule="HL7-REPONSE", remedy="MLLP")

    async def _drop(self) -> None:
        streams, self._streams = self._streams, None
        if streams is not None:
            streams[1].close()
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(1.0):
                    await streams[1].wait_closed()


def _reason(fault: ssl.SSLError) -> str:
    """Give OpenSSL's verdict on the certificate, or its word for what went wrong."""
    if isinstance(fault, ssl.SSLCertVerificationError):
        return f"{fault.verify_message}"
    return str(fault.reason or type(fault).__name__)
