"""Contract of LifeStore: rows in place, mailboxes that are gone, few statements, erasing in bounded parts, release."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

from support.storage_values import NOW, accept, filed, make_mailboxes

from mssante.model.mailbox import MailboxState
from mssante.model.mailbox_rules import Life
from mssante.storage.interfaces import Stores
from mssante.storage.life import Profile


async def do(stores: Stores, unit: Callable[[Any], Any]) -> Any:
    return await stores.database.write(unit)


async def test_rows_are_written_in_place(stores: Stores) -> None:
    one, two = await make_mailboxes(stores, 2)
    profile = Profile(one.id, "Cardiologie é", "d", "r", "1990000001", "c@x.fr", True, 2)
    life = Life(one.id, "closed", NOW, NOW, 2, NOW, NOW + timedelta(days=1), NOW + timedelta(days=2), "because", "b@x.fr", 80)
    gone = 999_999
    await do(stores, lambda tx: stores.life.put_profiles(tx, [profile, Profile(gone)], NOW))
    await do(stores, lambda tx: stores.life.put_lives(tx, [life, replace(life, mailbox_id=gone)]))
    assert await do(stores, lambda tx: stores.life.profiles(tx, [one.id, two.id, gone])) == {one.id: profile}
    assert await do(stores, lambda tx: stores.life.lives(tx, [one.id, two.id, gone])) == {one.id: life}
    changed = replace(life, state="active", reason="", hold_until=None, successor="")
    await do(stores, lambda tx: stores.life.put_lives(tx, [changed]))
    await do(stores, lambda tx: stores.life.tell_quota(tx, {one.id: 95, two.id: 80}))
    assert await do(stores, lambda tx: stores.life.lives(tx, [one.id])) == {one.id: replace(changed, quota_warned=95)}
    await do(stores, lambda tx: stores.life.set_holder(tx, two.id, holder_id="h", display_name="n"))
    (read,) = await do(stores, lambda tx: stores.accounts.mailboxes_by_id(tx, [two.id]))
    assert (read.holder_id, read.display_name) == ("h", "n")
    assert [box.id for box in await do(stores, lambda tx: stores.life.page(tx, 0, 1))] == [one.id]
    assert [box.id for box in await do(stores, lambda tx: stores.life.page(tx, one.id, 9))] == [two.id]


async def test_fillings(stores: Stores) -> None:
    one, _ = await make_mailboxes(stores, 2)
    await do(stores, lambda tx: stores.accounts.set_quota(tx, one.address, octets=0, messages=4))
    await accept(stores, filed(one.inbox_id, "a"), filed(one.inbox_id, "b"))
    (found,) = await do(stores, lambda tx: stores.life.fillings(tx, 0, 10))
    assert (found.mailbox.address, found.used.messages, found.told) == (one.address, 2, 0) and found.used.octets > 0
    assert await do(stores, lambda tx: stores.life.fillings(tx, one.id, 10)) == []


async def test_erasing_in_parts_leaves_the_neighbour(stores: Stores) -> None:
    one, two = await make_mailboxes(stores, 2)
    await accept(stores, *[filed(one.inbox_id, f"m{rank}") for rank in range(7)], filed(two.inbox_id, "other"))
    await do(stores, lambda tx: stores.life.put_profiles(tx, [Profile(one.id, "s"), Profile(two.id, "s")], NOW))
    counts = [await do(stores, lambda tx: stores.life.erase(tx, one.id, 3)) for _ in range(5)]
    assert counts == [3, 3, 1, 0, 0]
    assert await do(stores, lambda tx: stores.folders.of_mailbox(tx, one.id)) == []
    assert (await do(stores, lambda tx: stores.messages.usage(tx, two.id))).messages == 1
    assert list(await do(stores, lambda tx: stores.life.profiles(tx, [one.id, two.id]))) == [two.id]
    await do(stores, lambda tx: stores.messages.sweep(tx, 100))
    assert await do(stores, lambda tx: stores.messages.by_trace(tx, "m0")) == []
    assert len(await do(stores, lambda tx: stores.messages.by_trace(tx, "other"))) == 1
    assert [box.address for box in await do(stores, lambda tx: stores.accounts.mailboxes_by_id(tx, [one.id]))] == [one.address]


async def test_only_purged_mailboxes_are_released(stores: Stores) -> None:
    one, two = await make_mailboxes(stores, 2)
    await do(stores, lambda tx: stores.accounts.set_mailbox_state(tx, one.address, MailboxState.PURGED))
    assert await do(stores, lambda tx: stores.life.count(tx)) == 1
    assert await do(stores, lambda tx: stores.life.release(tx, [one.id, two.id])) == 1 and await do(
        stores, lambda tx: stores.life.release(tx, [])) == 0
    assert [box.id for box in await do(stores, lambda tx: stores.life.page(tx, 0, 9))] == [two.id]


async def test_few_statements(stores: Stores, engine: Any) -> None:
    boxes = await make_mailboxes(stores, 128)
    lives = [Life(box.id, "active", NOW, NOW) for box in boxes]
    for unit in (lambda tx: stores.life.put_lives(tx, lives), lambda tx: stores.life.lives(tx, [box.id for box in boxes]),
                 lambda tx: stores.life.put_profiles(tx, [Profile(box.id) for box in boxes], NOW),
                 lambda tx: stores.life.tell_quota(tx, {box.id: 80 for box in boxes})):
        ran = await do(stores, lambda tx, unit=unit: engine.count(tx, unit))
        assert len(ran) <= 3
