"""Contract of Database: units, group commit, snapshots, faults."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from support.storage_values import accept, event, filed, make_mailboxes, new_message

from mssante.errors import OperatorFault, StorageFull
from mssante.storage.interfaces import Acceptance, Filing, Stores


class Gate:
    """Keeps the writer busy, so that units gather behind it."""

    def __init__(self) -> None:
        self._entered, self._open = threading.Event(), threading.Event()

    def _unit(self, tx: Any) -> None:
        self._entered.set()
        self._open.wait(30)

    @classmethod
    async def shut(cls, stores: Stores) -> Gate:
        """Give a gate in which the writer stands, in a group of its own."""
        gate = cls()
        gate._task = asyncio.ensure_future(stores.database.write(gate._unit))
        await asyncio.to_thread(gate._entered.wait, 30)
        return gate

    async def release(self) -> None:
        """Let the writer go on once started tasks have given their units."""
        await asyncio.sleep(0)
        self._open.set()
        await self._task


async def count(stores: Stores, folder_id: int) -> int:
    folder, _ = await stores.database.read(lambda tx: stores.messages.snapshot(tx, folder_id))
    return folder.message_count


async def test_items_waiting_together_run_in_one_call(stores: Stores) -> None:
    calls: list[int] = []

    def unit(tx: Any, items: Sequence[int]) -> list[int]:
        calls.append(len(items))
        return [item * 10 for item in items]

    gate = await Gate.shut(stores)
    waiting = [asyncio.ensure_future(stores.database.write_many(unit, number)) for number in range(20)]
    await gate.release()
    assert await asyncio.gather(*waiting) == [number * 10 for number in range(20)]
    assert calls == [20]


async def test_methods_of_one_store_are_one_function(stores: Stores, engine: Any) -> None:
    (box,) = await make_mailboxes(stores)
    gate = await Gate.shut(stores)
    waiting = [asyncio.ensure_future(stores.database.write_many(stores.messages.accept, filed(box.inbox_id, f"m{number}")))
               for number in range(30)]
    await gate.release()
    done = await asyncio.gather(*waiting)
    assert [one.filed[0].uid for one in done] == list(range(1, 31))
    assert len({one.filed[0].modseq for one in done}) == 1


async def test_a_bad_item_never_refuses_its_neighbours(stores: Stores) -> None:
    (box,) = await make_mailboxes(stores)
    wrong: Any = ("no engine stores this",)
    bad = Acceptance(replace(new_message("bad"), prefix=wrong), (Filing(box.inbox_id),), None, (event("bad"),))
    for beside in (False, True):  # alone in the group, and with another unit in it
        gate = await Gate.shut(stores)
        items = [filed(box.inbox_id, f"g{beside}{number}") for number in range(4)]
        waiting = [asyncio.ensure_future(stores.database.write_many(stores.messages.accept, item))
                   for item in (*items[:2], bad, *items[2:])]
        other = asyncio.ensure_future(make_mailboxes(stores, 3)) if beside else None
        await gate.release()
        done = await asyncio.gather(*waiting, return_exceptions=True)
        assert [isinstance(one, BaseException) for one in done] == [False, False, True, False, False]
        if other is not None:
            with pytest.raises(ValueError, match="exists"):
                await other
    assert await count(stores, box.inbox_id) == 8
    assert await stores.database.read(stores.journal.verify) is None


async def test_units_that_fail_are_rolled_back_alone(stores: Stores) -> None:
    (box,) = await make_mailboxes(stores)
    item = filed(box.inbox_id)

    def failing(tx: Any) -> None:
        stores.messages.accept(tx, [item])
        raise LookupError("on purpose")

    gate = await Gate.shut(stores)
    waiting = [asyncio.ensure_future(work) for work in (
        accept(stores, item), stores.database.write(failing), accept(stores, item), stores.database.write(failing))]
    await gate.release()
    done = await asyncio.gather(*waiting, return_exceptions=True)
    assert [isinstance(one, LookupError) for one in done] == [False, True, False, True]
    with pytest.raises(LookupError):
        await stores.database.write(failing)
    assert await count(stores, box.inbox_id) == 2
    assert len(await stores.database.read(lambda tx: stores.journal.recent(tx))) == 2
    assert await stores.database.read(stores.journal.verify) is None


async def test_wrong_number_of_results_and_driver_faults_are_operator_faults(stores: Stores) -> None:
    with pytest.raises(OperatorFault):
        await stores.database.write_many(lambda tx, items: [], 1)
    for call in (stores.database.write, stores.database.read):
        with pytest.raises(OperatorFault) as caught:
            await call(lambda tx: tx.run_text("SELECT secret FROM nowhere"))
        assert "secret" not in str(caught.value)
    await make_mailboxes(stores)


async def test_a_reader_sees_one_snapshot_and_never_writes(stores: Stores) -> None:
    (box,) = await make_mailboxes(stores)
    written, looked = threading.Event(), threading.Event()

    def look(tx: Any) -> tuple[int, int]:
        before = stores.messages.snapshot(tx, box.inbox_id)[0].message_count
        looked.set()
        written.wait(30)
        return before, stores.messages.snapshot(tx, box.inbox_id)[0].message_count

    reading = asyncio.ensure_future(stores.database.read(look))
    await asyncio.to_thread(looked.wait, 30)
    await accept(stores, filed(box.inbox_id))
    written.set()
    assert await reading == (0, 0)
    await stores.database.read(lambda tx: stores.messages.accept(tx, [filed(box.inbox_id)]))
    assert await count(stores, box.inbox_id) == 1


async def test_a_cancelled_caller_harms_nobody(stores: Stores) -> None:
    (box,) = await make_mailboxes(stores)
    gate = await Gate.shut(stores)
    waiting = [asyncio.ensure_future(accept(stores, filed(box.inbox_id))) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[1].cancel()
    await gate.release()
    done = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(done[1], asyncio.CancelledError) and isinstance(done[2], list)
    assert await count(stores, box.inbox_id) == 3


async def test_close_finishes_what_waits_then_refuses(engine: Any, stores: Stores) -> None:
    (box,) = await make_mailboxes(stores)
    waiting = [asyncio.ensure_future(accept(stores, filed(box.inbox_id))) for _ in range(50)]
    await asyncio.sleep(0)
    await asyncio.to_thread(stores.close)
    await asyncio.gather(*waiting)
    for call in (stores.database.read, stores.database.write):
        with pytest.raises(OperatorFault) as caught:
            await call(lambda tx: None)
        assert caught.value.rule == "STORE-CLOSED"
    assert await count(engine.open(), box.inbox_id) == 50


async def test_a_full_disk_refuses_and_goes_on_afterwards(engine: Any, stores: Stores) -> None:
    (box,) = await make_mailboxes(stores)
    stores.close()
    small = engine.open(max_pages=200)
    body = b"x" * 50_000
    kept = 0
    with pytest.raises(StorageFull):
        for number in range(100):
            await accept(small, Acceptance(new_message(f"m{number}", body=body), (Filing(box.inbox_id),), None,
                                           (event(f"m{number}"),)))
            kept += 1
    assert 0 < kept < 100
    big = Acceptance(new_message("big", body=body), (Filing(box.inbox_id),))
    gate = await Gate.shut(small)
    waiting = [asyncio.ensure_future(small.database.write_many(small.messages.accept, big)) for _ in range(5)]
    await gate.release()
    done = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(one, StorageFull) for one in done)
    assert await count(small, box.inbox_id) == kept
    small.close()
    again = engine.open()
    await accept(again, big)
    assert await count(again, box.inbox_id) == kept + 1
    assert await again.database.read(again.journal.verify) is None


class FailingCommit:
    """A cursor whose COMMIT fails as after a failed sync."""

    def __init__(self, cursor: Any, error: BaseException) -> None:
        self._cursor = cursor
        self._error = error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)

    def execute(self, text: str, parameters: Sequence[Any] = ()) -> Any:
        if text == "COMMIT":
            raise self._error
        return self._cursor.execute(text, parameters)


async def test_a_failed_sync_stops_the_database_for_good(engine: Any) -> None:
    causes: list[BaseException] = []
    stores = engine.open(on_fatal=causes.append)
    (box,) = await make_mailboxes(stores)
    real: list[Any] = []

    def spoil(tx: Any) -> None:
        real.append((tx, tx._driver))
        tx._driver = FailingCommit(tx._driver, OSError(5, "Input/output error"))

    gate = await Gate.shut(stores)
    waiting = [asyncio.ensure_future(stores.database.write(spoil)), asyncio.ensure_future(accept(stores, filed(box.inbox_id)))]
    await gate.release()
    done = await asyncio.gather(*waiting, return_exceptions=True)
    assert [getattr(one, "rule", "") for one in done] == ["STORE-STOPPED"] * 2
    assert len(causes) == 1
    tx, cursor = real[0]
    tx._driver = cursor  # the disk seems well again: still nothing is promised
    for call in (stores.database.write, stores.database.read):
        with pytest.raises(OperatorFault) as caught:
            await call(lambda tx: None)
        assert caught.value.rule == "STORE-STOPPED"
    stores.close()
    assert await count(engine.open(), box.inbox_id) == 0


async def test_a_quick_read_sees_what_was_committed_and_raises_what_its_unit_raises(stores: Stores) -> None:
    (box,) = await make_mailboxes(stores)
    await accept(stores, filed(box.inbox_id))
    (found,) = await stores.database.read(lambda tx: stores.accounts.mailboxes_by_id(tx, [box.id]), quick=True)
    assert found == box
    _, rows = await stores.database.read(lambda tx: stores.messages.snapshot(tx, box.inbox_id), quick=True)
    assert [row.uid for row in rows] == [1]

    def failing(tx: object) -> None:
        raise LookupError("gone")

    with pytest.raises(LookupError):
        await stores.database.read(failing, quick=True)
    await accept(stores, filed(box.inbox_id, "two"))  # nothing was left open: the next one sees the next commit
    _, rows = await stores.database.read(lambda tx: stores.messages.snapshot(tx, box.inbox_id), quick=True)
    assert [row.uid for row in rows] == [1, 2]


async def test_a_quick_read_after_closing_is_refused(stores: Stores) -> None:
    stores.close()
    with pytest.raises(OperatorFault) as caught:
        await stores.database.read(lambda tx: None, quick=True)
    assert caught.value.rule == "STORE-CLOSED"
