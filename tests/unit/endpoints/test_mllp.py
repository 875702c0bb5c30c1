"""The MLLP door over real sockets, and the client that speaks to applications."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.hl7 import answer_to, order, read
from support.pki import pem_files
from support.smtp_stage import IGC, leaf

from mssante.endpoints.listeners import Door
from mssante.endpoints.mllp import MllpServer, MllpSettings, caller_of
from mssante.endpoints.tls_context import server_context
from mssante.errors import OperatorFault
from mssante.protocol.hl7v2.faults import Hl7Fault
from mssante.protocol.hl7v2.mllp import Frame, Framer, frame
from mssante.services.hl7values import Caller
from mssante.transport.mllp import MllpLink, MllpTarget

WAIT = 10.0


class Taker:
    """A gateway that answers at once, or when it is told."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.rejected: list[Hl7Fault] = []
        self.callers: list[Caller] = []
        self.open_to_all = True
        self.gate = asyncio.Event()
        self.gate.set()

    def admits(self, caller: Caller) -> bool:
        return self.open_to_all

    async def take(self, content: bytes, caller: Caller) -> bytes:
        await self.gate.wait()
        self.taken.append(content)
        self.callers.append(caller)
        return answer_to(content)

    async def reject(self, head: bytes, fault: Hl7Fault) -> bytes:
        self.rejected.append(fault)
        return b"MSH|^~\\&|rejected " + fault.rule.encode() + b"\r"


class Stage:
    """A door and its clients."""

    def __init__(self, **changes: float) -> None:
        self.taker = Taker()
        self.door = Door("mllp", total=2, per_address=2)
        given = {"message_bytes": 200_000, "memory_bytes": 300_000, "idle_seconds": 60.0, "frame_seconds": 60.0, **changes}
        self.server = MllpServer(MllpSettings(**given), self.door, self.taker)  # type: ignore[arg-type]
        self.port = 0
        self.writers: list[asyncio.StreamWriter] = []

    async def open(self, tls: ssl.SSLContext | None = None) -> None:
        await self.server.open("127.0.0.1:0", tls)
        assert self.door._server is not None
        self.port = self.door._server.sockets[0].getsockname()[1]

    async def connect(self, tls: ssl.SSLContext | None = None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=tls, server_hostname="localhost" if tls else None)
        self.writers.append(writer)
        return reader, writer

    async def close(self) -> None:
        for writer in self.writers:
            writer.close()
        await self.door.close(1.0)


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    made = Stage()
    await made.open()
    yield made
    await made.close()


async def frames(reader: asyncio.StreamReader, count: int) -> list[bytes]:
    framer, found = Framer(1 << 20), []
    async with asyncio.timeout(WAIT):
        while len(found) < count:
            data = await reader.read(65_536)
            if not data:
                break
            found += [one.content for one in framer.feed(data) if isinstance(one, Frame)]
    return found


async def test_messages_are_answered_in_order_on_one_connection(stage: Stage) -> None:
    reader, writer = await stage.connect()
    sent = [order(("a@a.mssante.fr",), control=f"M{rank}") for rank in range(5)]
    writer.write(b"".join(frame(one) for one in sent))
    assert [read(one).all("MSA")[0].text(2) for one in await frames(reader, 5)] == [f"M{rank}" for rank in range(5)]
    assert stage.taker.taken == sent
    assert stage.server.held == 0


async def test_octet_by_octet_and_noise_between(stage: Stage) -> None:
    reader, writer = await stage.connect()
    for octet in b"GET / HTTP/1.0\r\n\r\n" + frame(b"MSH|^~\\&|A\r"):
        writer.write(bytes([octet]))
    assert len(await frames(reader, 1)) == 1


async def test_a_message_whose_sender_leaves_is_taken_to_its_end(stage: Stage) -> None:
    stage.taker.gate.clear()
    _, writer = await stage.connect()
    writer.write(frame(order(("a@a.mssante.fr",))))
    await writer.drain()
    async with asyncio.timeout(WAIT):
        while not stage.server.held:
            await asyncio.sleep(0)
        writer.transport.abort()
        stage.taker.gate.set()
        while not stage.taker.taken or stage.door.open_sessions or stage.server.held:
            await asyncio.sleep(0)


async def test_a_half_closed_connection_is_answered_and_a_cut_frame_is_not(stage: Stage) -> None:
    reader, writer = await stage.connect()
    writer.write(frame(order(("a@a.mssante.fr",))) + b"\x0bMSH|cut")
    writer.write_eof()
    async with asyncio.timeout(WAIT):
        assert (await reader.read()).count(b"\x1c") == 1
    assert (len(stage.taker.taken), stage.taker.rejected) == (1, [])


async def test_oversized_and_overlapping_frames_are_told(stage: Stage) -> None:
    reader, writer = await stage.connect()
    writer.write(b"\x0b" + b"x" * 250_000 + b"\x1c\r\x0bMSH|cut" + frame(b"MSH|^~\\&|A\r"))
    assert len(await frames(reader, 3)) == 3
    assert [(one.rule, one.temporary) for one in stage.taker.rejected] == [("HL7-TAILLE", False), ("HL7-TRAME", True)]
    assert len(stage.taker.taken) == 1


async def test_all_connections_together_are_bounded(stage: Stage) -> None:
    _, first = await stage.connect()
    second_reader, second = await stage.connect()
    first.write(b"\x0b" + b"x" * 190_000)
    await first.drain()
    async with asyncio.timeout(WAIT):
        while stage.server.held < 190_000:
            await asyncio.sleep(0)
        second.write(b"\x0b" + b"x" * 190_000)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await second_reader.readexactly(1)
        while stage.server.held != 190_000:
            await asyncio.sleep(0)


async def test_noise_without_end_closes(stage: Stage) -> None:
    reader, writer = await stage.connect()
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        for _ in range(100):
            writer.write(b"n" * 10_000)
            await writer.drain()
        await reader.readexactly(1)


async def test_strangers_and_too_many_are_closed_without_a_word(stage: Stage) -> None:
    keep = [await stage.connect() for _ in range(2)]
    async with asyncio.timeout(WAIT):
        while stage.door.open_sessions < 2:
            await asyncio.sleep(0)
        reader, _ = await stage.connect()
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        keep[0][1].close()
        while stage.door.open_sessions > 1:
            await asyncio.sleep(0)
    stage.taker.open_to_all = False
    reader, _ = await stage.connect()
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(1)
    assert stage.door.open_sessions == 1


async def test_a_frame_that_does_not_come_to_its_end_in_time(stage: Stage) -> None:
    reader, writer = await stage.connect()
    writer.write(b"\x0bMSH|slow")
    await writer.drain()
    async with asyncio.timeout(WAIT):
        while not stage.server.held:
            await asyncio.sleep(0)
    (session,) = stage.door._sessions
    limit = session.deadline
    writer.write(b"er")
    await writer.drain()
    async with asyncio.timeout(WAIT):
        while stage.server.held < 10:
            await asyncio.sleep(0)
    assert session.deadline == limit, "drops do not buy time"
    session.deadline = 0.0
    stage.door.sweep()
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(1)


async def test_tls_with_a_client_certificate_tells_who_speaks(tmp_path: Path) -> None:
    certificate, key = pem_files(tmp_path, "server", *leaf("ours"))
    client_certificate, client_key = pem_files(tmp_path, "client", *leaf("a"))
    anchors = tmp_path / "anchors.pem"
    anchors.write_bytes(IGC.anchors_pem)
    context = server_context(certificate, key, None)
    context.load_verify_locations(cafile=str(anchors))
    context.verify_mode = ssl.CERT_REQUIRED
    stage = Stage()
    await stage.open(context)
    mine = ssl.create_default_context(cafile=str(anchors))
    mine.check_hostname = False
    mine.load_cert_chain(client_certificate, client_key)
    reader, writer = await stage.connect(mine)
    writer.write(frame(order(("a@a.mssante.fr",))))
    assert len(await frames(reader, 1)) == 1
    assert len(stage.taker.callers[0].certificate) == 64
    stranger = ssl.create_default_context(cafile=str(anchors))
    stranger.check_hostname = False
    with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
        reader, writer = await stage.connect(stranger)
        writer.write(frame(b"x"))
        await reader.readexactly(1)
    assert len(stage.taker.taken) == 1
    await stage.close()


def test_callers() -> None:
    assert caller_of("127.0.0.1", None) == Caller.of("127.0.0.1")
    assert caller_of("::ffff:127.0.0.1", None) == Caller.of("127.0.0.1")
    assert caller_of("fe80::1%eth0", None) is not None
    assert caller_of("", None) is None


# ------------------------------------------------------------------------------------------------ the client

async def test_the_client_exchanges_and_connects_again(stage: Stage) -> None:
    link = MllpLink(MllpTarget("127.0.0.1", stage.port, answer_seconds=WAIT))
    raw = order(("a@a.mssante.fr",))
    assert await link.exchange(raw) == answer_to(raw)
    for session in list(stage.door._sessions):
        session.drain()
    async with asyncio.timeout(WAIT):
        while stage.door.open_sessions:
            await asyncio.sleep(0)
    with pytest.raises(OperatorFault) as caught:
        await link.exchange(raw)
    assert caught.value.rule == "HL7-INJOIGNABLE"
    assert await link.exchange(raw) == answer_to(raw)
    await link.close()


async def test_an_application_that_is_silent_absent_or_speaks_nonsense(stage: Stage) -> None:
    stage.taker.gate.clear()
    link = MllpLink(MllpTarget("127.0.0.1", stage.port, answer_seconds=0.05))
    with pytest.raises(OperatorFault) as caught:
        await link.exchange(order(("a@a.mssante.fr",)))
    assert caught.value.rule == "HL7-DELAI"
    stage.taker.gate.set()
    absent = MllpLink(MllpTarget("127.0.0.1", 1, connect_seconds=WAIT))
    with pytest.raises(OperatorFault) as caught:
        await absent.exchange(b"MSH|")
    assert caught.value.rule == "HL7-INJOIGNABLE"

    async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"\x0b" + b"x" * 2_000)
        await writer.drain()

    server = await asyncio.start_server(nonsense, "127.0.0.1", 0)
    odd = MllpLink(MllpTarget("127.0.0.1", server.sockets[0].getsockname()[1], answer_seconds=WAIT, answer_bytes=1_000))
    with pytest.raises(OperatorFault) as caught:
        await odd.exchange(b"MSH|")
    assert caught.value.rule == "HL7-REPONSE"
    server.close()
