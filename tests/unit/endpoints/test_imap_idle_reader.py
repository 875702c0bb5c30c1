"""A client that begins to idle with new mail waiting is told in octets that a poor reader of a compressed stream takes whole.

Thunderbird 153 takes as many octets of the inflated stream as it saw compressed ones, then waits for the socket: a line that is
cut there is not read before something else comes.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.dialogue import Client
from support.imap_stage import ADDRESS, PASSWORD, Stage, build


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    made = await build(tmp_path)
    yield made
    await made.close()


class Wire:
    """Each write of the server as it went out, beside what it says."""

    def __init__(self, client: Client) -> None:
        self.writes: list[tuple[int, bytes]] = []
        self._take = client.transport.write
        self._inflater = zlib.decompressobj(-15)
        client.transport.write = self._write  # type: ignore[method-assign]

    def _write(self, data: bytes) -> None:
        self.writes.append((len(data), self._inflater.decompress(data)))
        self._take(data)

    def taken(self) -> bytes:
        """Give what the poor reader has after one look at all that came since the last call."""
        seen, plain = sum(size for size, _ in self.writes), b"".join(text for _, text in self.writes)
        self.writes.clear()
        return plain[:seen]


async def compressed(stage: Stage) -> tuple[Client, Wire]:
    """Give a client with INBOX open on a compressed stream."""
    client = Client(stage.endpoint, tls=True, one_by_one=False)
    await client.line()
    await client.ask(f'l LOGIN {ADDRESS} "{PASSWORD}"')
    await client.ask("z COMPRESS DEFLATE")
    client.compress("on")
    wire = Wire(client)
    await client.ask("e ENABLE IMAP4rev2")  # no RECENT, as when another session was told of it first
    await client.ask("s SELECT INBOX")
    return client, wire


async def done(client: Client, turn: int) -> None:
    """End IDLE."""
    client.send(b"DONE\r\n")
    while not (await client.line()).startswith(f"i{turn} "):
        pass


async def test_what_waits_at_idle_is_taken_by_one_look(stage: Stage) -> None:
    client, wire = await compressed(stage)
    for turn in range(1, 9):  # the more often it was said, the shorter it gets
        await stage.deliver("INBOX", "hello")
        view = stage.services.registry.view((await stage.folder("INBOX")).id)
        while view is not None and not view.stale:
            await asyncio.sleep(0)
        wire.taken()
        client.send(f"i{turn} IDLE\r\n".encode())
        assert await client.line() == "+ idling"
        assert await client.line() == f"* {turn} EXISTS"
        assert f"* {turn} EXISTS\r\n".encode() in wire.taken()
        await done(client, turn)


async def test_what_comes_right_behind_the_continuation_is_taken_with_it(stage: Stage) -> None:
    client, wire = await compressed(stage)
    for turn in range(1, 9):
        wire.taken()
        client.send(f"i{turn} IDLE\r\n".encode())
        assert await client.line() == "+ idling"
        await stage.deliver("INBOX", "hello")
        assert await client.line() == f"* {turn} EXISTS"
        assert f"* {turn} EXISTS\r\n".encode() in wire.taken(), "both came before the client looked"
        await done(client, turn)
