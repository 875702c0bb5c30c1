"""Contract of IdentityStore."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from support.storage_values import NOW

from mssante.model.mailbox import MailboxType
from mssante.storage.identities import AccountProfile, Identity
from mssante.storage.interfaces import Account, NewMailbox, Stores


async def people(stores: Stores) -> dict[str, Account]:
    """Two professionals with one holder's boxes each, and the box of a service that both open."""
    def unit(tx: Any) -> dict[str, Account]:
        boxes = stores.accounts.create_mailboxes(tx, [
            NewMailbox("claire@a.fr", MailboxType.PER, NOW, holder_id="899700000011"),
            NewMailbox("paul@a.fr", MailboxType.PER, NOW, holder_id="899700000773"),
            NewMailbox("service@a.fr", MailboxType.ORG, NOW, holder_id="899700000011")])
        ids = [one.id for one in boxes]
        made = stores.accounts.create_accounts(tx, [("claire", "", (ids[0], ids[2])), ("paul", "", (ids[1], ids[0])),
                                                    ("equipe", "", (ids[2],))])
        return {one.login: one for one in made}

    return await stores.database.write(unit)


async def test_an_identity_has_one_account(stores: Stores) -> None:
    who = await people(stores)
    link = stores.identities.link
    assert await stores.database.write(lambda tx: link(tx, "psc", "8997", who["paul"].id, NOW))
    assert not await stores.database.write(lambda tx: link(tx, "psc", "8997", who["claire"].id, NOW))
    assert await stores.database.write(lambda tx: link(tx, "dn", "8997", who["claire"].id, NOW)), "another kind"
    found = await stores.database.read(lambda tx: stores.identities.find(tx, "psc", "8997"), quick=True)
    assert found == Identity("psc", "8997", who["paul"].id, "paul", NOW)
    assert await stores.database.read(lambda tx: stores.identities.find(tx, "psc", "899")) is None
    assert await stores.database.write(lambda tx: stores.identities.unlink(tx, "psc", "8997"))
    assert not await stores.database.write(lambda tx: stores.identities.unlink(tx, "psc", "8997"))


async def test_lists(stores: Stores) -> None:
    who = await people(stores)

    def fill(tx: Any) -> None:
        for value in ("c", "a", "b"):
            stores.identities.link(tx, "dn", value, who["paul"].id, NOW)
        stores.identities.link(tx, "psc", "z", who["paul"].id, NOW)

    await stores.database.write(fill)
    read = stores.database.read
    assert [one.value for one in await read(lambda tx: stores.identities.of_kind(tx, "dn", limit=2))] == ["a", "b"]
    assert [one.value for one in await read(lambda tx: stores.identities.of_kind(tx, "dn", limit=9, after="b"))] == ["c"]
    assert [(one.kind, one.value) for one in await read(lambda tx: stores.identities.of_account(tx, who["paul"].id))] == [
        ("dn", "a"), ("dn", "b"), ("dn", "c"), ("psc", "z")]
    assert await read(lambda tx: stores.identities.of_account(tx, who["claire"].id)) == []


async def test_owners_of_a_holder_are_those_of_per_boxes_first_in_their_account(stores: Stores) -> None:
    await people(stores)
    read = stores.database.read
    assert await read(lambda tx: stores.identities.owners(tx, ("899700000011",)), quick=True) == ["claire"]
    assert await read(lambda tx: stores.identities.owners(tx, ("899700000773", "899700000011"))) == ["claire", "paul"]
    assert await read(lambda tx: stores.identities.owners(tx, ("1",))) == []
    assert await read(lambda tx: stores.identities.owners(tx, ())) == []


async def test_identities_leave_with_their_account(stores: Stores) -> None:
    who = await people(stores)
    await stores.database.write(lambda tx: (stores.identities.link(tx, "psc", "1", who["equipe"].id, NOW),
                                            stores.identities.put_profile(tx, AccountProfile(who["equipe"].id), NOW)))
    await stores.database.write(lambda tx: stores.accounts.delete_account(tx, "equipe"))
    assert await stores.database.read(lambda tx: stores.identities.find(tx, "psc", "1")) is None
    assert await stores.database.read(lambda tx: stores.identities.profile(tx, who["equipe"].id)) is None


async def test_profiles(stores: Stores) -> None:
    who = await people(stores)
    first = AccountProfile(who["claire"].id, "899700000011", "Claire", "MARTIN", "c@x.fr", "imap", NOW)
    second = AccountProfile(who["claire"].id, "1", last_login_at=NOW + timedelta(days=1))
    third = AccountProfile(who["claire"].id)
    for one in (first, second, third):
        await stores.database.write(lambda tx, one=one: stores.identities.put_profile(tx, one, NOW))
        assert await stores.database.read(lambda tx: stores.identities.profile(tx, who["claire"].id)) == one
    assert await stores.database.read(lambda tx: stores.identities.profile(tx, who["paul"].id)) is None
