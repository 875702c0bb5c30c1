"""Contract of JournalStore: order, search, and a chain that shows what was altered or removed."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import delete, update
from support.storage_values import NOW, event

from mssante.model.journal import JournalEvent, JournalKind
from mssante.storage.interfaces import Stores
from mssante.storage.sql.tables import journal_event, store_head


async def fill(stores: Stores, count: int = 10) -> None:
    events = [event(f"t{number % 3}", number=number) for number in range(count)]
    await stores.database.write(lambda tx: stores.journal.append(tx, events))


async def tamper(stores: Stores, statement: Any) -> int | None:
    await stores.database.write(lambda tx: tx.connection.execute(statement))
    return await stores.database.read(stores.journal.verify)


async def test_events_are_found_by_trace_kind_and_subject(stores: Stores) -> None:
    await fill(stores)
    odd = JournalEvent(JournalKind.LOGIN_REFUSED, NOW, "", "joe", {"text": "é\0\n", "none": None, "yes": True, "x": 1.5})
    await stores.database.write(lambda tx: stores.journal.append(tx, [odd]))
    journal = stores.journal
    assert [row.payload["number"] for row in await stores.database.read(lambda tx: journal.by_trace(tx, "t1"))] == [1, 4, 7]
    assert [row.sequence for row in await stores.database.read(lambda tx: journal.recent(tx, limit=3))] == [11, 10, 9]
    for scope in ({"kind": "login_refused"}, {"subject": "joe"}, {"kind": "login_refused", "subject": "joe"}):
        (row,) = await stores.database.read(lambda tx, at=scope: journal.recent(tx, **at))
        assert (row.kind, row.subject, row.at, row.payload) == ("login_refused", "joe", NOW, odd.payload)
    assert await stores.database.read(lambda tx: journal.recent(tx, kind="login")) == []


async def test_a_whole_chain_verifies_over_many_units_and_openings(engine: Any, stores: Stores) -> None:
    assert await stores.database.read(stores.journal.verify) is None
    await fill(stores, 2500)
    await fill(stores, 1)
    stores.close()
    again = engine.open()
    await fill(again, 3)
    assert await again.database.read(again.journal.verify) is None
    rows = await again.database.read(lambda tx: again.journal.recent(tx, limit=5))
    assert [row.sequence for row in rows] == [2504, 2503, 2502, 2501, 2500]
    assert len({row.hash for row in rows}) == 5


@pytest.mark.parametrize("change", [
    {"payload": "{}"}, {"at": 5}, {"kind": "login"}, {"trace_id": "t9"}, {"subject": "y"}, {"hash": "00" * 32},
    {"kind": "received" + "t1", "trace_id": ""}])
async def test_an_altered_row_is_seen(stores: Stores, change: dict[str, Any]) -> None:
    await fill(stores)
    assert await tamper(stores, update(journal_event).where(journal_event.c.sequence == 5).values(**change)) == 5


@pytest.mark.parametrize(("gone", "seen"), [([1], 1), ([4, 5], 4), ([10], 10), (list(range(1, 11)), 1)])
async def test_a_removed_row_is_seen(stores: Stores, gone: list[int], seen: int) -> None:
    await fill(stores)
    assert await tamper(stores, delete(journal_event).where(journal_event.c.sequence.in_(gone))) == seen


async def test_a_moved_end_is_seen(stores: Stores) -> None:
    await fill(stores)
    assert await tamper(stores, update(store_head).values(journal_hash="11" * 32)) == 10


async def test_an_event_of_a_failed_unit_leaves_no_trace(stores: Stores) -> None:
    def unit(tx: Any) -> None:
        stores.journal.append(tx, [event("never")])
        raise RuntimeError("on purpose")

    await fill(stores, 2)
    with pytest.raises(RuntimeError):
        await stores.database.write(unit)
    await fill(stores, 2)
    assert await stores.database.read(stores.journal.verify) is None
    assert await stores.database.read(lambda tx: stores.journal.by_trace(tx, "never")) == []


async def test_an_event_is_found_by_its_place(stores: Stores) -> None:
    await fill(stores)
    found = await stores.database.read(lambda tx: stores.journal.by_sequence(tx, 4))
    assert found is not None and (found.sequence, found.payload["number"]) == (4, 3)
    for absent in (0, -1, 11, 2**62):
        assert await stores.database.read(lambda tx, at=absent: stores.journal.by_sequence(tx, at)) is None
