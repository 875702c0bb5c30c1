"""The collector of peers' certificates: counts in memory, one write a minute, changes told once, bounded, fault-proof."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.clock import FakeClock
from support.pki import build_igc, der

from mssante.errors import OperatorFault
from mssante.model.journal import JournalKind
from mssante.services.evidence import Evidence
from mssante.services.peerwatch import INBOUND, MAX_PENDING, OUTBOUND, PeerChange, PeerWatch
from mssante.services.privacy import Pseudonyms
from mssante.storage.interfaces import Stores
from mssante.storage.open import open_stores

IGC = build_igc()
OLD = der(IGC.leaf("mta.b.fr")[0])
NEW = der(IGC.leaf("mta.b.fr", serial=77)[0])
OTHER = der(IGC.leaf("mx2.b.fr")[0])


@pytest.fixture
async def stores(tmp_path: Path) -> AsyncIterator[Stores]:
    opened = open_stores(f"sqlite:///{tmp_path}/store.db", tmp_path / "blobs")
    yield opened
    opened.close()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def watch(stores: Stores, clock: FakeClock) -> PeerWatch:
    return PeerWatch(stores, Evidence(stores, clock, Pseudonyms(b"k" * 32, "patient.mssante.fr")), clock)


async def known(stores: Stores, domain: str = "b.fr") -> list[Any]:
    found: list[Any] = await stores.database.read(lambda tx: stores.peer_certificates.of_domain(tx, domain))
    return found


async def test_sightings_are_summed_and_written_at_once(watch: PeerWatch, stores: Stores, clock: FakeClock) -> None:
    for _ in range(500):
        watch.seen(OLD, "B.fr", OUTBOUND)
        clock.advance(timedelta(milliseconds=10))
    watch.seen(OLD, "b.fr", INBOUND)
    assert await known(stores) == []
    assert await watch.flush() == []
    rows = sorted(await known(stores), key=lambda row: row.uses)
    assert [(row.direction, row.uses) for row in rows] == [(INBOUND, 1), (OUTBOUND, 500)]
    assert rows[1].der == OLD and rows[1].last_seen > rows[1].first_seen


async def test_a_change_is_told_once(watch: PeerWatch, stores: Stores, clock: FakeClock) -> None:
    told: list[PeerChange] = []
    watch.on_change.append(told.append)
    watch.seen(OLD, "b.fr", OUTBOUND)
    await watch.flush()
    clock.advance(timedelta(minutes=1))
    watch.seen(NEW, "b.fr", OUTBOUND)
    (change,) = await watch.flush()
    assert told == [change] and change.same_holder and change.refused == "" and change.domain == "b.fr"
    clock.advance(timedelta(minutes=1))
    watch.seen(OTHER, "b.fr", OUTBOUND, "PEER-CERT-NOT-LISTED")
    (change,) = await watch.flush()
    assert not change.same_holder and change.refused == "PEER-CERT-NOT-LISTED"
    for leaf in (OLD, NEW, OTHER):
        watch.seen(leaf, "b.fr", OUTBOUND)
    assert await watch.flush() == []
    await watch._evidence.flush()
    events = await stores.database.read(lambda tx: stores.journal.recent(tx, subject="b.fr", limit=10))
    assert [row.kind for row in events] == [JournalKind.PEER_CERTIFICATE.value] * 2
    assert all(str(row.payload["former"]) for row in events)


async def test_the_other_direction_is_no_change(watch: PeerWatch) -> None:
    watch.seen(OLD, "b.fr", OUTBOUND)
    await watch.flush()
    watch.seen(NEW, "b.fr", INBOUND)
    assert await watch.flush() == []


async def test_a_failed_write_loses_nothing(watch: PeerWatch, stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    watch.seen(OLD, "b.fr", OUTBOUND)
    await watch.flush()
    watch.seen(OLD, "b.fr", OUTBOUND)

    async def refuse(unit: object) -> None:
        watch.seen(OLD, "b.fr", OUTBOUND)
        raise OperatorFault("disk is full", rule="STORE-FULL")

    with monkeypatch.context() as patch:
        patch.setattr(stores.database, "write", refuse)
        with pytest.raises(OperatorFault):
            await watch.flush()
    await watch.flush()
    assert (await known(stores))[0].uses == 3


async def test_hostile_input_is_bounded(watch: PeerWatch, stores: Stores) -> None:
    watch.seen(b"", "b.fr", OUTBOUND)
    watch.seen(OLD, "", OUTBOUND)
    watch.seen(b"x" * 20_000, "b.fr", OUTBOUND)
    watch.seen(b"not a certificate", "b.fr", OUTBOUND, "PEER-PARSE")
    for number in range(MAX_PENDING + 10):
        watch.seen(OLD, f"d{number}.fr", OUTBOUND)
    assert len(watch._pending) == MAX_PENDING
    await watch.flush()
    assert await known(stores) == [] and len(await known(stores, "d5.fr")) == 1


async def test_old_sightings_are_forgotten(watch: PeerWatch, stores: Stores, clock: FakeClock) -> None:
    watch.seen(OLD, "b.fr", OUTBOUND)
    await watch.flush()
    clock.advance(timedelta(days=401))
    await watch.flush()
    assert await known(stores) == []
