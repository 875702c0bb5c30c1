"""Contract of PeerCertificateStore: sightings add up, changes are told, what is kept is bounded, statements do not multiply."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from support.storage_values import NOW

from mssante.storage.interfaces import PeerCertificate, Stores
from mssante.storage.peercerts import INBOUND, KEPT, OUTBOUND


def seen(domain: str, mark: str, minutes: int = 0, *, direction: str = OUTBOUND, uses: int = 1, refused: str = "") -> PeerCertificate:
    at = NOW + timedelta(minutes=minutes)
    return PeerCertificate(domain, mark * 64, direction, mark.encode() * 3, NOW + timedelta(days=90), at, at, uses, refused)


async def do(stores: Stores, unit: Callable[[Any], Any]) -> Any:
    return await stores.database.write(unit)


async def record(stores: Stores, *rows: PeerCertificate) -> Sequence[PeerCertificate]:
    found: Sequence[PeerCertificate] = await do(stores, lambda tx: stores.peer_certificates.record(tx, rows))
    return found


async def test_sightings_add_up(stores: Stores) -> None:
    assert await record(stores) == []
    assert await record(stores, seen("b.fr", "a", uses=3), seen("b.fr", "a", direction=INBOUND)) == []
    assert await record(stores, seen("b.fr", "a", 5, uses=4, refused="PEER-EXPIRED")) == []
    out, into = sorted(await do(stores, lambda tx: stores.peer_certificates.of_domain(tx, "b.fr")), key=lambda row: row.direction, reverse=True)
    assert (out.uses, out.first_seen, out.last_seen, out.refused) == (7, NOW, NOW + timedelta(minutes=5), "PEER-EXPIRED")
    assert (into.direction, into.uses, into.der, into.not_after) == (INBOUND, 1, b"aaa", NOW + timedelta(days=90))
    await record(stores, seen("b.fr", "a", 6))
    assert (await do(stores, lambda tx: stores.peer_certificates.of_domain(tx, "b.fr")))[0].refused == ""
    assert await do(stores, lambda tx: stores.peer_certificates.of_domain(tx, "none.fr")) == []


async def test_a_change_names_what_was_known(stores: Stores) -> None:
    await record(stores, seen("b.fr", "a"), seen("b.fr", "b", 1), seen("c.fr", "a"))
    former = await record(stores, seen("b.fr", "c", 2), seen("c.fr", "a", 2), seen("d.fr", "a", 2), seen("b.fr", "c", 2, direction=INBOUND))
    assert [(row.domain, row.fingerprint[0]) for row in former] == [("b.fr", "b")]
    assert await record(stores, seen("b.fr", "b", 3)) == [], "known once is known: two servers of one domain are no change"


async def test_what_is_kept_is_bounded(stores: Stores) -> None:
    await record(stores, *(seen("b.fr", chr(97 + number), number) for number in range(KEPT + 5)))
    kept = await do(stores, lambda tx: stores.peer_certificates.of_domain(tx, "b.fr"))
    assert [row.fingerprint[0] for row in kept] == [chr(97 + number) for number in reversed(range(5, KEPT + 5))]


async def test_most_used(stores: Stores) -> None:
    await record(stores, seen("b.fr", "a", uses=5), seen("b.fr", "b", 9, uses=5), seen("c.fr", "a", uses=7),
                 seen("d.fr", "a", uses=99, refused="PEER-ISSUER"), seen("e.fr", "a", uses=50, direction=INBOUND))
    found = await do(stores, lambda tx: stores.peer_certificates.most_used(tx, OUTBOUND, 3))
    assert [(row.domain, row.fingerprint[0]) for row in found] == [("b.fr", "b"), ("c.fr", "a")]
    assert [row.domain for row in await do(stores, lambda tx: stores.peer_certificates.most_used(tx, INBOUND, 3))] == ["e.fr"]
    assert await do(stores, lambda tx: stores.peer_certificates.most_used(tx, OUTBOUND, 0)) == []


async def test_old_sightings_are_forgotten(stores: Stores) -> None:
    await record(stores, seen("b.fr", "a"), seen("b.fr", "b", 10))
    assert await do(stores, lambda tx: stores.peer_certificates.forget(tx, NOW + timedelta(minutes=5))) == 1
    assert [row.fingerprint[0] for row in await do(stores, lambda tx: stores.peer_certificates.of_domain(tx, "b.fr"))] == ["b"]


async def test_statements_do_not_grow_with_domains(stores: Stores, engine: Any) -> None:
    few = [seen(f"d{number}.fr", "a") for number in range(2)]
    many = [seen(f"d{number}.fr", "a") for number in range(60)]
    first = len(await do(stores, lambda tx: engine.count(tx, lambda t: stores.peer_certificates.record(t, few))))
    last = len(await do(stores, lambda tx: engine.count(tx, lambda t: stores.peer_certificates.record(t, many))))
    assert first <= 3 and last <= 8
