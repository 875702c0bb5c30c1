"""Contract of DelegationStore: delegations with dates, aliases, first readings, links."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from support.storage_values import NOW, accept, filed, make_mailboxes

from mssante.model.delegation import Alias, NewDelegation, Right
from mssante.model.mailbox import Mailbox, MailboxType
from mssante.storage.delegations import FirstReading, Link
from mssante.storage.interfaces import Account, NewMailbox, Stores

DAY = timedelta(days=1)
FULL = frozenset((Right.OPEN, Right.SEND))
READ = frozenset((Right.READ,))


async def do(stores: Stores, unit: Callable[[Any], Any]) -> Any:
    return await stores.database.write(unit)


async def people(stores: Stores) -> tuple[list[Mailbox], list[Account]]:
    boxes = await make_mailboxes(stores, 3)
    accounts = await do(stores, lambda tx: stores.accounts.create_accounts(tx, [
        (name, "x", (box.id,)) for name, box in zip(("zero", "one", "two"), boxes, strict=True)]))
    return boxes, accounts


async def test_delegations_are_given_replaced_taken_and_own_mailboxes_stay(stores: Stores) -> None:
    boxes, (zero, one, two) = await people(stores)
    given = await do(stores, lambda tx: stores.delegations.give(tx, [
        NewDelegation(one.id, boxes[0].id, FULL, None, NOW + DAY, "cli:x"), NewDelegation(two.id, boxes[0].id, READ, NOW),
        NewDelegation(zero.id, boxes[0].id, READ)]))  # its own: left as it is
    assert given == 2
    found = await do(stores, lambda tx: stores.delegations.of_mailboxes(tx, [boxes[0].id]))
    assert [(each.login, each.own, each.rights, each.since, each.until, each.granted_by) for each in found] == [
        ("zero", True, FULL, None, None, ""), ("one", False, FULL, None, NOW + DAY, "cli:x"), ("two", False, READ, NOW, None, "")]
    await do(stores, lambda tx: stores.delegations.give(tx, [NewDelegation(one.id, boxes[0].id, READ)]))
    (own, other) = await do(stores, lambda tx: stores.delegations.of_account(tx, one.id))
    assert (own.own, other.rights, other.until) == (True, READ, None)
    assert await do(stores, lambda tx: stores.delegations.counts(tx, [box.id for box in boxes])) == {boxes[0].id: 2}
    assert await do(stores, lambda tx: stores.delegations.take(tx, [(zero.id, boxes[0].id), (two.id, boxes[0].id)])) == 1
    assert await do(stores, lambda tx: stores.delegations.take_all(tx, [zero.id, one.id])) == 1
    assert [each.login for each in await do(stores, lambda tx: stores.delegations.of_mailboxes(
        tx, [boxes[0].id]))] == ["zero"]
    with pytest.raises(LookupError):
        await do(stores, lambda tx: stores.delegations.give(tx, [NewDelegation(one.id, 10**6, READ)]))


async def test_many_members_cost_a_fixed_number_of_statements(engine: Any) -> None:
    stores = engine.open()
    boxes, _ = await people(stores)

    async def cost(count: int) -> int:
        made = await do(stores, lambda tx: stores.accounts.create_mailboxes(
            tx, [NewMailbox(f"m{count}-{n}@a.mssante.fr", MailboxType.PER, NOW) for n in range(count)]))
        accounts = await do(stores, lambda tx: stores.accounts.create_accounts(
            tx, [(box.address, "x", (box.id,)) for box in made]))
        grants = [NewDelegation(account.id, boxes[0].id, FULL) for account in accounts]
        return len(await do(stores, lambda tx: engine.count(tx, lambda inner: stores.delegations.give(inner, grants))))

    assert await cost(64) == await cost(2) <= 6


async def test_a_login_without_own_mailbox_has_none(stores: Stores) -> None:
    boxes, (_, one, _) = await people(stores)
    await do(stores, lambda tx: stores.accounts.create_accounts(tx, [("nobody", "x", ())]))
    person = (await do(stores, lambda tx: stores.delegations.people(tx, ["Nobody", "absent"])))["nobody"]
    assert person.own == 0
    await do(stores, lambda tx: stores.delegations.give(tx, [NewDelegation(person.account_id, boxes[0].id, FULL)]))
    found = await do(stores, lambda tx: stores.accounts.account_by_login(tx, "nobody"))
    assert found.mailbox_ids == (), "what it opens for others must not pass for its own"
    await do(stores, lambda tx: stores.delegations.rename_login(tx, one.id, "UNE"))
    assert await do(stores, lambda tx: stores.accounts.account_by_login(tx, "une")) is not None
    with pytest.raises(ValueError, match="zero"):
        await do(stores, lambda tx: stores.delegations.rename_login(tx, one.id, "zero"))


async def test_an_address_is_one_mailbox(stores: Stores) -> None:
    boxes, _ = await people(stores)
    alias = Alias("secretariat@a.mssante.fr", boxes[0].id, boxes[0].address, NOW, NOW + DAY)
    await do(stores, lambda tx: stores.delegations.add_alias(tx, alias))
    assert await do(stores, lambda tx: stores.delegations.resolve(tx, ["SECRETARIAT@a.mssante.fr", "x@a.mssante.fr"])) == [alias]
    for address in (alias.address, boxes[1].address, boxes[0].address.upper()):
        with pytest.raises(ValueError, match="exists"):
            await do(stores, lambda tx, at=address: stores.delegations.add_alias(
                tx, Alias(at, boxes[1].id, boxes[1].address, NOW)))
    with pytest.raises(ValueError, match="secretariat"):
        await do(stores, lambda tx: stores.accounts.create_mailboxes(
            tx, [NewMailbox("Secretariat@a.mssante.fr", MailboxType.PER, NOW)]))
    assert await do(stores, lambda tx: stores.delegations.aliases(tx, boxes[1].id)) == []
    assert await do(stores, lambda tx: stores.delegations.remove_alias(tx, alias.address.upper()))
    assert not await do(stores, lambda tx: stores.delegations.remove_alias(tx, alias.address))


async def test_the_first_reading_counts(stores: Stores) -> None:
    boxes, (zero, one, _) = await people(stores)
    first, second = await accept(stores, filed(boxes[0].inbox_id, "m1"), filed(boxes[0].inbox_id, "m2"))
    rows = [FirstReading(boxes[0].id, first, zero.id, NOW), FirstReading(boxes[0].id, first, one.id, NOW + DAY),
            FirstReading(boxes[0].id, second, one.id, NOW), FirstReading(10**6, first, one.id, NOW)]
    for later in (timedelta(0), DAY):
        await do(stores, lambda tx, by=later: stores.delegations.note_readings(
            tx, [FirstReading(row.mailbox_id, row.message_id, row.account_id, row.first_at + by) for row in rows]))
    found = await do(stores, lambda tx: stores.delegations.readings(tx, boxes[0].id))
    assert sorted((each.login, each.message_key, each.first_at) for each in found) == [
        ("one", "<m1@a.mssante.fr>", NOW + DAY), ("one", "<m2@a.mssante.fr>", NOW), ("zero", "<m1@a.mssante.fr>", NOW)]
    (only,) = await do(stores, lambda tx: stores.delegations.readings(
        tx, boxes[0].id, message_key="<m1@a.mssante.fr>", since=NOW + DAY))
    assert (only.login, only.trace_id) == ("one", "m1")


async def test_links_are_written_found_dropped(stores: Stores) -> None:
    links = [Link("scim", f"id{n}", n, 0, "d", '{"a": 1}', n % 2 == 0, NOW, NOW) for n in range(1, 4)]
    await do(stores, lambda tx: stores.delegations.put_links(tx, links))
    await do(stores, lambda tx: stores.delegations.put_links(tx, [Link("ldap", "id1", 1, 5, "e", "{}", True, NOW, NOW)]))
    assert await do(stores, lambda tx: stores.delegations.links(tx, "scim")) == links
    assert [one.mailbox_id for one in await do(stores, lambda tx: stores.delegations.find_links(tx, "ldap", ["id1"]))] == [5]
    assert {one.source for one in await do(stores, lambda tx: stores.delegations.link_of_accounts(tx, [1]))} == {"scim", "ldap"}
    assert await do(stores, lambda tx: stores.delegations.drop_links(tx, "scim", ["id1", "id2", "none"])) == 2
    with pytest.raises(ValueError, match="long"):
        await do(stores, lambda tx: stores.delegations.put_links(tx, [Link("scim", "x", 0, 0, "", "x" * 70_000, True, NOW, NOW)]))
