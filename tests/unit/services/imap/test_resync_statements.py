"""QRESYNC and its kin cost a bounded number of units and statements, whatever changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.dialogue import Client
from support.imap_stage import ADDRESS, PASSWORD, build


class Counting:
    """Counts units and statements."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.units = 0
        self.statements = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def read(self, unit: Callable[[Any], Any], **given: Any) -> Any:
        def counted(tx: Any) -> Any:
            seen: list[str] = []
            driver = tx.connection.connection.dbapi_connection
            driver.set_trace_callback(seen.append)
            try:
                return unit(tx)
            finally:
                driver.set_trace_callback(None)
                self.statements += len(seen)

        self.units += 1
        return await self._inner.read(counted, **given)


@pytest.mark.parametrize("purged", [False, True])
@pytest.mark.parametrize("command", ["SELECT INBOX (QRESYNC ({validity} {modseq}))",
                                     "UID FETCH 1:* (FLAGS) (CHANGEDSINCE {modseq} VANISHED)", "UIDBATCHES 500"])
async def test_one_read_however_much_happened(tmp_path: Path, command: str, purged: bool) -> None:
    stage = await build(tmp_path)
    for number in range(60):
        await stage.deliver("INBOX", "hello", "deleted" if number % 2 else "")
    client = Client(stage.endpoint, tls=True, one_by_one=False)
    await client.line()
    await client.ask(f'l LOGIN {ADDRESS} "{PASSWORD}"')
    await client.ask("e ENABLE QRESYNC")
    inbox = await stage.folder("INBOX")
    await client.ask("s SELECT INBOX")
    await client.ask("x EXPUNGE")
    await client.ask("y STORE 1:* +FLAGS.SILENT (\\Seen)")
    if purged:
        await stage.purge("INBOX")
    counting = Counting(stage.stores.database)
    stage.stores.database = counting  # type: ignore[assignment]
    lines = await client.ask("z " + command.format(validity=inbox.uidvalidity, modseq=inbox.highest_modseq))
    assert lines[-1].startswith("z OK")
    assert any("VANISHED (EARLIER)" in line for line in lines) is ("QRESYNC" in command or "VANISHED" in command)
    assert counting.units <= 1
    assert counting.statements <= 4
    await stage.close()
