"""Several processes on one store, and processes that die: what was acknowledged is there, the journal stays whole."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.storage_values import make_mailboxes

from mssante.storage.interfaces import Stores

ROOT = Path(__file__).resolve().parents[2]

# Writes messages w<name>-<n>, and prints each trace id once its write is acknowledged.
WRITER = """
import asyncio, sys
from pathlib import Path
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/tests"]
from support.storage_values import filed
from mssante.storage.open import open_stores
url, blobs, folder, name, count = sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5], int(sys.argv[6])
stores = open_stores(url, Path(blobs))
async def one(number):
    trace = f"{name}-{number}"
    await stores.database.write_many(stores.messages.accept, filed(folder, trace))
    sys.stdout.write(trace + "\\n")
    sys.stdout.flush()
async def main():
    for start in range(0, count, 20):
        await asyncio.gather(*[one(number) for number in range(start, start + 20)])
asyncio.run(main())
stores.close()
"""


def start_writer(engine: Any, folder_id: int, name: str, count: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(ROOT), engine.url, str(engine.folder / "blobs"), str(folder_id), name,
         str(count)], stdout=subprocess.PIPE, text=True)


async def check_whole(stores: Stores, folder_id: int, acknowledged: set[str]) -> int:
    """Every acknowledged message is there once with its event; UIDs and journal have no fault. Gives how many there are."""
    folder, rows = await stores.database.read(lambda tx: stores.messages.snapshot(tx, folder_id))
    contents = await stores.database.read(
        lambda tx: stores.messages.contents(tx, [row.message_id for row in rows], with_body=False))
    traces = [one.trace_id for one in contents]
    assert len(traces) == len(set(traces)) == len(rows) == folder.message_count
    assert acknowledged <= set(traces)
    assert [row.uid for row in rows] == list(range(1, len(rows) + 1))
    assert await stores.database.read(stores.journal.verify) is None
    events = await stores.database.read(lambda tx: stores.journal.recent(tx, limit=100_000))
    assert sorted(one.trace_id for one in events) == sorted(traces)
    return len(rows)


async def test_two_processes_write_at_once(engine: Any, stores: Stores) -> None:
    (box,) = await make_mailboxes(stores)
    writers = [start_writer(engine, box.inbox_id, name, 200) for name in ("one", "two")]
    printed = [writer.communicate(timeout=60)[0].split() for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0]
    assert await check_whole(stores, box.inbox_id, {trace for part in printed for trace in part}) == 400


@pytest.mark.parametrize("lines", [1, 15, 33, 50, 90])
async def test_a_killed_process_loses_nothing_acknowledged(engine: Any, stores: Stores, lines: int) -> None:
    (box,) = await make_mailboxes(stores)
    stores.close()
    writer = start_writer(engine, box.inbox_id, "k", 100_000)
    assert writer.stdout is not None
    printed = [writer.stdout.readline().strip() for _ in range(lines)]
    writer.send_signal(signal.SIGKILL)
    printed += writer.communicate(timeout=60)[0].split()
    assert writer.returncode == -signal.SIGKILL
    again = engine.open()
    assert await check_whole(again, box.inbox_id, set(printed)) >= len(printed) >= lines
