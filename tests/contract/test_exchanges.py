"""Contract of ExchangeStore: counts add up, the first date of a closing stays, few statements, mailboxes that are gone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

from support.storage_values import NOW, make_mailboxes

from mssante.storage.exchanges import ClosedAddress, Exchange
from mssante.storage.interfaces import Stores

CLOSED = ClosedAddress("b@x.fr", NOW, "bounce", "5.1.1", NOW)


async def do(stores: Stores, unit: Callable[[Any], Any]) -> Any:
    return await stores.database.write(unit)


async def box(stores: Stores) -> int:
    (made,) = await make_mailboxes(stores)
    return made.id


async def test_closed_addresses_keep_their_first_date_and_may_reopen(stores: Stores) -> None:
    store, later = stores.exchanges, NOW + timedelta(days=1)
    await do(stores, lambda tx: store.close(tx, [CLOSED, replace(CLOSED, address="c@x.fr")]))
    await do(stores, lambda tx: store.close(tx, [replace(CLOSED, closed_at=later, seen_at=later, reason="5.2.1 é\0")]))
    found = await do(stores, lambda tx: store.closed(tx, ["b@x.fr", "nobody@x.fr"]))
    assert found == {"b@x.fr": ClosedAddress("b@x.fr", NOW, "bounce", "5.2.1 é\ufffd", later)}
    await do(stores, lambda tx: store.reopen(tx, ["b@x.fr", "nobody@x.fr"]))
    assert await do(stores, lambda tx: store.closed(tx, ["b@x.fr"])) == {} == await do(stores, lambda tx: store.closed(tx, []))
    await do(stores, lambda tx: store.forget(tx, later))
    assert await do(stores, lambda tx: store.closed(tx, ["c@x.fr"])) == {}


async def test_counts_add_up_for_mailboxes_that_exist(stores: Stores) -> None:
    store, home = stores.exchanges, await box(stores)
    first = Exchange(home, "b@x.fr", 1, 0, NOW)
    await do(stores, lambda tx: store.add(tx, [first, Exchange(999_999, "b@x.fr", 1, 0, NOW), Exchange(home, "c@x.fr", 0, 2, NOW)]))
    later = NOW + timedelta(minutes=1)
    await do(stores, lambda tx: store.add(tx, [Exchange(home, "b@x.fr", 2, 3, later)]))
    wanted = [Exchange(home, "b@x.fr", 3, 3, later), Exchange(home, "c@x.fr", 0, 2, NOW)]
    assert await do(stores, lambda tx: store.correspondents(tx, home)) == wanted
    assert await do(stores, lambda tx: store.correspondents(tx, home, limit=1)) == wanted[:1]
    await do(stores, lambda tx: store.add(tx, []))
    await do(stores, lambda tx: store.forget(tx, later))
    assert await do(stores, lambda tx: store.correspondents(tx, home)) == wanted[:1]


async def test_few_statements(stores: Stores, engine: Any) -> None:
    home = await box(stores)
    rows = [Exchange(home, f"{rank}@x.fr", 1, 0, NOW) for rank in range(128)]
    ran = await do(stores, lambda tx: engine.count(tx, lambda again: stores.exchanges.add(again, rows)))
    assert len(ran) <= 3
    ran = await do(stores, lambda tx: engine.count(tx, lambda again: stores.exchanges.close(
        again, [replace(CLOSED, address=f"{rank}@x.fr") for rank in range(128)])))
    assert len(ran) <= 2
