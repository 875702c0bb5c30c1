"""Set-based storage: an IMAP command makes a bounded number of units and statements whatever the number of messages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from support.dialogue import Client
from support.imap_stage import ADDRESS, PASSWORD, Stage, build


class CountingDatabase:
    """Counts the units that a session runs, and the statements of each."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.units = 0
        self.statements = 0

    def _counted(self, unit: Callable[..., Any]) -> Callable[..., Any]:
        def run(tx: Any, *arguments: Any) -> Any:
            seen: list[str] = []
            driver = tx.connection.connection.dbapi_connection
            driver.set_trace_callback(seen.append)
            try:
                return unit(tx, *arguments)
            finally:
                driver.set_trace_callback(None)
                self.statements += len(seen)

        self.units += 1
        return run

    async def read(self, unit: Callable[[Any], Any], *, quick: bool = False) -> Any:
        return await self._inner.read(self._counted(unit), quick=quick)

    async def write(self, unit: Callable[[Any], Any], **given: Any) -> Any:
        return await self._inner.write(self._counted(unit), **given)

    async def write_many(self, unit: Callable[..., Any], item: Any) -> Any:
        self.units += 1
        return await self._inner.write_many(unit, item)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    made = await build(tmp_path)
    yield made
    await made.close()


async def opened(stage: Stage, messages: int) -> tuple[Client, CountingDatabase]:
    """Give a client with INBOX open, holding this many messages."""
    for _ in range(messages):
        await stage.deliver("INBOX", "hello")
    counting = CountingDatabase(stage.stores.database)
    stage.stores.database = counting
    client = Client(stage.endpoint, tls=True, one_by_one=False)
    await client.line()
    assert (await client.ask(f'l LOGIN {ADDRESS} "{PASSWORD}"'))[-1].startswith("l OK")
    assert (await client.ask("s SELECT INBOX"))[-1].startswith("s OK")
    return client, counting


COMMANDS = [
    ("FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE MODSEQ)", 0),
    ("FETCH 1:* (ENVELOPE BODYSTRUCTURE)", 1),
    ("FETCH 1:* BODY.PEEK[HEADER]", 1),
    ("FETCH 1:* BODY[TEXT]", 2),
    ("STORE 1:* +FLAGS (\\Flagged travail)", 1),
    ("COPY 1:* Archive", 1),
    ("SEARCH UNDELETED SINCE 1-Jan-2020 SMALLER 100000", 0),
    ("SEARCH SUBJECT bonjour", 1),
    ("SEARCH BODY premier", 1),
    ("SEARCH OR FROM alpha TO praticien", 2),
    ("SEARCH HEADER X-Absent premier", 1),
    ("SORT (DISPLAYFROM SUBJECT REVERSE DATE) UTF-8 ALL", 1),
    ("UID SORT RETURN (PARTIAL 1:10) (ARRIVAL SIZE) UTF-8 UNSEEN", 0),
    ("THREAD REFERENCES UTF-8 ALL", 1),
    ("UID SEARCH RETURN (UPDATE COUNT) UNSEEN", 0),
    ("ESEARCH IN (mailboxes INBOX) UNSEEN", 1),
    ("UID MOVE 1:2 Archive", 1),
    ("NOOP", 0),
    ('LIST "" * RETURN (STATUS (MESSAGES UNSEEN))', 1),
    ('LIST "" * RETURN (STATUS (DELETED-STORAGE MAILBOXID) METADATA (/shared/comment /private/comment))', 1),
    ("GETMETADATA (DEPTH infinity) INBOX (/shared /private)", 1),
    ('SETMETADATA INBOX (/shared/comment "a" /private/comment "b" /private/x NIL)', 1),
    ("GETQUOTAROOT INBOX", 1),
    ("STATUS INBOX (DELETED DELETED-STORAGE)", 2),
    ("FETCH 1:* (EMAILID THREADID SAVEDATE)", 0),
    ("FETCH 1:* PREVIEW", 1),
    ("FETCH 1:* PREVIEW (LAZY)", 0),
]


@pytest.mark.parametrize(("command", "units"), COMMANDS, ids=[command for command, _ in COMMANDS])
async def test_units_do_not_grow_with_messages(stage: Stage, command: str, units: int) -> None:
    client, counting = await opened(stage, 40)
    before = counting.units, counting.statements
    lines = await client.ask("x " + command)
    assert lines[-1].startswith("x OK")
    assert counting.units - before[0] <= units
    assert counting.statements - before[1] <= 14 * units


async def test_expunge_is_one_unit(stage: Stage) -> None:
    client, counting = await opened(stage, 30)
    await client.ask("a STORE 1:* +FLAGS.SILENT (\\Deleted)")
    before = counting.units
    assert len(await client.ask("b EXPUNGE")) == 31
    assert counting.units - before == 1


async def test_a_second_session_opens_a_folder_without_a_read(stage: Stage) -> None:
    _, counting = await opened(stage, 5)
    other = Client(stage.endpoint, tls=True, one_by_one=False)
    await other.line()
    await other.ask(f'l LOGIN {ADDRESS} "{PASSWORD}"')
    before = counting.units
    assert (await other.ask("s SELECT INBOX"))[-1].startswith("s OK")
    assert counting.units == before


async def test_one_delivery_is_read_once_for_all_sessions(stage: Stage) -> None:
    first, counting = await opened(stage, 5)
    clients = [first]
    for _ in range(3):
        client = Client(stage.endpoint, tls=True, one_by_one=False)
        await client.line()
        await client.ask(f'l LOGIN {ADDRESS} "{PASSWORD}"')
        await client.ask("s SELECT INBOX")
        clients.append(client)
    for client in clients:
        client.send(b"i IDLE\r\n")
        assert await client.line() == "+ idling"
    await stage.deliver("INBOX", "hello")
    before = counting.units
    assert [await client.line() for client in clients] == ["* 6 EXISTS"] * 4
    assert counting.units - before <= 1
