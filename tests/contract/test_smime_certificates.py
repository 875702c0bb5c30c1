"""Contract of SmimeStore: certificates of correspondents by address, learning within bounds, wishes of mailboxes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from support.storage_values import NOW, make_mailboxes

from mssante.storage.interfaces import CertificateSource, KnownCertificate, MailboxSmime, Stores

ANNE, BRICE = "anne@b.mssante.fr", "brice@b.mssante.fr"
LEARNT, LOCAL, DIRECTORY = CertificateSource.LEARNT, CertificateSource.LOCAL, CertificateSource.DIRECTORY


def known(name: str, address: str = ANNE, source: CertificateSource = LEARNT, *, seen: int = 0, days: int = 300) -> KnownCertificate:
    """A certificate called `name`, seen `seen` hours after NOW, that ends in `days` days."""
    at = NOW + timedelta(hours=seen)
    return KnownCertificate(address, (name * 64)[:64], source, f"der {name}".encode(), NOW + timedelta(days=days), at, at)


async def do(stores: Stores, unit: Callable[[Any], Any]) -> Any:
    return await stores.database.write(unit)


async def held(stores: Stores, *addresses: str) -> list[KnownCertificate]:
    found: list[KnownCertificate] = await stores.database.read(lambda tx: stores.smime.certificates(tx, addresses or (ANNE,)))
    return found


def names(found: list[KnownCertificate]) -> list[str]:
    return [one.fingerprint[:1] for one in found]


async def test_certificates_come_by_address_source_and_end(stores: Stores) -> None:
    for one in (known("a", days=10), known("b", days=20), known("c", source=LOCAL), known("d", source=DIRECTORY), known("e", BRICE)):
        await do(stores, lambda tx, one=one: stores.smime.put_certificate(tx, one))
    assert names(await held(stores)) == ["c", "d", "b", "a"]
    assert names(await held(stores, BRICE, ANNE)) == ["c", "d", "b", "a", "e"]
    assert await held(stores, "personne@b.mssante.fr") == [] and await do(stores, lambda tx: stores.smime.certificates(tx, [])) == []
    assert names(await do(stores, lambda tx: stores.smime.all_certificates(tx, limit=2))) == ["a", "b"]
    assert names(await do(stores, lambda tx: stores.smime.all_certificates(tx, after=ANNE))) == ["e"]
    assert (await held(stores, BRICE)) == [known("e", BRICE)]


async def test_putting_again_keeps_the_first_date(stores: Stores) -> None:
    await do(stores, lambda tx: stores.smime.put_certificate(tx, known("a")))
    again = replace(known("a", source=LOCAL, seen=5), der=b"other")
    await do(stores, lambda tx: stores.smime.put_certificate(tx, again))
    assert await held(stores) == [replace(again, first_seen=NOW)]


async def test_learning_adds_dates_and_keeps_those_seen_last(stores: Stores) -> None:
    async def learn(*seen: KnownCertificate, most: int = 2) -> int:
        count: int = await do(stores, lambda tx: stores.smime.learn(tx, seen, most=most))
        return count

    assert await learn(known("a"), known("b", seen=1), known("b", seen=1)) == 2
    assert await learn(known("a", seen=3)) == 0
    assert await learn(known("c", seen=2)) == 1
    assert names(await held(stores)) == ["a", "c"]  # b was seen longest ago
    (a, _) = await held(stores)
    assert (a.first_seen, a.last_seen) == (NOW, NOW + timedelta(hours=3))
    assert await learn(known("a", seen=1)) == 0 and (await held(stores))[0].last_seen == NOW + timedelta(hours=3)
    assert await learn(known("d", source=LOCAL, seen=9)) == 1
    assert {one.source for one in await held(stores)} == {LEARNT}
    assert await learn() == 0


async def test_what_others_put_there_counts_for_nothing_in_the_bound(stores: Stores) -> None:
    await do(stores, lambda tx: stores.smime.put_certificate(tx, known("l", source=LOCAL)))
    await do(stores, lambda tx: stores.smime.learn(tx, [known("a"), known("b", seen=1), known("x", BRICE)], most=1))
    assert names(await held(stores)) == ["l", "b"] and names(await held(stores, BRICE)) == ["x"]
    await do(stores, lambda tx: stores.smime.learn(tx, [known("l", seen=4)], most=1))
    (local, _) = await held(stores)
    assert local.source is LOCAL and local.last_seen == NOW + timedelta(hours=4)


async def test_a_refused_certificate_stays_refused(stores: Stores) -> None:
    await do(stores, lambda tx: stores.smime.learn(tx, [known("a")], most=5))
    mark = known("a").fingerprint
    assert await do(stores, lambda tx: stores.smime.refuse_certificate(tx, ANNE, mark, "clé compromise"))
    assert not await do(stores, lambda tx: stores.smime.refuse_certificate(tx, BRICE, mark, "x"))
    assert await do(stores, lambda tx: stores.smime.learn(tx, [known("a", seen=1), known("b", seen=1)], most=1)) == 1
    assert [(one.fingerprint[:1], one.refused) for one in await held(stores)] == [("a", "clé compromise"), ("b", "")]
    assert await do(stores, lambda tx: stores.smime.forget(tx, ANNE)) == 1
    assert names(await held(stores)) == ["a"]
    assert await do(stores, lambda tx: stores.smime.refuse_certificate(tx, ANNE, mark, ""))
    assert await do(stores, lambda tx: stores.smime.forget(tx, ANNE)) == 1 and await held(stores) == []


async def test_removing_one(stores: Stores) -> None:
    await do(stores, lambda tx: stores.smime.learn(tx, [known("a"), known("b")], most=5))
    assert await do(stores, lambda tx: stores.smime.remove_certificate(tx, ANNE, known("a").fingerprint))
    assert not await do(stores, lambda tx: stores.smime.remove_certificate(tx, ANNE, known("a").fingerprint))
    assert names(await held(stores)) == ["b"]


async def test_many_addresses_are_one_statement(stores: Stores, engine: Any) -> None:
    wanted = [f"a{number}@b.mssante.fr" for number in range(200)]
    assert len(await do(stores, lambda tx: engine.count(tx, lambda t: stores.smime.certificates(t, wanted)))) == 1


async def test_wishes_of_mailboxes(stores: Stores) -> None:
    first, second, third = await make_mailboxes(stores, 3)
    wishes = MailboxSmime(first.id, "both", "open", ("file:a.pem", "file:b.p12,password=b.txt"))
    await do(stores, lambda tx: stores.smime.put_policy(tx, wishes))
    await do(stores, lambda tx: stores.smime.put_policy(tx, MailboxSmime(second.id, incoming="off")))
    await do(stores, lambda tx: stores.smime.put_policy(tx, MailboxSmime(third.id)))
    assert await do(stores, lambda tx: stores.smime.policies(tx, [first.id, second.id, third.id])) == {
        first.id: wishes, second.id: MailboxSmime(second.id, incoming="off")}
    assert [(address, one.mailbox_id) for address, one in await do(stores, stores.smime.all_policies)] == [
        (first.address, first.id), (second.address, second.id)]
    await do(stores, lambda tx: stores.smime.put_policy(tx, MailboxSmime(first.id)))
    assert await do(stores, lambda tx: stores.smime.policies(tx, [first.id])) == {}
    assert await do(stores, lambda tx: stores.smime.policies(tx, [])) == {}
    with pytest.raises(LookupError):
        await do(stores, lambda tx: stores.smime.put_policy(tx, MailboxSmime(999_999, "sign")))
