"""INPROGRESS (RFC 9585): told only when a command has been silent for long, and in the middle of one long step too."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from support.dialogue import Client
from support.imap_stage import ADDRESS, NOW, PASSWORD, build

from mssante.protocol.imap.syncencode import progress_line
from mssante.services.imap.progress import Progress


class Hand:
    """A clock moved by hand."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def now(self) -> datetime:
        return NOW

    def monotonic(self) -> float:
        return self.seconds


def test_a_line_when_it_is_time() -> None:
    clock, lines = Hand(), list[bytes]()
    progress = Progress(clock, 5.0)
    progress.tell(1, 10)  # nobody listens yet
    progress.write = lines.append
    progress.begin(b"a1")
    progress.tell(1, 10)
    clock.seconds += 4.9
    progress.tell(2, 10)
    assert not lines
    clock.seconds += 0.1
    progress.tell(3, 10)
    progress.tell(4, 10)
    assert lines == [b'* OK [INPROGRESS ("a1" 3 10)] still working\r\n']
    clock.seconds += 9
    progress.begin(b"a2")
    progress.tell(1, 10)
    assert len(lines) == 1


@pytest.mark.parametrize(("given", "code"), [
    ((b"a1", None, None), b'("a1" NIL NIL)'),
    ((b"a1", 7, None), b'("a1" 7 NIL)'),
    ((b"a1", 7, 9), b'("a1" 7 9)'),
    ((b"a1", 9, 9), b'("a1" 9 NIL)'),
    ((b"a1", 0, 0), b'("a1" 0 NIL)'),
    ((b"a]", 1, 2), b"(NIL 1 2)"),
    ((b"", None, None), b"(NIL NIL NIL)"),
])
def test_the_forms_of_the_code(given: Any, code: bytes) -> None:
    assert progress_line(*given) == b"* OK [INPROGRESS " + code + b"] still working\r\n"


async def test_one_long_step_is_told_of_until_the_answer_begins(tmp_path: Path) -> None:
    stage = await build(tmp_path)
    clock = Hand()
    object.__setattr__(stage.services, "clock", clock)
    await stage.deliver("INBOX", "hello")
    client = Client(stage.endpoint, tls=True, one_by_one=False)
    await client.line()
    await client.ask(f'l LOGIN {ADDRESS} "{PASSWORD}"')
    await client.ask("s SELECT INBOX")
    database, gate = stage.stores.database, asyncio.Event()

    class Slow:
        """A database that waits for the gate before it writes."""

        async def write(self, unit: Callable[[Any], Any], **given: Any) -> Any:
            await gate.wait()
            return await database.write(unit, **given)

        def __getattr__(self, name: str) -> Any:
            return getattr(database, name)

    stage.stores.database = Slow()  # type: ignore[assignment]
    client.send(b"x COPY 1 Archive\r\n")
    client.connection._still_working()  # the timer
    assert not client.transport.received
    clock.seconds += 6
    client.connection._still_working()
    assert await client.line() == '* OK [INPROGRESS ("x" NIL NIL)] still working'
    gate.set()
    assert (await client.line()).startswith("x OK")
    clock.seconds += 6
    client.connection._still_working()
    assert not client.transport.received
    await stage.close()
