"""Groups committed on the event loop: what they give, and when they leave the work to the writer's thread."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.storage_values import NOW

from mssante.errors import OperatorFault
from mssante.model.journal import JournalEvent, JournalKind
from mssante.storage.interfaces import Stores
from mssante.storage.open import open_stores
from mssante.storage.sql import turns


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[Stores]:
    opened = open_stores(f"sqlite:///{tmp_path}/a.db", tmp_path / "blobs")
    yield opened
    opened.close()


class Unit:
    """Appends an event for each item; remembers on which thread, and how many at once."""

    def __init__(self, stores: Stores) -> None:
        self.stores = stores
        self.threads: list[threading.Thread] = []
        self.counts: list[int] = []

    def __call__(self, tx: object, items: Sequence[str]) -> list[str]:
        self.threads.append(threading.current_thread())
        self.counts.append(len(items))
        if "bad" in items:
            raise ValueError("this one is bad")
        self.stores.journal.append(tx, [JournalEvent(JournalKind.SESSION_REFUSED, NOW, one, "x", {}) for one in items])  # type: ignore[arg-type]
        return [one.upper() for one in items]

    async def all(self, *items: str) -> list[str | BaseException]:
        return await asyncio.gather(*(self.stores.database.write_many(self, one) for one in items), return_exceptions=True)


def traces(path: Path) -> list[str]:
    """What another process sees."""
    with sqlite3.connect(path) as connection:
        return [row[0] for row in connection.execute("SELECT trace_id FROM journal_event ORDER BY sequence")]


async def test_units_of_one_turn_are_committed_together_on_the_loop(stores: Stores, tmp_path: Path) -> None:
    unit = Unit(stores)
    assert await unit.all("a", "b", "c") == ["A", "B", "C"]
    assert unit.counts == [3] and unit.threads == [threading.current_thread()]
    assert traces(tmp_path / "a.db") == ["a", "b", "c"], "committed before the caller went on"
    many = [f"n{number:03}" for number in range(150)]
    await unit.all(*many)
    assert max(unit.counts) <= turns.MOST and traces(tmp_path / "a.db")[3:] == many


async def test_a_group_waits_for_a_busy_loop_and_a_few_idle_turns(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    steps = iter([turns.IDLE_TURN * 2] * 4)  # what the loop does in its next turns, then nothing

    def monotonic() -> float:
        now[0] += next(steps, 0.0)
        return now[0]

    unit, loop = Unit(stores), asyncio.get_running_loop()
    await unit.all("first")
    monkeypatch.setattr(turns, "time", SimpleNamespace(monotonic=monotonic))
    later: list[asyncio.Task[str]] = []

    def come(number: int) -> None:
        """One more unit in each of the next turns of the loop."""
        later.append(loop.create_task(stores.database.write_many(unit, f"n{number}")))
        if number < 4 + turns.IDLE_TURNS:
            loop.call_soon(come, number + 1)

    come(1)
    await asyncio.sleep(0.1)
    await asyncio.gather(*later)
    assert unit.counts[1] >= 4, "it waited while the loop had work, and a little longer"
    assert sum(unit.counts) == 1 + len(later)


async def test_a_bad_unit_is_refused_alone(stores: Stores, tmp_path: Path) -> None:
    unit = Unit(stores)
    found = await unit.all("a", "bad", "c")
    assert (found[0], type(found[1]), found[2]) == ("A", ValueError, "C")
    assert traces(tmp_path / "a.db") == ["a", "c"]


async def test_nobody_waits_on_the_loop_for_another_writer(stores: Stores, tmp_path: Path) -> None:
    unit = Unit(stores)
    other = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    waiting = asyncio.ensure_future(unit.all("a", "b"))
    await asyncio.sleep(0.05)
    assert not waiting.done() and not unit.counts, "the loop goes on while another process writes"
    other.execute("COMMIT")
    other.close()
    assert await waiting == ["A", "B"]
    assert [one.name for one in unit.threads] == ["db-writer"]
    assert await unit.all("c") == ["C"] and unit.threads[-1] is threading.current_thread()


async def test_a_slow_disk_sends_the_work_to_the_thread(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    unit = Unit(stores)
    monkeypatch.setattr(turns, "SLOW", -1.0)
    await unit.all("a")
    await unit.all("b")
    assert [one.name for one in unit.threads] == ["MainThread", "db-writer"]
    monkeypatch.setattr(turns, "REST", 0.0)
    monkeypatch.setattr(turns.time, "monotonic", lambda: 1e12)
    await unit.all("c")
    assert unit.threads[-1] is threading.current_thread(), "tried again after a rest"


async def test_the_log_is_put_back_beside_the_commits(stores: Stores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "LOG_UNITS", 10)
    unit = Unit(stores)
    for start in range(0, 400, 10):
        await unit.all(*[f"t{number:04}" for number in range(start, start + 10)])
        await asyncio.sleep(0.002)
    pages = (tmp_path / "a.db-wal").stat().st_size // 4096
    assert pages < 200, "it begins anew instead of growing with each commit"


async def test_what_waits_at_the_end_is_done_or_told(stores: Stores, tmp_path: Path) -> None:
    unit = Unit(stores)
    waiting = asyncio.ensure_future(unit.all("a"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    stores.close()
    found = (await waiting)[0]
    assert found == "A" or (isinstance(found, OperatorFault) and found.rule == "STORE-CLOSED")
    assert traces(tmp_path / "a.db") == (["a"] if found == "A" else [])
    with pytest.raises(OperatorFault):
        await stores.database.write_many(unit, "later")


async def test_a_short_write_is_committed_on_the_loop_too(stores: Stores, tmp_path: Path) -> None:
    threads: list[threading.Thread] = []

    def unit(tx: object) -> str:
        threads.append(threading.current_thread())
        stores.journal.append(tx, [JournalEvent(JournalKind.SESSION_REFUSED, NOW, f"w{len(threads)}", "x", {})])  # type: ignore[arg-type]
        return "done"

    assert await stores.database.write(unit, quick=True) == "done"
    assert threads == [threading.current_thread()] and traces(tmp_path / "a.db") == ["w1"]
    assert await stores.database.write(unit) == "done"
    assert threads[1] is not threading.current_thread()

    def bad(tx: object) -> None:
        unit(tx)
        raise ValueError("this one is bad")

    found = await asyncio.gather(stores.database.write(bad, quick=True), Unit(stores).all("a"), return_exceptions=True)
    assert isinstance(found[0], ValueError) and found[1] == ["A"]
    assert traces(tmp_path / "a.db") == ["w1", "w2", "a"]
