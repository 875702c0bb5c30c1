"""Contract of HoldStore."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from support.storage_values import NOW, accept, queued

from mssante.model.hold import Hold, HoldCause
from mssante.storage.interfaces import Claim, Stores

HOUR = timedelta(hours=1)
PEER = Hold(HoldCause.PEER_CERTIFICATE, "b.fr", NOW, NOW + 96 * HOUR, True, "LB-SERVEUR")
ALL = Hold(HoldCause.LIST_TOO_OLD, "", NOW + HOUR, NOW + 97 * HOUR, False, "é\0")


async def write(stores: Stores, unit: Any) -> Any:
    return await stores.database.write(unit)


async def claim(stores: Stores, now: Any) -> list[tuple[str, Any]]:
    asked = Claim(now, 100, frozenset(), "me", now + HOUR)
    return [(one.destination, one.expires_at) for one in await write(stores, lambda tx: stores.queue.claim(tx, asked))]


async def test_one_hold_for_each_cause_and_domain_oldest_first(stores: Stores) -> None:
    assert await stores.database.read(stores.holds.all, quick=True) == []
    assert await write(stores, lambda tx: (stores.holds.put(tx, ALL), stores.holds.put(tx, PEER))) == (True, True)
    assert await write(stores, lambda tx: stores.holds.put(tx, replace(PEER, note="again"))) is False
    found = await stores.database.read(stores.holds.all, quick=True)
    assert [replace(one, id=0) for one in found] == [PEER, replace(ALL, note="é\ufffd")]
    assert len({one.id for one in found}) == 2


async def test_change_and_remove(stores: Stores) -> None:
    await write(stores, lambda tx: stores.holds.put(tx, PEER))
    assert await write(stores, lambda tx: stores.holds.change(tx, replace(PEER, until=NOW, note="released")))
    (found,) = await stores.database.read(stores.holds.all)
    assert (found.until, found.note, found.since) == (NOW, "released", NOW)
    assert await write(stores, lambda tx: stores.holds.remove(tx, PEER)) is True
    assert await write(stores, lambda tx: (stores.holds.remove(tx, PEER), stores.holds.change(tx, PEER))) == (False, False)


async def test_waiting_counts_by_destination_whatever_the_state(stores: Stores) -> None:
    await accept(stores, queued("a@b.fr", "b@b.fr", "c@c.fr"), queued("d@b.fr"))
    await write(stores, lambda tx: stores.queue.change(tx, "hold", NOW, destination="c.fr"))
    assert await stores.database.read(stores.holds.waiting) == {"b.fr": 3, "c.fr": 1}


async def test_let_go_makes_due_and_extends_in_two_statements(stores: Stores, engine: Any) -> None:
    await accept(stores, *[queued("a@b.fr", "b@c.fr", name=f"m{rank}") for rank in range(5)])
    await claim(stores, NOW)  # leased for an hour
    later, longer = NOW + 2 * HOUR, NOW + 100 * HOUR
    assert await write(stores, lambda tx: stores.holds.let_go(tx, "b.fr", NOW + HOUR / 2, longer)) == 0, "under lease"
    assert await claim(stores, NOW + HOUR / 2) == []
    seen = await write(stores, lambda tx: engine.count(tx, lambda inner: stores.holds.let_go(inner, "b.fr", later, longer)))
    assert len(seen) == 2
    assert {one for one in await claim(stores, later) if one[0] == "b.fr"} == {("b.fr", longer)}


async def test_let_go_of_all_never_shortens(stores: Stores) -> None:
    await accept(stores, queued("a@b.fr"), queued("b@c.fr"))
    assert await write(stores, lambda tx: stores.holds.let_go(tx, "", NOW + HOUR, NOW + 2 * HOUR)) == 2
    assert {expires for _, expires in await claim(stores, NOW + HOUR)} == {NOW + timedelta(days=2)}


async def test_nudge_makes_one_recipient_of_each_domain_due(stores: Stores) -> None:
    await accept(stores, queued("a@b.fr", name="one"), queued("b@b.fr", name="two"), queued("c@c.fr", name="three"))
    later = NOW + HOUR
    await claim(stores, NOW)
    await write(stores, lambda tx: stores.queue.release_leases(tx, "me", later + 10 * HOUR))
    assert await claim(stores, later) == []
    assert await write(stores, lambda tx: stores.holds.nudge(tx, ["b.fr", "c.fr", "d.fr"], later)) == 2
    assert sorted(one for one, _ in await claim(stores, later)) == ["b.fr", "c.fr"]
    assert await write(stores, lambda tx: stores.holds.nudge(tx, [], later)) == 0
