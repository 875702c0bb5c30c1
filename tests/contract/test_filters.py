"""Contract of FilterStore: scripts, the active one, what is told, who runs one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from support.storage_values import NOW

from mssante.model.mailbox import MailboxType
from mssante.storage.filters import ABSENCE, SieveScript
from mssante.storage.interfaces import NewMailbox, Stores


async def do(stores: Stores, unit: Callable[[Any], Any]) -> Any:
    return await stores.database.write(unit)


async def box(stores: Stores, address: str = "a@x.fr") -> int:
    made = await do(stores, lambda tx: stores.accounts.create_mailboxes(tx, [NewMailbox(address, MailboxType.PER, NOW)]))
    return int(made[0].id)


async def test_scripts_and_the_active_one(stores: Stores) -> None:
    store, mine, other = stores.filters, await box(stores), await box(stores, "b@x.fr")
    one, two = SieveScript("été", b"keep;\x00\xff", False, NOW), SieveScript("b", b"", False, NOW)
    for script in (one, two):
        await do(stores, lambda tx, script=script: store.put(tx, mine, script))
    await do(stores, lambda tx: store.put(tx, other, SieveScript(ABSENCE, b"x", True, NOW)))
    assert await do(stores, lambda tx: store.scripts(tx, mine)) == [two, one]
    before = await do(stores, store.running)
    assert set(before) == {other}
    later = NOW + timedelta(seconds=1)
    await do(stores, lambda tx: store.activate(tx, mine, "été", later))
    await do(stores, lambda tx: store.activate(tx, other, "", later))
    after = await do(stores, store.running)
    assert set(after) == {mine, other} and after[other] == before[other]
    assert [s.active for s in await do(stores, lambda tx: store.scripts(tx, mine))] == [False, True]
    await do(stores, lambda tx: store.activate(tx, mine, "b", later + timedelta(seconds=1)))
    assert (await do(stores, store.running))[mine] != after[mine]
    await do(stores, lambda tx: store.activate(tx, mine, "", later))
    assert set(await do(stores, store.running)) == {other}
    assert await do(stores, lambda tx: store.delete(tx, mine, "b")) and not await do(stores, lambda tx: store.delete(tx, mine, "b"))


async def test_what_was_told(stores: Stores) -> None:
    store, mine = stores.filters, await box(stores)
    assert await do(stores, lambda tx: store.told(tx, mine, "h", "s")) is None
    for at in (NOW, NOW + timedelta(days=1)):
        await do(stores, lambda tx, at=at: store.tell(tx, mine, "h", "s", at))
    await do(stores, lambda tx: store.tell(tx, mine, "g", "s", NOW))
    assert await do(stores, lambda tx: store.told(tx, mine, "h", "s")) == NOW + timedelta(days=1)
    assert [one[0] for one in await do(stores, lambda tx: store.telling(tx, mine))] == ["h", "g"]
    assert await do(stores, lambda tx: store.forget_told(tx, NOW + timedelta(hours=1))) == 1
    assert await do(stores, lambda tx: store.told(tx, mine, "g", "s")) is None
