"""Contract of QueueStore."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from support.storage_values import NOW, accept, event, filed, make_mailboxes, queued

from mssante.storage.interfaces import Claim, QueueBatch, SettledBatch, Settlement, Stores

LEASE = timedelta(minutes=10)


async def claim(stores: Stores, now: datetime = NOW, *, limit: int = 100, busy: tuple[str, ...] = (),
                owner: str = "me") -> list[QueueBatch]:
    asked = Claim(now, limit, frozenset(busy), owner, now + LEASE)
    return await stores.database.write(lambda tx: stores.queue.claim(tx, asked))


async def settle(stores: Stores, batch: QueueBatch, state: str, due: datetime | None = None, **more: Any) -> Any:
    item = SettledBatch(tuple(Settlement(one[0], batch.queue_id, state, due, "451 later") for one in batch.recipients),
                        **more)
    return await stores.database.write_many(stores.queue.settle, item)


async def test_claim_groups_by_message_and_destination_oldest_first(stores: Stores) -> None:
    await accept(stores, queued("a@b.fr", "b@b.fr", "c@c.fr", name="one"), queued("d@b.fr", name="two"))
    batches = await claim(stores)
    assert [(one.trace_id, one.destination, [two[1].address for two in one.recipients]) for one in batches] == [
        ("one", "b.fr", ["a@b.fr", "b@b.fr"]), ("one", "c.fr", ["c@c.fr"]), ("two", "b.fr", ["d@b.fr"])]
    first = batches[0]
    assert (first.sender, first.ret, first.envid, first.smtputf8, first.created_at, first.expires_at) == (
        "x@a.mssante.fr", "HDRS", "env", False, NOW, NOW + timedelta(days=2))
    assert (first.recipients[0][1].notify, first.recipients[0][1].orcpt, first.recipients[0][2]) == (
        "FAILURE", "rfc822;a@b.fr", 1)
    assert await claim(stores) == []
    assert await claim(stores, NOW + LEASE - timedelta(microseconds=1)) == []


async def test_claim_skips_busy_destinations_and_obeys_the_limit(stores: Stores) -> None:
    await accept(stores, *[queued(f"a@d{number}.fr", name=f"m{number}") for number in range(5)])
    assert [one.destination for one in await claim(stores, limit=2, busy=("d0.fr", "d2.fr"))] == ["d1.fr", "d3.fr"]
    assert [one.destination for one in await claim(stores)] == ["d0.fr", "d2.fr", "d4.fr"]


async def test_a_message_with_many_recipients_does_not_hide_the_next(stores: Stores) -> None:
    await accept(stores, queued(*[f"r{number}@b.fr" for number in range(300)], name="wide"), queued("x@c.fr", name="next"))
    (wide,) = await claim(stores, limit=2)
    assert len(wide.recipients) == 300
    assert [one.destination for one in await claim(stores, limit=2)] == ["c.fr"]


async def test_a_crash_costs_one_lease(stores: Stores) -> None:
    await accept(stores, queued("a@b.fr"))
    (first,) = await claim(stores)
    (again,) = await claim(stores, NOW + LEASE)
    assert (first.recipients[0][2], again.recipients[0][2]) == (1, 2)
    assert await stores.database.write(lambda tx: stores.queue.release_leases(tx, "other", NOW)) == 0
    assert await stores.database.write(lambda tx: stores.queue.release_leases(tx, "me", NOW)) == 1
    (third,) = await claim(stores, NOW)
    assert third.recipients[0][2] == 3


async def test_an_entry_leased_at_acceptance_is_not_claimed(stores: Stores) -> None:
    (done,) = await stores.database.write(lambda tx: stores.messages.accept(tx, [queued("a@b.fr", "b@c.fr", lease="me")]))
    assert done.queue_id and len(done.queue_recipient_ids) == 2
    assert await claim(stores) == []
    assert await stores.database.read(stores.queue.next_due) == NOW + timedelta(minutes=10)
    await stores.database.write_many(stores.queue.settle, SettledBatch(
        (Settlement(done.queue_recipient_ids[0], done.queue_id, "delivered"),)))
    (late,) = await claim(stores, NOW + LEASE)
    assert [(one[0], one[2]) for one in late.recipients] == [(done.queue_recipient_ids[1], 2)]


async def test_settle_records_each_outcome(stores: Stores) -> None:
    (message_id,) = await accept(stores, queued("a@b.fr", "b@c.fr", "c@d.fr"))
    first, second, third = await claim(stores)
    await settle(stores, first, "delivered", events=(event("out", reply="250"),))
    await settle(stores, second, "failed")
    later = NOW + timedelta(hours=1)
    await settle(stores, third, "queued", later, delay_notified=True)
    (left,) = await stores.database.read(stores.queue.items)
    assert (left.address, left.state, left.attempts, left.next_attempt_at, left.last_reply, left.message_id) == (
        "c@d.fr", "queued", 1, later, "451 later", message_id)
    assert await stores.database.read(stores.queue.next_due) == later
    assert len(await stores.database.read(lambda tx: stores.journal.by_trace(tx, "out"))) == 1
    (again,) = await claim(stores, later)
    assert again.delay_notified
    await settle(stores, again, "delivered")
    assert await stores.database.read(stores.queue.depth) == {}
    assert await stores.database.read(stores.queue.next_due) is None
    await stores.database.write(lambda tx: stores.messages.sweep(tx, 10))
    assert await stores.database.read(lambda tx: stores.messages.contents(tx, [message_id], with_body=False)) == []


async def test_settle_files_its_reports_in_the_same_unit(stores: Stores) -> None:
    (box,) = await make_mailboxes(stores)
    await accept(stores, queued("a@b.fr"), queued("b@c.fr", name="two"))
    first, second = await claim(stores)
    reports = (filed(box.inbox_id, "dsn"), queued("x@e.fr", name="dsn2", sender=""))
    (accepted,) = await stores.database.write(lambda tx: stores.queue.settle(tx, [SettledBatch(
        (Settlement(first.recipients[0][0], first.queue_id, "failed"),), (event("out"),), reports)]))
    assert ([at.uid for at in accepted[0].filed], bool(accepted[1].queue_id)) == ([1], True)
    assert await settle(stores, second, "delivered") == ()
    assert [one.address for one in await stores.database.read(stores.queue.items)] == ["x@e.fr"]


@pytest.mark.parametrize("wrong", [Settlement(1, 1, "gone"), Settlement(1, 1, "queued")])
async def test_wrong_settlements_change_nothing(stores: Stores, wrong: Settlement) -> None:
    await accept(stores, queued("a@b.fr"))
    with pytest.raises(ValueError, match="settlement"):
        await stores.database.write_many(stores.queue.settle, SettledBatch((wrong,), (event("out"),)))
    assert await stores.database.read(lambda tx: stores.journal.by_trace(tx, "out")) == []


async def test_settling_what_was_cancelled_is_no_fault(stores: Stores) -> None:
    await accept(stores, queued("a@b.fr"))
    (batch,) = await claim(stores)
    assert await stores.database.write(lambda tx: stores.queue.change(tx, "cancel", NOW)) == 1
    await settle(stores, batch, "queued", NOW)
    await settle(stores, batch, "delivered")
    assert await stores.database.read(stores.queue.items) == []


async def test_hold_release_retry_cancel(stores: Stores) -> None:
    await accept(stores, queued("a@b.fr", "b@c.fr", name="one"), queued("c@b.fr", name="two"))
    queue = stores.queue
    items = await stores.database.read(queue.items)

    async def change(action: str, at: datetime = NOW, **scope: Any) -> int:
        return await stores.database.write(lambda tx: queue.change(tx, action, at, **scope))

    assert await change("hold", destination="b.fr") == 2
    assert await stores.database.read(queue.depth) == {"held": 2, "queued": 1}
    assert [one.destination for one in await claim(stores)] == ["c.fr"]
    assert await change("retry") == 0  # two are held, one is being tried just now
    assert await change("release", queue_id=items[0].queue_id, destination="b.fr") == 1
    assert [one.recipients[0][1].address for one in await claim(stores)] == ["a@b.fr"]
    assert await change("hold", queue_id=items[0].queue_id) == 2
    assert await change("release", NOW, queue_id=items[0].queue_id) == 2
    assert await claim(stores) == []  # released, but their leases still run
    assert await change("retry", NOW + LEASE) == 2
    assert await change("cancel", destination="b.fr") == 2
    assert [one.address for one in await stores.database.read(queue.items)] == ["b@c.fr"]
    assert await stores.database.read(lambda tx: queue.items(tx, destination="b.fr")) == []
    with pytest.raises(ValueError, match="action"):
        await change("burn")


async def test_a_held_recipient_stays_held_when_its_attempt_ends(stores: Stores) -> None:
    await accept(stores, queued("a@b.fr"))
    (batch,) = await claim(stores)
    await stores.database.write(lambda tx: stores.queue.change(tx, "hold", NOW))
    await settle(stores, batch, "queued", NOW)
    assert await claim(stores) == []
    assert await stores.database.read(stores.queue.depth) == {"held": 1}


async def test_items_are_oldest_first_and_bounded(stores: Stores) -> None:
    await accept(stores, queued("a@b.fr", "b@c.fr", name="one"), queued("c@b.fr", name="two"))
    items = await stores.database.read(lambda tx: stores.queue.items(tx, limit=2))
    assert [(one.address, one.trace_id, one.state, one.attempts, one.size) for one in items] == [
        ("a@b.fr", "one", "queued", 0, 28), ("b@c.fr", "one", "queued", 0, 28)]
    assert [one.address for one in await stores.database.read(
        lambda tx: stores.queue.items(tx, destination="b.fr"))] == ["a@b.fr", "c@b.fr"]


async def test_statements_do_not_grow_with_recipients(engine: Any, stores: Stores) -> None:
    def work(tx: Any, total: int) -> dict[str, int]:
        stores.messages.accept(tx, [queued(f"r{number}@d{number % 7}.fr", name=f"m{number}") for number in range(total)])
        found: list[QueueBatch] = []
        asked = Claim(NOW, total, frozenset({"busy.fr"}), "me", NOW + LEASE)
        claims = engine.count(tx, lambda t: found.extend(stores.queue.claim(t, asked)))
        assert len(found) == total
        items = [SettledBatch((Settlement(one.recipients[0][0], one.queue_id, "delivered" if place % 2 else "queued",
                                          NOW + LEASE),)) for place, one in enumerate(found)]
        settles = engine.count(tx, lambda t: stores.queue.settle(t, items))
        left = engine.count(tx, lambda t: stores.queue.change(t, "cancel", NOW))
        return {"claim": len(claims), "settle": len(settles), "cancel": len(left)}

    few = await stores.database.write(lambda tx: work(tx, 128))
    many = await stores.database.write(lambda tx: work(tx, 1024))
    assert many["claim"] == few["claim"] == 3
    assert few["settle"] <= 5 and many["settle"] <= few["settle"] + 1024 // 2 // 64
    assert few["cancel"] <= 4 and many["cancel"] <= few["cancel"] + 1024 // 2 // 64
