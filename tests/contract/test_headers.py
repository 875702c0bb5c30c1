"""Contract of MessageStore.headers and header_blocks."""

from __future__ import annotations

from support.storage_values import NOW, accept, filed, make_mailboxes

from mssante.storage.interfaces import Stores


async def test_headers_come_without_bodies(stores: Stores) -> None:
    (box,) = await make_mailboxes(stores)
    first, second = await accept(stores, filed(box.inbox_id, "a", subject="Bilan", in_reply_to="<x@y> <z@y>"), filed(box.inbox_id, "b"))
    found = {row.id: row for row in await stores.database.read(lambda tx: stores.messages.headers(tx, [second, first, 999_999]))}
    assert set(found) == {first, second}
    one = found[first]
    assert (one.subject, one.message_id, one.references, one.envelope) == ("Bilan", "<a@a.mssante.fr>", "<x@y> <z@y>", b"(envelope)")
    assert one.sent == int(NOW.timestamp()) * 1_000_000 + NOW.microsecond
    assert await stores.database.read(lambda tx: stores.messages.headers(tx, [])) == []


async def test_header_blocks_are_cut_before_the_body(stores: Stores) -> None:
    (box,) = await make_mailboxes(stores)
    (one,) = await accept(stores, filed(box.inbox_id, "a"))
    (block,) = await stores.database.read(lambda tx: stores.messages.header_blocks(tx, [one, 999_999]))
    assert block == (one, b"Received: by test\r\n", b"Bo", None, 2)  # the stage says that the header has two octets
    assert await stores.database.read(lambda tx: stores.messages.header_blocks(tx, [])) == []


async def test_statements_do_not_grow_with_messages(stores: Stores, engine) -> None:  # type: ignore[no-untyped-def]
    (box,) = await make_mailboxes(stores)
    ids = await accept(stores, *[filed(box.inbox_id, f"m{number}") for number in range(300)])
    for unit in (stores.messages.headers, stores.messages.header_blocks):
        counted = await stores.database.read(lambda tx, unit=unit: engine.count(tx, lambda inner: unit(inner, ids)))
        assert len(counted) == 1
