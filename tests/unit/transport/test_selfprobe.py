"""What our own doors serve, seen as a client sees it; doors and sources that are mute, odd or hostile end in a typed fault."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiohttp import web
from support.pki import build_igc, der, pem_files

from mssante.errors import OperatorFault
from mssante.transport import selfprobe
from mssante.transport.peerprobe import client_context

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return pem_files(tmp_path_factory.mktemp("pair"), "mta", *build_igc().leaf("mta.chez-nous.test"))


@asynccontextmanager
async def listening(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[tuple[str, int]]:
    async def guarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(guarded, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[:2]
    finally:
        server.close()


def context_of(pair: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair)
    return context


def talker(pair: tuple[Path, Path], *lines: bytes) -> Handler:
    """A server that says a line, waits for one, says the next…, then takes TLS."""
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for rank, line in enumerate(lines):
            if rank:
                await reader.readuntil(b"\n")
            writer.write(line)
            await writer.drain()
        await writer.start_tls(context_of(pair))
        await reader.read()

    return handler


SMTP_LINES = (b"220-mta\r\n220 ready\r\n", b"250-mta\r\n250 STARTTLS\r\n", b"220 go\r\n")
IMAP_LINES = (b"* OK ready\r\n", b"* CAPABILITY IMAP4rev1\r\na OK go\r\n")


@pytest.mark.parametrize(("kind", "lines"), [(selfprobe.SMTP, SMTP_LINES), (selfprobe.IMAP, IMAP_LINES)])
async def test_the_leaf_behind_starttls(kind: str, lines: tuple[bytes, ...], pair: tuple[Path, Path]) -> None:
    async with listening(talker(pair, *lines)) as address:
        assert await selfprobe.served_leaf(address, kind, client_context(None)) == der(build_leaf(pair))


def build_leaf(pair: tuple[Path, Path]) -> object:
    from cryptography import x509

    return x509.load_pem_x509_certificate(pair[0].read_bytes())


async def test_the_leaf_from_the_first_octet(pair: tuple[Path, Path]) -> None:
    async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with listening(silent, context_of(pair)) as address:
        assert await selfprobe.served_leaf(address, selfprobe.TLS, client_context(None)) == der(build_leaf(pair))
        assert await selfprobe.accepts(address) == ""
    assert await selfprobe.accepts(address) != ""


@pytest.mark.parametrize(("kind", "lines"), [
    (selfprobe.SMTP, (b"554 no\r\n",)), (selfprobe.SMTP, (b"220 ok\r\n", b"502 what\r\n")),
    (selfprobe.SMTP, (b"220 ok\r\n", b"250 mta\r\n", b"454 not now\r\n")), (selfprobe.SMTP, (b"220-x\r\n" * 300,)),
    (selfprobe.SMTP, (b"2" * 20000,)), (selfprobe.IMAP, (b"* BYE no\r\n",)), (selfprobe.IMAP, (b"* OK\r\n", b"a NO\r\n")),
    (selfprobe.IMAP, (b"* OK\r\n", b"* x\r\n" * 300)), (selfprobe.SMTP, (b"\x00\xff" * 10,)),
])
async def test_a_door_that_speaks_otherwise(kind: str, lines: tuple[bytes, ...], pair: tuple[Path, Path]) -> None:
    async with listening(talker(pair, *lines)) as address:
        with pytest.raises(OperatorFault) as fault:
            await selfprobe.served_leaf(address, kind, client_context(None), seconds=1.0)
    assert fault.value.rule == "PORTE-MUETTE"


async def test_a_door_that_hangs_or_is_closed(pair: tuple[Path, Path]) -> None:
    async def hang(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with listening(hang) as address:
        for kind in (selfprobe.SMTP, selfprobe.IMAP, selfprobe.TLS):
            with pytest.raises(OperatorFault):
                await selfprobe.served_leaf(address, kind, client_context(None), seconds=0.2)
    with pytest.raises(OperatorFault) as fault:
        await selfprobe.served_leaf(address, selfprobe.TLS, client_context(None), seconds=1.0)
    assert fault.value.rule == "PORTE-MUETTE"


async def test_tls_that_fails(pair: tuple[Path, Path]) -> None:
    async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 10)
        await reader.read()

    async with listening(nonsense) as address:
        with pytest.raises(OperatorFault) as fault:
            await selfprobe.served_leaf(address, selfprobe.TLS, client_context(None), seconds=2.0)
    assert fault.value.rule == "PORTE-TLS"


@asynccontextmanager
async def site(headers: dict[str, str]) -> AsyncIterator[str]:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(headers=headers)

    application = web.Application()
    application.router.add_route("*", "/x", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    place = web.TCPSite(runner, "127.0.0.1", 0)
    await place.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/x"
    finally:
        await runner.cleanup()


async def test_the_time_of_a_source(tmp_path: Path) -> None:
    async with site({"Date": "Sun, 01 Mar 2026 00:00:00 GMT"}) as url:
        assert await selfprobe.server_date(url, tmp_path) == datetime(2026, 3, 1, tzinfo=UTC)
    async with site({"Date": "Sun, 01 Mar 2026 00:00:00 -0000"}) as url:
        assert await selfprobe.server_date(url, tmp_path) == datetime(2026, 3, 1, tzinfo=UTC)
    for odd in ("hier", "", "Sun, 99 Mar 2026 00:00:00 GMT"):
        async with site({"Date": odd}) as url:
            with pytest.raises(OperatorFault):
                await selfprobe.server_date(url, tmp_path)
    with pytest.raises(OperatorFault) as fault:
        await selfprobe.server_date("ftp://x/y", tmp_path)
    assert fault.value.rule == "HTTP-SCHEME"
    with pytest.raises(OperatorFault) as fault:
        await selfprobe.server_date("http://127.0.0.1:1/x", tmp_path)
    assert fault.value.rule == "HTTP-UNREACHABLE"
