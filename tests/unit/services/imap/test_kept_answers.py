"""What is kept between commands never shows: every answer is what a server that keeps nothing would give."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.dialogue import Client
from support.imap_stage import ADDRESS, PASSWORD, Stage, build

from mssante.services.imap import fetch
from mssante.services.imap.cache import BLOCK_ROWS
from mssante.services.imap.columns import numbers, uid_texts
from mssante.services.imap.settings import ImapSettings


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    made = await build(tmp_path, ImapSettings(hostname="imap.example", message_limit=0))
    yield made
    await made.close()


async def login(stage: Stage, select: str = "SELECT") -> tuple[Client, list[str]]:
    client = Client(stage.endpoint, tls=True, one_by_one=False)
    await client.line()
    await client.ask(f'l LOGIN {ADDRESS} "{PASSWORD}"')
    return client, await client.ask(f"s {select} INBOX")


async def deliver(stage: Stage, octets: bytes, prefix: bytes = b"") -> None:
    await stage.deliver_octets("INBOX", octets, prefix=prefix)
    for _ in range(3):
        await asyncio.sleep(0)  # the doorbell rings at the end of the turn


def body(number: int, filler: int = 0) -> bytes:
    return b"From: a@x.fr\r\nSubject: sujet %d\r\n\r\n" % number + b"x" * filler + b"\r\n"


def words(line: str) -> set[str]:
    """The words of a FETCH line; what is recent is of each session."""
    return set(line.replace("(", " ").replace(")", " ").split()) - {"\\Recent"}


@pytest.mark.parametrize("seed", range(2))
async def test_flags_of_all_are_the_flags_of_each(stage: Stage, seed: int) -> None:
    random_of = random.Random(seed)
    octets = body(1)
    await deliver(stage, octets)
    client, _ = await login(stage)
    for number in range(9):  # more than one block
        await client.ask(f"c{number} COPY 1:* INBOX")
        await client.ask(f"n{number} NOOP")
    count = 2 ** 9
    assert count > BLOCK_ROWS
    for round_number in range(8):
        first = random_of.randint(1, count)
        await client.ask(f"s STORE {first}:{min(count, first + random_of.randrange(20))} {random_of.choice('+-')}FLAGS "
                         f"({random_of.choice([chr(92) + 'Seen', chr(92) + 'Flagged', 'mot', chr(92) + 'Deleted'])})")
        if round_number % 3 == 2:
            await client.ask("x EXPUNGE")
            await deliver(stage, octets)
        await client.ask("n NOOP")
        lines = [line for line in await client.ask("f UID FETCH 1:* (FLAGS)") if " FETCH " in line]
        count = len(lines)
        other, _ = await login(stage, "EXAMINE")
        for number in random_of.sample(range(1, count + 1), 12):
            (alone, _) = await client.ask(f"g FETCH {number} (UID FLAGS)")
            assert alone == lines[number - 1]
            (elsewhere, _) = await other.ask(f"g FETCH {number} (UID FLAGS)")
            assert words(elsewhere) == words(alone)


async def test_select_tells_what_changed_since_the_last_one(stage: Stage) -> None:
    await deliver(stage, body(1))
    client, first = await login(stage)
    assert "* OK [UNSEEN 1] first unseen" in first
    again = await client.ask("s SELECT INBOX")
    assert [line for line in again if "RECENT" not in line and "CLOSED" not in line] == [line for line in first if "RECENT" not in line]
    await client.ask("a STORE 1 +FLAGS (\\Seen mot)")
    after = await client.ask("s SELECT INBOX")
    assert not any("UNSEEN" in line for line in after)
    assert any(line.startswith("* FLAGS (") and "mot" in line for line in after)
    assert next(line for line in after if "HIGHESTMODSEQ" in line) != next(line for line in first if "HIGHESTMODSEQ" in line)
    assert any("PERMANENTFLAGS ()" in line for line in await client.ask("s EXAMINE INBOX"))
    assert any("PERMANENTFLAGS (" in line and "\\*" in line for line in await client.ask("s SELECT INBOX"))
    await deliver(stage, body(2))
    last = await client.ask("s SELECT INBOX")
    assert last[1] == "* 2 EXISTS" and "* OK [UNSEEN 2] first unseen" in last and any("UIDNEXT 3" in line for line in last)
    await client.ask("e ENABLE IMAP4rev2")
    second = await client.ask("s SELECT INBOX")
    assert not any("UNSEEN" in line or "RECENT" in line for line in second)
    assert any(line.startswith('* LIST () "/" INBOX') for line in second)


async def test_a_search_sees_the_messages_that_came_since_the_last_one(stage: Stage) -> None:
    client, _ = await login(stage)
    for number in range(1, 40):
        await deliver(stage, body(number))
        await client.ask("n NOOP")
        assert (await client.ask(f'u SEARCH SUBJECT "sujet {number}"'))[0].split()[2:] == [str(number)]
    await client.ask("a STORE 5 +FLAGS.SILENT (\\Deleted)")
    await client.ask("x EXPUNGE")
    assert (await client.ask('u UID SEARCH SUBJECT "sujet 7"'))[0] == "* SEARCH 7"
    assert (await client.ask("u SEARCH SUBJECT sujet"))[0].split()[2:] == [str(one) for one in range(1, 39)]


async def test_bodies_sent_in_slices_are_whole(stage: Stage) -> None:
    sizes = [fetch.SLICE_BYTES - 1, 10, fetch.SLICE_BYTES * 2, 0, 40_000, 40_000, 40_000, 1]
    for number, size in enumerate(sizes):
        await deliver(stage, body(number, size))
    client, _ = await login(stage)
    client.send(b"f FETCH 1:* (UID BODY.PEEK[])\r\n")
    for number, size in enumerate(sizes):
        expected = body(number, size)
        assert await client.line() == f"* {number + 1} FETCH (UID {number + 1} BODY[] {{{len(expected)}}}"
        assert await client.octets(len(expected)) == expected
        assert await client.line() == ")"
    assert (await client.line()).startswith("f OK")


def test_texts_of_uids() -> None:
    for uids in ([], [1], [5, 6, 7], [3, 9, 4000], [65_535, 65_536], [4_000_000_000], list(range(1, 3000))):
        assert list(uid_texts(uids)) == numbers(uids)
