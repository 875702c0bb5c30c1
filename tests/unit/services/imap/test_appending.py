"""APPEND, CATENATE and REPLACE where the store matters: statements, memory, full disks, clients that leave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from support.dialogue import Client
from support.imap_stage import ADDRESS, MESSAGES, PASSWORD, PREFIX, Stage, build

from mssante.errors import StorageFull
from mssante.services.imap import append
from mssante.services.imap.settings import ImapSettings


class CountingDatabase:
    """Counts units."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.units = 0

    async def read(self, unit: Callable[[Any], Any], **given: Any) -> Any:
        self.units += 1
        return await self._inner.read(unit)

    async def write(self, unit: Callable[[Any], Any], **given: Any) -> Any:
        self.units += 1
        return await self._inner.write(unit, **given)

    async def write_many(self, unit: Callable[..., Any], item: Any) -> Any:
        self.units += 1
        return await self._inner.write_many(unit, item)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    made = await build(tmp_path, ImapSettings(hostname="imap.example", message_bytes=1_000_000, append_messages=50))
    yield made
    await made.close()


async def connect(stage: Stage, *commands: str) -> Client:
    client = Client(stage.endpoint, tls=True, one_by_one=False)
    await client.line()
    for command in (f'LOGIN {ADDRESS} "{PASSWORD}"', *commands):
        assert (await client.ask("x " + command))[-1].startswith("x OK")
    return client


async def send(client: Client, octets: bytes) -> list[str]:
    """Send a command with its literals; give its lines."""
    client.send(octets)
    tag = octets.partition(b" ")[0].decode()
    lines = [await client.line()]
    while not lines[-1].startswith(tag + " "):
        lines.append(await client.line())
    return lines


async def body(client: Client, folder: str, uid: int) -> bytes:
    """Give a whole message of the selected folder."""
    client.send(b"f UID FETCH %d BODY.PEEK[]\r\n" % uid)
    head = await client.line()
    data = await client.octets(int(head.rpartition("{")[2][:-1]))
    assert (await client.line()).endswith(")")
    assert (await client.line()).startswith("f OK")
    return data


def blobs_of(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()]


@pytest.mark.parametrize("count", [1, 2, 40])
async def test_units_do_not_grow_with_messages(stage: Stage, count: int) -> None:
    client = await connect(stage)
    await client.ask("s STATUS Drafts (MESSAGES)")
    counting = CountingDatabase(stage.stores.database)
    stage.stores.database = counting
    (line,) = await send(client, b"a APPEND Drafts" + b" {6+}\r\nA: b\r\n" * count + b"\r\n")
    assert line.startswith("a OK [APPENDUID ")
    assert counting.units == 1
    assert (await client.ask("y STATUS Drafts (MESSAGES)"))[0] == f"* STATUS Drafts (MESSAGES {count})"


async def test_most_messages_of_one_command(stage: Stage) -> None:
    client = await connect(stage)
    (line,) = await send(client, b"a APPEND Drafts" + b" {6+}\r\nA: b\r\n" * 51 + b"\r\n")
    assert line.startswith("a NO [LIMIT] ")
    assert (await client.ask("y STATUS Drafts (MESSAGES)"))[0] == "* STATUS Drafts (MESSAGES 0)"


async def test_small_messages_beyond_a_sum_go_to_files(stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(append, "HELD_INLINE", 1000)
    client = await connect(stage)
    large = b"A: " + b"x" * 600 + b"\r\n"
    await send(client, b"a APPEND Drafts" + b"".join(b" {%d+}\r\n%b" % (len(large) + 1, b"%d" % at + large) for at in range(5)) + b"\r\n")
    assert len(blobs_of(tmp_path)) == 3
    await client.ask("s SELECT Drafts")
    assert [(await body(client, "Drafts", uid))[:1] for uid in range(1, 6)] == [b"0", b"1", b"2", b"3", b"4"]


@pytest.mark.parametrize("urls", [10, 50])
async def test_urls_that_stand_together_are_one_read(stage: Stage, urls: int) -> None:
    await stage.deliver("INBOX", "hello")
    await stage.deliver("INBOX", "second")
    client = await connect(stage, "SELECT INBOX")
    await client.ask("s STATUS Drafts (MESSAGES)")
    counting = CountingDatabase(stage.stores.database)
    stage.stores.database = counting
    parts = b" ".join(b"URL \";UID=%d/;SECTION=HEADER.FIELDS%%20(Subject)\"" % (at % 2 + 1) for at in range(urls))
    assert (await send(client, b"a APPEND Drafts CATENATE (" + parts + b")\r\n"))[-1].startswith("a OK")
    assert counting.units == 2


async def test_parts_of_a_message_in_the_blob_store(stage: Stage) -> None:
    await stage.deliver("INBOX", "large")
    message, header = PREFIX + MESSAGES["large"], MESSAGES["large"].partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    client = await connect(stage, "SELECT INBOX")
    sections = [b"", b"/;SECTION=TEXT", b"/;SECTION=HEADER", b"/;SECTION=1", b"/;PARTIAL=5.1000", b"/;SECTION=TEXT/;PARTIAL=299990"]
    text = MESSAGES["large"][len(header):]
    for section in sections:
        assert (await send(client, b"a APPEND Archive CATENATE (URL ;UID=1" + section + b")\r\n"))[-1].startswith("a OK"), section
    await client.ask("s SELECT Archive")
    wanted = [message, text, PREFIX + header, text, message[5:1005], text[299990:]]
    assert [await body(client, "Archive", uid) for uid in range(1, 7)] == wanted
    assert (await send(client, b"a APPEND Archive CATENATE (" + b" ".join([b"URL /INBOX/;UID=1"] * 4) + b")\r\n"))[-1].startswith(
        "a NO [TOOBIG] ")


async def test_a_full_disk_in_the_middle(stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first message is large and cannot be written: the command is refused at the second literal, nothing is stored."""
    client = await connect(stage)
    stage_blob = stage.stores.blobs.stage

    def full() -> Any:
        raise StorageFull("no room left")

    monkeypatch.setattr(stage.stores.blobs, "stage", full)
    large = b"A: b\r\n\r\n" + b"x" * 900_000
    for tail in (b"\r\n", b" {6+}\r\nA: b\r\n\r\n", b" {6+}\r\nA: b\r\n {8+}\r\nz NOOP\r\n\r\n"):
        client.send(b"a APPEND Drafts {%d+}\r\n" % len(large) + large + tail)
        assert await client.line() == "a NO [UNAVAILABLE] no room left, nothing was changed"
    assert (await client.ask("y STATUS Drafts (MESSAGES)")) == ["* STATUS Drafts (MESSAGES 0)", "y OK STATUS completed"]
    monkeypatch.setattr(stage.stores.blobs, "stage", stage_blob)
    assert (await send(client, b"a APPEND Drafts {%d+}\r\n" % len(large) + large + b"\r\n"))[-1].startswith("a OK")


async def test_a_client_that_leaves_in_the_middle_leaves_nothing(stage: Stage, tmp_path: Path) -> None:
    client = await connect(stage)
    client.send(b"a APPEND Drafts {6+}\r\nA: b\r\n {300000+}\r\n" + b"x" * 200_000)
    await asyncio.sleep(0)
    client.transport.close()
    await asyncio.sleep(0)
    other = await connect(stage)
    assert (await other.ask("y STATUS Drafts (MESSAGES)"))[0] == "* STATUS Drafts (MESSAGES 0)"
    stage.executor.submit(lambda: None).result()
    assert blobs_of(tmp_path) == []


async def test_replace_takes_the_room_of_what_it_replaces(stage: Stage) -> None:
    await stage.deliver_octets("Drafts", b"A: " + b"x" * 400 + b"\r\n", prefix=b"")
    client = await connect(stage, "SELECT Drafts")
    await stage.set_quota(ADDRESS, 500, 0)
    new = b"A: " + b"y" * 450 + b"\r\n"
    assert (await send(client, b"a APPEND Drafts {%d+}\r\n%b\r\n" % (len(new), new)))[-1].startswith("a NO [OVERQUOTA] ")
    assert (await send(client, b"b REPLACE 1 Drafts {%d+}\r\n%b\r\n" % (len(new), new)))[-1].startswith("b OK")
    assert await body(client, "Drafts", 2) == new


async def test_replace_is_all_or_nothing(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    await stage.deliver("Drafts", "hello")
    client = await connect(stage, "SELECT Drafts")

    def broken(*arguments: object) -> Any:
        raise StorageFull("no room left")

    monkeypatch.setattr(stage.stores.journal, "append", broken)
    (line,) = await send(client, b"a REPLACE 1 Drafts {6+}\r\nA: b\r\n\r\n")
    assert line == "a NO [UNAVAILABLE] no room left, nothing was changed"
    monkeypatch.undo()
    assert (await client.ask("b UID FETCH 1:* FLAGS"))[:-1] == ["* 1 FETCH (UID 1 FLAGS (\\Recent))"]
    assert (await client.ask("c STATUS Drafts (MESSAGES UIDNEXT)"))[0] == "* STATUS Drafts (MESSAGES 1 UIDNEXT 2)"


async def test_replace_is_one_unit(stage: Stage) -> None:
    await stage.deliver("Drafts", "hello")
    client = await connect(stage, "SELECT Drafts")
    counting = CountingDatabase(stage.stores.database)
    stage.stores.database = counting
    assert (await send(client, b"a REPLACE 1 Drafts {6+}\r\nA: b\r\n\r\n"))[-1].startswith("a OK")
    assert counting.units <= 3  # the folder by name, both changes, what the view must know
