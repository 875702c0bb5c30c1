"""The IMAP connection: limits, time, faults of ours, clients that leave, stop of the server."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from support.dialogue import Client
from support.imap_stage import ADDRESS, MESSAGES, PASSWORD, Stage, build

from mssante.endpoints import imap_connection
from mssante.endpoints.imap_eager import run_eagerly
from mssante.errors import OperatorFault, StorageFull
from mssante.services.imap.settings import ImapSettings

SMALL = ImapSettings(hostname="imap.example", connections=4, connections_per_address=2, login_seconds=0.05,
                     idle_seconds=0.05, drain_seconds=1.0)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    made = await build(tmp_path)
    yield made
    await made.close()


@pytest.fixture
async def strict(tmp_path: Path) -> AsyncIterator[Stage]:
    made = await build(tmp_path, SMALL)
    yield made
    await made.close()


async def connect(stage: Stage, *, login: bool = True) -> Client:
    """Give a client, logged in unless told."""
    client = Client(stage.endpoint, tls=True, one_by_one=False)
    await client.line()
    if login:
        assert (await client.ask(f'l LOGIN {ADDRESS} "{PASSWORD}"'))[-1].startswith("l OK")
    return client


async def test_one_address_has_so_many_connections(strict: Stage) -> None:
    first = await connect(strict)
    await connect(strict)
    third = Client(strict.endpoint, tls=True, one_by_one=False)
    assert await third.line() == "* BYE too many connections from this address"
    await third.closed()
    assert strict.endpoint.connections == 2
    first.transport.close()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert strict.endpoint.connections == 1
    await connect(strict)


async def test_who_does_not_log_in_is_sent_away(strict: Stage) -> None:
    client = await connect(strict, login=False)
    client.send(b"a NOOP\r\n")  # words do not make the time longer
    assert await client.line() == "a OK NOOP completed"
    assert await client.line() == "* BYE no login in time"
    await client.closed()


async def test_who_says_nothing_is_sent_away(strict: Stage) -> None:
    client = await connect(strict)
    assert await client.line() == "* BYE idle for too long"
    await client.closed()


class FailingDatabase:
    """Refuses every unit with one fault."""

    def __init__(self, fault: BaseException) -> None:
        self.fault = fault

    async def read(self, unit: Any, *, quick: bool = False) -> Any:
        raise self.fault

    async def write(self, unit: Any, **given: Any) -> Any:
        raise self.fault

    async def write_many(self, unit: Any, item: Any) -> Any:
        raise self.fault


@pytest.mark.parametrize(("fault", "answer"), [
    (RuntimeError("patient Dupont"), "NO [SERVERBUG] internal error, please try again later"),
    (OperatorFault("patient Dupont"), "NO [SERVERBUG] internal error, please try again later"),
    (StorageFull("patient Dupont"), "NO [UNAVAILABLE] no room left, nothing was changed"),
])
async def test_a_fault_of_ours_is_one_line_without_content(stage: Stage, fault: BaseException, answer: str,
                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    await stage.deliver("INBOX", "hello")
    client = await connect(stage)
    await client.ask("s SELECT INBOX")
    database = stage.stores.database
    with structlog.testing.capture_logs() as logs:
        monkeypatch.setattr(imap_connection, "log", structlog.get_logger("captured"))
        stage.stores.database = FailingDatabase(fault)
        for command in ("STATUS INBOX (MESSAGES)", "STORE 1 +FLAGS (\\Seen)", "FETCH 1 BODY.PEEK[]", "EXPUNGE",
                        "COPY 1 Archive", "CREATE Autre"):
            if command != "EXPUNGE":
                assert (await client.ask("x " + command))[-1] == "x " + answer
        stage.stores.database = database
    assert (await client.ask("y STATUS INBOX (MESSAGES)"))[-1].startswith("y OK")
    assert len(logs) == 5
    assert "Dupont" not in str(logs)
    assert {line["fault"] for line in logs} == {type(fault).__name__}


async def test_append_that_fails_leaves_the_session_in_step(stage: Stage) -> None:
    client = await connect(stage)
    database = stage.stores.database
    client.send(b"a APPEND INBOX {5+}\r\n")
    await asyncio.sleep(0.01)
    stage.stores.database = FailingDatabase(StorageFull("full"))
    client.send(b"hello\r\n")
    assert await client.line() == "a NO [UNAVAILABLE] no room left, nothing was changed"
    stage.stores.database = database
    assert (await client.ask("b STATUS INBOX (MESSAGES)"))[0] == "* STATUS INBOX (MESSAGES 0)"


async def test_a_blob_that_is_gone_ends_the_connection_not_the_server(stage: Stage) -> None:
    await stage.deliver("INBOX", "large")
    client, other = await connect(stage), await connect(stage)
    await client.ask("s SELECT INBOX")
    contents = await stage.stores.database.read(
        lambda tx: stage.stores.messages.contents(
            tx, [row.message_id for row in stage.stores.messages.snapshot(
                tx, client.connection._session.opened()[0].folder_id)[1]], with_body=True))
    stage.stores.blobs.delete([contents[0].blob or ""])
    client.send(b"x FETCH 1 BODY.PEEK[]\r\n")
    await client.closed()
    assert b"x OK" not in client.transport.received
    assert (await other.ask("y NOOP"))[-1].startswith("y OK")


async def test_a_command_ends_though_its_client_left(stage: Stage) -> None:
    await stage.deliver("INBOX", "hello")
    watcher, leaver = await connect(stage), await connect(stage)
    await watcher.ask("s SELECT INBOX")
    await leaver.ask("s SELECT INBOX")
    watcher.send(b"i IDLE\r\n")
    assert await watcher.line() == "+ idling"
    leaver.send(b"x STORE 1 +FLAGS (\\Flagged)\r\n")
    leaver.transport.close()
    assert await watcher.line() == "* 1 FETCH (UID 1 FLAGS (\\Flagged \\Recent))"
    view, _ = watcher.connection._session.opened()
    while len(view.cursors) != 1:
        await asyncio.sleep(0)


async def test_draining_ends_commands_then_says_bye(stage: Stage) -> None:
    busy, quiet = await connect(stage), await connect(stage)
    busy.send(b"x CREATE Autre\r\n")
    ending = asyncio.ensure_future(stage.endpoint.drain())
    assert re.fullmatch(r"x OK (\[MAILBOXID .*\] )?CREATE completed", await busy.line())
    assert await busy.line() == "* BYE the server is stopping"
    assert await quiet.line() == "* BYE the server is stopping"
    await ending
    refused = Client(stage.endpoint, tls=True, one_by_one=False)
    assert await refused.line() == "* BYE the server is stopping"


async def test_what_comes_during_a_command_is_kept_within_bounds(stage: Stage) -> None:
    client = await connect(stage)
    client.send(b"x CREATE Autre\r\n" + b"y NOOP\r\n" * 10)
    client.send(b"y NOOP\r\n" * 10)
    assert client.transport.paused
    lines = [await client.line() for _ in range(21)]
    assert re.fullmatch(r"x OK (\[MAILBOXID .*\] )?CREATE completed", lines[0])
    assert lines[1:] == ["y OK NOOP completed"] * 20
    await asyncio.sleep(0)
    assert not client.transport.paused


async def test_before_login_little_is_held(stage: Stage) -> None:
    client = await connect(stage, login=False)
    client.send(b"a LOGIN x {8000}\r\n")
    assert (await client.line()).startswith("+")
    for _ in range(100):
        client.send(b"z" * 1000)
        if client.transport.closing:
            break
    connection = client.connection
    assert len(connection._ahead) + connection._core.buffered <= 64 * 1024


async def test_messages_are_kept_as_they_were_sent(stage: Stage) -> None:
    client = await connect(stage)
    odd = b"Subject: x\n\nbare line ends\r and more\n" + bytes(range(128, 256)) + b"\r\n"
    client.send(b"a APPEND INBOX {%d+}\r\n" % len(odd) + odd + b"\r\n")
    assert (await client.line()).startswith("a OK")
    large = MESSAGES["large"]
    client.send(b"b APPEND INBOX {%d+}\r\n" % len(large) + large + b"\r\n")
    assert (await client.line()).startswith("b OK")
    await client.ask("s SELECT INBOX")
    for number, body in ((1, odd), (2, large)):
        client.send(b"c FETCH %d BODY.PEEK[]\r\n" % number)
        assert await client.line() == f"* {number} FETCH (BODY[] {{{len(body)}}}"
        assert await client.octets(len(body)) == body
        assert await client.line() == ")"
        assert (await client.line()).startswith("c OK")


async def test_eager_coroutines_need_no_task() -> None:
    steps: list[str] = []

    async def quick() -> None:
        steps.append("quick")

    future: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def slow() -> None:
        steps.append(await future)
        await asyncio.sleep(0)
        try:
            await failing
        except ValueError:
            steps.append("caught")

    failing: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    assert run_eagerly(quick()) is None
    task = run_eagerly(slow())
    assert task is not None
    assert steps == ["quick"]
    future.set_result("slow")
    failing.set_exception(ValueError())
    await task
    assert steps == ["quick", "slow", "caught"]


async def test_a_full_mailbox_takes_no_more(stage: Stage) -> None:
    await stage.deliver("INBOX", "hello")
    client = await connect(stage)
    await stage.set_quota(ADDRESS, 500, 0)
    await client.ask("s SELECT INBOX")
    assert (await client.ask("a COPY 1 Archive"))[-1] == "a NO [OVERQUOTA] the mailbox is full"
    client.send(b"b APPEND INBOX {400}\r\n")
    assert await client.line() == "b NO [OVERQUOTA] the mailbox is full"
    assert (await client.ask("c UID MOVE 1 Archive"))[-1].startswith("c OK")


async def test_expunge_is_journalled_in_its_transaction(stage: Stage) -> None:
    await stage.deliver("INBOX", "hello", "deleted")
    await stage.deliver("INBOX", "second")
    client = await connect(stage)
    await client.ask("s SELECT INBOX")
    await client.ask("a EXPUNGE")
    journal = stage.stores.journal
    (row,) = await stage.stores.database.read(lambda tx: journal.recent(tx, kind="folder_expunged"))
    assert row.subject == ADDRESS
    assert (row.payload["messages"], row.payload["first_uid"]) == (1, 1)


async def test_the_last_session_takes_lists_and_views_with_it(tmp_path: Path) -> None:
    stage = await build(tmp_path, ImapSettings(grace_seconds=0))
    client = await connect(stage)
    await client.ask("s SELECT INBOX")
    registry = stage.services.registry
    assert len(registry) == 1
    assert registry._folders
    client.transport.close()
    await asyncio.sleep(0)
    assert len(registry) == 0
    assert not registry._folders
    assert registry.budget.used == 0
    await stage.close()
