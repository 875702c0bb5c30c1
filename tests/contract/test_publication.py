"""Contract of PublicationStore: rows come back as written, due ones in order, ranges and counts, few statements."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

from support.storage_values import NOW

from mssante.storage.interfaces import Stores
from mssante.storage.publication import PublicationRow, PublicationState

ROW = PublicationRow("b@x.fr", '{"a":1}', "", PublicationState.DUE, NOW, NOW + timedelta(seconds=5), 2, NOW, None, None, "v7", "é")


async def do(stores: Stores, unit: Callable[[Any], Any]) -> Any:
    return await stores.database.write(unit)


async def test_rows_come_back(stores: Stores) -> None:
    store = stores.publication
    rows = [replace(ROW, address=f"{name}@x.fr") for name in ("a", "b", "c", "d")]
    await do(stores, lambda tx: store.put(tx, rows))
    assert await do(stores, lambda tx: store.page(tx)) == rows
    assert await do(stores, lambda tx: store.page(tx, after="a@x.fr", limit=2)) == rows[1:3]
    assert await do(stores, lambda tx: store.between(tx, "a@x.fr", "c@x.fr")) == rows[1:3]
    assert await do(stores, lambda tx: store.between(tx, "b@x.fr", "")) == rows[2:]
    changed = replace(rows[1], state=PublicationState.ACCEPTED, sent=ROW.wanted, accepted_at=NOW, visible_at=NOW)
    await do(stores, lambda tx: store.put(tx, [changed]))
    assert await do(stores, lambda tx: store.page(tx, state=PublicationState.ACCEPTED)) == [changed]
    assert await do(stores, lambda tx: store.counts(tx)) == {PublicationState.DUE: 3, PublicationState.ACCEPTED: 1}
    await do(stores, lambda tx: store.remove(tx, ["a@x.fr", "nobody@x.fr"]))
    await do(stores, lambda tx: store.put(tx, []))
    assert [row.address for row in await do(stores, lambda tx: store.page(tx))] == ["b@x.fr", "c@x.fr", "d@x.fr"]


async def test_what_is_due(stores: Stores) -> None:
    store = stores.publication
    rows = [replace(ROW, address=f"{rank}@x.fr", next_attempt_at=NOW + timedelta(seconds=9 - rank)) for rank in range(5)]
    rows.append(replace(ROW, address="held@x.fr", state=PublicationState.HELD))
    await do(stores, lambda tx: store.put(tx, rows))
    due = await do(stores, lambda tx: store.due(tx, NOW + timedelta(seconds=7), 2))
    assert [row.address for row in due] == ["4@x.fr", "3@x.fr"]
    assert await do(stores, lambda tx: store.due(tx, NOW, 9)) == []


async def test_few_statements(stores: Stores, engine: Any) -> None:
    rows = [replace(ROW, address=f"{rank:03d}@x.fr") for rank in range(128)]
    ran = await do(stores, lambda tx: engine.count(tx, lambda again: stores.publication.put(again, rows)))
    assert len(ran) <= 4
