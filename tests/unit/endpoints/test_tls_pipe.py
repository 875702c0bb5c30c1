"""TLS of a connection whose handshake is worked out on a thread, over real sockets, on both event loops."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import cast

import pytest
import uvloop
from support.pki import pem_files
from support.smtp_stage import WAIT_SECONDS, leaf
from support.tls_memory import client

from mssante.endpoints import tls_pipe
from mssante.endpoints.tls_context import server_context
from mssante.endpoints.tls_pipe import TlsPipe

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.fixture(params=[asyncio.DefaultEventLoopPolicy, uvloop.EventLoopPolicy], ids=["asyncio", "uvloop"])
def event_loop_policy(request: pytest.FixtureRequest) -> asyncio.AbstractEventLoopPolicy:
    policy: asyncio.AbstractEventLoopPolicy = request.param()
    return policy


class Session(asyncio.Protocol):
    """Takes TLS at the first moment; repeats what it reads."""

    def __init__(self, context: ssl.SSLContext, seconds: float) -> None:
        self.context, self.seconds = context, seconds
        self.read = b""
        self.fault: BaseException | None = None
        self.up, self.lost, self.ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.pipe = TlsPipe(cast(asyncio.Transport, transport), self.context, self, memoryview(bytearray(65536)))
        self.task = asyncio.ensure_future(self.secure())

    async def secure(self) -> None:
        try:
            await self.pipe.handshake(self.seconds)
        except (OSError, ssl.SSLError) as fault:
            self.fault = fault
        self.ended.set()
        if self.fault is None:
            self.up.set()

    def data_received(self, data: bytes) -> None:
        assert self.up.is_set() or not self.fault
        self.read += data
        self.pipe.write(data)

    def eof_received(self) -> bool | None:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self.lost.set()


class Peer:
    """A client whose every flight is moved by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, context: ssl.SSLContext) -> None:
        self.reader, self.writer = reader, writer
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing)

    async def more(self) -> bool:
        data = await asyncio.wait_for(self.reader.read(65536), WAIT_SECONDS)
        self.incoming.write(data) if data else self.incoming.write_eof()
        return bool(data)

    async def shake(self) -> bytes:
        """Shake hands; give the last flight, not sent."""
        while True:
            try:
                self.tls.do_handshake()
                return self.outgoing.read()
            except ssl.SSLWantReadError:
                self.writer.write(self.outgoing.read())
                await self.more()

    def seal(self, data: bytes) -> bytes:
        self.tls.write(data)
        return self.outgoing.read()

    async def hear(self, octets: int) -> bytes:
        heard = b""
        while len(heard) < octets:
            try:
                piece = self.tls.read(65536)
                if not piece:
                    break
                heard += piece
            except ssl.SSLWantReadError:
                await self.more()
        return heard


class Place:
    """A door with pipes."""

    def __init__(self, folder: Path) -> None:
        anchors = folder / "anchors.pem"
        anchors.write_bytes(pem_files(folder, "anchor", *leaf("b"))[0].read_bytes())  # nobody's authority
        pair = pem_files(folder, "ours", *leaf("ours"))
        self.open = server_context(*pair, None)
        self.mutual = server_context(*pair, anchors)
        self.sessions: list[Session] = []
        self.server: asyncio.Server | None = None

    async def call(self, *, version: ssl.TLSVersion | None = None, context: ssl.SSLContext | None = None,
                   seconds: float = WAIT_SECONDS, mine: ssl.SSLContext | None = None) -> tuple[Peer, Session]:
        def factory() -> Session:
            self.sessions.append(Session(context or self.open, seconds))
            return self.sessions[-1]

        self.server = await asyncio.get_running_loop().create_server(factory, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*self.server.sockets[0].getsockname())
        while not self.sessions:
            await asyncio.sleep(0)
        return Peer(reader, writer, mine or client(version=version)), self.sessions[-1]


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    made = Place(tmp_path)
    yield made
    for session in made.sessions:
        session.pipe.abort()
    if made.server is not None:
        made.server.close()


async def until(event: asyncio.Event) -> None:
    await asyncio.wait_for(event.wait(), WAIT_SECONDS)


@pytest.mark.parametrize("version", VERSIONS)
async def test_the_handshake_is_worked_out_beside_the_loop(place: Place, version: ssl.TLSVersion,
                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    where: set[str] = set()
    step = TlsPipe.step

    def noted(self: TlsPipe) -> None:
        where.add(threading.current_thread().name.partition("_")[0])
        step(self)

    monkeypatch.setattr(TlsPipe, "step", noted)
    peer, session = await place.call(version=version)
    peer.writer.write(await peer.shake())
    await until(session.up)
    peer.writer.write(peer.seal(b"hello"))
    assert await peer.hear(5) == b"hello" and where == {"tls"}
    assert session.pipe.get_extra_info("ssl_object").version() == peer.tls.version()
    assert session.pipe.get_extra_info("peername")[0] == "127.0.0.1"


@pytest.mark.parametrize("version", VERSIONS)
async def test_what_follows_the_last_flight_at_once_is_not_lost(place: Place, version: ssl.TLSVersion) -> None:
    peer, session = await place.call(version=version)
    last = await peer.shake()
    peer.writer.write(last + peer.seal(b"first ") + peer.seal(b"second"))
    assert await peer.hear(12) == b"first second" and session.read == b"first second"


@pytest.mark.parametrize("version", VERSIONS)
async def test_octet_by_octet(place: Place, version: ssl.TLSVersion) -> None:
    peer, session = await place.call(version=version)
    last: bytes | None = None
    while last is None:
        try:
            peer.tls.do_handshake()
            last = peer.outgoing.read()
        except ssl.SSLWantReadError:
            for octet in peer.outgoing.read():
                peer.writer.write(bytes([octet]))
                await asyncio.sleep(0)
            await peer.more()
    for octet in last + peer.seal(b"a" * 40):
        peer.writer.write(bytes([octet]))
        await asyncio.sleep(0)
    assert await peer.hear(40) == b"a" * 40 == session.read


async def test_a_large_content_comes_whole(place: Place) -> None:
    peer, session = await place.call()
    peer.writer.write(await peer.shake())
    content = bytes(range(256)) * 4000
    for start in range(0, len(content), 50_000):
        peer.writer.write(peer.seal(content[start:start + 50_000]))
    assert await peer.hear(len(content)) == content == session.read


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_refused_certificate_is_told_by_its_alert(place: Place, tmp_path: Path, version: ssl.TLSVersion) -> None:
    mine = client(version=version)
    mine.load_cert_chain(*pem_files(tmp_path, "a", *leaf("a")))
    peer, session = await place.call(context=place.mutual, mine=mine)
    with pytest.raises(ssl.SSLError, match=r"(?i)alert"):
        peer.writer.write(await peer.shake())
        await peer.hear(1)
    await until(session.ended)
    assert isinstance(session.fault, ssl.SSLCertVerificationError) and not session.lost.is_set()


async def test_no_more_is_read_while_a_thread_works_on_the_handshake(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    go, step = threading.Event(), TlsPipe.step

    def slow(self: TlsPipe) -> None:
        go.wait(WAIT_SECONDS)
        step(self)

    peer, session = await place.call()
    last = await peer.shake()
    monkeypatch.setattr(TlsPipe, "step", slow)
    content = bytes(range(256)) * 40_000
    peer.writer.write(last + peer.seal(content))
    while len(session.pipe._early) <= tls_pipe.EARLY_BYTES:
        await asyncio.sleep(0.001)
    kept = len(session.pipe._early)
    for _ in range(50):
        await asyncio.sleep(0.001)
    assert len(session.pipe._early) == kept < 3 * tls_pipe.EARLY_BYTES, "the rest waits in the socket"
    go.set()
    assert await peer.hear(len(content)) == content == session.read


async def test_octets_that_are_no_tls_end_the_connection(place: Place) -> None:
    peer, session = await place.call()
    peer.writer.write(b"EHLO in clear\r\n")
    await until(session.ended)
    assert isinstance(session.fault, ssl.SSLError) and not session.up.is_set()
    while await peer.more():
        pass


async def test_a_peer_that_says_nothing_is_left(place: Place) -> None:
    peer, session = await place.call(seconds=0.02)
    await until(session.ended)
    assert isinstance(session.fault, TimeoutError)
    assert not await peer.more()


async def test_a_peer_that_leaves_in_the_handshake(place: Place) -> None:
    peer, session = await place.call()
    peer.writer.close()
    await until(session.ended)
    assert isinstance(session.fault, ConnectionError) and not session.lost.is_set()


@pytest.mark.parametrize("version", VERSIONS)
async def test_the_last_reply_reaches_a_peer_that_is_still_talking(place: Place, version: ssl.TLSVersion) -> None:
    """Closing a socket with unread octets resets it, and the reply on its way is lost."""
    peer, session = await place.call(version=version)
    peer.writer.write(await peer.shake())
    await until(session.up)
    session.pipe.write(b"421 bye\r\n")
    session.pipe.close()
    session.pipe.write(b"nothing more is said")
    assert session.pipe.is_closing()
    for _ in range(20):
        peer.writer.write(peer.seal(b"still talking " * 1000))
        await asyncio.sleep(0)
    assert await peer.hear(9) == b"421 bye\r\n"
    assert await peer.hear(1) == b"", "close_notify: the end is ours, not a thief's"
    peer.writer.close()
    await until(session.lost)
    assert session.read == b""


async def test_a_peer_that_never_leaves_is_left(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls_pipe, "LINGER_SECONDS", 0.02)
    peer, session = await place.call()
    peer.writer.write(await peer.shake())
    await until(session.up)
    session.pipe.close()
    await until(session.lost)


async def test_close_notify_of_the_peer_ends_the_session(place: Place) -> None:
    peer, session = await place.call()
    peer.writer.write(await peer.shake() + peer.seal(b"quit"))
    assert await peer.hear(4) == b"quit"
    with pytest.raises(ssl.SSLWantReadError):
        peer.tls.unwrap()
    peer.writer.write(peer.outgoing.read())
    while await peer.more():
        pass
    assert session.pipe.is_closing()


async def test_a_record_that_was_changed_on_the_way_ends_the_session(place: Place) -> None:
    peer, session = await place.call()
    peer.writer.write(await peer.shake())
    await until(session.up)
    record = bytearray(peer.seal(b"two thousand euros"))
    record[-1] ^= 1
    peer.writer.write(bytes(record) + peer.seal(b"never read"))
    await until(session.lost)
    assert session.read == b""


@pytest.mark.parametrize("stop", ["close", "abort"])
async def test_a_pipe_closed_in_the_handshake_tells_who_waits(place: Place, stop: str) -> None:
    _, session = await place.call()
    ends: Callable[[], None] = getattr(session.pipe, stop)
    ends()
    await until(session.ended)
    assert isinstance(session.fault, OSError)
