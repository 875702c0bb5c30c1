"""Contract of CitizenStore: an exchange opens, grows, closes and opens again; codes are used once; few statements."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

from support.storage_values import NOW

from mssante.storage.citizen import CODE, SESSION, CitizenExchange, CitizenLogin, CitizenMessage, Closing
from mssante.storage.interfaces import Stores

FIRST = CitizenMessage(7, "<a@x.fr>", "ins-1", "<a@x.fr>", "T1", NOW)
LATER = NOW + timedelta(hours=1)


async def do(stores: Stores, unit: Callable[[Any], Any]) -> Any:
    return await stores.database.write(unit)


async def test_an_exchange_opens_grows_closes_and_opens_again(stores: Stores) -> None:
    store = stores.citizens
    assert await do(stores, lambda tx: store.record(tx, FIRST, contact="a@x.fr", outgoing=True))
    assert not await do(stores, lambda tx: store.record(tx, FIRST, contact="b@x.fr", outgoing=True)), "known: nothing is written"
    answer = replace(FIRST, reference="<b@y.fr>", trace_id="T2", at=LATER)
    assert await do(stores, lambda tx: store.record(tx, answer, contact="", outgoing=False))
    wanted = CitizenExchange(7, "ins-1", "<a@x.fr>", "a@x.fr", NOW, LATER, None, "", 1, 1)
    assert await do(stores, lambda tx: store.exchanges(tx, 7)) == [wanted]
    assert await do(stores, lambda tx: store.messages(tx, 7, ["<b@y.fr>", "<a@x.fr>", "<no@x>"])) == [answer, FIRST]
    assert await do(stores, lambda tx: store.messages(tx, 8, ["<a@x.fr>"])) == [] == await do(
        stores, lambda tx: store.messages(tx, 7, []))
    assert await do(stores, lambda tx: store.close(tx, 7, Closing(LATER, "fin", ("<a@x.fr>",)))) == 1
    closed = await do(stores, lambda tx: store.exchanges(tx, 7, citizen="ins-1"))
    assert closed == [replace(wanted, closed_at=LATER, closed_by="fin")]
    again = replace(FIRST, reference="<c@x.fr>", at=LATER + timedelta(hours=1))
    await do(stores, lambda tx: store.record(tx, again, contact="service@x.fr", outgoing=True))
    (found,) = await do(stores, lambda tx: store.exchanges(tx, 7, contact="service@x.fr"))
    assert found.closed_at is None and found.sent == 2


async def test_closing_by_contact_or_citizen_and_not_twice(stores: Stores) -> None:
    store = stores.citizens
    for rank, contact in enumerate(("a@x.fr", "a@x.fr", "b@x.fr")):
        one = replace(FIRST, reference=f"<{rank}@x.fr>", thread=f"<{rank}@x.fr>")
        await do(stores, lambda tx, one=one, contact=contact: store.record(tx, one, contact=contact, outgoing=False))
    assert await do(stores, lambda tx: store.close(tx, 7, Closing(LATER, "fin", contacts=("a@x.fr", "z@x.fr")))) == 2
    assert await do(stores, lambda tx: store.close(tx, 7, Closing(LATER, "fin", citizen="ins-1"))) == 1
    assert await do(stores, lambda tx: store.close(tx, 7, Closing(LATER, "fin", citizen="ins-1"))) == 0
    assert await do(stores, lambda tx: store.close(tx, 8, Closing(LATER, "fin", citizen="ins-1"))) == 0


async def test_a_cause_is_written_once_and_old_rows_are_forgotten(stores: Stores) -> None:
    store = stores.citizens
    await do(stores, lambda tx: store.record(tx, FIRST, contact="a@x.fr", outgoing=True))
    assert await do(stores, lambda tx: store.came_back(tx, 7, "<a@x.fr>", "closed"))
    assert not await do(stores, lambda tx: store.came_back(tx, 7, "<a@x.fr>", "unknown"))
    (found,) = await do(stores, lambda tx: store.messages(tx, 7, ["<a@x.fr>"]))
    assert found.cause == "closed"
    assert await do(stores, lambda tx: store.forget(tx, NOW)) == 0
    assert await do(stores, lambda tx: store.forget(tx, LATER)) == 1
    assert await do(stores, lambda tx: store.messages(tx, 7, ["<a@x.fr>"])) == []


async def test_a_code_opens_once_and_a_session_ends(stores: Stores) -> None:
    store = stores.citizens
    await do(stores, lambda tx: store.put_login(tx, CitizenLogin("d1", CODE, 7, NOW, LATER)))
    await do(stores, lambda tx: store.put_login(tx, CitizenLogin("d2", SESSION, 7, NOW, LATER)))
    assert await do(stores, lambda tx: store.use_code(tx, "d1", LATER)) is None
    assert (await do(stores, lambda tx: store.use_code(tx, "d1", NOW))).mailbox_id == 7
    assert await do(stores, lambda tx: store.use_code(tx, "d1", NOW)) is None, "once"
    assert await do(stores, lambda tx: store.use_code(tx, "d2", NOW)) is None, "a session is no code"
    assert await do(stores, lambda tx: store.session(tx, "d1", NOW)) is None, "a code is no session"
    assert (await do(stores, lambda tx: store.session(tx, "d2", NOW))).mailbox_id == 7
    assert await do(stores, lambda tx: store.session(tx, "d2", LATER)) is None
    await do(stores, lambda tx: store.end_session(tx, "d2"))
    assert await do(stores, lambda tx: store.session(tx, "d2", NOW)) is None


async def test_few_statements(stores: Stores, engine: Any) -> None:
    ran = await do(stores, lambda tx: engine.count(tx, lambda again: stores.citizens.record(
        again, FIRST, contact="a@x.fr", outgoing=True)))
    assert len(ran) <= 5
