"""Contract of InterfacingStore."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from support.storage_values import NOW

from mssante.storage.interfaces import Stores
from mssante.storage.interfacing import CLOSED, GIVEN, OPEN, REFUSED, RETRIED, Backlog, OutboxItem, RepairItem, TakenMessage

HOUR = timedelta(hours=1)
TAKEN = TakenMessage("dpi", "015", "f" * 64, "remise_1 remise_2", "T1 T2", b"MSH|\xe9", NOW)
ITEM = OutboxItem("dpi", "mdm", "C1", "mdm 7/1", b"MSH|\x00", 3, 7, "T", NOW, NOW)
REPAIR = RepairItem("dpi", 3, 7, "T", "902", "patient inconnu \0", OPEN, NOW, NOW)


async def write(stores: Stores, unit: Any) -> Any:
    return await stores.database.write(unit)


async def test_a_message_is_taken_once_for_each_interface(stores: Stores) -> None:
    port = stores.interfacing
    assert await stores.database.read(lambda tx: port.taken(tx, "dpi", "015"), quick=True) is None
    assert await write(stores, lambda tx: port.take(tx, TAKEN))
    assert not await write(stores, lambda tx: port.take(tx, replace(TAKEN, answer=b"other")))
    assert await write(stores, lambda tx: port.take(tx, replace(TAKEN, interface="ris")))
    assert await stores.database.read(lambda tx: port.taken(tx, "dpi", "015")) == TAKEN


async def test_the_outbox_keeps_order_and_references(stores: Stores) -> None:
    port = stores.interfacing
    second = replace(ITEM, reference="mdm 7/2", control_id="C2")
    given = await write(stores, lambda tx: [port.put(tx, one) for one in (ITEM, second, ITEM, replace(ITEM, interface="ris"))])
    assert given == [True, True, False, True]
    head = await stores.database.read(lambda tx: port.head(tx, "dpi"))
    assert replace(head, sequence=0) == ITEM
    await write(stores, lambda tx: port.attempted(tx, head.sequence, NOW + HOUR, "no answer"))
    again = await stores.database.read(lambda tx: port.head(tx, "dpi"))
    assert (again.attempts, again.next_attempt_at, again.detail, again.body) == (1, NOW + HOUR, "no answer", ITEM.body)
    assert await write(stores, lambda tx: (port.settle(tx, head.sequence, GIVEN, "AA"), port.settle(tx, head.sequence, GIVEN, ""))
                       ) == (True, False)
    assert (await stores.database.read(lambda tx: port.head(tx, "dpi"))).control_id == "C2"
    assert await stores.database.read(port.depth) == {"dpi": 1, "ris": 1}
    rows = await stores.database.read(lambda tx: port.of_message(tx, "dpi", 7))
    assert [(one.state, one.body, one.detail) for one in rows] == [(GIVEN, b"", "AA"), ("waiting", b"", "")]


async def test_what_waits_and_since_when(stores: Stores) -> None:
    port = stores.interfacing
    assert await stores.database.read(lambda tx: (port.backlog(tx), port.repairs_open(tx))) == ({}, {})
    second = replace(ITEM, reference="mdm 7/2", created_at=ITEM.created_at + HOUR)
    await write(stores, lambda tx: [port.put(tx, one) for one in (second, ITEM, replace(ITEM, interface="ris"))])
    head = await stores.database.read(lambda tx: port.head(tx, "ris"))
    await write(stores, lambda tx: (port.settle(tx, head.sequence, GIVEN, "AA"), port.add_repair(tx, REPAIR),
                                    port.add_repair(tx, replace(REPAIR, message_id=8, created_at=REPAIR.created_at + HOUR)),
                                    port.add_repair(tx, replace(REPAIR, message_id=9, state=CLOSED))))
    head = await stores.database.read(lambda tx: port.head(tx, "dpi"))
    await write(stores, lambda tx: port.attempted(tx, head.sequence, NOW + HOUR, ""))
    assert await stores.database.read(port.backlog) == {"dpi": Backlog(2, ITEM.created_at, 1)}
    assert await stores.database.read(port.repairs_open) == {REPAIR.interface: Backlog(2, REPAIR.created_at)}


async def test_lists_and_refused_rows_that_go(stores: Stores) -> None:
    port = stores.interfacing
    await write(stores, lambda tx: [port.put(tx, replace(ITEM, reference=f"mdm 7/{rank}")) for rank in range(3)])
    head = await stores.database.read(lambda tx: port.head(tx, "dpi"))
    await write(stores, lambda tx: port.settle(tx, head.sequence, REFUSED, "902"))
    assert [one.reference for one in await stores.database.read(lambda tx: port.items(tx, "dpi", state=REFUSED))] == ["mdm 7/0"]
    assert len(await stores.database.read(lambda tx: port.items(tx, limit=2))) == 2
    assert await stores.database.read(lambda tx: port.items(tx, "ris")) == []
    assert await write(stores, lambda tx: (port.drop_refused(tx, "dpi", 7), port.put(tx, replace(ITEM, reference="mdm 7/0")))
                       ) == (1, True)


async def test_the_repair_list(stores: Stores) -> None:
    port = stores.interfacing
    first = await write(stores, lambda tx: port.add_repair(tx, REPAIR))
    other = await write(stores, lambda tx: port.add_repair(tx, replace(REPAIR, message_id=8)))
    found = await stores.database.read(lambda tx: port.repair(tx, first))
    assert found == replace(REPAIR, id=first, detail="patient inconnu \ufffd")
    changed = replace(found, state=RETRIED, by="admin", note="corrigé", updated_at=NOW + HOUR)
    assert await write(stores, lambda tx: port.set_repair(tx, changed))
    assert await stores.database.read(lambda tx: port.repair(tx, first)) == changed
    assert [one.id for one in await stores.database.read(lambda tx: port.repairs(tx, OPEN))] == [other]
    assert await write(stores, lambda tx: port.add_repair(tx, REPAIR)) == first, "the same message is opened again"
    assert [one.id for one in await stores.database.read(lambda tx: port.repairs(tx, OPEN))] == [first, other]
    loose = [await write(stores, lambda tx: port.add_repair(tx, replace(REPAIR, message_id=0))) for _ in range(2)]
    assert loose[0] != loose[1], "what stands for no message has entries of its own"
    assert await stores.database.read(lambda tx: port.repair(tx, 999_999)) is None
    assert not await write(stores, lambda tx: port.set_repair(tx, replace(REPAIR, id=999_999)))


async def test_old_rows_are_forgotten_but_never_what_waits(stores: Stores) -> None:
    port = stores.interfacing
    await write(stores, lambda tx: (port.take(tx, TAKEN), port.put(tx, ITEM), port.put(tx, replace(ITEM, reference="w")),
                                    port.add_repair(tx, replace(REPAIR, state=CLOSED)),
                                    port.add_repair(tx, replace(REPAIR, message_id=8))))
    head = await stores.database.read(lambda tx: port.head(tx, "dpi"))
    await write(stores, lambda tx: port.settle(tx, head.sequence, GIVEN, ""))
    assert await write(stores, lambda tx: port.forget(tx, NOW)) == 0
    assert await write(stores, lambda tx: port.forget(tx, NOW + HOUR)) == 3
    assert await stores.database.read(port.depth) == {"dpi": 1}
    assert len(await stores.database.read(lambda tx: port.repairs(tx))) == 1
