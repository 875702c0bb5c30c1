"""Limits of IMAP connections: commands, accounts, slow readers, compression; each with its words and its count."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.dialogue import Client, MemoryTransport
from support.imap_stage import ADDRESS, PASSWORD, Stage, build

from mssante.endpoints.imap_output import FLUSH_OCTETS
from mssante.observability.metrics import REGISTRY
from mssante.services.imap.settings import ImapSettings

BASE = ImapSettings(hostname="imap.example", inline_bytes=131_072)


def reached(limit: str) -> float:
    return REGISTRY.get_sample_value("mssante_limits_reached_total", {"limit": limit}) or 0.0


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    made = await build(tmp_path)
    yield made
    await made.close()


async def connect(stage: Stage, *, login: bool = True) -> Client:
    client = Client(stage.endpoint, tls=True, one_by_one=False)
    await client.line()
    if login:
        assert (await client.ask(f'l LOGIN {ADDRESS} "{PASSWORD}"'))[-1].startswith("l OK")
    return client


async def test_too_many_commands_wait_then_end_the_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = replace(BASE, commands_rate=1000.0, commands_burst=50.0, commands_patience_seconds=0.05)
    stage = await build(tmp_path, settings)
    before = reached("commands")
    client = await connect(stage)
    client.send(b"x NOOP\r\n" * 3000)
    told = 0
    while (line := await client.line()) == "x OK NOOP completed":
        told += 1
    assert line == "* BYE too many commands"
    await client.closed()
    assert 200 <= told < 1000, "some were answered, as they were paced"
    assert reached("commands") == before + 1
    await stage.close()


async def test_commands_that_wait_are_all_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = await build(tmp_path, replace(BASE, commands_rate=3_000.0, commands_burst=100.0))
    client = await connect(stage)
    waits: list[float] = []
    later = client.connection._loop.call_later

    def counted(delay: float, *call: Any) -> Any:
        waits.append(delay)
        return later(delay, *call)

    monkeypatch.setattr(client.connection._loop, "call_later", counted)
    client.send(b"x NOOP\r\n" * 1500)
    for _ in range(1500):
        assert await client.line() == "x OK NOOP completed"
    assert 1 <= len(waits) <= 10 and all(0 < wait <= 1 for wait in waits)
    assert (await client.ask("y NOOP"))[-1] == "y OK NOOP completed"
    await stage.close()


async def test_all_connections_of_an_account_share_a_bucket(tmp_path: Path) -> None:
    stage = await build(tmp_path, replace(BASE, account_commands_rate=10.0, account_commands_burst=150.0))
    await stage.add_mailbox("autre@hopital.mssante.fr")
    one, two = await connect(stage), await connect(stage)
    one.send(b"x NOOP\r\n" * 200)
    for _ in range(200):
        await one.line()
    two.send(b"x NOOP\r\n")
    await two.line()
    assert one.connection._slowed and two.connection._slowed
    other = await connect(stage, login=False)
    assert (await other.ask(f'l LOGIN autre@hopital.mssante.fr "{PASSWORD}"'))[-1].startswith("l OK")
    assert (await other.ask("y NOOP"))[-1] == "y OK NOOP completed"
    assert not other.connection._slowed
    await stage.close()


async def test_before_login_commands_are_few(stage: Stage) -> None:
    client = await connect(stage, login=False)
    client.send(b"x NOOP\r\n" * 300)
    for _ in range(200):
        await client.line()
    assert client.connection._slowed


async def test_an_account_has_so_many_connections(tmp_path: Path) -> None:
    stage = await build(tmp_path, replace(BASE, connections_per_account=2))
    before = reached("connections_per_account")
    one, _ = await connect(stage), await connect(stage)
    third = await connect(stage, login=False)
    assert (await third.ask(f'l LOGIN {ADDRESS} "{PASSWORD}"'))[-1] == "l NO [LIMIT] too many connections of this account"
    assert reached("connections_per_account") == before + 1
    one.transport.close()
    await asyncio.sleep(0)
    assert (await third.ask(f'l LOGIN {ADDRESS} "{PASSWORD}"'))[-1].startswith("l OK")
    await stage.close()
    assert stage.endpoint._accounts == {}


class SlowTransport(MemoryTransport):
    """A client that does not read: what the server writes fills the transport's buffer up to its mark."""

    high = 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.high = high or 0

    def write(self, data: bytes) -> None:
        super().write(data)
        if self.slow and len(self.received) > self.high:
            self.protocol.pause_writing()

    slow = False


async def test_a_hundred_slow_readers_hold_little_and_no_transaction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = await build(tmp_path, replace(BASE, connections_per_account=200, drain_seconds=0.05))
    for _ in range(10):
        await stage.deliver("INBOX", "large")  # 3 MB in all
    monkeypatch.setattr("support.dialogue.MemoryTransport", SlowTransport)
    running = 0
    database = stage.stores.database
    read = database.read

    async def counted(unit: Any, **how: Any) -> object:
        nonlocal running
        running += 1
        try:
            return await read(unit, **how)
        finally:
            running -= 1

    monkeypatch.setattr(database, "read", counted)
    clients = [await connect(stage) for _ in range(100)]
    for client in clients:
        await client.ask("s SELECT INBOX")
        client.transport.slow = True
        client.send(b"x FETCH 1:* BODY.PEEK[]\r\n" + b"y NOOP\r\n" * 100)
    async with asyncio.timeout(60):
        while not all(client.connection._drained is not None for client in clients):
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    chunk = stage.services.settings.chunk_bytes
    held = [len(client.transport.received) + client.connection._out_octets + len(client.connection._ahead) for client in clients]
    assert max(held) <= 4 * FLUSH_OCTETS + chunk
    assert sum(held) <= 100 * 6 * FLUSH_OCTETS, "far from a hundred times the folder"
    assert running == 0, "nobody holds a transaction while a client does not read"
    assert (await (await connect(stage)).ask("z NOOP"))[-1] == "z OK NOOP completed"
    first = clients[0]
    first.transport.slow = False
    found = bytes(first.transport.received)
    first.transport.received.clear()
    first.connection.resume_writing()
    async with asyncio.timeout(60):
        while b"y OK" not in found[-200:] or found.count(b"y OK") < 100:
            await asyncio.sleep(0.001)
            found += bytes(first.transport.received)
            first.transport.received.clear()
    await stage.close()
    assert found.count(b"x OK") == 1
    assert found.count(b"0123456789" * 30_000) == 10


async def test_a_client_that_never_reads_loses_its_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = await build(tmp_path, replace(BASE, stall_seconds=0.05))
    monkeypatch.setattr("support.dialogue.MemoryTransport", SlowTransport)
    await stage.deliver("INBOX", "large")
    before = reached("slow_reader")
    client = await connect(stage)
    await client.ask("s SELECT INBOX")
    client.transport.slow = True
    client.send(b"x FETCH 1 BODY.PEEK[]\r\n")
    await client.closed()
    assert reached("slow_reader") == before + 1
    await stage.close()


# ---------------------------------------------------------------- compression


async def compressed(stage: Stage) -> Client:
    client = await connect(stage)
    assert (await client.ask("c COMPRESS DEFLATE"))[-1] == "c OK DEFLATE active"
    client.compress("on")
    return client


async def test_a_large_fetch_over_a_slow_compressed_connection(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("support.dialogue.MemoryTransport", SlowTransport)
    for _ in range(10):
        await stage.deliver("INBOX", "large")
    client = await compressed(stage)
    await client.ask("s SELECT INBOX")
    client.transport.slow = True
    client.transport.high = 1000
    client.send(b"x FETCH 1:* BODY.PEEK[]\r\n")
    found = b""
    async with asyncio.timeout(20):
        while not found.endswith(b"x OK FETCH completed\r\n"):
            await asyncio.sleep(0)
            found += bytes(client.transport.received)
            client.transport.received.clear()
            if client.connection._drained is not None:
                client.connection.resume_writing()
    assert found.count(b"0123456789" * 30_000) == 10


async def test_a_bomb_ends_the_connection(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mssante.protocol.imap.deflate.ALLOWANCE", 100_000)
    client = await compressed(stage)
    client._deflater = None
    before = reached("compression")
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = stream.compress(b"x APPEND INBOX {20000000+}\r\n" + b"A" * 20_000_000) + stream.flush(zlib.Z_SYNC_FLUSH)
    for place in range(0, len(bomb), 4096):
        client.transport.deliver(bomb[place:place + 4096])
        await asyncio.sleep(0)
    assert await client.line() == "* BYE compressed data swell beyond measure"
    await client.closed()
    assert reached("compression") == before + 1


async def test_no_command_may_follow_compress_before_its_answer(stage: Stage) -> None:
    client = await connect(stage)
    client.send(b"a COMPRESS DEFLATE\r\nb NOOP\r\n")
    assert await client.line() == "* BYE no command may follow COMPRESS before its answer"
    await client.closed()


async def test_pipelined_commands_over_compression(stage: Stage) -> None:
    client = await compressed(stage)
    client.send(b"".join(b"x%d NOOP\r\n" % number for number in range(2000)))
    for number in range(2000):
        assert await client.line() == f"x{number} OK NOOP completed"


async def test_commands_that_only_the_inflater_still_holds_are_answered(stage: Stage) -> None:
    client = await compressed(stage)
    size, read = 16, 65_536
    tail = b"T" * (size - 7) + b" NOOP\r\n"
    for seed in range(2_000):  # commands whose last repetition crosses what is inflated at once, with no flush behind it
        heads = b"".join(b"%09x NOOP\r\n" % ((seed * 7 + place) * 2_654_435_761 % 16**9) for place in range(7))
        plain = heads + tail * ((read - len(heads)) // size + 1)
        stream = zlib.compressobj(9, zlib.DEFLATED, -15)
        packed = stream.compress(plain) + stream.flush(5)  # Z_BLOCK: the end of a block, no marker
        probe = zlib.decompressobj(-15)
        if len(probe.decompress(packed, read)) == read and not probe.unconsumed_tail:
            break
    else:
        pytest.fail("no such stream found")
    assert len(probe.decompress(b"", read)) == size
    client.connection.data_received(packed)
    for _ in range(len(plain) // size):
        assert (await client.line()).endswith("OK NOOP completed")
