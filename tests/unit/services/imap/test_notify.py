"""NOTIFY under load: one look for a burst, nothing held for a client that does not read, nothing left behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from support.dialogue import Client
from support.imap_stage import ADDRESS, MESSAGES, NOW, PASSWORD, Stage, build

from mssante.model.message import NewMessage
from mssante.protocol.mime.imapview import facts
from mssante.services.doorbell import MailboxNews
from mssante.services.imap.settings import ImapSettings
from mssante.services.staging import BodySink
from mssante.storage.interfaces import Acceptance, Filing


class CountingDatabase:
    """Counts reads."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.reads = 0

    async def read(self, unit: Callable[[Any], Any], **given: Any) -> Any:
        self.reads += 1
        return await self._inner.read(unit)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    made = await build(tmp_path, ImapSettings(hostname="imap.example", notify_gather_seconds=0.0, notify_folders=8))
    yield made
    await made.close()


async def connect(stage: Stage, *commands: str) -> Client:
    """Give a client that has given these commands."""
    client = Client(stage.endpoint, tls=True, one_by_one=False)
    await client.line()
    for command in (f'LOGIN {ADDRESS} "{PASSWORD}"', *commands):
        lines = await client.ask("x " + command)
        assert lines[-1].startswith("x OK"), lines
    return client


async def deliver_many(stage: Stage, folder: str, count: int) -> None:
    """File messages in one transaction."""
    target = await stage.folder(folder)
    body = MESSAGES["hello"]
    items = []
    for _ in range(count):
        sink = BodySink(stage.stores.blobs, stage.executor, 131_072)
        sink.add((body,))
        staged, _ = await sink.seal()
        items.append(Acceptance(NewMessage(staged, b"", facts(body), "0" * 26, NOW), (Filing(target.id),)))
    await stage.services.mailroom.accept(tuple(items))


def count_reads(stage: Stage) -> CountingDatabase:
    counting = CountingDatabase(stage.stores.database)
    stage.stores.database = counting
    return counting


@pytest.mark.parametrize("count", [2, 60])
async def test_a_burst_in_a_folder_is_one_read_and_one_line(stage: Stage, count: int) -> None:
    client = await connect(stage, "NOTIFY SET (personal (MessageNew MessageExpunge FlagChange))")
    counting = count_reads(stage)
    target = await stage.folder("Drafts")
    before = counting.reads
    await deliver_many(stage, "Drafts", count)
    for _ in range(20):
        stage.services.doorbell.ring(target.id, target.highest_modseq + 1)
    assert (await client.line()).startswith(f"* STATUS Drafts (MESSAGES {count} UIDNEXT {count + 1} UNSEEN {count}")
    assert counting.reads - before == 2  # one of them is `stage.folder` of the delivery
    assert (await client.ask("y NOOP"))[-1].startswith("y OK")
    assert counting.reads - before == 2


@pytest.mark.parametrize("count", [2, 60])
async def test_a_burst_in_the_open_folder_is_two_reads(stage: Stage, count: int) -> None:
    client = await connect(stage, "SELECT INBOX", "NOTIFY SET (selected (MessageNew (FLAGS BODY[HEADER]) MessageExpunge))")
    counting = count_reads(stage)
    await deliver_many(stage, "INBOX", count)
    assert await client.line() == f"* {count} EXISTS"
    client.send(b"y NOOP\r\n")
    lines = [await client.line()]
    while not lines[-1].startswith("y "):
        lines.append(await client.line())
    assert len([line for line in lines if line.startswith("* ") and " FETCH (" in line]) == count
    assert counting.reads == 3  # what changed, what was asked of it, and `stage.folder`
    assert (await client.ask("z SEARCH UNSEEN"))[0].split()[2:] == [str(number) for number in range(1, count + 1)]


async def test_a_client_that_does_not_read_gets_counters_once(stage: Stage) -> None:
    client = await connect(stage, "NOTIFY SET (personal (MessageNew MessageExpunge))")
    client.connection.pause_writing()
    for folder in ("Drafts", "Sent", "Drafts", "Trash", "Drafts"):
        await deliver_many(stage, folder, 3)
    await asyncio.sleep(0)
    assert not client.transport.received
    client.connection.resume_writing()
    lines = [await client.line() for _ in range(3)]
    assert sorted(line.split(" (UIDNEXT")[0].split(" UIDNEXT")[0] for line in lines) == [
        "* STATUS Drafts (MESSAGES 9", "* STATUS Sent (MESSAGES 3", "* STATUS Trash (MESSAGES 3"]
    assert (await client.ask("y NOOP")) == ["y OK NOOP completed"]


async def test_too_many_changes_of_metadata_are_an_overflow(stage: Stage) -> None:
    client = await connect(stage, "NOTIFY SET (personal (MailboxMetadataChange MessageNew MessageExpunge))")
    inbox = await stage.folder("INBOX")
    news = MailboxNews(stage.mailbox.id, ("/shared/comment",), inbox.id)
    client.connection.pause_writing()
    for _ in range(1000):
        stage.services.doorbell.ring_mailbox(news)
    notices = client.connection._session.notices
    assert notices is not None
    assert len(notices._backlog) == 0
    client.connection.resume_writing()
    assert (await client.line()).startswith("* OK [NOTIFICATIONOVERFLOW] ")
    await deliver_many(stage, "Drafts", 1)
    stage.services.doorbell.ring_mailbox(news)
    assert (await client.ask("y NOOP")) == ["y OK NOOP completed"]
    assert stage.services.doorbell.listeners(inbox.id) == 0


async def test_metadata(stage: Stage) -> None:
    client = await connect(stage, "NOTIFY SET (mailboxes INBOX (MailboxMetadataChange)) (personal (ServerMetadataChange))")
    inbox, drafts = await stage.folder("INBOX"), await stage.folder("Drafts")
    account = client.connection._session.account
    assert account is not None
    for news in (MailboxNews(stage.mailbox.id, ("/shared/comment", "/private/a b"), inbox.id),
                 MailboxNews(stage.mailbox.id, ("/shared/comment",), drafts.id),
                 MailboxNews(stage.mailbox.id, ("/private/comment",), inbox.id, account.id + 1),
                 MailboxNews(stage.mailbox.id, ("/private/comment",), inbox.id, account.id),
                 MailboxNews(stage.mailbox.id, ("/shared/admin",)),
                 MailboxNews(stage.mailbox.id, ("/shared/own",), inbox.id, origin=client.connection._session)):
        stage.services.doorbell.ring_mailbox(news)
    lines = [await client.line() for _ in range(3)]
    assert lines == ['* METADATA INBOX /shared/comment "/private/a b"', "* METADATA INBOX /private/comment",
                     '* METADATA "" /shared/admin']
    assert (await client.ask("y NOOP")) == ["y OK NOOP completed"]


async def test_too_many_folders_that_come_under_watch_are_an_overflow(stage: Stage) -> None:
    client = await connect(stage, "NOTIFY SET (personal (MessageNew MessageExpunge MailboxName))")
    other = await connect(stage, "CREATE A")
    while "NOTIFICATIONOVERFLOW" not in (line := await client.line()):
        assert line.startswith("* LIST ")
        await other.ask(f"x CREATE {line[-1]}1")
    assert (await client.ask("y NOOP")) == ["y OK NOOP completed"]


@pytest.mark.parametrize("end", ["NOTIFY NONE", "UNAUTHENTICATE", ""])
async def test_nothing_is_heard_after_the_end(stage: Stage, end: str) -> None:
    client = await connect(stage, "SELECT INBOX", "NOTIFY SET (selected (MessageNew MessageExpunge)) "
                                                  "(personal (MessageNew MessageExpunge MailboxName))")
    drafts = await stage.folder("Drafts")
    assert stage.services.doorbell.listeners(drafts.id) == 1
    if end:
        assert (await client.ask("y " + end))[-1].startswith("y OK")
    else:
        client.transport.close()
        await asyncio.sleep(0)
    assert stage.services.doorbell.listeners(drafts.id) == 0
    assert not stage.services.doorbell._mailboxes


async def test_a_store_that_fails_ends_the_notices_not_the_session(stage: Stage) -> None:
    client = await connect(stage, "NOTIFY SET (personal (MessageNew MessageExpunge))")
    await deliver_many(stage, "Drafts", 1)
    assert (await client.line()).startswith("* STATUS Drafts")

    class Failing(CountingDatabase):
        async def read(self, unit: Callable[[Any], Any], **given: Any) -> Any:
            raise OSError("disk")

    database = stage.stores.database
    drafts = await stage.folder("Drafts")
    stage.stores.database = Failing(database)  # type: ignore[assignment]
    stage.services.doorbell.ring(drafts.id, drafts.highest_modseq + 1)
    assert (await client.line()).startswith("* OK [NOTIFICATIONOVERFLOW] ")
    stage.stores.database = database
    assert (await client.ask("y STATUS Drafts (MESSAGES)"))[0] == "* STATUS Drafts (MESSAGES 1)"


async def test_commands_that_come_during_a_look_are_answered_after_it(stage: Stage) -> None:
    client = await connect(stage, "NOTIFY SET (personal (MessageNew MessageExpunge))")
    await deliver_many(stage, "Drafts", 1)
    client.send(b"a NOOP\r\nb NOOP\r\n")
    lines = [await client.line() for _ in range(3)]
    assert sorted(lines)[1:] == ["a OK NOOP completed", "b OK NOOP completed"]
    assert sorted(lines)[0].startswith("* STATUS Drafts")
