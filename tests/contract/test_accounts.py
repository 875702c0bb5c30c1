"""Contract of AccountStore and TrustStore."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from support.storage_values import NOW, make_mailboxes

from mssante.model.mailbox import MailboxState, MailboxType
from mssante.storage.interfaces import NewMailbox, Stores, WhitelistVersion


async def test_mailboxes_are_found_by_address_and_id(stores: Stores) -> None:
    (made,) = await stores.database.write(lambda tx: stores.accounts.create_mailboxes(tx, [NewMailbox(
        "Cabinet@a.mssante.fr", MailboxType.CAB, NOW, MailboxState.PUBLISHED, "10001", "Cabinet", 5000)]))
    assert (made.address, made.type, made.state, made.holder_id, made.display_name, made.quota_bytes) == (
        "cabinet@a.mssante.fr", MailboxType.CAB, MailboxState.PUBLISHED, "10001", "Cabinet", 5000)
    accounts = stores.accounts
    assert await stores.database.read(
        lambda tx: accounts.mailboxes_by_address(tx, ["CABINET@a.mssante.fr", "no@a.mssante.fr"])) == [made]
    assert await stores.database.read(lambda tx: accounts.mailboxes_by_id(tx, [made.id, 999])) == [made]
    assert await stores.database.read(lambda tx: accounts.mailboxes_by_address(tx, [])) == []
    inbox = await stores.database.read(lambda tx: stores.folders.get(tx, made.inbox_id))
    assert inbox is not None and (inbox.name, inbox.mailbox_id) == ("INBOX", made.id)


async def test_many_mailboxes_at_once_and_in_pages(engine: Any, stores: Stores) -> None:
    wanted = [NewMailbox(f"p{number:04}@a.mssante.fr", MailboxType.PER, NOW) for number in range(700)]
    count = await stores.database.write(lambda tx: len(engine.count(
        tx, lambda t: stores.accounts.create_mailboxes(t, wanted))))
    assert count < 100
    first = await stores.database.read(lambda tx: stores.accounts.list_mailboxes(tx, limit=500))
    rest = await stores.database.read(
        lambda tx: stores.accounts.list_mailboxes(tx, limit=500, after=first[-1].address))
    assert [one.address for one in first + rest] == [one.address for one in wanted]
    assert len({one.inbox_id for one in first + rest}) == 700


async def test_known_addresses_are_refused_by_name_and_nothing_is_kept(stores: Stores) -> None:
    await make_mailboxes(stores)
    for addresses in (["new@a.mssante.fr", "BOX0@a.mssante.fr"], ["twice@a.mssante.fr", "Twice@a.mssante.fr"]):
        wanted = [NewMailbox(address, MailboxType.PER, NOW) for address in addresses]
        with pytest.raises(ValueError, match=addresses[1].lower()):
            await stores.database.write(lambda tx, at=wanted: stores.accounts.create_mailboxes(tx, at))
    assert len(await stores.database.read(stores.accounts.list_mailboxes)) == 1


async def test_mailbox_state(stores: Stores) -> None:
    (box,) = await make_mailboxes(stores)
    accounts = stores.accounts
    assert await stores.database.write(
        lambda tx: accounts.set_mailbox_state(tx, box.address.upper(), MailboxState.SUSPENDED))
    (after,) = await stores.database.read(lambda tx: accounts.mailboxes_by_id(tx, [box.id]))
    assert after.state is MailboxState.SUSPENDED
    assert not await stores.database.write(lambda tx: accounts.set_mailbox_state(tx, "no@x", MailboxState.ACTIVE))


async def test_accounts_life(stores: Stores) -> None:
    first, second = [box.id for box in await make_mailboxes(stores, 2)]
    accounts = stores.accounts
    made = await stores.database.write(lambda tx: accounts.create_accounts(tx, [
        ("Zoe", "hash-z", (second, first)), ("adam", "hash-a", ())]))
    assert [(one.login, one.mailbox_ids, one.enabled) for one in made] == [("zoe", (second, first), True), ("adam", (), True)]
    assert await stores.database.read(lambda tx: accounts.account_by_login(tx, "ZOE")) == made[0]
    assert await stores.database.read(accounts.list_accounts) == [made[1], made[0]]
    for login in ("ADAM", "adam"):
        with pytest.raises(ValueError, match="adam"):
            await stores.database.write(lambda tx, at=login: accounts.create_accounts(tx, [("q", "h", ()), (at, "h", ())]))
    with pytest.raises(LookupError):
        await stores.database.write(lambda tx: accounts.create_accounts(tx, [("q", "h", (12345,))]))
    assert await stores.database.write(lambda tx: accounts.update_account(tx, "Adam", secret_hash="new", enabled=False))
    adam = await stores.database.read(lambda tx: accounts.account_by_login(tx, "adam"))
    assert adam is not None and (adam.secret_hash, adam.enabled) == ("new", False)
    (eve,) = await stores.database.write(lambda tx: accounts.create_accounts(tx, [("Eve", "hash", ())], {"eve": "verifier"}))
    assert eve.scram == "verifier" and "verifier" not in repr(eve)
    assert await stores.database.write(lambda tx: accounts.update_account(tx, "eve", enabled=False))
    assert [one.scram for one in await stores.database.read(accounts.list_accounts) if one.login == "eve"] == ["verifier"]
    assert await stores.database.write(lambda tx: accounts.update_account(tx, "eve", secret_hash="other"))
    found = await stores.database.read(lambda tx: accounts.account_by_login(tx, "eve"))
    assert found is not None and found.scram == "", "the verifier of an older password never survives it"
    assert await stores.database.write(lambda tx: accounts.delete_account(tx, "eve"))
    assert not await stores.database.write(lambda tx: accounts.update_account(tx, "nobody", enabled=True))
    assert await stores.database.write(lambda tx: accounts.delete_account(tx, "zoe"))
    assert not await stores.database.write(lambda tx: accounts.delete_account(tx, "zoe"))
    assert [one.login for one in await stores.database.read(accounts.list_accounts)] == ["adam"]
    assert len(await stores.database.read(accounts.list_mailboxes)) == 2


async def test_whitelist_history(stores: Stores) -> None:
    versions = [WhitelistVersion("aa" * 32, NOW, NOW + timedelta(hours=number), 3, 2, f"{number}.xml", number == 1)
                for number in range(3)]
    for version in versions:
        await stores.database.write(lambda tx, at=version: stores.trust.add_whitelist(tx, at))
    assert await stores.database.read(stores.trust.whitelists) == versions[::-1]
    assert await stores.database.read(lambda tx: stores.trust.whitelists(tx, 1)) == versions[2:]
