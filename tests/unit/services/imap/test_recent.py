"""`\\Recent`: claims of sessions, and the boundary that is written behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.dialogue import Client
from support.imap_stage import ADDRESS, PASSWORD, Stage, build

from mssante.endpoints.imap import ImapEndpoint
from mssante.services.imap import recent
from mssante.services.imap.fetch import BLOCK_ROWS
from mssante.services.imap.recent import RecentMarks
from mssante.services.imap.session import ImapServices


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    made = await build(tmp_path)
    yield made
    await made.close()


async def opened(stage: Stage, command: str = "SELECT INBOX") -> tuple[Client, int]:
    """Give a client and how many messages it was told are recent."""
    client = Client(stage.endpoint, tls=True, one_by_one=False)
    await client.line()
    await client.ask(f'l LOGIN {ADDRESS} "{PASSWORD}"')
    lines = await client.ask(f"s {command}")
    return client, next(int(line.split()[1]) for line in lines if line.endswith(" RECENT"))


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=12))
def test_marks_are_a_set_of_uids(steps: list[tuple[int, int]]) -> None:
    marks, expected, at = RecentMarks(), set(), 1
    for gap, length in steps:
        marks.add(at + gap, at + gap + length)
        expected |= set(range(at + gap, at + gap + length))
        at += gap + length
    uids = list(range(1, at + 3))
    assert [uid for uid in uids if marks.holds(uid)] == sorted(expected)
    assert marks.count(uids) == len(expected)
    assert marks.over([1] * len(uids), uids) == [33 if uid in expected else 1 for uid in uids]
    assert not expected or marks.first == min(expected)


async def test_the_boundary_outlives_the_process(stage: Stage) -> None:
    for _ in range(3):
        await stage.deliver("INBOX", "hello")
    assert (await opened(stage))[1] == 3
    await stage.deliver("INBOX", "hello")
    await stage.endpoint.drain()
    old = stage.services
    stage.services = ImapServices.build(old.stores, old.mailroom, old.authenticator, doorbell=old.doorbell, clock=old.clock,
                                        executor=old.executor, settings=old.settings)
    stage.endpoint = ImapEndpoint(stage.services)
    client, count = await opened(stage, "EXAMINE INBOX")
    assert count == 1
    assert (await client.ask("a STATUS INBOX (RECENT)"))[0] == "* STATUS INBOX (RECENT 1)"
    assert (await client.ask('b LIST "" INBOX RETURN (STATUS (RECENT))'))[1] == "* STATUS INBOX (RECENT 1)"
    assert (await opened(stage))[1] == 1
    assert (await client.ask("c STATUS INBOX (RECENT)"))[0] == "* STATUS INBOX (RECENT 0)"  # before it is written


async def test_select_waits_for_no_write_and_moves_nothing_twice(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "WRITE_SECONDS", 0.0)
    written: list[dict[int, int]] = []
    inner = stage.stores.folders.move_recent

    def move(tx: object, boundaries: dict[int, int]) -> None:
        written.append(dict(boundaries))
        inner(tx, boundaries)

    monkeypatch.setattr(stage.stores.folders, "move_recent", move)
    for name in ("INBOX", "INBOX", "Sent"):
        await stage.deliver(name, "hello")
    client, _ = await opened(stage)
    assert written == []
    await client.ask("b SELECT Sent")
    book = stage.services.registry.recents
    await book.flush()
    inbox, sent = await stage.folder("INBOX"), await stage.folder("Sent")
    assert (inbox.recent_uid, sent.recent_uid) == (3, 2)
    done = len(written)
    await client.ask("c SELECT INBOX")
    await client.ask("d SELECT Drafts")
    await book.flush()
    await asyncio.sleep(0)
    assert len(written) == done


async def test_a_kept_block_is_for_those_without_recent_messages(stage: Stage) -> None:
    """The same lines are asked by one session that has recent messages and by others that have none."""
    for _ in range(70):
        await stage.deliver("INBOX", "hello")
    assert BLOCK_ROWS > 70
    first, _ = await opened(stage)
    second, count = await opened(stage)
    assert count == 0
    for _ in range(2):
        assert all("\\Recent" in line for line in (await first.ask("a FETCH 1:* FLAGS"))[:-1])
        assert not any("\\Recent" in line for line in await second.ask("a FETCH 1:* FLAGS"))
    assert len((await first.ask("b SEARCH NEW"))[0].split()) == 72
    assert (await second.ask("b SEARCH NEW"))[0] == "* SEARCH"


async def test_a_search_of_recent_messages_is_not_followed(stage: Stage) -> None:
    await stage.deliver("INBOX", "hello")
    client, _ = await opened(stage)
    lines = await client.ask("a SEARCH RETURN (UPDATE COUNT) RECENT")
    assert lines[0].startswith('* NO [NOUPDATE "a"]') and lines[1].endswith("COUNT 1")
