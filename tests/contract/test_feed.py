"""Contract of FeedStore: arrivals by row id with all their mailboxes, what is present, signatures."""

from __future__ import annotations

from typing import Any

from support.storage_values import NOW, accept, filed, make_mailboxes, new_message, queued

from mssante.model.message import Flags
from mssante.storage.interfaces import Acceptance, Filing, FlagChange, Stores
from mssante.storage.search import Arrival


async def arrivals(stores: Stores, mark: int, limit: int = 100) -> list[Arrival]:
    return await stores.database.read(lambda tx: stores.feed.arrivals(tx, mark, limit))


async def test_an_empty_store_has_nothing(stores: Stores) -> None:
    assert await stores.database.read(stores.feed.newest) == 0
    assert await arrivals(stores, 0) == []
    assert await stores.database.read(lambda tx: stores.feed.lag(tx, 0, 10)) == 0
    assert await stores.database.read(lambda tx: stores.feed.signatures(tx)) == {}


async def test_arrivals_are_in_order_and_never_cut_from_a_mailbox(stores: Stores) -> None:
    first, second = await make_mailboxes(stores, 2)
    both = Acceptance(new_message("both"), (Filing(first.inbox_id), Filing(second.inbox_id)))
    ids = await accept(stores, filed(first.inbox_id, "a"), both, filed(second.inbox_id, "c"), queued("x@b.mssante.fr"))
    size = len(b"Received: by test\r\nBonjour\r\n")
    assert await arrivals(stores, 0) == [Arrival(ids[0], first.id, size), Arrival(ids[1], first.id, size),
                                         Arrival(ids[1], second.id, size), Arrival(ids[2], second.id, size)]
    assert [one.message_id for one in await arrivals(stores, 0, limit=2)] == [ids[0], ids[1], ids[1]]
    assert [one.message_id for one in await arrivals(stores, ids[1])] == [ids[2]]
    assert await arrivals(stores, ids[2]) == []
    assert await stores.database.read(stores.feed.newest) == ids[2]
    assert [await stores.database.read(lambda tx, at=at: stores.feed.lag(tx, at, 3)) for at in (0, ids[0], ids[2])] == [3, 3, 0]


async def test_present_follows_copies_and_expunges(stores: Stores) -> None:
    (box,) = await make_mailboxes(stores)
    ids = await accept(stores, filed(box.inbox_id, "a", Flags.DELETED), filed(box.inbox_id, "b"))
    folders = await stores.database.read(lambda tx: stores.folders.of_mailbox(tx, box.id))
    signatures = []

    async def look() -> list[int]:
        signatures.append((await stores.database.read(lambda tx: stores.feed.signatures(tx)))[box.id])
        return [one.message_id for one in await stores.database.read(lambda tx: stores.feed.present(tx, box.id))]

    assert await look() == ids
    await stores.database.write(lambda tx: stores.messages.set_flags(tx, box.inbox_id, [2], FlagChange("add", 1)))
    await look()
    assert signatures[0] == signatures[1]  # flags move nothing
    await stores.database.write(lambda tx: stores.messages.copy(tx, box.inbox_id, [1], folders[1].id, now=NOW))
    assert await look() == ids
    await stores.database.write(lambda tx: stores.messages.expunge(tx, box.inbox_id, None))
    assert await look() == ids  # the copy is flagged too, and still there
    await stores.database.write(lambda tx: stores.messages.expunge(tx, folders[1].id, None))
    assert await look() == ids[1:]
    assert len(set(signatures)) == 4
    assert await arrivals(stores, 0) == await stores.database.read(lambda tx: stores.feed.present(tx, box.id))


async def test_statements_are_bounded(stores: Stores, engine: Any) -> None:
    (box,) = await make_mailboxes(stores)
    await accept(stores, *[filed(box.inbox_id, f"m{number}") for number in range(50)])
    feed = stores.feed

    def unit(tx: Any) -> list[int]:
        return [len(engine.count(tx, work)) for work in (
            feed.newest, lambda tx: feed.lag(tx, 0, 10), lambda tx: feed.arrivals(tx, 0, 40),
            lambda tx: feed.present(tx, box.id), feed.signatures)]

    assert await stores.database.read(unit) == [1, 1, 2, 1, 1]
